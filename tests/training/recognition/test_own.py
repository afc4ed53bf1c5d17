"""`train recognizer`: labels of one's own through the command line, from recordings to a model that is measured."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.bundle import Bundle  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.data.clips import LabeledClip  # noqa: E402
from motionrt.training.data.recordings import load_recordings, to_clip  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.recognition.own import mirrored_labels, split_clips  # noqa: E402

from ..clip_folder import Record, take, write_set  # noqa: E402

TINY = {"steps": "2", "batch": "2", "precision": "no"}
ACTIONS = ("bow", "jog", "wave")  # by sample


class Result(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*arguments: Any) -> Result:
        status = main([str(argument) for argument in arguments])
        return Result(status, *capfd.readouterr())

    return run


def clip_set(
    folder: Path, samples: Sequence[Motion], change: Callable[[Record], Record | None] = lambda record: record
) -> Path:
    """Write a clip set of three actions of four subjects, twice each; `change` edits records, None leaves one out."""
    folder.mkdir()
    clips = []
    for sample, label in enumerate(ACTIONS):
        for subject in ("ann", "ben", "eve", "tom"):
            for rep in range(2):
                record = change({"label": label, "subject": subject, "rep": rep})
                if record is not None:
                    clips.append((take(samples[sample].joints, len(clips)), record))
    write_set(folder, "mine", Layout.load("smpl22"), clips, fps=20)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    return clip_set(tmp_path_factory.mktemp("own") / "recordings", samples)


@pytest.fixture(scope="module")
def small(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small network that starts from nothing."""
    run = tmp_path_factory.mktemp("runs") / "small"
    return train(
        "recognizer", {**TINY, "data": str(recordings), "run": str(run), "init": "none", "channels": "8,8", "body": "8"}
    )


def test_a_run_ends_with_the_score_the_confusion_picture_and_the_next_command(
    run: Any, recordings: Path, tmp_path: Path
) -> None:
    settings = [f"{key}={value}" for key, value in TINY.items()]
    done = run("train", "recognizer", f"data={recordings}", f"run={tmp_path / 'mine'}", *settings)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("3 labels, 18 clips to train on; 6 to validate on, of people not trained on (")
    assert "none is trained with" in lines[1]
    assert "2/2" in done.out, "a progress bar"
    *_, score, mean, picture, command = lines
    assert "% of 6 clips right, of people not trained on (" in score and "mean over labels" in mean
    assert picture.endswith("confusion.png") and (tmp_path / "mine" / "confusion.png").is_file()
    assert command.startswith(f"next: motionrt export {tmp_path / 'mine'} -o mine, then motionrt recognize")


