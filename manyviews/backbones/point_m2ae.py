"""Point-M2AE: groups of points, groups of those, and groups of those again, each level under its own transformer.

Zhang et al., "Point-M2AE: Multi-scale Masked Autoencoders for Hierarchical Point Cloud Pre-training", NeurIPS 2022, arXiv:2205.14401: of 2,048 points 512, 256
and 64 groups of 16, 8 and 8, widths 96, 192, 384, five blocks of six heads each; its encoder, which I2P-MAE (arXiv:2212.06785) keeps.
Departs from the paper: position is added once a level, not before every block; attention is global at every level, as the authors have it for pretraining;
no stochastic depth; of fewer points than 1,024 there are fewer groups; all levels begin from the first point of the cloud; the embedding is the maximum over
the coarsest groups, as the authors take it for linear classification. The decoder belongs to the method that pretrains it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.backbones.tokens import Placed, learned_place
from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.hierarchy import Level, compact, scattered
from manyviews.nn.neighbours import chamfer, farthest_point_sampling, group, knn
from manyviews.nn.transformer import Block, initialise


class PointM2AE(Encoder):
    """`groups`, `members`, `dims` and `depths` are those of each level, from fine to coarse."""

    axes = 3

    def __init__(self, channels: int, groups: Sequence[int], members: Sequence[int], dims: Sequence[int], depths: Sequence[int], heads: int):
        super().__init__()
        self.groups, self.members, self.widths, self.dim = [*groups], [*members], [*dims], dims[-1]
        self.contents = [3 * count for count in members]
        first = Embedding(channels, 4 * dims[0] // 3, 8 * dims[0] // 3, 16 * dims[0] // 3, dims[0])  # of the papers' 96: 128, 256 and 512
        self.embeddings = nn.ModuleList([first, *(Embedding(a, a, a, b, b) for a, b in itertools.pairwise(dims))])
        self.places = nn.ModuleList(learned_place(3, dim, dim) for dim in dims)
        self.depths = [*depths]
        self.layers = nn.ModuleList(Block(dim, heads) for dim, depth in zip(dims, depths, strict=True) for _ in range(depth))
        self.norm = nn.LayerNorm(self.dim)  # of the coarsest
        self.layers.apply(initialise)
        self.blocks = [Placed(layer) for layer in self.layers]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encode_levels(self.levels(view))[-1].amax(1)

    def pyramid(self, view: View) -> list[Tokens]:
        """The groups of each level; the parent of a group is the nearest of the next coarser level."""
        levels = self.levels(view)
        parents = [knn(a.where, b.where, 1)[1][..., 0] for a, b in itertools.pairwise(levels)]
        return [Tokens(t, level.where, parent=parent) for t, level, parent in zip(self.encode_levels(levels), levels, [*parents, None], strict=True)]

    def levels(self, view: View) -> list[Level]:
        """Who is in which group, and where. Raises InputError where a view has too few points."""
        if view.x.shape[1] < max(self.groups[0], self.members[0]):
            raise InputError(f"{self.groups[0]} groups need at least as many points, and views have {view.x.shape[1]}; take a larger --size")
        found: list[Level] = []
        p = view.x[..., :3].float()
        for count, members in zip(self.groups, self.members, strict=True):
            where = group(p, farthest_point_sampling(p, count))
            _, rows = knn(where, p, members)
            content = group(p, rows) - where[:, :, None]
            finest = not found
            x = torch.cat([content, group(view.x, rows)[..., 3:]], -1) if finest else None
            found.append(Level(where, content, None if finest else rows, x))
            p = where
        return found

    def encode_levels(self, levels: list[Level], visible: list[Bool[Tensor, "batch _"]] | None = None) -> list[Float[Tensor, "batch _ _"]]:
        """Features of every level's groups, the coarsest normalised; zeros where they are not visible (None: all are).

        The members of visible groups must be visible too.
        """
        found, t = [], levels[0].x
        for k, level in enumerate(levels):
            t = self.embeddings[k](t if level.rows is None else group(t, level.rows))
            if visible is None:
                t = self.attend(k, t, level.where, None)
                found.append(t)
                continue
            rows, there = compact(visible[k])
            at = rows[..., None]
            out = self.attend(k, t.gather(1, at.expand(-1, -1, t.shape[-1])), level.where.gather(1, at.expand(-1, -1, 3)), there)
            t = scattered(t, rows, there, out)  # those that are not visible stay as they are: only hidden groups are made of them
            found.append(scattered(torch.zeros_like(t), rows, there, out))
        return found

    def attend(
        self, level: int, t: Float[Tensor, "batch groups dim"], where: Float[Tensor, "batch groups 3"], exists: Bool[Tensor, "batch groups"] | None
    ) -> Float[Tensor, "batch groups dim"]:
        """What the transformer of a level makes of its groups, or of some of them."""
        t = t + self.places[level](where).to(t.dtype)
        start = sum(self.depths[:level])
        for block in self.blocks[start : start + self.depths[level]]:
            t = block(t, where, exists)
        return self.norm(t) if level == len(self.depths) - 1 else t

    def content_error(self, prediction: Tensor, content: Float[Tensor, "batch groups members 3"]) -> Float[Tensor, "batch groups"]:
        """Chamfer distance: the mean squared distance to the nearest member, there and back."""
        a = prediction.float().unflatten(-1, (-1, 3)).flatten(0, 1)
        return chamfer(a, content.float().flatten(0, 1)).view(content.shape[:2])

    def guide(self, name: str) -> nn.Module:
        """The model of pictures of that name, looking at depth maps of clouds: which groups stand out, and what the pictures show there (I2P-MAE)."""
        from manyviews.backbones.i2p_mae import Guide

        return Guide(name)


class Embedding(nn.Module):
    """From the members of a group to the group: two shared perceptrons, each followed by the maximum over the members."""

    def __init__(self, inside: int, a: int, b: int, c: int, outside: int):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(inside, a), nn.BatchNorm1d(a), nn.ReLU(), nn.Linear(a, b))
        self.second = nn.Sequential(nn.Linear(2 * b, c), nn.BatchNorm1d(c), nn.ReLU(), nn.Linear(c, outside))

    def forward(self, members: Float[Tensor, "batch groups members inside"]) -> Float[Tensor, "batch groups outside"]:
        batch, _, count, _ = members.shape
        t = self.first(members.flatten(0, 2)).unflatten(0, (-1, count))
        t = torch.cat([t.amax(1, keepdim=True).expand_as(t), t], -1)
        return self.second(t.flatten(0, 1)).unflatten(0, (-1, count)).amax(1).unflatten(0, (batch, -1))


def levelled(channels: int, size: int, most: int, dims: Sequence[int], depths: Sequence[int], heads: int) -> PointM2AE:
    """For clouds of `size` points: half as many groups at the finest level, at least 32 and at most `most`; then a half and an eighth of those."""
    count = max(32, min(most, size // 2))
    return PointM2AE(channels, (count, count // 2, count // 8), (16, 8, min(8, count // 2)), dims, depths, heads)
