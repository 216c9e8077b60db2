"""Splat transformer: groups of neighbouring Gaussian splats, each made one token by what all its splats are, under a plain transformer.

Ma et al., "ShapeSplat: A Large-scale Dataset of Gaussian Splats and Their Self-Supervised Pretraining", 3DV 2025, arXiv:2408.10906: 64 groups of 32 of 1,024
splats, 12 blocks of width 384 with 6 heads; groups in space, or in the space of all normalised numbers; splats pooling: 1.25 times as many neighbours, of which
32 attentions, each with its own temperature, make 32 members. Read with the authors' released code.
Departs from the paper: as `manyviews.backbones.point_transformer` does from Point-MAE; temperatures begin between 1 and the width of the features instead of
all at 1, where all attentions would stay one, and cannot become negative; scales are normalised over the splats of a view, not over those of the file. As in
the released code, colours are the harmonics of degree 0 alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.pointnet import Rows
from manyviews.backbones.tokens import TokenEncoder, learned_place
from manyviews.contracts import Tokens, View
from manyviews.data.splats import COLOUR, HARMONIC, OPACITY, POSITION, ROTATION, SCALE
from manyviews.errors import InputError
from manyviews.nn.neighbours import chamfer, farthest_point_sampling, group, knn

PARAMETERS = {"centre": POSITION, "opacity": OPACITY, "scale": SCALE, "rotation": ROTATION, "colour": COLOUR}  # in the order of the columns
ALL, WIDTH = tuple(PARAMETERS), 14
ALIKE = 1e-3  # scales that differ by less than this share of their mean count as one size
MORE = 1.25  # neighbours that splats pooling looks at, times the members


class SplatGroups(nn.Module):
    """`groups` of `members` splats. embed: the parameters that are seen and restored; by: those whose distance makes the groups, and their place."""

    def __init__(
        self, channels: int, dim: int, groups: int = 64, members: int = 32, embed: Sequence[str] = ALL, by: Sequence[str] = ("centre",), pooling: bool = True
    ):
        super().__init__()
        check(channels, embed, by)
        self.dim, self.groups, self.members = dim, groups, members
        self.embedded = [name for name in ALL if name in embed]
        self.seen, self.key = rows_of(embed), rows_of(by)
        self.axes, self.width = len(self.key), len(self.seen)
        self.content_width = self.width * members
        self.candidates = int(MORE * members) if pooling else members
        a = max(32, dim // 3)  # of the papers' 384: 128, and then 256 without pooling
        b = a if pooling else max(64, 2 * dim // 3)
        self.first = nn.Sequential(nn.Linear(self.width, a), Rows(a), nn.ReLU(), nn.Linear(a, b))
        self.pooling = SplatsPooling(members, a) if pooling else None
        self.second = nn.Sequential(nn.Linear(2 * b, 2 * b), Rows(2 * b), nn.ReLU(), nn.Linear(2 * b, dim))

    def forward(self, view: View) -> Tokens:
        count = view.x.shape[1]
        if count < max(self.groups, self.members):
            raise InputError(f"{self.groups} groups of {self.members} splats need at least as many splats, and views have {count}; take a larger --size")
        x = normalised(view.x.float())
        key = x[..., self.key]
        chosen = farthest_point_sampling(key, self.groups)
        centres = group(key, chosen)
        _, near = knn(centres, key, min(self.candidates, count))
        members = group(x[..., self.seen], near)
        members = torch.cat([members[..., :3] - group(x[..., :3], chosen)[:, :, None], members[..., 3:]], -1)
        return Tokens(self.embed(members), centres, members[:, :, : self.members])

    def embed(self, members: Float[Tensor, "batch groups candidates width"]) -> Float[Tensor, "batch groups dim"]:
        """Two shared perceptrons with a maximum after each, and splats pooling between them."""
        t = self.first(members)
        if self.pooling is not None:
            t = self.pooling(t)
        whole = t.amax(2, keepdim=True).expand_as(t)
        return self.second(torch.cat([whole, t], -1)).amax(2)

    def error(self, prediction: Float[Tensor, "batch groups width"], content: Float[Tensor, "batch groups members columns"]) -> Float[Tensor, "batch groups"]:
        """Chamfer distance of centres, and the mean absolute error of each other parameter, member by member from the nearest on."""
        errors = self.errors(prediction, content)
        return torch.stack([*errors.values()]).sum(0)

    def errors(self, prediction: Float[Tensor, "batch groups width"], content: Float[Tensor, "batch groups members columns"]) -> dict[str, Tensor]:
        """(batch, groups) for each parameter."""
        widths = [PARAMETERS[name].stop - PARAMETERS[name].start for name in self.embedded]
        restored, true = (t.float().split(widths, -1) for t in (prediction.unflatten(-1, (self.members, self.width)), content))
        found = {}
        for name, p, c in zip(self.embedded, restored, true, strict=True):
            if name == "centre":
                found[name] = chamfer(p.flatten(0, 1), c.flatten(0, 1)).view(c.shape[:2])
            else:
                found[name] = (in_range(name, p) - c).abs().mean((-2, -1))
        return found


class SplatsPooling(nn.Module):
    """Attention of a group's maximum to all its candidates, as often as there shall be members: soft nearest neighbours, more or fewer by temperature."""

    def __init__(self, members: int, dim: int):
        super().__init__()
        self.log_temperature = nn.Parameter(torch.linspace(0, math.log(dim), members))  # of squared distances of features

    def forward(self, t: Float[Tensor, "batch groups candidates dim"]) -> Float[Tensor, "batch groups members dim"]:
        u = t.float()
        distance = (u - u.amax(2, keepdim=True)).square().sum(-1)
        weights = (-distance[:, :, None] / self.log_temperature.exp()[:, None]).softmax(-1)
        return (weights @ u).to(t.dtype)


