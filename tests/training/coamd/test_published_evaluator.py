"""The evaluators of the literature: imported by command, equal to their formulas, and used by the protocol."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from torch import Tensor  # noqa: E402
from torch.nn.functional import conv1d, leaky_relu, linear  # noqa: E402

from motionrt.bench.accuracy.coamd_model import choose_evaluator  # noqa: E402
from motionrt.bench.accuracy.protocols.generation import text_to_motion  # noqa: E402
from motionrt.bench.accuracy.protocols.scoring import Example, ScoringConfig  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.coamd.published_evaluator import (  # noqa: E402
    TAGS,
    EvaluatorNetworks,
    PublishedEvaluator,
    PublishedEvaluatorConfig,
)
from motionrt.training.metrics import features  # noqa: E402

CONFIG = PublishedEvaluatorConfig(channels=8, motion_hidden=12, text_hidden=10, width=6, words=5)
WORDS = ["unk", "sos", "eos", "a", "person", "walk", "slowly"]
CAPTIONS = {
    "a person walks slowly.": "a/DET person/NOUN walk/VERB slowly/ADV",
    "a zebra": "a/DET zebra/NOUN",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An official checkpoint `finest.tar`, a vocabulary, a normalization and captions."""
    folder, random = tmp_path_factory.mktemp("evaluator"), np.random.default_rng(0)
    torch.manual_seed(0)
    state = EvaluatorNetworks(CONFIG).state_dict()
    for tensor in state.values():
        torch.nn.init.normal_(tensor, std=0.3)
    parts = ("movement_encoder", "text_encoder", "motion_encoder")
    checkpoint = {p: {k.removeprefix(f"{p}."): v for k, v in state.items() if k.startswith(f"{p}.")} for p in parts}
    torch.save({**checkpoint, "epoch": 3}, folder / "finest.tar")
    order = random.permutation(len(WORDS))
    np.save(folder / "our_vab_data.npy", random.normal(size=(len(WORDS), 5)))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({w: int(i) for w, i in zip(WORDS, order, strict=True)}))
    np.save(folder / "Mean.npy", random.normal(size=66))
    np.save(folder / "Std.npy", random.uniform(0.5, 2, 66))
    (folder / "texts").mkdir()
    lines = [f"{caption}#{tokens}#0.0#0.0\n" for caption, tokens in CAPTIONS.items()]
    (folder / "texts" / "000000.txt").write_text("".join(lines))
    return folder


def command(folder: Path, out: Path, **changes: str) -> list[str]:
    options = {"mean": str(folder / "Mean.npy"), "std": str(folder / "Std.npy"), "text": f"glove:{folder}"} | changes
    flags = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return ["import", "evaluator", str(folder / "finest.tar"), *flags, "-o", str(out)]


@pytest.fixture(scope="module")
def evaluator(folder: Path) -> PublishedEvaluator:
    assert main(command(folder, folder / "run")) == 0
    found = choose_evaluator("unused", "evaluator", folder / "run", folder)
    assert isinstance(found, PublishedEvaluator)
    return found


def bi_gru(state: dict[str, Tensor], name: str, x_LC: Tensor) -> np.ndarray:
    """The formula of a head: one sequence, both directions step by step."""
    state = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
    x_LC, last = linear(x_LC, state["input_emb.weight"], state["input_emb.bias"]), []
    for k, suffix in enumerate(("", "_reverse")):
        h = state["hidden"][k, 0]
        for x in x_LC.flip(0) if k else x_LC:
            gates = [linear(v, state[f"gru.weight_{s}_l0{suffix}"], state[f"gru.bias_{s}_l0{suffix}"]).chunk(3)
                     for v, s in ((x, "ih"), (h, "hh"))]  # fmt: skip
            r, z = (torch.sigmoid(gates[0][i] + gates[1][i]) for i in range(2))
            h = (1 - z) * torch.tanh(gates[0][2] + r * gates[1][2]) + z * h
        last.append(h)
    y = linear(torch.cat(last), state["output_net.0.weight"], state["output_net.0.bias"])
    y = (y - y.mean()) / torch.sqrt(y.var(correction=0) + 1e-5) * state["output_net.1.weight"]
    y = leaky_relu(y + state["output_net.1.bias"], 0.2)
    return linear(y, state["output_net.3.weight"], state["output_net.3.bias"]).numpy()


def official(folder: Path) -> dict[str, Tensor]:
    content = torch.load(folder / "finest.tar", weights_only=True)
    return {f"{name}.{key}": v for name, state in content.items() if name != "epoch" for key, v in state.items()}


