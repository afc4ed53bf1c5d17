"""Bodies of HTTP requests and responses, as the OpenAPI document describes them.

Shapes: T frames, V joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .._core import parse_json_clip
from ..body.layout import Layout
from ..body.motion import Motion
from ..body.motion_data import MAX_JOINTS
from ..errors import InputError
from ..generation.generator import MAX_SECONDS
from ..io.jsonl import parse_json
from ..recognition.engine import MIN_CLIP_FRAMES
from ..text_encoder import MAX_CHARACTERS

MIN_SECONDS = 0.2
MAX_CLIP_FRAMES = 1800
_MAX_ERROR_CHARACTERS = 200
_MAX_OTHER_BYTES = 1000  # of a clip, besides its joints

LayoutName = Annotated[str, Field(json_schema_extra={"enum": Layout.names()})]
Coordinate = float | None
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=3)]
Pose = Annotated[list[Point], Field(min_length=1, max_length=MAX_JOINTS)]


class Body(BaseModel):
    """Body of a request, without type conversions and unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ClipFields(Body):
    """Fields of a clip besides its joints."""

    layout: LayoutName = Field(description="Name of the skeleton.")
    fps: float = Field(gt=0, le=1000, description="Frames per second.")


class Clip(ClipFields):
    """A clip of one person."""

    joints: list[Pose] = Field(
        min_length=MIN_CLIP_FRAMES,
        max_length=MAX_CLIP_FRAMES,
        description="[T][V][3] meters, y up; [T][V][2] in a 2-D layout, for models that take those; null for a missing "
        "joint.",
    )


class Prompt(Body):
    """Description of a motion."""

    prompt: str = Field(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S", examples=["a person walks and waves"])
    seconds: float | None = Field(None, ge=MIN_SECONDS, description="Length; null: endless.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the random numbers: same seed, same motion.")
    guidance: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Scale of the recognizer's gradient; 0 is off, 1 a good value.",
    )


class ClipPrompt(Prompt):
    """Description of a motion that is returned in one piece."""

    seconds: float | None = Field(
        None, ge=MIN_SECONDS, le=MAX_SECONDS, description="Length; null: typical for the prompt."
    )


class ClipDecision(BaseModel):
    """Action in a clip."""

    label: str
    score: float = Field(ge=0, le=1)
    top: list[list[str | float]] = Field(description="Most probable labels, each with its probability, best first.")
    latency_ms: float
    warnings: list[str] = Field(
        description="What makes the decision doubtful, one line each: the rate, or the axes or the order of the joints."
    )


class GeneratedMotion(BaseModel):
    """Generated motion; it can be posted to /recognize."""

    layout: str
    fps: float
    joints: list[list[list[float]]] = Field(description="[T][V][3] meters, y up.")


BodyType = TypeVar("BodyType", bound=Body)


def json_body(model: type[Body]) -> dict[str, Any]:
    """OpenAPI description of a body that the route parses itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def parse_body(model: type[BodyType], value: Any) -> BodyType:
    """Validate decoded JSON. Raises InputError at the first field that is unknown or wrong."""
    for name in value if isinstance(value, dict) else ():
        if name not in model.model_fields:
            raise InputError(_one_line(f"{name}: Extra inputs are not permitted"))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InputError(first_error(error.errors())) from None


def parse_clip(content: bytes) -> Motion:
    """Read the JSON of a `Clip`, without an object for each number. Raises InputError at the first problem."""
    try:
        joints, others = parse_json_clip(content, MIN_CLIP_FRAMES, MAX_CLIP_FRAMES, MAX_JOINTS, _MAX_OTHER_BYTES)
    except ValueError as error:
        raise InputError(_one_line(str(error))) from None
    value = parse_json(others)
    del value["joints"]
    fields = parse_body(ClipFields, value)
    return Motion(joints, fields.fps, fields.layout)


FileName = Annotated[str, Query(min_length=1, max_length=255, description="Name of the file; its extension counts.")]
FileLayout = Annotated[str | None, Query(max_length=64, description="Name of the skeleton, if the file has no names.")]
FileFps = Annotated[float | None, Query(gt=0, le=1000, description="Frames per second, if not those of the file.")]
FileScale = Annotated[float | None, Query(gt=0, lt=1e9, description="Meters per unit, if not those of the file.")]
FileUp = Annotated[Literal["y", "z", "-y"] | None, Query(description="Axis of the file that points up, if not y.")]
FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class PersonFrames(BaseModel):
    """One person of a motion file."""

    person: int
    joints: list[list[list[float | None]]] = Field(description="[T][V][3] meters, y up; null for a missing joint.")


class MotionFile(BaseModel):
    """Frames of a motion file."""

    layout: str
    t: list[float] = Field(description="Seconds of each frame; the first is 0.")
    people: list[PersonFrames]
    notes: list[str] = Field(description="What is doubtful about the file, one line each.")


class Model(BaseModel):
    """A model of this server."""

    name: str
    task: str
    license: str
    layout: str
    fps: float
    labels: list[str] = Field(description="Labels of a recognizer, or actions in the training data of a generator.")
    any_labels: bool = Field(description="Whether the model accepts any text as a label or prompt.")


class Skeleton(BaseModel):
    """A skeleton layout."""

    joints: list[str]
    parents: list[int] = Field(description="Index of each joint's parent, -1 for the root.")


class Status(BaseModel):
    status: str


class Problem(BaseModel):
    """An error."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    413: {"model": Problem, "description": "The body is too long."},
    422: {"model": Problem, "description": "The body does not match the schema."},
    503: {"model": Problem, "description": "The server is busy; try again later."},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "The origin or the host name is not allowed."},
    429: {"model": Problem, "description": "Too many requests from this address."},
}


def first_error(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors in one line, without the input."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _one_line(f"{where or 'body'}: {first['msg']}")


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().split())[:_MAX_ERROR_CHARACTERS]
