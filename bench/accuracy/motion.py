"""The named benchmarks of generation, retrieval, editing and recognition: what data they need, and how they are run.

Needs no torch before a benchmark runs: what a folder lacks is told first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import InputError
from ...training.data import ntu
from . import protocols
from .protocols import Classify, Edit, Encode, Reconstruct
from .scoring import Clip, Embedder, Example, Generate, Measuring, examples

if TYPE_CHECKING:
    from ...training.data.motions import MotionClip


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The abilities of what is measured; a benchmark names the one that it misses.

    Attributes:
        generate, edit, reconstruct, classify: see `metrics.protocols`.
        generate_kinect: `generate` in the quality of sensors, if it can.
        retriever: puts motion and text into one space.
    """

    generate: Generate | None = None
    generate_kinect: Generate | None = None
    edit: Edit | None = None
    reconstruct: Reconstruct | None = None
    classify: Classify | None = None
    retriever: Embedder | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges:
    """What scores a model, apart from it.

    Attributes:
        evaluator: a `TrainedEvaluator` that was trained on none of the test clips and guides nothing.
        encode: features of texts for the bag-of-joints baseline of retrieval.
        measuring: repeats, generations and seeds; None: the benchmark's own.
    """

    evaluator: Embedder | None = None
    encode: Encode | None = None
    measuring: Measuring | None = None


