"""From where objects are looked at: rotations of the object before a camera that stays where it is. y is up, and the camera looks along -z.

Random ones depend on (seed, object, view) alone, so that more views or more objects leave those that were there as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int

from manyviews.counters import Counter
from manyviews.errors import InputError

Rotations = Float[np.ndarray, "objects views 3 3"]
GOLDEN = (1 + math.sqrt(5)) / 2
AXES = np.array([np.roll(np.eye(3), shift, 1) for shift in (0, 1, 2)])  # seen from z, from x and from y; right and up are the other two


def drawn(name: str, objects: Int[np.ndarray, "objects"], views: int, count: int, seed: int) -> Float[np.ndarray, "objects views count"]:
    """Uniform in [0, 1)."""
    index = torch.from_numpy(np.asarray(objects, np.int64))
    return np.stack([Counter(seed, view).uniform(name, index, count).double().numpy() for view in range(views)], 1)


def uniform(objects: Int[np.ndarray, "objects"], views: int, seed: int) -> Rotations:
    """All rotations alike: Shoemake, "Uniform Random Rotations", Graphics Gems III, 1992."""
    u = drawn("rotation", objects, views, 3, seed)
    a, b, c, d = np.sqrt(1 - u[..., 0]), np.sqrt(u[..., 0]), 2 * np.pi * u[..., 1], 2 * np.pi * u[..., 2]
    x, y, z, w = a * np.sin(c), a * np.cos(c), b * np.sin(d), b * np.cos(d)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def half_turns(objects: Int[np.ndarray, "objects"], views: int, seed: int) -> Rotations:
    """3DIEBench's: angles uniform in [-pi/2, pi/2] about x, then z, then the vertical y."""
    angle = np.pi * (drawn("rotation", objects, views, 3, seed) - 0.5)
    return about(1, angle[..., 2]) @ about(2, angle[..., 1]) @ about(0, angle[..., 0])


def upright(objects: Int[np.ndarray, "objects"], views: int, seed: int) -> Rotations:
    """Seen from any side, and from the horizon to 60 degrees above it, uniform on that part of the sphere."""
    u = drawn("rotation", objects, views, 2, seed)
    return about(0, np.arcsin(u[..., 0] * math.sin(math.radians(60)))) @ about(1, 2 * np.pi * u[..., 1])


def ring(objects: Int[np.ndarray, "objects"], views: int, seed: int) -> Rotations:
    """The same for all: equal steps around the vertical, seen from 30 degrees above (Su et al., "Multi-view Convolutional Neural Networks", ICCV 2015)."""
    one = about(0, np.full(views, math.radians(30))) @ about(1, -2 * np.pi * np.arange(views) / views)
    return np.tile(one, (len(objects), 1, 1, 1))


def dodecahedron(objects: Int[np.ndarray, "objects"], views: int, seed: int) -> Rotations:
    """The same for all: from the first `views` of a regular dodecahedron's 20 corners (Kanezaki et al., "RotationNet", CVPR 2018).

    Raises InputError for more than 20.
    """
    if views > 20:
        raise InputError(f"{views} views from a dodecahedron; it has 20 corners")
    g = GOLDEN
    corners: list[tuple[float, float, float]] = [(x, y, z) for x in (1, -1) for y in (1, -1) for z in (1, -1)]
    for p in (1 / g, -1 / g):
        for q in (g, -g):
            corners += [(0, p, q), (p, q, 0), (q, 0, p)]
    return np.tile(seen_from(np.array(corners[:views], float)), (len(objects), 1, 1, 1))


POSES: dict[str, Callable[[Int[np.ndarray, "objects"], int, int], Rotations]] = {
    "uniform": uniform,
    "upright": upright,
    "half_turns": half_turns,
    "ring": ring,
    "dodecahedron": dodecahedron,
}


def about(axis: int, angle: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... 3 3"]:
    """Rotations by `angle` (radians, anticlockwise seen from the axis' tip) about x (0), y (1) or z (2)."""
    turn = np.zeros((*np.shape(angle), 3, 3))
    j, k = (axis + 1) % 3, (axis + 2) % 3
    turn[..., axis, axis] = 1
    turn[..., j, j] = turn[..., k, k] = np.cos(angle)
    turn[..., j, k], turn[..., k, j] = -np.sin(angle), np.sin(angle)
    return turn


def seen_from(directions: Float[np.ndarray, "views 3"]) -> Float[np.ndarray, "views 3 3"]:
    """Turns that bring these sides of the object before the camera, with its y upwards; z, where a side is straight above or below."""
    towards = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    steep = np.abs(towards[:, 1:2]) > 1 - 1e-6
    right = np.cross(np.where(steep, [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]), towards)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(towards, right), towards], 1)
