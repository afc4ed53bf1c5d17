"""The bundled text encoder: features that do not depend on the batch, and rejected inputs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motionrt
from motionrt import BundleError, InputError
from motionrt.runtime.bundles import bundle
from motionrt.runtime.bundles.bundle import Bundle, bundled, write_bundle
from motionrt.runtime.bundles.safetensors import pack
from motionrt.runtime.bundles.schema import Manifest, TextManifest
from motionrt.runtime.cli.info import show_models
from motionrt.runtime.text_encoder import TextEncoder, TextFeatures

TEXTS = [
    "a person walks forward",
    "kick",
    "someone waves with the left hand, then slowly sits down on a chair and looks at the floor",
    "a person walks forward",
    "the man raises both arms",
]
# the first of the pooled features of the published float32 model
PUBLISHED = {
    "a person walks forward": [-0.0181, -0.0089, -0.0151, -0.0207, 0.0695, 0.0534],
    "someone waves with the left hand": [-0.0378, 0.0051, 0.0314, 0.024, -0.0672, -0.0249],
}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load("text")


@pytest.fixture(scope="module")
def features(encoder: TextEncoder) -> TextFeatures:
    return encoder.encode(TEXTS)


def test_features_have_the_documented_shapes(encoder: TextEncoder, features: TextFeatures) -> None:
    N, L, W = len(TEXTS), 21, encoder.width
    assert W == 384
    assert features.tokens.shape == (N, L, W) and features.tokens.dtype == np.float32
    assert features.mask.shape == (N, L) and features.mask.dtype == bool
    assert features.pooled.shape == (N, W) and features.pooled.dtype == np.float32
    assert features.mask.sum(1).tolist() == [6, 3, 21, 6, 7]  # words and punctuation, start and end
    assert (np.diff(features.mask.astype(int), axis=1) <= 0).all()
    assert not features.tokens[~features.mask].any() and features.tokens[features.mask].any(1).all()


def test_pooled_is_the_mean_over_the_tokens_scaled_to_length_1(features: TextFeatures) -> None:
    mean = features.tokens.sum(1) / features.mask.sum(1, keepdims=True)
    np.testing.assert_allclose(features.pooled, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


def test_features_are_bit_equal_alone_and_with_other_texts(encoder: TextEncoder, features: TextFeatures) -> None:
    for order in ([0], [1], [2], [4], [4, 3, 2, 1, 0], [1, 4]):
        reordered = encoder.encode([TEXTS[i] for i in order])
        L = reordered.mask.shape[1]
        np.testing.assert_array_equal(reordered.tokens, features.tokens[order, :L])
        np.testing.assert_array_equal(reordered.mask, features.mask[order, :L])
        np.testing.assert_array_equal(reordered.pooled, features.pooled[order])
    np.testing.assert_array_equal(features.pooled[0], features.pooled[3])


def test_a_second_encoder_is_bit_equal(encoder: TextEncoder, features: TextFeatures) -> None:
    np.testing.assert_array_equal(TextEncoder.load("text").encode(TEXTS).tokens, features.tokens)


def test_features_are_those_of_the_published_model(encoder: TextEncoder) -> None:
    for text, expected in PUBLISHED.items():
        found = encoder.encode([text]).pooled[0, : len(expected)]
        np.testing.assert_allclose(found, expected, atol=4e-3)


def test_a_paraphrase_is_closer_than_any_other_action(encoder: TextEncoder) -> None:
    queries = ["a person jumps", "a man sits down", "someone strolls along", "she throws a ball", "a kick", "waving"]
    paraphrases = [
        "someone leaps into the air",
        "the person takes a seat on a chair",
        "a person is walking",
        "somebody tosses a ball to a friend",
        "somebody kicks with the leg",
        "greeting somebody with a wave of the hand",
    ]
    similarity = encoder.encode(queries).pooled @ encoder.encode(paraphrases).pooled.T
    assert similarity.argmax(1).tolist() == list(range(len(queries)))


def test_case_and_whitespace_do_not_matter(encoder: TextEncoder) -> None:
    a, b = encoder.encode(["A person  walks\n forward ", "a person walks forward"]).pooled
    np.testing.assert_array_equal(a, b)


def test_an_empty_list_gives_empty_features(encoder: TextEncoder) -> None:
    features = encoder.encode([])
    assert features.tokens.shape == (0, 0, 384) and features.pooled.shape == (0, 384)


def test_a_text_of_512_characters_is_encoded(encoder: TextEncoder) -> None:
    assert np.isfinite(encoder.encode([("walk and run " * 40)[:512]]).tokens).all()


@pytest.mark.parametrize("text", ["\u732b", "\N{WAVING HAND SIGN}", "\0", "[PAD]", "na\u00efve caf\u00e9"])
def test_any_unicode_is_encoded(encoder: TextEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text]).pooled).all()


BAD_TEXTS: dict[str, tuple[Any, str]] = {
    "a string in place of a list": ("walk", "texts is 'walk', expected a list of texts"),
    "a number in place of a list": (7, "texts is '7', expected a list"),
    "a number": (["walk", 7], "text 1 is '7', expected a string"),
    "bytes": ([b"walk"], "text 0 is .*expected a string"),
    "nothing": (["walk", ""], "text 1 is empty"),
    "white space": ([" \n\t"], "text 0 is empty"),
    "too long": (["walk", "run " * 129], r"text 1 \('run run .*\.\.\.\) has 516 characters, at most 512"),
    "too many tokens": (["\u732b" * 255], "text 0 .*has 257 tokens, at most 256 are allowed"),
    "half a character": (["walk \ud83d"], "text 0 is not valid Unicode"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_invalid_texts_are_rejected_in_one_line(encoder: TextEncoder, name: str) -> None:
    texts, message = BAD_TEXTS[name]
    with pytest.raises(InputError, match=message) as caught:
        encoder.encode(texts)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_must_be_a_whole_number(threads: Any) -> None:
    with pytest.raises(InputError, match="threads is .*expected a whole number"):
        TextEncoder.load("text", threads=threads)


def test_more_threads_give_the_same_features(features: TextFeatures) -> None:
    np.testing.assert_allclose(TextEncoder.load("text", threads=2).encode(TEXTS).pooled, features.pooled, atol=1e-6)


def test_the_bundled_models_are_not_too_large() -> None:
    megabytes = {
        name: sum(entry.size for entry in Bundle.load(name, Manifest).manifest.files.values()) / 1e6
        for name in bundled()
    }
    assert megabytes["text"] <= 24 and sum(megabytes.values()) <= 60


def test_it_reports_its_license() -> None:
    encoder = TextEncoder.load("text")
    assert encoder.name == "text" and encoder.license == "Apache-2.0"


def test_bundles_are_listed_by_task() -> None:
    assert "text" in bundled() and bundled("text") == ["text"] and "text" not in bundled("recognition")


def test_a_bundle_of_another_task_is_rejected() -> None:
    with pytest.raises(BundleError, match="task 'text', expected 'recognition'"):
        motionrt.Recognizer.load("text")
    with pytest.raises(BundleError, match="task 'recognition', expected 'text'"):
        TextEncoder.load("live")
    with pytest.raises(BundleError, match="no model named 'txet'; bundled models are: text "):
        TextEncoder.load("txet")


PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "transformers", "huggingface_hub"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
from motionrt.runtime.text_encoder import TextEncoder
assert TextEncoder.load().encode(["a person walks"]).pooled.shape == (1, 384)
print("works")
"""


