"""`render`: people as shaded bodies on a floor, drawn by numpy alone.

Every body part is a capsule or an ellipsoid, whose outline and depth in a picture have closed forms: they are drawn
with a depth buffer, and blended over one pixel at outlines and where parts meet.

Shapes: T time, M people, V joints, H x W pixels; meters, y up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from .mannequin import Capsule, Ellipsoid, body_scale, mannequin

Array = NDArray[np.float64]
Image = NDArray[Any]  # float32

SIDE_COLORS = {"left": (238, 126, 50), "right": (62, 124, 196)}
TORSO_COLORS = ((206, 208, 214), (176, 196, 178), (200, 182, 204), (208, 198, 166))  # by person
FACE_COLOR = (58, 62, 72)
PAPER = ((252, 252, 253), (240, 242, 246))  # top, bottom
FLOOR, GRID, SHADOW = (228, 231, 237), (204, 209, 218), (88, 96, 114)
SHADES = (0.52, 1.16)  # darkest and lightest shade of a color
AROUND, ABOVE = np.radians(35), np.radians(17)  # direction of the camera: from the front to the left, and up
FOLLOW_S = 1.0  # window over which the camera's path is smoothed
MARGIN = 0.06  # of the picture
TILE_M = 0.5
_LIGHT = (-0.42, 0.70, 0.58)  # direction to the light, in the camera's axes
_SUN = np.array([0.25, 1.0, 0.2])  # direction to the light that casts the shadow, in the camera's horizontal axes
_SOFT_M, _TORSO_SOFT_M = 0.012, 0.02  # depth over which parts that meet are blended
_SHADOW_STEP = 2  # pixels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Camera:
    """A camera that looks at `target`.

    Args:
        target: [3] meters, at the center of the picture.
        axes: [3, 3], rows to the right, up and towards the camera.
        distance_m: from the camera to `target`; infinite for an orthographic picture.
        scale: pixels per meter at `target`.
        size: width and height, pixels.
        floor_m: height of the floor; None: no floor.
    """

    target: Array
    axes: Array
    distance_m: float
    scale: float
    size: tuple[int, int]
    floor_m: float | None = None

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """Pixels [..., 2], depth towards the camera [...] m and scale [...] px/m of points [..., 3]."""
        local = (points - self.target) @ self.axes.T
        scale = self.scale / (1 - local[..., 2] / self.distance_m)
        pixels = np.stack([local[..., 0], -local[..., 1]], axis=-1) * scale[..., None] + np.array(self.size) / 2
        return pixels, local[..., 2], scale


def view_axes(joints: Array, layout: Layout, around: float = AROUND, above: float = ABOVE) -> Array:
    """Camera axes in front of people [T, M, V, 3], as they face first: `around` to their left, and `above` them."""
    left, right = layout.facing
    across = (joints[:, :, list(left)].mean(axis=2) - joints[:, :, list(right)].mean(axis=2)).reshape(-1, 3)
    across = across[np.isfinite(across).all(axis=-1)]
    x, z = across[0, [0, 2]] if len(across) else (1.0, 0.0)
    heading = np.arctan2(-z, x) + around  # of the camera, from +z to +x
    towards = np.array([np.sin(heading) * np.cos(above), np.sin(above), np.cos(heading) * np.cos(above)])
    rightwards = np.array([np.cos(heading), 0, -np.sin(heading)])
    return np.stack([rightwards, np.cross(towards, rightwards), towards])


def follow(
    joints: Array,
    layout: Layout,
    fps: float,
    size: tuple[int, int],
    axes: Array | None = None,
    perspective: float = 6.0,
    *,
    floor: bool = True,
) -> list[Camera]:
    """Cameras, one per frame, that follow people [T, M, V, 3] and keep them in the picture.

    Args:
        axes: of the cameras; default: `view_axes`.
        perspective: distance of the camera, in half-widths of the scene.
        floor: draw a floor below the people.
    """
    axes = view_axes(joints, layout) if axes is None else axes
    path, scale = _path(joints, fps), max(body_scale(people, layout) for people in np.moveaxis(joints, 1, 0))
    padding = 0.12 * scale
    local = (joints - path[:, None, None]) @ axes.T  # [T, M, V, 3]
    half = max(float(np.nanmax(np.abs(local))) + padding, 0.1)
    distance = perspective * half
    shrink = 1 - local[..., 2] / distance
    across, up = local[..., 0] / shrink, local[..., 1] / shrink
    low, high = float(np.nanmin(up)) - padding, float(np.nanmax(up)) + 1.5 * padding  # the head is above its joint
    wide = float(np.nanmax(np.abs(across))) + padding
    pixels = (1 - 2 * MARGIN) * min(size[0] / (2 * wide), size[1] / max(high - low, 0.2))
    lows = np.nanmin(np.where(np.isfinite(joints[..., 1]), joints[..., 1], np.inf), axis=(1, 2))
    floor_m = float(np.percentile(lows[np.isfinite(lows)], 5)) - 0.028 * scale if floor else None
    target = path + (low + high) / 2 * axes[1]
    first = Camera(target=target[0], axes=axes, distance_m=distance, scale=pixels, size=size, floor_m=floor_m)
    return [replace(first, target=point) for point in target]


def render(
    poses: Array,
    layout: Layout,
    size: tuple[int, int] | None = None,
    camera: Camera | None = None,
    *,
    scales: Sequence[float] | None = None,
    one_color: bool = False,
) -> NDArray[np.uint8]:
    """Draw people.

    Args:
        poses: [M, V, 3] meters; NaN where a joint is missing.
        layout: of the poses.
        size: width and height, pixels; default: the camera's.
        camera: default: one that shows everybody from the front left.
        scales: sizes of the people relative to an adult; default: estimated from the poses.
        one_color: use the same torso color for all people.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    poses = np.where(np.isfinite(poses).all(axis=-1, keepdims=True), poses, np.nan).astype(np.float64)
    if camera is None:
        camera = follow(poses[None], layout, 1.0, size or (480, 480))[0]
    elif size is not None:
        camera = replace(camera, size=size)
    if scales is None:
        scales = [body_scale(pose[None], layout) for pose in poses]
    parts = [
        (part, TORSO_COLORS[0 if one_color else m % len(TORSO_COLORS)])
        for m, pose in enumerate(poses)
        for part in mannequin(pose, layout, scales[m])
    ]
    canvas = _Canvas(camera)
    if camera.floor_m is not None:
        canvas.add_floor([part for part, _ in parts])
    for part, torso in sorted(parts, key=lambda item: _depth(item[0], camera)):
        color = np.array(SIDE_COLORS.get(part.side, torso), np.float32)
        if isinstance(part, Capsule):
            canvas.add_capsule(part, color)
        else:
            canvas.add_ellipsoid(part, color)
    return (canvas.image + np.float32(0.5)).clip(0, 255).astype(np.uint8)


