"""Volumes: scans and other grids of voxels, as float32 (depth, height, width, channels) in [0, 1].

Read are NIfTI, NRRD, MetaImage (.mha, .mhd), arrays (.npy: depth, height, width[, channels]) and folders of DICOM slices, one volume a series.

Axes: width runs to the patient's right, height to the front, depth to the head (RAS+), as far as turning and mirroring by whole axes go; oblique scans
keep their own grid, sheared ones are refused. Voxels are cubes, as fine as the file's finest axis: coarser axes are interpolated linearly. Where less is
asked for, the cubes' side is a whole multiple of that, and they are means over what they cover. Voxels of a given size can be asked for instead.

Numbers: what the file stands for (slope and intercept applied: Hounsfield units in CT), and of that a window as [0, 1]. It is WINDOW for CT, else the
PERCENTILES of the volume's own numbers, a channel at a time. A scan is CT if its file or dataset.json says so, or, where neither says anything, if its
low numbers are those of air. So the window of a sample does not depend on the others, and is the same in training, testing and use; where scans of one
set differ in whether they show air, give `open_volumes` a window. NaN and infinity count as 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16

from manyviews.data import arrays, flat_volumes
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.dicom import SLICES, from_dicom, is_dicom
from manyviews.data.label_layouts import described
from manyviews.data.labels import text
from manyviews.data.locating import chosen, numbers, whether
from manyviews.data.regions import Regions
from manyviews.data.volume_files import MANY, READERS, SUFFIXES, from_numpy
from manyviews.data.volume_files import number_type as number_type
from manyviews.data.volume_layouts import LabelMaps, Scan, Volumes, listed
from manyviews.data.voxels import Grid, Sampling
from manyviews.errors import InputError

WINDOW = (-1000.0, 1000.0)  # Hounsfield units: air to dense bone
AIR = (-3100.0, -500.0)  # where the lower percentile of a CT lies, which is air or the padding around the round field of view
PERCENTILES = (0.5, 99.5)
LOOKED = 16  # headers that are read to find out what the others are like


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float32[np.ndarray, "depth height width channels"]:
    """A volume in [0, 1]. Raises Unreadable. Read plane by plane: the memory needed is that of the result and of one plane.

    raw: a Scan, a path, or an array (depth, height, width[, channels]) of voxels of 1 mm. pixels: how many the shorter side needs at least, 0: all there
    are; where the scan asks for a spacing, that counts alone. channels: one is repeated, several are averaged to one, 0: as they are.
    """
    scan = raw if isinstance(raw, Scan) else Scan(() if isinstance(raw, np.ndarray) else (Path(raw),))
    with reading() as stack:
        grid = opened(raw if isinstance(raw, np.ndarray) else scan, stack)
        count = volumes_of(grid, scan.fourth)
        sampling = Sampling(grid, scan.spacing, pixels)
        sampling.check(count * grid.channels)
        parts = [sampling.volume(grid) for _ in range(count)]
        out = np.concatenate([windowed(x, numbers, scan, grid.modality or scan.modality) for x, numbers in parts], 3)
    have = out.shape[3]
    if channels in (0, have):
        return out
    if 1 not in (have, channels):
        raise Unreadable(f"{have} channels where {channels} are expected")
    return np.repeat(out, channels, 3) if have == 1 else out.mean(3, keepdims=True)


def decode_labels(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Int16[np.ndarray, "depth height width 1"]:
    """A label map on the very grid that `decode` brings its image to, each voxel with the label that has most of it. Raises Unreadable."""
    scan = raw if isinstance(raw, Scan) else Scan((Path(raw),))
    with reading() as stack:
        grid = opened(scan, stack)
        image = opened(scan.image, stack) if scan.image else grid
        if grid.shape != image.shape or grid.channels * volumes_of(grid, "") > 1:
            raise Unreadable(f"a label map of {grid.shape}, {grid.channels} channels, for an image of {image.shape} voxels")
        if np.abs(grid.affine - image.affine).max() > 0.01 * np.abs(image.affine).max():
            raise Unreadable("the label map's axes are not those of its image")
        sampling = Sampling(image, scan.spacing, pixels)
        planes = (whole_numbers(next(grid.planes)) for _ in range(grid.shape[2]))
        same = all(w is None for w in sampling.weights)
        return sampling.upright(np.stack([*planes]) if same else majority(planes, sampling))


def whole_numbers(plane: np.ndarray) -> Int16[np.ndarray, "..."]:
    labels = plane.astype(np.int16)
    if (labels != plane).any():
        raise Unreadable(f"a label map with the number {plane[labels != plane][0]}; labels are whole numbers up to 32767")
    return labels


def majority(planes: Iterator[np.ndarray], sampling: Sampling) -> Int16[np.ndarray, "k j i 1"]:
    """Of each new voxel the label that has most of it, of several the lowest."""
    shares: dict[int, np.ndarray] = {}
    for k, plane in enumerate(planes):
        for label in np.unique(plane).tolist():
            if label not in shares:
                sampling.check(len(shares) + 1)
                shares[label] = sampling.empty(1)
            sampling.add(shares[label], k, (plane == label).astype(np.float32))
    best, out = sampling.empty(1), sampling.empty(1).astype(np.int16)
    for label in sorted(shares):
        more = shares[label] > best + 1e-6
        best[more], out[more] = shares[label][more], label
    return out


@contextlib.contextmanager
def reading() -> Iterator[contextlib.ExitStack]:
    """A stack for open files; whatever goes wrong is Unreadable with its reason, but for a library that is missing."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack
        except (InputError, Unreadable):
            raise
        except EOFError:
            raise Unreadable("truncated: the compressed data end too early") from None
        except OSError as error:
            raise Unreadable(f"{error.strerror or error}") from None
        except Exception as error:  # the readers of the formats raise nearly every kind on damaged files
            raise Unreadable(f"{type(error).__name__}: {error}") from None