def test_it_works_without_torch() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (process.stdout, process.returncode) == ("works\n", 0), process.stderr


ENGLISH = "jump, a backflip, moonwalk, pirouette, T-pose, swipe_left, walk 2 steps, gesture 1, A, \u00fcber, boxing :)"


def test_english_and_rare_words_are_taken(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    for text in [*ENGLISH.split(", "), "\u6325\u624b wave"]:
        encoder.check(text)
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["asdfqwer", "qwertz", "xkcdjq zzzqw", "lkjhgf", "jmup"])
def test_gibberish_is_logged_once(encoder: TextEncoder, text: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder.check(text)
    encoder.check(text)
    assert caplog.messages == [f"the text encoder knows no word of the description ({text!r}), expected English"]


@pytest.mark.parametrize(
    "text", ["\U0001f44b", "\u6325\u624b", "\u30b8\u30e3\u30f3\u30d7", "\u043f\u0440\u044b\u0436\u043e\u043a", "?!"]
)
def test_a_text_without_an_english_word_is_refused(encoder: TextEncoder, text: str) -> None:
    with pytest.raises(
        InputError, match=r"the description \(.*\) has no word that the text encoder knows, expected Engl"
    ):
        encoder.check(text)


@pytest.fixture(scope="module")
def original() -> Path:
    return bundle.MODELS / "text"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "text"))


