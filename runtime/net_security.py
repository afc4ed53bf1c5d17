"""Access checks shared by everything that listens on the network: bind addresses, web origins and tokens."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

from .errors import InputError

logger = logging.getLogger(__name__)


def bind(url: str, scheme: str, host: str, port: int, *, has_token: bool) -> socket.socket:
    """Bind a socket; an address that other machines can reach requires a token.

    Args:
        url: the address as it appears in error messages.
        scheme: `udp` for datagrams, anything else for TCP.
        has_token: whether clients must present a token.

    Raises:
        InputError: the address cannot be bound, or requires a token.
    """
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    try:
        candidates = socket.getaddrinfo(host, port, type=kind)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{url}: {host} is not an address of this machine ({error})") from None
    family, *_, address = min(candidates, key=lambda candidate: candidate[0] != socket.AF_INET)  # IPv4 first
    if not has_token and not is_loopback(str(address[0])):
        raise InputError(f"{url}: listening beyond this machine needs a token (--token-file or MOTIONRT_TOKEN)")
    try:
        if kind == socket.SOCK_STREAM:
            return socket.create_server(address, family=family)
        bound = socket.socket(family, kind)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound
    except OSError as error:
        raise InputError(f"{url}: cannot listen there: {error.strerror}") from None


def is_loopback(host: str | None) -> bool:
    """Whether a host name or IP address is a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_local_origin(origin: str) -> bool:
    """Whether a web page (value of the header `Origin`) was served from a loopback address."""
    try:
        return is_loopback(urlsplit(origin).hostname)
    except ValueError:
        return False


def read_token(path: Path, what: str = "a token") -> str:
    """The first line of a file; one that others may read or change is logged. Raises InputError: there is none."""
    try:
        if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            logger.warning("%s: others may use it (mode %o, expected 600)", path, mode)
        token = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}), expected a file with {what}") from None
    if not token:
        raise InputError(f"{path}: the first line is empty, expected {what}")
    return token


def tokens_match(received: str, expected: str) -> bool:
    """Compare two tokens in constant time."""
    return hmac.compare_digest(_bytes(received), _bytes(expected))


def _bytes(token: str) -> bytes:
    """Encode as UTF-8; headers escape non-ASCII bytes as surrogates, and JSON may contain any surrogate."""
    try:
        return token.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return token.encode("utf-8", "surrogatepass")
