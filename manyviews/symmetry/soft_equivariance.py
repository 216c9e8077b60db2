"""Soft equivariance: an unconstrained network whose weights are drawn towards what each of several groups allows, as strongly as the data lets them.

Kim, Lee, Yang, Lee, "Regularizing Towards Soft Equivariance Under Mixed Symmetries", ICML 2023, arXiv:2306.00356 (projection-based equivariance
regularizer, PER). The network is that of Finzi, Welling, Wilson, "A Practical Method for Constructing Equivariant Multilayer Perceptrons for Arbitrary
Matrix Groups", ICML 2021, arXiv:2104.09459: linear layers, products and gates. The products and gates respect every candidate; the linear layers need not.

Departs from the paper: hidden features are numbers, vectors and matrices, in counts that are given, where theirs go on to tensors of higher order by a rule; so
products are the few that these have, with learned mixtures of their factors. They are left out where a candidate changes lengths, which they would not
respect. Candidates are turns about an axis where theirs are turns and mirrors; any group of linear maps of one space will do.

Weights W and biases b have the penalty R_g = sum over layers of |W - P_g W|^2 / 2 + |b - P_g b|^2 / 2, with P_g the projection on what commutes with g. Its
strength for each group is the same for the first quarter of the training and then, once, strength * (min_h R_h / R_g)^power: what costs little to keep is
held more firmly, and what the data contradicts is let go.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import Group, Representation, direct_sum, find, intertwiners, standard, trivial


@dataclasses.dataclass(frozen=True)
class Tensors:
    """Numbers, vectors and matrices side by side, in this order, as one row of numbers; so many of each."""

    numbers: int = 0
    vectors: int = 0
    matrices: int = 0

    def counts(self) -> tuple[int, int, int]:
        return self.numbers, self.vectors, self.matrices

    def dim(self, axes: int) -> int:
        return sum(count * axes**order for order, count in enumerate(self.counts()))

    def rep(self, group: Group) -> Representation:
        """How a group acts on such a row."""
        return direct_sum(*(kind(group, order) for order, count in enumerate(self.counts()) for _ in range(count)))

    def parts(self, x: Float[Tensor, "batch dim"], axes: int) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, numbers), (batch, vectors, axes), (batch, matrices, axes, axes)."""
        s, v, m = x.split([count * axes**order for order, count in enumerate(self.counts())], -1)
        return s, v.unflatten(-1, (self.vectors, axes)), m.unflatten(-1, (self.matrices, axes, axes))

    def gated(self) -> Tensors:
        """With a number more for each vector and matrix."""
        return Tensors(self.numbers + self.vectors + self.matrices, self.vectors, self.matrices)


@functools.cache
def kind(group: Group, order: int) -> Representation:
    """Of one number (order 0), vector (1) or matrix (2): W x of a matrix W is a vector."""
    vector = standard(group)
    return (trivial(group), vector, vector * vector.dual())[order]


@functools.cache
def projections(groups: tuple[Group, ...], source: int, target: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "groups maps maps"]:
    """Orthogonal, on the linear maps of one kind to another that commute with each group, flattened."""
    bases = [intertwiners(kind(group, source), kind(group, target)).flatten(1) for group in groups]
    return torch.stack([basis.T @ basis for basis in bases]).to(device, dtype)


def axes_of(groups: Sequence[Group]) -> int:
    """Of the space that all of them act on. Raises InputError where there is no such space."""
    if not groups:
        raise InputError("no candidate groups: expected one or more, such as find('o3')")
    dims = {group.name: standard(group).dim for group in groups}
    if len(set(dims.values())) > 1:
        raise InputError(f"candidates act on spaces of different dimensions: {', '.join(f'{name} on {dim}' for name, dim in dims.items())}")
    return next(iter(dims.values()))


# --- layers -----------------------------------------------------------------------------------------------------------------------------------