def volumes_of(grid: Grid, fourth: str) -> int:
    """How many volumes of a file are read."""
    if grid.volumes > 1 and fourth not in ("first", "channels"):
        raise Unreadable(
            f"{grid.volumes} volumes where one is meant; open_volumes(path, fourth='first') takes the first of each file, 'channels' all as channels"
        )
    return grid.volumes if fourth == "channels" else 1


def windowed(x: np.ndarray, numbers: np.ndarray, scan: Scan, modality: str) -> np.ndarray:
    """x (depth, height, width, channels) with the window that its `numbers` (count, channels) ask for as [0, 1]; in place."""
    for c in range(x.shape[3]):
        low, high = scan.window or np.percentile(numbers[:, c], PERCENTILES).tolist()
        if not scan.window and (modality == "CT" or (not modality and AIR[0] <= low <= AIR[1])):
            low, high = WINDOW
        if not low < high:
            low, high = float(numbers[:, c].min()), float(numbers[:, c].max())
        x[..., c] = (x[..., c] - low) / (high - low) if low < high else 0
    return np.clip(x, 0, 1, out=x)


def opened(raw: Scan | np.ndarray, stack: contextlib.ExitStack) -> Grid:
    """The header of a scan, with its planes to be read while `stack` is open. Raises Unreadable."""
    if isinstance(raw, np.ndarray):
        grid = from_numpy(raw)
    else:
        path = raw.files[0]
        reader = next((read for ending, read in READERS.items() if path.name.lower().endswith(ending)), None)
        grid = reader(path, stack) if reader else from_dicom(raw.files)
    if len(grid.shape) != 3 or min(grid.shape) < 2:
        raise Unreadable(f"{' x '.join(map(str, grid.shape))} voxels are a picture, not a volume")
    return grid


def open_volumes(path: Path, spacing: float | Sequence[float] = (), window: Sequence[float] = (), fourth: str = "") -> Data:
    """The volumes of a folder at any depth (files, DICOM series), of a list (.txt, .csv, .tsv) or in one file. Raises InputError.

    spacing: millimetres of a voxel, one number or those along depth, height and width; (): cubes as fine as each file's finest axis. window: the numbers
    that become 0 and 1; (): decided by each sample. fourth: what several volumes in one file are: "channels", "first" (of a series that one is taken), "":
    if most files have several, they are channels where dataset.json names as many or no file says they are in time, else the first is taken.

    Label maps that lie beside the volumes (imagesTr and labelsTr, scan.nii.gz and scan_seg.nii.gz) are read by `masks`. A path may say all of this, as in
    SCANS?spacing=1.5&window=-100,300&fourth=first; FOLDER?pictures=yes reads the pictures of a folder too, as volumes of depth 1
    (`manyviews.data.flat_volumes`).
    """
    path, given = chosen(path, {"spacing": numbers, "window": numbers, "fourth": str, "pictures": whether})
    spacing, window, fourth = given.get("spacing", spacing), given.get("window", window), given.get("fourth", fourth)
    spacing = spacing[0] if isinstance(spacing, tuple) and len(spacing) == 1 else spacing
    if given.get("pictures"):
        return flat_volumes.with_pictures(open_volumes(path, spacing, window, fourth), path)
    if fourth not in ("", "first", "channels"):
        raise InputError(f"fourth={fourth!r}: expected 'first', 'channels', or nothing")
    spacing = (float(spacing),) * 3 if isinstance(spacing, int | float) else tuple(map(float, spacing))
    if len(window) not in (0, 2) or (len(window) == 2 and not window[0] < window[1]):
        raise InputError(f"window={tuple(window)}: expected the number that becomes 0 and, above it, the one that becomes 1")
    if spacing and (len(spacing) != 3 or min(spacing) <= 0):
        raise InputError(f"spacing={spacing}: expected millimetres above 0, one number or three")
    if path.suffix.lower() == ".npz":
        return from_store(*arrays.from_file(path))
    if path.suffix.lower() == ".npy" and (many := of_many(path)) is not None:
        return from_store(arrays.Array(many, f"array {text(str(path))}"), {}, [])
    store, columns, classes = listed(path)
    if not len(store):
        raise InputError(f"{store.describe()} has no volumes; looked for, at any depth: {' '.join(SUFFIXES)} and DICOM")
    names, _ = described(path)
    ct = [name.upper() == "CT" for name in names]
    store.options = {"spacing": spacing, "window": tuple(map(float, window)), "modality": "CT" if ct and all(ct) else "" if any(ct) or not ct else "not CT"}
    channels, store.options["fourth"], said = looked_at(store, len(names), fourth)
    if store.masks:
        said = ", ".join([*[said] * bool(said), f"{len(store.masks):,} with label maps"])
    return Data(store, decode, "volumes", columns, classes, channels=channels, bits=0, said=said)


def masks(data: Data) -> Data:
    """The label maps of the rows of `data`, as int16 on the grids of the volumes; its classes are the labels' names, where dataset.json says them."""
    store = data.store
    if not isinstance(store, Volumes) or not store.masks:
        raise InputError(
            f"{store.describe()} has no label maps; they lie in labelsTr beside imagesTr, in labels beside images, or as scan_seg.nii.gz beside it"
        )
    maps = LabelMaps(store.files, store.series, store.masks, **store.options)
    _, classes = described(store.files.root)
    return dataclasses.replace(data, store=maps, decode=decode_labels, columns={}, classes=classes, channels=1, said="", bad={}, seen=None, kept=None)


def regions(data: Data) -> Regions | None:
    """The label maps that lie beside volumes, at the centres of voxels as (x, y, z), the corner of the volume at 0; None where there are none."""
    if not isinstance(data.store, Volumes) or not data.store.masks:
        return None
    maps = masks(data)

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        labels = maps[i][..., 0]
        z, y, x = np.indices(labels.shape, dtype=np.float32) + 0.5
        return np.stack([x, y, z], -1).reshape(-1, 3), labels.reshape(-1).astype(np.int64)

    return Regions(read, "dice", maps.classes, background=0)


def from_array(source: np.ndarray) -> Data:
    """An array (count, depth, height, width[, channels]) of volumes. Raises InputError."""
    if source.ndim not in (4, 5) or 0 in source.shape or source.dtype.kind not in "biuf":
        raise InputError(f"an array of shape {source.shape} and type {source.dtype}; volumes are numbers (count, depth, height, width[, channels])")
    return from_store(arrays.Array(source, "an array"), {}, [])


def from_store(store: arrays.Array, columns: dict[str, np.ndarray], classes: Sequence[str]) -> Data:
    if store.samples.ndim not in (4, 5):
        raise InputError(f"{store.describe()} has the shape {store.samples.shape}; volumes are (count, depth, height, width[, channels])")
    return Data(store, decode, "volumes", columns, classes, channels=store.samples.shape[4] if store.samples.ndim == 5 else 1, bits=0)


def of_many(path: Path) -> np.ndarray | None:
    """The array of a .npy file, left on disk, if its first axis counts volumes. Raises InputError."""
    try:
        a = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from None
    return a if a.ndim == 5 or (a.ndim == 4 and a.shape[3] > MANY) else None


def looked_at(store: Volumes, kinds: int, fourth: str) -> tuple[int, str, str]:
    """The channels and the `fourth` of a set, by some headers, and what of that must be said. kinds: channels that dataset.json names, 0: none."""
    grids, failures = [], []
    for row in np.linspace(0, len(store) - 1, min(len(store), LOOKED)).astype(int).tolist():
        try:
            with reading() as stack:
                grids.append(opened(store.raw(row), stack))
        except Unreadable as reason:
            failures.append(f"  {store.name(row)}: {reason}")
    if not grids:
        raise InputError(f"none of the first volumes looked at in {store.describe()} can be read:\n" + "\n".join(failures[:5]))
    several, said = Counter(grid.volumes for grid in grids if grid.volumes > 1), ""
    if 2 * several.total() > len(grids):
        count = several.most_common(1)[0][0]
        alike = len(several) == 1 and count <= MANY and not any(grid.timed for grid in grids)
        fourth = fourth or ("channels" if count == kinds or alike else "first")
        said = f"the {count} volumes of a file as channels" if fourth == "channels" else f"the first of the {count} volumes of a file"
    channels = Counter(grid.channels * (grid.volumes if fourth == "channels" else 1) for grid in grids)
    return channels.most_common(1)[0][0], fourth, said


def looks_like_volumes(path: Path) -> bool:
    """Whether a file, or one of those first found in a folder, is of a kind that is nothing but volumes."""
    endings = tuple(s for s in (*SUFFIXES, *SLICES) if s != ".npy")
    if not path.is_dir():
        return path.name.lower().endswith(endings)
    for here, _, names in itertools.islice(os.walk(path), 50):
        if any(name.lower().endswith(endings) for name in names) or any(is_dicom(os.path.join(here, name)) for name in names[:4]):
            return True
    return False


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Voxels a side of a view: the median shorter side of some volumes, in steps of 4, at most 32, or 96 with a GPU."""
    import torch

    sides = [min(side for side in a.shape[:3] if side > 1) for a in samples if max(a.shape[:3]) > 1]  # pictures have a depth of 1
    most = 96 if torch.cuda.is_available() else 32
    return int(np.clip((np.median(sides) if sides else most) // 4 * 4, 8, most))
