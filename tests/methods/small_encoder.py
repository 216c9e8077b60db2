"""A tiny encoder with batch normalisation, and views of random pictures, for tests of methods."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, View


class SmallEncoder(Encoder):
    """One hidden layer on the pixels of 3 x 4 x 4 pictures."""

    def __init__(self, dim: int = 6):
        super().__init__()
        self.dim = dim
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, dim))

    def forward(self, view: View) -> Tensor:
        return self.net(view.x)


class PatchEncoder(SmallEncoder):
    """The same behind a patch projection where timm's transformers have it."""

    def __init__(self, dim: int = 6):
        super().__init__(dim)
        self.model = nn.Module()
        self.model.patch_embed = nn.Conv2d(3, 3, 2, 2)
        self.net[1] = nn.Linear(12, 8)

    def forward(self, view: View) -> Tensor:
        return self.net(self.model.patch_embed(view.x))


def two_views(batch: int = 8, seed: int = 0, start: int = 0) -> tuple[View, View]:
    """Two views of `batch` random pictures, the rows from `start` of a data set, with labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, 4, 4, generator=generator)
    noise = 0.1 * torch.randn(2, batch, 3, 4, 4, generator=generator)
    index = torch.arange(start, start + batch)
    return View(x + noise[0], index, given={"label": index % 3}), View(x + noise[1], index, given={"label": index % 3})


def part(view: View, rows: slice) -> View:
    return View(view.x[rows], view.index[rows], view.g, {name: value[rows] for name, value in view.given.items()})


def total(method: Method, *views: View) -> Tensor:
    """What the engine differentiates: the sum of the terms that have a gradient."""
    return torch.stack([term for term in method.loss(*views).values() if term.requires_grad]).sum()


def without_gradient(method: Method, *views: View) -> list[str]:
    """The names of the parameters that the loss does not move."""
    method.zero_grad()
    total(method, *views).backward()
    return [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