@pytest.mark.slow
def test_a_run_is_exported_recognizes_and_is_measured_on_clips_it_has_not_seen(
    run: Any, small: Path, recordings: Path, tmp_path: Path, samples: list[Motion]
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    mine = tmp_path / "mine"
    assert run("export", small, "-o", mine).status == 0
    manifest = Bundle.load(mine).manifest
    assert manifest.labels == (*ACTIONS, "none") and manifest.none == "none"
    assert "recordings of the user | 18" in (mine / "MODEL_CARD.md").read_text()
    samples[0].save(tmp_path / "clip.npz")
    assert run("recognize", "--model", mine, tmp_path / "clip.npz").status == 0
    report = json.loads(run("eval", "recordings", "--model", mine, "--data", recordings, "--json").out)
    assert (report["left_out"], report["n"]) == (18, 6)
    assert set(report["per_class"]) == set(ACTIONS) and report["unusable"] == [] and report["none"]["n"] == 0
    assert len(report["per_subject"]) == 1, "the person who was not trained on"


def test_a_run_starts_from_the_bundled_network(recordings: Path, tmp_path: Path) -> None:
    run = train("recognizer", {**TINY, "data": str(recordings), "run": str(tmp_path / "run")})
    recipe, live = json.loads((run / "recipe.json").read_text())["recipe"], Bundle.load("live")
    assert (recipe["layout"], recipe["frontend"]["rate_hz"]) == (live.manifest.layout, live.manifest.fps)
    assert live.manifest.license in recipe["license"]
    aside = set(json.loads((run / "set_aside.json").read_text()))
    known = set(json.loads((live.path / "set_aside.json").read_text()))
    assert known < aside and len(aside - known) == 18
    weights = load_file(run / "model.safetensors")
    variances = [value for name, value in weights.items() if name.endswith("running_var")]
    assert variances and all(torch.allclose(value, torch.ones_like(value), atol=1e-4) for value in variances)
    trained, before = weights["embed.0.weight"].numpy(), live.weights["embed.weight"]
    assert 0 < np.abs(trained - before).max() < 0.1, "it has learned a little"


def test_a_network_can_start_from_nothing(small: Path) -> None:
    about = json.loads((small / "recipe.json").read_text())
    assert about["labels"] == [*ACTIONS, "none"] and about["recipe"]["init"] is None
    assert load_file(small / "model.safetensors")["head.weight"].shape == (4, 8)
    assert len(json.loads((small / "set_aside.json").read_text())) == 18


def test_files_of_record_train_with_a_table_of_their_facts(run: Any, tmp_path: Path, samples: list[Motion]) -> None:
    """Labels are those of the files; `train.json` adds subjects, another label, and a split."""
    folder = tmp_path / "recordings"
    for k in range(8):
        sample, label = ((0, "bow"), (2, "wave"))[k % 2]
        (folder / "ann").mkdir(parents=True, exist_ok=True)
        samples[sample].save(tmp_path / "clip.npz")
        motion = Motion(take(samples[sample].joints, k), 20, "smpl22")
        motion.save(tmp_path / "clip.npz")
        options = ("--subject", "ann") if k < 4 else ()
        assert run("record", tmp_path / "clip.npz", "--label", label, "-o", folder / "ann", *options).status == 0
    Motion(take(samples[3].joints, 9), 20, "smpl22").save(folder / "walk.npz")
    found = load_recordings(folder).recordings
    assert [one.label for one in found].count("bow") == [one.label for one in found].count("wave") == 4
    assert [one.subject for one in found].count("ann") == 4 and [one.label for one in found].count(None) == 1
    table = {"ann/*": {"subject": "ann"}, "ann/wave*": {"label": "hello"}, "walk.npz": {"split": "validation"}}
    (folder / "train.json").write_text(json.dumps({"labels": ["hello", "bow"], "clips": table}))
    found = load_recordings(folder).recordings
    assert {(one.label, one.subject, one.split) for one in found} == {
        ("bow", "ann", None), ("hello", "ann", None), (None, None, "validation")
    }  # fmt: skip
    runs = train("recognizer", {**TINY, "data": str(folder), "run": str(tmp_path / "run")})
    assert json.loads((runs / "recipe.json").read_text())["labels"] == ["hello", "bow", "none"]


def no_label(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "label"}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (no_label, {}, "none of the 24 clips has a label; expected `label`"),
        (lambda r: r | {"label": "None"}, {}, "none of the 24 clips has a label"),
        (lambda r: r | {"label": "bow"}, {}, "the only label is 'bow', expected at least two"),
        (lambda r: r if r["label"] != "jog" or r["subject"] == "ann" else None, {},
         r"too few clips of jog \(2\); expected at least 4 of each label: .* labels=A,B"),
        (lambda r: r | {"split": "dev"}, {}, "no recording can be used; .*clip 0: split is 'dev', expected train, "),
        (dict, {"labels": "bow,jump"}, "no clip has the label 'jump'; there are bow, jog, wave"),
        (dict, {"hold_out": "max"}, "hold_out: no subject 'max'; there are ann, ben, eve, tom"),
        (dict, {"hold_out": "ann,ben,eve,tom"}, "label 'bow': expected at least 2 clips that are not held out"),
        (dict, {"init": "alive"}, "no model named 'alive'"),
        (dict, {"init": "default"}, "task 'generation', expected 'recognition'"),
        (dict, {"rate_hz": "30"}, "frontend: that of live cannot be changed; init=none trains without it"),
        (dict, {"data": "nowhere"}, "nowhere: no recordings here; expected files of `motionrt record`"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_one_line(
    samples: list[Motion], tmp_path: Path, change: Any, settings: dict[str, str], message: str
) -> None:
    folder = clip_set(tmp_path / "recordings", samples, change)
    with pytest.raises(InputError, match=message) as refused:
        train("recognizer", {**TINY, "data": str(folder), "run": str(tmp_path / "run"), **settings})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists(), "nothing is left behind"


def test_a_recording_that_cannot_be_used_is_named_and_left_out(tmp_path: Path, samples: list[Motion]) -> None:
    folder, joints = clip_set(tmp_path / "recordings", samples), samples[0].joints
    Motion(joints[:6], 20, "smpl22").save(folder / "short.npz")
    Motion(joints[:40, :17, :2] * 100, 20, "coco17").save(folder / "flat.npz")
    hidden = joints[:40].copy()
    hidden[:30, 0] = np.nan
    Motion(hidden, 20, "smpl22").save(folder / "hidden.npz")
    np.savez(folder / "odd.npz", joints=joints, fps=20, layout="octopus")
    (folder / "broken.npz").write_text("not an archive")
    Motion(np.stack([joints, joints + 1], 1), 20, "smpl22").save(folder / "two.npz")
    found = load_recordings(folder)
    assert len(found.recordings) == 24
    expected = {
        "broken.npz": "not an .npz archive", "flat.npz": "layout coco17 is flat", "odd.npz": "unknown skeleton layout",
        "hidden.npz": "pelvis is visible in 25 % of the frames", "two.npz": "a motion of 2 people, expected one",
        "short.npz": r"lasts 0.30 s, expected at least 0.5 s",
    }  # fmt: skip
    assert len(found.problems) == len(expected)
    for name, problem in expected.items():
        assert any(f"{folder / name}: " in line and problem in line for line in found.problems), found.problems


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"label": "bow"}', '{"labels": [3]}', '{"clips": []}', '{"clips": {"*": {"name": "bow"}}}',
     '{"clips": {"missing.npz": {"label": "bow"}}}'],
)  # fmt: skip
def test_an_invalid_table_is_refused(tmp_path: Path, samples: list[Motion], content: str) -> None:
    folder = clip_set(tmp_path / "recordings", samples)
    (folder / "train.json").write_text(content)
    with pytest.raises(InputError, match=r"train.json: (expected an object such as|no recording matches)"):
        load_recordings(folder)


