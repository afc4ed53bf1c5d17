"""examples/ros2: the messages as CDR in a bag, and the node's states with stand-ins for the packages of ROS."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt import InputError, Motion, Recognizer

NODE = Path(__file__).resolve().parents[1] / "examples" / "ros2" / "ros2_node.py"
node = runpy.run_path(str(NODE))
WAVE = Path(node["Recognizer"].load.__globals__["__file__"]).parents[1] / "samples/bandai_wave_right_hand.npz"
HRI = {  # as in the package hri_msgs
    "hri_msgs/msg/IdsList": "std_msgs/Header header\nstring[] ids\n",
    "hri_msgs/msg/Gesture": "std_msgs/Header header\nuint8 gesture\n",
}


def actions_to(messages: list[dict[str, Any]]) -> Callable[[str, dict[str, Any]], None]:
    return lambda topic, fields: messages.append(json.loads(fields["data"])) if topic == "actions" else None


def in_ros(wave: Motion) -> np.ndarray:
    joints: np.ndarray = wave.joints @ np.array(node["AXES"]["ros"])
    return joints


@pytest.mark.parametrize(
    ("axes", "seen"),  # a step left, up and forward, as each frame has it
    [("ros", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]), ("motionrt", [[1, 0, 0], [0, 1, 0], [0, 0, 1]])],
)
def test_positions_become_joints_with_y_up(axes: str, seen: list[list[float]]) -> None:
    np.testing.assert_array_equal(node["to_people"](seen, 3, axes)[0], np.eye(3))


def test_all_axes_are_rotations() -> None:
    for matrix in node["AXES"].values():
        assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_array_equal(node["to_people"]([[0, 1, 0]], 1, "optical")[0], [[0, -1, 0]])  # down is down


def test_people_are_split_and_nan_is_kept() -> None:
    positions = np.arange(4 * 3.0).reshape(4, 3)
    positions[3] = np.nan
    people = node["to_people"](positions.tolist(), 2, "motionrt")
    np.testing.assert_array_equal(people, positions.reshape(2, 2, 3).astype(np.float32))
    assert node["to_people"]([], 20, "ros").shape == (0, 20, 3)


def test_invalid_input_is_an_error() -> None:
    with pytest.raises(InputError, match="41 positions, expected 20 for each person"):
        node["to_people"]([[0, 0, 0]] * 41, 20, "ros")
    with pytest.raises(InputError, match="axes is 'enu', expected ros, optical, motionrt"):
        node["to_people"]([], 20, "enu")


def test_a_recording_is_recognized_as_by_the_package_and_leaving_is_published() -> None:
    wave = Motion.load(WAVE)
    wave = Motion(wave.joints[:100], wave.fps, wave.layout)  # ends while waving
    messages: list[dict[str, Any]] = []
    listener = node["Listener"]("live", wave.layout, "ros", actions_to(messages))
    recognizer = Recognizer.load("live")
    for t, joints, positions in zip(wave.times, wave.joints, in_ros(wave), strict=True):
        listener.receive(positions.tolist(), t)
        out = recognizer.step(joints, t, layout=wave.layout)
        found = [messages[-1][key] for key in ("label", "event", "event_label", "since")]
        assert found == [out.label, out.event, out.event_label, out.since]
    assert (messages[-1]["label"], messages[-1]["event"]) == ("wave", None)
    listener.evict()
    assert len(messages) == wave.frames  # nobody has been away for long
    listener.clock_offset += 1.0
    listener.evict()
    assert (messages[-1]["event"], messages[-1]["event_label"]) == ("offset", "wave")
    listener.receive([], wave.times[-1] + 2)  # nobody in sight is no error
    assert len(messages) == wave.frames + 1


def test_messages_without_a_stamp_take_the_time_of_arrival(caplog: pytest.LogCaptureFixture) -> None:
    wave = Motion.load(WAVE)
    messages: list[dict[str, Any]] = []
    listener = node["Listener"]("live", wave.layout, "motionrt", actions_to(messages))
    for joints in wave.joints[:20]:
        listener.receive(joints.tolist(), None)
    times = [message["t"] for message in messages]
    assert times == sorted(set(times)) and len(times) == 20 and listener.recognizer.counters["dropped"] == 0
    assert caplog.messages == ["messages have no stamp, the time of arrival is used"]


def test_times_in_another_unit_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    listener = node["Listener"]("live", "core15", "motionrt", lambda topic, fields: None)
    poses = np.random.default_rng(0).normal(size=(15, 3)) * 0.3
    for k in range(40):
        listener.receive(poses.tolist(), 1e3 + k * 1e3 / 30)
    assert "looks like milliseconds, expected seconds" in caplog.text


class Store:
    """Message types of Jazzy and hri_msgs, without ROS."""

    def __init__(self) -> None:
        typesys = pytest.importorskip("rosbags.typesys")
        self.types = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
        for name, text in HRI.items():
            self.types.register(typesys.get_types_from_msg(text, name))

    def message(self, name: str, fields: dict[str, Any]) -> Any:
        """A message with default values but for these fields; unknown ones are an error."""
        defined = dict(self.types.fielddefs[name][1])
        assert fields.keys() <= defined.keys()
        return self.types.types[name](**{key: self.value(kind, fields.get(key)) for key, kind in defined.items()})

    def value(self, kind: Any, value: Any) -> Any:
        node_type, detail = kind
        if node_type.name == "NAME":
            return self.message(detail, value or {})
        if node_type.name == "BASE":
            return value if value is not None else {"string": "", "bool": False}.get(detail[0], 0)
        items = [self.value(detail[0], item) for item in value or []]
        return items if detail[0][0].name == "NAME" or detail[0][1][0] == "string" else np.array(items, detail[0][1][0])


@pytest.fixture(scope="module")
def store() -> Store:
    return Store()


def test_what_is_published_is_read_from_a_bag(store: Store, tmp_path: Path) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    wave, bag = Motion.load(WAVE), tmp_path / "bag"
    with rosbag2.Writer(bag, version=9) as writer:
        topics: dict[str, Any] = {}

        def write(topic: str, fields: dict[str, Any]) -> None:
            name = node["TYPES"].get(topic.rpartition("/")[2], "geometry_msgs/PoseArray").replace("/", "/msg/")
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, name, typestore=store.types)
            data = store.types.serialize_cdr(store.message(name, fields), name)
            writer.write(topics[topic], round(1e9 * t), data)

        listener = node["Listener"]("live", wave.layout, "ros", write, hri=True)
        for t, positions in zip(100 + wave.times, in_ros(wave), strict=True):
            poses = [{"position": node["xyz"](point)} for point in positions]
            write("skeletons", {"header": listener.header(t), "poses": poses})
            listener.receive(positions, t, "camera")
    read: dict[str, list[Any]] = {}
    with rosbag2.Reader(bag) as reader:
        for connection, _, data in reader.messages():
            read.setdefault(connection.topic, []).append(store.types.deserialize_cdr(data, connection.msgtype))
    actions = [json.loads(message.data) for message in read["actions"]]
    assert len(actions) == len(read["markers"]) == len(read["/humans/bodies/tracked"]) == wave.frames
    bones, label = read["markers"][-1].markers
    assert (bones.ns, bones.id, bones.header.frame_id) == ("skeletons", 0, "camera")
    assert len(bones.points) == 2 * 21 and label.text.startswith(actions[-1]["label"])
    np.testing.assert_allclose([label.pose.position.z], in_ros(wave)[-1, :, 2].max() + 0.25, atol=1e-6)
    assert read["/humans/bodies/tracked"][-1].ids == ["body0"]
    assert [action["since"] for action in actions if action["event"] == "onset"] == [
        pytest.approx(action["t"], abs=1) for action in actions if action["event"] == "onset"
    ]
    gestures = read["/humans/bodies/body0/gesture"]
    assert [message.gesture for message in gestures] == [
        node["GESTURES"].get(action["event_label"], 0) for action in actions if action["event"] == "onset"
    ]
    assert 6 in [message.gesture for message in gestures]  # WAVING
    replayed = Motion.load(bag, layout=wave.layout, up="z")  # with another heading
    np.testing.assert_allclose(replayed.joints[..., 1], wave.joints[..., 1], atol=1e-5)


def test_joints_that_were_not_seen_have_no_markers() -> None:
    out = Recognizer.load("live").step(np.zeros((15, 3)))
    joints = np.array([[0, 0, 0], [0, 1, 0], [np.nan] * 3])
    bones, _ = node["markers"]({}, out, joints, (-1, 0, 1), "motionrt")
    assert bones["points"] == [{"x": 0, "y": 1, "z": 0}, {"x": 0, "y": 0, "z": 0}]
    assert node["markers"]({}, out, np.full((3, 3), np.nan), (-1, 0, 1), "ros") == []


class LifecycleNode:
    """Stands in for that of rclpy: `parameters` of all nodes, and what the last one made."""

    parameters: dict[str, Any] = {}

    def __init__(self, name: str) -> None:
        self.declared: dict[str, Any] = {}
        self.sent: list[tuple[str, Any]] = []
        self.timers: list[Any] = []
        self.callback: Any = None
        self.logged: list[str] = []
        LifecycleNode.last = self

    last: "LifecycleNode"

    def declare_parameter(self, name: str, value: Any) -> None:
        self.declared[name] = self.parameters.get(name, value)

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.declared[name])

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any) -> str:
        assert topic == "skeletons" and qos == "sensor data"
        self.callback = callback
        return topic

    def destroy_subscription(self, subscribed: str) -> None:
        self.callback = None

    def create_timer(self, seconds: float, call: Any) -> Any:
        self.timers.append(call)
        return call

    def destroy_timer(self, timer: Any) -> None:
        self.timers.remove(timer)

    def create_publisher(self, kind: Any, topic: str, depth: int) -> Any:
        return SimpleNamespace(publish=lambda message: self.sent.append((topic, message)))

    def get_logger(self) -> Any:
        def log(text: str, **options: float) -> None:
            self.logged.append(text)

        return SimpleNamespace(warning=log, error=log)

    def on_activate(self, state: Any) -> str:
        return "success"

    on_deactivate = on_activate

    def destroy_node(self) -> None:
        pass


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[[Callable[[LifecycleNode], None]], None]:
    """Runs the node's main with a function in the place of rclpy.spin."""
    modules: dict[str, dict[str, Any]] = {
        "rclpy": {"init": lambda: None, "try_shutdown": lambda: None},
        "rclpy.executors": {"ExternalShutdownException": KeyError},
        "rclpy.lifecycle": {
            "LifecycleNode": LifecycleNode,
            "TransitionCallbackReturn": SimpleNamespace(SUCCESS="success", FAILURE="failure"),
        },
        "rclpy.qos": {"qos_profile_sensor_data": "sensor data"},
        "geometry_msgs": {},
        "geometry_msgs.msg": {"PoseArray": None},
        "rosidl_runtime_py": {
            "set_message_fields": lambda message, fields: message.__dict__.update(
                vars(store.message(message.kind, fields))
            )
        },
        "rosidl_runtime_py.utilities": {"get_message": lambda name: lambda: SimpleNamespace(kind=name)},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)

    def run(spin: Callable[[LifecycleNode], None]) -> None:
        sys.modules["rclpy"].spin = spin  # type: ignore[attr-defined]
        node["main"]()

    return run


