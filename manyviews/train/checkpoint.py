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
    with atomic(path) as temporary, open(temporary, "wb") as file:  # to an open file: no name gets into the content
        torch.save(content, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Tensors and plain values only; raises InputError when the file is cut or not a checkpoint."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except Exception as error:  # a cut zip, a wrong file, a pickle of code
        raise InputError(f"{path} is not a whole checkpoint ({type(error).__name__}: {str(error).partition(chr(10))[0][:120] or 'empty'})") from None


def states(trainable: Any, optimizer: Any, fabric: Any) -> dict[str, Any]:
    """Everything that a fit needs to go on: weights, buffers, the optimizer, the scaler of 16-bit floats.

    Under FSDP all ranks must ask, and the first gets the tensors.
    """
    scaler = fabric.strategy.precision.state_dict()
    if is_sharded(trainable):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        module, inner = get_state_dict(trainable, optimizer.optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        return {"module": module, "optimizer": inner, "scaler": scaler}
    return {"module": trainable.state_dict(), "optimizer": optimizer.optimizer.state_dict(), "scaler": scaler}


def restore_optimizer(trainable: Any, optimizer: Any, fabric: Any, content: dict[str, Any]) -> None:
    """The optimizer and scaler as `states` found them."""
    fabric.strategy.precision.load_state_dict(content["scaler"])
    if is_sharded(trainable):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        set_optimizer_state_dict(trainable, optimizer.optimizer, content["optimizer"], options=StateDictOptions(full_state_dict=True))
    else:
        optimizer.optimizer.load_state_dict(content["optimizer"])


def is_sharded(module: Any) -> bool:
    """Whether FSDP has taken its parameters apart."""
    return any(hasattr(p, "full_tensor") for p in module.parameters())


def whole(module: Any) -> dict[str, torch.Tensor]:
    """The state dict with full tensors; under FSDP all ranks must ask for it."""
    if not is_sharded(module):
        return module.state_dict()
    return {name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in module.state_dict().items()}
