"""Every recipe, trained by two processes on halves of its batches and by one on whole ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402

from motionrt.runtime.body.motion import Motion  # noqa: E402

from . import two_processes  # noqa: E402
from .clip_folder import write_folder, write_motions  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # all runs

# its helper whitens and contrasts what each process has, so one on whole batches learns something else
HELPED = [name for name in two_processes.RUNS if name.endswith("helped")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    """Folders `one` and `two` of all runs, by one and by two processes."""
    folder = tmp_path_factory.mktemp("processes")
    for name in ("clips", "motions", "one", "two"):
        (folder / name).mkdir()
    write_folder(folder / "clips", samples)
    write_motions(folder / "motions", samples)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, two_processes.__file__, str(folder), str(folder / "two")],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two_processes.train_all(folder, folder / "one")
    return folder


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", [name for name in two_processes.RUNS if name not in HELPED])
def test_two_processes_with_half_a_batch_each_train_as_one_with_all_of_it(runs: Path, name: str) -> None:
    one, two = runs / "one" / name, runs / "two" / name
    weights, found = (load_file(run / "model.safetensors") for run in (one, two))
    assert weights.keys() == found.keys()
    for key, value in weights.items():
        torch.testing.assert_close(found[key], value, atol=3e-6, rtol=1e-5, msg=lambda why, key=key: f"{key}: {why}")
    for expected, line in zip(metrics(one), metrics(two), strict=True):
        assert line == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", HELPED)
def test_a_helper_is_trained_as_well(runs: Path, name: str) -> None:
    one, two = (load_file(runs / folder / name / "model.safetensors") for folder in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.isfinite(value).all() for value in two.values())
    plain = load_file(runs / "two" / name.replace("-helped", "") / "model.safetensors")
    assert any(not torch.equal(value, plain[key]) for key, value in two.items())


@pytest.mark.parametrize("name", two_processes.RUNS)
def test_one_process_writes_and_both_save_their_state(runs: Path, name: str) -> None:
    """They wait for each other: the first validates alone, the second is late with its part of a checkpoint."""
    run = runs / "two" / name
    assert [line["step"] for line in metrics(run)] == [2, 4]
    assert len(list(run.rglob("events.out.tfevents.*"))) == 1 + (name in two_processes.RESUMED)
    assert json.loads((run / "checkpoint" / "step.json").read_text()) == {"step": 4}
    states = {path.name for path in (run / "checkpoint").glob("random_states_*")}
    assert states == {"random_states_0.pkl", "random_states_1.pkl"}
    assert not list(run.parent.rglob("*.new*")) and not (runs / "two" / "odd").exists()
