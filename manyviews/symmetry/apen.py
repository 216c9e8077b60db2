"""APEN: a network that is equivariant to each part's own motion, where it finds the parts itself, from fine to coarse.

Atzmon, Huang, Williams, Litany, "Approximately Piecewise E(3) Equivariant Point Networks", ICLR 2024, arXiv:2402.08529.

Departs from the paper: the first partition is that by the nearest of farthest points and is not drawn, as the parts of one drawn with the authors' variance
overlap; partitions are drawn in training alone, in evaluation the likeliest is taken; the gradient passes through the last assignment alone, where the
authors differentiate the fixed point of all; centres are one where they are nearer than a share of a part's deviation, which the authors measure by a
fourth power; perceptrons are batch-normalised and narrower. Normals are not used. `equivariance_bound` is derived here for partitions drawn point by point,
with constants of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Recipe, Terms, Tokens, Trainable, View
from manyviews.errors import InputError
from manyviews.groups import Acting, find, trivial
from manyviews.nn.neighbours import farthest_point_sampling, group
from manyviews.symmetry.piecewise import Partition, Pieces, Piecewise, at_points, given_partition, pooled, squares

MODALITY = "points"
NEVER = 1e6  # what is taken from the log probability of parts that are no more


# --- partitions -------------------------------------------------------------------------------------------------------------------------------


def partition_of(logits: Float[Tensor, "batch n parts"], draw: bool) -> Partition:
    """The likeliest part of each point, or one drawn, with a straight-through gradient."""
    probability = logits.softmax(-1)
    score = logits - torch.empty_like(logits).exponential_().clamp(min=1e-20).log() if draw else logits  # Gumbel
    part = score.argmax(-1)
    own = probability.gather(-1, part[..., None])[..., 0]
    return Partition(part, 1 + own - own.detach(), probability)


def assignment(
    votes: Float[Tensor, "batch n 3"], centres: Float[Tensor, "batch parts 3"], shares: Float[Tensor, "batch parts"], variance: float
) -> Float[Tensor, "batch n parts"]:
    """Log probabilities, but for a constant, that a vote comes from each Gaussian; those without a share have none."""
    return shares.clamp(min=1e-30).log()[:, None] - squares(votes, centres) / (2 * variance) - NEVER * (shares == 0)[:, None].to(votes.dtype)


def merged(centres: Float[Tensor, "batch parts 3"], shares: Float[Tensor, "batch parts"], nearer: float, least: float) -> Float[Tensor, "batch parts"]:
    """Shares after each centre that is `nearer` to an earlier one has given its own to it, and those with less than `least` have lost it."""
    shares = shares.clone()
    close = squares(centres, centres) < nearer**2
    for k in range(1, centres.shape[1]):
        to = close[:, k, :k] & (shares[:, :k] > 0)
        first = to.int().argmax(1, keepdim=True)
        moved = torch.where(to.any(1), shares[:, k], torch.zeros_like(shares[:, k]))
        shares.scatter_add_(1, first, moved[:, None])
        shares[:, k] -= moved
    kept = torch.where((shares >= least) | (shares == shares.amax(1, keepdim=True)), shares, torch.zeros_like(shares))
    return kept / kept.sum(1, keepdim=True)


def grouped(
    votes: Float[Tensor, "batch n 3"], parts: int, variance: float, rounds: int = 16, merge: float = 0.5, least: float = 1e-4
) -> Float[Tensor, "batch n parts"]:
    """Log probabilities of at most `parts` parts: farthest votes are the first centres, then expectation and maximisation of Gaussians of one `variance`;
    before, and after half of the `rounds`, centres nearer than `merge` deviations become one. The gradient is that of the last assignment."""
    with torch.no_grad():
        x = votes.detach()
        rows = farthest_point_sampling(x.float(), min(parts, x.shape[1]))
        centres = group(x, rows)
        shares = merged(centres, centres.new_full(centres.shape[:2], 1 / parts), merge * variance**0.5, 0.0)
        for k in range(rounds):
            weights = assignment(x, centres, shares, variance).softmax(-1)
            total = weights.sum(1)
            centres = (weights.mT @ x) / total.clamp(min=1e-6)[..., None]
            shares = total / x.shape[1] * (shares > 0)
            if k == rounds // 2:
                shares = merged(centres, shares, merge * variance**0.5, least)
    return assignment(votes, centres, shares, variance)


def nearest(points: Float[Tensor, "batch n 3"], parts: int) -> Partition:
    """The finest partition: by the nearest of so many farthest points."""
    centres = group(points, farthest_point_sampling(points.detach().float(), min(parts, points.shape[1])))
    part = squares(points, centres).argmin(-1)
    return given_partition(part, centres.shape[1], points.dtype)


# --- how far from equivariant -------------------------------------------------------------------------------------------------------------------


def uncertainty(probability: Float[Tensor, "batch n parts"]) -> Float[Tensor, "batch"]:
    """The probability that a partition drawn point by point is not the likeliest one: 1 - prod_i max_k p_ik."""
    return 1 - probability.amax(-1).clamp(min=1e-30).double().log().sum(-1).exp()


def refines(part: Int[Tensor, "batch n"], truth: Int[Tensor, "batch n"]) -> Bool[Tensor, "batch"]:
    """Whether no part has points of two true parts; points with truth -1 do not count."""
    known = (truth >= 0)[:, :, None] & (truth >= 0)[:, None]
    crossing = (part[:, :, None] == part[:, None]) & (truth[:, :, None] != truth[:, None]) & known
    return ~crossing.any((1, 2))


def equivariance_bound(uncertain: Float[Tensor, "*batch"] | float, invalid: float, largest: float) -> Any:
    """A bound on E |f(g x) - g f(x)| for f(x) = E_Z phi(x, Z), where g moves the true parts: 2 M (lambda + delta).

    phi is exactly equivariant for motions of Z's parts, hence for the true parts wherever Z refines them, and |phi| <= M = `largest`. lambda = `uncertain`:
    the larger probability, before and after g, that Z is not the likeliest partition. delta = `invalid`: the probability that the likeliest partition does not
    refine the true one or changes with g. Where it does refine it and stays, both sides share phi of it but for at most lambda of their mass.
    """
    return 2 * largest * (uncertain + invalid)


# --- the network ------------------------------------------------------------------------------------------------------------------------------


class Described(NamedTuple):
    """Features of points, and on the way: each layer's votes, and the partitions from the finest to the last."""

    features: Float[Tensor, "batch n dim"]
    votes: list[Float[Tensor, "batch n 3"]]
    partitions: list[Partition]


