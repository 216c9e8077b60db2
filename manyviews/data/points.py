"""Clouds of points: what counts as one, and how a file becomes an array (points, 3, 6 or 9).

The columns are x y z, then the normal nx ny nz (of unit length; zeros: not known), then red green blue in [0, 1]. So their number tells what they are: 3
positions, 6 with normals, 9 with colours. A format is told by its content, not its name. A mesh becomes points of its surface with the normals of its
faces. Points that are not finite are left out. Of a cloud with more points than are asked for, as many are kept as have the smallest of random numbers
drawn by a hash of the content: always the same ones, in the file's order, and those of a smaller number are among those of a larger one.
"""

from __future__ import annotations

import dataclasses
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyviews.data import clouds, folder, images, las, meshes, ply, point_arrays, point_files, point_sets
from manyviews.data.dataset import Data, Store, Unreadable
from manyviews.data.derive import derive
from manyviews.data.labels import text
from manyviews.data.point_files import Columns
from manyviews.data.regions import Regions
from manyviews.errors import InputError

STRONG = (".ply", ".off", ".obj", ".stl", ".npy", ".npz", ".las", ".laz", ".pcd", ".xyz", ".pts")
ARRAYS = (".npy", ".npz")
TEXTS = (".txt", ".csv", ".asc")  # in a folder without any of the others
MANY = (".h5", ".hdf5")  # many clouds a file
SUFFIXES = STRONG + TEXTS + MANY
FEWEST = 16  # rows of an array that is taken for a cloud unasked: smaller ones may be pictures
SPLAT = {"opacity", "scale_0", "rot_0"}  # properties of a .ply that holds Gaussian splats
PUBLISHED = point_sets.PUBLISHED  # `as_points(*PUBLISHED[name][1](path))`
Found = tuple[Store, dict[str, np.ndarray], list[str]]


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "points columns"]:
    """A cloud as float32 (points, 3, 6 or 9). Raises Unreadable.

    raw: a file's bytes, mapped or not; an array (points, 3 or more); or arrays by name. pixels: at most so many points, 0: all of a cloud, or SAMPLED of a
    mesh. channels: 3, 6 or 9 columns, 0: as many as it has; unknown normals are zeros, unknown colours grey. bits is for pictures.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        key = clouds.digest(raw)
        columns = read(raw, pixels or meshes.SAMPLED, key)
        cloud = clouds.arranged(columns, clouds.chosen(columns, pixels, key))
    return clouds.to_channels(cloud, channels) if channels else cloud


def read(raw: Any, count: int, key: int) -> Columns:
    """The columns of a cloud, or of `count` points of a mesh. Raises Unreadable."""
    if isinstance(raw, np.ndarray):
        return point_files.unnamed(raw)
    if isinstance(raw, Mapping):
        return point_files.grouped(raw)
    kind = kind_of(raw)
    if kind == "ply":
        return meshes.of_ply(ply.read(raw), count, key)
    if kind in ("off", "obj", "stl", "stl_ascii"):
        return meshes.of_file(raw, kind, count, key)
    if kind == "pcd":
        from manyviews.data import pcd  # with a decoder that numba compiles

        return pcd.read(raw)
    readers = {"las": las.read, "npy": point_files.npy, "npz": point_files.npz, "text": point_files.text}
    if kind not in readers:
        raise Unreadable(kind)
    return readers[kind](raw)


def kind_of(raw: Any) -> str:
    """The format of a file's content by its first bytes, or why there is none."""
    if not len(raw):
        return "empty file"
    head = bytes(raw[: 1 << 16])
    for magic, kind in {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"LASF": "las"}.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file, of many clouds; name the file itself, and each is a row"
    if re.match(rb"ply[ \t]*[\r\n]", head):
        return "ply"
    if len(raw) >= 84 and len(raw) == 84 + 50 * int.from_bytes(head[80:84], "little"):
        return "stl"
    start = re.sub(rb"\A(\xef\xbb\xbf)?([ \t\r]*(#[^\n]*)?\n)*\s*", b"", head)
    if re.match(rb"(VERSION|FIELDS|COLUMNS)[ \t]", start):
        return "pcd"
    if re.match(rb"(ST)?C?N?4?n?OFF(?![A-Za-z])", start):
        return "off"
    if re.match(rb"(v|vn|vt|vp|f|o|g|s|l|mtllib|usemtl)[ \t]", start):
        return "obj"
    if start[:5].lower() == b"solid":
        return "stl_ascii"
    if b"\0" in head:
        return f"no point cloud or mesh of a known format ({' '.join(SUFFIXES[:6])} ...): it begins with {head[:12]!r}"
    return "text"


