"""The views that mrdd learns from: a picture and its contours."""

from __future__ import annotations

import dataclasses

import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Picture
from manyviews.nn.edges import contours
from manyviews.views.changes import Centre
from manyviews.views.picture import Spec, apply
from manyviews.views.policy import Policy


def mrdd(size: int) -> Policy:
    """Ke et al. 2024, arXiv:2403.10897, EdgeMNIST: the picture (v), and what a dilation by 3 x 3 pixels adds to it (w); nothing random."""
    return Policy({"v": Spec(size, (Centre(),)), "w": Contours(size)})


@dataclasses.dataclass(frozen=True)
class Contours:
    """The centred square's contours."""

    size: int

    @property
    def pixels(self) -> int:
        return self.size

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        seen = apply(Spec(self.size, (Centre(),)), samples, counter, roles)
        return [View(contours(v.x), v.index, Picture(v.g.geometry, None, {"contours": torch.ones_like(v.x[:, 0, 0, 0])}), v.given) for v in seen]