class APEN(Encoder):
    """Mean and maximum over points of features that stay when parts move. Parts are found by votes for their centres, coarser with every layer.

    dim: of the features of a point. parts: at most; authors: 40. variances: of the votes of one part about its centre, after each layer, in squared units of
    the cloud; authors: 0.001, 0.003, 0.005 and a first of 0.2. merge: see `grouped`. rounds: of expectation and maximisation; 16. features: (scalars,
    vectors) a part hands on; authors: 8, 8. width, near, reflections: see `Piecewise`.
    """

    axes = 3

    def __init__(
        self,
        dim: int = 128,
        parts: int = 40,
        variances: tuple[float, ...] = (0.001, 0.003, 0.005),
        merge: float = 0.5,
        rounds: int = 16,
        features: tuple[int, int] = (8, 8),
        width: int = 64,
        near: int = 10,
        reflections: bool = False,
    ):
        super().__init__()
        self.parts, self.variances, self.merge, self.rounds = parts, variances, merge, rounds
        insides = [(0, 0), *[features] * (len(variances) - 1)]
        self.voting = nn.ModuleList(Piecewise(inside, features, width, near, reflections) for inside in insides)
        self.decoder = Piecewise(features, (dim, 0), width, near, reflections)
        self.dim, self.widths = 2 * dim, [dim]
        group = find("e3" if reflections else "se3")
        self.in_rep: Any = Acting(group, "points", (64, 3))
        self.out_rep = trivial(group, self.dim)

    def described(self, points: Float[Tensor, "batch n 3"], part: Int[Tensor, "batch n"] | None = None) -> Described:
        """part: the parts, where they are known (an oracle), from 0; then nothing is voted on."""
        known = None if part is None else given_partition(part.clamp(min=0), int(part.max()) + 1, points.dtype)
        partition = nearest(points, self.parts) if known is None else known
        scalars, vectors, votes, partitions = None, None, [], [partition]
        for layer, variance in zip(self.voting, self.variances, strict=True):
            said = layer(points, partition, scalars, vectors)
            votes.append(said.votes)
            if known is None:
                partition = partition_of(grouped(said.votes, self.parts, variance, self.rounds, self.merge), self.training)
            partitions.append(partition)
            onehot = partition.onehot()
            scalars, vectors = (at_points(pooled(t, onehot), partition.part) for t in (said.scalars, said.vectors))
        return Described(self.decoder(points, partition, scalars, vectors).scalars, votes, partitions)

    def forward(self, view: View | Tensor) -> Float[Tensor, "batch dim"]:
        t = self.described((view.x if isinstance(view, View) else view)[..., :3]).features
        return torch.cat([t.amax(1), t.mean(1)], -1)

    def pyramid(self, view: View) -> list[Tokens]:
        """The features of every point."""
        return [Tokens(self.described(view.x[..., :3]).features, view.x[..., :3])]


