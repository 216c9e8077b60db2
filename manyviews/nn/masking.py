"""Hiding parts of samples: which stay, which rows they had, and putting them back among mask tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.contracts import Tokens
from manyviews.nn.distributed import average


def hide(tokens: Tokens, order: Int[Tensor, "batch tokens"], ratio: float) -> tuple[Tokens, Int[Tensor, "batch kept"], Bool[Tensor, "batch tokens"]]:
    """The tokens that stay, the rows they had, and which ones are gone: the first in `order` stay.

    Each sample keeps its share 1 - ratio of those that exist, at least one.
    """
    n = tokens.x.shape[1]
    count = max(1, int(n * (1 - ratio)))
    if tokens.exists is None:
        rows = order[:, :count]
        return tokens.select(rows), rows, torch.ones_like(order, dtype=torch.bool).scatter(1, rows, False)
    order = order.gather(1, (~tokens.exists.gather(1, order)).int().sort(dim=1, stable=True).indices)  # padding last
    keep = (tokens.exists.sum(1) * (1 - ratio)).long().clamp(min=1)
    rank = order.argsort(1)
    rows = order[:, :count]
    visible = tokens.select(rows)
    kept = torch.arange(rows.shape[1], device=rows.device) < keep[:, None]
    return Tokens(visible.x, visible.where, visible.content, kept, visible.parent, visible.extent), rows, tokens.exists & (rank >= keep[:, None])


def put_back(
    parts: Float[Tensor, "batch kept dim"], rows: Int[Tensor, "batch kept"], hidden: Bool[Tensor, "batch tokens"], mask_token: Float[Tensor, "dim"]
) -> Float[Tensor, "batch tokens dim"]:
    """All tokens in their rows: what stayed, and `mask_token` where something is hidden."""
    full = mask_token.to(parts.dtype).expand(*hidden.shape, -1)
    full = full.scatter(1, rows[..., None].expand_as(parts), parts)
    return torch.where(hidden[..., None], mask_token.to(parts.dtype), full)


def over_hidden(error: Float[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"]) -> Float[Tensor, ""]:
    """The mean error of the hidden tokens of all processes."""
    return (error * hidden).sum() / average(hidden.sum().float()).clamp(min=1)
