"""One transformer for the parts of anything: a tokenizer makes them, this makes features of them.

A tokenizer is a module that takes a view and returns `Tokens`, and says how wide they are (`dim`), how many numbers each one's content has
(`content_width`) and how wrong a prediction of it is (`error`). Everything else is the same for clouds, volumes, videos, tables, graphs and words.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens, View
from manyviews.nn.positions import sincos
from manyviews.nn.transformer import Block, initialise


class Tokenizer(Protocol):
    """What makes parts. It is a module: what it learns is learned with the rest."""

    dim: int
    axes: int  # coordinates of a part's place
    content_width: int

    def __call__(self, view: View) -> Tokens: ...

    def error(self, prediction: Float[Tensor, "batch tokens width"], content: Tensor) -> Float[Tensor, "batch tokens"]:
        """How wrong a prediction of the content is."""


class Waves(nn.Module):
    """Fixed sines and cosines of the place, `scale` of the finest wave's radians to the unit."""

    def __init__(self, dim: int, scale: float = 14.0):
        super().__init__()
        self.dim, self.scale = dim, scale

    def forward(self, where: Float[Tensor, "batch tokens axes"]) -> Float[Tensor, "batch tokens dim"]:
        return sincos(where, self.dim, self.scale)


def learned_place(axes: int, dim: int, hidden: int = 128) -> nn.Sequential:
    """A perceptron of the place, as Point-BERT (arXiv:2111.14819) has it for centres of groups."""
    return nn.Sequential(nn.Linear(axes, hidden), nn.GELU(), nn.Linear(hidden, dim))


class TokenEncoder(Encoder):
    """Pre-norm transformer blocks over the tokens that exist, with their place added at the start; the embedding is the mean of the parts.

    Any of its tokens will do, in any order. Change what is in `blocks` and every use of the encoder goes through it.
    """

    attention = "set"

    def __init__(self, tokenizer: nn.Module, depth: int, heads: int, place: nn.Module, ratio: float = 4.0):
        super().__init__()
        self.tokenizer = tokenizer
        self.dim = int(tokenizer.dim)  # type: ignore[arg-type]
        self.axes = int(tokenizer.axes)  # type: ignore[arg-type]
        self.content_width = int(tokenizer.content_width)  # type: ignore[arg-type]
        self.place = place
        self.layers = nn.ModuleList(Block(self.dim, heads, ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(self.dim)
        self.layers.apply(initialise)
        self.blocks = [Placed(layer) for layer in self.layers]
        self.widths = [self.dim] * min(4, depth)

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encode(self.tokenize(view)).whole

    def tokenize(self, view: View) -> Tokens:
        return self.tokenizer(view)

    def encode(self, tokens: Tokens) -> Features:
        t = self.run(tokens)[-1]
        return Features(mean(t, tokens.exists), t)

    def run(self, tokens: Tokens) -> list[Float[Tensor, "batch tokens dim"]]:
        """What leaves the blocks that `pyramid` takes, normalised; the last one last."""
        t = tokens.x + self.place(tokens.where).to(tokens.x.dtype)
        count, taken = len(self.widths), []
        taking = {(k + 1) * len(self.blocks) // count - 1 for k in range(count)}
        for depth, block in enumerate(self.blocks):
            t = block(t, tokens.where, tokens.exists)
            if depth in taking:
                taken.append(self.norm(t))
        return taken

    def pyramid(self, view: View) -> list[Tokens]:
        """The parts at four depths: all of one resolution."""
        tokens = self.tokenize(view)
        return [Tokens(t, tokens.where, None, tokens.exists, None, tokens.extent) for t in self.run(tokens)]

    def content_error(self, prediction: Tensor, content: Tensor) -> Float[Tensor, "batch tokens"]:
        return self.tokenizer.error(prediction, content)  # type: ignore[operator]


@dataclasses.dataclass
class Placed:
    """A block as block(t, where, exists) -> t; tokens before those that `where` tells of are prompts, and always there."""

    module: nn.Module

    def __call__(self, t: Tensor, where: Tensor, exists: Tensor | None = None) -> Tensor:
        return self.module(t, None if exists is None else F.pad(exists, (t.shape[1] - where.shape[1], 0), value=True))


def mean(t: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None) -> Float[Tensor, "batch dim"]:
    """Over the parts that exist; zero where there is none."""
    if exists is None:
        return t.mean(1)
    return torch.where(exists[..., None], t, 0).sum(1) / exists.sum(1, keepdim=True).clamp(min=1)
