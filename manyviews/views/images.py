"""Views of pictures: published policies, as data.

A policy says which changes make each view. They are drawn, composed and then applied at once (`manyviews.views.picture`): geometric ones (crop,
flip, rotate) are one 3x3 map a sample, photometric ones (brightness, contrast, saturation, hue, greyscale) one colour matrix; then one
resampling, one blur, one clamp. Solarize, which is not linear, acts after. Hue is a rotation about the grey axis, contrast is about the mean
grey of the cropped picture.

The usual pipeline (torchvision's) clamps after every step and turns hue in HSV. On crops of scikit-image's photographs the mean absolute
difference from it, of values in [0, 1], is 0.024 at SimCLR's full colour strength and 0.021 at half of it, where the jitter itself changes them
by 0.18 and 0.10; nearly all of it is the other definition of hue: without hue it is 0.005 and 0.001.

    policy = simclr(32)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: uint8 (batch, height, width, channels), or a list of such pictures
    views["v"].x, views["v"].g.parameters                  # float in [0, 1], and what made it
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Tokens, View
from manyviews.counters import Counter  # noqa: F401 (this and the next are what a policy is written with)
from manyviews.nn.levels import cells_of
from manyviews.views.changes import Blur, Centre, Change, Crop, Flip, Grey, Jitter, Rotate, Shuffle, Solarize  # noqa: F401
from manyviews.views.picture import Spec, apply  # noqa: F401
from manyviews.views.policy import Policy


def plain(size: int) -> Policy:
    """The centred square, for evaluation."""
    return Policy({"v": Spec(size, (Centre(),))})


def simclr(size: int) -> Policy:
    """Chen et al. 2020, arXiv:2002.05709, app. A; up to 64 pixels as in their CIFAR-10 runs (app. B.9: half the colour strength, no blur)."""
    small = size <= 64
    strength = 0.5 if small else 1.0
    colour = (Jitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength), Grey(0.2))
    return two(size, (Crop((0.08, 1.0)), Flip(), *colour, *(() if small else (gaussian(0.5, size),))))


def shuffled_colours(size: int) -> Policy:
    """For objects whose colour says nothing: crops of at least 30 %, flips, channels in random order and strong jitter. Not from a paper."""
    return two(size, (Crop((0.3, 1.0)), Flip(), Shuffle(0.8), Jitter(0.6, 0.6, 0.6, 0.2), Grey(0.2)))


def moco(size: int) -> Policy:
    """MoCo v2, Chen et al. 2020, arXiv:2003.04297; blur only above 64 pixels."""
    return two(size, (Crop((0.2, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2), *(() if size <= 64 else (gaussian(0.5, size),))))


def byol(size: int) -> Policy:
    """Grill et al. 2020, arXiv:2006.07733, table 6: the second view is seldom blurred and sometimes solarized."""
    common = (Crop((0.08, 1.0)), Flip(), Jitter(0.4, 0.4, 0.2, 0.1), Grey(0.2))
    return Policy({"v": Spec(size, (*common, gaussian(1.0, size))), "w": Spec(size, (*common, gaussian(0.1, size), Solarize(0.2)))})


vicreg = barlow_twins = byol  # both papers take BYOL's augmentations


def moco_v3(size: int) -> Policy:
    """Chen et al. 2021, arXiv:2104.02057: BYOL's, with crops of at least 20 % as in MoCo."""
    policy = byol(size)
    return Policy({k: Spec(size, (Crop((0.2, 1.0)), *s.changes[1:])) for k, s in policy.roles.items() if isinstance(s, Spec)})


def dino(size: int) -> Policy:
    """Caron et al. 2021, arXiv:2104.14294: two global crops, eight local ones of 3/7 of the side (in multiples of 16, of 4 below 112)."""
    return student_and_teacher(size, border=0.4, count=8)


