"""How folders of volumes are laid out: label maps beside scans, splits, classes, dataset.json."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import folder, lists
from manyviews.data.dataset import Unreadable
from manyviews.data.dicom import SLICES, grouped, is_dicom
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


FOLDER = re.compile(r"(images?|imgs?|labels?|masks?|segmentations?|annotations?)(tr|ts|val|train|test)?", re.IGNORECASE)
ENDING = re.compile(r"[_-](labels?|seg|segmentation|mask|gt)$", re.IGNORECASE)
PARTS = {"tr": "train", "ts": "test"}


def described(path: Path) -> tuple[list[str], list[str]]:
    """What dataset.json of the Medical Segmentation Decathlon or nnU-Net says: the kind of scan in each channel, and the names of the labels 0, 1 ..."""
    root = path if path.is_dir() else path.absolute().parent
    try:
        told = json.loads(((root.parent if FOLDER.fullmatch(root.name) else root) / "dataset.json").read_text(encoding="utf-8"))
        kinds, labels = told.get("modality") or told.get("channel_names") or {}, told.get("labels") or {}
        numbers = {int(k): str(name) for k, name in (labels.items() if all(str(k).isdigit() for k in labels) else ((n, k) for k, n in labels.items()))}
        return [str(kind) for kind in kinds.values()], [numbers.get(i, str(i)) for i in range(max(numbers, default=-1) + 1)]
    except (OSError, ValueError, TypeError, AttributeError):  # none, or another kind of dataset.json
        return [], []


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
    rows, masks, places = paired([name for name in found if not name.lower().endswith(slices)])
    series = grouped(path, dicom)
    columns, classes = folder.columns_of(folder.column([*places, *series]))
    if len(classes) * 2 > len(rows) + len(series):  # folders of single samples are those of patients
        columns.pop("label", None)
        classes = []
    missing = f" ({len(closed)} of its folders cannot be listed, the first is {closed[0]})" if closed else ""
    files = folder.Files(path, folder.column([*rows, *series]), f"folder {text(str(path))}{missing}")
    return Volumes(files, dict(enumerate(series.values(), len(rows))), masks), columns, classes


def paired(paths: list[bytes]) -> tuple[list[bytes], dict[int, bytes], list[bytes]]:
    """The volumes among files, the label maps of some of them (row -> path), and the volumes' paths as if split and class folders alone were there."""
    volumes, maps = [], {}
    for path in paths:
        *folders, name = os.fsdecode(path).split("/")
        stem = name[: -len(next(s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)))]
        parts = [FOLDER.fullmatch(f) for f in folders]
        place = [(PARTS.get((m[2] or "").lower(), m[2] or "") if m else f) for f, m in zip(folders, parts, strict=True)]
        key = ("/".join(filter(None, place)), ENDING.sub("", stem))
        if ENDING.search(stem) or any(m and not m[1].lower().startswith("im") for m in parts):
            maps[key] = path
        else:
            volumes.append((path, key, os.fsencode("/".join([*filter(None, place), name]))))
    found = [maps.get(key) or maps.get((key[0], key[1].rpartition("_")[0])) for _, key, _ in volumes]  # of one of its channels: scan_0000, scan_t1
    if not any(found):  # names that only look like it
        return paths, {}, paths
    return [path for path, *_ in volumes], {i: m for i, m in enumerate(found) if m}, [place for *_, place in volumes]
