"""The interface between motion benchmarks and the models that they measure."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.errors import InputError
from .protocols.editing import Edit
from .protocols.reconstruction import Reconstruct
from .protocols.retrieval import EncodeText
from .protocols.scoring import Embedder, Generate, ScoringConfig
from .protocols.text_labels import Classify


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionModel:
    """Abilities of the model under test; a benchmark names the one that is missing.

    Attributes:
        generate, edit, reconstruct, classify: functions as described in their protocols.
        generate_kinect: `generate` in the quality of depth sensors, if supported.
        retriever: embeds motion and text in one space.
    """

    generate: Generate | None = None
    generate_kinect: Generate | None = None
    edit: Edit | None = None
    reconstruct: Reconstruct | None = None
    classify: Classify | None = None
    retriever: Embedder | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Everything that scores a model and is independent of it.

    Attributes:
        evaluator: a `TrainedEvaluator` that was trained on none of the test clips and guides no generation.
        encode_text: text features for the bag-of-joints baseline of retrieval.
        config: repeats, generations and seeds; None: the benchmark's defaults.
    """

    evaluator: Embedder | None = None
    encode_text: EncodeText | None = None
    config: ScoringConfig | None = None


ABILITIES = {
    "generate": "a model that generates motion from text",
    "edit": "a model that edits motion",
    "reconstruct": "an auto-encoder of motion",
    "classify": "a model that recognizes actions among text labels",
    "retriever": "a model that embeds motion and text",
    "evaluator": "an evaluator: the folder of a finished run of recipe coamd-evaluator on the same data",
}


def check_abilities(benchmark: str, needs: tuple[str, ...], model: MotionModel, scorer: Scorer) -> None:
    """Raises InputError naming the first ability that is missing."""
    for need in needs:
        if getattr(model, need, None) is None and getattr(scorer, need, None) is None:
            raise InputError(f"benchmark {benchmark} needs {ABILITIES[need]}")
