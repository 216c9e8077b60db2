"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from manyviews.errors import InputError


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name to write to; it takes the place of `path` once written and on the disk, and is removed if anything fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Tensors and plain values only; raises InputError when the file is cut or not a checkpoint."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except Exception as error:  # a cut zip, a wrong file, a pickle of code
        raise InputError(f"{path} is not a whole checkpoint ({type(error).__name__}: {str(error).splitlines()[0][:120]})") from None
