"""Convolutions over GL+(n), SL(n) and SO(n), alone or with shifts of the plane, whose kernels are functions of a rotation and a stretch: the layers of
`lie_decomposition`, where their mathematics stands.

Samples are drawn as A = exp(S) R: R uniform, S Gaussian or in a box, which is the window that integrals over the group have; each sample's weight is what dS is
worth in Haar measure. `turns` makes sets of samples that turns by 2 pi / turns map to themselves: then quarter turns are respected exactly.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import GL, SL, SO, Acting, Cyclic, lie
from manyviews.groups.group import Draws, Linear

BRANCH = 1e-3  # radians by which the cut of the angle lies before -pi, so that rounding cannot move half turns across it
WINDOWS = ("gaussian", "box")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Elements of the linear group, and their weights in integrals over it."""

    matrix: Float[Tensor, "samples n n"]
    weight: Float[Tensor, "samples"]


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """A = exp(S) R of a linear group, and how it is sampled.

    group: GL(n), SL(n), or SO(n), in which S is 0. spread: of the entries of S, in an orthonormal basis a Gaussian's standard deviation, or the half side of
    a box. turns: in the plane, each sample comes with its turns by 2 pi / turns.
    """

    group: Linear
    window: str = "gaussian"
    spread: float = 0.158  # half of the root of 0.1, the authors' variance of log(A A^T)
    turns: int = 1

    def __post_init__(self) -> None:
        problems = (
            [] if isinstance(self.group, GL | SO) else [f"group={getattr(self.group, 'name', self.group)}; there are gl, sl and so in 2 and 3 dimensions"]
        )
        problems += [] if self.window in WINDOWS else [f"window={self.window!r}; there are {', '.join(WINDOWS)}"]
        problems += [] if self.spread > 0 else [f"spread={self.spread}; it must be more than 0"]
        problems += [] if self.turns >= 1 else [f"turns={self.turns}; it must be 1 or more"]
        if not problems and self.turns > 1 and self.group.axes != 2:
            problems.append(f"turns={self.turns} in {self.group.axes} dimensions; turns are of the plane: take turns=1")
        if problems:
            raise InputError(*(f"lie_decomposition: {problem}" for problem in problems))

    @property
    def stretches(self) -> bool:
        return isinstance(self.group, GL)

    @property
    def changes_areas(self) -> bool:
        return isinstance(self.group, GL) and not isinstance(self.group, SL)

    @property
    def dim(self) -> int:
        """How many log-coordinates there are."""
        return self.group.dim

    def sample(self, count: int, counter: Counter, like: Tensor, name: str = "g") -> Samples:
        """`count` elements, which must be a multiple of `turns`; in the plane their angles are evenly spread from a random start."""
        if count < 1 or count % self.turns:
            raise InputError(f"lie_decomposition: {count} samples; expected a multiple of turns={self.turns}, one or more")
        own, n = count // self.turns, self.group.axes
        draws = Draws(torch.arange(own, device=like.device), counter, f"lie_decomposition/{name}", torch.float64)
        if n == 2:
            start = draws.uniform("angle")[:1]  # the same for all
            rotation = lie.turn_plane(2 * math.pi * (start + torch.arange(own, device=like.device) / own) / self.turns)
        else:
            rotation = SO(n).drawn_linear(draws, 1.0)
        s = self.drawn_stretch(draws)
        matrix, weight = torch.linalg.matrix_exp(s) @ rotation, haar_density(s)
        turn = lie.turn_plane(2 * math.pi * torch.arange(self.turns, device=like.device, dtype=torch.float64) / self.turns) if self.turns > 1 else None
        if turn is not None:
            matrix = (turn @ matrix[:, None]).flatten(0, 1)
        return Samples(matrix.to(like.dtype), weight.repeat_interleave(self.turns).to(like.dtype))

    def drawn_stretch(self, draws: Draws) -> Float[Tensor, "samples n n"]:
        """Gaussians are isotropic: as likely as any rotation of them."""
        n, group = self.group.axes, self.group
        if not isinstance(group, GL):
            return torch.zeros(len(draws.rows), n, n, dtype=draws.dtype, device=draws.rows.device)
        if self.window == "box":
            return group.symmetric((2 * draws.uniform("stretch", n, n) - 1) * self.spread)
        s = draws.normal("stretch", n, n) * self.spread
        return group.symmetric(torch.where(torch.eye(n, dtype=torch.bool, device=s.device), s, s / math.sqrt(2)))

    def parts(self, matrix: Float[Tensor, "batch n n"]) -> tuple[Float[Tensor, "batch n n"], Float[Tensor, "batch n n"]]:
        """S and R of A = exp(S) R."""
        values, vectors = torch.linalg.eigh(matrix @ matrix.mT)
        logs = values.clamp(min=torch.finfo(matrix.dtype).tiny).log() / 2
        s = (vectors * logs[:, None]) @ vectors.mT
        return s, (vectors * (-logs).exp()[:, None]) @ vectors.mT @ matrix

    @torch.no_grad()
    def coordinates(self, matrix: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        """The logarithm of R over pi, then S in an orthonormal basis; found in float64."""
        n, a = self.group.axes, matrix.double()
        s, rotation = self.parts(a) if self.stretches else (torch.zeros_like(a), a)
        turn = SO(n).log_linear(rotation)
        if n == 2:
            turn = torch.where(turn < BRANCH - math.pi, turn + 2 * math.pi, turn)
        upper = torch.triu_indices(n, n, 1, device=a.device)
        off = math.sqrt(2) * s[:, upper[0], upper[1]]
        diagonal = s.diagonal(dim1=1, dim2=2)
        if isinstance(self.group, SL):  # n - 1 numbers that add up to 0 in n
            diagonal = torch.einsum("bi,ki->bk", diagonal, SL(n).basis(a).diagonal(dim1=1, dim2=2)[-(n - 1) :])
        return torch.cat([turn / math.pi, *([off, diagonal] if self.stretches else [])], -1).to(matrix.dtype)


def haar_density(s: Float[Tensor, "samples n n"]) -> Float[Tensor, "samples"]:
    """J(S): what dS is worth in the invariant measure."""
    values = torch.linalg.eigvalsh(s)
    first, second = torch.triu_indices(s.shape[-1], s.shape[-1], 1, device=s.device)
    gap = (values[:, first] - values[:, second]).abs()
    return torch.where(gap < 1e-4, 1 + gap.square() / 6, gap.sinh() / gap.clamp(min=1e-4)).prod(-1)


# --- kernels ----------------------------------------------------------------------------------------------------------------------------------


class Sine(nn.Module):
    def __init__(self, inside: int, outside: int, frequency: float, first: bool):
        super().__init__()
        self.linear, self.frequency = nn.Linear(inside, outside), frequency
        bound = 1 / inside if first else math.sqrt(6 / inside) / frequency
        nn.init.uniform_(self.linear.weight, -bound, bound)
        if not first:
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return (self.frequency * self.linear(x)).sin()


@dataclasses.dataclass(frozen=True)
class Net:
    """The network that is a kernel: its width, how many hidden layers follow the first, and by what sines multiply."""

    hidden: int = 60
    depth: int = 2
    frequency: float = 10.0


SIREN = Net()


class Kernel(nn.Module):
    """k(coordinates) -> (outside, inside) weights: a SIREN (Sitzmann et al., arXiv:2006.09661), scaled for sums over `pixels`."""

    def __init__(self, coordinates: int, inside: int, outside: int, pixels: int, net: Net):
        super().__init__()
        widths = [coordinates, *[net.hidden] * (net.depth + 1)]
        self.net = nn.Sequential(*(Sine(a, b, net.frequency, k == 0) for k, (a, b) in enumerate(itertools.pairwise(widths))))
        self.last, self.shape = nn.Linear(net.hidden, inside * outside), (outside, inside)
        bound = math.sqrt(6 / net.hidden) / math.sqrt(inside * pixels)
        nn.init.uniform_(self.last.weight, -bound, bound)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Float[Tensor, "*places coordinates"]) -> Float[Tensor, "*places outside inside"]:
        return self.last(self.net(x)).unflatten(-1, self.shape)


