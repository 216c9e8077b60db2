"""Pretrained weights: from timm's hub, from a file, or from a run. All of an encoder's tensors are found, or there is an error; none stays random."""

from __future__ import annotations

import argparse
import contextlib
import copy
import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.backbones.building import SHORT, SMALL, build_encoder, builders, modality_of
from manyviews.contracts import Encoder
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

# what checkpoints wrap an encoder in: training scripts, DDP, slow copies
WRAPPERS = {
    *("module", "model", "encoder", "backbone", "teacher", "student", "state_dict", "state_dict_ema", "model_ema"),
    *("net", "network", "trunk", "visual", "encoder_q", "base_encoder", "target"),
}
# of two copies in one file, the one that papers evaluate
SLOW = {"teacher", "state_dict_ema", "model_ema", "target"}


def default_size(name: str) -> int:
    """The size of samples that an encoder is made for: 32 for small ones of pictures, else as its function or timm says. Raises InputError if unknown."""
    if name in builders():
        return int(inspect.signature(builders()[name][1]).parameters["size"].default)
    if modality_of(name) != "images":
        return int(importlib.import_module(f"manyviews.backbones.{modality_of(name)}").SIZE)
    return 32 if name in SMALL else int(timm_config(name)["input_size"][-1])


def timm_config(name: str) -> dict[str, Any]:
    """timm's entry for a model's weights: where they are, input size, mean, std. Raises InputError with the nearest names or tags."""
    torchvision_schemas.declare()
    import timm

    name = SHORT.get(name, name)
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(name, [*SMALL, *SHORT, *timm.list_models()], 3, 0.5)
        raise InputError(f"no encoder {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews encoders PATTERN` lists them")
    tags = [weights.partition(".")[2] for weights in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise InputError(f"timm has no weights {tag!r} for {base}; it has {', '.join(sorted(tags)) or 'none'}")
    config = timm.get_pretrained_cfg(name)
    return config.to_dict() if config is not None else {"input_size": (3, 224, 224)}


def timm_pretrained(name: str, channels: int = 3, size: int | None = None) -> tuple[Encoder, int]:
    """An encoder with timm's pretrained weights, and the picture size it is built for (by default the one timm trained at).

    name: a timm model, with or without the tag of its weights, or NAME@FILE to take that model's weights from a file instead of the hub.
    Raises InputError where the weights cannot be had.
    """
    name, _, file = name.partition("@")
    if name in SMALL:
        raise InputError(
            f"{name} is this package's own and has no published weights; take untrained:{name}, a run, or a timm model (`manyviews encoders PATTERN`)"
        )
    config = timm_config(name)
    size = size or int(config["input_size"][-1])
    encoder = build_encoder(name, channels, size)
    from_timm(encoder, name, file)
    return encoder, size


def from_timm(encoder: Encoder, name: str, file: str = "") -> str:
    """Load timm's weights `name` (from `file` if given) into an encoder of that architecture; says what was done. Raises InputError."""
    from timm.models import load_pretrained

    config = timm_config(name)
    if file:
        if not Path(file).expanduser().is_file():
            raise InputError(f"no file {file} to take the weights of {name} from")
        config.update(file=str(Path(file).expanduser()), source="", state_dict=None)
    if not any(config.get(key) for key in ("file", "url", "hf_hub_id", "state_dict")):
        raise InputError(f"timm has no pretrained weights for {name}; take untrained:{name}, or --weights FILE")
    model: nn.Module = encoder.model  # type: ignore[assignment]
    trial = copy.deepcopy(model)
    for tensor in trial.state_dict().values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)  # so that what the weights do not hold cannot be mistaken for them
    try:
        load_pretrained(trial, config, num_classes=0, in_chans=first_conv(model)[1].shape[1], filter_fn=own_filter(model), strict=False)
    except Exception as error:  # the hub's clients raise what they like
        where = config.get("file") or config.get("hf_hub_id") or config.get("url")
        why = str(error).strip().splitlines() or [""]
        problem = f"the pretrained weights of {name} cannot be had from {where}: {type(error).__name__}: {' '.join(why[:3])[:400]}"
        raise InputError(problem + ("" if file else f"; without a connection, give a file that holds them: timm:{name}@FILE")) from None
    state = trial.state_dict()
    missing = [key for key, tensor in state.items() if tensor.is_floating_point() and bool(tensor.isnan().any())]
    if missing:
        raise InputError(f"the weights of {name} lack {listed(missing)}; they are not those of this architecture")
    model.load_state_dict(state)
    normalise_as(encoder, config.get("mean"), config.get("std"))
    return f"{len(state)} of {len(state)} tensors from timm's {name}" + (f" in {file}" if file else "")


