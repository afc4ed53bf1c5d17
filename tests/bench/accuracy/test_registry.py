"""The registry of benchmarks: messages about missing data, and each protocol on its data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy import motion_data
from motionrt.bench.accuracy.motion_model import MotionModel, Scorer
from motionrt.bench.accuracy.protocols.scoring import ScoringConfig
from motionrt.bench.accuracy.registry import BENCHMARKS, NETWORKS, NTU, Options, check_data, evaluate, find
from motionrt.bench.accuracy.registry import run_motion_benchmark as run
from motionrt.runtime.errors import InputError
from motionrt.training.data import ntu

from .synthetic import Reader, clip, follows_prompt

MOTION_NAMES = {
    *(
        "generation",
        "generation-all",
        "reconstruction",
        "retrieval",
        "humanml3d-t2m",
        "kit-t2m",
        "humanml3d-retrieval",
        "humanml3d-400",
    ),
    *("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset"),
    *("humanml3d-reconstruction", "kit-reconstruction"),
    *("humanml3d-edit-prefix", "humanml3d-edit-suffix", "humanml3d-edit-inpaint", "humanml3d-edit-outpaint"),
}
OWN_NAMES = {"live", "nw-ucla", "utd-mhad", "jhmdb", "continuous", "onsets", "recordings"}
NAMES = (
    MOTION_NAMES
    | OWN_NAMES
    | {"recognized", "recognised", "streaming", "composed", "details", "best-of", "edits", "tdsm"}
)
NAMES |= {"kinetics-skeleton", "out-of-range"}
QUICK = ScoringConfig(repeats=2, batch=6, diversity_pairs=10)


@dataclass(frozen=True)
class Recording:
    """A clip as returned by load_motions."""

    joints: np.ndarray
    captions: tuple[str, ...]
    action: str
    style: str | None
    split: str
    name: str
    quality: str
    source: str = "synthetic"


def recordings(split: str, actions: int = 8, quality: str = "mocap", frames: int = 44) -> list[Recording]:
    return [
        Recording(
            joints=clip(a, frames, s).astype(np.float32),
            captions=(f"someone does {a}", f"a person does {a}"),
            action=f"action {a}",
            style=None,
            split=split,
            name=f"{split} {a} {s}",
            quality=quality,
        )
        for a in range(actions)
        for s in range(3)
    ]


def always_first(clips: Sequence[np.ndarray], known: Sequence[str]) -> list[str]:
    return [known[0]] * len(clips)


def keeps(clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int) -> Any:
    return clips


def lifts(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [joints + [0, 0.03, 0] for joints in clips]


EVERYTHING = MotionModel(
    generate=follows_prompt, edit=keeps, reconstruct=lifts, classify=always_first, retriever=Reader()
)
SCORER = Scorer(evaluator=Reader(), config=QUICK)


def test_every_name_has_one_benchmark() -> None:
    names = [name for benchmark in BENCHMARKS for name in (benchmark.name, *benchmark.aliases)]
    assert set(names) == NAMES and len(names) == len(NAMES)
    assert {benchmark.name for benchmark in BENCHMARKS if benchmark.kind in (NETWORKS, NTU)} == MOTION_NAMES
    assert all(benchmark.data and benchmark.data.files for benchmark in BENCHMARKS if benchmark.name in MOTION_NAMES)
    assert len({benchmark.about for benchmark in BENCHMARKS}) == len(BENCHMARKS)
    assert find("recognised") is find("recognized")


@pytest.mark.parametrize("name", sorted(MOTION_NAMES))
def test_without_data_one_line_says_where_to_get_it_and_what_the_folder_must_contain(name: str, tmp_path: Path) -> None:
    for data in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError) as raised:
            run(name, data, EVERYTHING, SCORER)
        message = str(raised.value)
        assert "\n" not in message and name in message and ("--data" if data is None else str(data)) in message
        data_set = find(name).data
        assert data_set is not None
        for pattern in data_set.files:
            assert all(part in message for part in pattern.split("|"))
        assert "https://" in message or name in ("generation", "generation-all", "reconstruction", "retrieval")


def test_only_missing_files_are_reported(tmp_path: Path) -> None:
    for path in ("new_joints/000000.npy", "texts/000000.txt", "annotations_actions_400.json.gz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(
        InputError, match=r"has no test\.txt, humanml3d400_label_map\.txt; benchmark humanml3d-400 needs"
    ):
        check_data(find("humanml3d-400"), tmp_path)
    (tmp_path / "test.txt").touch()
    check_data(find("humanml3d-t2m"), tmp_path)


def test_an_unknown_name_lists_all_benchmarks_by_group(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown benchmark 'humanml', expected one of: recognition: live, nw-ucla"
    ) as raised:
        run("humanml", tmp_path, EVERYTHING)
    assert all(f" {benchmark.name}" in str(raised.value) for benchmark in BENCHMARKS)
    assert "; generation, editing, retrieval and recognition by text: generation, generation-all" in str(raised.value)


def test_an_unknown_benchmark_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown benchmark 'dead', expected one of: recognition: live, nw-ucla, utd-mhad, jh"
    ):
        evaluate("dead", Options(model="no model", data=tmp_path))


@pytest.mark.parametrize(
    "name, model, scorer, message",
    [
        ("generation", MotionModel(), SCORER, "needs a model that generates motion from text"),
        ("generation", EVERYTHING, Scorer(), "needs an evaluator"),
        (
            "ntu60-xsub",
            MotionModel(generate=follows_prompt),
            SCORER,
            "needs a model that recognizes actions among text labels",
        ),
    ],
)
def test_a_missing_ability_is_named(
    name: str, model: MotionModel, scorer: Scorer, message: str, tmp_path: Path
) -> None:
    for path in ("a.npz", "a.json", "S001C001P003R001A001.skeleton"):
        (tmp_path / path).touch()
    with pytest.raises(InputError, match=f"benchmark {name} {message}"):
        run(name, tmp_path, model, scorer)


def test_generation_is_measured_on_held_out_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("motionrt.training.data.motions")
    kinect = [*recordings("train", quality="kinect"), *recordings("test", 6, "kinect", 260)]
    clips = [*recordings("train"), *recordings("validation"), *recordings("test"), *recordings("pairs", 5), *kinect]
    monkeypatch.setattr("motionrt.training.data.motions.load_motions", lambda data: clips)
    monkeypatch.setattr("motionrt.training.data.motions.mirror", lambda clip: clip)
    for path in ("a.npz", "a.json"):
        (tmp_path / path).touch()
    report = run("generation", tmp_path, EVERYTHING, SCORER)
    assert report["benchmark"] == "generation" and "whole trials, takes and subjects" in report["protocol"]
    assert report["counts"]["test"]["clips"] == 24 and report["counts"]["pairs"]["clips"] == 15
    assert report["counts"]["test_kinect"]["clips"] == 36 and report["counts"]["test_kinect"]["recordings"] == 18
    assert report["counts"]["test"]["training_clips"] == 96, "each with its mirror image"
    assert report["test"]["counts"]["batch"] == 6 and report["pairs"]["counts"]["batch"] == 5, (
        "no more than there are descriptions"
    )
    assert report["test"]["generated"]["r_precision_1"]["mean"] == 100
    monkeypatch.setattr("motionrt.training.data.motions.load_motions", lambda data: recordings("train"))
    with pytest.raises(InputError, match="none of its clips is in a test split"):
        run("generation", tmp_path, EVERYTHING, SCORER)


def test_reconstruction_separates_pose_from_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("motionrt.training.data.motions")
    clips = [*recordings("train"), *recordings("validation", 4), *recordings("test", 2)]
    monkeypatch.setattr("motionrt.training.data.motions.load_motions", lambda data: clips)
    for path in ("a.npz", "a.json"):
        (tmp_path / path).touch()
    report = run("reconstruction", tmp_path, EVERYTHING, SCORER)
    assert set(report) == {"benchmark", "validation", "test"}
    found = report["validation"]
    assert found["counts"] == {"clips": 12, "recordings": 12, "frames": 12 * 44}
    assert found["mpjpe_mm"]["mean"] == pytest.approx(0, abs=1e-3), "all joints are as far off as the pelvis"
    assert found["world_mpjpe_mm"]["mean"] == pytest.approx(30, abs=1e-3)
    assert found["reconstructed"]["jitter"]["mean"] == pytest.approx(found["real"]["jitter"]["mean"], rel=1e-3)
    monkeypatch.setattr("motionrt.training.data.motions.load_motions", lambda data: recordings("train"))
    with pytest.raises(InputError, match="none of its clips is held out of training"):
        run("reconstruction", tmp_path, EVERYTHING, SCORER)


def test_windows_of_one_clip_are_one_recording() -> None:
    motions = pytest.importorskip("motionrt.training.data.motions")
    long = motions.MotionClip(
        joints=clip(1, 500).astype(np.float32),
        captions=("someone does 1",),
        action="action 1",
        style="proud",
        quality="mocap",
        split="test",
        source="synthetic",
        name="long",
    )
    found = motion_data.window_examples(long)
    assert len(found) == 3 and {example.group for example in found} == {"long"}
    assert all(len(example.joints) % 4 == 0 and len(example.joints) <= 196 for example in found)
    assert {example.description for example in found} == {("action 1", "proud")}


def write_humanml(root: Path, joints: int = 22, unit_m: float = 1.0) -> None:
    """Motions 0 to 7 and the mirror image of 0 to test, two more to train on; one caption is for a part."""
    (root / "new_joints").mkdir()
    (root / "texts").mkdir()
    names = {f"{a:06d}": a for a in range(8)} | {"M000000": 0, "100000": 1, "100001": 2}
    for i, (name, a) in enumerate(names.items()):
        np.save(root / "new_joints" / f"{name}.npy", (clip(a, 80, i)[:, :joints] / unit_m).astype(np.float32))
        (root / "texts" / f"{name}.txt").write_text(f"someone does {a}#a/b#0.0#0.0\na person does {a}#a/b#0.0#0.0\n")
    with (root / "texts" / "000007.txt").open("a") as file:
        file.write("someone does 7#a/b#0.4#3.6\n")
    (root / "test.txt").write_text("\n".join(name for name in names if name[0] != "1"))
    (root / "train.txt").write_text("100000\n100001\n")


@pytest.mark.parametrize("kit", [False, True])
def test_text_to_motion_on_the_published_sets(kit: bool, tmp_path: Path) -> None:
    pytest.importorskip("motionrt.training.data.humanml")
    write_humanml(tmp_path, *((21, 0.75 / 480) if kit else ()))
    seen: list[int] = []

    def generate(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
        seen.extend(lengths)
        return [joints[:, : 21 if kit else 22] for joints in follows_prompt(texts, lengths, seed)]

    report = run("kit-t2m" if kit else "humanml3d-t2m", tmp_path, MotionModel(generate=generate), SCORER)
    assert (report["counts"]["clips"], report["counts"]["recordings"], report["counts"]["descriptions"]) == (10, 8, 10)
    assert sorted(set(seen)) == [40 if kit else 64, 80], "whole, and the part from 0.4 to 3.6 s"
    assert report["generated"]["r_precision_3"]["mean"] > 90 and report["real"]["jitter"]["mean"] > 0


def test_the_default_amounts_are_those_of_the_literature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[ScoringConfig] = []
    for path in ("new_joints/0.npy", "texts/0.txt", "test.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(motion_data, "humanml_examples", lambda data, split, kit=False: [])
    monkeypatch.setattr(
        motion_data, "text_to_motion", lambda real, model, config, *others: configs.append(config) or {}
    )
    for name in ("humanml3d-t2m", "kit-t2m"):
        run(name, tmp_path, EVERYTHING, Scorer(evaluator=Reader()))
    assert {(c.repeats, c.generations, c.batch, c.diversity_pairs) for c in configs} == {(20, 20, 32, 300)}
    assert {(c.multimodality_texts, c.multimodality_samples, c.multimodality_pairs) for c in configs} == {(100, 30, 10)}
    assert [(c.fps, c.layout) for c in configs] == [(20.0, "smpl22"), (12.5, "kit21")]


def test_retrieval_editing_and_labels_on_humanml3d(tmp_path: Path) -> None:
    pytest.importorskip("motionrt.training.data.humanml")
    write_humanml(tmp_path)

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.stack([np.eye(9)[int(text.split()[-1])] for text in texts])

    report = run("humanml3d-retrieval", tmp_path, EVERYTHING, Scorer(encode_text=encode, config=QUICK))
    assert (
        report["counts"]["training_clips"] == 2
        and report["bag_of_joints"]["text_to_motion"]["all"]["R@10"]["mean"] == 100
    )
    assert report["model"]["text_to_motion"]["all"]["R@3"]["mean"] > 90
    for kind in ("prefix", "suffix", "inpaint", "outpaint"):
        report = run(f"humanml3d-edit-{kind}", tmp_path, EVERYTHING, SCORER)
        assert report["protocol"].startswith(f"editing, {kind}") and report["generated"]["kept_mpjpe_mm"]["mean"] == 0
    (tmp_path / "humanml3d400_label_map.txt").write_text("wave\nwalk\nbow\n")
    labels = {f"{a:06d}": {"labels": [0, 1] if a < 4 else [2]} for a in range(7)}
    (tmp_path / "annotations_actions_400.json").write_text(json.dumps(labels))
    report = run("humanml3d-400", tmp_path, EVERYTHING)
    assert report["counts"] == {"clips": 7, "labels": 3, "labels_with_clips": 3, "motions": 7, "left_out": 3}
    assert report["top1"]["mean"] == pytest.approx(100 * 4 / 7), "wave is one of the labels of four"


def test_ntu_is_recognized_among_the_names_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S001C001P003R001A001", "S001C001P006R001A002", "S001C001P007R001A001", "S001C001P001R001A001"):
        (tmp_path / f"{name}.skeleton").touch()
    monkeypatch.setattr(ntu, "lift_recordings", lambda chosen: ([clip(0)] * (len(chosen) - 1), list(chosen[1:]), 1))
    report = run("ntu60-xsub", tmp_path, EVERYTHING)
    assert report["counts"] == {"clips": 2, "labels": 60, "labels_with_clips": 2, "subjects": 2, "left_out": 1}
    assert report["top1"]["mean"] == 50 and report["per_label"]["drink water"] == {"n": 1, "top1": 100.0}
    assert report["chance"] == pytest.approx(100 / 60)
