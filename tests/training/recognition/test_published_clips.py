"""CTR-GCN and CoCoDiff on published folders: preparation, feeders, and training, export and evaluation by command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch.nn.functional import interpolate  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.training.data import ntu  # noqa: E402
from motionrt.training.data.whole_clips import CACHE, WholeClip, load_split, ntu_motion  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NTU_PARENTS, OPENPOSE_PARENTS, CTRGCNConfig  # noqa: E402
from motionrt.training.recognition.ctr_gcn import (  # noqa: E402
    PeopleTask,
    compute_logits,
    load_views,
    rotation,
    whole_sample,
)
from motionrt.training.recognition.published import RECIPES, read_sentences  # noqa: E402
from motionrt.training.runs import read_network  # noqa: E402

TINY = ["steps=2", "batch=2", "channels=8,8", "precision=no"]
NAMES = ("S001C001P001R001A001", "S001C002P002R001A050", "S002C003P004R002A002", "S001C001P003R001A001",
         "S002C002P006R001A050")  # the last two are tested  # fmt: skip


@pytest.fixture(scope="module")
def actor(samples: list[Motion]) -> np.ndarray:
    """A person before a Kinect v2, [80, 25, 3]."""
    joints = np.einsum("vw,twc->tvc", Layout.load("ntu25").map_from(Layout.load("smpl22")), samples[2].joints)
    return joints[:80] * [-1, 1, -1] + [0.1, -0.9, 3.0]


def write(path: Path, frames: list[list[tuple[str, np.ndarray]]]) -> Path:
    """A .skeleton file with bodies (id, joints) in each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints in bodies:
            lines += [f"{body} 0 1 1 0 0 0 -0.01 0.02 2", "25"]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 260 190 1000 500 0.1 0.2 0.3 0.4 2" for x, y, z in joints]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def ntu_folder(actor: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings; in those of action 50 a second person comes late."""
    folder = tmp_path_factory.mktemp("ntu")
    for k, name in enumerate(NAMES):
        pair = name.endswith("50")
        frames = [[("1", pose + [0, 0, 0.1 * k])] for pose in actor[k : k + 70]]
        if pair:
            frames = [one + [("2", actor[0] + [1, 0, 0])] * (t >= 20) for t, one in enumerate(frames)]
        write(folder / "skeletons" / f"{name}.skeleton", frames)
    return folder


