"""Optimizers by name, with what must not decay left out, and the schedules of rate and decay."""

from __future__ import annotations

import difflib

import torch
from torch import nn

from manyviews.errors import InputError
from manyviews.contracts import Recipe
from manyviews.nn.ema import cosine

NAMES = ("adamw", "sgd", "lars", "lamb")


def build_optimizer(module: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """The recipe's optimizer at rate `lr` over the trainable parameters; biases, norms and other vectors neither decay nor adapt (LARS, LAMB)."""
    if recipe.optimizer not in NAMES:
        near = difflib.get_close_matches(recipe.optimizer, NAMES, 1)
        raise InputError(f"no optimizer {recipe.optimizer!r}; there are {', '.join(NAMES)}" + (f" (did you mean {near[0]}?)" if near else ""))
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay, "decays": True},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "decays": False},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=recipe.betas)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9)
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    from timm.optim import Lamb, Lars

    return Lars(groups, lr=lr, momentum=0.9, trust_coeff=0.001) if recipe.optimizer == "lars" else Lamb(groups, lr=lr)


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, lr: float, progress: float) -> float:
    """Sets rate and weight decay for this share of the training: linear warm-up, then half a cosine to `final_lr`. Returns the rate."""
    if progress < recipe.warmup:
        rate = lr * progress / recipe.warmup
    else:
        rate = cosine(lr, lr * recipe.final_lr, (progress - recipe.warmup) / max(1e-9, 1 - recipe.warmup))
    decay = recipe.weight_decay
    if recipe.final_weight_decay is not None:
        decay = cosine(recipe.weight_decay, recipe.final_weight_decay, progress)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if group["decays"]:
            group["weight_decay"] = decay
    return rate
