"""EfficientTrain: show the low frequencies of plain pictures first, as small pictures, and the rest of them, more and more augmented, later.

Wang, Yue, Lu, Liu, Zhong, Song, Huang, "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual Backbones", ICCV 2023,
arXiv:2211.09703; the ++ schedule: "EfficientTrain++", TPAMI 2024, arXiv:2405.08768, as in the authors' scripts (github.com/LeapLabTHU/EfficientTrain).
Departs from the paper in the augmentation. Its magnitude grows along a line (in the released code in five steps). Of RandAugment's operations there are those
five that compose: rotation and solarize each in one picture of five, brightness, contrast and colour together in three, so that one of these acts on average,
as in the paper; factors are drawn up to the magnitude instead of at it. There is no mixing of pictures and no random erasing. Other sides than 224 get the
same shares of the side, in multiples of 16 (8 below 112, 4 below 56). The learning rate follows the steps under the ++ schedule too, whose authors let it
follow the compute, and ++ crops frequencies throughout, where its released code resizes by Lanczos as it loads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine, Picture, matrices
from manyviews.views.changes import Blur, Change, Grey, Jitter, Rotate, Shuffle, Solarize
from manyviews.views.images import supervised
from manyviews.views.picture import Spec
from manyviews.views.policy import Curriculum, Policy
from manyviews.views.random_field import FieldSpec

Stages = tuple[tuple[float, float], ...]  # (until this progress, this share of the side)
EFFICIENT_TRAIN: Stages = ((0.6, 160 / 224), (0.8, 192 / 224), (1.0, 1.0))
NEVER = 256 / 255  # a solarize threshold that nothing reaches


def rand_augment(size: int, magnitude: float = 9.0) -> Policy:
    """The usual crops and flips with RandAugment-like changes of a magnitude, 0 to 10: what the curricula end with, and their baseline."""
    m = magnitude / 10
    extra = (Rotate(30 * m, 1 / 5), Jitter(0.9 * m, 0.9 * m, 0.9 * m, 0.0, 3 / 5), Solarize(1 / 5, NEVER * (1 - m)))
    changes = (*supervised(size).specs[0].changes, *extra)
    return Policy({"v": Spec(size, changes)})


def efficient_train(size: int, magnitude: float = 9.0) -> Curriculum:
    """For supervised training. magnitude: of RandAugment at the end, 0 to 10; it grows from 0 along a line."""
    return easy_first(rand_augment(size, magnitude))


def efficient_train_plus(size: int, magnitude: float = 9.0) -> Curriculum:
    """The ++ schedule: ten stages that cost the same, with 96, 160 and 224 of 224 pixels, and a magnitude that goes up with each."""
    stages = equal_cost((96 / 224,) * 2 + (160 / 224,) * 4 + (1.0,) * 4)
    return easy_first(rand_augment(size, magnitude), stages, lambda progress: stage_of(progress, stages) / (len(stages) - 1))


def easy_first(policy: Policy | Curriculum, stages: Stages = EFFICIENT_TRAIN, strength: Callable[[float], float] = lambda progress: progress) -> Curriculum:
    """Any policy's views as a curriculum.

    stages: until which progress which share of the side is shown; ((1.0, 1.0),) shows all of it and lets the augmentation alone grow.
    strength: of the augmentation, as a share of the policy's, by progress. Raises ValueError for views that cannot be made weaker.
    """
    if not stages or [*stages] != sorted(stages) or stages[-1][0] != 1 or not all(0 < share <= 1 for _, share in stages):
        raise ValueError(f"stages {stages}: expected pairs (until, share of the side), both rising, the last one until 1, shares above 0 and at most 1")

    def at(progress: float) -> Policy:
        eased = weaker(policy.at(progress), strength(progress))
        return LowFrequency(eased.roles, eased, stages[stage_of(progress, stages)][1], sampler=eased.sampler, grouped=eased.grouped)

    at(1.0)  # what is wrong with the policy is told now and not when a training begins

    return EasyFirst(at, policy)


@dataclasses.dataclass(frozen=True)
class EasyFirst(Curriculum):
    """The curriculum; `whole` is the policy that it ends with."""

    whole: Policy | Curriculum

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        return self.whole(samples, counter)


def stage_of(progress: float, stages: Stages) -> int:
    return next((k for k, (until, _) in enumerate(stages) if progress < until), len(stages) - 1)


def equal_cost(shares: tuple[float, ...]) -> Stages:
    """Stages of these sides that take the same compute each: the number of steps goes with the inverse of the pixels."""
    steps = [1 / share**2 for share in shares]
    return tuple((sum(steps[: k + 1]) / sum(steps) if k < len(shares) - 1 else 1.0, share) for k, share in enumerate(shares))


# --- low frequencies --------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LowFrequency(Policy):
    """The views of `policy`, of which only the low frequencies are left: `share` of the side, in as many pixels as hold them."""

    policy: Policy
    share: float

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        views = self.policy(samples, counter)
        return {role: [self.crop(w) for w in v] if isinstance(v, list) else self.crop(v) for role, v in views.items()}

    def crop(self, view: View) -> View:
        size = view.x.shape[-1]
        side = side_of(size, self.share, max(spec.size for spec in self.specs))
        if side == size:
            return view
        first = side / size  # pixel 0 stays pixel 0: centres go from c to (c - 1/2) * side / size + 1/2
        shift = (1 - first) / 2
        smaller = matrices([[first, 0, shift], [0, first, shift], [0, 0, 1]], like=view.g.geometry.matrix[:, 0, 0])
        geometry = Affine(smaller @ view.g.geometry.matrix, view.g.geometry.parameters)
        lost = {**view.g.lost, "high_frequencies": torch.full_like(smaller[:, 0, 0], 1 - first)}
        return View(low_frequencies(view.x, side), view.index, Picture(geometry, view.g.colour, lost), view.given)


def side_of(size: int, share: float, largest: int = 0) -> int:
    """The side of a view that holds this share of the frequencies, in whole patches of the encoder for the `largest` view; all of them: as it is."""
    if share >= 1:
        return size
    largest = max(size, largest)
    step = 16 if largest >= 112 else 8 if largest >= 56 else 4
    return min(size, max(step, round(size * share / step) * step))


def low_frequencies(x: Float[Tensor, "batch channels height width"], side: int) -> Float[Tensor, "batch channels side side"]:
    """The middle side x side of the spectrum as a picture of that size; the mean stays. side: even. Values may leave [0, 1] at edges."""
    height, width = x.shape[2:]
    if side % 2 or not 0 < side <= min(height, width):
        raise ValueError(f"side {side}: expected an even number of pixels, at most {min(height, width)}")
    spectrum, half = torch.fft.fft2(x.float()), side // 2
    for axis in (2, 3):
        spectrum = torch.cat([spectrum.narrow(axis, 0, half), spectrum.narrow(axis, spectrum.shape[axis] - half, half)], axis)
    return torch.fft.ifft2(spectrum).real * (side * side / (height * width))


# --- weaker augmentation ----------------------------------------------------------------------------------------------------------------------


def weaker(policy: Policy, strength: float) -> Policy:
    """The policy with a share `strength` of its augmentation, 0 to 1; crops and flips stay. Raises ValueError for views of other kinds than pictures'."""
    strange = ", ".join(sorted({type(s).__name__ for s in policy.specs if not isinstance(s, Spec | FieldSpec)}))
    if strange:
        raise ValueError(f"changes of pictures and their fields can be made weaker, and these views are made by {strange}; take a policy such as simclr")

    def of(spec: Spec | FieldSpec) -> Spec | FieldSpec:
        changes = tuple(weakened(change, strength) for change in spec.changes)
        if isinstance(spec, FieldSpec):
            return dataclasses.replace(spec, changes=changes, affine=spec.affine * strength, colour=spec.colour * strength)
        return dataclasses.replace(spec, changes=changes)

    roles = {role: [of(s) for s in spec] if isinstance(spec, list) else of(spec) for role, spec in policy.roles.items()}
    if isinstance(policy, LowFrequency):  # its views are those of the policy inside
        return dataclasses.replace(policy, roles=roles, policy=weaker(policy.policy, strength))
    return dataclasses.replace(policy, roles=roles)


def weakened(change: Change, strength: float) -> Change:
    """Ranges in proportion; what is all or nothing is done as much less often."""
    if isinstance(change, Jitter):
        ranges = {name: getattr(change, name) * strength for name in ("brightness", "contrast", "saturation", "hue")}
        return dataclasses.replace(change, **ranges)
    if isinstance(change, Rotate):
        return dataclasses.replace(change, degrees=change.degrees * strength)
    if isinstance(change, Solarize):
        return dataclasses.replace(change, threshold=change.threshold * strength + NEVER * (1 - strength))
    if isinstance(change, Shuffle | Grey | Blur):
        return dataclasses.replace(change, p=change.p * strength)
    return change
