"""DICOM: series among files, and the slices of one as a grid of voxels."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data.dataset import Unreadable
from manyviews.data.derive import cached
from manyviews.data.volume_files import library, numeric
from manyviews.data.voxels import Grid

SLICES = (".dcm", ".dicom", ".ima")  # of DICOM; where there are none, files are known by what they begin with
GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
TAGS = [*GEOMETRY, "SOPInstanceUID", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Modality"]


def from_dicom(paths: Sequence[Path]) -> Grid:
    """The slices of a series, in order along their normal. Raises Unreadable where they do not make up one regular grid."""
    pydicom = library("pydicom")
    heads = {}
    for path in paths:
        head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        heads[head.get("SOPInstanceUID", str(path))] = head  # a slice that is there twice counts once
    ordered, affine = stacked([*heads.values()])
    modality = str(ordered[0].get("Modality") or "")
    return Grid((int(ordered[0].Columns), int(ordered[0].Rows), len(ordered)), affine, slices(ordered), modality=modality)


def stacked(heads: list[Any]) -> tuple[list[Any], np.ndarray]:
    """The slices in order, and (3, 3) a step along columns, rows and slices in millimetres to the right, the front and the head."""
    if any(int(h.get("NumberOfFrames") or 1) > 1 for h in heads):
        raise Unreadable("several frames in one file (enhanced DICOM); convert it to NIfTI, for example with dcm2niix")
    for tag in GEOMETRY:
        without = [h for h in heads if h.get(tag) in (None, "")]
        if without:
            raise Unreadable(f"{len(without)} of {len(heads)} slices have no {tag}, the first is {Path(without[0].filename).name}")
    if any(int(h.get("SamplesPerPixel") or 1) > 1 or not str(h.get("PhotometricInterpretation", "MONO")).startswith("MONO") for h in heads):
        raise Unreadable("pictures in colour, not a scan")
    if len(heads) < 2:
        raise Unreadable("one slice is no volume; open the folder with all of them")
    sizes = Counter((int(h.Columns), int(h.Rows), *(round(float(s), 3) for s in h.PixelSpacing)) for h in heads)
    if len(sizes) > 1:
        kinds = ", ".join(f"{n} of {w} x {h} pixels of {b:g} x {a:g} mm" for (w, h, a, b), n in sizes.most_common(3))
        raise Unreadable(f"slices of {len(sizes)} sizes: {kinds}")
    turns = np.array([h.ImageOrientationPatient for h in heads], dtype=float)
    if np.abs(turns - turns[0]).max() > 0.005:
        raise Unreadable(f"slices of {len(np.unique(turns.round(2), axis=0))} orientations (a localizer?)")
    places = np.array([h.ImagePositionPatient for h in heads], dtype=float)
    order = np.argsort(places @ np.cross(turns[0, :3], turns[0, 3:]), kind="stable")
    step = evenly_spaced(places[order], np.cross(turns[0, :3], turns[0, 3:]))
    down, across = (float(s) for s in heads[0].PixelSpacing)
    affine = np.stack([turns[0, :3] * across, turns[0, 3:] * down, step], 1) * np.array([[-1], [-1], [1]])
    return [heads[i] for i in order], affine


def evenly_spaced(places: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(3,) from one slice to the next, of places (slices, 3) in order along the normal. Raises Unreadable where they are not in even steps."""
    count, along = len(places), places @ normal
    gaps = np.diff(along)
    gap = float(np.median(gaps))
    if gaps.min() < 0.01 * max(gap, 0.01):
        raise Unreadable(f"{int((gaps < 0.01 * max(gap, 0.01)).sum()) + 1} of {count} slices lie where others do: a series in time, or several contrasts")
    step = (places[-1] - places[0]) / (count - 1)
    if np.linalg.norm(places - places[0] - np.arange(count)[:, None] * step, axis=1).max() > 0.1 * gap:
        wide = np.flatnonzero(gaps > 1.5 * gap)
        if len(wide):
            missing = int((gaps[wide] / gap).round().sum()) - len(wide)
            raise Unreadable(
                f"about {missing} of {count + missing} slices are missing, the first of them after slice {wide[0] + 1}, at {along[wide[0]]:.1f} mm"
            )
        raise Unreadable(f"slices in uneven steps: {gaps.min():.3g} to {gaps.max():.3g} mm apart, or shifted sideways")
    return step


def slices(heads: Sequence[Any]) -> Iterator[np.ndarray]:
    """The numbers of slice after slice, each with its own slope and intercept; higher is brighter."""
    pydicom = library("pydicom")
    for head in heads:
        file = pydicom.dcmread(head.filename)
        try:
            plane = file.pixel_array
        except Exception as error:  # missing decoders and damaged data raise many kinds
            syntax = getattr(getattr(file, "file_meta", None), "TransferSyntaxUID", None)
            raise Unreadable(f"{Path(head.filename).name}, {getattr(syntax, 'name', 'no transfer syntax')}: {str(error).splitlines()[0]}") from None
        if file.PhotometricInterpretation == "MONOCHROME1":  # low is bright
            plane = (-1 if file.PixelRepresentation else 2 ** int(file.BitsStored) - 1) - plane.astype(np.int64)
        yield numeric(plane[:, :, None], float(file.get("RescaleSlope") or 1), float(file.get("RescaleIntercept") or 0))


def grouped(root: Path, paths: list[bytes]) -> dict[bytes, list[bytes]]:
    """The series among DICOM files: what each is called (its folder, or that and its number) -> its slices. What cannot be read is one of its own."""
    if not paths:
        return {}
    pydicom = library("pydicom")
    places = [os.fsdecode(os.path.join(os.fsencode(root.absolute()), path)) for path in paths]

    def number(place: str) -> str:
        try:
            return str(pydicom.dcmread(place, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
        except Exception:  # decode says why
            return ""

    def stamp(place: str) -> str:
        with contextlib.suppress(OSError):
            place += f" {os.stat(place).st_mtime_ns} {os.stat(place).st_size}"
        return place

    key = hashlib.sha256("\0".join(map(stamp, places)).encode("utf-8", "surrogateescape")).hexdigest()
    known = cached(f"dicom series/{key}", lambda: {"number": np.array([number(place) for place in places])})["number"]
    numbers = [uid or number(place) for uid, place in zip(known.tolist(), places, strict=True)]  # what failed may be there by now
    series: dict[tuple[bytes, str], list[bytes]] = {}
    for path, uid in zip(paths, numbers, strict=True):
        series.setdefault((os.path.dirname(path), uid) if uid else (path, ""), []).append(path)
    in_folder = Counter(place for place, _ in series)
    alone = {place for place, n in in_folder.items() if n == 1 and place}
    return {place if place in alone else os.path.join(place, os.fsencode(uid)): files for (place, uid), files in series.items()}


def is_dicom(path: str | bytes) -> bool:
    """By the mark after its preamble; a pipe is not waited for."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