def shade_ramp(color: tuple[int, int, int], n: int) -> NDArray[np.float32]:
    """The colors [n, 3] that a surface of this color takes in different light."""
    return _shaded(np.array(color, np.float32), np.linspace(*SHADES, n, dtype=np.float32))


def _shaded(color: Image, shade: Image) -> Image:
    """Colors [..., 3] of a surface at shades [...]: darker below 1, towards white above."""
    shade = shade[..., None]
    return color * np.minimum(shade, 1) + (255 - color) * (2.2 * np.maximum(shade - 1, 0))


def _depth(part: Capsule | Ellipsoid, camera: Camera) -> float:
    center = part.center if isinstance(part, Ellipsoid) else (part.start + part.end) / 2
    return float((center - camera.target) @ camera.axes[2])


def _path(joints: Array, fps: float) -> Array:
    """[T, 3]: the midpoint of all people over time, smoothed, at the height 0."""
    T = len(joints)
    visible = np.flatnonzero(np.isfinite(joints).any(axis=(1, 2, 3)))
    reach = min(round(FOLLOW_S * fps / 2), T - 1)
    path = np.zeros((T, 3))
    for axis in (0, 2):
        middle = np.interp(np.arange(T), visible, np.nanmean(joints[visible, ..., axis], axis=(1, 2)))
        padded = np.pad(middle, reach, mode="edge")
        path[:, axis] = np.convolve(padded, np.ones(2 * reach + 1) / (2 * reach + 1), mode="valid")
    return path


