"""Every accuracy benchmark of `motionrt eval`: name, measurement, required data, kind of model.

Importing this module needs no torch; models that need it are loaded when a benchmark runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.schema import MANIFEST, Manifest, RecognitionManifest
from ...runtime.errors import InputError
from ...training.data import ntu
from . import motion_data
from .motion_model import MotionModel, Scorer, check_abilities
from .protocols import (
    best_of,
    closed_loop,
    composed,
    continuous,
    details,
    editing,
    edits,
    labeled_clips,
    onsets,
    out_of_range,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The model and the settings of one evaluation.

    Attributes:
        model: name or path of a bundle; for motion benchmarks also a folder of training runs.
        data: folder of the benchmark's data.
        backend, precision: of a recognizer, as in Recognizer.load.
        scores: file to write with the scores of every clip; None: none.
        evaluator: folder of the evaluator of motion; None: that of the model's runs, or else ours.
        guidance: step of a generator along the recognizer's gradient; 0: off.
    """

    model: str
    data: Path | None = None
    backend: str = "auto"
    precision: str = "fp32"
    scores: Path | None = None
    evaluator: Path | None = None
    guidance: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """A data set that a benchmark reads.

    Attributes:
        name: short name.
        files: patterns that the folder must match, relative to it; alternatives as "a|b".
        source: where to get the data.
    """

    name: str
    files: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Benchmarks that load the same kind of model.

    Attributes:
        title: heading in the list of benchmarks.
        model: the kind of model.
        extra: optional dependencies that the model needs; None if it needs none.
        evaluate: load the model and run the benchmark's protocol.
    """

    title: str
    model: str
    extra: str | None
    evaluate: Callable[[Benchmark, Options], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One accuracy benchmark.

    Attributes:
        name: on the command line.
        about: what is measured, in one line.
        kind: decides how the model is loaded and with which arguments `protocol` is called.
        data: the data set that it reads; None if it needs none.
        protocol: measures a loaded model.
        needs: abilities of `MotionModel` and `Scorer` that a motion benchmark uses.
        evaluator: name of the one that ships with motionrt.
        aliases: other spellings of the name.
    """

    name: str
    about: str
    kind: Kind
    data: Data | None
    protocol: Callable[..., dict[str, Any]]
    needs: tuple[str, ...] = ()
    evaluator: str = "evaluator"
    aliases: tuple[str, ...] = ()


def evaluate(name: str, options: Options) -> dict[str, Any]:
    """Run a benchmark.

    Returns:
        A JSON object: benchmark, model, protocol, counts and scores.
    Raises:
        InputError: an unknown benchmark, missing data (with their source), or an unsuitable model.
    """
    benchmark = find(name)
    if options.evaluator is not None and "evaluator" not in benchmark.needs:
        raise InputError(f"benchmark {name} uses no evaluator")
    if options.guidance and not {"generate", "edit"} & set(benchmark.needs):
        raise InputError(f"benchmark {name} generates no motion that guidance changes")
    if options.scores is not None and benchmark.kind not in (NTU, WHOLE_CLIPS):
        raise InputError(f"benchmark {name} writes no scores, only those of NTU RGB+D and Kinetics-Skeleton do")
    if benchmark.kind in (NTU, WHOLE_CLIPS) and options.model.endswith(".npz"):
        paths = [Path(path) for path in options.model.split(",")]
        return {"benchmark": name, "model": options.model} | labeled_clips.saved_scores(paths, benchmark.name)
    check_data(benchmark, options.data)
    return benchmark.kind.evaluate(benchmark, options)


def find(name: str) -> Benchmark:
    """The benchmark of a name or alias. Raises InputError, listing all of them, if there is none."""
    for benchmark in BENCHMARKS:
        if name in (benchmark.name, *benchmark.aliases):
            return benchmark
    groups = (f"{kind.title}: {', '.join(b.name for b in BENCHMARKS if b.kind is kind)}" for kind in KINDS)
    raise InputError(f"unknown benchmark {name!r}, expected one of: {'; '.join(groups)}")


def check_data(benchmark: Benchmark, folder: Path | None) -> None:
    """Raises InputError in one line: what is missing, where to get it and what the folder must contain."""
    if benchmark.data is None:
        return
    files, source = benchmark.data.files, benchmark.data.source
    option = "--data DIR, " if folder is None else ""
    expected = f"benchmark {benchmark.name} needs {option}a folder with {file_list(files)}; {source}"
    if folder is None:
        raise InputError(expected)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; {expected}")
    if missing := [pattern for pattern in files if not has_file(folder, pattern)]:
        raise InputError(f"{folder}: has no {file_list(missing)}; {expected}")


def has_file(folder: Path, pattern: str) -> bool:
    """True if the folder contains a file that matches one of the patterns "a|b"."""
    return any(next(folder.glob(alternative), None) is not None for alternative in pattern.split("|"))


