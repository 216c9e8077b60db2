"""I2P-MAE: a model of pictures says which groups of a cloud to leave visible, and what a masked autoencoder should tell of them beside the hidden points.

Zhang et al., "Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders", CVPR 2023, arXiv:2212.06785.
Departs from the paper: positions join the groups once a level, not before every block, and there is no stochastic depth; of hidden groups exactly the members
of visible ones are visible one level down (the authors' code shows one more of each batch); the model's pictures are normalised as its own were. An
encoder without levels, such as a vision transformer, is one level, and where it does not look at pictures of its samples a frozen copy of the encoder as it
came (give it --weights) is the model: a part stands out as much as it contributes to the mean of all parts.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.analyze.saliency import contribution
from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average
from manyviews.nn.ema import frozen_copy
from manyviews.nn.hierarchy import Level, back_project, compact, scattered
from manyviews.nn.masking import over_hidden
from manyviews.nn.mlp import mlp
from manyviews.nn.neighbours import inverse_distance_interpolation
from manyviews.nn.transformer import Block, initialise

MASKINGS = ("guided", "random")


class I2PMAE(Method):
    """Masks are drawn at the coarsest level; what is restored and described are the groups of the level below it.

    masking: guided, visible groups drawn without replacement by the softmax of how much they stand out, or random.
    temperature: what that is divided by before the softmax: at the paper's 1 the draw is nearly even, for attention is shared by all of a picture's places
    (by CLIP's 196, half a percent each); 0.002 makes it sharp.
    semantic: weight of describing visible groups by the model's features; 0: points alone are restored.
    depth: blocks of the decoder at each level.
    guide: the model of pictures: clip (the paper's, OpenAI's ViT-B/16), open_clip:NAME@WEIGHTS, timm:NAME, timm:NAME@FILE, untrained:NAME, or a run of
    `manyviews pretrain` on pictures.
    """

    recipe = Recipe(views="mae", optimizer="adamw", lr=4e-3, weight_decay=0.05, warmup=1 / 30)  # 0.001 for 64 clouds; 10 of 300 epochs

    def __init__(
        self,
        encoder: Encoder,
        mask_ratio: float = 0.8,
        masking: str = "guided",
        temperature: float = 1.0,
        semantic: float = 1.0,
        depth: int = 1,
        heads: int = 6,
        guide: str = "clip",
    ):
        super().__init__()
        self.encoder = encoder
        widths, contents = self.source.widths, self.source.contents
        problems = []
        if not contents[-1]:
            problems.append("i2p_mae hides parts of samples, and this encoder has none; take --encoder point_m2ae, for pictures a transformer, e.g. vit_micro")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden groups must lie between 0 and 1")
        if masking not in MASKINGS:
            problems.append(f"--set masking={masking}: expected {' or '.join(MASKINGS)}")
        if temperature <= 0:
            problems.append(f"--set temperature={temperature}: it divides, and must be above 0; the paper's is 1")
        self.target = max(0, len(widths) - 2)  # the level that is restored
        decoded = widths[self.target :][::-1]
        if any(width % heads for width in decoded):
            problems.append(f"--set heads={heads}: they cannot share the widths {', '.join(map(str, decoded))}; take a divisor")
        if problems:
            raise InputError(*problems)
        asked: Any = getattr(encoder, "guide", lambda name: Itself(encoder))
        guiding: Any = asked(guide).requires_grad_(False) if masking == "guided" or semantic else None
        self.guide = guiding
        self.mask_token = nn.Parameter(torch.empty(encoder.dim).normal_(std=0.02))
        self.first = Step(decoded[0], encoder.axes, depth, heads)
        self.others = nn.ModuleList(Step(b, encoder.axes, depth, heads, a) for a, b in itertools.pairwise(decoded))
        self.norm = nn.LayerNorm(decoded[-1])
        self.restore = nn.Linear(decoded[-1], contents[self.target])
        self.describe = nn.Linear(decoded[-1], guiding.numbers(contents[self.target])) if semantic else None
        for layer in (self.restore, self.describe):
            initialise(layer) if layer is not None else None
        self.mask_ratio, self.masking, self.temperature, self.semantic = mask_ratio, masking, temperature, semantic

    @property
    def source(self) -> Any:
        """The encoder, where it has levels, else what makes it one level."""
        return self.encoder if hasattr(self.encoder, "encode_levels") else Flat(self.encoder)

    def loss(self, v: View) -> Terms:
        source = self.source
        levels = source.levels(v)
        target = levels[self.target]
        saliency, features = (None, torch.empty(0)) if self.guide is None else self.guide(v, levels[-1], target)
        visible = self.show(levels, saliency if self.masking == "guided" else None, v.index)
        t = self.decode(levels, source.encode_levels(levels, visible), visible)
        seen = visible[self.target]
        hidden = ~seen if target.exists is None else target.exists & ~seen
        error = self.encoder.content_error(self.restore(t), target.content)
        terms = {"reconstruction": over_hidden(error, hidden)}
        if self.describe is not None:
            wrong = (self.describe(t[seen]).float() - features[seen]).square().mean(-1)
            terms["semantic"] = self.semantic * wrong.sum() / average(seen.sum().float()).clamp(min=1)
        return terms

    def show(self, levels: list[Level], saliency: Float[Tensor, "batch groups"] | None, index: Int[Tensor, "batch"]) -> list[Bool[Tensor, "batch _"]]:
        """Which groups of each level are visible: some of the coarsest, and then whatever is in a visible group."""
        top = levels[-1]
        exists = torch.ones(top.where.shape[:2], dtype=torch.bool, device=index.device) if top.exists is None else top.exists
        noise = self.counter.gumbel("mask", index, exists.shape[1])
        logits = torch.zeros_like(noise) if saliency is None else saliency / self.temperature
        visible = [drawn(logits, exists, noise, self.mask_ratio)]
        for level, finer in zip(levels[:0:-1], levels[-2::-1], strict=True):
            assert level.rows is not None
            visible.append(back_project(visible[-1], level.rows, finer.where.shape[1]))
        return visible[::-1]

    def decode(self, levels: list[Level], encoded: list[Tensor], visible: list[Tensor]) -> Float[Tensor, "batch groups dim"]:
        """Features of all groups of the target level, from those of the visible ones of all levels from there on."""
        coarser = levels[-1]
        t = torch.where(visible[-1][..., None], encoded[-1], self.mask_token.to(encoded[-1].dtype))
        t = self.first(t, coarser)
        for level, x, shown, step in zip(levels[-2::-1], encoded[-2::-1], visible[-2::-1], self.others, strict=False):  # finer ones are not restored
            near = inverse_distance_interpolation(level.where, coarser.where, t, 3, coarser.exists)
            t, coarser = step(step.join(x, shown, near), level), level  # type: ignore[operator]
        return self.norm(t)


class Step(nn.Module):
    """One level of the decoder; `coarser` is the width of the level before it."""

    def __init__(self, dim: int, axes: int, depth: int, heads: int, coarser: int = 0):
        super().__init__()
        self.place = nn.Sequential(nn.Linear(axes, dim), nn.GELU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.blocks.apply(initialise)
        self.norm = nn.LayerNorm(dim) if coarser else None
        self.fuse = mlp(dim + coarser, dim, last_norm=True).append(nn.GELU()) if coarser else None
        self.more = mlp(dim, dim, dim, last_norm=True, activation=nn.GELU) if coarser else None

    def forward(self, t: Float[Tensor, "batch groups dim"], level: Level) -> Float[Tensor, "batch groups dim"]:
        t = t + self.place(level.where).to(t.dtype)
        for block in self.blocks:
            t = block(t, level.exists)
        return t

    def join(
        self, x: Float[Tensor, "batch groups dim"], visible: Bool[Tensor, "batch groups"], near: Float[Tensor, "batch groups coarser"]
    ) -> Float[Tensor, "batch groups dim"]:
        """The encoder's features of visible groups, nothing of the others, with what comes from the coarser level, through a residual perceptron."""
        assert self.norm is not None and self.fuse is not None and self.more is not None
        own = torch.where(visible[..., None], self.norm(x), 0)
        t = self.fuse(torch.cat([own, near.to(own.dtype)], -1).flatten(0, 1))
        return nn.functional.gelu(self.more(t) + t).unflatten(0, visible.shape)


class Flat:
    """An encoder of parts as one of a single level."""

    def __init__(self, encoder: Encoder):
        self.encoder, self.widths, self.contents = encoder, [encoder.dim], [encoder.content_width]

    def levels(self, view: View) -> list[Level]:
        tokens = self.encoder.tokenize(view)
        assert tokens.content is not None
        return [Level(tokens.where, tokens.content, x=tokens, exists=tokens.exists)]

    def encode_levels(self, levels: list[Level], visible: list[Bool[Tensor, "batch groups"]]) -> list[Float[Tensor, "batch groups dim"]]:
        tokens: Tokens = levels[0].x
        rows, there = compact(visible[0])
        kept = tokens.select(rows)
        kept = Tokens(kept.x, kept.where, None, None if tokens.exists is None else there, kept.parent, kept.extent)
        parts = self.encoder.encode(kept).parts
        return [scattered(parts.new_zeros(*visible[0].shape, parts.shape[-1]), rows, there, parts)]


class Itself(nn.Module):
    """A frozen copy of the encoder in the place of a model of pictures."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = frozen_copy(encoder)

    def train(self, mode: bool = True) -> Itself:
        super().train(mode)
        self.encoder.eval()
        return self

    def numbers(self, content: int) -> int:
        """Of features for each part."""
        return self.encoder.dim

    @torch.no_grad()
    def forward(self, view: View, top: Level, target: Level) -> tuple[Float[Tensor, "batch tokens"], Float[Tensor, "batch tokens dim"]]:
        parts = self.encoder.encode(self.encoder.tokenize(view)).parts.float()
        return contribution(parts), parts


def drawn(
    logits: Float[Tensor, "batch groups"], exists: Bool[Tensor, "batch groups"], noise: Float[Tensor, "batch groups"], ratio: float
) -> Bool[Tensor, "batch groups"]:
    """All but the share `ratio`, rounded down, of each sample's groups, at least one, drawn one after another by the softmax of what is left (Gumbel noise)."""
    count = exists.sum(1)
    keep = (count - (ratio * count.double()).floor().long()).clamp(min=1)
    key = (logits.float() + noise).masked_fill(~exists, -torch.inf)
    rank = key.argsort(dim=1, descending=True, stable=True).argsort(1)
    return (rank < keep[:, None]) & exists
