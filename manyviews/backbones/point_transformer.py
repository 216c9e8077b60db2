"""Point transformer: groups of neighbouring points, each made one token by a small PointNet, under a plain transformer.

Yu et al., "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling", CVPR 2022, arXiv:2111.14819, which Point-MAE (arXiv:2203.06604)
and its successors keep: 64 groups of 32 of 1,024 points, 12 blocks of width 384 with 6 heads.
Departs from the papers: the embedding is the mean of the parts instead of a class token; position is added once, not before every block; normals and
colours are seen where there are any; all groups begin from the first point of the cloud, so that the same cloud always gives the same groups.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.pointnet import Rows
from manyviews.backbones.tokens import TokenEncoder, learned_place
from manyviews.contracts import Tokens, View
from manyviews.errors import InputError
from manyviews.nn.neighbours import chamfer, farthest_point_sampling, group, knn


class Groups(nn.Module):
    """`groups` centres by farthest point sampling, `members` nearest points of each, relative to it; content is their coordinates."""

    axes = 3

    def __init__(self, channels: int, dim: int, groups: int = 64, members: int = 32):
        super().__init__()
        self.dim, self.groups, self.members = dim, groups, members
        self.content_width = 3 * members
        a, b = max(32, dim // 3), max(64, 2 * dim // 3)  # of the papers' 384: 128 and 256
        self.first = nn.Sequential(nn.Linear(channels, a), Rows(a), nn.ReLU(), nn.Linear(a, b))
        self.second = nn.Sequential(nn.Linear(2 * b, 2 * b), Rows(2 * b), nn.ReLU(), nn.Linear(2 * b, dim))

    def forward(self, view: View) -> Tokens:
        x = view.x
        if x.shape[1] < max(self.groups, self.members):
            raise InputError(f"{self.groups} groups of {self.members} points need at least as many points, and views have {x.shape[1]}; take a larger --size")
        p = x[..., :3].float()
        centres = group(p, farthest_point_sampling(p, self.groups))
        _, rows = knn(centres, p, self.members)
        members = group(x, rows)
        members = torch.cat([members[..., :3] - centres[:, :, None], members[..., 3:]], -1)
        return Tokens(self.embed(members), centres, members[..., :3])

    def embed(self, members: Float[Tensor, "batch groups members channels"]) -> Float[Tensor, "batch groups dim"]:
        """Two shared perceptrons, each followed by the maximum over the group."""
        t = self.first(members)
        whole = t.amax(2, keepdim=True).expand_as(t)
        return self.second(torch.cat([whole, t], -1)).amax(2)

    def error(self, prediction: Float[Tensor, "batch groups width"], content: Float[Tensor, "batch groups members 3"]) -> Float[Tensor, "batch groups"]:
        """Chamfer distance: the mean squared distance to the nearest point, there and back."""
        a = prediction.float().unflatten(-1, (self.members, 3)).flatten(0, 1)
        return chamfer(a, content.float().flatten(0, 1)).view(content.shape[:2])


def grouped(channels: int, dim: int, depth: int, heads: int, groups: int, members: int) -> TokenEncoder:
    return TokenEncoder(Groups(channels, dim, groups, members), depth, heads, learned_place(3, dim))
