"""Rules that tell when an action is seen."""

import json

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols import composed, out_of_range
from motionrt.runtime.body.motion import Motion


def test_every_prompt_names_two_actions_that_have_rules() -> None:
    prompts = json.loads(composed.PROMPTS.read_text())
    for kind in ("together", "sequences"):
        assert len({text for text, *_ in prompts[kind]}) == 50
        assert {name for _, *names in prompts[kind] for name in names} <= composed.RULES.keys()


def test_known_and_unknown_descriptions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = json.loads(out_of_range.PROMPTS.read_text())
    for kind in ("known", "unknown"):
        assert len(set(prompts["test"][kind])) >= 100 and not set(prompts["test"][kind]) & set(
            prompts["threshold"][kind]
        )
    monkeypatch.setattr(out_of_range, "is_known", lambda generator, text: text.startswith("a person"))
    found = out_of_range.out_of_range(None, None, {})["test"]  # type: ignore[arg-type]
    right = sum(text.startswith("a person") for text in prompts["test"]["known"])
    assert found["known"] == {"n": 100, "right": right} and len(found["wrong"]) == round(
        found["n"] * (1 - found["right"] / 100)
    )


def test_actions_count_when_both_are_seen_in_order(samples: list[Motion]) -> None:
    still = np.repeat(samples[2].joints[:1], 80, 0)
    moves = still + np.linspace(0, 4, 80)[:, None, None] * np.array([0, 0, 1])  # 1 m/s
    raised = moves.copy()
    raised[:, 21, 1] = raised[:, 17, 1] + 0.3
    assert composed.seen_together(raised, "walk", "raise right hand")
    assert not composed.seen_together(raised, "walk", "raise left hand")
    assert not composed.seen_together(moves, "walk", "raise right hand")
    labels = ["none"] * 40 + ["wave"] * 40
    halted = np.concatenate([moves[:40], np.repeat(moves[39:40], 40, 0)])
    assert composed.seen_in_order(halted, labels, "walk", "wave")
    assert not composed.seen_in_order(halted, labels, "wave", "walk")
    assert not composed.seen_in_order(halted, ["none"] * 80, "walk", "bow")
