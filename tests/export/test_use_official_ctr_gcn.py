"""Official CTR-GCN checkpoints recognize recordings and streams, by the published preparation of clips."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch.nn.functional import interpolate  # noqa: E402

from motionrt.export.official import official_state  # noqa: E402
from motionrt.runtime.backends import cuda, factory  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.bundles.schema import ClipManifest  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import BundleError, InputError  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.training.data import ntu  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NTU_PARENTS, CTRGCNConfig  # noqa: E402

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
WEIGHTS = (0.6, 0.6, 0.4, 0.4)

pytestmark = pytest.mark.slow  # an export


def network(seed: int, **changes: Any) -> CTRGCN:
    """A network with random weights and statistics."""
    torch.manual_seed(seed)
    model = CTRGCN(CTRGCNConfig(**{"classes": 60, "channels": (16, 32), **changes}))
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
        elif tensor.is_floating_point():
            torch.nn.init.normal_(tensor, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def models() -> list[CTRGCN]:
    return [network(seed) for seed in range(len(STREAMS))]


@pytest.fixture(scope="module")
def bundle(models: list[CTRGCN], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported from checkpoints of data-parallel training."""
    folder, paths = tmp_path_factory.mktemp("official"), []
    for stream, model in zip(STREAMS, models, strict=True):
        paths.append(str(folder / f"{stream}.pt"))
        torch.save({f"module.{key}": value for key, value in official_state(model).items()}, paths[-1])
    assert main(["import", "ctrgcn", *paths, "-o", str(folder / "ctrgcn")]) == 0
    return folder / "ctrgcn"


@pytest.fixture(scope="module")
def recording(samples: list[Motion], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .skeleton file of somebody who runs and of another person who comes late, bows and stays in place."""
    weights = Layout.load("ntu25").map_from(Layout.load(samples[0].layout))
    people = []
    for m, sample in enumerate((samples[1], samples[0])):
        at = np.linspace(0, len(sample.joints) - 1, 90).astype(int)
        joints = np.einsum("vw,twc->tvc", weights, sample.joints[at])
        people.append(joints * [-1, 1, -1] + [m, -0.9, 3.0])
    lines = ["90"]
    for t in range(90):
        here = people if t >= 20 else people[:1]
        lines.append(str(len(here)))
        for m, person in enumerate(here):
            lines += [f"7205{m} 0 1 1 0 0 0 -0.01 0.02 2", "25"]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 260 190 1000 500 0.1 0.2 0.3 0.4 2" for x, y, z in person[t]]
    path = tmp_path_factory.mktemp("ntu") / "S001C001P003R001A050.skeleton"
    path.write_text("\n".join(lines) + "\n")
    return path


def published(models: list[CTRGCN], motion: Motion) -> np.ndarray:
    """Softmax of the ensemble's logits, by the formulas of the released feeder."""
    x = torch.from_numpy(np.nan_to_num(motion.joints)).double()  # [T, M, V, 3]
    here = (x != 0).any(3).any(2)
    x = torch.where(here[:, :, None, None], x - x[here[:, 0].int().argmax(), 0, 1], 0.0)
    cut = int((1 - 0.95) * len(x) / 2)
    x = x[cut : len(x) - cut].permute(3, 2, 1, 0)  # [C, V, M, T]
    x = interpolate(x.flatten(0, 2)[None, None], size=(150, 64), mode="bilinear", align_corners=False)
    x = x.view(3, 25, 2, 64).permute(0, 3, 1, 2)  # [C, T, V, M]
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(NTU_PARENTS)]
    bone = x - x[:, :, parents]
    inputs = [x, bone, *(torch.cat([y[:, 1:] - y[:, :-1], 0 * y[:, :1]], 1) for y in (x, bone))]
    with torch.no_grad():
        logits = [w * m.double()(y[None])[0] for w, m, y in zip(WEIGHTS, models, inputs, strict=True)]
    return torch.stack(logits).sum(0).softmax(0).numpy()


