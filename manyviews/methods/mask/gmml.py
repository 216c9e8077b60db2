"""GMML: groups of connected patches are drowned in noise or exchanged for those of another picture, and the encoder restores what was there.

Atito et al., "GMML is All you Need", ICIP 2023, arXiv:2205.14986.
Departs from the paper: corruption acts on embedded tokens, which for patches of another picture is the same; noise has the mean and deviation of the
batch's tokens in each dimension, where the paper's is white noise in the pixels; groups are aligned with the tokens (an option of the authors' code)
and are filled in order up to the exact share, the last in part; another sample is never the sample itself and is looked for among all processes;
depths before the last have a normalisation of their own and are normalised before their mean, not after; pixels are normalised
by the batch's mean and deviation, not ImageNet's; the last layer has one bias a pixel, not one a channel; one view a
sample (the authors take two, to match others' number of updates) with MAE's crops and no colour jitter; gradients are clipped by their norm over all
parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.corruption import Corruption, restoration, restorer


class GMML(Method):
    """Every token goes through the encoder, corrupted or not; the error counts where corrupted. No second network, no pairs.

    drop: largest share of tokens that a sample loses to `fill`; it is drawn between a half (or `drop`, if that is less) and `drop`.
    replace: the same for the half of the samples that show tokens of another sample instead; 0 leaves no such half.
    fill: noise or zeros. block: largest side of a group, as a share of the picture's.
    levels: how many depths are averaged to restore from, evenly spaced from the middle to the last (of 12 blocks: 6, 8, 10 and 12); 1 is the last.
    """

    recipe = Recipe(views="mae", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, warmup=10 / 800, final_lr=0.002, clip=3.0)

    def __init__(self, encoder: Encoder, drop: float = 0.75, replace: float = 0.3, fill: str = "noise", block: float = 0.3, levels: int = 4):
        super().__init__()
        self.corrupt = Corruption(drop, replace, fill, block)
        problems = self.corrupt.problems()
        if not encoder.content_width:
            problems.append("gmml corrupts parts of samples, and this encoder has none; take a transformer, e.g. --encoder vit_micro")
        if levels < 1:
            problems.append(f"--set levels={levels}: the content is restored from 1 depth or more; the paper's are 4")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.restorer = restorer(encoder.dim, encoder.content_width)
        depth = len(encoder.blocks)
        self.taken = sorted({round(depth * (1 + k / (levels - 1)) / 2) - 1 for k in range(levels - 1)} - {-1, depth - 1}) if levels > 1 else []
        self.norm = nn.LayerNorm(encoder.dim) if self.taken else None

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        shown, corrupted = self.corrupt(self.counter, "groups", tokens, v.index)
        return {"restoration": restoration(self.encoder, (self.restore(shown), tokens, corrupted))}

    def restore(self, tokens: Tokens) -> Float[Tensor, "batch tokens width"]:
        """A prediction of every token's content, from the mean of its features at several depths."""
        kept: list[Tensor] = []
        blocks = self.encoder.blocks
        self.encoder.blocks = [keeping(block, kept) if k in self.taken else block for k, block in enumerate(blocks)]
        try:
            parts = self.encoder.encode(tokens).parts
        finally:
            self.encoder.blocks = blocks
        if self.norm is not None:
            parts = torch.stack([*(self.norm(t[:, -parts.shape[1] :]) for t in kept), parts]).mean(0)
        return self.restorer(parts)


def keeping(block: Callable, kept: list[Tensor]) -> Callable:
    """The same block, which also puts what leaves it into `kept`."""

    def run(t: Tensor, where: Tensor, exists: Bool[Tensor, "batch tokens"] | None = None) -> Tensor:
        kept.append(block(t, where, exists))
        return kept[-1]

    return run