def apen(channels: int = 3, size: int = 1024) -> Encoder:
    """Features that stay when parts of a cloud move, by layers that find the parts: at most 40; 256 numbers a cloud."""
    return APEN()


def apen_micro(channels: int = 3, size: int = 1024) -> Encoder:
    """The same with at most 16 parts and two votes, 32 wide: for a CPU in minutes."""
    return APEN(64, 16, (0.01, 0.02), rounds=8, features=(4, 4), width=32, near=6)


class APENSegmentation(Trainable):
    """Which class each point belongs to, trained with the votes: sum over layers of |vote - centre of the true part|^2 + `weight` times the cross-entropy.

    encoder: an APEN. classes: of points. weight: of the classification; 0.1. oracle: whether the true parts are known, also when tested.
    The view gives `part` (batch, n), which part instance each point belongs to, from 0, and `point_label` (batch, n), its class; -1: not known.
    """

    recipe = Recipe(views="plain", optimizer="adamw", lr=1e-3, weight_decay=0.0, warmup=0.0, clip=0.1)

    def __init__(self, encoder: Encoder, classes: int, weight: float = 0.1, oracle: bool = False):
        super().__init__()
        if not isinstance(encoder, APEN):
            raise InputError(f"APEN's segmentation is of an APEN encoder (apen, apen_micro), not {type(encoder).__name__}")
        self.encoder, self.head, self.weight, self.oracle = encoder, nn.Linear(encoder.widths[0], classes), weight, oracle

    def logits(self, view: View) -> tuple[Float[Tensor, "batch n classes"], Described]:
        found = self.encoder.described(view.x[..., :3], view.given["part"].long() if self.oracle else None)
        return self.head(found.features), found

    def loss(self, v: View) -> Terms:
        missing = [name for name in ("part", "point_label") if name not in v.given]
        if missing:
            raise InputError(f"the samples come without {' and '.join(missing)}, (batch, points) columns; Data.with_columns adds them")
        logits, found = self.logits(v)
        points, part = v.x[..., :3], v.given["part"].long()
        onehot = F.one_hot(part.clamp(min=0), int(part.max()) + 1).to(points.dtype) * (part >= 0)[..., None]
        centre = at_points(pooled(points, onehot.mT), part.clamp(min=0))
        known = (part >= 0).to(points.dtype)
        off = [((vote - centre).square().sum(-1) * known).sum() / known.sum().clamp(min=1) for vote in found.votes]
        right = F.cross_entropy(logits.flatten(0, 1), v.given["point_label"].long().flatten(), ignore_index=-1)
        return {"votes": torch.stack(off).sum(), "classes": self.weight * right}


# --- for the test of all layers ---------------------------------------------------------------------------------------------------------------


class Found(APEN):
    """An APEN whose parts move, which it must find: only nearly equivariant, as a wrong partition mixes motions."""

    exact = False

    def __init__(self) -> None:
        super().__init__(8, 8, (0.05, 0.1), rounds=4, features=(2, 2), width=16, near=4)
        self.in_rep: Any = Pieces(find("se3"), "points", (32, 3))


def layers() -> dict[str, nn.Module]:
    small = APEN(8, 8, (0.05, 0.1), rounds=4, features=(2, 2), width=16, near=4)
    return {"all parts moved as one": small, "parts found": Found()}