def test_the_node_publishes_while_it_is_active(ros: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = Motion.load(WAVE)
    monkeypatch.setattr(LifecycleNode, "parameters", {"layout": wave.layout, "hri": True})

    def spin(running: Any) -> None:
        assert running.on_configure(None) == "success" and running.callback is None
        assert running.on_activate(None) == "success" and len(running.timers) == 1
        for k, positions in enumerate(in_ros(wave)):
            poses = [{"position": node["xyz"](point)} for point in positions]
            header = {"stamp": {"sec": 7, "nanosec": 50_000_000 * k}, "frame_id": "camera"}
            header["stamp"] = {"sec": 7 + k // 20, "nanosec": 50_000_000 * (k % 20)}
            running.callback(store.message("geometry_msgs/msg/PoseArray", {"header": header, "poses": poses}))
        running.timers[0]()
        running.callback(store.message("geometry_msgs/msg/PoseArray", {"poses": poses[:-1]}))
        assert running.logged == [f"{len(poses) - 1} positions, expected {len(poses)} for each person"]
        assert running.on_deactivate(None) == "success" and not running.timers and running.callback is None

    ros(spin)
    sent = LifecycleNode.last.sent
    topics = {topic for topic, _ in sent}
    assert topics == {"actions", "markers", "/humans/bodies/tracked", "/humans/bodies/body0/gesture"}
    first = json.loads(next(message.data for topic, message in sent if topic == "actions"))
    assert first["t"] == 7


def test_a_node_that_cannot_be_configured_says_why(ros: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LifecycleNode, "parameters", {"model": "nothing"})

    def spin(running: Any) -> None:
        assert running.on_configure(None) == "failure"
        assert len(running.logged) == 1 and "nothing" in running.logged[0]

    ros(spin)
