"""The built-in set of point clouds: 20 kinds of parametric shapes in changing proportions and poses. The kind is the class.

A shape draws its own proportions (how thick a leg, how many teeth), is stretched along each axis by 0.6 to 1.7, turned about the vertical by any angle and
tilted by up to 0.4 rad about a horizontal axis. Of its surface 1,024 points are seen, with normals; up to 30 % of it, beyond a plane, is not. They are
brought into the unit sphere, and moved by noise of 0.02. 80 training and 20 test clouds a kind. Several kinds differ in a part only (table, stool, chair;
mug and pipe; strip and band), so that how far points are from the centre, or from one another, does not tell them: nearest neighbours in those numbers are
right for less than half. Nothing is downloaded and nothing is stored: the same clouds are made on every machine in about three seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from manyviews.data import meshes, points
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.point_files import NORMALS, POSITIONS

TRAIN, TEST, POINTS, SEED = 80, 20, 1024, 20250
STRETCH, TILT, UNSEEN, NOISE = 1.7, 0.4, 0.3, 0.02
Triangles = Float[np.ndarray, "triangles 3 3"]
Random = np.random.Generator
Number = int | float


# --- how surfaces are made ----------------------------------------------------------------------------------------------------------------------


def patch(grid: Float[np.ndarray, "rows columns 3"]) -> Triangles:
    """The triangles of a grid of points."""
    return grid.reshape(-1, 3)[faces(*grid.shape[:2])]


@functools.cache
def faces(rows: int, columns: int) -> Int[np.ndarray, "triangles 3"]:
    """Two triangles for each square of a grid."""
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    return np.concatenate([np.stack([a, b, c], 2).reshape(-1, 3), np.stack([a, c, d], 2).reshape(-1, 3)])


@functools.cache
def circle(sides: int) -> Float[np.ndarray, "corners 2"]:
    """So many corners around, and the first again."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def turned(profile: Sequence[tuple[Number, Number]], sides: int = 24) -> Triangles:
    """A profile of (radius, height) turned about the vertical axis."""
    outline = np.array(profile, float)
    grid = np.empty((len(outline), sides + 1, 3))
    grid[..., :2] = outline[:, None, :1] * circle(sides)
    grid[..., 2] = outline[:, 1:]
    return patch(grid)


