"""Gaussian splats: the .ply files of 3D Gaussian Splatting, and .splat, as an array (splats, 14 or more) after activation.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv:2308.04079, and its code's files: x y z, f_dc_*, f_rest_*,
opacity as a logit, scale_* as logarithms, rot_* as a quaternion of any length. The columns here:

    0:3    position                                7:11   rotation, a unit quaternion w x y z with w >= 0
    3      opacity, 0..1                           11:14  colour: spherical harmonics of degree 0 for red, green, blue; 0.5 + 0.2821 times it is in 0..1
    4:7    scale along the three axes, > 0,        14:    their harmonics of degree 1 to d, (d + 1)^2 - 1 for red, then for green, then for blue:
           in the unit of the position                    9, 24, 45 or 72 columns, or none

`write` is the inverse: what it writes of a decoded file decodes to the same numbers, bit for bit. Splats of which a number is not finite are left out; of
more than are asked for, some are kept as `manyviews.data.points` does. .splat has records of 32 bytes (position, scale as floats; red, green, blue, opacity
and the quaternion as bytes) and no harmonics. Folders: files at any depth, the last iteration of a run of the authors' code
(point_cloud/iteration_30000/point_cloud.ply), and those of ShapeSplat (Ma et al., arXiv:2408.10906): SYNSET-ID.ply, and class/split/NAME/point_cloud.ply.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from manyviews.data import clouds, folder, ply, point_sets
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data, Store, Unreadable
from manyviews.data.derive import new_file
from manyviews.data.labels import text
from manyviews.errors import InputError

SUFFIXES = (".ply", ".splat")
POSITION, OPACITY, SCALE, ROTATION, COLOUR, REST = slice(0, 3), slice(3, 4), slice(4, 7), slice(7, 11), slice(11, 14), slice(14, None)
NAMES = ["x", "y", "z", "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4)), *(f"f_dc_{k}" for k in range(3))]
WIDTHS = {14 + 3 * ((degree + 1) ** 2 - 1): degree for degree in range(5)}
HARMONIC = 0.28209479177387814  # 1 / sqrt(4 pi): the one of degree 0
RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("colour", "u1", 3), ("opacity", "u1"), ("rotation", "u1", 4)])
FARTHEST = 110.0  # a logit or logarithm beyond which float32 knows only 0
LARGE = 80.0  # a logarithm of a scale beyond which it is taken for infinite
SURE = 20.0  # a logit for which it knows only 1


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "splats columns"]:
    """Splats as float32 (splats, 14 + harmonics). Raises Unreadable.

    raw: a file's bytes, mapped or not, or an array of such columns. pixels: at most so many splats, 0: all. channels: 14, 23, 38, 59 or 86 columns, harmonics
    of degree 0 to 4, those that are not there being zeros; 3: positions alone; 0: as it is. bits is for pictures.
    """
    if isinstance(raw, np.ndarray):
        table = np.asarray(raw, np.float32)
        if table.ndim != 2 or table.shape[1] not in WIDTHS:
            raise Unreadable(f"an array of shape {table.shape}; splats have {', '.join(map(str, WIDTHS))} columns")
        splats = table[kept(np.isfinite(table.sum(1, dtype=np.float64)), pixels, clouds.digest(raw))]
    elif raw[:3] == b"ply":
        splats = of_ply(raw, pixels)
    else:
        splats = of_records(raw, pixels)
    return to_channels(splats, channels) if channels else splats


def of_ply(raw: Any, most: int) -> Float[np.ndarray, "splats columns"]:
    vertex = ply.read(raw, ("vertex",)).get("vertex", {})
    missing = [name for name in NAMES if name not in vertex]
    if missing:
        raise Unreadable(f"PLY: no Gaussian splats: the vertices have no {', '.join(missing)}")
    rest = sorted((name for name in vertex if re.fullmatch(r"f_rest_\d+", name)), key=lambda name: int(name[7:]))
    if 14 + len(rest) not in WIDTHS:
        raise Unreadable(f"PLY: {len(rest)} numbers f_rest_*; harmonics of a whole degree are {', '.join(str(width - 14) for width in WIDTHS)}")
    columns = [vertex[name] for name in NAMES + rest]
    finite = np.ones(len(columns[0]), dtype=bool)
    for k, column in enumerate(columns):
        finite &= column < LARGE if SCALE.start <= k < SCALE.stop else np.abs(column) < clouds.FARTHEST  # neither where it is NaN
    rows = kept(finite, most, clouds.digest(raw))
    table = np.empty((len(rows), len(columns)))
    for k, column in enumerate(columns):
        table[:, k] = column[rows]
    with np.errstate(over="ignore"):
        table[:, OPACITY] = 1 / (1 + np.exp(-table[:, OPACITY]))
        table[:, SCALE] = np.exp(table[:, SCALE])
    table[:, ROTATION] = unit(table[:, ROTATION])
    return table.astype(np.float32)


def of_records(raw: Any, most: int) -> Float[np.ndarray, "splats columns"]:
    """A .splat file. Its bytes of a colour are 0.5 + 0.2821 f, those of a quaternion 128 + 128 q."""
    if not len(raw) or len(raw) % RECORD.itemsize:
        raise Unreadable(f"{len(raw):,} bytes, neither a .ply nor whole records of {RECORD.itemsize} bytes as in .splat" if len(raw) else "empty file")
    table = np.frombuffer(raw, RECORD)
    placed, sized = np.abs(table["position"]) < clouds.FARTHEST, (table["scale"] >= 0) & (table["scale"] < clouds.FARTHEST)
    finite = (placed & sized).all(1)
    table = table[kept(finite, most, clouds.digest(raw))]
    colour = (table["colour"] / 255 - 0.5) / HARMONIC
    rotation = unit((table["rotation"].astype(np.float64) - 128) / 128)
    return np.concatenate([table["position"], table["opacity"][:, None] / 255, table["scale"], rotation, colour], 1).astype(np.float32)


def kept(finite: Bool[np.ndarray, "splats"], most: int, key: int) -> Int[np.ndarray, "kept"]:
    """The numbers of the splats that are kept: finite ones, at most so many. Raises Unreadable where there are none."""
    rows = np.flatnonzero(finite)
    if not len(rows):
        raise Unreadable(f"none of its {len(finite):,} splats has finite numbers" if len(finite) else "no splats")
    return rows[clouds.thinned(len(rows), most, key)] if most else rows


def unit(q: Float[np.ndarray, "splats 4"]) -> Float[np.ndarray, "splats 4"]:
    """Quaternions of length 1, the one of q and -q whose first number that is not 0 is positive. Those of length 1 keep every bit; zeros mean no rotation."""
    square = (q * q).sum(1, keepdims=True)
    q = np.where(np.abs(square - 1) < 1e-6, q, q / np.sqrt(np.where(square > 0, square, 1)))
    q[square[:, 0] == 0] = (1, 0, 0, 0)
    first = np.take_along_axis(q, (q != 0).argmax(1)[:, None], 1)
    return np.where(first < 0, -q, q)


def to_channels(splats: Float[np.ndarray, "splats columns"], channels: int) -> Float[np.ndarray, "splats channels"]:
    """With harmonics up to another degree: those above are cut off, those that are not there zeros, which look the same. 3: positions. Raises Unreadable."""
    if channels == splats.shape[1]:
        return splats
    if channels == 3:
        return np.ascontiguousarray(splats[:, POSITION])
    if channels not in WIDTHS:
        raise Unreadable(f"{channels} columns; splats have 3 (positions), {', '.join(map(str, WIDTHS))} (harmonics of degree 0 to {len(WIDTHS) - 1})")
    have, wanted = (splats.shape[1] - 14) // 3, (channels - 14) // 3
    found = np.zeros((len(splats), channels), np.float32)
    found[:, :14] = splats[:, :14]
    rest, both = np.zeros((len(splats), 3, wanted), np.float32), min(have, wanted)
    rest[:, :, :both] = splats[:, REST].reshape(len(splats), 3, have)[:, :, :both]
    found[:, REST] = rest.reshape(len(splats), 3 * wanted)
    return found


def write(path: Path | str, splats: Float[np.ndarray, "splats columns"]) -> None:
    """A .ply as viewers of splats read it, with what `decode` gives. Raises InputError."""
    if splats.ndim != 2 or splats.shape[1] not in WIDTHS:
        raise InputError(f"splats of shape {splats.shape}; they have {', '.join(map(str, WIDTHS))} columns")
    table = np.array(splats, np.float64)
    if not np.isfinite(table).all() or (table[:, SCALE] < 0).any() or (table[:, OPACITY] < 0).any() or (table[:, OPACITY] > 1).any():
        raise InputError("splats must be finite, with scales of at least 0 and opacities in 0..1")
    with np.errstate(divide="ignore"):
        table[:, OPACITY] = np.clip(np.log(table[:, OPACITY]) - np.log1p(-table[:, OPACITY]), -FARTHEST, SURE)
        table[:, SCALE] = np.maximum(np.log(table[:, SCALE]), -FARTHEST)
    own = dict(zip(NAMES, table[:, :14].T, strict=True)) | {f"f_rest_{k}": column for k, column in enumerate(table[:, REST].T)}
    nothing = np.zeros(len(table))
    rest = [f"f_rest_{k}" for k in range(table.shape[1] - 14)]
    order = ["x", "y", "z", "nx", "ny", "nz", *NAMES[11:14], *rest, *NAMES[3:11]]  # as the authors' code writes them
    content = ply.written({name: own.get(name, nothing).astype(np.float32) for name in order})
    with new_file(Path(path)) as temporary:
        Path(temporary).write_bytes(content)


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def usual(samples: Sequence[np.ndarray]) -> tuple[int, str]:
    """The columns to bring a set to: the most that one of some has, and what that fills in."""
    widths = [a.shape[1] for a in samples]
    fewer = sum(width < max(widths) for width in widths)
    return max(widths), f"{fewer} of {len(widths)} looked at have fewer harmonics, filled with zeros" if fewer else ""


def open_splats(path: Path) -> Data:
    """The splats of a folder or a file, with what folders and names say of them. Raises InputError."""
    store, columns, classes = from_folder(path) if path.is_dir() else from_file(path)
    data = Data(store, decode, "splats", columns, classes, channels=0, bits=0)
    some = data.reduced(1024).look(32)
    if not some:
        raise InputError(f"none of the first files looked at in {store.describe()} can be read:\n{data._failures()}")
    channels, said = usual(some)
    return dataclasses.replace(data, channels=channels, said=said)


def from_file(path: Path) -> tuple[Store, Mapping[str, np.ndarray], list[str]]:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{text(str(path))}: splats are read from {' '.join(SUFFIXES)}")
    return clouds.LargeFiles(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {text(str(path))}"), {}, []


def from_folder(path: Path) -> tuple[Store, Mapping[str, np.ndarray], list[str]]:
    """ShapeSplat by its names, else files by their folders; of a run of the authors' code the last iteration, and not the points that it began with."""
    if point_sets.shapes_in(path, ".ply") is not None:
        return point_sets.shapenet(path, ".ply")
    found = clouds.files_below(path, SUFFIXES)
    if found is None:
        raise InputError(f"{text(str(path))} has no splats; looked for, at any depth: {' '.join(SUFFIXES)}")
    files, columns, classes = found
    names = [os.fsdecode(name) for name in files.paths.to_pylist()]
    rows = latest(names)
    if len(rows) == len(names):
        return files, columns, classes
    columns = {name: column[rows] for name, column in columns.items()}
    if "label" in columns and len(np.unique(columns["label"])) == len(rows):  # every scene a class of its own
        columns, classes = {name: column for name, column in columns.items() if name != "label"}, []
    return clouds.LargeFiles(path, files.paths.take(rows), files.what), columns, classes


