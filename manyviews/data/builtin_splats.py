"""The built-in set of Gaussian splats: the kinds of shapes of the built-in clouds, covered with splats as an optimisation leaves them. The kind is the class.

Of 600 surfaces (20 for training and 10 for testing of each of 20 kinds) 500 places are taken, in places up to twenty times as densely as in others, where a
real object has detail; a splat there reaches as far as its neighbours are apart, along the surface ten times as far as across. Its axes are named so that it
is turned as little as can be, as where optimisation began without a turn. The object has one colour, lighter towards the light; opacities vary. 12 more splats
float near the surface, faint, grey and as large in all directions. So where the centres are says less of a shape than points spread evenly over it do, and the
other numbers say the rest. Nothing is downloaded or stored: the same splats are made on every machine.

`as_splats` covers any clouds with normals in this way, such as those of meshes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyviews.data import clouds, meshes, points, splats
from manyviews.data.arrays import Array
from manyviews.data.builtin_points import KINDS, pose
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.point_files import NORMALS, POSITIONS
from manyviews.errors import InputError

TRAIN, TEST, PLACES, SPLATS, FLOATING, SEED = 20, 10, 1536, 512, 12, 20251
DETAIL = 0.75  # of two waves over the logarithm of how densely places are taken
THIN, AWAY = 0.08, 0.08  # thickness as a share of the extent; how far the floating ones are from the surface, in radii of the object
LIGHT = (0.48, 0.8, 0.36)  # where it comes from


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "splats columns"]:
    """Splats on a cloud that `manyviews.data.points` reads, with normals. Raises Unreadable. The numbers are those of `splats.decode`."""
    cloud = surface(raw)
    return splats.decode(covered(cloud, clouds.digest(raw)), pixels, channels)


def evenly(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "points 3"]:
    """As many points spread evenly over the same surface: what the centres of splats are compared with."""
    r = np.random.default_rng(clouds.digest(raw))
    cloud = surface(raw)
    rows = r.permutation(len(cloud))[:SPLATS]
    return np.ascontiguousarray(cloud[rows[: pixels or None], :3], np.float32)


def surface(raw: Any) -> Float[np.ndarray, "points 6"]:
    cloud = points.decode(raw, 0, 6)
    if len(cloud) < 4 or not cloud[:, 3:].any():
        raise Unreadable(f"{len(cloud)} points{'' if cloud[:, 3:].any() else ' without normals'}; splats are put on 4 points or more with normals")
    return cloud


def as_splats(data: Data, spread_evenly: bool = False) -> Data:
    """Clouds with normals, or meshes, covered with splats; or points spread evenly over them, to compare with. Raises InputError."""
    if data.modality not in ("points", "splats"):
        raise InputError(f"splats can be put on clouds and meshes, not on {data.modality}")
    reader, channels = (evenly, 3) if spread_evenly else (decode, 14)
    return dataclasses.replace(data, decode=reader, modality="splats", channels=channels, bits=0, kept=None)


def covered(cloud: Float[np.ndarray, "points 6"], key: int) -> Float[np.ndarray, "splats 14"]:
    """Splats on a surface in the unit ball or of any other size."""
    from scipy.spatial import cKDTree

    r = np.random.default_rng(key)
    where, normal = cloud[:, :3].astype(np.float64), cloud[:, 3:6].astype(np.float64)
    size = max(float(np.linalg.norm(where - where.mean(0), axis=1).max()), 1e-12)
    rows = denser_in_places((where - where.mean(0)) / size, SPLATS - FLOATING, r)
    where, normal = where[rows], normal[rows] / np.linalg.norm(normal[rows], axis=1, keepdims=True).clip(min=1e-12)
    apart = cKDTree(where).query(where, k=range(2, min(4, len(where)) + 1))[0].mean(1)
    apart = apart.clip(1e-4 * size, max(4 * float(np.median(apart)), 1e-4 * size))
    frame = frames(normal, r.uniform(0, 2 * np.pi, len(where)))
    reach = apart[:, None] * np.exp(r.normal(0, 0.3, (len(where), 3))) * (0.8, 0.8, THIN)
    light = 0.45 + 0.55 * (normal @ (np.array(LIGHT) / np.linalg.norm(LIGHT))).clip(min=0)
    colour = (r.uniform(0.2, 1, 3) * light[:, None] * (1 + r.normal(0, 0.05, (len(where), 3)))).clip(0, 1)
    solid = 1 / (1 + np.exp(-r.normal(2.5, 1, len(where))))
    on = columns(where, solid, reach, frame, colour)
    near = where[r.integers(len(where), size=FLOATING)] + r.normal(0, AWAY * size, (FLOATING, 3))
    faint = 1 / (1 + np.exp(-r.normal(-2, 0.7, FLOATING)))
    off = columns(near, faint, 0.05 * size * np.exp(r.normal(0, 0.3, (FLOATING, 3))), frames(r.normal(size=(FLOATING, 3)), np.zeros(FLOATING)), 0.5)
    return r.permutation(np.concatenate([on, off])).astype(np.float32)


def denser_in_places(where: Float[np.ndarray, "points 3"], count: int, r: np.random.Generator) -> Int[np.ndarray, "chosen"]:
    """Rows drawn without replacement, with odds that are waves over the object."""
    waves = sum(np.sin(where @ r.normal(0, 2.5, 3) + r.uniform(0, 2 * np.pi)) for _ in range(2))
    return np.argsort(-(DETAIL * waves + r.gumbel(size=len(where))))[:count]


def frames(normal: Float[np.ndarray, "splats 3"], angle: Float[np.ndarray, "splats"]) -> Float[np.ndarray, "splats 3 3"]:
    """Rotations whose third axis is the normal (of any length), with the first at an angle (radians) in the surface."""
    normal = normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(min=1e-12)
    least = np.eye(3)[np.abs(normal).argmin(1)]
    first = np.cross(normal, least)
    first /= np.linalg.norm(first, axis=1, keepdims=True).clip(min=1e-12)
    second = np.cross(normal, first)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([c * first + s * second, c * second - s * first, normal], 2)


def columns(
    where: Float[np.ndarray, "splats 3"],
    opacity: Float[np.ndarray, "splats"],
    reach: Float[np.ndarray, "splats 3"],
    frame: Float[np.ndarray, "splats 3 3"],
    colour: Any,
) -> Float[np.ndarray, "splats 14"]:
    """As `manyviews.data.splats` has them, each splat's axes named so that its rotation is the smallest. colour: red, green, blue in 0..1."""
    from scipy.spatial.transform import Rotation

    renaming = Rotation.create_group("O").as_matrix().round()  # the 24 ways to name axes
    which = np.einsum("nij,kji->nk", frame, renaming).argmax(1)  # the trace, 1 + 2 cos of the angle that is left
    chosen = renaming[which]
    q = splats.unit(Rotation.from_matrix(frame @ chosen).as_quat()[:, [3, 0, 1, 2]])
    reach = np.einsum("nij,ni->nj", np.abs(chosen), reach)
    seen = np.broadcast_to((np.asarray(colour) - 0.5) / splats.HARMONIC, where.shape)
    return np.concatenate([where, opacity[:, None], reach, q, seen], 1)