class SoftLinear(nn.Linear):
    """A linear layer between rows of tensors that knows its distance from what each group allows. hard: a group for which weights are projected in use."""

    def __init__(self, source: Tensors, target: Tensors, groups: Sequence[Group], hard: Group | None = None):
        axes = axes_of(groups)
        super().__init__(source.dim(axes), target.dim(axes))
        nn.init.orthogonal_(self.weight)
        self.axes, self.source, self.target, self.hard = axes, source, target, hard

    def forward(self, input: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch out"]:
        weight, bias = self.projected(self.hard) if self.hard is not None else (self.weight, self.bias)
        return F.linear(input, weight, bias)

    def projected(self, group: Group) -> tuple[Float[Tensor, "out dim"], Float[Tensor, "out"]]:
        """The nearest weights and bias that commute with the group: block by block, as all tensors of one kind are acted on alike."""
        found = []
        for weight, source in ((self.weight, self.source), (self.bias[:, None], Tensors(1))):
            rows: dict[int, list[Tensor]] = {}
            for into, out, block, each in self.blocks(weight, source):
                near = (each @ projections((group,), into, out, block.dtype, block.device)[0]).view(-1, block.shape[1] // self.axes**into, *self.map(into, out))
                rows.setdefault(out, []).append(near.transpose(1, 2).reshape(block.shape))
            found.append(torch.cat([torch.cat(strip, 1) for strip in rows.values()]))
        return found[0], found[1][:, 0]

    def map(self, into: int, out: int) -> tuple[int, int]:
        return self.axes**out, self.axes**into

    def blocks(self, weight: Float[Tensor, "out dim"], source: Tensors) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """From each kind to each: the two orders, the part of the weights, and its maps of one tensor to one, (maps, numbers of a map)."""
        sizes = [[count * self.axes**order for order, count in enumerate(tensors.counts())] for tensors in (self.target, source)]
        for out, strip in enumerate(weight.split(sizes[0], 0)):
            for into, block in enumerate(strip.split(sizes[1], 1)):
                if block.numel():
                    a, b = self.map(into, out)
                    yield into, out, block, block.reshape(len(block) // a, a, -1, b).transpose(1, 2).reshape(-1, a * b)

    def distances(self, groups: Sequence[Group]) -> Float[Tensor, "groups"]:
        """Half the squared distance from what each group allows."""
        total = self.weight.new_zeros(len(groups))
        for weight, source in ((self.weight, self.source), (self.bias[:, None], Tensors(1))):
            for into, out, block, each in self.blocks(weight, source):
                if into or out:  # between numbers all maps are allowed
                    total = total + (each - each @ projections(tuple(groups), into, out, block.dtype, block.device)).square().sum((1, 2)) / 2
        return total


class Products(nn.Module):
    """x plus products of mixtures of its tensors, of the same kinds: numbers v . w and tr(A B'), vectors A v, matrices v w' and A B."""

    def __init__(self, tensors: Tensors, axes: int, gain: float = 0.5):
        super().__init__()
        self.tensors, self.axes, self.gain = tensors, axes, gain
        n, v, m = tensors.counts()

        def mixture(out: int, source: int) -> nn.Parameter | None:
            return nn.Parameter(torch.randn(2, out, source) * source**-0.5) if out and source else None

        self.dots, self.traces, self.outers, self.matrix_products = mixture(n, v), mixture(n, m), mixture(m, v), mixture(m, m)
        self.turned_v, self.turned_m = (mixture(v, v), mixture(v, m)) if v and m else (None, None)

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        s, v, m = self.tensors.parts(x, self.axes)
        if self.dots is not None:
            s = s + self.gain * (mixed(self.dots[0], v) * mixed(self.dots[1], v)).sum(-1)
        if self.traces is not None:
            s = s + self.gain * (mixed(self.traces[0], m) * mixed(self.traces[1], m)).sum((-1, -2))
        vectors, matrices = v, m
        if self.turned_v is not None and self.turned_m is not None:
            vectors = v + self.gain * (mixed(self.turned_m[0], m) @ mixed(self.turned_v[0], v)[..., None])[..., 0]
        if self.outers is not None:
            matrices = matrices + self.gain * mixed(self.outers[0], v)[..., :, None] * mixed(self.outers[1], v)[..., None, :]
        if self.matrix_products is not None:
            matrices = matrices + self.gain * mixed(self.matrix_products[0], m) @ mixed(self.matrix_products[1], m)
        return torch.cat([s, vectors.flatten(1), matrices.flatten(1)], 1)


def mixed(weights: Float[Tensor, "out source"], x: Float[Tensor, "batch source *axes"]) -> Float[Tensor, "batch out *axes"]:
    return (weights @ x.flatten(2)).unflatten(2, x.shape[2:])


class Gates(nn.Module):
    """Each number times its own sigmoid, each vector and matrix times that of a number of its own, which is then gone."""

    def __init__(self, tensors: Tensors, axes: int):
        super().__init__()
        self.tensors, self.axes = tensors, axes

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch less"]:
        s, v, m = self.tensors.gated().parts(x, self.axes)
        own, of_vectors, of_matrices = s.split(list(self.tensors.counts()), 1)
        return torch.cat([own * own.sigmoid(), (v * of_vectors.sigmoid()[..., None]).flatten(1), (m * of_matrices.sigmoid()[..., None, None]).flatten(1)], 1)


class SoftEquivariantNetwork(nn.Sequential):
    """Linear layers with products and gates between them, from rows of tensors to rows of tensors.

    groups: the candidates. hidden: of each of the `depth` hidden layers. hard: a group that all linear layers keep to exactly: the network of Finzi et al.
    """

    exact = False

    def __init__(
        self,
        source: Tensors,
        target: Tensors,
        groups: Sequence[Group],
        hidden: Tensors = Tensors(24, 12, 4),
        depth: int = 3,
        hard: Group | None = None,
    ):
        axes = axes_of(groups)
        lengths = all(standard(group).orthogonal for group in groups)
        made: list[nn.Module] = []
        for before in [source, *[hidden] * (depth - 1)] if depth else []:
            products = [Products(hidden.gated(), axes)] if lengths else []
            made += [SoftLinear(before, hidden.gated(), groups, hard), *products, Gates(hidden, axes)]
        super().__init__(*made, SoftLinear(hidden if depth else source, target, groups, hard))
        self.groups, self.source, self.target = tuple(groups), source, target
        first = hard or self.groups[0]
        self.in_rep, self.out_rep, self.exact = source.rep(first), target.rep(first), hard is not None

    def linear(self) -> Iterator[SoftLinear]:
        return (layer for layer in self if isinstance(layer, SoftLinear))

    def distances(self) -> Float[Tensor, "groups"]:
        """R_g of every candidate."""
        return torch.stack([layer.distances(self.groups) for layer in self.linear()]).sum(0)

    @torch.no_grad()
    def levels(self, x: Float[Tensor, "batch dim"], count: int = 8, seed: int = 0) -> dict[str, float]:
        """For each candidate how far the outcome is from equivariant: the mean of |f(g x) - g f(x)| / (|f(g x)| + |g f(x)|) over elements, 0 to 1."""
        found = {}
        for group in self.groups:
            rep, out = self.source.rep(group), self.target.rep(group)
            errors = []
            for k in range(count):
                g = group.sample(len(x), Counter(seed, k), dtype=x.dtype, device=x.device)
                seen, expected = self(rep.act(g, x)), out.act(g, self(x))
                errors.append((seen - expected).norm() / (seen.norm() + expected.norm()).clamp(min=torch.finfo(x.dtype).tiny))
            found[group.name] = float(torch.stack(errors).mean())
        return found


class PER(Trainable):
    """Regression of `target`, a column of the data, on rows of tensors, with a penalty for each candidate group of a network.

    strength: of every penalty at the beginning. power: how much a larger distance than the least one weakens a group's penalty; 0: strengths stay. decay:
    weight of half the squared weights. adjust: share of the training after which strengths are set.
    """

    recipe = Recipe(views="plain", optimizer="adamw", lr=1e-3, weight_decay=0.0, warmup=0.0)

    def __init__(self, network: SoftEquivariantNetwork, strength: float = 100.0, power: float = 2.0, decay: float = 2e-4, adjust: float = 0.25):
        super().__init__()
        wrong = [f"{name}={value}: expected 0 or more" for name, value in (("strength", strength), ("power", power), ("decay", decay)) if value < 0]
        wrong += [] if 0 <= adjust <= 1 else [f"adjust={adjust}: expected a share of the training, 0 to 1"]
        if wrong:
            raise InputError(*wrong)
        self.network, self.power, self.decay, self.adjust = network, power, decay, adjust
        self.strengths: Tensor
        self.least: Tensor
        self.adjusted: Tensor
        self.register_buffer("strengths", torch.full((len(network.groups),), float(strength)))
        self.register_buffer("least", torch.full((len(network.groups),), torch.inf))  # the distances where one of them was least so far
        self.register_buffer("adjusted", torch.zeros((), dtype=torch.bool))

    def loss(self, v: View) -> Terms:
        if "target" not in v.given:
            raise InputError("soft equivariance learns a column `target` (batch, numbers), which this data does not have: data.with_columns(target=...)")
        distances = self.network.distances()
        self.seen = distances.detach().to(self.least)
        size = torch.stack([layer.weight.square().sum() for layer in self.network.linear()]).sum() / 2
        terms = {"error": F.mse_loss(self.network(v.x).float(), v.given["target"].float())}
        terms |= {"penalty": (self.strengths * distances).sum(), "size": self.decay * size}
        shown = {f"distance_{group.name}": d.detach() for group, d in zip(self.network.groups, distances, strict=True)}
        return {**terms, **shown, **{f"strength_{group.name}": s.clone() for group, s in zip(self.network.groups, self.strengths, strict=True)}}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keeps the least distances, as the loss saw them, until they decide the strengths."""
        if bool(self.adjusted) or not self.power:
            return
        if bool((self.seen < self.least).any()):
            self.least.copy_(self.seen)
        if self.progress >= self.adjust:
            self.strengths.mul_(automatic(self.least, self.power))
            self.adjusted.fill_(True)


def automatic(distances: Float[Tensor, "groups"], power: float) -> Float[Tensor, "groups"]:
    """(min_h R_h / R_g)^power: 1 for the group that the weights are nearest to, less for the others."""
    floor = torch.finfo(distances.dtype).tiny
    return (distances.min().clamp(min=floor) / distances.clamp(min=floor)) ** power


class Spaced(nn.Sequential):
    """A layer with what its group does to its input and output."""

    def __init__(self, layer: nn.Module, source: Tensors, target: Tensors, group: Group):
        super().__init__(layer)
        self.in_rep, self.out_rep = source.rep(group), target.rep(group)


def layers() -> dict[str, nn.Module]:
    """Layers and networks that keep to a group, and one that is drawn to it: that one is not exact before it has learned, by its nature."""
    some, groups = Tensors(3, 2, 1), [find(name) for name in ("o3", "so2_about_z", "scaling3")]
    made: dict[str, nn.Module] = {f"linear, {g.name}": Spaced(SoftLinear(some, Tensors(2, 3, 2), groups, g), some, Tensors(2, 3, 2), g) for g in groups}
    made["products"] = Spaced(Products(some, 3, 1.0), some, some, groups[0])
    made["gates"] = Spaced(Gates(some, 3), some.gated(), some, groups[2])
    made["hard network"] = SoftEquivariantNetwork(some, some, groups[:2], some, 2, groups[0])
    made["soft network"] = SoftEquivariantNetwork(some, some, groups[:2], some, 2)
    return made