def tube(path: Float[np.ndarray, "steps 3"], radius: float, sides: int = 10) -> Triangles:
    """A round tube along a path that is nowhere straight up."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, (0.0123, 0.0456, 1.0))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(along, across)
    out = circle(sides)
    return patch(path[:, None] + radius * (out[:, :1] * across[:, None] + out[:, 1:] * other[:, None]))


def box(centre: Sequence[Number], size: Sequence[Number]) -> Triangles:
    x, y = size[0] / 2, size[1] / 2
    return prism(np.array([(-x, -y), (x, -y), (x, y), (-x, y)]), size[2]) + np.asarray(centre)


def prism(outline: Float[np.ndarray, "corners 2"], height: float) -> Triangles:
    """A star-shaped outline, walls and both ends, around the origin."""
    ring = np.concatenate([outline, outline[:1]])
    low, high = (np.column_stack([ring, np.full(len(ring), z)]) for z in (-height / 2, height / 2))
    ends = [np.stack([np.broadcast_to((0, 0, z[0, 2]), z[1:].shape), z[:-1], z[1:]], 1) for z in (low, high)]
    return np.concatenate([patch(np.stack([low, high])), *ends])


def moved(triangles: Triangles, x: Number = 0, y: Number = 0, z: Number = 0) -> Triangles:
    return triangles + np.array([x, y, z])


def rod(radius: Number, low: Number, high: Number, sides: int = 12) -> Triangles:
    return turned([(0, low), (radius, low), (radius, high), (0, high)], sides)


# --- the kinds ----------------------------------------------------------------------------------------------------------------------------------


def block(r: Random) -> Triangles:
    return box((0, 0, 0), list(r.uniform(0.8, 1.6, 3)))


def can(r: Random) -> Triangles:
    return rod(r.uniform(0.5, 0.8), -0.8, 0.8, 24)


def cone(r: Random) -> Triangles:
    return turned([(0, -0.8), (r.uniform(0.6, 1.0), -0.8), (r.uniform(0, 0.15), 0.8), (0, 0.8)])


def pyramid(r: Random) -> Triangles:
    return turned([(0, -0.7), (r.uniform(0.8, 1.2), -0.7), (0, 0.8)], sides=4)


def ring(r: Random) -> Triangles:
    angle = np.linspace(0, 2 * np.pi, 33)
    return tube(np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]), r.uniform(0.15, 0.35))


def knot(r: Random) -> Triangles:
    a = np.linspace(0, 2 * np.pi, 81)
    path = np.column_stack([np.sin(a) + 2 * np.sin(2 * a), np.cos(a) - 2 * np.cos(2 * a), -np.sin(3 * a)]) / 2.5
    return tube(path, r.uniform(0.12, 0.25), 8)


def spring(r: Random) -> Triangles:
    turns, a = r.uniform(2, 4.5), np.linspace(0, 1, 97)
    path = np.column_stack([np.cos(2 * np.pi * turns * a), np.sin(2 * np.pi * turns * a), r.uniform(1.6, 2.6) * (a - 0.5)]) * 0.7
    return tube(path, r.uniform(0.08, 0.16), 8)


def strip(r: Random) -> Triangles:
    """A band with half a twist."""
    a, w = np.linspace(0, 2 * np.pi, 49)[:, None], np.linspace(-1, 1, 5)[None] * r.uniform(0.25, 0.45)
    out = 1 + w * np.cos(a / 2)
    return patch(np.stack([out * np.cos(a), out * np.sin(a), w * np.sin(a / 2)], -1))


def band(r: Random) -> Triangles:
    """The same without a twist: a ring of ribbon."""
    width = r.uniform(0.25, 0.45)
    return turned([(1, -width), (1, width)], 48)


def bowl(r: Random) -> Triangles:
    angle = np.linspace(0, np.pi / 2, 9)
    return turned(list(zip(np.sin(angle), -np.cos(angle) * r.uniform(0.6, 1.0), strict=True)))


def bottle(r: Random) -> Triangles:
    neck, shoulder = r.uniform(0.12, 0.22), r.uniform(0.0, 0.35)
    return turned([(0, -0.9), (0.5, -0.9), (0.5, shoulder), (neck, shoulder + 0.25), (neck, 0.9)])


def goblet(r: Random) -> Triangles:
    stem, foot = r.uniform(0.05, 0.1), r.uniform(0.4, 0.55)
    return turned([(0, -0.9), (foot, -0.9), (stem, -0.8), (stem, -0.1), (0.35, 0.1), (r.uniform(0.45, 0.6), 0.5), (0.5, 0.9)])


def pipe(r: Random) -> Triangles:
    """An open can with a floor: a mug that lost its handle."""
    radius = r.uniform(0.5, 0.7)
    return turned([(0, -0.7), (radius, -0.7), (radius, 0.7)])


def mug(r: Random) -> Triangles:
    radius, reach = r.uniform(0.5, 0.7), r.uniform(0.35, 0.5)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 17)
    handle = np.column_stack([radius + reach * np.cos(angle), 0.001 * angle, 0.45 * np.sin(angle)])
    return np.concatenate([turned([(0, -0.7), (radius, -0.7), (radius, 0.7)]), tube(handle, r.uniform(0.06, 0.1), 8)])


def legs(r: Random, count: int, reach: float, height: float, thick: float) -> list[Triangles]:
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    return [moved(rod(thick, -height, 0, 8), reach * np.cos(a), reach * np.sin(a)) for a in angles]


def table(r: Random) -> Triangles:
    side, height, thick = r.uniform(1.2, 1.6), r.uniform(0.8, 1.2), r.uniform(0.05, 0.1)
    return np.concatenate([box((0, 0, 0.05), (side, side, 0.1)), *legs(r, 4, 0.62 * side, height, thick)])


def stool(r: Random) -> Triangles:
    radius, height, thick = r.uniform(0.6, 0.9), r.uniform(0.8, 1.2), r.uniform(0.05, 0.1)
    return np.concatenate([rod(radius, 0, 0.1, 24), *legs(r, 3, 0.8 * radius, height, thick)])


def chair(r: Random) -> Triangles:
    side, height, thick, back = r.uniform(0.9, 1.2), r.uniform(0.6, 0.9), r.uniform(0.05, 0.1), r.uniform(0.7, 1.1)
    rest = box((0, -side / 2 + 0.05, 0.1 + back / 2), (side, 0.1, back))
    return np.concatenate([box((0, 0, 0.05), (side, side, 0.1)), rest, *legs(r, 4, 0.62 * side, height, thick)])


def gear(r: Random) -> Triangles:
    teeth, depth = int(r.integers(6, 11)), r.uniform(0.7, 0.82)
    angle = 2 * np.pi * np.arange(4 * teeth) / (4 * teeth)
    radius = np.tile([1, 1, depth, depth], teeth)
    return prism(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), r.uniform(0.25, 0.5))


def star(r: Random) -> Triangles:
    angle = 2 * np.pi * np.arange(10) / 10
    radius = np.tile([1, r.uniform(0.35, 0.5)], 5)
    return prism(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), r.uniform(0.25, 0.5))


def stairs(r: Random) -> Triangles:
    steps, rise = int(r.integers(4, 7)), r.uniform(0.18, 0.26)
    return np.concatenate([box((0.3 * (k - steps / 2), 0, rise * (k + 1) / 2), (0.3, r.uniform(0.8, 1.0), rise * (k + 1))) for k in range(steps)])


KINDS: list[Callable[[Random], Triangles]] = [
    block, can, cone, pyramid, ring, knot, spring, strip, band, bowl, bottle, goblet, pipe, mug, table, stool, chair, gear, star, stairs,
]  # fmt: skip


# --- the set ------------------------------------------------------------------------------------------------------------------------------------


def pose(r: Random) -> Float[np.ndarray, "3 3"]:
    """A stretch along each axis, then a turn about the vertical, then a tilt about a horizontal axis."""
    yaw, tilt = r.uniform(-np.pi, np.pi), r.uniform(-TILT, TILT)
    stretch = np.exp(r.uniform(-1, 1, 3) * np.log(STRETCH))
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    return about_x @ about_z * stretch


def cloud(kind: int, number: int) -> Float[np.ndarray, "points 6"]:
    """One cloud of a kind: positions in the unit sphere, and normals."""
    r = np.random.default_rng([SEED, kind, number])
    triangles = KINDS[kind](r) @ pose(r).T
    unseen, towards = r.uniform(0, UNSEEN), r.normal(size=3)
    corners = np.arange(3 * len(triangles)).reshape(-1, 3)
    sampled = meshes.sampled(triangles.reshape(-1, 3), corners, int(POINTS / (1 - unseen)), int(r.integers(1 << 62)))
    every = np.stack([sampled[name] for name in POSITIONS + NORMALS], 1)
    seen = every[np.sort(np.argsort(every[:, :3] @ towards)[:POINTS])]
    where = seen[:, :3] + r.normal(0, NOISE, (POINTS, 3))
    where -= (where.min(0) + where.max(0)) / 2
    where /= np.linalg.norm(where, axis=1).max()
    return np.concatenate([where, seen[:, 3:]], 1).astype(np.float32)


@functools.lru_cache(maxsize=1)
def every() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All clouds, their kinds, and their split."""
    count = TRAIN + TEST
    found = np.stack([cloud(kind, number) for kind in range(len(KINDS)) for number in range(count)])
    return found, np.repeat(np.arange(len(KINDS)), count), np.tile(np.array(["train"] * TRAIN + ["test"] * TEST), len(KINDS))


def builtin_points() -> Data:
    """The clouds with labels and a split."""
    found, labels, splits = every()
    store = Array(found, "the built-in set of points")
    return Data(store, points.decode, "points", {"label": labels, "split": splits}, [kind.__name__ for kind in KINDS], channels=6, bits=0)
