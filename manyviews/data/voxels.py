"""A grid of voxels as a file has it, and upright voxels of one size made of it plane by plane."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from manyviews.data.dataset import Unreadable

SAMPLED = 1 << 17  # numbers of a volume that its percentiles are taken of, spread over all of it
SHEAR = 0.02  # the largest cosine of the angle between two axes of a grid
EQUAL = 0.005  # sizes of voxels that differ by less, relatively, are the same
LARGEST = 600_000_000  # voxels of a decoded volume


@dataclasses.dataclass
class Grid:
    """Voxels in a file's own order, plane by plane."""

    shape: tuple[int, ...]  # along the file's axes i, j, k, of which k is the slowest
    affine: np.ndarray  # (3, 3): a step along i, j, k in millimetres to the right, the front, the head
    planes: Iterator[np.ndarray]  # (j, i, channels), for each k, for each volume
    channels: int = 1
    volumes: int = 1
    timed: bool = False  # the volumes are known to be a series in time
    modality: str = ""


class Sampling:
    """From a file's planes to upright voxels of the size that is asked for."""

    def __init__(self, grid: Grid, spacing: Sequence[float], pixels: int):
        self.axes, self.backwards, step = orientation(grid.affine)
        fine = step.min()
        step = np.where(step < fine * (1 + EQUAL), fine, step)
        extent = step * grid.shape
        cube = fine * max(1, int(extent.min() / fine / pixels + 1e-4)) if pixels else fine
        self.target = np.full(3, cube)
        if len(spacing):
            self.target[self.axes] = spacing[::-1]  # the file axes that run to the right, the front and the head
        self.weights = [weights(n, t / s, back) for n, s, t, back in zip(grid.shape, step, self.target, self.backwards, strict=True)]
        self.shape = [n if w is None else len(w) for n, w in zip(grid.shape, self.weights, strict=True)]

    def check(self, channels: int) -> None:
        if math.prod(self.shape) * channels > LARGEST:
            sides = " x ".join(str(n) for n in (*self.shape, *[channels] * (channels > 1)))
            raise Unreadable(f"{sides} voxels are more than the {LARGEST:,} that are decoded; ask for fewer pixels, or a coarser spacing")

    def empty(self, channels: int) -> np.ndarray:
        return np.zeros((*self.shape[::-1], channels), np.float32)

    def volume(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """The next volume (depth, height, width, channels), and some of its numbers as they were (count, channels)."""
        out, numbers = self.empty(grid.channels), []
        step = max(1, math.prod(grid.shape) // SAMPLED)
        for k in range(grid.shape[2]):
            plane = next(grid.planes)
            numbers.append(plane.reshape(-1, grid.channels)[k * 7919 % step :: step].copy())  # from another place in each plane: not the same columns again
            self.add(out, k, plane)
        return self.upright(out), np.concatenate(numbers)

    def add(self, out: np.ndarray, k: int, plane: np.ndarray) -> None:
        """Adds what plane k of the file, (j, i, channels), is of the new voxels."""
        wi, wj, wk = self.weights
        plane = plane if wj is None else np.tensordot(wj, plane, (1, 0))
        plane = plane if wi is None else np.moveaxis(np.tensordot(wi, plane, (1, 1)), 0, 1)
        for new in [k] if wk is None else np.flatnonzero(wk[:, k]).tolist():
            out[new] += plane if wk is None else plane * wk[new, k]

    def upright(self, out: np.ndarray) -> np.ndarray:
        """From the file's axes k, j, i to depth, height, width."""
        out = out[tuple(slice(None, None, -1 if back else 1) for back in self.backwards[::-1])]
        return np.ascontiguousarray(out.transpose(*[2 - a for a in self.axes[::-1]], 3))


def orientation(affine: np.ndarray) -> tuple[list[int], list[bool], np.ndarray]:
    """Which file axis runs nearest to the right, the front, the head; for each file axis, whether it runs backwards; millimetres of its steps.

    Raises Unreadable for grids without three dimensions, or whose axes are not perpendicular.
    """
    step = np.linalg.norm(affine, axis=0)
    if not np.isfinite(affine).all() or step.min() < 1e-6:
        raise Unreadable(f"voxels of {' x '.join(f'{s:.4g}' for s in step)} mm: the header's geometry is broken")
    direction = affine / step
    if shear(affine) > SHEAR:
        angle = math.degrees(math.acos(min(shear(affine), 1.0)))
        raise Unreadable(f"sheared: two of its axes are at {angle:.1f} degrees (a tilted gantry?); resample it to a rectangular grid")
    axes = list(max(itertools.permutations(range(3)), key=lambda p: sum(abs(direction[world, a]) for world, a in enumerate(p))))
    return axes, [bool(direction[axes.index(a), a] < 0) for a in range(3)], step


def shear(affine: np.ndarray) -> float:
    """The largest cosine between two of the axes."""
    cosines = affine.T @ affine / np.maximum(np.outer(*[np.linalg.norm(affine, axis=0)] * 2), 1e-12)
    return float(np.abs(cosines - np.diag(np.diag(cosines))).max())


def weights(count: int, ratio: float, backwards: bool) -> Float32[np.ndarray, "new count"] | None:
    """How much each of `count` voxels is of new ones, `ratio` times as large: means where larger, linear interpolation where smaller; None: the same.

    The first new voxel begins where the first old one does; what is left at the end is too little for another.
    """
    if abs(ratio - 1) < EQUAL:
        return None
    new, old = np.arange(max(1, int(count / ratio + 1e-4)))[:, None], np.arange(count)
    if ratio > 1:
        w = np.clip(np.minimum((new + 1) * ratio, old + 1) - np.maximum(new * ratio, old), 0, None)
    else:
        w = np.clip(1 - np.abs(np.clip((new + 0.5) * ratio - 0.5, 0, count - 1) - old), 0, None)
    w = (w / w.sum(1, keepdims=True)).astype(np.float32)
    return w[::-1, ::-1] if backwards else w