def rejected(path: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        TextEncoder.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("file", ["weights.safetensors", "text.onnx", "tokenizer.json", "MODEL_CARD.md"])
def test_a_damaged_bundle_is_rejected(copy: Path, file: str) -> None:
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    rejected(copy, f"{file}: content does not match the sha256")
    (copy / file).unlink()
    rejected(copy, f"{file}: file is missing")


def rewrite(copy: Path, change: Any = None, **files: bytes) -> Path:
    """Rewrite the bundle with a changed manifest and changed files and their hashes (_ stands for . in names)."""
    raw = json.loads((copy / "manifest.json").read_text())
    content = {name: (copy / name).read_bytes() for name in raw.pop("files")}
    content |= {name.replace("_", "."): data for name, data in files.items()}
    if change is not None:
        change(raw)
    shutil.rmtree(copy)
    return write_bundle(copy, raw, content)


BAD_FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "invalid JSON as tokenizer": ({"tokenizer_json": b"\x80"}, "tokenizer.json: not a tokenizer"),
    "empty JSON as tokenizer": ({"tokenizer_json": b"{}"}, "tokenizer.json: not a tokenizer"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_unusable_files_are_rejected(copy: Path, name: str) -> None:
    files, message = BAD_FILES[name]
    rejected(rewrite(copy, **files), message)


def test_a_tokenizer_with_unknown_ids_is_rejected(copy: Path) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a"] = 40_000
    rejected(rewrite(copy, tokenizer_json=json.dumps(tokenizer).encode()), "text.onnx: cannot be run")


BAD_MANIFESTS: dict[str, tuple[Any, str]] = {
    "no width": (lambda raw: raw["model"].pop("width"), "model: width is missing"),
    "another width": (lambda raw: raw["model"].update(width=96), r"tokens \[N, L, 384\].*expected tokens \[N, L, 96\]"),
    "too few tokens": (lambda raw: raw["model"].update(max_tokens=2), "max_tokens: 2, expected a whole number"),
    "no graph": (lambda raw: raw.update(graphs={}), "graphs: none, expected text"),
    "a foreign graph": (lambda raw: raw["graphs"].update(step=raw["graphs"]["text"]), "unknown graph 'step'"),
    "mask left out": (
        lambda raw: raw["graphs"]["text"]["inputs"].pop("mask"),
        r"graphs.text.inputs: ids \[N, L\], exp",
    ),
    "no tokenizer": (lambda raw: raw["files"].pop("tokenizer.json"), "'tokenizer.json' is not listed under files"),
    "no license": (lambda raw: raw.pop("license"), "license is missing"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_wrong_field_of_the_manifest_is_named(copy: Path, name: str) -> None:
    alter, message = BAD_MANIFESTS[name]
    raw = json.loads((copy / "manifest.json").read_text())
    alter(raw)
    (copy / "manifest.json").write_text(json.dumps(raw))
    rejected(copy, f"manifest.json: .*{message}")


def test_the_sha256_is_that_of_weights_and_tokenizer(copy: Path, encoder: TextEncoder) -> None:
    renamed = TextEncoder.load(rewrite(copy, lambda raw: raw.update(name="other"), MODEL_CARD_md=b"new\n"))
    assert renamed.name == "other" and renamed.sha256 == encoder.sha256
    loaded = Bundle.load(copy, TextManifest)
    weights = dict(loaded.weights)
    weights["positions"] = weights["positions"] * np.float32(1.001)
    assert TextEncoder.load(rewrite(copy, weights_safetensors=pack(weights))).sha256 != encoder.sha256


def test_weights_that_give_nan_are_rejected(copy: Path) -> None:
    weights = dict(Bundle.load(copy, TextManifest).weights)
    weights["positions"] = np.full_like(weights["positions"], np.nan)
    rejected(rewrite(copy, weights_safetensors=pack(weights)), "text.onnx: returns features that are not finite")


def test_it_is_listed_among_the_models_and_passes_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert motionrt.doctor()["models"]["text"] is None
    show_models(as_json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["text"]["task"] == "text" and rows["text"]["license"] == "Apache-2.0" and "labels" not in rows["text"]
    assert rows["live"]["labels"] == 58
    show_models(as_json=False)
    out = capsys.readouterr().out
    assert ["text", "text", "23.6"] in [line.split() for line in out.splitlines()] and "  text: Apache-2.0\n" in out
    show_models(as_json=False, name="default")
    assert ["wave", "273", "71"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_model_with_a_damaged_manifest_has_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    monkeypatch.setattr(bundle, "MODELS", tmp_path)
    assert bundled() == ["broken"] and bundled("text") == []
