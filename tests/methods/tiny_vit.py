"""A tiny vision transformer and crops of random pictures, for tests of methods that need tokens or many crops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manyviews.backbones.timm_model import TimmEncoder
from manyviews.contracts import Method, View
from manyviews.nn import torchvision_schemas


def tiny_vit(seed: int = 0, **options: Any) -> TimmEncoder:
    """Two blocks of width 16 on 8 x 8 pictures in patches of 2."""
    torchvision_schemas.declare()
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TimmEncoder(
            VisionTransformer(
                img_size=8, patch_size=2, num_classes=0, embed_dim=16, depth=2, num_heads=2, dynamic_img_size=True, dynamic_img_pad=True, **options
            )
        )


def crops(batch: int = 6, seed: int = 0, rows: slice = slice(None)) -> dict[str, list[View]]:
    """Two global crops of 8 pixels and two local ones of 4, alike within a sample."""
    g = torch.Generator().manual_seed(seed)
    colour = torch.rand(batch, 3, 1, 1, generator=g)
    views = [(0.7 * colour + 0.3 * torch.rand(batch, 3, s, s, generator=g))[rows] for s in (8, 8, 4, 4)]
    index = (torch.arange(batch) + 100 * seed)[rows]
    return {"global_crops": [View(x, index) for x in views[:2]], "local_crops": [View(x, index) for x in views[2:]]}


def descend(method: Method, views: dict[str, Any], steps: int = 30, lr: float = 3e-3) -> list[float]:
    """The losses of some optimizer steps on the same views, run as the engine runs them."""
    method.train()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr)
    losses = []
    for step in range(steps):
        method.progress = step / steps
        optimizer.zero_grad()
        total = sum_of(method, views)
        total.backward()
        method.before_step()
        optimizer.step()
        method.progress = (step + 1) / steps
        method.after_step()
        losses.append(total.item())
    return losses


def sum_of(method: Method, views: dict[str, Any]) -> Tensor:
    return torch.stack([*method.loss(**views).values()]).sum()


def untouched(method: Method, views: dict[str, Any]) -> set[str]:
    """The first parts of the names of parameters that the loss does not move."""
    method.zero_grad()
    sum_of(method, views).backward()
    return {name.split(".")[0] for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
