"""BSS: give every picture of a view the style of one, so that no two can be told apart by it.

Scalbert, Vakalopoulou, Couzinié-Devy, "Towards Domain-Invariant Self-Supervised Learning with Batch Styles Standardization", ICLR 2024, arXiv:2303.06088:
Algorithm 1, with the colour changes drawn once for a batch too.
Departs from the paper in that styles are exchanged between the cropped views, before their colours change: the picture is resampled once, and pictures of
any shape can be in one batch. The paper draws the share of the spectrum between two bounds; their values could not be found, so 0.02 and 1 are a choice,
from the lowest waves to all of them. With several processes the reference is one sample for all of them, as in one process; with `--accumulate` each
micro-batch has its own. Outside training, where processes do not act together, it is one of the process's own samples.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Picture
from manyviews.nn.distributed import gather
from manyviews.views.changes import Centre, Crop, Flip, Rotate
from manyviews.views.images import simclr
from manyviews.views.picture import Spec
from manyviews.views.policy import Curriculum, Policy
from manyviews.views.random_field import FieldSpec

GEOMETRIC = (Crop, Centre, Flip, Rotate)


def bss(size: int, ratio: tuple[float, float] = (0.02, 1.0), colour: str = "batch") -> Policy:
    """SimCLR's views, each batch of one view in the style of one of its pictures.

    ratio: the least and largest share of the spectrum, by area around frequency 0, whose amplitude is replaced; drawn for each view.
    colour: whether jitter, greyscale and blur are drawn once for a "batch" or for each "image".
    """
    return Styled(simclr(size).roles, ratio, "batch", colour)


def fourier(size: int, ratio: tuple[float, float] = (0.02, 1.0)) -> Policy:
    """The control: SimCLR's views, each picture in the style of a random one of its batch, with colours of its own."""
    return Styled(simclr(size).roles, ratio, "image", "image")


def styled(policy: Policy | Curriculum, ratio: tuple[float, float] = (0.02, 1.0), reference: str = "batch", colour: str = "batch") -> Policy | Curriculum:
    """Any policy's views with standardised styles; fields (`views/random_field.py`) warp before the exchange and colour after it.

    Raises ValueError for a policy that does more than its specs say, which goes around this one, and for specs of another kind.
    """
    if isinstance(policy, Curriculum):
        options = (ratio, reference, colour)
        return StyledCurriculum(lambda progress: styled(policy.at(progress), *options).at(progress), styled(policy.at(1.0), *options))
    if type(policy).__call__ is not Policy.__call__:
        kind = type(policy).__name__
        raise ValueError(f"styles are exchanged between crop and colours, which {kind} does not show; put {kind} around this, where it takes a policy")
    return Styled(policy.roles, ratio, reference, colour, sampler=policy.sampler, grouped=policy.grouped)


