"""Lie group decompositions: convolutions over GL+(n) and SL(n), alone or with shifts, whose kernels are functions of a rotation and a stretch.

Mironenco, Forre, "Lie Group Decompositions for Equivariant Neural Networks", ICLR 2024, arXiv:2310.11366 (authors' code: mirceamironenco/rgenn).

A linear map is A = exp(S) R in one way alone: S symmetric (free of trace in SL), R a rotation. Its log-coordinates are S and the logarithm of R. Haar
measure is dA = J(S) dS dR, J the product of sinh(a - b) / (a - b) over pairs of eigenvalues of S. A picture f is lifted, and a function F on the affine group
convolved, by
    (f * k)(x, A) = integral of f(y) k(A^-1 (y - x)) |det A|^-1 dy
    (F * k)(x, A) = integral of F(y, B) k(A^-1 (y - x), A^-1 B) |det B|^-1 dy dB
over the pixels that a kernel sees, and over B by Monte Carlo; k is a SIREN of the coordinates. The layers are in `lie_convolution`. As the window on S is
finite, samples are few and pixels are no continuum, a network is invariant to linear maps only approximately (`exact = False`). It is so exactly under
quarter turns of square pictures where each sample comes with its `turns`, 4 or a multiple, and no row is left over where sides are halved.

Departs from the paper: samples have the weight of their stretch in Haar measure (near 1 at the usual spread); sums over samples are means, so that their
number may change; angles are divided by pi before they enter a kernel; the lifting convolution and the blocks, which shortcuts tie together, share one set of
samples, and the last convolution goes to a second one. In training samples are drawn anew at each step, from a counter that is saved with the weights and the
same on all ranks; in evaluation, and throughout in the micro networks, which also normalise by batches, they are always the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.timm_model import cells
from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import GL, SL, SO, Acting, Cyclic, Representation, trivial
from manyviews.symmetry.lie_convolution import SIREN, Convolution, Decomposition, Lifting, Net, Samples

MODALITY = "images"


class Layer(nn.Module):
    """Mean 0 and variance 1 over all that there is of a sample."""

    def forward(self, x: Float[Tensor, "batch dim *rest"]) -> Float[Tensor, "batch dim *rest"]:
        return F.layer_norm(x, x.shape[1:])


def norm(kind: str, width: int) -> nn.Module:
    """Both are the same for all samples of the group and all places."""
    if kind not in ("layer", "batch"):
        raise InputError(f"lie_decomposition: norm={kind!r}; there are layer, batch")
    return nn.BatchNorm3d(width) if kind == "batch" else Layer()


def halved(x: Float[Tensor, "batch dim samples height width"]) -> Float[Tensor, "batch dim samples high wide"]:
    """The maximum of 2 x 2 pixels."""
    return F.max_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])


class Block(nn.Module):
    """Two convolutions and a shortcut, then sides are halved."""

    def __init__(self, of: Decomposition, width: int, side: int, net: Net, samples: int, kind: str):
        super().__init__()
        self.first, self.second = (Convolution(of, width, width, side, side // 2, net, samples) for _ in range(2))
        self.norms = nn.ModuleList(norm(kind, width) for _ in range(3))

    def forward(self, x: Float[Tensor, "batch width samples height width_"], at: Samples) -> Float[Tensor, "batch width samples _ _"]:
        y = F.gelu(self.norms[0](self.first(x, at, at)))
        y = F.gelu(x + F.gelu(self.norms[1](self.second(y, at, at))))
        return F.gelu(halved(self.norms[2](y)))


class LieResNet(nn.Module):
    """Lift, residual blocks each followed by a halving of the sides, one more convolution, the maximum over group and places, a hidden layer.

    of: the group, and how it is sampled. width: channels, features: those of the last convolution. samples: elements of the group. blocks: how many.
    side: of the kernels, in pixels. dim: numbers that come out. dropout: of these. kind: of normalisation, layer (the authors') or batch. early: whether
    sides are halved also after lifting, for small machines. resample: whether samples are drawn anew at each training step. net: the network that is a
    kernel. size: of pictures, in pixels, on which `check_layer` tries it; others will do.
    """

    exact = False
    draws: Tensor

    def __init__(
        self, of: Decomposition, channels: int = 1, width: int = 40, features: int = 40, samples: int = 10, blocks: int = 1, side: int = 5, dim: int = 256,
        dropout: float = 0.3, kind: str = "layer", early: bool = False, resample: bool = True, net: Net = SIREN, size: int = 40, seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        of.sample(samples, Counter(0, 0), torch.zeros(1))  # says what is wrong with their number
        self.of, self.samples, self.early, self.resample, self.seed, self.dim = of, samples, early, resample, seed, dim
        self.widths = [*[width] * blocks, features]
        self.lift = Lifting(of, channels, width, side, net=net)
        self.blocks = nn.ModuleList(Block(of, width, side, net, samples, kind) for _ in range(blocks))
        self.last = Convolution(of, width, features, side, net=net, samples=samples)
        self.norms = nn.ModuleList(norm(kind, channels) for channels in (width, features))
        self.head = nn.Sequential(nn.Linear(features, dim, bias=False), nn.LayerNorm(dim), nn.GELU(), nn.Dropout(dropout))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))  # training steps so far
        self.in_rep = Acting(of.group, "images", (channels, size, size))
        self.out_rep: Representation = trivial(of.group, dim)
        self.least = side - 1 + (side << (blocks + early))  # pixels that a picture must have

    def elements(self, like: Tensor) -> tuple[Samples, Samples]:
        """The samples of this step: of all layers but the last, and of the last."""
        anew = self.training and self.resample
        self.draws += anew
        counter = Counter(self.seed, int(self.draws) if anew else 0)
        early, late = (self.of.sample(self.samples, counter, like, name) for name in ("early", "late"))
        return early, late

    def maps(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch dim samples _ _"]]:
        """After each block, and after the last convolution."""
        if min(x.shape[2:]) < self.least:
            raise InputError(f"lie_decomposition: pictures of {tuple(x.shape[2:])} pixels; this network needs {self.least} or more: take a larger --size")
        early, late = self.elements(x)
        t = F.gelu(self.norms[0](self.lift(x, early)))
        t = halved(t) if self.early else t
        found = []
        for block in self.blocks:
            t = block(t, early)
            found.append(t)
        return [*found, F.gelu(self.norms[1](self.last(t, early, late)))]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch dim"]:
        return self.head(self.maps(x)[-1].amax((2, 3, 4)))


class LieEncoder(Encoder):
    """The network of pictures in [0, 1], which it sees in [-1, 1]. The pyramid is the maximum over the group."""

    def __init__(self, network: LieResNet):
        super().__init__()
        self.network, self.dim = network, network.dim
        self.widths = network.widths

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.network(2 * view.x - 1)

    def pyramid(self, view: View) -> list[Tokens]:
        found = []
        for t in self.network.maps(2 * view.x - 1):
            where, extent = (a.expand(len(t), -1, -1) for a in cells(t.shape[-2], t.shape[-1], t.device))
            found.append(Tokens(t.amax(2).flatten(2).mT, where, extent=extent))
        return found


def small(group: GL | SO, channels: int, size: int) -> LieEncoder:
    """The same samples at each step: in a few hundred the noise of so few drawn anew is not averaged out."""
    of, net = Decomposition(group, turns=4), Net(32, 1)
    network = LieResNet(of, channels, 8, 32, 16, dim=64, dropout=0.0, kind="batch", early=True, resample=False, net=net, size=size)
    return LieEncoder(network)


def lie_decomposition(channels: int = 3, size: int = 40) -> Encoder:
    """Shifts and SL(2), as the authors run affNIST (40 pixels): 40 channels on 10 samples of the group, kernels of 5 pixels."""
    return LieEncoder(LieResNet(Decomposition(SL(2)), channels, size=size))


def lie_decomposition_gl(channels: int = 3, size: int = 40) -> Encoder:
    """Shifts and GL+(2), all affine maps that do not mirror: otherwise as lie_decomposition."""
    return LieEncoder(LieResNet(Decomposition(GL(2)), channels, size=size))


def lie_decomposition_micro(channels: int = 3, size: int = 24) -> Encoder:
    """Shifts and SL(2) for a CPU in minutes: 8 channels on 16 samples, which are 4 with their quarter turns."""
    return small(SL(2), channels, size)


def lie_decomposition_gl_micro(channels: int = 3, size: int = 24) -> Encoder:
    """Shifts and GL+(2), otherwise as lie_decomposition_micro."""
    return small(GL(2), channels, size)


def lie_decomposition_so_micro(channels: int = 3, size: int = 24) -> Encoder:
    """Shifts and rotations alone, SE(2), otherwise as lie_decomposition_micro: what stretches add can be told from it."""
    return small(SO(2), channels, size)


def layers() -> dict[str, nn.Module]:
    """The network, exactly invariant under quarter turns, and approximately under the group."""
    found: dict[str, nn.Module] = {}
    for group in (GL(2), SL(2), SO(2)):
        of = Decomposition(group, turns=4)
        for exact in (True, False):
            network = LieResNet(of, 1, 3, 3, 4, dim=5, net=Net(8, 1), size=24)
            if exact:
                network.in_rep, network.out_rep, network.exact = Acting(Cyclic(4), "images", (1, 24, 24)), trivial(Cyclic(4), 5), True
            found[f"network under {'quarter turns' if exact else group.name}, over {group.name}"] = network
    return found
