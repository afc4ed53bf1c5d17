"""Events to an MQTT broker, which Home Assistant finds by itself: `mqtt://HOST[:PORT]/TOPIC`.

The onsets and offsets of a label are JSON messages on TOPIC/LABEL. TOPIC/status is "online" or, also if the program or
its connection dies, "offline". Both are named in retained messages below `homeassistant/`, as
https://www.home-assistant.io/integrations/event.mqtt describes.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import require
from ..net_security import is_loopback
from .video import redact_credentials

if TYPE_CHECKING:
    from ..recognition.decision import Decision

URL = re.compile(
    r"(?P<scheme>mqtts?)://(\[(?P<ipv6>[^][/@]+)\]|(?P<host>[^][:/@?#]+))(:(?P<port>\d{1,5}))?"
    r"/(?P<topic>[^$/?#+\x00-\x1f\x7f][^?#+\x00-\x1f\x7f]{0,199})",
    re.ASCII | re.IGNORECASE,
)
DISCOVERY = "homeassistant"
QUEUED = 1000  # events that wait for the broker
CONNECT_S = CLOSE_S = 5.0
KEEP_ALIVE_S, MAX_RETRY_S = 30, 60

logger = logging.getLogger(__name__)


class MqttPublisher:
    """A connection to a broker that is made again when it is lost; `send` never waits. A context manager.

    Args:
        url: mqtt://HOST[:PORT]/TOPIC, or mqtts:// for TLS.
        labels: those whose events are published.
        login: user:password.
    Attributes:
        published: events that the broker has confirmed.
        dropped: events that it did not get: more than `QUEUED` waited, or the program ended before it was back.
    Raises:
        InputError: another address, or no connection: nobody answers, the certificate or the login is refused.
        MissingExtra: paho-mqtt is not installed.
    """

    def __init__(self, url: str, labels: Sequence[str], login: str | None = None) -> None:
        name = redact_credentials(url)
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise InputError(
                f"{name}: others can read a login in the list of processes, use --publish-login or MOTIONRT_MQTT_LOGIN"
            )
        found = URL.fullmatch(url)
        if found is None or int(found["port"] or 1) not in range(1, 65_536):
            raise InputError(
                f"{name}: expected mqtt://HOST[:PORT]/TOPIC or mqtts://…, such as mqtt://127.0.0.1/home/hall"
            )
        mqtt: Any = require("paho.mqtt.client", "mqtt", "mqtt:// outputs")
        self.dropped = 0
        self._topic, host = found["topic"].rstrip("/"), found["ipv6"] or found["host"]
        self._topics, self._discovery = topics(self._topic, labels), discovery(self._topic, labels)
        self._sent: set[int] = set()
        self._confirmed: set[int] = set()
        self._events = 0
        self._answered, self._refusal = threading.Event(), ""
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect, self._client.on_disconnect = self._greet, self._report
        self._client.on_publish = lambda client, data, number, *_: self._confirmed.add(number)
        self._client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        self._client.connect_timeout = CONNECT_S
        self._client.reconnect_delay_set(1, MAX_RETRY_S)
        if login is not None:
            user, _, password = login.partition(":")
            self._client.username_pw_set(user, password)
        if found["scheme"].lower() == "mqtts":
            self._client.tls_set_context(ssl.create_default_context())
        elif login is not None and not is_loopback(host):
            logger.warning("%s: sends the login unencrypted, use mqtts:// if the broker has it", name)
        self._connect(name, host, int(found["port"] or (8883 if found["scheme"].lower() == "mqtts" else 1883)))

    def _connect(self, name: str, host: str, port: int) -> None:
        try:
            self._client.connect(host, port, KEEP_ALIVE_S)
        except (OSError, UnicodeError, ValueError) as error:
            raise InputError(f"{name}: cannot connect to the broker ({error})") from None
        self._client.loop_start()
        if not self._answered.wait(CONNECT_S) or self._refusal:
            self._client.loop_stop()
            raise InputError(f"{name}: the broker refuses the connection ({self._refusal or 'no answer'})")

    @property
    def published(self) -> int:
        return self._events - len(self._waiting())

    def send(self, t: float, decision: Decision) -> None:
        """Publish the event of a decision at `t` seconds, if it has one."""
        if decision.event is None:
            return
        if len(self._waiting()) >= QUEUED:
            self.dropped += 1
            return
        topic = self._topics[decision.event_label or ""]
        self._sent.add(self._client.publish(topic, event_message(t, decision), qos=1).mid)
        self._events += 1

    def __enter__(self) -> MqttPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait up to `CLOSE_S` seconds until a broker that is there has everything, and disconnect."""
        farewell = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
        with suppress(RuntimeError):  # not connected
            farewell.wait_for_publish(CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()
        lost = len(self._waiting())
        self._events -= lost
        self.dropped += lost
        self._sent.clear()

    def _waiting(self) -> set[int]:
        """Numbers of the events that are not confirmed."""
        done = self._sent & self._confirmed
        self._sent -= done
        self._confirmed -= done
        return self._sent

    def _greet(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            for topic, message in [*self._discovery.items(), (f"{self._topic}/status", "online")]:
                client.publish(topic, message, qos=1, retain=True)
        self._answered.set()

    def _report(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and self._answered.is_set() and not self._refusal:
            logger.warning("the connection to the MQTT broker is lost (%s), events wait for it", reason)


def event_message(t: float, decision: Decision) -> str:
    """The JSON message of an event, with the keys of `recognize --json` and the `event_type` of Home Assistant."""
    message = {
        "event_type": decision.event,
        "label": decision.event_label,
        "person": decision.person,
        "score": round(dict(decision.top(len(decision.labels))).get(decision.event_label or "", 0.0), 4),
        "t": round(t, 6),
    }
    if decision.since is not None:
        message["since"] = round(decision.since, 6)
    return json.dumps(message, ensure_ascii=False)


def topics(topic: str, labels: Sequence[str]) -> dict[str, str]:
    """The topic of each label: its letters and digits, with _ between; numbered if two have the same."""
    found: dict[str, str] = {}
    for label in labels:
        name = plain = re.sub(r"\W+", "_", label.lower(), flags=re.ASCII).strip("_") or "label"
        number = 2
        while f"{topic}/{name}" in found.values() or name == "status":
            name, number = f"{plain}_{number}", number + 1
        found[label] = f"{topic}/{name}"
    return found


def discovery(topic: str, labels: Sequence[str]) -> dict[str, str]:
    """The retained messages that make each label an event of one device in Home Assistant: topic -> JSON."""
    from ... import __version__

    device = re.sub(r"\W+", "_", f"motionrt_{topic}", flags=re.ASCII)
    found = {}
    for label, label_topic in topics(topic, labels).items():
        name = label_topic.rpartition("/")[2]
        found[f"{DISCOVERY}/event/{device}/{name}/config"] = json.dumps(
            {
                "name": label,
                "unique_id": f"{device}_{name}",
                "state_topic": label_topic,
                "event_types": ["onset", "offset"],
                "qos": 1,
                "availability_topic": f"{topic}/status",
                "device": {"identifiers": [device], "name": f"motionrt {topic}", "manufacturer": "motionrt"},
                "origin": {"name": "motionrt", "sw_version": __version__},
            },
            ensure_ascii=False,
        )
    return found