@dataclasses.dataclass(frozen=True)
class Styled(Policy):
    """Crop, exchange styles, change colours; of each view for itself.

    reference: whose amplitude each picture gets: that of one sample of the "batch", or for each "image" that of a random one. together: whether all processes
    make their parts of a batch at the same time and so can share a reference; `at`, which training asks, says so.
    """

    ratio: tuple[float, float] = (0.02, 1.0)
    reference: str = "batch"
    colour: str = "batch"
    together: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.ratio[0] <= self.ratio[1] <= 1:
            raise ValueError(f"ratio {self.ratio}: expected two shares of the spectrum, 0 <= least <= largest <= 1")
        for name in ("reference", "colour"):
            if getattr(self, name) not in ("batch", "image"):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected 'batch' or 'image'")
        strange = ", ".join(sorted({type(s).__name__ for s in self.specs if not isinstance(s, Spec | FieldSpec)}))
        if strange:
            raise ValueError(f"styles are exchanged between crop and colours, which views made by {strange} do not show; style a policy such as simclr")

    def at(self, progress: float) -> Styled:
        return dataclasses.replace(self, together=True)

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        return {
            role: [self.view(s, samples, counter, f"{role}{i}") for i, s in enumerate(spec)]
            if isinstance(spec, list)
            else self.view(spec, samples, counter, role)
            for role, spec in self.roles.items()
        }

    def view(self, spec: Spec | FieldSpec, samples: View, counter: Counter, role: str) -> View:
        """One view of all samples."""
        places, colours = halves(spec)
        seen = places.apply(samples, counter, [role])[0]
        x, share = self.exchange(seen, counter, role)
        index = torch.zeros_like(seen.index) if self.colour == "batch" else seen.index
        painted = colours.apply(View(x.clamp(0, 1).movedim(1, 3).contiguous(), index), counter, [f"{role}/colour"])[0]
        g = Picture(seen.g.geometry, painted.g.colour, {**(painted.g @ seen.g).lost, "style": share})
        return View(painted.x, samples.index, g, samples.given)

    def exchange(self, seen: View, counter: Counter, role: str) -> tuple[Float[Tensor, "batch channels side side"], Float[Tensor, "batch"]]:
        """The pictures in their references' style, and the share of the spectrum that was replaced."""
        everyone = torch.zeros_like(seen.index) if self.reference == "batch" else seen.index
        share = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * counter.uniform(f"{role}/ratio", everyone)
        pictures = self.of_batch(seen, counter, role) if self.reference == "batch" else self.of_each(seen, counter, role)
        return restyle(seen.x, pictures, share), share

    def of_batch(self, seen: View, counter: Counter, role: str) -> Float[Tensor, "one channels side side"]:
        """The picture of the sample with the smallest number: the same one, however the batch is ordered and shared out."""
        number = counter.uniform(f"{role}/style", seen.index)
        least = number.argmin()[None]
        numbers, pictures = number[least], seen.x[least]
        if self.together:
            numbers, pictures = gather(numbers), gather(pictures)
        return pictures[numbers.argmin()[None]]

    def of_each(self, seen: View, counter: Counter, role: str) -> Float[Tensor, "batch channels side side"]:
        """For each sample the picture of a random one."""
        index, pictures = (gather(seen.index), gather(seen.x)) if self.together else (seen.index, seen.x)
        chosen = (counter.uniform(f"{role}/style", seen.index) * len(index)).long()
        return pictures[index.argsort()[chosen]]


@dataclasses.dataclass(frozen=True)
class StyledCurriculum(Curriculum):
    """A curriculum whose views have standardised styles; asked without a progress it is the end's, of one process alone."""

    end: Policy | Curriculum

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        return self.end(samples, counter)


def halves(spec: Spec | FieldSpec) -> tuple[Spec | FieldSpec, Spec | FieldSpec]:
    """What a view shows of a picture, before the exchange, and what then becomes of its colours."""
    places, colours = (tuple(c for c in spec.changes if isinstance(c, GEOMETRIC) is first) for first in (True, False))
    if isinstance(spec, FieldSpec):
        return dataclasses.replace(spec, changes=places, colour=0.0), dataclasses.replace(spec, changes=colours, affine=0.0)
    return Spec(spec.size, places), Spec(spec.size, colours)


def restyle(
    x: Float[Tensor, "batch channels height width"], style: Float[Tensor, "styles channels height width"], share: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """x with its phase, and the amplitude of `style` in the low frequencies: a box around frequency 0 with this share of the spectrum's area."""
    height, width = x.shape[2:]
    own, other = torch.fft.rfft2(x), torch.fft.rfft2(style)
    low = inside(share, height, torch.fft.fftfreq(height, 1 / height, device=x.device))[:, None, :, None]
    low = low & inside(share, width, torch.fft.rfftfreq(width, 1 / width, device=x.device))[:, None, None, :]
    mixed = torch.where(low, torch.polar(other.abs().expand_as(own), own.angle()), own)
    return torch.fft.irfft2(mixed, s=(height, width))


def inside(share: Float[Tensor, "batch"], side: int, frequency: Float[Tensor, "waves"]) -> Tensor:
    """Which waves (whole numbers a side) the box takes, (batch, waves): at least the mean, and all of them where the share is 1."""
    return frequency.abs() <= (share.sqrt() * (side / 2))[:, None]