def file_list(patterns: Sequence[str]) -> str:
    return ", ".join(" or ".join(pattern.split("|")) for pattern in patterns)


# ---- kinds of models


def evaluate_recognizer(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    from ...runtime.recognition.recognizer import Recognizer

    recognizer = Recognizer.load(options.model, options.backend, precision=options.precision)
    about = {
        "benchmark": benchmark.name,
        "model": options.model,
        "weights_sha256": recognizer.bundle.manifest.files["weights.safetensors"].sha256,
        "backend": recognizer.backend,
        "precision": options.precision,
    }
    return about | benchmark.protocol(recognizer, options.data)


def evaluate_closed_loop(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    from ...runtime.generation.generator import Generator
    from ...runtime.recognition.recognizer import Recognizer

    generator, recognizer = Generator.load(options.model), Recognizer.load("live")
    prompts = closed_loop.known_prompts(generator, recognizer)
    about = {"benchmark": benchmark.name, "model": options.model}
    return about | benchmark.protocol(generator, recognizer, prompts)


def evaluate_ntu(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    """A recognizer of the data set's classes, or a generator, which recognizes them by their names."""
    folder = Path(options.model)
    if folder.is_dir() and not (folder / MANIFEST).is_file():  # a folder of runs
        return evaluate_networks(benchmark, options)
    if isinstance(Bundle.load(options.model, Manifest).manifest, RecognitionManifest):
        protocol = partial(labeled_clips.ntu_clips, split=benchmark.name, scores=options.scores)
        return evaluate_recognizer(replace(benchmark, protocol=protocol), options)
    if options.scores is not None:
        raise InputError(f"{options.model}: only recognizers write scores")
    return evaluate_networks(benchmark, options)


def evaluate_whole_clips(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    protocol = partial(benchmark.protocol, scores=options.scores)
    return evaluate_recognizer(replace(benchmark, protocol=protocol), options)


def evaluate_networks(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    from .coamd_model import load

    assert options.data is not None
    evaluator = benchmark.evaluator if "evaluator" in benchmark.needs else None
    model, scorer = load(options.model, evaluator=evaluator, guidance=options.guidance, chosen=options.evaluator,
                         data=options.data)  # fmt: skip
    return {"model": options.model} | run_motion_benchmark(benchmark.name, options.data, model, scorer)


def run_motion_benchmark(
    name: str, data: Path | None, model: MotionModel, scorer: Scorer | None = None
) -> dict[str, Any]:
    """Run a motion benchmark on any model.

    Returns:
        A JSON object: benchmark, protocol, counts and scores, each with its interval.
    Raises:
        InputError: an unknown benchmark, missing data, or an ability that the model does not have.
    """
    benchmark, scorer = find(name), scorer or Scorer()
    check_data(benchmark, data)
    check_abilities(name, benchmark.needs, model, scorer)
    return {"benchmark": name} | benchmark.protocol(data, model, scorer)


def evaluate_matcher(benchmark: Benchmark, options: Options) -> dict[str, Any]:
    from ...training.tdsm.published import exported_test, zero_shot_test

    assert options.data is not None
    about = {"benchmark": benchmark.name, "model": options.model, "protocol": "features of a split's unseen classes"}
    run = Path(options.model)
    if run.is_dir() and not (run / MANIFEST).is_file():
        return about | zero_shot_test(run, options.data)
    return about | exported_test(options.model, options.data)


RECOGNIZER = Kind(
    title="recognition", model="a recognizer, e.g. live or nwucla-stream", extra=None, evaluate=evaluate_recognizer
)
CLOSED_LOOP = Kind(
    title="generated motion, recognized by live",
    model="a generator, e.g. default",
    extra=None,
    evaluate=evaluate_closed_loop,
)
NETWORKS = Kind(
    title="generation, editing, retrieval and recognition by text",
    model="a generator, e.g. default, or a folder of CoAMD runs",
    extra="train",
    evaluate=evaluate_networks,
)
NTU = replace(
    NETWORKS,
    title="NTU RGB+D",
    model="a generator, a recognizer of its classes, or saved scores a.npz,b.npz,...",
    evaluate=evaluate_ntu,
)
WHOLE_CLIPS = replace(
    RECOGNIZER,
    title="Kinetics-Skeleton",
    model="a recognizer of its classes, or saved scores a.npz,b.npz,...",
    evaluate=evaluate_whole_clips,
)
MATCHER = Kind(
    title="zero-shot recognition by TDSM as published",
    model="the run of recipe tdsm-published or of an imported network, or the bundle of one",
    extra="train",
    evaluate=evaluate_matcher,
)
KINDS = (RECOGNIZER, CLOSED_LOOP, NETWORKS, NTU, WHOLE_CLIPS, MATCHER)

# ---- data sets


def own_data(recipe: str) -> Data:
    return Data(
        name="our data sets",
        files=("*.npz", "*.json"),
        source=f"the data sets NAME.npz with NAME.json that recipe {recipe} trains on",
    )


HUMANML_FILES = ("new_joints/*.npy", "texts/*.txt", "test.txt")
HUMANML_SOURCE = "HumanML3D is built by the scripts of https://github.com/EricGuo5513/HumanML3D from AMASS"
HUMANML3D = Data(name="HumanML3D", files=HUMANML_FILES, source=HUMANML_SOURCE)
KIT_ML = Data(
    name="KIT-ML",
    files=HUMANML_FILES,
    source="KIT-ML as processed for text-to-motion is linked at https://github.com/EricGuo5513/HumanML3D",
)
HUMANML3D_400 = Data(
    name="HumanML3D and its 400 labels",
    files=(
        *HUMANML_FILES,
        "annotations_actions_400.json|annotations_actions_400.json.gz",
        "humanml3d400_label_map.txt",
    ),
    source=f"{HUMANML_SOURCE}; annotations_actions_400.json.gz and humanml3d400_label_map.txt are in data/ of "
    "https://github.com/jidongkuang/Universal-Skeleton",
)


TDSM_FEATURES = Data(
    name="TDSM's features",
    files=("train.npy", "train_label.npy", "ztest.npy", "z_label.npy"),
    source="features of a frozen encoder in the files of https://github.com/KAIST-VICLab/TDSM, for runs with texts.npz",
)


KINETICS_SKELETON = Data(
    name="Kinetics-Skeleton",
    files=("kinetics_val/*.json", "kinetics_val_label.json", "kinetics_train_label.json"),
    source="the poses of Kinetics-400 that are linked at https://github.com/yysijie/st-gcn",
)


def ntu_data(classes: str) -> Data:
    archives = "nturgbd_skeletons_s001_to_s017.zip" + (" and …_s018_to_s032.zip" if classes == "120" else "")
    return Data(
        name=f"NTU RGB+D {classes}",
        files=("**/*.skeleton",),
        source="ask for NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition and unpack "
        f"{archives} here, SsssCcccPpppRrrrAaaa.skeleton in any sub-folder",
    )


# ---- the benchmarks

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="live",
        about="top-1 on all labeled clips that the model was not trained on",
        kind=RECOGNIZER,
        data=own_data("live"),
        protocol=labeled_clips.live,
    ),
    Benchmark(
        name="nw-ucla",
        about="top-1 on view 3 of NW-UCLA, with and without copied clips",
        kind=RECOGNIZER,
        data=own_data("nwucla-stream"),
        protocol=labeled_clips.nw_ucla,
    ),
    Benchmark(
        name="utd-mhad",
        about="top-1 on subjects 2, 4, 6 and 8 of UTD-MHAD",
        kind=RECOGNIZER,
        data=own_data("utdmhad-stream"),
        protocol=labeled_clips.utd_mhad,
    ),
    Benchmark(
        name="jhmdb",
        about="top-1 on the test clips of JHMDB's first split, in 2-D",
        kind=RECOGNIZER,
        data=own_data("jhmdb-stream"),
        protocol=labeled_clips.jhmdb,
    ),
    Benchmark(
        name="continuous",
        about="onsets and labels in continuous streams: event F1, false onsets, delay",
        kind=RECOGNIZER,
        data=own_data("live"),
        protocol=continuous.continuous,
    ),
    Benchmark(
        name="onsets",
        about="right, wrong and no onsets in clips of people kept out, and onsets on unknown actions",
        kind=RECOGNIZER,
        data=own_data("live"),
        protocol=onsets.onsets,
    ),
    Benchmark(
        name="recordings",
        about="top-1 on your own recordings that the model was not trained on",
        kind=RECOGNIZER,
        data=Data(
            name="your recordings",
            files=("*",),
            source="files of `motionrt record`, other motion files, or clip sets (docs/extend.md, A data set)",
        ),
        protocol=labeled_clips.recordings,
    ),
    Benchmark(
        name="recognized",
        about="top-1 of live on clips generated from prompts",
        kind=CLOSED_LOOP,
        data=None,
        protocol=closed_loop.recognized,
        aliases=("recognised",),
    ),
    Benchmark(
        name="streaming",
        about="prompt changes recognized in generated streams, and smoothness between windows",
        kind=CLOSED_LOOP,
        data=None,
        protocol=closed_loop.streaming,
    ),
    Benchmark(
        name="composed",
        about="two actions in one description, at once or one after the other, by rules and live",
        kind=CLOSED_LOOP,
        data=None,
        protocol=composed.composed,
    ),
    Benchmark(
        name="best-of",
        about="motions chosen among several by the model's own recognizer, by rules and live",
        kind=CLOSED_LOOP,
        data=None,
        protocol=best_of.best_of,
    ),
    Benchmark(
        name="details",
        about="counts, standing still and turns as descriptions say, by rules",
        kind=CLOSED_LOOP,
        data=None,
        protocol=details.details,
    ),
    Benchmark(
        name="out-of-range",
        about="descriptions told to be known or unknown",
        kind=CLOSED_LOOP,
        data=None,
        protocol=out_of_range.out_of_range,
    ),
    Benchmark(
        name="edits",
        about="speed of the root and sliding feet in edited clips, against the clips before",
        kind=CLOSED_LOOP,
        data=None,
        protocol=edits.edits,
    ),
    Benchmark(
        name="generation",
        about="text to motion on our own data",
        kind=NETWORKS,
        data=own_data("coamd-generator"),
        protocol=motion_data.own_generation,
        needs=("generate", "evaluator"),
    ),
    Benchmark(
        name="generation-all",
        about="the same with the sets and actions that came later, by an evaluator that knows them",
        kind=NETWORKS,
        data=own_data("coamd-generator"),
        protocol=partial(motion_data.own_generation, with_later=True),
        needs=("generate", "evaluator"),
        evaluator="evaluator-all",
    ),
    Benchmark(
        name="reconstruction",
        about="motion through the auto-encoder, on our own data",
        kind=NETWORKS,
        data=own_data("coamd-ae"),
        protocol=motion_data.own_reconstruction,
        needs=("reconstruct",),
    ),
    Benchmark(
        name="retrieval",
        about="text to motion and motion to text on our own data",
        kind=NETWORKS,
        data=own_data("coamd-mar"),
        protocol=motion_data.own_retrieval,
        needs=("retriever",),
    ),
    Benchmark(
        name="humanml3d-t2m",
        about="text to motion on HumanML3D's test split",
        kind=NETWORKS,
        data=HUMANML3D,
        protocol=motion_data.humanml_generation,
        needs=("generate", "evaluator"),
    ),
    Benchmark(
        name="kit-t2m",
        about="text to motion on KIT-ML's test split",
        kind=NETWORKS,
        data=KIT_ML,
        protocol=motion_data.kit_generation,
        needs=("generate", "evaluator"),
    ),
    Benchmark(
        name="humanml3d-reconstruction",
        about="HumanML3D's test split through the auto-encoder: errors, FID, R-precision",
        kind=NETWORKS,
        data=HUMANML3D,
        protocol=motion_data.humanml_reconstruction,
        needs=("reconstruct", "evaluator"),
    ),
    Benchmark(
        name="kit-reconstruction",
        about="KIT-ML's test split through the auto-encoder: errors, FID, R-precision",
        kind=NETWORKS,
        data=KIT_ML,
        protocol=partial(motion_data.humanml_reconstruction, kit=True),
        needs=("reconstruct", "evaluator"),
    ),
    Benchmark(
        name="humanml3d-retrieval",
        about="text to motion and motion to text in HumanML3D's test split",
        kind=NETWORKS,
        data=HUMANML3D,
        protocol=motion_data.humanml_retrieval,
        needs=("retriever",),
    ),
    Benchmark(
        name="humanml3d-400",
        about="recognition of HumanML3D's test split among 400 labels, any of a motion's labels",
        kind=NETWORKS,
        data=HUMANML3D_400,
        protocol=motion_data.humanml_400,
        needs=("classify",),
    ),
    *(
        Benchmark(
            name=split,
            about=f"recognition on NTU RGB+D {split[3:].replace('-', ', ')} test split, among its class names",
            kind=NTU,
            data=ntu_data(split.split("-")[0].removeprefix("ntu")),
            protocol=partial(motion_data.ntu_recognition, split=split),
            needs=("classify",),
        )
        for split in ntu.TEST_SPLITS
    ),
    Benchmark(
        name="kinetics-skeleton",
        about="top-1 and top-5 on Kinetics-Skeleton's validation clips",
        kind=WHOLE_CLIPS,
        data=KINETICS_SKELETON,
        protocol=labeled_clips.kinetics_clips,
    ),
    Benchmark(
        name="tdsm",
        about="top-1 among the unseen classes of a split of NTU RGB+D or PKU-MMD, on features",
        kind=MATCHER,
        data=TDSM_FEATURES,
        protocol=dict,
    ),
    *(
        Benchmark(
            name=f"humanml3d-edit-{kind}",
            about=f"editing on HumanML3D's test split: {rule}",
            kind=NETWORKS,
            data=HUMANML3D,
            protocol=partial(motion_data.humanml_editing, kind=kind),
            needs=("edit", "evaluator"),
        )
        for kind, rule in editing.EDITS.items()
    ),
)