def offsets(side: int, like: Tensor) -> Float[Tensor, "side side 2"]:
    """The (x, y) of a kernel's pixels; its half side is 1."""
    line = (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1
    return torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1)


def window(near: Float[Tensor, "*places axes"], smooth: bool) -> Float[Tensor, "*places"]:
    """Kernels live within distance 1: with a sharp edge, or with a smooth one where the group changes areas and its coordinates count too."""
    distance = near.norm(dim=-1)
    return torch.sigmoid(2 * (1 - distance)) if smooth else (distance <= 1).to(near.dtype)


def checked(of: Decomposition, side: int) -> int:
    if side < 1 or side % 2 == 0:
        raise InputError(f"lie_decomposition: a kernel of {side} pixels; expected an odd number")
    if side > 1 and of.group.axes != 2:
        raise InputError(f"lie_decomposition: {of.group.name} moves no pictures; with side=1 there are convolutions over the group alone")
    return side


class Lifting(nn.Module):
    """Pictures to functions of place and linear map. side: of the kernel, in pixels, odd. padding: pixels of 0 around the picture."""

    def __init__(self, of: Decomposition, inside: int, outside: int, side: int = 5, padding: int = 0, net: Net = SIREN):
        super().__init__()
        self.of, self.side, self.padding = of, checked(of, side), padding
        self.kernel = Kernel(2, inside, outside, side * side, net)

    def weights(self, outside: Samples) -> Float[Tensor, "to outside inside side side"]:
        """k(A^-1 p) |det A|^-1."""
        with torch.autocast(outside.matrix.device.type, enabled=False):
            at = torch.einsum("aij,hwj->ahwi", torch.linalg.inv(outside.matrix), offsets(self.side, outside.matrix))
            factor = window(at, self.of.changes_areas) / torch.linalg.det(outside.matrix)[:, None, None]
            return (self.kernel(at) * factor[..., None, None]).permute(0, 3, 4, 1, 2)

    def forward(self, x: Float[Tensor, "batch inside height width"], outside: Samples) -> Float[Tensor, "batch outside to high wide"]:
        k = self.weights(outside).transpose(0, 1)
        return F.conv2d(x, k.flatten(0, 1), padding=self.padding).unflatten(1, k.shape[:2])


