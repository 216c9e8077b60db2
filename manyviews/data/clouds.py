"""What every cloud of points goes through between its file and the array: found, told apart by content, freed of what is not finite, thinned, put in order."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from manyviews.data import folder, point_files
from manyviews.data.dataset import Unreadable
from manyviews.data.labels import split_column, text
from manyviews.data.point_files import COLOURS, NORMALS, POSITIONS, Columns

FARTHEST = 1e18  # a coordinate beyond this is taken for infinite: its square is, in float32
MAPPED_FROM = 1 << 26  # bytes of a file that is mapped into memory, not read


class LargeFiles(folder.Files):
    """Files of which the large ones are mapped into memory, so that only what is used of them is read."""

    def raw(self, row: int) -> Any:
        path = os.path.join(self.prefix, self.paths[row].as_py())
        try:
            if os.stat(path).st_size < MAPPED_FROM:
                return folder.content(path)
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise Unreadable(f"{getattr(error, 'strerror', None) or error}") from None


def files_below(root: Path, suffixes: tuple[str, ...], notes: bool = False) -> tuple[LargeFiles, dict[str, np.ndarray], list[str]] | None:
    """The files of a folder and what its folders say of them: class/, split/class/ or class/split/.

    notes: files that lie beside folders of files are no clouds, and left out.
    """
    found = folder.folder(root, suffixes)
    if found is None:
        return None
    files, columns, classes = found
    paths = files.paths
    below = pc.match_substring(paths, b"/")
    if notes and pc.any(below).as_py() and not pc.all(below).as_py():
        paths = paths.filter(below)
        columns, classes = folder.columns_of(paths)
    if "split" not in columns:
        second = pc.extract_regex(paths, pattern=r"(?s)^[^/]*/(?P<split>[^/]*)/").field(0).dictionary_encode()
        splits = split_column([text(name) for name in second.dictionary.to_pylist()]) if not second.null_count else {}
        columns |= {name: column[second.indices.to_numpy()] for name, column in splits.items()}
    return LargeFiles(root, paths, files.what), columns, classes


def glance(root: Path, most: int = 4096) -> list[str]:
    """The names of some files below a folder, the upper ones first: no more than `most` entries are looked at, however many there are."""
    found: list[str] = []
    todo = [""]
    while todo and most > 0:
        here = todo.pop(0)
        try:
            with os.scandir(os.path.join(root, here)) as entries:
                for entry in itertools.islice(entries, most):
                    most -= 1
                    if not entry.name.startswith(".") and (entry.is_dir() or entry.is_file()):
                        (todo if entry.is_dir() else found).append(os.path.join(here, entry.name))
        except OSError:
            continue
    return sorted(found)


def digest(raw: Any) -> int:
    """A number for the content: of its length, and of at most 4 MiB spread over it."""
    if isinstance(raw, Mapping):
        raw = next((a for name, a in raw.items() if point_files.role(name) == "points"), b"")
    view: Any = np.ascontiguousarray(raw).reshape(-1).view(np.uint8).data if isinstance(raw, np.ndarray) else memoryview(raw)
    h = hashlib.blake2b(str(len(view)).encode(), digest_size=8)
    for start in range(0, len(view), max(1 << 16, len(view) // 64)):
        h.update(view[start : start + (1 << 16)])
    return int.from_bytes(h.digest(), "little")


def chosen(columns: Columns, most: int, key: int) -> Int[np.ndarray, "points"]:
    """The numbers of the points that are kept: the finite ones, at most so many (0: all). Raises Unreadable where there are none."""
    missing = [axis for axis in POSITIONS if axis not in columns]
    if missing:
        raise Unreadable(f"no coordinates {' '.join(missing)}")
    finite = np.ones(len(columns["x"]), dtype=bool)
    for axis in POSITIONS:
        finite &= is_finite(columns[axis])
    rows = np.flatnonzero(finite)
    if not len(rows):
        raise Unreadable(f"none of its {len(finite):,} points has finite coordinates" if len(finite) else "no points")
    return rows[thinned(len(rows), most, key)] if most else rows


def is_finite(a: np.ndarray) -> np.ndarray:
    return np.isfinite(a) if a.dtype == np.float16 else np.abs(a) < FARTHEST  # which NaN is not


def thinned(count: int, most: int, key: int) -> Any:
    """Which `most` of `count` rows are kept, in order."""
    if count <= most:
        return slice(None)
    lot = np.random.default_rng(key).random(count, np.float32)
    return np.sort(np.argpartition(lot, most)[:most])


def arranged(columns: Columns, rows: Int[np.ndarray, "points"]) -> Float[np.ndarray, "points columns"]:
    """The columns of these points in order, with as many as there are normals and colours."""
    normals = np.stack([columns[name][rows] for name in NORMALS], 1).astype(np.float32) if all(name in columns for name in NORMALS) else None
    if normals is not None:
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        known = np.isfinite(length) & (length > 1e-12)
        normals = np.where(known, normals / np.where(known, length, 1), 0)
    coloured = all(name in columns for name in COLOURS)
    width = 9 if coloured else 6 if normals is not None and normals.any() else 3
    cloud = np.zeros((len(rows), width), np.float32)
    for k, (axis, start) in enumerate(zip(POSITIONS, origin(columns), strict=True)):
        cloud[:, k] = columns[axis][rows] - start
    if width > 3 and normals is not None:
        cloud[:, 3:6] = normals
    if coloured:
        for k, name in enumerate(COLOURS):
            cloud[:, 6 + k] = point_files.lightness(columns[name], rows)
    return cloud


def origin(columns: Columns) -> list[float]:
    """What is subtracted from the coordinates: nothing, but for doubles so far out that float32 would move points by more than a hundred-thousandth of the
    extent (metres in a national grid), the centre of their box.
    """
    if all(columns[axis].dtype == np.float32 for axis in POSITIONS):
        return [0.0, 0.0, 0.0]
    finite = [columns[axis][is_finite(columns[axis])] for axis in POSITIONS]
    low, high = ([float(f(a)) for a in finite] for f in (np.min, np.max))
    extent = max(h - w for w, h in zip(low, high, strict=True))
    far = max(map(abs, low + high)) * 2.0**-23 > 1e-5 * extent > 0
    return [(w + h) / 2 if far else 0.0 for w, h in zip(low, high, strict=True)]


def to_channels(cloud: Float[np.ndarray, "points columns"], channels: int) -> Float[np.ndarray, "points channels"]:
    """The first 3, 6 or 9 columns; normals that are not there are zeros, colours 0.5. Raises Unreadable for another number."""
    if channels not in (3, 6, 9):
        raise Unreadable(f"{channels} columns; points have 3 (positions), 6 (and normals) or 9 (and colours)")
    have = cloud.shape[1]
    if have >= channels:
        return np.ascontiguousarray(cloud[:, :channels])
    filled = np.zeros((len(cloud), channels), np.float32)
    filled[:, :have], filled[:, 6:] = cloud, 0.5
    return filled
