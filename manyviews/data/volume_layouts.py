"""How folders of volumes are laid out: scans and series, label maps beside them, splits, classes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import folder, lists
from manyviews.data.dataset import Unreadable
from manyviews.data.dicom import SLICES, grouped, is_dicom
from manyviews.data.label_layouts import paired
from manyviews.data.labels import text
from manyviews.data.volume_files import SUFFIXES
from manyviews.errors import InputError


@dataclasses.dataclass(frozen=True)
class Scan:
    """A light handle: what `decode` reads, and how."""

    files: tuple[Path, ...]  # one file, or the slices of a series in any order
    spacing: tuple[float, ...] = ()  # millimetres of a voxel along depth, height, width; (): cubes
    window: tuple[float, ...] = ()  # what becomes 0 and 1; (): decided by the sample
    modality: str = ""  # CT, MR ...; "" where only the files may say it
    fourth: str = ""  # what several volumes in a file are: "channels", or a series of which the "first" is taken; "": not expected
    image: Scan | None = None  # of a label map: whose it is


class Volumes:
    """Files and DICOM series as `Scan`s. `series`: row -> its slices; `masks`: row -> its label map; `options`: of the scans."""

    def __init__(self, files: folder.Files, series: Mapping[int, list[bytes]], masks: Mapping[int, bytes], **options: Any):
        self.files, self.series, self.masks, self.options = files, series, masks, options

    def __len__(self) -> int:
        return len(self.files)

    def raw(self, row: int) -> Scan:
        return self.scan(self.series.get(row) or [self.files.paths[row].as_py()])

    def scan(self, paths: list[bytes], **more: Any) -> Scan:
        return Scan(tuple(Path(os.fsdecode(os.path.join(self.files.prefix, path))) for path in paths), **self.options | more)

    def name(self, row: int) -> str:
        return self.files.name(row)

    def describe(self) -> str:
        return self.files.describe()

    def fingerprint(self) -> str:
        h = hashlib.sha256(self.files.fingerprint().encode() + repr(sorted(self.options.items())).encode())
        for slices in self.series.values():
            h.update(b"\0".join(slices))
        return h.hexdigest()


class LabelMaps(Volumes):
    """The label maps of the rows of `Volumes`."""

    def raw(self, row: int) -> Scan:
        if row not in self.masks:
            raise Unreadable("no label map")
        return self.scan([self.masks[row]], image=super().raw(row))

    def fingerprint(self) -> str:
        return hashlib.sha256(super().fingerprint().encode() + repr(self.masks).encode()).hexdigest()


def listed(path: Path) -> tuple[Volumes, dict[str, np.ndarray], list[str]]:
    """What lies in a folder, is listed in a file, or is one file; the label maps; the columns and classes that folders tell. Raises InputError."""
    if path.suffix.lower() in (".txt", ".csv", ".tsv"):
        files, columns, classes = lists.listed(path)
        return Volumes(files, {}, {}), columns, classes
    if not path.is_dir():
        return Volumes(folder.Files(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {text(str(path))}"), {}, {}), {}, []
    closed: list[str] = []
    found = [name for part in folder.walk(path, (*SUFFIXES, *SLICES), closed) for name in part.to_pylist()]
    if closed and not found:
        raise InputError(f"{path}: nothing found, and {len(closed)} folders cannot be listed; the first is {closed[0]}")
    slices = tuple(map(os.fsencode, SLICES))
    dicom = [name for name in found if name.lower().endswith(slices)]
    if not found:
        dicom = [name for part in folder.walk(path, ("",)) for name in part.to_pylist() if is_dicom(os.path.join(os.fsencode(path), name))]
    rows, masks, places = paired([name for name in found if not name.lower().endswith(slices)], SUFFIXES)
    series = grouped(path, dicom)
    columns, classes = folder.columns_of(folder.column([*places, *series]))
    if len(classes) * 2 > len(rows) + len(series):  # folders of single samples are those of patients
        columns.pop("label", None)
        classes = []
    missing = f" ({len(closed)} of its folders cannot be listed, the first is {closed[0]})" if closed else ""
    files = folder.Files(path, folder.column([*rows, *series]), f"folder {text(str(path))}{missing}")
    return Volumes(files, dict(enumerate(series.values(), len(rows))), masks), columns, classes
