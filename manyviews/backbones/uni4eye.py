"""Patches of pictures and of volumes as tokens of one transformer: the Unified Patch Embedding of `manyviews.methods.mask.uni4eye`.

Squares of pictures and cubes of volumes have a linear map each, to one width, and positions of their own: sines and cosines of two and of three
coordinates. As content, a picture's square counts as a cube of equal slices, so that one layer predicts both.

A picture is a volume of depth 1. Where a batch holds both, a picture is the first slice of a cube that is NaN everywhere else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.backbones.cuboids import Cuboids
from manyviews.backbones.tokens import TokenEncoder
from manyviews.contracts import Tokens, View
from manyviews.nn.positions import sincos

FLAT = -1.0  # the third coordinate of a picture's parts: no depth of a volume


class UnifiedPatches(nn.Module):
    """Squares of `side` pixels, cubes of `side` voxels; `where` is (x, y, depth) in [0, 1], with depth -1 in pictures."""

    axes = 3

    def __init__(self, channels: int, dim: int, side: int):
        super().__init__()
        self.dim, self.side = dim, side
        self.squares, self.cubes = Cuboids(channels, dim, (1, side, side)), Cuboids(channels, dim, (side, side, side))
        self.content_width = self.cubes.content_width

    def forward(self, view: View) -> Tokens:
        flat = flat_rows(view.x)
        if not bool(flat.any()):
            return self.of_volumes(view)
        if bool(flat.all()):
            return self.of_pictures(View(view.x[:, :, :1], view.index))
        pictures, volumes = self.of_pictures(View(view.x[flat][:, :, :1], view.index[flat])), self.of_volumes(View(view.x[~flat], view.index[~flat]))
        return joined(pictures, volumes, flat)

    def of_volumes(self, view: View) -> Tokens:
        t = self.cubes(view)
        return Tokens(t.x + untouched(self.squares), t.where, t.content, extent=t.extent)

    def of_pictures(self, view: View) -> Tokens:
        t = self.squares(view)
        where = torch.cat([t.where[..., :2], torch.full_like(t.where[..., 2:], FLAT)], -1)
        assert t.content is not None
        return Tokens(t.x + untouched(self.cubes), where, t.content.repeat(1, 1, self.side), extent=t.extent)

    def error(self, prediction: Float[Tensor, "batch tokens width"], content: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens"]:
        """The mean squared difference."""
        return (prediction - content).square().mean(-1)


class UnifiedPlace(nn.Module):
    """Sines and cosines of x and y in pictures, of x, y and depth in volumes."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, where: Float[Tensor, "batch tokens 3"]) -> Float[Tensor, "batch tokens dim"]:
        return torch.where(where[..., 2:] < 0, sincos(where[..., :2], self.dim), sincos(where, self.dim))


def flat_rows(x: Float[Tensor, "batch channels depth height width"]) -> Bool[Tensor, "batch"]:
    """Which samples are pictures."""
    if x.shape[2] == 1:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    return x[:, 0, -1, 0, 0].isnan()


def untouched(module: nn.Module) -> Tensor:
    """Zero, with a gradient of zero for what this batch has no use for: under several processes every parameter must have one."""
    return 0.0 * torch.stack([p.sum() for p in module.parameters()]).sum()


def joined(pictures: Tokens, volumes: Tokens, flat: Bool[Tensor, "batch"]) -> Tokens:
    """The tokens of both in the rows they came from, those of the shorter padded."""
    count = max(pictures.x.shape[1], volumes.x.shape[1])
    rows = torch.cat([flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]]).argsort()

    def both(name: str) -> Tensor:
        parts = [getattr(t, name) for t in (pictures, volumes)]
        return torch.cat([F.pad(a, (0, 0, 0, count - a.shape[1])) for a in parts])[rows]

    exists = torch.arange(count, device=flat.device) < torch.where(flat, pictures.x.shape[1], volumes.x.shape[1])[:, None]
    return Tokens(both("x"), both("where"), both("content"), exists, extent=both("extent"))


def unified(channels: int, dim: int, depth: int, heads: int, side: int) -> TokenEncoder:
    return TokenEncoder(UnifiedPatches(channels, dim, side), depth, heads, UnifiedPlace(dim))
