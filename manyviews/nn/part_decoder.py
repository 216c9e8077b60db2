"""Decoders of masked autoencoders: mask tokens among what was encoded, places, a transformer, one layer.

`PartDecoder` is that of groups (Point-MAE, Point-CMAE, Gaussian-MAE), as wide as the encoder; `GridDecoder` that of pictures and volumes (MAE, Uni4Eye).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens
from manyviews.nn.masking import put_back
from manyviews.nn.positions import sincos
from manyviews.nn.transformer import Transformer, initialise


class PartDecoder(nn.Module):
    """Features of what stayed in, features of all tokens out; `predict` makes content of them."""

    def __init__(self, encoder: Encoder, depth: int, heads: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(encoder.dim).normal_(std=0.02))
        self.place = nn.Sequential(nn.Linear(encoder.axes, 128), nn.GELU(), nn.Linear(128, encoder.dim))
        self.decoder = Transformer(encoder.dim, depth, heads)
        self.predict = nn.Linear(encoder.dim, encoder.content_width)
        initialise(self.predict)

    def forward(
        self, features: Features, rows: Int[Tensor, "batch kept"], hidden: Bool[Tensor, "batch tokens"], tokens: Tokens
    ) -> Float[Tensor, "batch tokens dim"]:
        full = put_back(features.parts, rows, hidden, self.mask_token)
        return self.decoder(full + self.place(tokens.where), tokens.exists)


class GridDecoder(nn.Module):
    """Features of what stayed in, content of all tokens out. It has a width of its own, sines for places, and the whole sample as one token more."""

    def __init__(self, encoder: Encoder, dim: int, depth: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(encoder.dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.blocks = Transformer(dim, depth, heads)
        self.predict = nn.Linear(dim, encoder.content_width)
        for layer in (self.embed, self.predict):
            initialise(layer)

    def forward(
        self, features: Features, rows: Int[Tensor, "batch kept"], hidden: Bool[Tensor, "batch tokens"], tokens: Tokens
    ) -> Float[Tensor, "batch tokens width"]:
        parts = self.embed(features.parts)
        full = put_back(parts, rows, hidden, self.mask_token) + sincos(tokens.where, parts.shape[-1])
        whole = self.embed(features.whole)[:, None].to(full.dtype)
        exists = None if tokens.exists is None else nn.functional.pad(tokens.exists, (1, 0), value=True)
        return self.predict(self.blocks(torch.cat([whole, full], 1), exists)[:, 1:])
