"""Cuboids: volumes and videos cut into boxes of voxels, one token each (tubelets, where one axis is time).

Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021, arXiv:2103.15691, sec. 3.2; for volumes Hatamizadeh et al., "UNETR", WACV 2022, arXiv:2103.10504.
Departs from the papers: positions are fixed sines and cosines of the centre's three coordinates; the embedding is the mean of the parts; what is no multiple
of the box is filled up at the far ends with the sample's mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.tokens import TokenEncoder, Waves
from manyviews.contracts import Tokens, View


class Cuboids(nn.Module):
    """`box` is (depth or time, height, width) in voxels; `where` is (x, y, depth) in [0, 1]; content is the box's voxels, channel last."""

    axes = 3

    def __init__(self, channels: int, dim: int, box: tuple[int, int, int]):
        super().__init__()
        self.dim, self.box = dim, box
        self.content_width = channels * box[0] * box[1] * box[2]
        self.embed = nn.Linear(self.content_width, dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)

    def forward(self, view: View) -> Tokens:
        x: Tensor = view.x
        missing = [-side % box for side, box in zip(x.shape[2:], self.box, strict=True)]
        if any(missing):
            mean = x.mean((2, 3, 4), keepdim=True)
            x = F.pad(x - mean, (0, missing[2], 0, missing[1], 0, missing[0])) + mean
        counts = [side // box for side, box in zip(x.shape[2:], self.box, strict=True)]
        x = x.unflatten(4, (counts[2], -1)).unflatten(3, (counts[1], -1)).unflatten(2, (counts[0], -1))
        content = x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)
        where, extent = places(counts, x)
        return Tokens(self.embed(2 * content - 1), where.expand(len(x), -1, -1), content, extent=extent.expand(len(x), len(where[0]), -1))

    def error(self, prediction: Float[Tensor, "batch tokens width"], content: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens"]:
        """The mean squared difference."""
        return (prediction - content).square().mean(-1)


def places(counts: list[int], like: Tensor) -> tuple[Float[Tensor, "1 tokens 3"], Float[Tensor, "1 1 3"]]:
    """Centres and sizes of the boxes, as (x, y, depth) in [0, 1]."""
    axes = [(torch.arange(count, device=like.device) + 0.5) / count for count in counts]
    depth, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, depth], -1).view(1, -1, 3), torch.tensor([[[1 / counts[2], 1 / counts[1], 1 / counts[0]]]], device=like.device)


def vit3d(channels: int, dim: int, depth: int, heads: int, box: tuple[int, int, int]) -> TokenEncoder:
    return TokenEncoder(Cuboids(channels, dim, box), depth, heads, Waves(dim))