def load_weights(encoder: Encoder, reference: str | Path) -> str:
    """Load weights into `encoder` and say how many tensors matched.

    reference: a run folder (same architecture; the picture size may differ), a .safetensors or .pth file, or timm:NAME (or NAME). Of a file, the copy
    under any of `WRAPPERS` that fits best is taken; heads and whatever else the encoder has no place for are left. Raises InputError that lists
    what is missing or of another shape, in which case the encoder is as it was.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        found = [path / name for name in ("encoder.safetensors", "model.safetensors") if (path / name).is_file()]
        if not found:
            raise InputError(f"{path} holds no weights: neither encoder.safetensors (a run) nor model.safetensors (a timm export)")
        path = found[0]
    if not path.is_file():
        return named_weights(encoder, str(reference))
    tensors, header = read_tensors(path)
    target: nn.Module = getattr(encoder, "model", encoder)  # type: ignore[assignment]
    wanted = target.state_dict()
    prefix, offered, matched = best_fit(target, tensors)
    absent = [key for key in wanted if key not in matched and key not in offered and not key.endswith("num_batches_tracked")]
    other = [f"{key} is {tuple(offered[key].shape)}, expected {tuple(wanted[key].shape)}" for key in wanted if key in offered and key not in matched]
    if absent or other:
        what = f" (it holds a {header['architecture']} for {header['size']} pixels)" if header else ""
        problems = [f"{path} does not hold this encoder{what}: {len(matched)} of its {len(wanted)} tensors match"]
        problems += [f"missing: {listed(absent)}"] * bool(absent) + [f"of another shape: {listed(other)}"] * bool(other)
        raise InputError(*problems)
    broken = [key for key, tensor in matched.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if broken:
        raise InputError(f"{path} holds numbers that are not finite, in {listed(broken)}; the training that made it diverged")
    target.load_state_dict(matched, strict=False)
    if header:
        normalise_as(encoder, header.get("mean"), header.get("std"))
    unused = [key for key in offered if key not in wanted]
    left = f"; left in the file: {listed(unused)}" if unused else ""
    return f"{len(matched)} of {len(wanted)} tensors from {path}{f' under {prefix}' if prefix else ''}{left}"


def named_weights(encoder: Encoder, text: str) -> str:
    """Weights by timm's name. Raises InputError where it is no name either."""
    torchvision_schemas.declare()
    import timm

    name, _, file = text.removeprefix("timm:").partition("@")
    if not text.startswith("timm:") and not timm.is_model(SHORT.get(name, name).partition(".")[0]):
        raise InputError(f"no weights {text!r}: it is neither a run folder, nor a .safetensors or .pth file, nor a timm model")
    config, own = timm_config(name), getattr(getattr(encoder, "model", None), "pretrained_cfg", None) or {}
    if config.get("architecture") != own.get("architecture"):
        is_a = f"is a {own['architecture']}" if own else "is none of timm's"
        raise InputError(f"weights {name} are for a {config.get('architecture')}, and the encoder {is_a}; take --encoder {name.partition('.')[0]}")
    return from_timm(encoder, name, file)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a file by their dotted names, and the header that manyviews wrote, if it did. Nothing in the file is executed. Raises InputError."""
    with open(path, "rb") as start:
        named = path.suffix == ".safetensors" or start.read(9)[8:] == b"{"
    if named:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                header = json.loads((file.metadata() or {}).get("manyviews", "{}"))
                return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read, it is damaged or cut off: {error}") from None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # training scripts save their arguments along
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers raise what they like
        why = (
            "it holds Python objects beside tensors, which may run code; save its state dict alone"
            if "weights_only" in str(error)
            else "it is damaged or no checkpoint"
        )
        raise InputError(f"{path} cannot be read: {why} ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})") from None
    tensors = dict(flatten(content))
    if not tensors:
        raise InputError(f"{path} holds no tensors")
    return tensors, {}


def flatten(content: Any, prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    """Tensors of nested dictionaries, by dotted names."""
    if isinstance(content, Tensor):
        yield prefix, content.detach()
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def best_fit(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor], dict[str, Tensor]]:
    """The wrapper whose tensors fit the model best, what it offers under timm's names, and those of its tensors that fit."""
    groups: dict[str, dict[str, Tensor]] = {"": {}}
    for key, tensor in tensors.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            groups.setdefault(".".join(parts[:depth]), {})[".".join(parts[depth:])] = tensor
            if parts[depth] not in WRAPPERS:
                break
    wanted = model.state_dict()
    best: tuple[tuple[int, bool, int], str, dict[str, Tensor], dict[str, Tensor]] | None = None
    for prefix, group in groups.items():
        for offered in readings(model, group):
            matched = {key: offered[key] for key in wanted if key in offered and offered[key].shape == wanted[key].shape}
            rank = (len(matched), bool(SLOW & set(prefix.split("."))), sum(key in offered for key in wanted))
            if best is None or rank > best[0]:
                best = rank, prefix, offered, matched
            if len(matched) == len(wanted):
                break
    assert best is not None
    return best[1:]


