"""Training samples: reproducible, within their limits, and with padding that nobody sees."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.frontend import Frontend
from motionrt.runtime.body.layout import Layout
from motionrt.training.data import vocabulary
from motionrt.training.data.clips import LabeledClip, back_and_forth
from motionrt.training.data.streams import UNLABELED, Stream
from motionrt.training.recognition.tasks import ClipTask, LiveTask, StreamSample, collate

FRONTEND = Frontend(rate_hz=20.0)
LABELS = (*vocabulary.labels(), vocabulary.NONE)
NONE = LABELS.index(vocabulary.NONE)


@pytest.fixture(scope="module")
def trained(clips: list[LabeledClip]) -> list[LabeledClip]:
    return [clip for clip in clips if not vocabulary.is_held_out(clip.record) and vocabulary.is_usable(clip.record)]


@pytest.fixture(scope="module")
def live(trained: list[LabeledClip], layout: Layout) -> LiveTask:
    return LiveTask(clips=trained, layout=layout, frontend=FRONTEND, labels=LABELS, seed=1, seconds=4.0)


@pytest.fixture(scope="module")
def whole(trained: list[LabeledClip], layout: Layout) -> ClipTask:
    known = [clip for clip in trained if clip.label]
    return ClipTask(clips=known, layout=layout, frontend=FRONTEND, labels=LABELS, seed=1, max_clip_s=1.5)


def same(a: StreamSample, b: StreamSample) -> bool:
    names = ("frames", "targets", "weights", "segments")
    return a.classes == b.classes and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


@pytest.mark.parametrize("name", ["live", "whole"])
def test_a_sample_depends_only_on_seed_step_and_index(name: str, request: pytest.FixtureRequest) -> None:
    task: LiveTask | ClipTask = request.getfixturevalue(name)
    first, other = task.batch(3, 4), task.batch(5, 4)
    again = task.batch(3, 4)
    assert all(map(same, first, again)), "whatever was asked for in between"
    assert not any(map(same, first, other))
    assert not same(first[0], first[1])
    assert not any(map(same, first, replace(task, seed=2).batch(3, 4)))


def test_a_live_sample_does_not_depend_on_the_size_of_its_batch(live: LiveTask) -> None:
    assert all(map(same, live.batch(3, 2), live.batch(3, 4)))


def test_live_samples_have_the_configured_length(live: LiveTask) -> None:
    T = round(live.seconds * FRONTEND.rate_hz)
    for sample in live.batch(0, 12):
        assert sample.frames.shape == (T, 15, 3) and sample.frames.dtype == np.float32
        assert sample.targets.shape == sample.weights.shape == sample.segments.shape == (T,)
        assert np.isfinite(sample.frames).all() and np.abs(sample.frames).max() < 3
        assert set(sample.targets) <= {UNLABELED, *range(len(LABELS))}
        assert set(sample.segments) <= {-1, *range(len(sample.classes))}
        assert (sample.segments >= 0).any()
        assert (sample.weights[sample.targets == UNLABELED] == 0).all()
        assert ((sample.weights >= 0) & (sample.weights <= 1)).all()
        np.testing.assert_allclose(sample.frames[:, live.layout.root], 0, atol=1e-5)


def test_a_segment_that_ends_before_its_action_has_no_class(live: LiveTask) -> None:
    cut = 0
    for seed in range(20):
        sample, stream = (make(np.random.default_rng(seed)) for make in (live.sample, lambda r: live.stream(r, 80)))
        assert isinstance(sample, StreamSample) and isinstance(stream, Stream)
        for i, target in enumerate(stream.classes):
            inside = stream.segments == i
            action = inside & (stream.targets == target)
            enough = action[:80].sum() >= min(0.7 * action.sum(), 2 * FRONTEND.rate_hz)
            assert (sample.segments == i).sum() == (inside[:80].sum() if enough else 0)
            cut += bool(inside[:80].any() and not enough)
    assert cut > 0, "the seeds must show the case"


def test_labels_are_equally_likely_for_any_number_of_clips(live: LiveTask) -> None:
    clips = Counter(clip.label for clip in live.clips if clip.label)
    assert clips.most_common()[0][1] > 2 * clips.most_common()[-1][1]
    task = replace(live, labels=(*sorted(clips), vocabulary.NONE))
    rng = np.random.default_rng(0)
    drawn = Counter(task.labels[task.action(rng).target] for _ in range(200))
    assert set(drawn) == {vocabulary.NONE, *clips}
    for name in clips:
        assert 0.1 < drawn[name] / drawn.total() < 0.33  # of four labels
    assert 0.05 < drawn[vocabulary.NONE] / drawn.total() < 0.3


def test_labels_are_drawn_by_the_square_root_of_the_number_of_their_sets(live: LiveTask) -> None:
    bow, walk = (next(clip for clip in live.clips if clip.label == label) for label in ("bow", "walk"))
    task = replace(live, clips=[*(replace(bow, source=name) for name in "abcdefghi"), walk, walk, walk])
    rng = np.random.default_rng(0)
    drawn = Counter(LABELS[task.action(rng).target] for _ in range(300))
    assert set(drawn) == {"bow", "walk"}
    assert 0.66 < drawn["bow"] / drawn.total() < 0.84, "nine sets and one: three to one"


def test_a_segment_knows_the_classes_of_its_set(live: LiveTask) -> None:
    of_set = {source: {NONE} for source in {clip.source for clip in live.clips}}
    for clip in live.clips:
        if clip.label:
            of_set[clip.source].add(LABELS.index(clip.label))
    rests = 0
    for seed in range(8):
        sample, stream = (make(np.random.default_rng(seed)) for make in (live.sample, lambda r: live.stream(r, 80)))
        assert isinstance(sample, StreamSample) and isinstance(stream, Stream) and sample.own_classes is not None
        assert sample.own_classes.shape == (len(stream.classes), len(LABELS))
        for own, target, source in zip(sample.own_classes, stream.classes, stream.sources, strict=True):
            assert own[target]
            assert set(np.flatnonzero(own)) == (of_set[source] if source else set(range(len(LABELS))))
            rests += not source
    assert rests > 0, "the seeds must show rest, which is of no set"


def test_the_classes_of_a_set_have_both_sides(trained: list[LabeledClip], layout: Layout) -> None:
    raised = [replace(clip, label="raise right hand") for clip in trained if clip.label == "wave"]
    task = LiveTask(clips=raised, layout=layout, frontend=FRONTEND, labels=LABELS, seed=0)
    found = {LABELS[k] for k in np.flatnonzero(task.own_classes["bandai"])}
    assert found == {"raise left hand", "raise right hand", "none"}


def test_a_label_without_clips_is_never_drawn(live: LiveTask) -> None:
    rng = np.random.default_rng(0)
    drawn = {LABELS[live.action(rng).target] for _ in range(30)}
    assert drawn <= {clip.label or vocabulary.NONE for clip in live.clips}


def test_a_mirrored_clip_of_one_side_gets_the_other_sides_label(trained: list[LabeledClip], layout: Layout) -> None:
    raised = [
        replace(clip, label="raise right hand") for clip in trained if clip.record.get("content") == "wave-right-hand"
    ]
    task = LiveTask(clips=raised, layout=layout, frontend=FRONTEND, labels=LABELS, seed=0)
    left, right = (layout.joints.index(f"{side}_wrist") for side in ("left", "right"))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(12):
        segment = task.action(rng)
        name = LABELS[segment.target]
        assert {LABELS[target] for target, _, _ in segment.actions} == {name}
        height = segment.joints[:, right, 1].max() - segment.joints[:, left, 1].max()
        assert name == ("raise right hand" if height > 0 else "raise left hand")
        seen.add(name)
    assert len(seen) == 2


def test_rest_is_none(live: LiveTask) -> None:
    assert live.rests
    segment = live.rest(np.random.default_rng(0))
    assert segment.target == NONE and segment.actions == ()
    seconds = len(segment.joints) / FRONTEND.rate_hz
    assert 0.4 / 1.35 - 0.1 < seconds < 2.0 / 0.75 + 0.1


def test_the_first_frames_of_an_action_weigh_less(live: LiveTask) -> None:
    targets = np.array([NONE] * 3 + [2] * 10 + [UNLABELED] * 2 + [4] * 80)
    stream = Stream(
        joints=np.zeros((95, 15, 3), np.float32),
        targets=targets,
        segments=np.zeros(95, int),
        classes=(2,),
        sources=("bandai",),
        actions=((2, 3, 13), (4, 15, 95)),
    )
    weights = live.weights(stream)
    np.testing.assert_allclose(weights[:3], 0.7)
    np.testing.assert_allclose(weights[3:13], [0.3, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1], atol=1e-6)  # over its half
    np.testing.assert_array_equal(weights[13:15], 0)
    np.testing.assert_allclose(weights[15:35], np.maximum(np.arange(1, 21) / 20, 0.3), atol=1e-6)  # over a second
    np.testing.assert_array_equal(weights[35:], 1)


def test_an_epoch_has_every_clip_once_apart_from_the_remainder(
    whole: ClipTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipTask, "sample", lambda task, clip, rng: clip)
    size, n = 5, len(whole.clips)
    batches = n // size
    assert n % size, "the number of clips must leave a remainder"

    def epoch(k: int) -> list[list[int]]:
        drawn: Any = [whole.batch(step, size) for step in range(k * batches, (k + 1) * batches)]
        return [[next(i for i, clip in enumerate(whole.clips) if clip is s) for s in batch] for batch in drawn]

    first, second = epoch(0), epoch(1)
    for drawn in (first, second):
        assert all(len(batch) == size for batch in drawn)
        every = [i for batch in drawn for i in batch]
        assert len(every) == len(set(every)) == batches * size
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}, "shuffled"


def test_clips_of_similar_length_share_a_batch(whole: ClipTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipTask, "sample", lambda task, clip, rng: len(clip.joints))
    drawn: Any = [whole.batch(step, 4) for step in range(len(whole.clips) // 4)]
    lengths = sorted(sorted(batch) for batch in drawn)
    assert all(max(a) <= min(b) for a, b in zip(lengths, lengths[1:], strict=False))


def test_a_clip_sample_is_one_segment_with_increasing_weights(whole: ClipTask) -> None:
    clip = next(clip for clip in whole.clips if clip.label == "bow")
    for seed in range(6):
        sample = whole.sample(clip, np.random.default_rng(seed))
        T = len(sample.frames)
        assert 2 <= T <= 1.5 * FRONTEND.rate_hz
        assert set(sample.targets) == {LABELS.index("bow")} and sample.classes == (LABELS.index("bow"),)
        assert set(sample.segments) == {0}
        assert sample.weights[-1] == 1 and (np.diff(sample.weights) > 0).all() and sample.weights[0] > 0


def test_padding_plays_the_clip_back_and_forth() -> None:
    frames = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    assert back_and_forth(frames, 9)[:, 1, 1].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(frames, 4).tolist() == frames.tolist()
    assert back_and_forth(frames[2:3], 3)[:, 0, 0].tolist() == [2, 2, 2]


def sample(T: int, segments: list[int], classes: tuple[int, ...]) -> StreamSample:
    return StreamSample(
        frames=np.random.default_rng(T).normal(size=(T, 2, 3)).astype(np.float32),
        targets=np.arange(T),
        weights=np.ones(T, np.float32),
        segments=np.array(segments),
        classes=classes,
    )


def test_a_batch_has_the_own_classes_of_all_segments() -> None:
    own = np.eye(3, dtype=bool)
    samples = [
        replace(sample(3, [0, -1, 1], (0, 1)), own_classes=own[:2]),
        replace(sample(2, [0, 0], (2,)), own_classes=own[2:]),
    ]
    np.testing.assert_array_equal(collate(samples)["own_classes"], own)
    assert "own_classes" not in collate([sample(2, [0, 0], (2,))])


def test_a_batch_separates_its_samples_and_ignores_padding() -> None:
    samples = [sample(3, [0, -1, 1], (7, 8)), sample(5, [0, 0, 0, 1, 1], (4, 5)), sample(2, [0, 0], (9,))]
    batch = collate(samples)
    assert batch["frames"].shape == (3, 5, 2, 3)
    for i, one in enumerate(samples):
        T = len(one.frames)
        np.testing.assert_array_equal(batch["frames"][i, :T], one.frames)
        np.testing.assert_array_equal(batch["targets"][i], [*range(T), *[UNLABELED] * (5 - T)])
        np.testing.assert_array_equal(batch["weights"][i], [1] * T + [0] * (5 - T))
    assert batch["segments"].tolist() == [[0, -1, 1, -1, -1], [2, 2, 2, 3, 3], [4, 4, -1, -1, -1]]
    assert batch["classes"].tolist() == [7, 8, 4, 5, 9]