def ibot(size: int) -> Policy:
    """Zhou et al. 2022, arXiv:2111.07832, as in the authors' command for ViT-S/16: DINO's, with crops on either side of 25 % and ten local ones."""
    return student_and_teacher(size, border=0.25, count=10)


def swav(size: int) -> Policy:
    """Caron et al. 2020, arXiv:2006.09882: two global and six local crops with SimCLR's colours."""
    changes = simclr(size).specs[0].changes[1:]
    return Policy(
        {
            "global_crops": [Spec(size, (Crop((0.14, 1.0)), *changes))] * 2,
            "local_crops": [Spec(local_side(size), (Crop((0.05, 0.14)), *changes))] * 6,
        }
    )


def obow(size: int) -> Policy:
    """Gidaris et al. 2021, arXiv:2012.11552: the centred square, two crops of 5/7 of the side and five of 3/7 (in multiples as `dino`'s).

    The five, which the paper cuts from one view of the picture at a time, are drawn each for itself: the same sizes, other places and colours.
    """
    step = 16 if size >= 112 else 4
    wide, narrow = Crop((0.08, 0.6)), Crop((0.6 * (96 / 256) ** 2, (96 / 256) ** 2))
    colour = (Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2))
    blurred = (*colour, *(() if size <= 64 else (gaussian(0.5, size),)))
    crops = [Spec(max(step, round(size * 5 / 7 / step) * step), (wide, *blurred))] * 2 + [Spec(local_side(size), (narrow, *colour))] * 5
    return Policy({"clean": Spec(size, (Centre(), Flip())), "crops": crops})


def mae(size: int) -> Policy:
    """He et al. 2022, arXiv:2111.06377: crops of at least 20 % and flips, nothing else."""
    return Policy({"v": Spec(size, (Crop((0.2, 1.0)), Flip()))})


def supervised(size: int) -> Policy:
    """The usual crops and flips of supervised training; for up to 64 pixels no crop below half the area."""
    return Policy({"v": Spec(size, (Crop((0.5 if size <= 64 else 0.08, 1.0)), Flip()))})


def placed(view: View, places: Float[Tensor, "batch places axes"]) -> Float[Tensor, "batch places axes"]:
    """Where places of the samples (x, y in their pixels) are among the tokens of a view, whose corners are 0 and 1; NaN where it does not show them."""
    at = view.g.geometry.act(places) / view.x.shape[-1]
    return torch.where(((at >= 0) & (at <= 1)).all(-1, keepdim=True), at, torch.nan)


def raw_parts(view: View) -> list[Tokens]:
    """What stands for the input itself, place by place: each pixel, and where it is."""
    return [cells_of(view.x)]


def two(size: int, changes: Sequence[Change]) -> Policy:
    """Two views from the same changes."""
    return Policy({role: Spec(size, tuple(changes)) for role in ("v", "w")})


def student_and_teacher(size: int, border: float, count: int) -> Policy:
    """DINO's colours; two global crops of at least the share `border` of the area, and `count` local ones of 5 % up to it."""
    colour = (Flip(), Jitter(0.4, 0.4, 0.2, 0.1), Grey(0.2))
    wide, narrow = Crop((border, 1.0)), Crop((0.05, border))
    return Policy(
        {
            "global_crops": [Spec(size, (wide, *colour, gaussian(1.0, size))), Spec(size, (wide, *colour, gaussian(0.1, size), Solarize(0.2)))],
            "local_crops": [Spec(local_side(size), (narrow, *colour, gaussian(0.5, size)))] * count,
        }
    )


def local_side(size: int) -> int:
    step = 16 if size >= 112 else 4
    return max(step, round(size * 3 / 7 / step) * step)


def gaussian(p: float, size: int) -> Blur:
    """The papers' blur of 0.1 to 2 pixels in views of 224, in proportion for others; local crops are blurred as much as global ones."""
    return Blur(p, (0.1 * size / 224, 2.0 * size / 224))