def latest(names: Sequence[str]) -> list[int]:
    """The files to take: of each folder point_cloud with folders iteration_N the last one; all others, but for input.ply beside such a folder."""
    runs: dict[str, tuple[int, int]] = {}
    for row, name in enumerate(names):
        found = re.fullmatch(r"(.*/)?point_cloud/iteration_(\d+)/[^/]+", name)
        if found:
            runs[found[1] or ""] = max(runs.get(found[1] or "", (-1, -1)), (int(found[2]), row))
    of_runs = {row for _, row in runs.values()}
    others = (r for r, name in enumerate(names) if "point_cloud/iteration_" not in name and not (name.endswith("input.ply") and name[:-9] in runs))
    return sorted(of_runs.union(others))


def looks_like_splats(path: Path) -> bool:
    """Whether a file or folder holds splats, by endings and the header of a .ply; of a folder, of one of its files."""
    try:
        if path.is_dir():
            names = [name for name in clouds.glance(path) if name.lower().endswith(SUFFIXES)]
            rows = latest(names)
            return bool(rows) and looks_like_splats(path / names[rows[0]])
        if not path.is_file():  # reading a pipe never ends
            return False
        if path.suffix.lower() == ".splat":
            return path.stat().st_size % RECORD.itemsize == 0 and path.stat().st_size > 0
        if path.suffix.lower() != ".ply":
            return False
        with open(path, "rb") as file:
            return ply.names(file.read(ply.LONGEST)) >= set(NAMES)
    except (OSError, ValueError):
        return False


def from_array(source: Any) -> Data:
    """The splats of one array (count, splats, columns), or (splats, columns) for one object; or of a list of such. Raises InputError."""
    every = list(source) if not isinstance(source, np.ndarray) or source.ndim == 3 else [source]
    if not every or any(np.ndim(a) != 2 or np.shape(a)[1] not in WIDTHS for a in every):
        shapes = sorted({np.shape(a) for a in every}, key=str)
        raise InputError(f"splats in arrays of shape {', '.join(map(str, shapes[:3])) or '(0,)'}; expected (splats, columns) each, {list(WIDTHS)} columns")
    samples = np.empty(len(every), object)
    samples[:] = [np.asarray(a, np.float32) for a in every]
    channels, said = usual(list(samples))
    return Data(Array(samples, f"{len(every):,} array{'s' if len(every) > 1 else ''}"), decode, "splats", channels=channels, bits=0, said=said)


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Splats of a view: the median of some samples', at most 1,024 as in ShapeSplat's experiments."""
    return int(np.clip(np.median([len(a) for a in samples]) if samples else 1024, 32, 1024))