def test_copies_count_once(tmp_path: Path, samples: list[Motion]) -> None:
    for name in ("a.npz", "b.npz"):
        Motion(samples[0].joints, 20, "smpl22", meta={"label": "bow"}).save(tmp_path / name)
    assert len(load_recordings(tmp_path).recordings) == 1


def test_gaps_are_filled_and_uneven_times_resampled(tmp_path: Path, samples: list[Motion]) -> None:
    joints = samples[2].joints[:60].copy()
    times = np.arange(60) / 20 + np.random.default_rng(0).uniform(0, 0.02, 60)
    wrist = Layout.load("smpl22").joints.index("left_wrist")
    confidence = np.ones(joints.shape[:2], np.float32)
    confidence[20:24, wrist] = 0
    seen = joints.copy()
    seen[30:33] = np.nan
    Motion(seen, 20, "smpl22", confidence, times, {"label": "wave"}).save(tmp_path / "clip.npz")
    (recording,) = load_recordings(tmp_path).recordings
    clip = to_clip(recording, Layout.load("smpl22"))
    assert np.isfinite(clip.joints).all() and len(clip.joints) == round((times[-1] - times[0]) * 20) + 1
    wanted = [np.interp(times[0] + np.arange(len(clip.joints)) / 20, times, joints[:, wrist, k]) for k in range(3)]
    assert np.abs(clip.joints[:, wrist] - np.stack(wanted, 1)).max() < 0.15


def clip(label: str | None, subject: str | None = None, split: str | None = None, n: int = 0) -> LabeledClip:
    record = {"subject": subject, "split": split, "fingerprint": f"{label}{subject}{split}{n}"}
    return LabeledClip(joints=np.zeros((1, 15, 3)), fps=20, label=label, source="recordings", record=record)


def test_people_are_held_out_so_that_every_label_remains() -> None:
    clips = [clip(label, subject, n=n) for label in "xy" for subject in "abcdef" for n in range(2)]
    rare = [clip("z", "a", n=n) for n in range(4)]  # which nobody else shows
    trained, held_out, who = split_clips([*clips, *rare], None)
    subjects = {one.record["subject"] for one in held_out}
    assert 1 <= len(subjects) <= 2 and "a" not in subjects
    assert not subjects & {one.record["subject"] for one in trained}
    assert len(trained) + len(held_out) == len(clips) + len(rare) and all(name in who for name in subjects)
    chosen = split_clips(clips, ("c",))[1]
    assert {one.record["subject"] for one in chosen} == {"c"}


def test_a_split_is_followed_and_test_clips_are_left_alone() -> None:
    clips = [clip("x", "a", split, n) for split in ("train", "validation", "test", None) for n in range(3)]
    trained, held_out, _ = split_clips(clips, None)
    assert [one.record["split"] for one in held_out] == ["validation"] * 3
    assert {one.record["split"] for one in trained} == {"train", None} and len(trained) == 6


def test_without_subjects_a_share_of_each_label_is_held_out() -> None:
    clips = [clip(label, n=n) for label in ("x", "y", None) for n in range(10)]
    trained, held_out, who = split_clips(clips, None)
    assert sorted(one.label or "" for one in held_out) == ["", "", "x", "x", "y", "y"]
    assert len(trained) == 24 and "the people trained on" in who
    assert split_clips(clips, None)[1] == held_out


def test_labels_of_a_side_swap_or_are_not_mirrored() -> None:
    labels = ("swipe left", "swipe right", "raise right_hand", "Left kick", "Right kick", "stand upright", "none")
    mirrored, one_sided = mirrored_labels(labels)
    assert mirrored == {
        "swipe left": "swipe right", "swipe right": "swipe left", "Left kick": "Right kick", "Right kick": "Left kick"
    }  # fmt: skip
    assert one_sided == {"raise right_hand"}
