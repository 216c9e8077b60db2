"""A folder of files at any depth, or a list of them. Ten million paths fit: they are kept as one Arrow column, not as Python strings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from manyviews.errors import InputError
from manyviews.data.dataset import Unreadable

SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test", "testing": "test"}


class Files:
    """Files by their path below `root`."""

    def __init__(self, root: Path, paths: Iterable[str], what: str):
        self.root, self.what = root, what
        chunks, chunk = [], []
        for path in paths:
            chunk.append(os.fsencode(path))
            if len(chunk) == 65536:
                chunks.append(pa.array(chunk, pa.large_binary()))
                chunk = []
        chunks.append(pa.array(chunk, pa.large_binary()))
        self.paths = pa.concat_arrays(chunks)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, row: int) -> str:
        return os.fsdecode(self.paths[row].as_py())

    def raw(self, row: int) -> bytes:
        try:
            return (self.root / self.name(row)).read_bytes()
        except OSError as error:
            raise Unreadable(f"{error.strerror or error}") from None

    def describe(self) -> str:
        return f"{self.what} {self.root}"

    def fingerprint(self) -> str:
        """Of all names, and of the sizes of up to a thousand files."""
        h = hashlib.sha256()
        for chunk in self.paths.buffers():
            h.update(chunk or b"")
        for row in np.linspace(0, len(self) - 1, min(len(self), 1000)).astype(int):
            try:
                h.update(str((self.root / self.name(int(row))).stat().st_size).encode())
            except OSError:
                h.update(b"missing")
        return h.hexdigest()


def walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Paths below root with one of the suffixes, sorted within each folder. Links to folders are followed once; hidden names are passed over."""
    seen = set()
    todo = [""]
    while todo:
        here = todo.pop()
        try:
            status = (root / here).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(root / here), key=lambda e: e.name)
        except OSError:
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = os.path.join(here, entry.name)
            try:
                if entry.is_dir():
                    folders.append(path)
                elif entry.name.lower().endswith(suffixes):
                    yield path
            except OSError:
                continue
        todo += reversed(folders)


def columns_of(store: Files) -> tuple[dict[str, np.ndarray], list[str]]:
    """What folders say: [split/]class/.../file. A class is the first folder that is not a split; no columns where there is only one."""
    splits, names = [], []
    for path in store.paths:
        parts = os.fsdecode(path.as_py()).split(os.sep)[:-1]
        split = SPLITS.get(parts[0].lower()) if parts else None
        splits.append(split or "")
        rest = parts[1:] if split else parts
        names.append(rest[0] if rest else "")
    columns = {}
    if "train" in splits and all(splits):
        columns["split"] = np.array(splits)
    classes = sorted(set(names))
    if len(classes) < 2 or "" in classes:
        return columns, []
    columns["label"] = np.searchsorted(np.array(classes), np.array(names))
    return columns, classes


def folder(root: Path, suffixes: tuple[str, ...], what: str) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The files of a folder and what its subfolders say of them. Raises InputError when there are none."""
    store = Files(root, walk(root, suffixes), "folder")
    if not len(store):
        raise InputError(f"{root} has no {what}; files ending in {' '.join(suffixes[:8])} ... are looked for, at any depth")
    columns, classes = columns_of(store)
    return store, columns, classes