def test_motion_is_embedded_by_the_published_formula(folder: Path, evaluator: PublishedEvaluator) -> None:
    state, random = official(folder), np.random.default_rng(1)
    clips = [random.normal(size=(T, 22, 3)) for T in (196, 41, 60)]
    found = evaluator.motions(clips)
    for clip, embedded in zip(clips, found, strict=True):
        x = torch.zeros(1, 196, 66)
        flat = (clip.reshape(len(clip), 66) - np.load(folder / "Mean.npy")) / np.load(folder / "Std.npy")
        x[0, : len(clip)] = torch.from_numpy(flat)
        x = x.mT
        for i in (0, 3):
            weight, bias = (state[f"movement_encoder.main.{i}.{name}"] for name in ("weight", "bias"))
            x = leaky_relu(conv1d(x, weight, bias, 2, 1), 0.2)
        movements = linear(x.mT, state["movement_encoder.out_net.weight"], state["movement_encoder.out_net.bias"])
        np.testing.assert_allclose(embedded, bi_gru(state, "motion_encoder", movements[0, : len(clip) // 4]), atol=1e-5)


def test_texts_are_embedded_by_the_published_formula(folder: Path, evaluator: PublishedEvaluator) -> None:
    state, rows = official(folder), pickle.loads((folder / "our_vab_idx.pkl").read_bytes())
    vectors = np.load(folder / "our_vab_data.npy").astype(np.float32)
    tagged = [("sos", "OTHER"), ("a", "DET"), ("person", "NOUN"), ("walk", "Act_VIP"), ("slowly", "Desc_VIP"),
              ("eos", "OTHER")]  # fmt: skip
    unknown = [("sos", "OTHER"), ("a", "DET"), ("unk", "OTHER"), ("eos", "OTHER")]
    found = evaluator.texts(list(CAPTIONS))
    for words, embedded in zip((tagged, unknown), found, strict=True):
        x = torch.from_numpy(np.stack([vectors[rows[word]] for word, _ in words]))
        tags = torch.eye(len(TAGS))[[TAGS.index(tag) for _, tag in words]]
        x = x + linear(tags, state["text_encoder.pos_emb.weight"], state["text_encoder.pos_emb.bias"])
        np.testing.assert_allclose(embedded, bi_gru(state, "text_encoder", x), atol=1e-5)
    with pytest.raises(InputError, match="'somebody' is no caption of the data set"):
        evaluator.texts(["somebody"])
    assert len(evaluator.vocabulary.encode(["a/DET"] * 30)[0]) == 22


def test_the_published_protocol_compares_all_clips_and_draws_pairs_independently(evaluator: PublishedEvaluator) -> None:
    random, captions = np.random.default_rng(2), tuple(CAPTIONS)
    real = [Example(joints=random.normal(size=(40, 22, 3)), captions=captions, description=i, group=i)
            for i in range(12)]  # fmt: skip

    def generate(texts: Any, lengths: Any, seed: int) -> list[np.ndarray]:
        return [np.random.default_rng((seed, i)).normal(size=(40, 22, 3)) for i in range(len(texts))]

    config = ScoringConfig(repeats=2, batch=4, published=True, multimodality_texts=2, multimodality_samples=3,
                           multimodality_pairs=2)  # fmt: skip
    report = text_to_motion(evaluator, real, generate, config)
    embedded = [evaluator.motions(clips) for clips in ([e.joints for e in real], generate(captions * 6, None, 0))]
    assert report["generated"]["fid_full"]["mean"] == pytest.approx(features.fid(*embedded), rel=1e-6)
    assert report["real"]["fid_full"]["mean"] == pytest.approx(0, abs=1e-4)
    assert "fid_full between all clips" in report["protocol"] and report["generated"]["multimodality"]["mean"] > 0


def test_independent_pairs_can_be_of_one_clip() -> None:
    motion = np.random.default_rng(0).normal(size=(3, 4))
    distance = [np.linalg.norm(a - b) for a in motion for b in motion]
    found = [features.diversity(motion, np.random.default_rng(k), 2, independent=True) for k in range(3000)]
    assert np.mean(found) == pytest.approx(np.mean(distance), rel=0.06)
    everyone = np.stack([motion, 2 * motion])
    found = [features.multimodality(everyone, np.random.default_rng(k), 2, independent=True) for k in range(3000)]
    assert np.mean(found) == pytest.approx(1.5 * np.mean(distance), rel=0.06)


@pytest.mark.parametrize(
    ("changes", "damage", "message"),
    [
        ({"text": ""}, None, "an evaluator needs --text"),
        ({"text": "clip:x"}, None, "--text clip:x: expected glove:FOLDER"),
        ({"text": "glove:nowhere"}, None, "nowhere: not the vocabulary of GloVe"),
        ({}, lambda c: c.pop("motion_encoder"), "expected an evaluator's checkpoint with movement_encoder"),
        ({}, lambda c: c["motion_encoder"].pop("hidden"), "no motion_encoder.hidden"),
        ({}, lambda c: c["movement_encoder"].update({"main.0.weight": torch.zeros(8, 259, 4)}),
         "an evaluator of 259 numbers a frame, expected 66 or 63"),
    ],
)  # fmt: skip
def test_other_input_is_refused_in_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    damage: Callable[[Any], Any] | None,
    message: str,
) -> None:
    arguments = command(folder, tmp_path / "no", **changes)
    if damage is not None:
        content = torch.load(folder / "finest.tar", weights_only=True)
        damage(content)
        torch.save(content, tmp_path / "damaged.tar")
        arguments[2] = str(tmp_path / "damaged.tar")
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not (tmp_path / "no").exists()


def test_code_in_a_vocabulary_is_not_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "run",))

    for name in ("our_vab_words.pkl", "our_vab_data.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "our_vab_idx.pkl").write_bytes(pickle.dumps(Malicious()))
    assert main(command(folder, tmp_path / "no", text=f"glove:{tmp_path}")) == 2
    assert "not the vocabulary of GloVe" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_an_evaluator_is_for_benchmarks_that_use_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "live", "--data", str(folder), "--evaluator", str(folder / "run")]) == 2
    assert "benchmark live uses no evaluator" in capsys.readouterr().err
    assert main(["eval", "humanml3d-retrieval", "--data", str(folder), "--guidance", "1"]) == 2
    assert "benchmark humanml3d-retrieval generates no motion that guidance changes" in capsys.readouterr().err
    assert json.loads((folder / "run" / "recipe.json").read_text())["official"]["kind"] == "evaluator"
