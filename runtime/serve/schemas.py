"""What goes over HTTP, as the OpenAPI tells it.

Shapes: T frames, V joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..body.layout import Layout, layouts
from ..body.motion_data import MAX_JOINTS
from ..generation.generator import MAX_SECONDS
from ..recognition.engine import MIN_CLIP_FRAMES
from ..text_encoder import MAX_CHARACTERS

MIN_SECONDS = 0.2
MAX_CLIP_FRAMES = 1800  # of a clip
_SHOWN_CHARACTERS = 200  # of an error

LAYOUTS_3D = [name for name in layouts() if Layout.load(name).dims == 3]
LayoutName = Annotated[str, Field(json_schema_extra={"enum": LAYOUTS_3D})]
Coordinate = float | None
Point = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]
Pose = Annotated[list[Point], Field(min_length=1, max_length=MAX_JOINTS)]


class Body(BaseModel):
    """Of a request: nothing is converted, nothing else is taken."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Clip(Body):
    """A clip of one person."""

    layout: LayoutName = Field(description="Name of the skeleton.")
    fps: float = Field(gt=0, le=1000, description="Frames a second.")
    joints: list[Pose] = Field(
        min_length=MIN_CLIP_FRAMES,
        max_length=MAX_CLIP_FRAMES,
        description="[T][V][3] metres, y up; null where a joint was not seen.",
    )


class Prompt(Body):
    """What motion is wanted."""

    prompt: str = Field(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S", examples=["a person walks and waves"])
    seconds: float | None = Field(None, ge=MIN_SECONDS, description="How long; null: as such motions are, or endless.")
    seed: int = Field(0, ge=0, lt=2**63, description="Another seed, another motion.")
    guidance: float = Field(0.0, ge=0, le=1000, description="Step along the recogniser's gradient, 1 is a good one.")


class ClipPrompt(Prompt):
    """What motion is wanted in one piece."""

    seconds: float | None = Field(None, ge=MIN_SECONDS, le=MAX_SECONDS, description="null: as such motions are.")


class ClipDecision(BaseModel):
    """What is done in a clip."""

    label: str
    score: float = Field(ge=0, le=1)
    top: list[list[str | float]] = Field(description="The most probable labels, each with its probability, best first.")
    latency_ms: float


class GeneratedMotion(BaseModel):
    """A motion that was made; it can be posted to /recognize."""

    layout: str
    fps: float
    joints: list[list[list[float]]] = Field(description="[T][V][3] metres, y up.")


class Model(BaseModel):
    """A model that is served."""

    name: str
    task: str
    license: str
    layout: str
    fps: float
    labels: list[str] = Field(description="What a recogniser can say, or the actions that a generator has seen.")
    any_labels: bool = Field(description="Whether clients may choose labels.")


class Skeleton(BaseModel):
    """A skeleton layout."""

    joints: list[str]
    parents: list[int] = Field(description="Of every joint the one that it hangs from, -1: none.")


class Status(BaseModel):
    status: str


class Problem(BaseModel):
    """What was wrong."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    413: {"model": Problem, "description": "The body is too long."},
    422: {"model": Problem, "description": "The body is not as it should be."},
    503: {"model": Problem, "description": "Too much is being done already; come back later."},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "A page of this origin, or a host of this name, may not ask."},
    429: {"model": Problem, "description": "Too many requests from this address."},
}


def first_error(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors, without what was sent."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    text = f"{where or 'body'}: {first['msg']}"
    return " ".join(text.encode("utf-8", "replace").decode().split())[:_SHOWN_CHARACTERS]