@pytest.fixture(scope="module")
def kinetics_folder(actor: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips to train on and two to validate on, of a person and a fainter one in front of it in every frame."""
    folder, random = tmp_path_factory.mktemp("kinetics"), np.random.default_rng(0)
    weights = Layout.load("openpose18").map_from(Layout.load("ntu25"), needs_legs=False)
    poses = np.einsum("vw,twc->tvc", weights, actor)[..., :2] * [0.2, -0.3] + 0.5
    for side, count in (("train", 3), ("val", 2)):
        (folder / f"kinetics_{side}").mkdir()
        index: dict[str, Any] = {"empty": {"has_skeleton": False, "label": "yoga", "label_index": 1}}
        for k in range(count):
            label = k % 2
            index[f"clip{k}"] = about = {"label": ("abseiling", "yoga")[label], "label_index": label}
            frames = []
            for t, pose in enumerate(poses[:70]):
                people = [(pose, 0.9), (pose + 0.1 * random.normal(), 0.3)][:: 1 if t % 2 else -1]
                people += [(pose - 0.2, 0.1)]
                skeletons = [{"pose": p.ravel().tolist(), "score": [score] * 18} for p, score in people]
                frames.append({"frame_index": t + 1, "skeleton": skeletons})
            (folder / f"kinetics_{side}" / f"clip{k}.json").write_text(json.dumps({"data": frames, **about}))
            index[f"clip{k}"]["has_skeleton"] = True
        (folder / f"kinetics_{side}_label.json").write_text(json.dumps(index))
    return folder


# ---- preparation


def test_bodies_are_filtered_and_placed_as_released(tmp_path: Path, actor: np.ndarray) -> None:
    calm, table = actor[0] + [1, 0, 0], actor[0] * [3, 0.1, 1]
    frames = [[("still", calm), ("lively", pose), ("table", table)] for pose in actor]
    for t in range(11):
        frames[t].append(("short", actor[t] + [2, 0, 0]))
    frames[30:40] = [frame[1:2] for frame in frames[30:40]]  # of the still one nothing is left for ten frames
    frames[50:53] = [[], [], []]
    motion = ntu_motion(write(tmp_path / f"{NAMES[0]}.skeleton", frames))
    assert motion.joints.shape == (77, 2, 25, 3)
    np.testing.assert_allclose(motion.joints[:, 0], np.delete(actor, [50, 51, 52], 0), atol=1e-5)
    seen = np.isfinite(motion.joints[:, 1]).all((1, 2))
    assert seen.tolist() == [True] * 67 + [False] * 10, "a track is taken to be without gaps"
    np.testing.assert_allclose(motion.joints[0, 1], calm, atol=1e-5)


def test_a_person_found_again_takes_the_free_place(tmp_path: Path, actor: np.ndarray) -> None:
    other = actor[::-1] * 0.9 + [1, 0, 0]
    frames = [[("1" if t < 40 else "3", a), ("2", b)] for t, (a, b) in enumerate(zip(actor, other, strict=True))]
    motion = ntu_motion(write(tmp_path / f"{NAMES[0]}.skeleton", frames))
    first = int(np.abs(motion.joints[0, 0] - actor[0]).max() > 1e-4)  # the place of track 1
    np.testing.assert_allclose(motion.joints[:, first], actor, atol=1e-5)
    np.testing.assert_allclose(motion.joints[:, 1 - first], other, atol=1e-5)


def test_a_recording_without_a_body_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{NAMES[0]}.skeleton"
    path.write_text("2\n0\n0\n")
    with pytest.raises(InputError, match="has no body in any frame, expected its name in NTU_RGBD120_samples"):
        ntu_motion(path)


@pytest.mark.parametrize("split", ntu.TEST_SPLITS)
def test_every_recording_is_on_one_side_of_a_split(ntu_folder: Path, split: str) -> None:
    sides = [{clip.path.stem for clip in load_split(ntu_folder, split, tested)[0]} for tested in (False, True)]
    assert sides[0] | sides[1] == set(NAMES) and not sides[0] & sides[1]


def test_samples_are_those_of_the_released_feeder(ntu_folder: Path) -> None:
    clips, labels = load_split(ntu_folder, "ntu60-xsub", tested=False)
    task = PeopleTask(clips=clips, labels=labels, stream="bone_motion", parents=NTU_PARENTS, seed=0)
    clip = next(clip for clip in clips if clip.path.stem == NAMES[1])
    x = torch.from_numpy(np.nan_to_num(clip.motion().joints)).double()
    x = torch.where((x != 0).any(3).any(2)[..., None, None], x - x[0, 0, 1], 0.0)[1:69].permute(3, 2, 1, 0)
    x = interpolate(x.flatten(0, 2)[None, None], size=(150, 64), mode="bilinear", align_corners=False)
    x = x.view(3, 25, 2, 64).permute(0, 3, 1, 2)
    x = x - x[:, :, [joint if parent < 0 else parent for joint, parent in enumerate(NTU_PARENTS)]]
    x = torch.cat([x.diff(dim=1), 0 * x[:, :1]], 1)
    found = task.whole_sample(clip)
    assert found.target == 49
    np.testing.assert_allclose(found.x, x.numpy(), atol=1e-5)
    assert (clip.path.parent / CACHE / f"{NAMES[1]}.npy").is_file()
    once, again, other = (task.sample(clip, np.random.default_rng(k)) for k in (1, 1, 2))
    assert once.x.shape == (3, 64, 25, 2) and np.array_equal(once.x, again.x) and not np.array_equal(once.x, other.x)


def test_rotations_keep_lengths_and_the_axis() -> None:
    for axis in range(3):
        matrix = rotation(axis, 0.3)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
        assert matrix[axis, axis] == 1 and np.linalg.det(matrix) > 0


def test_pictures_are_in_units_of_the_best_person_with_zeros_for_unseen_joints(kinetics_folder: Path) -> None:
    clips, labels = load_split(kinetics_folder, "kinetics", tested=False)
    assert labels == ("abseiling", "yoga") and [clip.label for clip in clips] == ["abseiling", "yoga", "abseiling"]
    x = clips[0].frames()
    assert x.shape == (70, 2, 18, 3) and not x[0, 0, 1, :2].any() and set(np.unique(x[..., 2])) <= {0.0, 1.0}
    assert np.ptp(x[:, 0, :, :2], 1).max() == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(x[:, 0, 1, 0])).max() < 0.2, "the same person in every frame"
    task = PeopleTask(clips=clips, labels=labels, stream="joint", parents=OPENPOSE_PARENTS, seed=0)
    moved = task.sample(clips[0], np.random.default_rng(1)).x
    assert moved.shape == (3, 64, 18, 2) and np.isfinite(moved).all()


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kinetics_train_label.json: expected the labels of Kinetics-Skeleton"):
        load_split(tmp_path, "kinetics", tested=False)
    with pytest.raises(InputError, match="no training sample of ntu120-xset among its files"):
        load_split(tmp_path, "ntu120-xset", tested=False)


# ---- by command


@pytest.mark.slow
def test_ntu_from_folder_to_scores(
    ntu_folder: Path, tmp_path: Path, train_and_resume: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for stream in ("joint", "bone"):
        run = tmp_path / stream
        train_and_resume("ntu60-xsub-ctrgcn", f"data={ntu_folder}", f"stream={stream}", *TINY, f"run={run}")
        assert len((run / "metrics.jsonl").read_text().splitlines()) == 2, "not trained again"
        runs.append(str(run))
    assert main(["export", *runs, "-o", str(tmp_path / "both")]) == 0
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    assert manifest["model"]["weights"] == {"joint": 0.6, "bone": 0.6} and "NTU RGB+D" in manifest["license"]
    capsys.readouterr()
    evaluate = ["eval", "ntu60-xsub", "--data", str(ntu_folder), "--json", "--model"]
    scores = str(tmp_path / "both.npz")
    assert main([*evaluate, str(tmp_path / "both"), "--scores", scores]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 2 and report["left_out"] == 0 and report["top5"] >= report["top1"]
    with np.load(scores) as file:
        assert file["names"].tolist() == list(NAMES[3:]) and file["scores"].shape == (2, 60)
        np.testing.assert_allclose(np.exp(file["scores"]).sum(1), 1, atol=1e-4)
    assert main([*evaluate, f"{scores},{scores}"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["top1"], again["n"]) == (report["top1"], 2) and "2 recognizers" in again["protocol"]
    np.savez(tmp_path / "other.npz", names=["a"], targets=["b"], labels=["b"], scores=np.zeros((1, 1)))
    assert main([*evaluate, f"{scores},{tmp_path / 'other.npz'}"]) == 2
    assert "other.npz: scores of other clips or labels than" in capsys.readouterr().err
    assert main(["export", runs[0], runs[0], "-o", str(tmp_path / "no")]) == 2
    assert "a second run of stream joint" in capsys.readouterr().err
    assert main(["eval", "live", "--data", str(ntu_folder), "--scores", scores]) == 2
    assert "benchmark live writes no scores" in capsys.readouterr().err


@pytest.mark.slow
def test_kinetics_with_cocodiff_from_folder_to_decision(
    kinetics_folder: Path, tmp_path: Path, train_and_resume: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = tmp_path / "run", str(tmp_path / "kinetics")
    texts = tmp_path / "texts.txt"
    texts.write_text("a; h; n; a; i; l; f\nb; head turns; hands rest; arms lift; hips sink; legs bend; feet stay\n")
    helper = ["width=16", "depth=1", f"sentences={texts}"]
    train_and_resume("kinetics-cocodiff", f"data={kinetics_folder}", *TINY, *helper, f"run={run}")
    assert main(["export", str(run), "-o", bundle]) == 0
    capsys.readouterr()
    command = ["eval", "kinetics-skeleton", "--model", bundle, "--data", str(kinetics_folder), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], report["top5"], report["left_out"]) == (2, 100, 0)
    clip = str(kinetics_folder / "kinetics_val" / "clip0.json")
    assert main(["recognize", clip, "--model", bundle, "--json"]) == 0
    assert capsys.readouterr().out


@pytest.mark.slow
def test_a_bundle_of_nwucla_as_published_has_the_accuracy_of_its_run(data: Path, tmp_path: Path, capsys: Any) -> None:
    run, bundle = tmp_path / "run", str(tmp_path / "bundle")
    assert main(["train", "nwucla-published-ctrgcn", f"data={data}", *TINY, "stream=bone", f"run={run}"]) == 0
    assert main(["export", str(run), "-o", bundle]) == 0
    capsys.readouterr()
    assert main(["eval", "nw-ucla", "--model", bundle, "--data", str(data), "--json"]) == 0
    report, last = json.loads(capsys.readouterr().out), (run / "metrics.jsonl").read_text().splitlines()[-1]
    clips = load_views(data, 3)
    assert report["n"] == len(clips) and report["top1"] == pytest.approx(json.loads(last)["top1"])
    network, about = read_network(run, CTRGCN, CTRGCNConfig)
    logits_NC = compute_logits(network, [whole_sample(clip, "bone", about["labels"], True) for clip in clips])
    recognizer = Recognizer.load(bundle)
    for clip, logits in zip(clips, 0.6 * logits_NC, strict=True):
        decision = recognizer.recognize(Motion(clip.joints, clip.fps, "kinect20"))
        np.testing.assert_allclose(decision.probs, np.exp(logits) / np.exp(logits).sum(), rtol=1e-4)
    np.savez(tmp_path / "clip.npz", joints=clips[0].joints, fps=clips[0].fps, layout="kinect20")
    assert main(["recognize", str(tmp_path / "clip.npz"), "--model", bundle, "--json"]) == 0
    assert capsys.readouterr().out
    (run / "recipe.json").write_text((run / "recipe.json").read_text().replace("nwucla-published-", "nwucla-"))
    assert main(["export", str(run), "-o", bundle]) == 2
    assert "a run of nwucla-ctrgcn has no bundle" in capsys.readouterr().err


def test_the_configurations_are_the_released_ones() -> None:
    for split, clips in {"ntu60-xsub": 40091, "ntu60-xview": 37646, "ntu120-xsub": 63026, "ntu120-xset": 54468}.items():
        loop, epoch = RECIPES[f"{split}-ctrgcn"]().loop, clips // 64
        assert (loop.steps, loop.batch, loop.lr, loop.momentum) == (65 * epoch, 64, 0.1, 0.9)
        assert (loop.weight_decay, loop.gamma, loop.milestones) == (4e-4, 0.1, (35 * epoch, 55 * epoch))
    assert RECIPES["nwucla-published-ctrgcn"]().loop.milestones == (50 * 318,)


def test_a_recipe_without_its_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ntu60-xsub-ctrgcn", f"run={tmp_path / 'run'}"]) == 2
    assert "recipe ntu60-xsub-ctrgcn needs data=FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_sentences_come_from_a_file_or_from_the_label(tmp_path: Path) -> None:
    found = read_sentences(None, ("walk", "hopping"))
    assert len(found["walk"]) == 6 and "hopping: feet" in found["hopping"] and found["walk"][0].endswith(".")
    file = tmp_path / "texts.txt"
    file.write_text("a; 1; 2; 3; 4; 5; 6\nb; 1; 2\n")
    assert read_sentences(str(file), ("walk",)) == {"walk": ["1", "2", "3", "4", "5", "6"]}
    for labels, message in ((("a", "b"), "line 2: expected a name and"), (("a", "b", "c"), "2 lines, expected one")):
        with pytest.raises(InputError, match=message):
            read_sentences(str(file), labels)


def test_clips_of_one_person_are_prepared_like_those_of_two(tmp_path: Path, actor: np.ndarray) -> None:
    path = write(tmp_path / f"{NAMES[0]}.skeleton", [[("1", pose)] for pose in actor])
    x = WholeClip(path=path, label="drink water").frames()
    np.testing.assert_allclose(x[:, 0], actor - actor[0, 1], atol=1e-5)
    assert x.shape == (80, 2, 25, 3) and not x[:, 1].any()
