"""MRDD: learn first what the views of a sample share, from masked views, then what each has for itself, told apart by a bound on their information.

Ke et al., "Rethinking Multi-view Representation Learning via Distilled Disentangling", CVPR 2024, arXiv:2403.10897.
Departs from the paper: any encoder stands in for its residual one, the decoders are its; losses are of a sample, where the authors' code sums errors over the
batch, so their weights of the divergences are divided by their batch; encoders and the estimator of the information learn in one step, each from its own
loss, not in turn. In the authors' published step the encoders too lower -log q(C|z), which raises the information, and nothing is rebuilt; here they lower
the bound and rebuild their views. Specific codes are evaluated at their mean, not drawn. Evaluation shows one view; the encoder makes the other.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Stage, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank
from manyviews.nn.edges import contours
from manyviews.nn.pixels import pixels

SECOND = ("contours", "same")


class MRDD(Method):
    """The second stage: what is shared stands still, each view is rebuilt from it and a code of its own, which must not tell of it.

    consistent: numbers of the shared code C. specific: of each view's own code; the paper wants it wider than C.
    mask_ratio: share of each view that the first stage hides, 0..1. patch: side in pixels of what is hidden together.
    divergence: weight of C's divergence from a standard normal, beside a sample's summed squared error. own_divergence: of that of the views' codes.
    weight: of the bound on what a view's code tells of C. hidden: units of the estimator, half for its mean and half for its variance.
    width: channels of the decoders at full size; they have twice and four times as many below. blocks: residual blocks of each of their three levels.
    first: how long the first stage trains, in shares of the steps that follow.
    second: what the encoder takes for the second view where it is shown only the first: its "contours", or the "same" view (for --views of one kind).
    """

    recipe = Recipe(views="mrdd", optimizer="adamw", lr=5e-4, weight_decay=1e-4, warmup=0.0, betas=(0.9, 0.95))  # the paper's at 512 and at 1,024

    def __init__(
        self,
        encoder: Encoder,
        consistent: int = 20,
        specific: int = 100,
        mask_ratio: float = 0.7,
        patch: int = 2,
        divergence: float = 0.002,
        own_divergence: float = 0.0005,
        weight: float = 1.0,
        hidden: int = 400,
        width: int = 16,
        blocks: int = 4,
        first: float = 1.0,
        second: str = "contours",
    ):
        super().__init__()
        problems = []
        if not 0 <= mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share that is hidden must be at least 0 and below 1; the paper's is 0.7")
        if min(consistent, specific, patch, blocks, width) < 1 or hidden < 2 or first <= 0:
            problems.append("--set consistent, specific, patch, width, blocks must be 1 or more, hidden 2 or more, first above 0")
        if second not in SECOND:
            problems.append(f"--set second={second}: expected {' or '.join(SECOND)}")
        channels = next((m.in_channels for m in encoder.modules() if isinstance(m, nn.Conv2d)), 0)
        if not channels:
            problems.append("mrdd rebuilds pictures, and this encoder takes none: it has no 2-D convolution; take e.g. --encoder resnet_micro")
        if problems:
            raise InputError(*problems)
        self.encoder: Disentangled = Disentangled(encoder, consistent, specific, second)
        self.shared_decoders = nn.ModuleList(Decoder(consistent, channels, width, blocks) for _ in range(2))
        self.own_decoders = nn.ModuleList(Decoder(specific + consistent, channels, width, blocks) for _ in range(2))
        self.estimators: Any = nn.ModuleList(CLUB(specific, consistent, hidden) for _ in range(2))
        self.mask_ratio, self.patch, self.divergence, self.own_divergence = mask_ratio, patch, divergence, own_divergence
        self.weight, self.first = weight, first
        self.learned = [name for name, p in self.named_parameters() if p.requires_grad]
        self.trains_shared(False)

    def trains_shared(self, flag: bool) -> None:
        """Whether what is shared learns, or everything else."""
        for name in self.learned:
            self.get_parameter(name).requires_grad_(name.startswith(("encoder.shared", "shared_decoders")) == flag)

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        self.trains_shared(True)
        yield Stage("consistency", Consistency(self), data, self.first)
        self.trains_shared(False)
        self.zero_grad()
        yield Stage("", self, data)

    def loss(self, v: View, w: View) -> Terms:
        with torch.no_grad():
            c = self.encoder.consistent([v, w])[0]
        reconstruction, divergence, leak, estimator = [], [], [], []
        for k, view in enumerate((v, w)):
            mean, log_variance = self.encoder.specific(view, k)
            z = draw(mean, log_variance, self.counter, f"z/{k}", view)
            reconstruction.append(squared_error(self.own_decoders[k](torch.cat([z, c], 1), view.x), view.x))
            divergence.append(normal_divergence(mean, log_variance))
            leak.append(self.estimators[k].bound(z, c, partners(c, view, self.counter)))
            estimator.append(self.estimators[k].error(z.detach(), c))
        return {
            "reconstruction": torch.stack(reconstruction).sum(),
            "divergence": self.own_divergence * torch.stack(divergence).sum(),
            "leak": self.weight * torch.stack(leak).sum(),
            "estimator": torch.stack(estimator).sum(),
        }


class Consistency(Trainable):
    """The first stage: all views, whole, from one code of all views, masked."""

    recipe = Recipe(views="mrdd", optimizer="adamw", lr=5e-4, weight_decay=1e-4, warmup=0.0, betas=(0.9, 0.95), clip=1.0)

    def __init__(self, method: MRDD):
        super().__init__()
        self.shared, self.decoders = method.encoder.shared, method.shared_decoders
        self.mask_ratio, self.patch, self.divergence = method.mask_ratio, method.patch, method.divergence

    def loss(self, v: View, w: View) -> Terms:
        masked = [View(hide(view, self.mask_ratio, self.patch, self.counter, f"mask/{k}"), view.index) for k, view in enumerate((v, w))]
        mean, log_variance = self.shared(masked)
        c = draw(mean, log_variance, self.counter, "c", v)
        errors = [squared_error(decoder(c, view.x), view.x) for decoder, view in zip(self.decoders, (v, w), strict=True)]
        return {"reconstruction": torch.stack(errors).sum(), "divergence": self.divergence * normal_divergence(mean, log_variance)}


class Shared(nn.Module):
    """Mean and log-variance of the code of all views together; one network sees them all. Where it does not learn, its statistics stand still too."""

    def __init__(self, encoder: Encoder, dim: int):
        super().__init__()
        self.network = encoder
        self.head = nn.Linear(2 * encoder.dim, 2 * dim)

    def forward(self, views: Sequence[View]) -> tuple[Tensor, ...]:
        return self.head(torch.cat([self.network(view) for view in views], 1)).float().chunk(2, 1)

    def train(self, mode: bool = True) -> Shared:
        return super().train(mode and self.head.weight.requires_grad)


class Disentangled(Encoder):
    """[C, z_1, z_2]: what both views share, then what each has for itself."""

    def __init__(self, encoder: Encoder, consistent: int, specific: int, second: str = "contours"):
        super().__init__()
        self.own = nn.ModuleList(copy.deepcopy(encoder) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(encoder.dim, 2 * specific) for _ in range(2))
        self.shared = Shared(encoder, consistent)
        self.shared_width, self.own_width, self.second = consistent, specific, second
        self.dim = consistent + 2 * specific

    def named(self, base: str) -> str:
        """The name by which `build_encoder` makes it again, of the network `base`."""
        return f"mrdd:{self.shared_width},{self.own_width},{self.second}:{base}"

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        other = view if self.second == "same" else View(contours(view.x), view.index, None, view.given)
        return self.of(view, other)

    def of(self, v: View, w: View) -> Float[Tensor, "batch dim"]:
        """The representation of two views."""
        return torch.cat([self.consistent([v, w])[0], self.specific(v, 0)[0], self.specific(w, 1)[0]], 1)

    def consistent(self, views: Sequence[View]) -> tuple[Float[Tensor, "batch consistent"], Float[Tensor, "batch consistent"]]:
        """Mean and log-variance of C."""
        mean, log_variance = self.shared(views)
        return mean, log_variance

    def specific(self, view: View, k: int) -> tuple[Float[Tensor, "batch specific"], Float[Tensor, "batch specific"]]:
        """Mean and log-variance of the code of view number k."""
        mean, log_variance = self.heads[k](self.own[k](view)).float().chunk(2, 1)
        return mean, log_variance


class CLUB(nn.Module):
    """An upper bound on the information of z about C (Cheng et al. 2020, arXiv:2006.12013), by a normal q(C|z) with diagonal covariance."""

    def __init__(self, dim: int, out: int, hidden: int):
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(dim, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, out))
        self.log_variance = nn.Sequential(nn.Linear(dim, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, out), nn.Tanh())

    def forward(self, z: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch out"]]:
        return self.mean(z).float(), self.log_variance(z).float()

    def error(self, z: Float[Tensor, "batch dim"], c: Float[Tensor, "batch out"]) -> Float[Tensor, ""]:
        """-2 log q(C|z), without its constant: what the estimator learns by."""
        mean, log_variance = self(z)
        return ((mean - c).square() / log_variance.exp() + log_variance).sum(1).mean()

    def bound(self, z: Float[Tensor, "batch dim"], c: Float[Tensor, "batch out"], other: Float[Tensor, "batch out"]) -> Float[Tensor, ""]:
        """log q of a sample's own C less that of another's: what the encoders lower. No gradient reaches the estimator."""
        mean, log_variance = torch.func.functional_call(self, {name: p.detach() for name, p in self.named_parameters()}, (z,))
        return (((mean - other).square() - (mean - c).square()) / log_variance.exp()).sum(1).mean() / 2


class Decoder(nn.Module):
    """A picture from a code: 8 x 8 places, then three levels of residual blocks at a quarter, half and all of its sides."""

    def __init__(self, dim: int, channels: int, width: int, blocks: int, latent: int = 8):
        super().__init__()
        self.first = nn.Linear(dim, latent * 64)
        widths = [4 * width, 4 * width, 2 * width, width]
        self.into = nn.Conv2d(latent, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(nn.Sequential(Residual(a, b), *(Residual(b, b) for _ in range(blocks - 1))) for a, b in itertools.pairwise(widths))
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Float[Tensor, "batch dim"], like: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        t = self.into(self.first(z).unflatten(1, (-1, 8, 8)))
        for halvings, level in zip((2, 1, 0), self.levels, strict=True):
            t = level(F.interpolate(t, [-(-side // 2**halvings) for side in like.shape[2:]]))
        return self.last(t).float()


class Residual(nn.Module):
    """Normalise, rectify, convolve, twice, and add."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.change = nn.Sequential(nn.BatchNorm2d(a), nn.SiLU(), nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.SiLU(), nn.Conv2d(b, b, 3, padding=1))
        self.keep = nn.Identity() if a == b else nn.Conv2d(a, b, 1)

    def forward(self, t: Tensor) -> Tensor:
        return self.keep(t) + self.change(t)


