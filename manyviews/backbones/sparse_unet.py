"""Sparse voxel U-Net: convolutions over the voxels that hold points and no others, in plain PyTorch.

Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks", CVPR 2018, arXiv:1711.10275; residual U-Net as in
Choy et al., "4D Spatio-Temporal ConvNets: Minkowski Convolutional Neural Networks", CVPR 2019, arXiv:1904.08755.
Departs from the papers: neighbours are found by sorting and searching voxel numbers, and each of the 27 offsets is one gather and one matrix product, instead
of a compiled hash table; three levels; a voxel's input is the mean of its points and their number; the embedding is the means of the coarsest and finest maps.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.nn.neighbours import voxelise

SPAN = 1 << 20  # voxels along an axis that numbers tell apart, from -SPAN / 2


def numbers(voxels: Int[Tensor, "voxels 4"]) -> Int[Tensor, "voxels"]:
    """One for each (cloud, x, y, z), in their order."""
    cloud, place = voxels[:, 0], voxels[:, 1:] + SPAN // 2
    return ((cloud * SPAN + place[:, 0]) * SPAN + place[:, 1]) * SPAN + place[:, 2]


def neighbours(voxels: Int[Tensor, "voxels 4"]) -> Int[Tensor, "voxels 27"]:
    """The row of the voxel at each of the 27 offsets; the number of voxels where none is there. `voxels` are sorted."""
    own = numbers(voxels)
    offsets = torch.tensor([[0, *o] for o in itertools.product((-1, 0, 1), repeat=3)], device=voxels.device)
    wanted = numbers((voxels[:, None] + offsets).flatten(0, 1)).view(-1, 27)
    at = torch.searchsorted(own, wanted).clamp(max=len(own) - 1)
    return torch.where(own[at] == wanted, at, len(own))


class Sparse(nn.Module):
    """A 3 x 3 x 3 convolution of the voxels that there are, to the same voxels."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(27, inside, outside))
        nn.init.normal_(self.weight, std=(2 / (27 * inside)) ** 0.5)

    def forward(self, t: Float[Tensor, "voxels inside"], near: Int[Tensor, "voxels 27"]) -> Float[Tensor, "voxels outside"]:
        padded = torch.cat([t, t.new_zeros(1, t.shape[1])])
        out = padded[near[:, 13]] @ self.weight[13].to(t.dtype)
        for k in (k for k in range(27) if k != 13):
            here = (near[:, k] < len(t)).nonzero()[:, 0]
            out = out.index_add(0, here, (t[near[here, k]] @ self.weight[k].to(t.dtype)).to(out.dtype))
        return out


class Block(nn.Module):
    """Two sparse convolutions added to their input."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.first, self.norm1 = Sparse(inside, outside), nn.BatchNorm1d(outside)
        self.second, self.norm2 = Sparse(outside, outside), nn.BatchNorm1d(outside)
        self.skip = nn.Linear(inside, outside, bias=False) if inside != outside else nn.Identity()

    def forward(self, t: Tensor, near: Tensor) -> Tensor:
        inner = self.norm2(self.second(self.norm1(self.first(t, near)).relu(), near))
        return (inner + self.skip(t)).relu()


class SparseUNet(Encoder):
    """`size` is the side of a voxel; clouds lie in the unit ball."""

    axes = 3

    def __init__(self, channels: int = 3, size: float = 0.05, widths: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.size = size
        inside = (channels + 1, *widths)
        self.down = nn.ModuleList(Block(a, b) for a, b in zip(inside, widths, strict=False))
        self.up = nn.ModuleList(Block(a + b, a) for a, b in itertools.pairwise(widths))
        self.dim, self.widths = widths[0] + widths[-1], [widths[0], *widths[1:]]

    def levels(self, view: View) -> tuple[list[Tensor], list[Tensor]]:
        """Features and voxels of the finest level after the way up, then of the coarser ones after the way down."""
        voxels, inverse, held = voxelise(view.x[..., :3].float(), self.size)
        rows, points = inverse.flatten(), view.x.flatten(0, 1).float()
        t = torch.zeros(len(voxels), points.shape[1], device=points.device).index_add(0, rows, points) / held[:, None]
        t = torch.cat([t, held[:, None].float().log()], 1)
        features, places, parents = [], [voxels], []
        for k, block in enumerate(self.down):
            if k:
                coarse, up = torch.cat([voxels[:, :1], voxels[:, 1:].div(2, rounding_mode="floor")], 1).unique(dim=0, return_inverse=True)
                t = torch.full((len(coarse), t.shape[1]), -torch.inf, device=t.device, dtype=t.dtype).index_reduce(0, up, t, "amax")
                voxels = coarse
                places.append(voxels)
                parents.append(up)
            t = block(t, neighbours(voxels))
            features.append(t)
        for k in reversed(range(len(self.up))):
            t = self.up[k](torch.cat([features[k], t[parents[k]]], 1), neighbours(places[k]))
        return [t, *features[1:]], places

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        features, places = self.levels(view)
        return torch.cat([mean_of(features[k], places[k][:, 0], len(view)) for k in (-1, 0)], 1)

    def pyramid(self, view: View) -> list[Tokens]:
        """Voxels as tokens, padded: clouds hold different numbers of them."""
        found = []
        for k, (t, voxels) in enumerate(zip(*self.levels(view), strict=True)):
            count = torch.bincount(voxels[:, 0], minlength=len(view))
            exists = torch.arange(int(count.max()), device=t.device) < count[:, None]
            x = t.new_zeros(*exists.shape, t.shape[1])
            where = torch.zeros(*exists.shape, 3, device=t.device)
            x[exists], where[exists] = t, (voxels[:, 1:] + 0.5) * self.size * 2**k
            found.append(Tokens(x, where, exists=exists))
        return found


def mean_of(t: Float[Tensor, "voxels dim"], cloud: Int[Tensor, "voxels"], count: int) -> Float[Tensor, "count dim"]:
    """The mean over the voxels of each cloud."""
    total = torch.zeros(count, t.shape[1], device=t.device, dtype=t.dtype).index_add(0, cloud, t)
    return total / torch.bincount(cloud, minlength=count).clamp(min=1)[:, None]
