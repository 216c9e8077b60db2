"""ImagiNet: 200,000 pictures, real ones and synthetic ones of the same kind, to learn to tell them apart and to name the generator.

Boychev, Cholakov, "ImagiNet: A Multi-Content Dataset for Generalizable Synthetic Image Detection via Contrastive Learning", arXiv:2407.20020.

Departs from the paper in nothing known of the data; it reads what is published and fetches nothing. The pictures are at
https://huggingface.co/datasets/delyanboychev/imaginet (imaginet.7z.001 ..., to be unpacked with `7z x imaginet.7z.001`), the annotations in the folder
`annotations` of https://github.com/delyan-boychev/imaginet, to be put beside the pictures' folders. A line is a picture's path and four numbers: origin,
content, family of the generator, generator. `open_data("imaginet:FOLDER")`, or the folder itself, takes train_annotations.txt and test_annotations.txt;
one of the lists by name takes only that (test_all.txt: the compressed and resized test set); `imaginet:FOLDER?track=generator` is the second track.
Families and generators of real pictures are -1 here, where the published numbers give them classes of their own, 4 and 8: nothing made them. The paper's
baseline is the method selfcon with second="family".
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from manyviews.data.folder import PATHS, Files
from manyviews.data.labels import split_column, text
from manyviews.data.locating import one_of
from manyviews.errors import InputError

ORIGINS = ("real", "synthetic")
CONTENTS = ("photos", "paintings", "faces", "uncategorized")
FAMILIES = ("GAN", "Stable Diffusion", "Midjourney", "DALL-E 3")
GENERATORS = ("ProGAN", "StyleGAN-XL", "StyleGAN3", "Stable Diffusion 2.1", "Stable Diffusion XL 1.0", "Animagine XL", "Midjourney", "DALL-E 3")
TRACKS = {"origin": ORIGINS, "generator": GENERATORS}
CHOICES = {"track": one_of(*TRACKS)}
LARGEST = {"origin": 1, "content": 3, "family": 4, "generator": 8}
SPLITS = {"train_annotations.txt": "train", "test_annotations.txt": "test"}


def recognised(path: Path) -> bool:
    """Whether a folder holds ImagiNet."""
    return any(lists(path))


def imaginet(path: Path, track: str = "origin") -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The pictures of a folder or of one list, with the columns label, origin, content, family and generator, and split where there are both parts.

    track: what the label is: "origin", real or synthetic, or "generator", of which real pictures have none (-1). Raises InputError.
    """
    if track not in TRACKS:
        raise InputError(f"imaginet: track {track!r}; there are {', '.join(TRACKS)}")
    found = [path] if path.is_file() else lists(path)
    if not found:
        raise InputError(f"imaginet:{text(str(path))}: none of {', '.join(SPLITS)} in it, nor in a folder `annotations` of it")
    tables = [(name, read(name)) for name in found]
    paths = pa.concat_arrays([table["path"].combine_chunks() for _, table in tables])
    numbers = {name: np.concatenate([table[name].to_numpy() for _, table in tables]).astype(np.int64) for name in ("origin", "content", "family", "generator")}
    wrong = [f"{name} {int(v.max())}" for name, v in numbers.items() if len(v) and not 0 <= v.min() <= v.max() <= LARGEST[name]]
    if wrong:
        raise InputError(f"{text(str(path))}: numbers that ImagiNet does not have: {', '.join(wrong)}; the largest are {LARGEST}")
    for name, known in (("family", FAMILIES), ("generator", GENERATORS)):
        numbers[name] = np.where(numbers[name] < len(known), numbers[name], -1)
    columns = {"label": numbers[track], **numbers}
    columns |= split_column([SPLITS.get(name.name, "") for name, table in tables for _ in range(len(table))]) if len(tables) > 1 else {}
    return Files(root(path, paths), paths, f"ImagiNet in {text(str(path))}"), columns, list(TRACKS[track])


def lists(path: Path) -> list[Path]:
    """The two lists of a folder, or those of them that are there."""
    for place in (path, path / "annotations"):
        found = [place / name for name in SPLITS if (place / name).is_file()]
        if found:
            return found
    return []


def read(path: Path) -> pa.Table:
    """The columns of one list. Raises InputError."""
    names = ["path", "origin", "content", "family", "generator"]
    types = {"path": PATHS, **{name: pa.int16() for name in names[1:]}}
    try:
        table = pyarrow.csv.read_csv(
            path, read_options=pyarrow.csv.ReadOptions(column_names=names), convert_options=pyarrow.csv.ConvertOptions(column_types=types)
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{text(str(path))} is no list of ImagiNet, with a path and four numbers a line: {error}") from None
    if not len(table):
        raise InputError(f"{text(str(path))} lists no pictures")
    return table


def root(path: Path, paths: pa.Array) -> Path:
    """The folder that the lists' paths start from: a folder given, else the nearest one around the list in which the first picture is."""
    if path.is_dir():
        return path.absolute()
    first = os.fsdecode(paths[0].as_py())
    around = [path.absolute().parent, path.absolute().parent.parent]
    return next((place for place in around if (place / first).is_file()), around[0])