Run = Callable[[Path, Model, Judges], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A named benchmark.

    Attributes:
        about: one line.
        files: what must be in the data folder: paths or patterns relative to it, one of "a|b".
        source: where the data come from.
        needs: fields of `Model` and `Judges`.
        run: the protocol.
    """

    about: str
    files: tuple[str, ...]
    source: str
    needs: tuple[str, ...]
    run: Run


def run(name: str, data: Path | None, model: Model, judges: Judges | None = None) -> dict[str, Any]:
    """Measure a model on a benchmark.

    Args:
        name: one of `BENCHMARKS`.
        data: folder of the benchmark's data.
    Returns:
        A JSON object: benchmark, protocol, counts and figures, each with its interval.
    Raises:
        InputError: no such benchmark; data that are not there, with where to get them and what the folder must look
            like; an ability that the model does not have.
    """
    judges = judges or Judges()
    found = check(name, data)
    for need in found.needs:
        if getattr(model, need, None) is None and getattr(judges, need, None) is None:
            raise InputError(f"benchmark {name} needs {NEEDS[need]}")
    assert data is not None
    return {"benchmark": name} | found.run(data, model, judges)


def check(name: str, data: Path | None) -> Benchmark:
    """The benchmark of that name, once the folder is seen to hold its data.

    Raises:
        InputError: one line that says what is missing, where to get it and what the folder must look like.
    """
    if name not in BENCHMARKS:
        raise InputError(f"unknown benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    found = BENCHMARKS[name]
    missing = [wanted for wanted in found.files if data is None or not present(data, wanted)]
    if missing:
        option = "--data DIR, " if data is None else ""
        needs = f"benchmark {name} needs {option}a folder with {files(found.files)}; {found.source}"
        raise InputError(needs if data is None else f"{data}: has no {files(missing)}; {needs}")
    return found


def present(data: Path, wanted: str) -> bool:
    """Whether the folder holds a file that fits one of the patterns "a|b"."""
    return any(next(data.glob(pattern), None) is not None for pattern in wanted.split("|"))


def files(patterns: Sequence[str]) -> str:
    return ", ".join(" or ".join(pattern.split("|")) for pattern in patterns)


NEEDS = {
    "generate": "a model that generates motion from text",
    "edit": "a model that edits motion",
    "reconstruct": "an auto-encoder of motion",
    "classify": "a model that recognises actions among labels given as text",
    "retriever": "a model that embeds motion and text",
    "evaluator": "an evaluator: the folder of a finished run of recipe coamd-evaluator on the same data",
}

# ---- the protocols on their data


def generation(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
    """Our own data: `test` and `pairs`, of motion capture, and `test_kinect`, of sensors and asked for as such."""
    from ...training.data.motions import load_motions, mirror

    clips = load_motions(data)
    trained = [part for clip in clips if clip.split == "train" for part in parts(clip)]
    known = [joints for clip in trained for joints in (clip.joints, mirror(clip).joints)]
    report = {}
    for name, (split, quality) in GENERATED.items():
        chosen = [clip for clip in clips if clip.split == split and clip.quality == quality]
        real = [example for clip in chosen for example in windowed(clip)]
        if real:
            asked = replace(model, generate=model.generate_kinect or model.generate) if quality == "kinect" else model
            report[name] = text_to_motion(real, asked, fitting(real, judges.measuring or OURS), judges, known)
    if not report:
        raise InputError(f"{data}: none of its clips is in a test split")
    return {
        "protocol": "clips that neither the model nor the evaluator was trained on: `test` and `test_kinect`, whole "
        "trials, takes and subjects; `pairs`, whole (content, style) pairs. In each: "
        + next(iter(report.values()))["protocol"],
        "counts": {name: figures["counts"] for name, figures in report.items()},
    } | report


def reconstruction(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
    """Clips that the auto-encoder was not trained on, by split and quality."""
    from ...training.data.motions import load_motions

    assert model.reconstruct is not None
    clips, report = load_motions(data), {}
    for name, (split, quality) in RECONSTRUCTED.items():
        chosen = [clip for clip in clips if clip.split == split and clip.quality == quality]
        real = [example for clip in chosen for example in windowed(clip)]
        if real:
            report[name] = protocols.reconstruction(model.reconstruct, real, judges.measuring)
    if not report:
        raise InputError(f"{data}: none of its clips is kept out of training")
    return report


def own_retrieval(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
    """Motion capture of the test split and of the pairs kept out; the baseline is fitted to the training clips."""
    from ...training.data.motions import load_motions

    assert model.retriever is not None
    clips = [clip for clip in load_motions(data) if clip.quality == "mocap"]
    real = [example for clip in clips if clip.split in ("test", "pairs") for example in windowed(clip)]
    training = [example for clip in clips if clip.split == "train" for example in windowed(clip)]
    return protocols.retrieval(model.retriever, real, training, judges.encode, judges.measuring or Measuring())


RECONSTRUCTED = {
    "validation": ("validation", "mocap"),
    "test": ("test", "mocap"),
    "pairs": ("pairs", "mocap"),
    "validation_kinect": ("validation", "kinect"),
}
GENERATED = {"test": ("test", "mocap"), "pairs": ("pairs", "mocap"), "test_kinect": ("test", "kinect")}


def humanml_t2m(kit: bool) -> Run:
    def measure(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
        real = humanml(data, "test", kit)
        return text_to_motion(real, model, published(judges, kit), judges, ())

    return measure


def humanml_retrieval(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
    assert model.retriever is not None
    training = humanml(data, "train", kit=False) if judges.encode and (data / "train.txt").is_file() else []
    measuring = judges.measuring or Measuring()
    return protocols.retrieval(model.retriever, humanml(data, "test", False), training, judges.encode, measuring)


def humanml_edit(kind: str) -> Run:
    def measure(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
        assert judges.evaluator is not None and model.edit is not None
        real = humanml(data, "test", kit=False)
        return protocols.editing(judges.evaluator, real, model.edit, kind, published(judges, kit=False))

    return measure


def humanml_400(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
    """Right is any of the labels that the captions of a clip's motion were given."""
    from ...training.data.humanml import load_humanml, load_labels

    assert model.classify is not None
    known, of_motion = load_labels(data)
    everything = load_humanml(data, "test")
    clips = [clip for clip in everything if of_motion.get(clip.action)]
    own = [{known[i] for i in of_motion[clip.action]} for clip in clips]
    groups = [motion_id(clip) for clip in clips]
    report = protocols.recognition(model.classify, [clip.joints for clip in clips], own, known, groups)
    report["counts"] |= {"motions": len(set(groups)), "left_out": len(everything) - len(clips)}
    return report


def ntu_split(split: str) -> Run:
    def measure(data: Path, model: Model, judges: Judges) -> dict[str, Any]:
        assert model.classify is not None
        chosen, listed = ntu.test_recordings(data, split)
        clips, kept, empty = ntu.lift_recordings(chosen)
        report = protocols.recognition(
            model.classify,
            clips,
            [{sample.label} for sample in kept],
            ntu.labels(split),
            groups=[sample.subject for sample in kept],
        )
        report["counts"] |= {"subjects": len({s.subject for s in kept}), "left_out": listed + empty}
        return report

    return measure


OURS = Measuring(generations=3, several_texts=20, several=10)
PUBLISHED = Measuring(generations=20, several_texts=100)


def published(judges: Judges, kit: bool) -> Measuring:
    """The literature's amounts; KIT-ML has its own skeleton and rate."""
    measuring = judges.measuring or PUBLISHED
    return replace(measuring, fps=12.5, layout="kit21") if kit else measuring


def text_to_motion(
    real: Sequence[Example], model: Model, measuring: Measuring, judges: Judges, training: Sequence[np.ndarray]
) -> dict[str, Any]:
    assert judges.evaluator is not None and model.generate is not None
    return protocols.text_to_motion(judges.evaluator, real, model.generate, measuring, training)


def fitting(real: Sequence[Example], measuring: Measuring) -> Measuring:
    """With batches no larger than there are descriptions."""
    descriptions = len({example.description for example in real})
    return replace(measuring, batch=min(measuring.batch, descriptions))


def parts(clip: MotionClip) -> list[MotionClip]:
    """The windows of a clip, each a clip of its own."""
    from ...training.data.motions import cut, windows

    return [cut(clip, window) for window in windows(clip)]


def windowed(clip: MotionClip) -> list[Example]:
    """The windows of a clip as examples of one group."""
    return examples(parts(clip), group=lambda part: clip.name)


def humanml(data: Path, split: str, kit: bool) -> list[Example]:
    """Every clip is a description of its own; parts of one motion, and its mirror image, are one group."""
    from ...training.data.humanml import load_humanml

    return examples(load_humanml(data, split, kit), description=lambda clip: clip.name, group=motion_id)


def motion_id(clip: Clip) -> str:
    """The ID of a published motion, that of its mirror image without its M."""
    return (clip.action or "").removeprefix("M")


HUMANML = ("new_joints/*.npy", "texts/*.txt", "test.txt")
FROM_HUMANML = "HumanML3D is built by the scripts of https://github.com/EricGuo5513/HumanML3D from AMASS"
FROM_KIT = "KIT-ML as processed for text-to-motion is linked at https://github.com/EricGuo5513/HumanML3D"
FROM_400 = (
    "annotations_actions_400.json.gz and humanml3d400_label_map.txt are in data/ of "
    "https://github.com/jidongkuang/Universal-Skeleton"
)
FROM_NTU = (
    "ask for NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition and unpack {} here, "
    "SsssCcccPpppRrrrAaaa.skeleton in any sub-folder"
)
NTU60, NTU120 = "nturgbd_skeletons_s001_to_s017.zip", "nturgbd_skeletons_s001_to_s017.zip and …_s018_to_s032.zip"
GENERATING, EDITING = ("generate", "evaluator"), ("edit", "evaluator")

BENCHMARKS: dict[str, Benchmark] = {
    "generation": Benchmark(
        about="text to motion on our own data",
        files=("*.npz", "*.json"),
        source="the data sets NAME.npz with NAME.json that recipe coamd-generator trains on",
        needs=GENERATING,
        run=generation,
    ),
    "reconstruction": Benchmark(
        about="motion through the auto-encoder, on our own data",
        files=("*.npz", "*.json"),
        source="the data sets NAME.npz with NAME.json that recipe coamd-ae trains on",
        needs=("reconstruct",),
        run=reconstruction,
    ),
    "retrieval": Benchmark(
        about="text to motion and motion to text on our own data",
        files=("*.npz", "*.json"),
        source="the data sets NAME.npz with NAME.json that recipe coamd-mar trains on",
        needs=("retriever",),
        run=own_retrieval,
    ),
    "humanml3d-t2m": Benchmark(
        about="text to motion on HumanML3D's test split",
        files=HUMANML,
        source=FROM_HUMANML,
        needs=GENERATING,
        run=humanml_t2m(kit=False),
    ),
    "kit-t2m": Benchmark(
        about="text to motion on KIT-ML's test split",
        files=HUMANML,
        source=FROM_KIT,
        needs=GENERATING,
        run=humanml_t2m(kit=True),
    ),
    "humanml3d-retrieval": Benchmark(
        about="text to motion and motion to text among HumanML3D's test split",
        files=HUMANML,
        source=FROM_HUMANML,
        needs=("retriever",),
        run=humanml_retrieval,
    ),
    "humanml3d-400": Benchmark(
        about="recognition of HumanML3D's test split among 400 labels, any of a motion's labels",
        files=(*HUMANML, "annotations_actions_400.json|annotations_actions_400.json.gz", "humanml3d400_label_map.txt"),
        source=f"{FROM_HUMANML}; {FROM_400}",
        needs=("classify",),
        run=humanml_400,
    ),
    **{
        split: Benchmark(
            about=f"recognition of NTU RGB+D {split[3:].split('-')[0]}, test part of {split.split('-')[1]}, among the "
            "names of its classes",
            files=("**/*.skeleton",),
            source=FROM_NTU.format(NTU60 if split.startswith("ntu60") else NTU120),
            needs=("classify",),
            run=ntu_split(split),
        )
        for split in ntu.TEST_SPLITS
    },
    **{
        f"humanml3d-edit-{kind}": Benchmark(
            about=f"editing on HumanML3D's test split: {rule}",
            files=HUMANML,
            source=FROM_HUMANML,
            needs=EDITING,
            run=humanml_edit(kind),
        )
        for kind, rule in protocols.EDITS.items()
    },
}
