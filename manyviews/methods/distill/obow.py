"""OBoW: from a crop, say which visual words a slow copy finds in the whole picture, in a vocabulary that is renewed as the two of them learn.

Gidaris et al., "OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning", CVPR 2021, arXiv:2012.11552.
Departs from the paper in its views (see `obow` of the pictures' policies), in the first words, which are random unit vectors, theirs rectified Gaussians,
and in that biases and normalisations do not decay. As in the authors' code the loss is the mean over levels and over the crops of one size, summed over
sizes, and the outermost cells of a feature map, which see padding, are neither assigned nor made words; in a map too small to have others they are, and a
word is the mean over what there is of its 3 x 3 cells. Levels of a transformer with one resolution are its patches at several depths.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.crops import embed_crops
from manyviews.nn.distributed import average
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.queue import Queue


class OBoW(Method):
    """The teacher sees the clean picture, the student its crops; the student's classifier is made anew from the current words in every step.

    queue: words of each level's vocabulary, of which a step replaces as many as it has samples. levels: of the encoder's pyramid, from the coarse end.
    sharpness: of the soft assignment to words, 1 / delta: the exponent is the squared distance in units of the running mean of the smallest one, times this
    (the paper's is 10 for ResNet-18). kappa: what the classifier's unit vectors are multiplied by (5 for ResNet-18). expansion: hidden width of the network
    that makes them, in widths of the encoder. final_decay: of the teacher at the end, where it comes from `decay` along half a cosine. distance_decay: of the
    running mean of the smallest distance.
    """

    recipe = Recipe(views="obow", optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup=0.05, final_lr=0.001)
    distance: Float[Tensor, "levels"]  # of a feature to its nearest word, squared: running mean

    def __init__(
        self,
        encoder: Encoder,
        queue: int = 8192,
        levels: int = 2,
        sharpness: float = 15.0,
        kappa: float = 8.0,
        expansion: int = 2,
        decay: float = 0.99,
        final_decay: float = 1.0,
        distance_decay: float = 0.99,
    ):
        super().__init__()
        problems = []
        if not 1 <= levels <= len(encoder.widths):
            problems.append(f"--set levels={levels}: obow needs feature maps, from 1 to all {len(encoder.widths)} of this encoder's pyramid")
        if sharpness <= 0:
            problems.append(f"--set sharpness={sharpness}: far words would count as much as near ones; it must be above 0, the paper's is 15")
        if kappa <= 0:
            problems.append(f"--set kappa={kappa}: the student could not prefer any word; it must be above 0, the paper's is 8")
        if problems:
            raise InputError(*problems)
        widths = encoder.widths[-levels:]
        self.encoder = encoder  # S
        self.generators = nn.ModuleList(mlp(width, expansion * encoder.dim, encoder.dim) for width in widths)  # G
        self.teacher = frozen_copy(self.encoder)  # T
        self.vocabularies = nn.ModuleList(Queue(queue, width) for width in widths)
        self.register_buffer("distance", torch.full((levels,), 0.5))
        self.seen: list[tuple[Tensor, list[Tensor], Tensor]] = []  # of this step: each level's smallest distance and new words, and the words' samples
        self.sharpness, self.kappa = sharpness, kappa
        self.decay, self.final_decay, self.distance_decay = decay, final_decay, distance_decay

    def loss(self, clean: View, crops: list[View]) -> Terms:
        targets = self.bags(clean)
        z = torch.stack(embed_crops(self.encoder, crops))
        sizes = [getattr(crop.x, "shape", ())[1:] for crop in crops]
        share = z.new_tensor([1 / sizes.count(size) for size in sizes]).float()
        terms = {}
        for level, target in enumerate(targets):
            w = self.classifier(level)
            with torch.autocast(z.device.type, enabled=False):
                logs = F.log_softmax(self.kappa * z.float() @ w.float().T, 2)
                terms[f"level{level}"] = -((target * logs).sum(2).mean(1) * share).sum() / len(targets)
        return terms

    def classifier(self, level: int) -> Float[Tensor, "words dim"]:
        """A unit vector for each current word of a level."""
        return F.normalize(self.generators[level](F.normalize(self.vocabularies[level].rows, dim=1)), dim=1)  # type: ignore[arg-type]

    @torch.no_grad()
    def bags(self, clean: View) -> list[Float[Tensor, "batch words"]]:
        """The targets of each level: the highest assignment to each word among a picture's cells, as shares."""
        levels = self.teacher.pyramid(clean)[-len(self.vocabularies) :]
        with torch.autocast(clean.index.device.type, enabled=False):
            cells = [interior(tokens) for tokens in levels]
            apart = [squared_distances(x, queue.rows) for (x, _), queue in zip(cells, self.vocabularies, strict=True)]  # type: ignore[arg-type]
            nearest = average(torch.stack([d.amin(2).mean() for d in apart]))
            scale = self.sharpness / self.distance.lerp(nearest, 1 - self.distance_decay)
            bags = [F.normalize((-d * s).softmax(2).amax(1), p=1, dim=1) for d, s in zip(apart, scale, strict=True)]
            words = [self.new_words(f"word{level}", x, near, clean.index) for level, (x, near) in enumerate(cells)]
        self.seen.append((nearest, words, clean.index))
        return bags

    def new_words(
        self, name: str, x: Float[Tensor, "batch cells width"], near: Bool[Tensor, "cells cells"], index: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch width"]:
        """For each sample the mean over the neighbourhood of one of its cells, drawn from those that have all neighbours."""
        rows = surrounded(near)
        chosen = rows[(self.counter.uniform(name, index) * len(rows)).long()]
        weights = F.normalize(near[chosen].to(x.dtype), p=1, dim=1)
        return (weights[:, None] @ x)[:, 0]

    def after_step(self) -> None:
        ema_update(self.teacher, self.encoder, cosine(self.decay, self.final_decay, self.progress))
        if self.seen:
            self.distance.lerp_(torch.stack([nearest for nearest, _, _ in self.seen]).mean(0), 1 - self.distance_decay)
        for _, words, index in self.seen:
            for queue, fresh in zip(self.vocabularies, words, strict=True):
                queue.push(fresh, index)  # type: ignore[operator]
        self.seen = []


def interior(tokens: Tokens) -> tuple[Float[Tensor, "batch cells width"], Bool[Tensor, "cells cells"]]:
    """Features of the cells that have neighbours all around them, of all cells where none has; and which of them are neighbours, each its own too."""
    where = tokens.where[0].float()
    extent = tokens.extent[0] if tokens.extent is not None else len(where) ** (-1 / where.shape[1])
    near = ((where[:, None] - where).abs() < 1.5 * extent).all(2)  # the same grid in all samples
    rows = surrounded(near)
    return tokens.x[:, rows].float(), near[rows][:, rows]


def surrounded(near: Bool[Tensor, "cells cells"]) -> Int[Tensor, "rows"]:
    """The cells with the most neighbours."""
    count = near.sum(1)
    return (count == count.max()).nonzero()[:, 0]


def squared_distances(x: Float[Tensor, "batch cells width"], words: Float[Tensor, "words width"]) -> Float[Tensor, "batch cells words"]:
    return (x.square().sum(2, keepdim=True) + words.square().sum(1) - 2 * x @ words.T).clamp(min=0)
