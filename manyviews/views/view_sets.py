"""Views of view sets: some of an object's pictures, in any order, each changed as a picture is.

Samples are (views, height, width, channels), not equally many of all objects. Which pictures are shown and in what order is drawn for a sample, what
happens to each (crop, flip, colours) for each of them. A view is (batch, most views, channels, size, size) in [0, 1], and NaN where a sample has no
picture more; `g` says which of its pictures each is.

    policy = simclr(64)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: uint8 (batch, views, height, width, channels), or a list of such sets
    views["v"].x, views["v"].g.shown                       # (batch, most, 3, 64, 64), and (batch, most): numbers of pictures, -1 where there is none
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views import images, picture
from manyviews.views.changes import Crop, Flip
from manyviews.views.policy import Policy

MANY = 1 << 20  # more pictures than any object has: keeps the randomness of two objects' pictures apart


@dataclasses.dataclass(frozen=True)
class Shown:
    """Which pictures of each sample a view shows, -1 where it shows none. What is left out does not come back: there is no inverse."""

    shown: Int[Tensor, "batch views"]

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        return {"shown": self.shown}

    def inverse(self) -> Shown:
        raise ValueError("a selection of pictures, each changed for itself, has no inverse")

    def __getitem__(self, rows: slice | Tensor) -> Shown:
        """The elements of some samples."""
        return Shown(self.shown[rows])

    def to(self, device: torch.device | str) -> Shown:
        return Shown(self.shown.to(device))


@dataclasses.dataclass(frozen=True)
class Glimpses:
    """One view of a set.

    spec: what happens to each picture. least, most: share of the pictures that is shown; any number between them is as likely as any other, and one is
    always shown. shuffled: whether they come in random order.
    """

    spec: picture.Spec
    least: float = 1.0
    most: float = 1.0
    shuffled: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most <= 1:
            raise ValueError(f"least={self.least} most={self.most}: expected shares of the pictures, 0 <= least <= most <= 1")

    @property
    def pixels(self) -> int:
        return self.spec.pixels

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name."""
        shown = self.choose(samples, counter, role)
        sample, place = (shown >= 0).nonzero(as_tuple=True)
        number = shown[sample, place]
        pictures: Tensor | list[Tensor]
        if isinstance(samples.x, Tensor):
            pictures = samples.x[sample, number]
        else:
            pictures = [samples.x[i][k] for i, k in zip(sample.tolist(), number.tolist(), strict=True)]
        each = View(pictures, samples.index[sample] * MANY + number)
        seen = self.spec.apply(each, counter, [role])[0].x
        x = seen.new_full((*shown.shape, *seen.shape[1:]), torch.nan)
        x[sample, place] = seen
        return View(x, samples.index, Shown(shown), samples.given)

    def choose(self, samples: View, counter: Counter, role: str) -> Int[Tensor, "batch views"]:
        """The numbers of the pictures that are shown, -1 behind them."""
        device = samples.index.device
        count = torch.tensor([len(x) for x in samples.x], device=device)
        least, most = ((count * share).round().long().clamp(min=1) for share in (self.least, self.most))
        kept = least + (counter.uniform(f"{role}/count", samples.index) * (most - least + 1)).long()
        width = int(count.max())
        if self.shuffled or self.least < 1:
            order = counter.order(f"{role}/order", samples.index, width)
            order = order.gather(1, (order >= count[:, None]).int().argsort(dim=1, stable=True))  # numbers that a sample lacks come last
        else:
            order = torch.arange(width, device=device).expand(len(count), -1)
        there = torch.arange(width, device=device) < kept[:, None]
        if not self.shuffled:
            order = torch.where(there, order, width).sort(1).values
        return torch.where(there, order, -1)[:, : int(kept.max())]


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """All pictures in their order, their centred squares: for evaluation."""
    return Policy({"v": Glimpses(images.plain(size).specs[0], shuffled=False)})


def weak(size: int) -> Glimpses:
    """Half of the pictures or more in random order, each cropped to at least half its area and maybe mirrored."""
    return Glimpses(picture.Spec(size, (Crop((0.5, 1.0)), Flip())), least=0.5)


def strong(size: int) -> Glimpses:
    """A quarter of the pictures or more, each with SimCLR's changes."""
    return Glimpses(images.simclr(size).specs[0], least=0.25)


def local(size: int) -> Glimpses:
    """One to a quarter of the pictures, each a small crop of DINO's."""
    return Glimpses(images.dino(size).specs[-1], least=0.0, most=0.25)


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: the mean picture and, pixel by pixel, the brightest, whatever the number and order of the pictures."""
    there = ~view.x[:, :, :1, :1, :1].isnan()
    x = torch.where(there, view.x, 0.0)
    mean = x.sum(1) / there.sum(1)
    return torch.cat([mean.flatten(1), x.amax(1).flatten(1)], 1)