class _Canvas:
    """A picture [H, W, 3] and its depth buffer [H, W], meters towards the camera."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.image = _paper(camera.size).copy()
        self.depth = np.full(self.image.shape[:2], -np.inf, np.float32)

    def add_floor(self, parts: list[Capsule | Ellipsoid]) -> None:
        """A round floor with a grid and the shadows of the parts, fading into the paper."""
        ground = _Ground(self.camera)
        view = ground.view()
        if view is None:
            return
        picture = self.image[view.top :]
        np.copyto(picture, view.picture)
        lines = (
            view.fade
            * np.float32(0.8)
            * np.maximum(
                _grid_lines(view.x, ground.origin[0], ground.tile_m, view.pixel_m),
                _grid_lines(view.z, ground.origin[1], ground.tile_m, view.pixel_m * ground.stretch),
            )
        )
        picture += lines[..., None] * (np.array(GRID, np.float32) - picture)
        shadow = np.repeat(np.repeat(ground.shadow(parts, view), _SHADOW_STEP, 0), _SHADOW_STEP, 1)
        shadow = shadow[: picture.shape[0], : picture.shape[1]] * np.minimum(1, np.float32(1.4) * view.fade)
        rows, columns = (np.flatnonzero(shadow.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
            picture[box] += shadow[box][..., None] * (np.array(SHADOW, np.float32) - picture[box])

    def add_capsule(self, part: Capsule, color: Image) -> None:
        pixels, depth, scale = self.camera.project(np.stack([part.start, part.end]))
        r0, r1 = float(part.start_radius * scale[0]), float(part.end_radius * scale[1])
        reach = max(r0, r1) + 1
        window = self._window(pixels.min(axis=0) - reach, pixels.max(axis=0) + reach)
        if window is None:
            return
        region, x, y = window
        mean = float(scale.mean())
        rise = float(depth[1] - depth[0]) * mean  # pixels towards the camera
        length = math.dist(*pixels)
        dx, dy = ((pixels[1] - pixels[0]) / length).tolist() if length > 1e-3 else (1.0, 0.0)
        length = max(length, 1e-3)
        px, py = x - np.float32(pixels[0, 0]), y - np.float32(pixels[0, 1])
        u, v = px * dx + py * dy, py * dx - px * dy
        taper = (r1 - r0) / length
        # outline: the nearest point of the axis
        s = np.clip(u + np.abs(v) * taper, 0, length)
        coverage = np.clip(r0 + 0.5 + s * taper - np.hypot(u - s, v), 0, 1)
        # surface: the point of the axis whose sphere is highest there
        radius = r0 + s * taper
        w = np.sqrt(np.maximum(radius * radius - v * v, 0))
        s = np.clip(u + w * (rise / math.hypot(length, rise)), 0, length)
        radius = r0 + s * taper
        along = u - s
        height = np.sqrt(np.maximum(radius * radius - v * v - along * along, 0))
        z = (s * (rise / length) + height) * (1 / mean) + float(depth[0])
        inverse = 1 / np.maximum(radius, np.float32(1e-3))
        across, down = (along * dx - v * dy) * inverse, (along * dy + v * dx) * inverse
        self._blend(region, coverage, z, (across, -down, height * inverse), color, part.side)

    def add_ellipsoid(self, part: Ellipsoid, color: Image) -> None:
        (cx, cy), depth, scale = self.camera.project(part.center)
        axes = part.axes @ self.camera.axes.T * float(scale)  # semi-axes as rows, in pixels
        reach = np.linalg.norm(axes, axis=0)[:2] + 1
        if reach.max() < 1.02:  # pixels: too small to be seen, or to be inverted
            return
        window = self._window(np.array([cx, cy]) - reach, np.array([cx, cy]) + reach)
        if window is None:
            return
        region, x, y = window
        form = np.linalg.inv(axes.T @ axes).astype(np.float32)  # p^T form p = 1 on the surface
        px, py = x - np.float32(cx), np.float32(cy) - y
        a, b = form[2, 2], form[0, 2] * px + form[1, 2] * py
        c = form[0, 0] * px * px + 2 * form[0, 1] * px * py + form[1, 1] * py * py - 1
        inside = b * b - a * c
        pz = (np.sqrt(np.maximum(inside, 0)) - b) / a
        edge_x, edge_y = (
            b * form[0, 2] - a * (form[0, 0] * px + form[0, 1] * py),
            b * form[1, 2] - a * (form[0, 1] * px + form[1, 1] * py),
        )
        slope = 2 * np.hypot(edge_x, edge_y)  # of `inside`, per pixel
        coverage = np.clip(inside / np.maximum(slope, 1e-9) + 0.5, 0, 1)
        normal = [form[k, 0] * px + form[k, 1] * py + form[k, 2] * pz for k in range(3)]
        length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        nx, ny, nz = (n / np.maximum(length, 1e-9) for n in normal)
        surface: Image = color
        if part.face:
            to_local = np.linalg.inv(axes).astype(np.float32)  # to shares of the axes left, up and forward
            up, forward = (px * to_local[0, k] + py * to_local[1, k] + pz * to_local[2, k] for k in (1, 2))
            soft = np.float32(0.08)
            face = np.clip((forward - 0.42) / soft, 0, 1) * np.clip((0.34 - np.abs(up - 0.08)) / soft, 0, 1)
            surface = color + face[..., None] * (np.array(FACE_COLOR, np.float32) - color)
        self._blend(region, coverage, pz * (1 / float(scale)) + float(depth), (nx, ny, nz), surface, part.side)

    def _window(
        self, low: Array, high: Array
    ) -> tuple[tuple[slice, slice], NDArray[np.float32], NDArray[np.float32]] | None:
        """The pixels in a box: slices, and the coordinates of their centers."""
        width, height = self.camera.size
        x0, y0 = (int(np.clip(np.floor(edge), 0, limit)) for edge, limit in zip(low, (width, height), strict=True))
        x1, y1 = (int(np.clip(np.ceil(edge), 0, limit)) for edge, limit in zip(high, (width, height), strict=True))
        if x0 >= x1 or y0 >= y1:
            return None
        x = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5)
        y = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5))[:, None]
        return (slice(y0, y1), slice(x0, x1)), x, y

    def _blend(
        self,
        region: tuple[slice, slice],
        coverage: Image,
        z: Image,
        normal: tuple[Image, Image, Image],
        color: Image,
        side: str,
    ) -> None:
        behind, picture = self.depth[region], self.image[region]
        alpha = coverage * np.clip((z - behind) * (1 / (_TORSO_SOFT_M if side == "middle" else _SOFT_M)) + 0.5, 0, 1)
        light = normal[0] * _LIGHT[0] + normal[1] * _LIGHT[1] + normal[2] * _LIGHT[2]
        shine = np.square(np.square(np.square(np.clip(light, 0, 1))))
        shade = 0.80 + 0.26 * light + 0.10 * shine - 0.16 * np.square(1 - normal[2])
        picture += alpha[..., None] * (_shaded(color, np.clip(shade, *SHADES)) - picture)
        np.copyto(behind, z, where=(coverage > 0.5) & (z > behind))


@cache
def _paper(size: tuple[int, int]) -> Image:
    """The background [H, W, 3]."""
    top, bottom = (np.array(color, np.float32) for color in PAPER)
    share = np.linspace(0, 1, size[1], dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(top + share * (bottom - top), (size[1], size[0], 3)))


def _grid_lines(along: Image, origin: float, tile_m: float, pixel_m: Image) -> Image:
    """Opacity in 0..1 of lines one pixel wide at every tile; lines closer than a few pixels vanish."""
    position = (along + np.float32(origin % tile_m)) * np.float32(1 / tile_m)
    offset = np.abs(position - np.rint(position)) * np.float32(tile_m)
    return np.clip(np.float32(1.2) - offset / pixel_m, 0, 1) * np.clip(np.float32(tile_m / 6) / pixel_m, 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _FloorView:
    """The part of a picture that shows the floor, from row `top` on; it does not depend on where the camera is.

    x, z, pixel_m: meters [h, W]; coarse: x and z of every `_SHADOW_STEP`-th pixel.
    fade: opacity [h, W]; picture: the floor on the paper, without grid and shadows, [h, W, 3].
    """

    top: int
    x: Image
    z: Image
    pixel_m: Image
    coarse: tuple[Image, Image]
    fade: Image
    picture: Image


@lru_cache(maxsize=4)
def _floor_view(
    size: tuple[int, int], scale: float, distance_m: float, sine: float, cosine: float, drop_m: float, radius_m: float
) -> _FloorView | None:
    width, height = size
    inverse = 0.0 if np.isinf(distance_m) else 1 / distance_m
    far = (-drop_m * cosine + radius_m * sine) / (1 + (drop_m * sine + radius_m * cosine) * inverse)  # up, m
    top = int(np.clip(height / 2 - far * scale, 0, height)) // _SHADOW_STEP * _SHADOW_STEP
    if sine < 0.02 or top >= height:
        return None

    def points(step: int) -> tuple[Image, Image, Image]:
        u = (np.arange(0, width, step, dtype=np.float32) + step / 2 - width / 2) / scale
        v = ((height / 2 - np.arange(top, height, step, dtype=np.float32) - step / 2) / scale)[:, None]
        # the ray through (u, v) is (u q, v q, d) in the camera's axes, q = 1 - d / distance;
        # it meets the floor where v q cosine + d sine = -drop
        d = (-drop_m - v * cosine) / np.maximum(sine - v * cosine * inverse, 1e-3)
        q = 1 - d * inverse
        x = u * q
        return x, np.broadcast_to(d * cosine - v * q * sine, x.shape), np.broadcast_to(q / scale, x.shape)

    x, z, pixel_m = points(1)
    fade = np.clip(1.6 - np.hypot(x, z) * (1.6 / radius_m), 0, 1)
    fade *= fade * (3 - 2 * fade)
    paper = _paper(size)[top:]
    picture = paper + fade[..., None] * (np.array(FLOOR, np.float32) - paper)
    return _FloorView(top=top, x=x, z=z, pixel_m=pixel_m, coarse=points(_SHADOW_STEP)[:2], fade=fade, picture=picture)


class _Ground:
    """The floor below the target; x to the camera's right and z towards it, meters from the point below the target."""

    def __init__(self, camera: Camera) -> None:
        assert camera.floor_m is not None
        self.camera, self.floor_m = camera, camera.floor_m
        rightwards, _, towards = camera.axes
        self.cosine = float(np.hypot(towards[0], towards[2]))  # of the camera's elevation
        flat = np.array([towards[0], 0, towards[2]]) / max(self.cosine, 1e-9)
        self.basis = np.stack([rightwards, flat])  # [2, 3]
        self.origin = self.basis @ camera.target  # of x and z in the world
        half_m = max(camera.size) / camera.scale / 2
        self.radius_m = 1.5 * half_m
        self.tile_m = max(TILE_M, half_m / 8)  # not thousands of lines, however far away a stray joint is
        self.stretch = 1 / max(float(towards[1]), 0.05)  # of a pixel in depth

    def view(self) -> _FloorView | None:
        camera = self.camera
        drop_m = round(float(camera.target[1]) - self.floor_m, 6)
        sine = float(camera.axes[2, 1])
        return _floor_view(camera.size, camera.scale, camera.distance_m, sine, self.cosine, drop_m, self.radius_m)

    def shadow(self, parts: list[Capsule | Ellipsoid], view: _FloorView) -> Image:
        """Darkness in 0..1 at every `_SHADOW_STEP`-th pixel, softer the higher a part is above the floor."""
        x, z = view.coarse
        dark = np.zeros_like(x)
        for part in parts:
            if isinstance(part, Ellipsoid):
                radius = float(np.linalg.norm(part.axes, axis=1).mean())
                ends, radii = np.stack([part.center, part.center]), (radius, radius)
            else:
                ends, radii = np.stack([part.start, part.end]), (part.start_radius, part.end_radius)
            rise = np.maximum(ends[:, 1] - self.floor_m, 0)
            flat = ends @ self.basis.T - self.origin - rise[:, None] * _SUN[[0, 2]]  # [2, 2]
            height = max(float(rise.mean()) - sum(radii) / 2, 0)
            soft = 0.025 + 0.16 * height
            reach = max(radii) + soft
            low, high = flat.min(axis=0) - reach, flat.max(axis=0) + reach
            rows = np.flatnonzero((z[:, 0] > low[1]) & (z[:, 0] < high[1]))
            if not len(rows):
                continue
            near = slice(int(rows[0]), int(rows[-1]) + 1)
            columns = np.flatnonzero(((x[near] > low[0]) & (x[near] < high[0])).any(axis=0))
            if not len(columns):
                continue
            box = near, slice(int(columns[0]), int(columns[-1]) + 1)
            px, pz = x[box] - np.float32(flat[0, 0]), z[box] - np.float32(flat[0, 1])
            length = max(math.dist(*flat), 1e-9)
            ux, uz = ((flat[1] - flat[0]) / length).tolist()
            s = np.clip(px * ux + pz * uz, 0, length)
            distance = np.hypot(px - s * ux, pz - s * uz) - (radii[0] + s * ((radii[1] - radii[0]) / length))
            share = np.clip(0.5 - distance * (0.5 / soft), 0, 1)
            patch = dark[box]
            np.maximum(patch, (0.55 / (1 + 1.2 * height)) * share * share * (3 - 2 * share), out=patch)
        return dark
