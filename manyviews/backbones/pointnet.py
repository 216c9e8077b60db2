"""PointNet and PointNet++: a perceptron shared by all points and a maximum over them, once, or in growing neighbourhoods.

Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR 2017, arXiv:1612.00593;
Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS 2017, arXiv:1706.02413 (single-scale grouping).
Departs from the papers: nothing pulls PointNet's feature transform towards an orthogonal one (an encoder has no loss of its own), it only begins as the
identity; PointNet++'s numbers of centres are 512 and 128, or a half and an eighth of the points where that is less.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.nn.neighbours import ball_query, farthest_point_sampling, group


def shared(*widths: int) -> nn.Sequential:
    """A perceptron for each row of (..., channels), batch-normalised over all of them."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=False), Rows(b), nn.ReLU()]
    return nn.Sequential(*layers)


class Rows(nn.Module):
    """Batch normalisation of the last axis over all others. It holds the usual one, which is taken over all ranks where there are several."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, -2)).view_as(x)


class Transform(nn.Module):
    """A square matrix for each cloud, predicted from all of it; the identity at first."""

    def __init__(self, width: int):
        super().__init__()
        self.points, self.whole = shared(width, 64, 128, 1024), shared(1024, 512, 256)
        self.out = nn.Linear(256, width * width)
        nn.init.zeros_(self.out.weight)
        self.out.bias.data.copy_(torch.eye(width).flatten())
        self.width = width

    def forward(self, x: Float[Tensor, "batch points width"]) -> Float[Tensor, "batch width width"]:
        return self.out(self.whole(self.points(x).amax(1))).unflatten(1, (self.width, self.width))


class PointNet(Encoder):
    """1,024 numbers a cloud: the maximum over its points of a shared perceptron, after two learned transforms."""

    axes = 3

    def __init__(self, channels: int = 3):
        super().__init__()
        self.first, self.second = Transform(3), Transform(64)
        self.local, self.deep = shared(channels, 64, 64), shared(64, 64, 128, 1024)
        self.dim, self.widths = 1024, [64, 1024]

    def maps(self, x: Float[Tensor, "batch points channels"]) -> list[Float[Tensor, "batch points width"]]:
        """Features of each point before and after the second transform."""
        x = torch.cat([x[..., :3] @ self.first(x[..., :3]), x[..., 3:]], -1)
        t = self.local(x)
        return [t, self.deep(t @ self.second(t))]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.maps(view.x)[-1].amax(1)

    def pyramid(self, view: View) -> list[Tokens]:
        return [Tokens(t, view.x[..., :3]) for t in self.maps(view.x)]


class Abstraction(nn.Module):
    """Centres by farthest point sampling, up to `members` points within `radius` of each, a shared perceptron of them, and its maximum."""

    def __init__(self, count: int, radius: float, members: int, widths: tuple[int, ...]):
        super().__init__()
        self.count, self.radius, self.members = count, radius, members
        self.perceptron = shared(*widths)

    def forward(self, p: Float[Tensor, "batch points 3"], t: Tensor) -> tuple[Float[Tensor, "batch centres 3"], Float[Tensor, "batch centres dim"]]:
        centres = group(p, farthest_point_sampling(p, min(self.count, p.shape[1])))
        rows, _ = ball_query(centres, p, self.radius, min(self.members, p.shape[1]))
        near = torch.cat([group(p, rows) - centres[:, :, None], group(t, rows)], -1)
        return centres, self.perceptron(near).amax(2)


class PointNet2(Encoder):
    """1,024 numbers a cloud in the unit ball: neighbourhoods of radius 0.2, of those neighbourhoods of radius 0.4, then everything."""

    axes = 3

    def __init__(self, channels: int = 3, points: int = 1024):
        super().__init__()
        self.near = Abstraction(min(512, points // 2), 0.2, 32, (3 + channels, 64, 64, 128))
        self.far = Abstraction(min(128, points // 8), 0.4, 64, (3 + 128, 128, 128, 256))
        self.whole = shared(3 + 256, 256, 512, 1024)
        self.dim, self.widths = 1024, [128, 256, 1024]

    def pyramid(self, view: View) -> list[Tokens]:
        p = view.x[..., :3].float()
        p1, t1 = self.near(p, view.x)
        p2, t2 = self.far(p1, t1)
        return [Tokens(t1, p1), Tokens(t2, p2), Tokens(self.whole(torch.cat([p2, t2], -1)), p2)]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.pyramid(view)[-1].x.amax(1)


class SmallPointNet(Encoder):
    """The maximum over points of a shared perceptron of four layers, without learned transforms."""

    axes = 3

    def __init__(self, channels: int = 3, dim: int = 256):
        super().__init__()
        self.local, self.deep = shared(channels, 64, 64), shared(64, 128, dim)
        self.dim, self.widths = dim, [64, dim]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.deep(self.local(view.x)).amax(1)

    def pyramid(self, view: View) -> list[Tokens]:
        t = self.local(view.x)
        return [Tokens(t, view.x[..., :3]), Tokens(self.deep(t), view.x[..., :3])]
