"""Every bundle in `attacks/` is refused before it runs, with one line that says what is wrong."""

import json
from pathlib import Path

import pytest

from motionrt.runtime.backends import factory
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.errors import BundleError

ATTACKS = Path(__file__).parent / "attacks"
MESSAGES: dict[str, str] = json.loads((ATTACKS / "attacks.json").read_text())


def test_every_attack_is_listed() -> None:
    assert set(MESSAGES) == {path.name for path in ATTACKS.iterdir() if path.is_dir() and path.name != "__pycache__"}


@pytest.mark.parametrize("name", MESSAGES)
def test_it_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=MESSAGES[name]) as caught:
        factory.create("onnx", Bundle.load(ATTACKS / name))
    assert "\n" not in str(caught.value) and name in str(caught.value) and len(str(caught.value)) < 600
