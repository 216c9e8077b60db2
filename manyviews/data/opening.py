"""From what the user typed to a `Data`: the content is recognised, and can be forced."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from manyviews.errors import InputError
from manyviews.data import arrays, folder, images
from manyviews.data.dataset import Data, Store


def open_data(source: str | Path | np.ndarray | Data, modality: str | None = None) -> Data:
    """A data set by path or name. Raises InputError with what was looked for.

    source: `builtin`, a folder, an array or its file.
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, np.ndarray):
        return as_images(arrays.Array(source, "an array"), {}, [])
    if str(source) == "builtin":
        from manyviews.data.builtin import builtin

        return builtin()
    path = Path(source).expanduser()
    if path.is_dir():
        return as_images(*folder.folder(path, images.SUFFIXES, "images"))
    if path.suffix in (".npy", ".npz") and path.is_file():
        return as_images(*arrays.from_file(path))
    raise InputError(f"no data at {str(source)!r}: it is neither a folder, nor a .npy or .npz file, nor `builtin`")


def as_images(store: Store, columns: dict[str, np.ndarray], classes: list[str]) -> Data:
    return Data(store, images.decode, "images", columns, classes)
