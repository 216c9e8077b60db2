"""The built-in volumes: eight kinds of solid, like organs and bones, under changing pose, size, grey value and texture. The kind is the class.

Each volume draws any rotation, a size, a place, how sharp its surface is, grey values of solid and surroundings that differ by 0.25 to 0.5 of the whole
range either way, a smooth texture of both, and noise. 96 training and 32 test volumes a kind, 24 x 24 x 24. Nothing is downloaded and nothing is stored:
the same volumes are made on every machine.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float32

from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.volumes import decode

KINDS = ("ball", "shell", "ring", "rod", "plate", "cross", "pair", "bean")
TRAIN, TEST, SIDE, SEED = 96, 32, 24, 20241


def rotations(rng: np.random.Generator, count: int) -> Float32[np.ndarray, "count 3 3"]:
    """Any rotation, all as likely: those of unit quaternions."""
    w, x, y, z = (q := rng.normal(size=(4, count))) / np.linalg.norm(q, axis=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows, dtype=np.float32).transpose(2, 0, 1)


def distance(kind: str, p: Float32[np.ndarray, "3 count voxels"], a: Float32[np.ndarray, "count 1"]) -> Float32[np.ndarray, "count voxels"]:
    """How far points lie outside a solid (below 0: inside), about as far as its surface's normal goes. a: 0 .. 1, slender to stout."""
    x, y, z = p

    def length(*axes: np.ndarray) -> np.ndarray:
        return np.sqrt(sum(axis * axis for axis in axes))

    def rod(along: np.ndarray, *across: np.ndarray) -> np.ndarray:
        return length(np.maximum(np.abs(along) - 0.75, 0), *across) - (0.16 + 0.1 * a)

    if kind == "ball":
        return length(x, y * (0.8 + 0.4 * a), z) - 0.6
    if kind == "shell":
        return np.abs(length(x, y * (0.8 + 0.4 * a), z) - 0.62) - 0.13
    if kind == "ring":
        return length(length(x, y) - 0.6, z) - (0.16 + 0.1 * a)
    if kind == "rod":
        return rod(x, y, z)
    if kind == "plate":
        return np.maximum(np.maximum(np.abs(x), np.abs(y)) - 0.65, np.abs(z) - (0.13 + 0.1 * a))
    if kind == "cross":
        return np.minimum(rod(x, y, z), rod(y, x, z))
    if kind == "pair":
        return np.minimum(length(x - 0.5, y, z * 0.8), length(x + 0.5, y, z * 0.8)) - (0.3 + 0.08 * a)
    return length(x * 0.75, y - 0.55 * x * x + 0.2, z) - (0.3 + 0.08 * a)  # a bean: an ellipsoid, bent


def volumes_of(kind: str, count: int, side: int, seed: list[int]) -> np.ndarray:
    """uint8 (count, side, side, side, 1)."""
    rng = np.random.default_rng(seed)
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)

    def drawn(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (count, *shape)).astype(np.float32)

    size = drawn(0.6, 0.95, 1)
    place = drawn(-1.0, 1.0, 3) * (1 - size)
    local = (np.einsum("nij,jv->inv", rotations(rng, count), grid) - place.T[:, :, None]) / size  # the place is drawn in the solid's own frame
    inside = 1 / (1 + np.exp(np.clip(distance(kind, local, drawn(0.0, 1.0, 1)) * size * side / drawn(0.8, 2.4, 1), -30, 30)))
    waves = np.sin(np.einsum("nkj,jv->nkv", drawn(-6.0, 6.0, 2, 3), grid) + drawn(0.0, 6.3, 2, 1))
    contrast = drawn(0.25, 0.5, 1) * rng.choice([-1, 1], (count, 1)).astype(np.float32)
    grey = 0.5 + contrast * (inside - 0.5) + drawn(0.0, 0.08, 1) * waves[:, 0] * inside + drawn(0.0, 0.08, 1) * waves[:, 1] * (1 - inside)
    grey += drawn(0.02, 0.08, 1) * rng.standard_normal(grey.shape, dtype=np.float32)
    return (255 * np.clip(grey, 0, 1) + 0.5).astype(np.uint8).reshape(count, side, side, side, 1)


@functools.lru_cache(maxsize=1)
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All volumes, their kinds, and their split."""
    volumes = np.concatenate([volumes_of(kind, TRAIN + TEST, SIDE, [SEED, k]) for k, kind in enumerate(KINDS)])
    return volumes, np.repeat(np.arange(len(KINDS)), TRAIN + TEST), np.array((["train"] * TRAIN + ["test"] * TEST) * len(KINDS))


def builtin_volumes() -> Data:
    """1,024 volumes with labels and a split."""
    volumes, labels, splits = made()
    store = Array(volumes, "the built-in volumes")
    return Data(store, decode, "volumes", {"label": labels, "split": splits}, KINDS, channels=1, bits=0)
