"""Point-CMAE: mask a cloud twice, restore it twice, and let what is restored for a group that both masks hide agree.

Ren et al., "Bringing Masked Autoencoders Explicit Contrastive Properties for Point Cloud Self-Supervised Learning", ACCV 2024, arXiv:2407.05862.
Departs from the paper: as Point-MAE's file says of positions and stochastic depth; the error is the encoder's own for its kind of parts. The authors' released
code compares every commonly hidden group with all groups of the other branch instead of with itself: `contrast=all` does that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average
from manyviews.nn.masking import hide
from manyviews.nn.part_decoder import PartDecoder
from manyviews.objectives.infonce import infonce

CONTRASTS = ("tokens", "all", "instance", "none")


class PointCMAE(Method):
    """`contrast`: of tokens hidden by both masks (the paper's), of `all` pairs of one of them with any (the released code's), of the `instance`
    (InfoNCE at 0.1 between the two encodings of a sample, the paper's negative control), or `none`."""

    recipe = Recipe(views="mae", optimizer="adamw", lr=2e-3, weight_decay=0.05, warmup=1 / 30)  # 0.001 for 128 clouds; 10 of 300 epochs

    def __init__(self, encoder: Encoder, mask_ratio: float = 0.6, depth: int = 4, heads: int = 6, contrast: str = "tokens", weight: float = 1.0):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("point_cmae hides parts of samples, and this encoder has none; take e.g. --encoder point_transformer, for pictures vit_micro")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden groups must lie between 0 and 1")
        if encoder.dim % heads:
            problems.append(f"--set heads={heads}: they cannot share the encoder's width of {encoder.dim}; take a divisor")
        if contrast not in CONTRASTS:
            problems.append(f"--set contrast={contrast}: expected one of {', '.join(CONTRASTS)}")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.branches = nn.ModuleList(PartDecoder(encoder, depth, heads) for _ in range(2))  # two, each with its own mask token
        self.mask_ratio, self.contrast = mask_ratio, contrast
        self.weight = weight  # of the contrast

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        assert tokens.content is not None
        terms: Terms = {}
        decoded, masks, wholes = [], [], []
        for name, branch in zip(("first", "second"), self.branches, strict=True):
            order = self.counter.order(f"mask/{name}", v.index, tokens.x.shape[1])
            visible, rows, hidden = hide(tokens, order, self.mask_ratio)
            features = self.encoder.encode(visible)
            full = branch(features, rows, hidden, tokens)
            error = self.encoder.content_error(branch.predict(full), tokens.content)  # type: ignore[operator]
            terms[f"{name}_reconstruction"] = mean_where(error, hidden)
            decoded.append(full)
            masks.append(hidden)
            wholes.append(features.whole)
        if self.contrast != "none":
            terms["contrast"] = self.weight * self.agreement(decoded, masks, wholes, tokens.exists)
        return terms

    def agreement(self, decoded: list[Tensor], masks: list[Tensor], wholes: list[Tensor], exists: Tensor | None) -> Float[Tensor, ""]:
        """One minus the cosine between the two restorations of a group, over the groups that both masks hide; or a control."""
        if self.contrast == "instance":
            return infonce(wholes[0], wholes[1], temperature=0.1)
        a, b = (F.normalize(t.float(), dim=-1) for t in decoded)
        both = masks[0] & masks[1]
        if self.contrast == "tokens":
            return mean_where(1 - (a * b).sum(-1), both)
        there = torch.ones_like(both) if exists is None else exists
        return mean_where(((1 - a @ b.mT) * there[:, None]).sum(-1), both)


def mean_where(values: Float[Tensor, "batch tokens"], chosen: Bool[Tensor, "batch tokens"]) -> Float[Tensor, ""]:
    """Of the chosen ones, over the batch of all ranks; zero where there is none."""
    return (values * chosen).sum() / average(chosen.sum().float()).clamp(min=1)