def usual(clouds: Sequence[np.ndarray]) -> tuple[int, str]:
    """The columns to bring a set to, from some of its clouds, and what that drops: a feature that one of them lacks is dropped from all, since what is filled
    in would tell files apart by their format.
    """
    coloured = np.array([a.shape[1] == 9 for a in clouds])
    normal = np.array([a.shape[1] >= 6 and bool(a[:, 3:6].any()) for a in clouds])
    channels = 9 if coloured.all() else 6 if normal.all() else 3
    dropped = [
        f"{name} dropped: {np.sum(~have)} of {len(have)} clouds looked at have none"
        for name, have, kept in (("normals", normal, channels >= 6), ("colours", coloured, channels == 9))
        if have.any() and not kept
    ]
    if channels == 9 and normal.any() and not normal.all():
        dropped.append(f"normals are zeros in {np.sum(~normal)} of {len(normal)} clouds looked at")
    return channels, "; ".join(dropped)


def parts(data: Data, i: int) -> Int[np.ndarray, "points"]:
    """The part that each point of `data[i]` belongs to, in the same order. Raises Unreadable where the file names none."""
    raw = data.store.raw(data.row(i))
    key = clouds.digest(raw)
    columns = read(raw, data.pixels or meshes.SAMPLED, key)
    if "part" not in columns:
        raise Unreadable("its points have no parts")
    return columns["part"][clouds.chosen(columns, data.pixels, key)].astype(np.int64)


def with_parts(data: Data) -> Data:
    """The data with a column `part` (rows, points) for its clouds as they are now: of so many points, another number needs its own. -1 where a cloud ends,
    and for clouds that cannot be read.
    """

    def every(data: Data) -> dict[str, np.ndarray]:
        found = []
        for i in range(len(data)):
            try:
                found.append(parts(data, i))
            except Unreadable:
                found.append(np.empty(0, np.int64))
        column = np.full((len(data), max(map(len, found), default=0)), -1)
        for row, own in zip(column, found, strict=True):
            row[: len(own)] = own
        return {"part": column}

    return derive(data, f"parts/{data.pixels}", every)


def regions(data: Data) -> Regions:
    """The parts of shapes, at their points."""

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        return data[i][:, :3], parts(data, i)

    return Regions(read, "iou")


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def open_points(path: Path) -> Data:
    """The clouds of a folder or a file: published sets (`manyviews.data.point_sets`), files of one cloud each, or files of many. Raises InputError.

    Some are read, to find out the columns that all are brought to.
    """
    return as_points(*(from_folder(path) if path.is_dir() else from_file(path)))


def from_array(source: Any) -> Data:
    """The clouds of one array (count, points, 3 or more), or (points, 3 or more) for one cloud; of a list of such; or of a list of paths. Raises InputError."""
    if isinstance(source, np.ndarray):
        return as_points(*point_arrays.rows_of([("array", {"points": source[None] if source.ndim == 2 else source})], "an array", [""]))
    every = list(source)
    if every and all(isinstance(item, str | os.PathLike) for item in every):
        paths = folder.column(os.fsencode(os.path.abspath(path)) for path in every)
        return as_points(clouds.LargeFiles(Path("/"), paths, f"{len(paths):,} files"), {}, [])
    blocks = [(f"cloud {k}", {"points": np.asarray(item)[None]}) for k, item in enumerate(every)]
    return as_points(*point_arrays.rows_of(blocks, "a list of arrays", [""] * len(blocks)))