def hide(view: View, ratio: float, patch: int, counter: Counter, name: str) -> Float[Tensor, "batch channels height width"]:
    """The view with this share of its patches black."""
    height, width = pixels(view, "mrdd").shape[2:]
    rows, columns = -(-height // patch), -(-width // patch)
    hidden = counter.order(name, view.index, rows * columns) < int(ratio * (rows * columns))
    mask = hidden.unflatten(1, (1, rows, columns)).repeat_interleave(patch, 2).repeat_interleave(patch, 3)[..., :height, :width]
    return view.x.masked_fill(mask, 0.0)


def draw(mean: Tensor, log_variance: Tensor, counter: Counter, name: str, view: View) -> Float[Tensor, "batch dim"]:
    """A code from its distribution."""
    return mean + (0.5 * log_variance).exp() * counter.normal(name, view.index, mean.shape[1])


def partners(c: Float[Tensor, "batch dim"], view: View, counter: Counter) -> Float[Tensor, "batch dim"]:
    """For each sample the C of another: all processes' samples stand in a random ring, in which each looks at the next."""
    everyone = gather(c)
    ring = counter.uniform("partners", gather(view.index)).argsort()
    following = torch.empty_like(ring).scatter_(0, ring, ring.roll(-1))
    return everyone[following[rank() * len(c) :][: len(c)]]


def squared_error(prediction: Tensor, x: Tensor) -> Float[Tensor, ""]:
    """Summed over a sample's pixels, averaged over samples."""
    return (prediction - x).square().flatten(1).sum(1).mean()


def normal_divergence(mean: Float[Tensor, "batch dim"], log_variance: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """From the standard normal (Kullback and Leibler), averaged over samples."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