class Convolution(nn.Module):
    """Functions of place and linear map to such. With side 1 there are no neighbours: a convolution over the linear group, at each place or without places.

    samples: how many the weights are scaled for; there may be more or fewer.
    """

    def __init__(self, of: Decomposition, inside: int, outside: int, side: int = 5, padding: int = 0, net: Net = SIREN, samples: int = 10):
        super().__init__()
        self.of, self.side, self.padding = of, checked(of, side), padding
        self.kernel = Kernel((2 if side > 1 else 0) + of.dim, inside, outside, side * side, net)
        self.scale = math.sqrt(samples)  # a mean over so many has as much less variance

    def weights(self, inside: Samples, outside: Samples) -> Float[Tensor, "to outside inside from side side"]:
        """k(A^-1 p, A^-1 B) |det B|^-1 dB."""
        with torch.autocast(outside.matrix.device.type, enabled=False):
            back = torch.linalg.inv(outside.matrix)
            between = self.of.coordinates((back[:, None] @ inside.matrix).flatten(0, 1)).unflatten(0, (len(back), -1))
            between = between[:, :, None, None].expand(-1, -1, self.side, self.side, -1)
            near = torch.einsum("aij,hwj->ahwi", back, offsets(self.side, back))[:, None].expand(*between.shape[:-1], 2) if self.side > 1 else between[..., :0]
            at = torch.cat([near, between], -1)
            share = inside.weight * (self.scale / len(inside.weight)) / (torch.linalg.det(inside.matrix) if self.side > 1 else 1.0)
            factor = window(at if self.of.changes_areas else near, self.of.changes_areas) * share[:, None, None]
            return (self.kernel(at) * factor[..., None, None]).permute(0, 4, 5, 1, 2, 3)

    def forward(self, x: Float[Tensor, "batch inside from *place"], inside: Samples, outside: Samples) -> Float[Tensor, "batch outside to ..."]:
        """Without places x is (batch, inside, from)."""
        k = self.weights(inside, outside)
        if x.dim() == 3:
            return torch.einsum("bif,toif->bot", x, k[..., 0, 0])
        k = k.transpose(0, 1)
        return F.conv2d(x.flatten(1, 2), k.flatten(0, 1).flatten(1, 2), padding=self.padding).unflatten(1, k.shape[:2])


# --- what is exact ----------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OnSamples:
    """Functions (batch, channels, samples, *place) on samples that come with their turns: turning moves places, and each sample to a turned one."""

    group: Cyclic
    shape: tuple[int, ...]

    def act(self, g: Any, x: Tensor) -> Tensor:
        turns = self.group.n
        moved = self.group.act(g, x.flatten(1, 2), "images").view_as(x) if x.dim() == 5 else x
        from_which = (torch.arange(turns, device=x.device) - self.group.number(g)[:, None]) % turns
        parts = moved.unflatten(2, (-1, turns))
        index = from_which.view(len(x), 1, 1, turns, *[1] * (x.dim() - 3)).expand_as(parts)
        return parts.gather(3, index).view_as(x)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(count, *self.shape, generator=generator, dtype=torch.float64).to(dtype)


class At(nn.Module):
    """A layer with its samples chosen."""

    def __init__(self, layer: Lifting | Convolution, samples: int, in_rep: Any, out_rep: Any):
        super().__init__()
        self.layer, self.samples, self.in_rep, self.out_rep = layer, samples, in_rep, out_rep

    def forward(self, x: Tensor) -> Tensor:
        a, b = (self.layer.of.sample(self.samples, Counter(0, 0), x, name) for name in "ab")
        return self.layer(x, a) if isinstance(self.layer, Lifting) else self.layer(x, a, b)


def layers() -> dict[str, nn.Module]:
    """Under quarter turns, which they respect exactly."""
    c4, small = Cyclic(4), Net(8, 1)
    found: dict[str, nn.Module] = {}
    for group in (GL(2), SL(2), SO(2)):
        of = Decomposition(group, turns=4)
        pictures = OnSamples(c4, (2, 8, 9, 9))
        found[f"{group.name} lifting"] = At(Lifting(of, 2, 3, net=small), 8, Acting(c4, "images", (2, 9, 9)), pictures)
        found[f"{group.name} convolution"] = At(Convolution(of, 2, 3, net=small), 8, pictures, pictures)
        found[f"{group.name} without shifts"] = At(Convolution(of, 2, 3, side=1, net=small), 8, OnSamples(c4, (2, 8)), OnSamples(c4, (3, 8)))
    return found
