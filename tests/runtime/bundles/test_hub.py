"""Bundles on the Hugging Face Hub, through its own client and a local server (HF_ENDPOINT)."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.hub import card
from motionrt.runtime.errors import BundleError, MissingExtra
from motionrt.runtime.recognition.recognizer import Recognizer

from .. import tiny
from .hub_server import Hub, commit

pytest.importorskip("huggingface_hub")

Run = Callable[..., subprocess.CompletedProcess[str]]
LOAD = """
import json, sys
from motionrt import InputError, Recognizer
found = []
for name in sys.argv[1:]:
    try:
        found.append(str(Recognizer.load(name).bundle.path))
    except InputError as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A server with the bundle me/tiny in the revisions main and v1, the same as me/private, and broken ones."""
    repository = tmp_path / "hub" / "me"
    tiny.tiny_bundle(repository / "tiny" / "v1", name="first")
    for name in ("tiny", "private", "changed", "cut", "partial"):
        tiny.tiny_bundle(repository / name / "main", name="tiny")
    weights = repository / "changed" / "main" / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (repository / "cut" / "main" / "weights.safetensors").write_bytes(data[:-1])
    (repository / "partial" / "main" / "weights.safetensors").unlink()
    (repository / "empty" / "main").mkdir(parents=True)
    with Hub(tmp_path / "hub") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """Run Python with the server as the Hub and an empty cache of its own; `token` is the user's."""

    def run(*arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        mine = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        mine |= {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | mine
        environment |= {"HF_TOKEN": token} if token else {}
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)

    return run


def load(run: Run, *names: str, token: str | None = None) -> list[Any]:
    """The folder or the error of each name."""
    found: list[Any] = json.loads(run("-c", LOAD, *names, token=token).stdout)
    return found


def test_a_bundle_is_fetched_by_revision_and_then_needs_no_network(run: Run, hub: Hub) -> None:
    first = commit(hub.folder / "me" / "tiny" / "v1")
    names = "hf://me/tiny", "hf://me/tiny@v1", f"hf://me/tiny@{first}"
    online = load(run, *names)
    assert [Bundle.load(folder).manifest.name for folder in online] == ["tiny", "first", "first"]
    assert set(os.listdir(online[1])) == {*Bundle.load(online[1]).manifest.files, "manifest.json"}
    hub.shutdown()
    hub.server_close()
    *offline, unknown = load(run, *names, "hf://me/private")
    assert offline == online
    assert unknown.startswith(
        "InputError: hf://me/private: manifest.json is not in the cache, and the Hub cannot be reached ("
    )


def test_what_is_wrong_is_told_in_one_line(run: Run) -> None:
    expected = {
        "hf://me/none": "no such repository, or it is private and there is no token: set HF_TOKEN",
        "hf://me/private": "no such repository, or it is private and there is no token: set HF_TOKEN",
        "hf://me/tiny@v2": "the repository has no such revision",
        "hf://me/empty": "manifest.json is missing, expected the files of a bundle",
        "hf://me/partial": "weights.safetensors is missing, expected the files of a bundle",
        "hf://me/cut": "bytes, manifest.json says",
        "hf://me/changed": "content does not match the sha256 in the manifest",
        "hf://me": "expected hf://ORG/NAME or hf://ORG/NAME@REVISION",
        "hf://me/../you": "expected hf://ORG/NAME or hf://ORG/NAME@REVISION",
    }
    for (name, problem), found in zip(expected.items(), load(run, *expected), strict=True):
        assert found.startswith("BundleError: ") and problem in found and "\n" not in found, (name, found)


def test_with_a_token_push_writes_what_load_reads(run: Run, hub: Hub, tmp_path: Path) -> None:
    bundle = tiny.tiny_bundle(tmp_path / "mine", name="mine")
    command = ("-m", "motionrt.runtime.cli", "push", str(bundle), "hf://you/mine")
    refused = run(*command)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("motionrt: hf://you/mine: not allowed, there is no token")
    done = run(*command, token="right")
    assert done.returncode == 0, done.stderr
    assert re.match(rf"{hub.url}/you/mine/commit/[0-9a-f]{{40}}\n", done.stdout)
    mine, private, none = load(run, "hf://you/mine", "hf://me/private", "hf://me/none", token="right")
    assert Bundle.load(mine).sha256 == Bundle.load(bundle).sha256
    assert Bundle.load(private).manifest.name == "tiny" and "the token does not give access" in none
    listed = run("-m", "motionrt.runtime.cli", "models", "hf://you/mine")
    assert listed.returncode == 0 and "raise left hand" in listed.stdout


@pytest.mark.parametrize(
    ("model", "kind", "terms"),
    [
        ("live", "video-classification", "other"),
        ("default", "text-to-3d", "other"),
        ("text", "feature-extraction", "apache-2.0"),
    ],
)
def test_the_card_has_the_metadata_of_the_hub(model: str, kind: str, terms: str) -> None:
    from huggingface_hub import ModelCard

    from motionrt.runtime.bundles.schema import Manifest

    bundle = Bundle.load(model, Manifest)
    text = card(bundle.path, bundle.manifest)
    about = ModelCard(text).data
    assert (about.license, about.library_name, about.pipeline_tag) == (terms, "motionrt", kind)
    assert terms != "other" or about.license_name == bundle.manifest.license
    assert about.tags and "skeleton" in about.tags
    assert text.endswith((bundle.path / "MODEL_CARD.md").read_text())


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"hf:// models needs huggingface_hub .*'\.\[hub\]'"):
        Recognizer.load("hf://me/tiny")
    with pytest.raises(BundleError, match="expected hf://ORG/NAME"):
        Recognizer.load("hf://me")