def check(channels: int, embed: Sequence[str], by: Sequence[str]) -> None:
    """Raises InputError with all that is wrong."""
    problems = [f"no parameter {name!r} of splats; there are {', '.join(ALL)}" for name in dict.fromkeys([*embed, *by]) if name not in PARAMETERS]
    if "centre" not in embed:
        problems.append(f"embed={', '.join(embed) or 'nothing'}: centres are always seen and restored; add centre")
    if not by:
        problems.append("by=nothing: groups need parameters to be near in, e.g. centre")
    more = [name for name in ALL[1:] if name in (*embed, *by)]
    if not problems and channels < WIDTH and more:
        problems.append(f"splats with {channels} columns have centres alone; {', '.join(more)} cannot be had without the {WIDTH} columns of splats")
    if problems:
        raise InputError(*problems)


def rows_of(names: Sequence[str]) -> list[int]:
    """The columns of some parameters."""
    return [k for name in ALL if name in names for k in range(PARAMETERS[name].start, PARAMETERS[name].stop)]


def normalised(x: Float[Tensor, "batch splats channels"]) -> Float[Tensor, "batch splats columns"]:
    """Every parameter to [-1, 1]: centres are there already, scales about their mean of all splats, in units of the farthest from it."""
    if x.shape[-1] < WIDTH:
        return x[..., :3]
    mean = x[..., SCALE].mean(1, keepdim=True)
    scale = x[..., SCALE] - mean
    least = ALIKE * mean.norm(dim=-1)[:, 0].clamp(min=1e-12)  # lest rounding be blown up where all are of one size
    scale = scale / scale.norm(dim=-1).amax(1).maximum(least)[:, None, None]
    colour = (HARMONIC * x[..., COLOUR]).clamp(-0.5, 0.5) * (2 / math.sqrt(3))
    return torch.cat([x[..., POSITION], 2 * x[..., OPACITY] - 1, scale, x[..., ROTATION], colour], -1)


def in_range(name: str, p: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
    """A prediction brought to where the parameter can be; rotations begin at no turn."""
    if name == "colour":
        return p
    p = p.tanh()
    return F.normalize(torch.cat([1 - p[..., :1], p[..., 1:]], -1), dim=-1, eps=1e-9) if name == "rotation" else p


def grouped(
    channels: int,
    dim: int,
    depth: int,
    heads: int,
    groups: int,
    members: int,
    embed: Sequence[str] = ALL,
    by: Sequence[str] = ("centre",),
    pooling: bool = True,
) -> TokenEncoder:
    tokenizer = SplatGroups(channels, dim, groups, members, embed if channels >= WIDTH else ("centre",), by if channels >= WIDTH else ("centre",), pooling)
    return TokenEncoder(tokenizer, depth, heads, learned_place(tokenizer.axes, dim))
