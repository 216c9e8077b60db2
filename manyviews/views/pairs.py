"""Views of pictures with captions: the picture as any picture, and the caption as it is.

Samples are `manyviews.data.pairs.Pairs`, or pictures alone. The view of a caption is (batch, tokens) whole numbers, -1 where it has ended.
A policy of pictures (simclr, dino, mae ...) shows the pictures alone, as it would without captions.

    views = clip(224)(samples, Counter(seed=0, step=0))
    views["image"].x, views["text"].x                      # float (batch, channels, 224, 224) in [0, 1], and int (batch, tokens)
"""

from __future__ import annotations

import dataclasses
from typing import Any

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.views import images, picture
from manyviews.views.changes import Crop
from manyviews.views.policy import Curriculum, Policy


@dataclasses.dataclass(frozen=True)
class Image:
    """One view of the picture, as `spec` makes it."""

    spec: picture.Spec

    @property
    def pixels(self) -> int:
        return self.spec.pixels

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return self.spec.apply(dataclasses.replace(samples, x=getattr(samples.x, "image", samples.x)), counter, roles)


@dataclasses.dataclass(frozen=True)
class Caption:
    """The caption's tokens."""

    pixels = 1  # it asks nothing of the picture

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        if not hasattr(samples.x, "text"):
            raise InputError("these samples are pictures without captions, and the policy shows both; name data with captions, or other --views")
        return [View(samples.x.text, samples.index, None, samples.given) for _ in roles]


def plain(size: int) -> Policy:
    """The picture's centred square, for evaluation."""
    return of_pictures(images.plain(size))


def both(size: int) -> Policy:
    """The picture's centred square, and the caption: for evaluation."""
    return Policy({"image": Image(images.plain(size).specs[0]), "text": Caption()})


def clip(size: int) -> Policy:
    """Radford et al. 2021, arXiv:2103.00020: a random square of 90 to 100 % of the area, and nothing else; and the caption.

    Of a picture in which such a square does not fit, the largest centred one.
    """
    return Policy({"image": Image(picture.Spec(size, (Crop((0.9, 1.0), (1.0, 1.0)),))), "text": Caption()})


def weak(size: int) -> Image:
    """A crop of at least 20 % and flips (MAE's)."""
    return Image(images.mae(size).specs[0])


def strong(size: int) -> Image:
    """SimCLR's changes."""
    return Image(images.simclr(size).specs[0])


def local(size: int) -> Image:
    """A small crop of DINO's."""
    return Image(images.dino(size).specs[-1])


def of_pictures(policy: Any) -> Any:
    """A policy of pictures for samples that have captions too."""
    if isinstance(policy, Curriculum):
        return Curriculum(lambda progress: of_pictures(policy.at(progress)))

    def lifted(spec: Any) -> Any:
        return [lifted(s) for s in spec] if isinstance(spec, list) else Image(spec)

    return Policy({role: lifted(spec) for role, spec in policy.roles.items()}, sampler=policy.sampler, grouped=policy.grouped)
