"""What is listed of runs that tried other settings."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from motionrt.bench.studies.attempts import gather
from motionrt.training.recognition.recipes import StreamGcnRecipe, live


def finish(run: Path, recipe: StreamGcnRecipe, score: float, left_out: float | None = None) -> None:
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"recipe": asdict(recipe)}))
    (run / "metrics.jsonl").write_text(
        json.dumps({"macro_top1": 1.0}) + "\n" + json.dumps({"macro_top1": score}) + "\n"
    )
    (run / "model.safetensors").touch()
    if left_out is not None:
        (run / "measured.json").write_text(json.dumps({"bandai": {"macro_top1": left_out}}))


def test_runs_with_the_same_settings_are_one_attempt(tmp_path: Path) -> None:
    recipe = live()
    finish(tmp_path / "a", recipe, 80.0)
    finish(tmp_path / "b", replace(recipe, threads=2, loop=replace(recipe.loop, seed=1)), 90.0)
    finish(tmp_path / "c", replace(recipe, body=12, teachers="x,y", leave_out="bandai"), 70.0, left_out=60.0)
    (tmp_path / "unfinished").mkdir()
    plain, other = gather(tmp_path)
    assert plain == {
        "settings": {},
        "seeds": [0, 1],
        "macro_top1": {"people kept out": 85.0},
        "macro_top1_by_seed": [80.0, 90.0],
    }
    assert other["settings"] == {"body": 12, "leave_out": "bandai", "teachers": 2}
    assert other["macro_top1"] == {"people kept out": 70.0, "bandai": 60.0}