def as_points(store: Store, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Data:
    """The clouds of a store, brought to the columns that are usual among some of them. Raises InputError where none can be read."""
    if not len(store):
        raise InputError(f"{store.describe()} is empty")
    data = Data(store, decode, "points", columns, classes, channels=0, bits=0)
    some = data.reduced(1024).look(32)
    if not some:
        raise InputError(f"none of the first clouds looked at in {store.describe()} can be read:\n{data._failures()}")
    channels, said = usual(some)
    return dataclasses.replace(data, channels=channels, said=said)


def from_folder(path: Path) -> Found:
    """A folder by what is in it. Raises InputError."""
    for recognised, opened in point_sets.PUBLISHED.values():
        if recognised(path):
            return opened(path)
    found = clouds.files_below(path, STRONG)
    if found is not None:
        only = path / os.fsdecode(found[0].paths[0].as_py())
        return from_file(only) if len(found[0]) == 1 and only.suffix.lower() in ARRAYS and point_arrays.many(only) else found
    many = [path / os.fsdecode(name) for part in folder.walk(path, MANY) for name in part.to_pylist()]
    if many:
        return point_arrays.from_h5(many, f"{len(many):,} .h5 file{'s' if len(many) > 1 else ''} in {text(str(path))}")
    found = clouds.files_below(path, TEXTS, notes=True)
    if found is None:
        raise InputError(f"{text(str(path))} has no point clouds; looked for, at any depth: {' '.join(SUFFIXES)}")
    return found


def from_file(path: Path) -> Found:
    """A file by its ending. Raises InputError."""
    ending = path.suffix.lower()
    if ending in MANY:
        return point_arrays.from_h5([path], f"file {text(str(path))}")
    if ending in ARRAYS and point_arrays.many(path):
        return point_arrays.from_array(path)
    if ending not in SUFFIXES:
        raise InputError(f"{text(str(path))}: points are read from {' '.join(SUFFIXES)}")
    return clouds.LargeFiles(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {text(str(path))}"), {}, []


def looks_like_points(path: Path) -> bool:
    """Whether a file or folder holds clouds, by endings, and by the header where an ending can mean something else."""
    try:
        return folder_looks(path) if path.is_dir() else file_looks(path)
    except (OSError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile):
        return False


def folder_looks(path: Path) -> bool:
    """A published set, or more clouds than pictures among the first files; then one of them decides."""
    if any(recognised(path) for recognised, _ in point_sets.PUBLISHED.values()):
        return True
    names = clouds.glance(path)
    by_kind = {kind: [name for name in names if name.lower().endswith(kind)] for kind in (STRONG, MANY, TEXTS)}
    found = next((found for found in by_kind.values() if found), [])
    pictures = sum(name.lower().endswith(images.SUFFIXES) for name in names)
    return len(found) > pictures and file_looks(path / max(found, key=lambda name: name.count("/")))


def file_looks(path: Path) -> bool:
    ending = path.suffix.lower()
    if not path.is_file():  # reading a pipe never ends
        return False
    if ending == ".ply":
        with open(path, "rb") as file:
            return not ply.names(file.read(ply.LONGEST)) >= SPLAT
    if ending in ARRAYS:
        return any(
            kind.kind == "f" and len(shape) in (2, 3) and shape[-2] >= FEWEST and shape[-1] in (3, 4, 6, 7, 9, 10, 12)
            for name, (shape, kind) in point_arrays.shapes(path).items()
            if ending == ".npy" or point_files.role(point_arrays.without_part(name)) == "points"
        )
    if ending in MANY:
        return point_arrays.h5_looks(path)
    if ending in TEXTS:
        with open(path, "rb") as file:
            start = file.read(1 << 16)
        names, at = point_files.head(start)
        width = len(start[at:].split(b"\n")[0].replace(b",", b" ").replace(b";", b" ").split())
        first = tuple(point_files.CANONICAL.get(name) for name in names[:3])  # a table may have columns x y z too, but not first
        return first == point_files.POSITIONS if ending == ".csv" else bool(names) or width in (3, 4, 6, 7, 9)
    return ending in STRONG


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Points of a view: the median of some clouds', at most 1,024."""
    return int(np.clip(np.median([len(a) for a in samples]) if samples else 1024, 32, 1024))