def test_a_recording_of_two_people_is_recognized_as_published(
    bundle: Path, models: list[CTRGCN], recording: Path
) -> None:
    recognizer = Recognizer.load(bundle)
    assert recognizer.labels == ntu.ACTIONS[:60]
    decision, motion = recognizer.recognize(recording), Motion.load(recording)
    assert motion.people == 2
    wanted = published(models, motion)
    np.testing.assert_allclose(decision.probs, wanted, rtol=1e-4, atol=1e-7)
    assert decision.label == ntu.ACTIONS[int(wanted.argmax())]
    alone = recognizer.recognize(motion.person(0)).probs
    assert not np.allclose(alone, wanted, rtol=1e-4, atol=0), "the second person counts"


def test_a_stream_is_recognized_by_its_last_seconds(bundle: Path, recording: Path) -> None:
    """At the last decision, 15 + 5 * 15 frames after the start, the window is the whole recording."""
    recognizer, motion = Recognizer.load(bundle), Motion.load(recording)
    for t, poses in enumerate(motion.joints):
        here = [m for m in range(2) if np.isfinite(poses[m]).any()]
        decisions = recognizer.step_people(poses[here], t / 30, here)
    assert decisions[0].label == recognizer.recognize(recording).label
    assert {decision.status for decision in decisions} == {"ok"}


def test_it_runs_in_pytorch_as_in_onnx_runtime(bundle: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "_unavailable", lambda name: None)
    clips = cuda.CudaClips
    monkeypatch.setattr(cuda, "CudaClips", lambda bundle, graph, device: clips(bundle, graph, device="cpu"))
    with pytest.raises(InputError, match="precision is 'int8', expected fp32"):
        Recognizer.load(bundle, "cuda", precision="int8")
    recognizer = Recognizer.load(bundle, "cuda")
    assert recognizer.backend == "cuda"
    wanted = Recognizer.load(bundle, "onnx").recognize(recording).probs
    np.testing.assert_allclose(recognizer.recognize(recording).probs, wanted, rtol=1e-4, atol=1e-7)
    with pytest.raises(BundleError, match="ctrgcn: its weights are not those of a CTR-GCN"):
        clips(Bundle.load(bundle, ClipManifest), "velocity", device="cpu")


def test_the_command_recognizes_and_evaluates(
    bundle: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recognize", str(recording), "--model", str(bundle), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    assert main(["eval", "ntu60-xsub", "--model", str(bundle), "--data", str(recording.parent), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 1 and report["left_out"] == 0
    assert main(["eval", "ntu120-xsub", "--model", str(bundle), "--data", str(recording.parent)]) == 2
    assert "has no label 'put on headphone'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ("wave\nbow\n", {}, "labels.txt: 2 labels, the network has 60"),
        ("wave\n" * 60, {}, "labels.txt: a label occurs twice"),
        (None, {"classes": 7}, "the network has 7 classes, expected 60 or 120, or --labels FILE"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str | None, changes: dict[str, Any], message: str
) -> None:
    torch.save(official_state(network(0, **changes)), tmp_path / "joint.pt")
    arguments = [] if labels is None else ["--labels", str(tmp_path / "labels.txt")]
    (tmp_path / "labels.txt").write_text(labels or "")
    assert main(["import", "ctrgcn", str(tmp_path / "joint.pt"), *arguments, "-o", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not (tmp_path / "no").exists()


def test_labels_of_another_data_set(tmp_path: Path) -> None:
    torch.save(official_state(network(0, classes=3)), tmp_path / "joint.pt")
    (tmp_path / "labels.txt").write_text("sit\nstand\nlie\n")
    command = ["import", "ctrgcn", str(tmp_path / "joint.pt"), "--labels", str(tmp_path / "labels.txt")]
    assert main([*command, "-o", str(tmp_path / "three")]) == 0
    assert Recognizer.load(tmp_path / "three").labels == ("sit", "stand", "lie")


def test_networks_of_different_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, classes in (("joint", 60), ("bone", 120)):
        torch.save(official_state(network(0, classes=classes)), tmp_path / f"{name}.pt")
    paths = [str(tmp_path / f"{name}.pt") for name in ("joint", "bone")]
    assert main(["import", "ctrgcn", *paths, "-o", str(tmp_path / "no")]) == 2
    assert "bone.pt: 120 classes" in capsys.readouterr().err
