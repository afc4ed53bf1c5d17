"""GIF and MP4 files, decoded again."""

from dataclasses import replace

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.io import preview
from motionrt.runtime.io.render import SIDE_COLORS, follow, render

image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
av = pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture(scope="module")
def short(wave: Motion) -> Motion:
    return replace(wave, joints=wave.joints[20:32])


def decoded(path):
    """Frames [T, H, W, 3] uint8 and their times [T] in seconds."""
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
            frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)]
        return np.stack([frame for frame, _ in frames]), np.array([time for _, time in frames])
    with image.open(path) as gif:
        frames, times = [], [0.0]
        for k in range(gif.n_frames):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB")))
            times.append(times[-1] + gif.info["duration"] / 1000)
    return np.stack(frames), np.array(times[:-1])


def colored(frame, side):
    """Mask [H, W] of the pixels that have the color of this side of the body, in any light."""
    pixels, color = frame.astype(float), np.array(SIDE_COLORS[side], float)
    shares = pixels / np.maximum(pixels.sum(axis=-1, keepdims=True), 1)
    return (np.abs(shares - color / color.sum()) < 0.08).all(axis=-1) & (np.ptp(pixels, axis=-1) > 40)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
@pytest.mark.parametrize("fps", [20, 30, 29.97])
def test_every_frame_has_its_time(tmp_path, short, ending, fps):
    motion = replace(short, fps=fps)
    motion.save(tmp_path / f"clip{ending}")
    frames, times = decoded(tmp_path / f"clip{ending}")
    assert frames.shape == (short.frames, preview.SIZE, preview.SIZE, 3)
    np.testing.assert_allclose(times, np.arange(short.frames) / fps, atol=0.006)


def test_a_gif_skips_frames_above_its_maximum_rate(tmp_path, short):
    replace(short, fps=120).save(tmp_path / "clip.gif")
    frames, times = decoded(tmp_path / "clip.gif")
    assert len(frames) == 4  # every third
    np.testing.assert_allclose(times, np.arange(4) / 40, atol=0.006)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_pictures_differ_where_the_body_moves(tmp_path, short, ending):
    joints = np.repeat(short.joints[:1], 2, axis=0)
    joints[1, [19, 21]] += [0, 0.2, 0]  # right elbow and wrist
    replace(short, joints=joints).save(tmp_path / f"clip{ending}")
    frames, _ = decoded(tmp_path / f"clip{ending}")
    left = [colored(frame, "left") for frame in frames]
    right = [colored(frame, "right") for frame in frames]
    assert min(mask.sum() for mask in left + right) > 200
    assert (left[0] != left[1]).mean() < 0.002 < (right[0] != right[1]).mean()


def test_the_left_side_is_on_the_right_as_seen_from_the_front(samples):
    for clip in samples:
        frame = np.asarray(next(preview.draw(clip)))
        columns = [np.nonzero(colored(frame, side))[1].mean() for side in ("left", "right")]
        assert columns[0] > columns[1]  # the person's left is on the right


def test_the_whole_person_stays_in_the_picture(samples):
    edge = int(preview.SIZE * 0.02)
    for clip in samples:
        layout = Layout.load(clip.layout)
        cameras = follow(clip.joints[:, None], layout, clip.fps, (preview.SIZE, preview.SIZE), floor=False)
        empty = render(np.full_like(clip.joints[:1], np.nan), layout, camera=cameras[0]).astype(int)
        for t in range(0, clip.frames, 10):
            frame = render(clip.joints[t : t + 1], layout, camera=cameras[t])
            rows, columns = np.nonzero(np.abs(frame - empty).max(axis=-1) > 2)
            assert len(rows) > 300
            assert min(rows.min(), columns.min()) >= edge and max(rows.max(), columns.max()) < preview.SIZE - edge


@pytest.mark.parametrize("name", [name for name in Layout.names() if Layout.load(name).dims == 3])
def test_every_layout_can_be_drawn(short, name):
    motion = Motion(Layout.load(name).map_from(Layout.load("smpl22")) @ short.joints, 20, name)
    frame = np.asarray(next(preview.draw(motion)))
    assert colored(frame, "left").any() and colored(frame, "right").any()


@pytest.mark.parametrize("name", [name for name in Layout.names() if Layout.load(name).dims == 2])
def test_2d_layouts_are_drawn_from_the_front(short, name):
    body = Layout.load("coco17").map_from(Layout.load("smpl22")) @ short.joints
    pixels = (Layout.load(name).map_from(Layout.load("coco17")) @ body)[..., :2] * (200, -200) + (320, 400)
    frame = np.asarray(next(preview.draw(Motion(pixels, 20, name))))
    left, right = (np.nonzero(colored(frame, side)) for side in ("left", "right"))
    assert min(len(left[0]), len(right[0])) > 1000
    assert left[1].mean() > right[1].mean()


def test_missing_people_and_joints_are_not_drawn(short):
    def left_pixels(motion):
        return [colored(np.asarray(frame), "left").sum() for frame in preview.draw(motion)]

    two = np.stack([short.joints, short.joints + np.float32([1.5, 0, 0])], axis=1)
    two[6:, 1] = np.nan
    two[3] = np.nan
    counts = left_pixels(replace(short, joints=two))
    assert counts[3] == 0 and counts[0] > 1.5 * counts[-1] > 0
    arm = short.joints.copy()
    arm[0, 18] = np.nan  # a left elbow
    counts = left_pixels(replace(short, joints=arm))
    assert 0 < counts[0] < counts[1]


@pytest.mark.parametrize("away_m", [1e6, 1e30])
def test_a_stray_joint_is_drawn_too(short, away_m):
    joints = short.joints[:2].copy()
    joints[1, 21] += away_m
    assert len(list(preview.draw(replace(short, joints=joints)))) == 2


def test_a_motion_without_joints_cannot_be_drawn(tmp_path):
    for ending in (".gif", ".mp4"):
        with pytest.raises(InputError, match="no joint is finite in any frame"):
            Motion(np.full((3, 22, 3), np.nan), 20, "smpl22").save(tmp_path / f"clip{ending}")
    assert not list(tmp_path.iterdir())
