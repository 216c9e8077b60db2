"""NIfTI, NRRD, MetaImage and NumPy files as grids of voxels that are read plane by plane."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data.dataset import Unreadable
from manyviews.data.voxels import SHEAR, Grid, shear
from manyviews.errors import InputError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".npy")
MANY = 16  # channels that an array or a file may have; more are volumes of their own, or a series in time


def library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"reading these volumes needs {name}: pip install 'manyviews[volumes]'") from None


def bytes_of(path: Path, stack: contextlib.ExitStack) -> Any:
    return stack.enter_context(io.BufferedReader(io.FileIO(path)))


def from_numpy(a: np.ndarray) -> Grid:
    """(depth, height, width[, channels]), upright voxels of 1 mm."""
    if a.ndim not in (3, 4) or 0 in a.shape or a.dtype.kind not in "biuf":
        raise Unreadable(f"an array of shape {a.shape} and type {a.dtype} is not a volume (depth, height, width[, channels])")
    if a.ndim == 4 and a.shape[3] > MANY:
        raise Unreadable(f"an array of shape {a.shape} has {a.shape[3]} channels; a series of volumes is an array for each, or (count, ..., 1)")
    planes = (numeric(np.asarray(plane)).reshape(*a.shape[1:3], -1) for plane in a)
    return Grid(a.shape[2::-1], np.eye(3), planes, a.shape[3] if a.ndim == 4 else 1)


def from_npy(path: Path, stack: contextlib.ExitStack) -> Grid:
    return from_numpy(np.load(path, mmap_mode="r", allow_pickle=False))


def numeric(plane: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """A new float32 array of what the stored numbers stand for."""
    if (slope, intercept) != (1, 0):
        plane = plane * slope + intercept
    numbers = plane.astype(np.float32)
    return np.nan_to_num(numbers, copy=False, nan=0, posinf=0, neginf=0) if plane.dtype.kind == "f" else numbers


def stream(file: Any, shape: Sequence[int], channels: int, volumes: int, dtype: np.dtype, slope: float = 1.0, intercept: float = 0.0) -> Iterator[np.ndarray]:
    """Planes from a file of numbers, fastest first: channels, i, j, k, volumes."""
    size = shape[0] * shape[1] * channels * dtype.itemsize
    for k in range(shape[2] * volumes):
        raw = file.read(size)
        if len(raw) < size:
            raise Unreadable(f"truncated: it ends in plane {k + 1} of {shape[2] * volumes}")
        while k == shape[2] * volumes - 1 and file.read(1 << 16):  # to the very end, where compressed files hold their checksum
            pass
        yield numeric(np.frombuffer(raw, dtype).reshape(shape[1], shape[0], channels), slope, intercept)


def from_nifti(path: Path, stack: contextlib.ExitStack) -> Grid:
    """NIfTI-1 or -2, compressed or not, whatever its name says."""
    nib = library("nibabel")
    file: Any = bytes_of(path, stack)
    if file.peek(2)[:2] == b"\x1f\x8b":
        file = stack.enter_context(gzip.GzipFile(fileobj=file))
    head = file.read(540).ljust(540, b"\0")
    size, order = next(((s, o) for s in (348, 540) for o in "<>" if head[:4] == struct.pack(o + "i", s)), (0, "<"))
    magic = head[344:346] if size == 348 else head[4:6]
    if not size or magic != b"n+":
        raise Unreadable("its voxels are in another file (.img); convert it to .nii" if size and magic == b"ni" else "not NIfTI, or its header is broken")
    header = (nib.Nifti1Header if size == 348 else nib.Nifti2Header)(head[:size], order, check=False)
    shape, dtype = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape) > 1 << 40 or dtype.kind == "c":
        raise Unreadable(f"a header of {' x '.join(map(str, shape))} voxels of type {dtype}; a volume has three axes and real numbers")
    affine = header.get_best_affine()[:3, :3]
    if shear(affine) > SHEAR and header["qform_code"] > 0:  # the scanner's own axes, where a registration has sheared the others
        affine = header.get_qform()[:3, :3]
    units = int(header["xyzt_units"])
    affine = affine * {1: 1000.0, 3: 0.001}.get(units & 7, 1.0)  # metres, micrometres
    file.seek(max(int(header.get_data_offset()), size))
    slope, intercept = header.get_slope_inter()
    number, channels = (dtype[0], len(dtype.names)) if dtype.names else (dtype, 1)  # several of a voxel are its colours
    volumes = math.prod(shape[3:])
    planes = stream(file, shape[:3], channels, volumes, number, 1.0 if slope is None else slope, intercept or 0.0)
    return Grid(shape[:3], affine, planes, channels, volumes, units & 0x38 in (8, 16, 24))


def number_type(name: str, little: bool) -> np.dtype:
    """The type that NRRD or MetaImage calls `name`: unsigned short, int16, MET_FLOAT ..."""
    name = name.lower().replace("_", " ").removeprefix("met ")
    if name in ("float", "double"):
        return np.dtype(("<" if little else ">") + ("f4" if name == "float" else "f8"))
    widths = {"char": 1, "8": 1, "16": 2, "short": 2, "64": 8, "long long": 8, "longlong": 8, "32": 4, "int": 4, "long": 4}
    width = next((n for word, n in widths.items() if word in name), 0)
    if not width:
        raise Unreadable(f"numbers of type {name} are not understood")
    return np.dtype(("<" if little else ">") + ("u" if name.startswith("u") else "i") + str(width))


def from_nrrd(path: Path, stack: contextlib.ExitStack) -> Grid:
    """NRRD with its voxels in the same file: raw, gzip or bzip2. An axis without a direction is of channels if first, of volumes if last."""
    file: Any = bytes_of(path, stack)
    header = library("nrrd").read_header(file)
    if "data file" in header or "datafile" in header:
        raise Unreadable("its voxels are in another file; convert it to one .nrrd")
    sizes = [int(n) for n in header["sizes"]]
    directions = np.asarray(header.get("space directions", np.diag(header.get("spacings", [1.0] * len(sizes))[-3:])), dtype=float)
    spatial = np.flatnonzero(np.isfinite(directions).all(1)) if len(directions) == len(sizes) else np.arange(len(sizes) - len(directions), len(sizes))
    if len(spatial) != 3 or directions.shape[1] != 3 or np.ptp(spatial) != 2:
        raise Unreadable(f"{' x '.join(map(str, sizes))} numbers, of which {len(spatial)} axes have directions; a volume has three")
    affine = directions[np.isfinite(directions).all(1)].T
    space = str(header.get("space", ""))
    space = {"LPS": "left-posterior-superior", "LAS": "left-anterior-superior"}.get(space.upper(), space).lower()
    affine = affine * np.array([[-1 if "left" in space else 1], [-1 if "posterior" in space else 1], [1]])
    encodings: dict[str, Callable[[Any], Any]] = {
        "raw": lambda f: f, "gzip": lambda f: gzip.GzipFile(fileobj=f), "gz": lambda f: gzip.GzipFile(fileobj=f), "bzip2": bz2.BZ2File, "bz2": bz2.BZ2File,
    }  # fmt: skip
    if header["encoding"].lower() not in encodings:
        raise Unreadable(f"the encoding {header['encoding']} is not read; write it as gzip")
    file = encodings[header["encoding"].lower()](file)
    shape = tuple(sizes[a] for a in spatial)
    channels, volumes = math.prod(sizes[: spatial[0]]), math.prod(sizes[spatial[2] + 1 :])
    planes = stream(file, shape, channels, volumes, number_type(header["type"], header.get("endian", "little") == "little"))
    return Grid(shape, affine, planes, channels, volumes, "time" in (header.get("kinds") or []))


def from_metaimage(path: Path, stack: contextlib.ExitStack) -> Grid:
    """MetaImage, with its voxels in the same file (.mha) or beside it (.mhd)."""
    file: Any = bytes_of(path, stack)
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        key, equals, value = file.readline(10_000).decode("latin-1").partition("=")
        if not equals:
            raise Unreadable("not MetaImage, or its header is broken")
        header[key.strip()] = value.strip()
    sizes = [int(n) for n in header["DimSize"].split()]
    if len(sizes) < 3:
        raise Unreadable(f"{' x '.join(map(str, sizes))} pixels are a picture, not a volume")
    spacing = np.array(header.get("ElementSpacing", header.get("ElementSize", "1 " * len(sizes))).split(), dtype=float)[:3]
    matrix = next((header[k] for k in ("TransformMatrix", "Rotation", "Orientation") if k in header), "")
    axes = np.array(matrix.split(), dtype=float).reshape(len(sizes), -1)[:3, :3] if matrix else np.eye(3)  # a row an axis
    if header["ElementDataFile"] != "LOCAL":
        file = bytes_of(path.parent / header["ElementDataFile"], stack)
    if header.get("CompressedData", "").lower() == "true":
        file = Inflated(file)
    big = any(header.get(k, "").lower() == "true" for k in ("ElementByteOrderMSB", "BinaryDataByteOrderMSB"))
    channels, volumes = int(header.get("ElementNumberOfChannels", 1)), math.prod(sizes[3:])
    planes = stream(file, sizes[:3], channels, volumes, number_type(header["ElementType"], not big))
    return Grid(tuple(sizes[:3]), axes.T * spacing * np.array([[-1], [-1], [1]]), planes, channels, volumes)


class Inflated:
    """A file compressed by zlib, to be read from its beginning to its end."""

    def __init__(self, file: Any):
        self.file, self.inflate = file, zlib.decompressobj(47)  # with zlib's header, or gzip's

    def read(self, size: int) -> bytes:
        parts = [b""]
        while size and not self.inflate.eof:
            packed = self.inflate.unconsumed_tail or self.file.read(1 << 18)
            parts.append(self.inflate.decompress(packed, size))
            size -= len(parts[-1])
            if not packed:
                break
        return b"".join(parts)


READERS: dict[str, Callable[[Path, contextlib.ExitStack], Grid]] = {
    ".nii": from_nifti, ".nii.gz": from_nifti, ".nrrd": from_nrrd, ".mha": from_metaimage, ".mhd": from_metaimage, ".npy": from_npy,
}  # fmt: skip