@functools.lru_cache(maxsize=1)
def surfaces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of all surfaces with normals, in the unit sphere; their kinds, and their split."""

    def cloud(kind: int, number: int) -> np.ndarray:
        r = np.random.default_rng([SEED, kind, number])
        triangles = KINDS[kind](r) @ pose(r).T
        corners = np.arange(3 * len(triangles)).reshape(-1, 3)
        sampled = meshes.sampled(triangles.reshape(-1, 3), corners, PLACES, int(r.integers(1 << 62)))
        found = np.stack([sampled[name] for name in POSITIONS + NORMALS], 1)
        found[:, :3] -= (found[:, :3].min(0) + found[:, :3].max(0)) / 2
        found[:, :3] /= np.linalg.norm(found[:, :3], axis=1).max()
        return found.astype(np.float32)

    count = TRAIN + TEST
    found = np.stack([cloud(kind, number) for kind in range(len(KINDS)) for number in range(count)])
    return found, np.repeat(np.arange(len(KINDS)), count), np.tile(np.array(["train"] * TRAIN + ["test"] * TEST), len(KINDS))


def builtin_splats() -> Data:
    """The splats with labels and a split."""
    found, labels, split = surfaces()
    store = Array(found, "the built-in set of splats")
    return Data(store, decode, "splats", {"label": labels, "split": split}, [kind.__name__ for kind in KINDS], channels=14, bits=0)
