"""DGCNN: edges to the nearest points, found anew in the features of every layer.

Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM Transactions on Graphics 2019, arXiv:1801.07829, the network for classification.
Departs from the paper: a cloud of fewer than `k` points uses all of them.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.pointnet import Rows
from manyviews.contracts import Encoder, Tokens, View
from manyviews.nn.neighbours import group, knn


class EdgeConvolution(nn.Module):
    """The maximum over the k nearest rows x_j of a perceptron of (x_i, x_j - x_i), x_i itself among them."""

    def __init__(self, inside: int, outside: int, k: int):
        super().__init__()
        self.k = k
        self.layer = nn.Sequential(nn.Linear(2 * inside, outside, bias=False), Rows(outside), nn.LeakyReLU(0.2))

    def forward(self, t: Float[Tensor, "batch points inside"]) -> Float[Tensor, "batch points outside"]:
        _, rows = knn(t, t, min(self.k, t.shape[1]))
        near = group(t, rows)
        own = t[:, :, None].expand_as(near)
        return self.layer(torch.cat([own, near - own], -1)).amax(2)


class DGCNN(Encoder):
    """2,048 numbers a cloud: maximum and mean over its points of 1,024 features made of four layers' outputs."""

    axes = 3

    def __init__(self, channels: int = 3, k: int = 20):
        super().__init__()
        widths = (channels, 64, 64, 128, 256)
        self.edges = nn.ModuleList(EdgeConvolution(a, b, k) for a, b in itertools.pairwise(widths))
        self.last = nn.Sequential(nn.Linear(sum(widths[1:]), 1024, bias=False), Rows(1024), nn.LeakyReLU(0.2))
        self.dim, self.widths = 2048, [*widths[1:], 1024]

    def maps(self, t: Float[Tensor, "batch points channels"]) -> list[Float[Tensor, "batch points width"]]:
        found = []
        for layer in self.edges:
            t = layer(t)
            found.append(t)
        return [*found, self.last(torch.cat(found, -1))]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        t = self.maps(view.x)[-1]
        return torch.cat([t.amax(1), t.mean(1)], -1)

    def pyramid(self, view: View) -> list[Tokens]:
        """The features of every point after each layer."""
        return [Tokens(t, view.x[..., :3]) for t in self.maps(view.x)]
