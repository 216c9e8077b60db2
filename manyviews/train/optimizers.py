"""Optimizers by name, with what must not decay left out, and the schedules of rate and decay.

LARS: You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", arXiv:1708.03888; LAMB: You et al., "Large Batch Optimization for Deep
Learning: Training BERT in 76 minutes", ICLR 2020, arXiv:1904.00962. Both from timm, with every matrix adapted whatever its decay, and LAMB without
timm's clipping. Departs from the LARS paper in that the rate multiplies the momentum instead of entering it, as everywhere in PyTorch.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch

from manyviews.contracts import Recipe, Trainable
from manyviews.errors import InputError
from manyviews.nn.ema import cosine
from manyviews.train.infinite_lr import INFINITE, Schedule, infinite

NAMES = ("adamw", "sgd", "lars", "lamb")


def build_optimizer(trainable: Trainable, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """The recipe's optimizer at rate `lr` over the trainable parameters; biases, norms and other vectors neither decay nor adapt (LARS, LAMB)."""
    if recipe.optimizer not in NAMES:
        near = difflib.get_close_matches(recipe.optimizer, NAMES, 1)
        raise InputError(f"no optimizer {recipe.optimizer!r}; there are {', '.join(NAMES)}" + (f" (did you mean {near[0]}?)" if near else ""))
    groups = parameter_groups(trainable, recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=recipe.betas)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9)
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    from timm.optim import Lamb, Lars

    for group in groups:
        group["always_adapt"] = group["decays"]
    if recipe.optimizer == "lars":
        return Lars(groups, lr=lr, momentum=0.9, trust_coeff=0.001)
    return Lamb(groups, lr=lr, betas=recipe.betas, max_grad_norm=None)


def parameter_groups(trainable: Trainable, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters by whether they decay (matrices and kernels do) and whether their rate is scheduled (`fixed_rate` ones' is not)."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, p in trainable.named_parameters():
        if p.requires_grad:
            fixed = any(name == prefix or name.startswith(prefix + ".") for prefix in trainable.fixed_rate)
            groups.setdefault((p.ndim > 1, fixed), []).append(p)
    return [
        {"params": ps, "weight_decay": weight_decay * decays, "decays": decays, "fixed": fixed} for (decays, fixed), ps in sorted(groups.items(), reverse=True)
    ]


def half_cosine(progress: float, warmup: float = 0.1, final_lr: float = 0.0) -> float:
    """Linear warm-up, then half a cosine to `final_lr`, as a share of the highest rate."""
    if progress < warmup:
        return progress / warmup
    return cosine(1.0, final_lr, (progress - warmup) / max(1e-9, 1 - warmup))


def constant(progress: float, warmup: float = 0.1, final_lr: float = 0.0) -> float:
    """Linear warm-up, then the highest rate."""
    return min(1.0, progress / warmup) if warmup else 1.0


SCHEDULES: dict[str, Schedule] = {"cosine": half_cosine, "constant": constant, **INFINITE}


def find_schedule(text: str) -> Schedule:
    """The schedule of a name, with the parameters behind its colon where it has such: cosine, infinite_lr:constant=0.75,cooldown=0.5.

    Raises InputError with everything that is wrong.
    """
    name, colon, _ = text.partition(":")
    if name in INFINITE:
        return infinite(text)
    if name not in SCHEDULES:
        near = difflib.get_close_matches(name, SCHEDULES, 1, 0.4)
        raise InputError(f"schedule {text}: not one of {', '.join(SCHEDULES)}" + (f"; the nearest are {near[0]}" if near else ""))
    if colon:
        raise InputError(f"schedule {text}: {name} has no parameters; say what it does by warmup and final_lr, or take one of {', '.join(INFINITE)}")
    return SCHEDULES[name]


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, lr: float, progress: float) -> float:
    """Sets rate and weight decay for this share of the training, by the recipe's schedule. Returns the rate."""
    rate = lr * find_schedule(recipe.schedule)(progress, recipe.warmup, recipe.final_lr)
    decay = recipe.weight_decay
    if recipe.final_weight_decay is not None:
        decay = cosine(recipe.weight_decay, recipe.final_weight_decay, progress)
    for group in optimizer.param_groups:
        group["lr"] = (lr if group["fixed"] else rate) * (1.0 if group["decays"] else recipe.vector_lr)
        if group["decays"]:
            group["weight_decay"] = decay
    return rate
