"""CTR-GCN on NW-UCLA's view 3: scores of streams and ensembles, with and without copied clips."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import ctr_gcn  # noqa: E402
from motionrt.bench.studies.ctr_gcn import evaluate, fingerprints  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.recognition.ctr_gcn import STREAMS, load_views  # noqa: E402
from motionrt.training.runs import weights_sha256  # noqa: E402

LABELS = ["bend", "walk around"]
VIEW_3, COPIES = 6, 1  # clips in the small folder


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of every stream."""
    folder = tmp_path_factory.mktemp("runs")
    tiny = {"steps": "1", "batch": "4", "channels": "8,8", "precision": "no", "data": str(data)}
    return {s: train("nwucla-ctrgcn", {**tiny, "stream": s, "run": str(folder / s)}) for s in STREAMS}


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch, data: Path) -> Callable[[dict[str, list[float]]], None]:
    """Set the margin of `walk around` over `bend` for every clip of view 3, by stream."""

    def set_scores(margins: dict[str, list[float]]) -> None:
        queue = iter(margins.values())

        def answer(network: Any, samples: Any) -> np.ndarray:
            margin = np.array(next(queue))
            assert len(samples) == len(margin)
            return np.stack([0 * margin, margin], 1)

        monkeypatch.setattr(ctr_gcn, "compute_logits", answer)

    return set_scores


def test_streams_and_ensembles_are_measured(runs: dict[str, Path], data: Path) -> None:
    report = evaluate(list(runs.values()), data)
    assert report["n"] == VIEW_3
    assert list(report["streams"]) == list(STREAMS)
    assert list(report["ensembles"]) == ["joint+bone", "joint+bone+joint_motion+bone_motion"]
    for found in (*report["streams"].values(), *report["ensembles"].values()):
        assert found["n"] == VIEW_3 and found["without_copies"]["n"] == VIEW_3 - COPIES
        assert 0 <= found["top1"] <= 100 and set(found["per_class"]) == set(LABELS)
    for stream, run in runs.items():
        about = report["streams"][stream]
        assert about["weights_sha256"] == weights_sha256(run) and about["steps"] == 1
    assert json.loads(json.dumps(report)) == report


def test_an_ensemble_sums_scores_by_the_published_weights(
    runs: dict[str, Path], data: Path, scores: Callable[[dict[str, list[float]]], None]
) -> None:
    names = [clip.label for clip in load_views(data, 3)]
    right = np.array([1.0 if name == "walk around" else -1.0 for name in names])
    margins = {"joint": right, "bone": -1.1 * right, "joint_motion": right.copy(), "bone_motion": -0.8 * right}
    scores({stream: list(margin) for stream, margin in margins.items()})
    report = evaluate([runs[stream] for stream in margins], data)
    top1 = {name: found["top1"] for name, found in {**report["streams"], **report["ensembles"]}.items()}
    assert [top1[stream] for stream in margins] == [100, 0, 100, 0]
    assert top1["joint+bone"] == 0, "0.6 - 0.66"
    assert top1["joint+bone+joint_motion+bone_motion"] == 100, "0.6 - 0.66 + 0.4 - 0.32"


def test_copies_are_counted_separately(
    runs: dict[str, Path], data: Path, scores: Callable[[dict[str, list[float]]], None]
) -> None:
    trained = set(fingerprints(data, 1, 2))
    copied = np.array([name in trained for name in fingerprints(data, 3)])
    right = np.array([1.0 if clip.label == "walk around" else -1.0 for clip in load_views(data, 3)])
    assert copied.sum() == COPIES
    scores({"joint": list(np.where(copied, right, -right))})
    found = evaluate([runs["joint"]], data)["streams"]["joint"]
    assert found["top1"] == pytest.approx(100 * COPIES / VIEW_3) and found["without_copies"]["top1"] == 0


def test_runs_that_do_not_belong_together_are_refused(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one per stream"):
        evaluate([runs["bone"], runs["bone"]], data)
    with pytest.raises(InputError, match="no recipe.json"):
        evaluate([tmp_path], data)


def test_the_command_writes_the_report_and_prints_the_scores(
    runs: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.json"
    arguments = [str(runs["joint"]), str(runs["bone"]), "-d", str(data), "-o", str(out)]
    monkeypatch.setattr(sys, "argv", ["ctr_gcn", *arguments])
    ctr_gcn.main()
    report, printed = json.loads(out.read_text()), json.loads(capsys.readouterr().out)
    assert list(printed) == ["joint", "bone", "joint+bone"]
    found = report["ensembles"]["joint+bone"]
    assert printed["joint+bone"] == [found["top1"], found["without_copies"]["top1"]]
