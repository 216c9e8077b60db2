"""Encoders by name."""

from __future__ import annotations

import difflib

import torch

from manyviews.errors import InputError
from manyviews.backbones import small
from manyviews.contracts import Encoder
from manyviews.nn import torchvision_schemas

SMALL = ("resnet_micro", "resnet18_small", "vit_micro")
SHORT = {f"vit_{size}": f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")}


def build_encoder(name: str, channels: int = 3, size: int = 32, seed: int | None = None, drop_path: float = 0.0) -> Encoder:
    """An untrained encoder for pictures of `size` pixels with `channels` channels; the same `seed` gives the same weights.

    name: one of this package's small encoders or any timm model. Raises InputError with the nearest names.
    """
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
            near = difflib.get_close_matches(name, [*SMALL, *SHORT, *timm.list_models()], 3, 0.5)
            raise InputError(f"no encoder {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews encoders` lists them")
        options: dict = {"drop_path_rate": drop_path} if drop_path else {}
        config = timm.get_pretrained_cfg(name)
        try:
            model = timm.create_model(name, num_classes=0, in_chans=channels, img_size=size, dynamic_img_size=True, **options)
        except TypeError:
            try:
                model = timm.create_model(name, num_classes=0, in_chans=channels, img_size=size, **options)
            except TypeError:
                model = timm.create_model(name, num_classes=0, in_chans=channels, **options)
    mean, std = (tuple(config.mean), tuple(config.std)) if config is not None and channels == len(config.mean) else ((0.5,), (0.25,))
    return TimmEncoder(model, mean, std)
