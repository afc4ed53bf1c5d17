"""Options that several commands share, each with its help and default in one place."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from ..body.motion import Motion
    from ..generation.generator import Generator
    from ..io.mqtt import MqttPublisher
    from ..io.source import Source
    from ..recognition.recognizer import Recognizer


logger = logging.getLogger(__name__)


def _register_layout(name: str | None) -> str | None:
    """The name of a layout; a layout file is registered first."""
    if name is None or not name.endswith(".json"):
        return name
    from ..body.layout import Layout

    return Layout.read(name).name


def _warn_of_token(context: typer.Context, token: str | None) -> str | None:
    source = context.get_parameter_source("token")
    if source is not None and source.name == "COMMANDLINE":
        logger.warning("others can read --token in the list of processes, use --token-file or MOTIONRT_TOKEN")
    return token


Token = Annotated[str | None, typer.Option(hidden=True, envvar="MOTIONRT_TOKEN", callback=_warn_of_token)]
RecognizerName = Annotated[
    str, typer.Option("--model", help="Name of a bundled model, path of a bundle, or hf://ORG/NAME.")
]
GeneratorName = Annotated[
    str, typer.Option("--model", help="Name of a bundled generator, path of a bundle, or hf://ORG/NAME.")
]
ServedGenerator = Annotated[
    str, typer.Option("--generator", help="Name of a bundled generator, path of a bundle, or hf://ORG/NAME.")
]
Backend = Annotated[str, typer.Option(help="auto, native, onnx, tensorrt or cuda.")]
GraphBackend = Annotated[str, typer.Option("--backend", help="auto, onnx, tensorrt or cuda.")]
ServedBackend = Annotated[
    str, typer.Option("--backend", help="Of the generator: auto, onnx, tensorrt or cuda; recognition runs on the CPU.")
]
Precision = Annotated[str, typer.Option(help="Native engine: fp32 or bf16; TensorRT: also fp16.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
LayoutName = Annotated[
    str | None,
    typer.Option(
        callback=_register_layout,
        help="Skeleton layout of sources that do not name theirs: a name, or a layout file of your own (.json).",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(help='Labels to recognize, "wave,kick": some of the model\'s own, or any texts for zero-shot models.'),
]
AlarmsPerMinute = Annotated[
    float | None,
    typer.Option(help="False alarms per minute to allow, if the model has thresholds for them; default: its own."),
]
SendTo = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        help="Send the robot's references to udp://, ws:// or zmq://HOST:PORT (ros+zmq://: ROS 2), or -; repeatable.",
    ),
]
Isolate = Annotated[
    bool,
    typer.Option("--isolate", help="First open a model from somebody else in a child with limits of memory and time."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JsonLine = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
JsonFile = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the JSON object to this file.")]
MOTION_FILE = typer.Option("--out", "-o", help="Motion file to write: .npz .csv .bvh .glb .gif .mp4.")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileOptions:
    """Options of motion files."""

    layout: LayoutName = None
    fps: Annotated[float | None, typer.Option(help="Frames per second of sources that do not specify it.")] = None
    scale: Annotated[
        float | None, typer.Option(help="Meters per unit of the source; BVH: by default told by the body's height.")
    ] = None
    up: Annotated[str | None, typer.Option(help="Axis of the source that points up: y (default), z or -y.")] = None

    def read(self, path: Path) -> "Motion":
        from ..body.motion import Motion

        return Motion.load(path, self.layout, self.fps, scale=self.scale, up=self.up)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions(FileOptions):
    """Options of a source of skeletons."""

    pose: Annotated[
        str, typer.Option(help="Pose estimator for video: mediapipe, mediapipe-lite, mediapipe-heavy or rtmlib.")
    ] = "mediapipe"
    token: Token = None
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token of senders to udp:// and ws://; default: MOTIONRT_TOKEN."),
    ] = None

    def open(self, name: str, realtime: bool = False) -> "Source":
        from ..io.source import open_source
        from ..net_security import read_token

        return open_source(
            name,
            layout=self.layout,
            fps=self.fps,
            scale=self.scale,
            up=self.up,
            realtime=realtime,
            pose=self.pose,
            token=self.token if self.token_file is None else read_token(self.token_file),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizeOptions(SourceOptions):
    """The recognizer, its labels and its sources."""

    model: RecognizerName = "live"
    labels: Labels = None
    alarms_per_minute: AlarmsPerMinute = None
    gestures: Annotated[Path | None, typer.Option(help="Gestures written by `enroll`, for zero-shot models.")] = None
    backend: Backend = "auto"
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; the native engine uses one.")] = 1
    precision: Precision = "fp32"
    isolate: Isolate = False

    def load(self) -> "Recognizer":
        from ..recognition.recognizer import Recognizer

        recognizer = Recognizer.load(
            self.model,
            self.backend,
            self.threads,
            self.precision,
            alarms_per_minute=self.alarms_per_minute,
            isolate=self.isolate,
        )
        if self.gestures is not None:
            recognizer.load_gestures(self.gestures)
        if self.labels is not None:
            recognizer.set_labels(self.labels.split(",") if self.labels.strip() else [])
        return recognizer


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizeOutputs:
    """Outputs of `recognize`."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per decision, and a summary.")] = False
    realtime: Annotated[bool, typer.Option("--realtime", help="Play recordings at their own speed.")] = False
    overlay: Annotated[Path | None, typer.Option(help="Write an .mp4 with skeletons and labels.")] = None
    srt: Annotated[Path | None, typer.Option(help="Write the actions as subtitles, .srt.")] = None
    csv: Annotated[Path | None, typer.Option(help="Write the segments as a table, .csv.")] = None
    publish: Annotated[
        str | None,
        typer.Option(metavar="URL", help="MQTT broker that gets the events: mqtt://HOST[:PORT]/TOPIC, or mqtts://."),
    ] = None
    publish_login: Annotated[
        Path | None, typer.Option(help="File with user:password of the MQTT broker; default: MOTIONRT_MQTT_LOGIN.")
    ] = None

    def open_publisher(self, labels: Sequence[str]) -> "MqttPublisher | None":
        """Connect to the broker, if there is one."""
        if self.publish is None:
            return None
        from ..io.mqtt import MqttPublisher
        from ..net_security import read_token

        file = self.publish_login
        login = os.environ.get("MOTIONRT_MQTT_LOGIN") if file is None else read_token(file, "user:password")
        return MqttPublisher(self.publish, labels, login)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewOptions(RecognizeOptions):
    """Options of the viewer, whose labels can be edited."""

    model: RecognizerName = "zero-shot"


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenOptions:
    """The file of a generated motion."""

    rig: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.glb",
            help="Joints of .bvh and .glb: mixamo, vrm, unreal, smplx, or a character of yours (.glb); .npz: amass.",
        ),
    ] = None
    loop: Annotated[bool, typer.Option("--loop", help="Cut and blend so that the motion repeats without a jump.")] = (
        False
    )
    in_place: Annotated[bool, typer.Option("--in-place", help="Hold the root in x and z.")] = False

    def check(self, path: Path) -> None:
        """Raise InputError or MissingExtra: such a file cannot be written."""
        from ..io.files import check_target

        check_target(path, self.rig)

    def save(self, motion: "Motion", path: Path) -> "Motion":
        """Write a motion; returns what was written."""
        motion = motion.loop() if self.loop else motion
        motion = motion.in_place() if self.in_place else motion
        motion.save(path, self.rig)
        return motion


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions:
    """The generator and its sampling."""

    model: GeneratorName = "default"
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0
    cfg: Annotated[float | None, typer.Option(help="Scale of classifier-free guidance; default: the model's own.")] = (
        None
    )
    guidance: Annotated[float, typer.Option(help="Step size along the recognizer's gradient; 0: off.")] = 0.0
    quality: Annotated[str, typer.Option(help="Capture quality to imitate: mocap or kinect.")] = "mocap"
    threads: Threads = 1
    precision: Annotated[
        str, typer.Option(help="Of matrix products: int8 or fp32 (slower); on a GPU fp32, fp16 or bf16.")
    ] = "auto"
    backend: GraphBackend = "auto"
    isolate: Isolate = False

    def load(self) -> "Generator":
        from ..generation.generator import Generator

        return Generator.load(self.model, self.threads, self.precision, self.backend, isolate=self.isolate)

    @property
    def sampling(self) -> dict[str, Any]:
        """Arguments of `Generator.generate`, `stream` and `edit`."""
        return {"seed": self.seed, "cfg": self.cfg, "guidance": self.guidance, "quality": self.quality}


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """Replace parameters that are dataclasses by their fields; typer has no grouped options."""
    hints = {name: parameter.annotation for name, parameter in signature(command).parameters.items()}
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            types = get_type_hints(groups[name], include_extras=True)
            parameters += [
                Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
                for field in fields(groups[name])
            ]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded
