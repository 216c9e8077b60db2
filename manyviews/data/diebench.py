"""3DIEBench: pictures of objects with the rotation, floor and light they were rendered with; read as published, and written from our own renders.

Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023, arXiv:2302.10283.
Departs from the paper in nothing known of the data; it fetches nothing. Unpack https://dl.fbaipublicfiles.com/SIE/3DIEBench.tar.gz (17 GB) and put the lists
train_images.npy and val_images.npy of https://github.com/facebookresearch/SIE/tree/main/data into the folder, for the published split; without them the
split is ours, by object. SYNSET/OBJECT/image_K.jpg is a picture and latent_K.npy says three angles (radians, about x, then y, then z, fixed axes, z up),
the floor's hue, the light's two angles and its hue. Here y is up: `rotation` is the same turn as everywhere in manyviews, and the other columns are
those of `manyviews.data.renders`: object, view, light, light_hue, floor_hue, label (the synset). Reading 2.6 million small files takes a while the first
time; what they say is kept in the cache.

    open_data("3diebench:FOLDER"), or the folder itself
    write(renders("MESHES", look="3diebench", poses="half_turns", views=50), "FOLDER")
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from manyviews.data.derive import cached
from manyviews.data.folder import Files, column
from manyviews.data.labels import text
from manyviews.data.poses import about
from manyviews.errors import InputError

if TYPE_CHECKING:
    from manyviews.data.dataset import Data

LISTS = {"train_images.npy": "train", "val_images.npy": "test"}
TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up, y away from the viewer, to y up
NUMBERS = 7  # of a latent file that are used


def recognised(path: Path) -> bool:
    """Whether a folder holds 3DIEBench: some object of some class has a picture and what it was made from."""
    try:
        return next(objects_in(path, 3, 100), None) is not None
    except OSError:  # links that lead nowhere, folders that may not be read: for those who read them to say
        return False


def diebench(path: Path) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The pictures of a folder with their columns. Raises InputError with every object whose files do not fit together."""
    split = {os.fsdecode(name): part for file, part in LISTS.items() if (path / file).is_file() for name in listed(path / file)}
    names = sorted(split) if split else sorted(objects_in(path))
    missing = [name for name in names if not (path / name).is_dir()]
    if missing or not names:
        what = (
            f"{len(missing):,} of {len(names):,} objects of the lists are not there, such as {missing[0]}" if missing else "no SYNSET/OBJECT/latent_K.npy in it"
        )
        raise InputError(f"3diebench:{text(str(path))}: {what}")
    views = [views_of(path / name) for name in names]
    key = hashlib.sha256("\n".join(f"{name} {number}" for name, number in zip(names, views, strict=True)).encode()).hexdigest()
    latents = cached(f"3diebench/1/{path.absolute()}/{key}", lambda: {"latents": read(path, names, views)})["latents"]
    counts = [len(number) for number in views]
    synsets = sorted({name.partition("/")[0] for name in names})
    label = np.repeat([synsets.index(name.partition("/")[0]) for name in names], counts)
    columns = {"object": np.repeat(np.arange(len(names)), counts), "view": np.concatenate(views), **scenes(latents), "label": label}
    if split:
        columns["split"] = np.repeat(np.array([split[name] for name in names], dtype=object), counts)
    paths = column(f"{name}/image_{k}.jpg".encode() for name, number in zip(names, views, strict=True) for k in number)
    return Files(path.absolute(), paths, f"3DIEBench in {text(str(path))}"), columns, synsets


def objects_in(path: Path, synsets: int | None = None, each: int | None = None) -> Iterator[str]:
    """SYNSET/OBJECT of every object that has a latent file; looked for in so many folders, and in each among so many entries."""
    if not path.is_dir():
        return
    for synset in itertools.islice((entry.name for entry in os.scandir(path) if entry.is_dir()), synsets):
        for entry in itertools.islice(os.scandir(path / synset), each):
            if entry.is_dir() and os.path.isfile(os.path.join(entry.path, "latent_0.npy")):
                yield f"{synset}/{entry.name}"


def views_of(folder: Path) -> list[int]:
    """Numbers of the views that have both files."""
    there = {entry.name for entry in os.scandir(folder)}
    numbers = [name.removeprefix("latent_").removesuffix(".npy") for name in there if name.startswith("latent_") and name.endswith(".npy")]
    return sorted(int(number) for number in numbers if number.isdigit() and f"image_{number}.jpg" in there)


def listed(file: Path) -> list[bytes]:
    """Objects of a published list, which begin with a slash. Raises InputError."""
    try:
        names = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{text(str(file))} is no list of names: {error}") from None
    return [os.fsencode(str(name).strip("/")) for name in names]


def read(path: Path, names: list[str], views: list[list[int]]) -> Float[np.ndarray, "rows numbers"]:
    """All latent files, by many threads. Raises InputError with those that cannot be read."""

    def of_object(name: str, numbers: list[int]) -> list[np.ndarray | str]:
        found: list[np.ndarray | str] = []
        for k in numbers:
            try:
                latent = np.load(path / name / f"latent_{k}.npy", allow_pickle=False)
                found.append(latent[:NUMBERS].astype(np.float64) if latent.ndim == 1 and len(latent) >= NUMBERS else f"{latent.shape} numbers")
            except (OSError, ValueError, EOFError) as error:
                found.append(str(error))
        return found

    with ThreadPoolExecutor(16) as pool:
        rows = [row for part in pool.map(of_object, names, views) for row in part]
    places = [f"{name}/latent_{k}.npy" for name, numbers in zip(names, views, strict=True) for k in numbers]
    bad = [f"{place}: {row}" for place, row in zip(places, rows, strict=True) if isinstance(row, str) or not np.isfinite(row).all()]
    if bad:
        raise InputError(f"3diebench:{text(str(path))}: {len(bad):,} of {len(rows):,} latent files cannot be used: {'; '.join(bad[:3])}")
    return np.stack(rows)  # type: ignore[arg-type]


# --- their numbers and ours -------------------------------------------------------------------------------------------------------------------


def scenes(latents: Float[np.ndarray, "rows 7"]) -> dict[str, np.ndarray]:
    """The columns that latent files say."""
    x, y, z, floor, theta, phi, hue = latents.T
    turn = about(2, z) @ about(1, y) @ about(0, x)
    light = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1) @ TO_Y_UP.T
    named = {"rotation": TO_Y_UP @ turn @ TO_Y_UP.T, "light": light, "light_hue": hue, "floor_hue": floor}
    return {name: values.astype(np.float32) for name, values in named.items()}


def latents_of(columns: dict[str, np.ndarray]) -> Float[np.ndarray, "rows 7"]:
    """What latent files say of such columns."""
    turn = TO_Y_UP.T @ columns["rotation"].astype(np.float64) @ TO_Y_UP
    light = columns["light"].astype(np.float64) @ TO_Y_UP
    angles = np.arctan2(turn[:, 2, 1], turn[:, 2, 2]), np.arcsin(np.clip(-turn[:, 2, 0], -1, 1)), np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    theta, phi = np.arccos(np.clip(light[:, 2], -1, 1)), np.arctan2(light[:, 1], light[:, 0]) % (2 * np.pi)
    return np.stack([*angles, columns["floor_hue"], theta, phi, columns["light_hue"]], 1)


def write(data: Data, folder: Path | str, quality: int = 95) -> None:
    """Rendered pictures as JPEG files in 3DIEBench's layout, with its lists where the data has a split. Raises InputError, also where `folder` has files.

    An object's synset is its class's name, "object" where there are none.
    """
    import simplejpeg

    missing = [name for name in ("object", "view", "rotation", "light", "light_hue", "floor_hue") if name not in data.columns]
    folder = Path(folder)
    problems = [f"{data.describe()} has no column {', '.join(missing)}: render it with look=3diebench"] if missing else []
    problems += [f"{folder} is there already, and has files"] if folder.is_dir() and any(folder.iterdir()) else []
    if problems:
        raise InputError(*problems)
    latents, names = latents_of(dict(data.columns)), {}
    for i in range(len(data)):
        number = int(data.columns["object"][i])
        label = int(data.labels[i]) if data.labels is not None else -1
        place = f"{data.classes[label].replace('/', '_') if label >= 0 else 'object'}/{number}"
        names[place] = data.columns["split"][i] if "split" in data.columns else ""
        (folder / place).mkdir(parents=True, exist_ok=True)
        picture = np.ascontiguousarray(data[i])
        gray = picture.shape[-1] == 1
        (folder / place / f"image_{data.columns['view'][i]}.jpg").write_bytes(simplejpeg.encode_jpeg(picture, quality, "GRAY" if gray else "RGB"))
        np.save(folder / place / f"latent_{data.columns['view'][i]}.npy", latents[i])
    for file, part in LISTS.items():
        of_part = [f"/{place}" for place, own in names.items() if own == part]
        if of_part:
            np.save(folder / file, np.array(of_part))
