"""From what the user typed to a `Data`: the content is recognised, and can be forced."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import arrays, diebench, folder, images, imaginet, lists, pass_dataset, picture_maps, shards
from manyviews.data.dataset import Data, Store
from manyviews.data.kinds import MODALITIES
from manyviews.data.labels import text
from manyviews.data.locating import chosen, divided, located
from manyviews.errors import InputError

Found = tuple[Store, dict[str, np.ndarray], list[str]]
# Data sets in the layout that their authors publish: is it that, and its reader; NAME:FOLDER, or recognised.
PUBLISHED: dict[str, tuple[Callable[[Path], bool], Callable[..., Found]]] = {
    "pass": (pass_dataset.recognised, pass_dataset.pass_dataset),
    "imaginet": (imaginet.recognised, imaginet.imaginet),
    "3diebench": (diebench.recognised, diebench.diebench),
}
CHOICES = {"imaginet": imaginet.CHOICES}  # what NAME:FOLDER?KEY=VALUE may say


def open_data(source: Any, modality: str | None = None) -> Data:
    """A data set by path or name (see manyviews.data.kinds), from an array, a list of paths, or a Data. Raises InputError with what was looked for.

    A few samples are read, to find out the channels and bits that all are brought to. That some cannot be read is no error before the data is used,
    as only the user of the data knows how many may be (`Data.max_bad`).
    """
    if modality and modality not in (*MODALITIES, "renders"):
        near = difflib.get_close_matches(modality, [*MODALITIES, "renders"], 1, 0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--as {modality}: data of this kind cannot be read{hint} There is: {', '.join([*MODALITIES, 'renders'])}")
    if isinstance(source, Data):
        return source
    if isinstance(source, str | Path) and (modality == "renders" or str(source).startswith("renders:")):
        from manyviews.data import renders

        return renders.by_name(str(source).removeprefix("renders:"))
    if isinstance(source, str) and source.startswith(("graph:", "graphs:")) and modality in (None, "graphs"):
        return of_modality("graphs").by_name(source.partition(":")[2])
    if modality not in (None, "images"):
        return as_modality(source, str(modality))
    if isinstance(source, np.ndarray):
        return as_images(arrays.pictures(source, "an array"), {}, [])
    if not isinstance(source, str | Path):
        try:
            paths = folder.column(os.fsencode(os.path.abspath(path)) for path in source)
        except TypeError:
            kind = type(source).__name__
            raise InputError(
                f"data of type {kind} is not understood; give a path, a name, a list of paths, or one NumPy array (count, height, width, channels)"
            ) from None
        if not len(paths):
            raise InputError("an empty list of files")
        return as_images(folder.Files(Path("/"), paths, f"{len(paths):,} files"), {}, [])
    name = str(source)
    if name == "builtin":
        from manyviews.data.builtin import builtin

        return builtin()
    if name.startswith("builtin:"):
        return as_modality(name, name.removeprefix("builtin:"))
    if name == "fractals" or name.startswith("fractals:"):
        from manyviews.data import fractals

        return fractals.by_name(name.removeprefix("fractals").removeprefix(":"))
    if name.startswith("hf:"):
        from manyviews.data import huggingface

        return as_images(*huggingface.by_name(name.removeprefix("hf:")))
    if name.startswith("torchvision:"):
        from manyviews.data import torchvision_sets

        return as_images(*torchvision_sets.by_name(name.removeprefix("torchvision:")))
    published, colon, place = name.partition(":")
    if colon and published in PUBLISHED:
        return as_images(*of_publishers(published, place))
    place, mark, choices = divided(name)
    path = located(place)
    for other in MODALITIES[1:] if modality is None else ():
        if getattr(of_modality(other), f"looks_like_{other}")(path):
            return as_modality(f"{path}{mark}{choices}", other)
    said: dict[str, Any] = {}
    if choices:
        from manyviews.data import stills

        said = chosen(f"{path}{mark}{choices}", {**stills.CHOICES, **picture_maps.CHOICES})[1]
        every = stills.every_of(said)
        if every is not None:
            return stills.stills(of_modality("video").open_video(path), every)
    found = from_folder(path, said) if path.is_dir() else from_file(path)
    picture_maps.check(said, found[0])
    return as_images(*found)


def of_publishers(name: str, source: str) -> Found:
    """One of PUBLISHED, with what is said behind the question mark of its folder. Raises InputError."""
    if divided(source)[2] and name not in CHOICES:
        raise InputError(f"{name}:{text(source)}: nothing can be said behind a question mark here; {', '.join(CHOICES)} has choices")
    path, choices = chosen(source, CHOICES.get(name, {}))
    return PUBLISHED[name][1](located(str(path)), **choices)


def of_modality(modality: str) -> Any:
    """The file that reads a modality: `open_NAME(path)`, `looks_like_NAME(path)`, and where there are such, `from_array` and `PUBLISHED` sets."""
    return importlib.import_module(f"manyviews.data.{modality}")


def as_modality(source: Any, modality: str) -> Data:
    """What is not pictures: a path, a name, `builtin:MODALITY`, or an array. Raises InputError."""
    if modality not in MODALITIES[1:]:
        raise InputError(f"no built-in set of {modality!r}; there are builtin, {', '.join(f'builtin:{m}' for m in MODALITIES[1:])}")
    module = of_modality(modality)
    if isinstance(source, str | Path):
        if str(source) == f"builtin:{modality}":
            return getattr(importlib.import_module(f"manyviews.data.builtin_{modality}"), f"builtin_{modality}")()
        place, mark, choices = divided(str(source))
        return getattr(module, f"open_{modality}")(Path(f"{located(place)}{mark}{choices}"))
    if not hasattr(module, "from_array"):
        raise InputError(f"data of type {type(source).__name__} is not understood as {modality}; give a path")
    return module.from_array(source)


def as_images(store: Store, columns: dict[str, np.ndarray], classes: Sequence[str]) -> Data:
    """The pictures of a store, brought to the channels and bits that are usual among some of them. Raises InputError where none can be read."""
    if not len(store):
        raise InputError(f"{store.describe()} is empty")
    data = Data(store, images.decode, "images", columns, classes, channels=0, bits=0)
    some = data.reduced(64).look(32)
    if not some:
        raise InputError(f"none of the first samples looked at in {store.describe()} can be read:\n{data._failures()}")
    channels, bits = images.usual(some)
    return dataclasses.replace(data, channels=channels, bits=bits)


def from_folder(path: Path, maps: dict[str, Any]) -> Found:
    """A folder by what is in it: a Hugging Face data set, images, tar shards, Parquet files. maps: what was said of label maps. Raises InputError."""
    if (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and (path / "dataset_info.json").is_file()):
        from manyviews.data import huggingface

        return huggingface.on_disk(path)
    for recognised, opened in PUBLISHED.values():
        if recognised(path):
            return opened(path)
    found = folder.folder(path, images.SUFFIXES)
    if found is not None:
        return picture_maps.told_apart(found[0], maps) or found
    for ending, read in {".tar": from_shards, ".parquet": from_parquet}.items():
        files = [path / os.fsdecode(name) for part in folder.walk(path, (ending,)) for name in part.to_pylist()]
        if files:
            return read(files, f"{len(files):,} {ending.removeprefix('.')} file{'s' if len(files) > 1 else ''} in {text(str(path))}")
    endings = Counter(os.path.splitext(text(name))[1] or "no ending" for part in folder.walk(path, ("",)) for name in part.to_pylist()[:1000])
    has = ", ".join(f"{n} x {e}" for e, n in endings.most_common(4))
    way = "; name one of the array files" if endings.keys() & {".npy", ".npz"} else ""
    is_ = f"has no images ({has})" if has else "is an empty folder"
    raise InputError(f"{text(str(path))} {is_}{way}; looked for, at any depth: {' '.join(images.SUFFIXES[:6])} ... .tar .parquet")


def from_shards(paths: Sequence[Path], what: str) -> Found:
    return shards.shards(paths, images.SUFFIXES, what)


def from_parquet(paths: Sequence[Path], what: str) -> Found:
    from manyviews.data import parquet

    return parquet.parquet(paths, what)


def from_file(path: Path) -> Found:
    """A file by its ending. Raises InputError."""
    ending = path.suffix.lower()
    if "{" in path.name and not path.exists():
        paths = [Path(p) for p in shards.expand(str(path))]
        return from_shards(paths, f"{len(paths):,} tar files {text(str(path))}")
    if ending in (".npy", ".npz"):
        return arrays.from_file(path)
    if ending in (".txt", ".csv", ".tsv"):
        return lists.listed(path)
    if ending in (".tar", ".tgz") or path.name.lower().endswith((".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst")):
        return from_shards([path], f"tar file {text(str(path))}")
    if ending == ".parquet":
        return from_parquet([path], f"Parquet file {text(str(path))}")
    if ending in images.SUFFIXES:
        return folder.Files(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {text(str(path))}"), {}, []
    raise InputError(f"{text(str(path))} is of no kind that is known; `manyviews data` lists what can be opened")
