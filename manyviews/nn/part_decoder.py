"""The decoder of masked autoencoders of groups (Point-MAE, Point-CMAE, Gaussian-MAE): mask tokens among what was encoded, places, a transformer, one layer."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens
from manyviews.nn.masking import put_back
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
