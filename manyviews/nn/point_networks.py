"""Networks on the groups of a cloud: graph convolutions from group to group, and folding, from a group's code to its points.

As Point-BERT's tokenizer has them (Yu et al., CVPR 2022, arXiv:2111.14819), after DGCNN (Wang et al. 2019, arXiv:1801.07829) and FoldingNet
(Yang et al. 2018, arXiv:1712.07262) in the form of PCN (Yuan et al. 2018, arXiv:1808.00671).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.nn.mlp import mlp
from manyviews.nn.neighbours import group, knn


class Graph(nn.Module):
    """Four graph convolutions over a part and its three nearest, and a linear map of all of their outputs (after DGCNN)."""

    def __init__(self, inside: int, hidden: int, outside: int, k: int = 4):
        super().__init__()
        widths = (hidden // 8, hidden // 4, hidden // 2, hidden // 2, hidden)
        self.first = nn.Linear(inside, widths[0])
        self.edges = nn.ModuleList(Layer(2 * a, b) for a, b in itertools.pairwise(widths))
        self.last = Layer(sum(widths[1:]), outside)
        self.k = k

    def forward(
        self, t: Float[Tensor, "batch tokens inside"], where: Float[Tensor, "batch tokens axes"], exists: Bool[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch tokens outside"]:
        _, rows = knn(where.float(), where.float(), min(self.k, where.shape[1]), exists, repeat=True)
        t = self.first(t)
        found = []
        for layer in self.edges:
            near = group(t, rows)
            own = t[:, :, None].expand_as(near)
            t = layer(torch.cat([near - own, own], -1), exists).amax(2)
            found.append(t)
        return self.last(torch.cat(found, -1), exists)


class Layer(nn.Module):
    """A linear map, group normalisation over all rows of a sample's groups that exist, and a leaky ReLU."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.linear, self.norm = nn.Linear(inside, outside, bias=False), nn.GroupNorm(4, outside)

    def forward(
        self, x: Float[Tensor, "batch tokens *rows inside"], exists: Bool[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch tokens *rows outside"]:
        x = self.linear(x)
        if exists is None:
            return F.leaky_relu(self.norm(x.movedim(-1, 1)).movedim(1, -1), 0.2)
        parts = x.float().unflatten(-1, (4, -1))
        there = exists.view(*exists.shape, *[1] * (parts.dim() - 2)).expand_as(parts).float()
        axes = [k for k in range(1, parts.dim()) if k != parts.dim() - 2]
        count = there.sum(axes, keepdim=True).clamp(min=1)
        mean = (parts * there).sum(axes, keepdim=True) / count
        variance = ((parts - mean).square() * there).sum(axes, keepdim=True) / count
        normal = ((parts - mean) * (variance + self.norm.eps).rsqrt()).flatten(-2)
        return F.leaky_relu((normal * self.norm.weight + self.norm.bias).to(x.dtype), 0.2)


class Folding(nn.Module):
    """A quarter of the points by a perceptron, and four around each by another that sees where on a small square they begin (FoldingNet)."""

    square: Float[Tensor, "4 2"]

    def __init__(self, dim: int, hidden: int, members: int, axes: int = 3):
        super().__init__()
        self.coarse, self.axes = -(-members // 4), axes
        self.first = mlp(dim, hidden, hidden, axes * self.coarse, norm=False)
        self.second = mlp(dim + axes + 2, hidden // 2, hidden // 2, axes)
        self.register_buffer("square", torch.cartesian_prod(*[torch.tensor([-0.05, 0.05])] * 2), persistent=False)

    def forward(self, t: Float[Tensor, "batch tokens dim"]) -> tuple[Float[Tensor, "batch tokens coarse axes"], Float[Tensor, "batch tokens fine axes"]]:
        coarse = self.first(t).unflatten(-1, (self.coarse, self.axes))
        around = coarse[..., None, :].expand(-1, -1, -1, 4, -1)
        shape = around.shape[:-1]
        seen = [t[:, :, None, None].expand(*shape, -1), self.square.to(t.dtype).expand(*shape, -1), around]
        moved = self.second(torch.cat(seen, -1).flatten(0, -2)).unflatten(0, shape)
        return coarse, (around + moved).flatten(2, 3)
