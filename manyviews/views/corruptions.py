"""Corrupted pictures, to ask how much an encoder minds.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, arXiv:1903.12261: severities 1
to 5, with the constants of their ImageNet-C for pictures above 64 pixels and of their CIFAR-10-C up to there; lengths are in proportion to the side.
All constants are those of the authors' code (github.com/hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py and make_cifar_c.py).
Departs from it: nine of their nineteen corruptions (no weather, which needs pictures of frost; no glass, zoom, defocus or elastic, no speckle, spatter
or saturation). Motion blur is a straight one-sided Gaussian by bilinear sampling, of three standard deviations, where theirs ends after 20 to 40 pixels
(2.5 of them at severity 4, 2.7 at 5), and mirrored at the border; Gaussian blur is cut at three standard deviations and mirrored, theirs at four and
continued. Results are rounded to steps of 1/255, theirs cut off, and ImageNet-C is stored as JPEG of quality 85, which is not repeated here.
Pictures of 33 to 64 pixels get CIFAR-10-C's constants and not those of Tiny-ImageNet-C, which lie between the two.

    policy = corrupted(32, "gaussian noise", 3)
    policy(samples, Counter(0, 0))["v"].x
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views.images import plain
from manyviews.views.resample import blur

Pictures = Float[Tensor, "batch channels height width"]
SMALL, SMALL_SIDE, LARGE_SIDE = 64, 32, 224  # up to SMALL pixels the first row of constants counts, which is for SMALL_SIDE


@dataclasses.dataclass(frozen=True)
class Corruption:
    """What is done to pictures in [0, 1], and how much of it for each severity; `per_pixel` levels are lengths."""

    act: Callable[[Tensor, float, Counter, Tensor], Tensor]  # (pictures, level, randomness, index) -> pictures, not clamped
    small: tuple[float | int, ...]
    large: tuple[float | int, ...]
    per_pixel: bool = False

    def level(self, severity: int, side: int) -> float:
        levels, usual = (self.small, SMALL_SIDE) if side <= SMALL else (self.large, LARGE_SIDE)
        return float(levels[severity - 1] * (side / usual if self.per_pixel else 1))


def gaussian_noise(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Plus normal numbers of this standard deviation."""
    return x + level * counter.normal("gaussian noise", index, *x.shape[1:])


def shot_noise(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Photons counted, `level` of them where it is white."""
    seeds = counter.bits("shot noise", index)
    counts = [torch.poisson(a * level, torch.Generator().manual_seed(int(s))) for a, s in zip(x.cpu(), seeds, strict=True)]
    return torch.stack(counts).to(x.device) / level


def impulse_noise(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """A share `level` of the values black or white."""
    u = counter.uniform("impulse noise", index, *x.shape[1:])
    return torch.where(u < level / 2, 0.0, torch.where(u < level, 1.0, x))


def gaussian_blur(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """A Gaussian of this standard deviation in pixels."""
    return blur(x, torch.full_like(x[:, 0, 0, 0], level))


def motion_blur(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Smeared one way at up to 45 degrees from the horizontal, weights falling like a Gaussian of `level` pixels."""
    angle = (counter.uniform("motion blur", index) - 0.5) * math.pi / 2
    theta = torch.eye(2, 3, device=x.device).repeat(len(x), 1, 1)
    smeared, total = torch.zeros_like(x), 0.0
    for t in range(math.ceil(3 * level) + 1):
        theta[:, 0, 2], theta[:, 1, 2] = 2 * t * angle.cos() / x.shape[3], 2 * t * angle.sin() / x.shape[2]
        weight = math.exp(-0.5 * (t / level) ** 2)
        shifted = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), padding_mode="reflection", align_corners=False)
        smeared, total = smeared + weight * shifted, total + weight
    return smeared / total


def brightness(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """The largest channel raised by `level`, up to 1, hue and saturation kept (HSV)."""
    value = x.amax(1, keepdim=True)
    raised = (value + level).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-6), raised)


def contrast(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Distances from each channel's mean times `level`."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + level * (x - mean)


def pixelate(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Means over boxes, so that `level` of the side's pixels are left, enlarged again."""
    for axis in (2, 3):
        side = x.shape[axis]
        left = max(1, int(side * level))
        edges = torch.arange(left + 1, device=x.device) * side / left
        pixel = torch.arange(side, device=x.device)
        overlap = (torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)).clamp(min=0) * left / side
        x = torch.tensordot(x, overlap.to(x.dtype), dims=([axis], [1])).movedim(-1, axis)
        x = x.index_select(axis, ((pixel + 0.5) * left / side).long())
    return x


def jpeg(x: Pictures, level: float, counter: Counter, index: Int[Tensor, "batch"]) -> Pictures:
    """Through JPEG at quality `level`; with other than three channels, each for itself."""
    import simplejpeg

    space = "RGB" if x.shape[1] == 3 else "GRAY"
    pixels = (x * 255).round().to(torch.uint8).cpu()
    planes = pixels if space == "RGB" else pixels.flatten(0, 1)[:, None]
    done = []
    for plane in planes.permute(0, 2, 3, 1).contiguous().numpy():
        coded = simplejpeg.encode_jpeg(plane, quality=int(level), colorspace=space, colorsubsampling="420" if space == "RGB" else "Gray")
        done.append(simplejpeg.decode_jpeg(coded, colorspace=space))
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).reshape(x.shape).to(x.device) / 255


CORRUPTIONS = {
    "gaussian noise": Corruption(gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot noise": Corruption(shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse noise": Corruption(impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "gaussian blur": Corruption(gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6), per_pixel=True),
    "motion blur": Corruption(motion_blur, (1, 1.5, 2, 2, 2.5), (3, 5, 8, 12, 15), per_pixel=True),
    "brightness": Corruption(brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": Corruption(pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Corruption(jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}


def corrupted(size: int, name: str, severity: int) -> Callable[[View, Counter], dict[str, View]]:
    """A policy: the centred square of `size` pixels, corrupted, in steps of 1/255. severity: 1 to 5."""
    corruption, clean = CORRUPTIONS[name], plain(size)
    level = corruption.level(severity, size)

    def policy(samples: View, counter: Counter) -> dict[str, View]:
        view = clean(samples, counter)["v"]
        assert isinstance(view, View)
        x = corruption.act(view.x, level, counter, view.index).clamp(0, 1)
        return {"v": dataclasses.replace(view, x=(x * 255).round() / 255)}

    return policy