def readings(model: nn.Module, tensors: dict[str, Tensor]) -> Iterable[dict[str, Tensor]]:
    """The tensors as they are, and as timm's own filter reads them: other repositories' names, positions of another picture size, other patch sizes."""
    yield channels_adapted(model, tensors)
    clean = own_filter(model)
    if clean is None:
        return
    head = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or "head"
    timm_head = {f"{name}.weight": torch.zeros(1) for name in ([head] if isinstance(head, str) else head)}  # some filters know timm's names by it
    for extra in ({}, timm_head):
        with contextlib.suppress(Exception):  # a filter that chokes on a file does not know it
            given = {**tensors, **{key: zero for key, zero in extra.items() if key not in tensors}}
            filtered = clean(given, model) if len(inspect.signature(clean).parameters) > 1 else clean(given)
            filtered = {key: tensor for key, tensor in filtered.items() if isinstance(tensor, Tensor) and tensor is not extra.get(key)}
            yield channels_adapted(model, filtered)


def channels_adapted(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolution's weights for as many channels as the model has: summed for one, else repeated and rescaled."""
    from timm.models import adapt_input_conv

    name, weight = first_conv(model)
    given = tensors.get(name)
    if given is None or given.dim() != 4 or given.shape[1] == weight.shape[1] or given.shape[2:] != weight.shape[2:]:
        return tensors
    return {**tensors, name: adapt_input_conv(weight.shape[1], given, base_chans=given.shape[1])}


def first_conv(model: nn.Module) -> tuple[str, Tensor]:
    """Name and weight of the convolution that sees the picture."""
    name = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv")
    weights = dict(model.named_parameters())
    if isinstance(name, str) and f"{name}.weight" in weights:
        return f"{name}.weight", weights[f"{name}.weight"]
    return next(((key, w) for key, w in weights.items() if w.dim() == 4), ("", torch.zeros(1, 3, 1, 1)))


def own_filter(model: nn.Module) -> Any:
    """The function by which timm cleans checkpoints of this architecture, or None."""
    module = sys.modules[type(model).__module__]
    names = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
    return next((getattr(module, name) for name in names if module.__name__.startswith("timm.") and hasattr(module, name)), None)


def normalise_as(encoder: Encoder, mean: Any, std: Any) -> None:
    """Give the encoder the mean and standard deviation that its weights were trained with, where the channels agree."""
    for name, values in (("mean", mean), ("std", std)):
        own = getattr(encoder, name, None)
        channels = first_conv(getattr(encoder, "model", encoder))[1].shape[1]  # type: ignore[arg-type]
        if isinstance(own, Tensor) and values is not None and len(values) in (1, channels):
            setattr(encoder, name, torch.tensor(values, dtype=own.dtype, device=own.device).view(-1, 1, 1))


def listed(names: list[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
