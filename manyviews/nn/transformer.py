"""A plain pre-norm transformer over sets of tokens (Vaswani et al. 2017, arXiv:1706.03762; Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Every token looks at all that exist."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"a width of {dim} cannot be shared by {heads} heads; take a multiple")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, t: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None = None) -> Float[Tensor, "batch tokens dim"]:
        q, k, v = self.qkv(t).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if exists is None else exists[:, None, None, :]
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a perceptron, each normalised before and added."""

    def __init__(self, dim: int, heads: int, ratio: float = 4.0):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, int(dim * ratio)), nn.GELU(), nn.Linear(int(dim * ratio), dim))

    def forward(self, t: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None = None) -> Float[Tensor, "batch tokens dim"]:
        t = t + self.attention(self.norm1(t), exists)
        return t + self.mlp(self.norm2(t))


class Transformer(nn.Module):
    """`depth` blocks and a last normalisation. Position must be in the tokens; what does not exist influences nothing that does."""

    def __init__(self, dim: int, depth: int, heads: int, ratio: float = 4.0):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.apply(initialise)

    def forward(self, t: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None = None) -> Float[Tensor, "batch tokens dim"]:
        for block in self.blocks:
            t = block(t, exists)
        return self.norm(t)


def initialise(module: nn.Module) -> None:
    """Linear layers as in He et al. 2022 (arXiv:2111.06377): Xavier-uniform weights, no bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
