"""Encoders by name."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

import manyviews.symmetry
from manyviews.backbones import small
from manyviews.contracts import Encoder
from manyviews.data.kinds import MODALITIES
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

SMALL = ("resnet_nano", "resnet_micro", "resnet18_small", "vit_micro", "vit_nano")
SHORT = {f"vit_{size}": f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")}


@functools.cache
def builders() -> dict[str, tuple[str, Callable[..., Encoder]]]:
    """Encoders that are functions: name -> modality, and the function of `backbones/MODALITY.py` (of what is not pictures) or of `symmetry/` that builds it."""
    found: dict[str, tuple[str, Callable[..., Encoder]]] = {}
    files = [(m, importlib.import_module(f"manyviews.backbones.{m}")) for m in MODALITIES if m != "images"]
    systems = [importlib.import_module(f"manyviews.symmetry.{module.name}") for module in pkgutil.iter_modules(manyviews.symmetry.__path__)]
    for modality, module in [*files, *((module.MODALITY, module) for module in systems if hasattr(module, "MODALITY"))]:
        for name, f in vars(module).items():
            if inspect.isfunction(f) and f.__module__ == module.__name__ and builds(f):
                found[name] = modality, f
    return found


def builds(f: Callable[..., Any]) -> bool:
    """Whether it is `NAME(channels, size[, form]) -> Encoder`."""
    return f.__annotations__.get("return") == "Encoder" and next(iter(inspect.signature(f).parameters), "") == "channels"


def modality_of(name: str) -> str:
    """What an encoder of this name takes."""
    return builders()[name][0] if name in builders() else "pairs" if two_towers(name) else "text" if of_hugging_face(name) else "images"


def two_towers(name: str) -> bool:
    """Whether it names a tower for pictures and one for captions: IMAGE+TEXT, or open_clip:NAME."""
    return "+" in name or name.startswith("open_clip:")


def of_hugging_face(name: str) -> bool:
    """Whether it names a text model of Hugging Face's transformers: hf:NAME, or hf:NAME@REVISION with its weights."""
    return name.startswith("hf:") and "+" not in name


def is_companion(name: str) -> bool:
    """Whether it names what a method made of an encoder: METHOD:...:ENCODER, as `Encoder.named` writes it, and backbones/METHOD.py reads."""
    method, colon, _ = name.partition(":")
    return bool(colon) and method.isidentifier() and importlib.util.find_spec(f"manyviews.backbones.{method}") is not None


def build_encoder(
    name: str, channels: int = 3, size: int = 32, seed: int | None = None, drop_path: float = 0.0, form: Mapping[str, Any] | None = None
) -> Encoder:
    """An untrained encoder; the same `seed` gives the same weights. Raises InputError with the nearest names.

    name: one of this package's small encoders or any timm model, for pictures of `size` pixels with `channels` channels; or a function of another
    modality's file, which gets as `form` what else it must know of its data (the columns of a table).
    """
    if name in builders():
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            build = builders()[name][1]
            extra = {"form": dict(form or {})} if "form" in inspect.signature(build).parameters else {}
            return build(channels, size, **extra)
    if is_companion(name):
        module = importlib.import_module(f"manyviews.backbones.{name.partition(':')[0]}")
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            return module.named(name, channels, size, form)
    if of_hugging_face(name):
        from manyviews.backbones.text_pretrained import hugging_face

        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            return hugging_face(name.removeprefix("hf:"), 4 * size, form)  # its tokens may be shorter than those of the data
    if two_towers(name):
        from manyviews.backbones import pairs

        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            return pairs.named(name, channels, size, form)
    torchvision_schemas.declare()
    import timm

    from manyviews.backbones.timm_model import TimmEncoder

    name = SHORT.get(name, name)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        if name in SMALL:
            return TimmEncoder(getattr(small, name)(channels, size))
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, [*SMALL, *builders(), *SHORT, *timm.list_models()], 3, 0.5)
            raise InputError(f"no encoder {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews encoders` lists them")
        config = timm.get_pretrained_cfg(name)
        model = create(name, size, {"in_chans": channels, **({"drop_path_rate": drop_path} if drop_path else {})})
    mean, std = (tuple(config.mean), tuple(config.std)) if config is not None and channels == len(config.mean) else ((0.5,), (0.25,))
    return TimmEncoder(model, mean, std)


def create(name: str, size: int, options: dict[str, Any]) -> nn.Module:
    """The timm model without a classifier, made for `size` pixels and, where the architecture can, for all other sizes too."""
    import timm

    flexible: dict[str, Any] = {"img_size": size, "dynamic_img_size": True, "dynamic_img_pad": True}
    for known in (3, 2, 1, 0):  # what an architecture does not know it answers with a TypeError
        try:
            return timm.create_model(name, num_classes=0, **options, **dict([*flexible.items()][:known]))
        except TypeError:
            if not known:
                raise
        except (AssertionError, RuntimeError, ValueError) as error:
            own = timm.get_pretrained_cfg(name)
            usual = f"; it is made for --size {own.input_size[-1]}" if own is not None else ""
            raise InputError(f"{name} cannot be built for pictures of {size} pixels with these options: {error}{usual}") from None
    raise AssertionError
