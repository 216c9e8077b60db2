"""A folder of files at any depth, or a list of them. Ten million paths fit: they are kept as one Arrow column, not as Python strings."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manyviews.data.dataset import Unreadable
from manyviews.data.labels import NAMES, SPLITS, text
from manyviews.errors import InputError

PATHS = pa.large_binary()
CHUNK = 1 << 16
LARGEST = 1 << 30  # bytes of one file


class Files:
    """Files by their path below `root`: an Arrow column of bytes, since names need not be text."""

    def __init__(self, root: Path, paths: pa.Array, what: str):
        self.root, self.paths, self.what = root, paths, what
        self.prefix = os.fsencode(root)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, row: int) -> str:
        return text(self.paths[row].as_py())

    def raw(self, row: int) -> bytes:
        return content(os.path.join(self.prefix, self.paths[row].as_py()))

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        """Of all names, and of the sizes of up to a thousand files."""
        h = hashlib.sha256()
        for i in range(0, len(self), CHUNK):
            for path in self.paths[i : i + CHUNK].to_pylist():
                h.update(path + b"\0")
        for row in np.linspace(0, len(self) - 1, min(len(self), 1000)).astype(int):
            try:
                h.update(str(os.stat(os.path.join(self.prefix, self.paths[int(row)].as_py())).st_size).encode())
            except OSError:
                h.update(b"missing")
        return h.hexdigest()


def content(path: str | bytes | Path) -> bytes:
    """All bytes of a file. Raises Unreadable for what cannot be opened, is too large for a picture, or is no file: reading a pipe or device never ends."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("a folder, not a file" if stat.S_ISDIR(status.st_mode) else "a pipe or device, not a file")
        if status.st_size > LARGEST:
            raise Unreadable(f"a file of {status.st_size / 1e9:.1f} GB is no picture")
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise Unreadable(f"{error.strerror or error}") from None


def column(paths: Iterable[bytes]) -> pa.Array:
    """The paths as one Arrow column, never more than a chunk of them as Python objects."""
    chunks, chunk = [], []
    for path in paths:
        chunk.append(path)
        if len(chunk) == CHUNK:
            chunks.append(pa.array(chunk, PATHS))
            chunk = []
    return pa.concat_arrays([*chunks, pa.array(chunk, PATHS)])


def walk(root: Path, suffixes: tuple[str, ...], closed: list[str] | None = None) -> Iterator[pa.Array]:
    """Paths below root with one of the suffixes, a column for each folder, sorted. Folders that cannot be listed are added to `closed`.

    Links to folders are followed once, hidden names passed over; links that lead nowhere are given, so that reading them says so.
    """
    endings = tuple(os.fsencode(s) for s in suffixes)
    top = os.fsencode(root)
    seen = set()
    todo = [b""]
    while todo:
        here = todo.pop()
        folders: list[bytes] = []
        try:
            status = os.stat(os.path.join(top, here))
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(top, here)) as entries:
                names = column(matching(entries, endings, folders))
        except OSError as error:
            if closed is not None:
                closed.append(f"{text(here) or root}: {error.strerror}")
            continue
        if len(names):
            names = names.take(pc.sort_indices(names))
            yield pc.binary_join_element_wise(pa.scalar(here, PATHS), names, pa.scalar(b"/", PATHS)) if here else names
        todo += [os.path.join(here, name) for name in sorted(folders, reverse=True)]


def matching(entries: Iterable[os.DirEntry], endings: tuple[bytes, ...], folders: list[bytes]) -> Iterator[bytes]:
    """The names of the files that end as asked; `folders` collects those of the folders."""
    for entry in entries:
        name: bytes = entry.name  # type: ignore[assignment]
        if name.startswith(b"."):
            continue
        try:
            if entry.is_dir():
                folders.append(name)
                continue
            real = entry.is_symlink() or entry.is_file()  # no pipes: reading one never ends
        except OSError:
            real = True  # a link to itself
        if real and name.lower().endswith(endings):
            yield name


def columns_of(paths: pa.Array) -> tuple[dict[str, np.ndarray], list[str]]:
    """What folders say: [split/]class/.../file. A class is the first folder that is not a split; no labels where there is only one.

    Beside classes, a folder with files of its own is a class too, whatever its name (a vehicle may be a "train"). Where all are splits, files of
    theirs that lie in no class have no known label (-1).
    """
    folders: dict[tuple[bytes, bytes], int] = {}  # the first two folders -> number
    pair = np.empty(len(paths), np.int32)
    for i in range(0, len(paths), 1 << 20):  # by millions, so that what is made on the way stays small
        found = pc.extract_regex(paths[i : i + (1 << 20)], pattern=r"(?s)^(?:(?P<first>[^/]*)/)?(?:(?P<second>[^/]*)/)?")
        first, second = (found.field(k).dictionary_encode() for k in range(2))
        codes = first.indices.to_numpy().astype(np.int64) * len(second.dictionary) + second.indices.to_numpy()
        values, inverse = np.unique(codes, return_inverse=True)
        names = [(first.dictionary[int(v) // len(second.dictionary)].as_py(), second.dictionary[int(v) % len(second.dictionary)].as_py()) for v in values]
        pair[i : i + len(codes)] = np.array([folders.setdefault(name, len(folders)) for name in names])[inverse]
    splits = [SPLITS.get(text(first).lower(), "") for first, _ in folders]
    whole = "train" in splits and all(splits)
    with_files = {first for first, second in folders if not second}
    of_pair = [second if split and (whole or first not in with_files) else first for (first, second), split in zip(folders, splits, strict=True)]
    columns = {}
    if whole:
        columns["split"] = NAMES[np.array([list(NAMES).index(s) for s in splits])[pair]]
    classes = sorted(set(of_pair) - ({b""} if whole else set()))
    if len(classes) < 2 or b"" in classes or len(classes) > max(10_000, len(paths) // 2):
        return columns, []
    number = {name: k for k, name in enumerate(classes)}
    columns["label"] = np.array([number.get(name, -1) for name in of_pair])[pair]
    return columns, [text(name) for name in classes]


def folder(root: Path, suffixes: tuple[str, ...]) -> tuple[Files, dict[str, np.ndarray], list[str]] | None:
    """The files of a folder and what its subfolders say of them; None when there are none. Raises InputError where it cannot be listed."""
    closed: list[str] = []
    found = [*walk(root, suffixes, closed)]
    if closed and not found:
        raise InputError(f"{root}: nothing found, and {len(closed)} folders cannot be listed; the first is {closed[0]}")
    if not found:
        return None
    paths = pa.concat_arrays(found)
    columns, classes = columns_of(paths)
    missing = f" ({len(closed)} of its folders cannot be listed, the first is {closed[0]})" if closed else ""
    return Files(root, paths, f"folder {text(str(root))}{missing}"), columns, classes
