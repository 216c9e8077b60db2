"""One view of a picture: everything is drawn and composed, then the pixels are touched once."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Picture
from manyviews.views.changes import NUMBERS, Blur, Change, Crop, Drawn, Solarize
from manyviews.views.composing import compose_colour, compose_geometry
from manyviews.views.resample import paint, see


@dataclasses.dataclass(frozen=True)
class Spec:
    """One view: its side in pixels and the changes that make it."""

    size: int
    changes: tuple[Change, ...]

    @property
    def pixels(self) -> int:
        """The shorter side below which a decoded picture would have to be enlarged for the smallest crop."""
        smallest = min([c.scale[0] for c in self.changes if isinstance(c, Crop)], default=1.0)
        return math.ceil(self.size / math.sqrt(smallest))

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return apply(self, samples, counter, roles)


def apply(spec: Spec, samples: View, counter: Counter, roles: list[str]) -> list[View]:
    """For each role the view of `samples` that `spec` describes and `counter` draws; the roles' names keep their randomness apart."""
    count, channels = len(samples), int(samples.x[0].shape[-1])
    drawn = draw(spec, channels, samples.index, counter, roles)
    geometry = compose_geometry(spec.size, extents(samples).repeat(len(roles), 1), drawn)
    lost, threshold = gone(drawn)
    x, mean = see(samples.x, geometry.matrix, spec.size, lost.get("blur"))
    colour = compose_colour(mean, drawn)
    x = paint(x, colour, threshold)
    g = Picture(geometry, colour, lost)
    parts = [slice(i * count, (i + 1) * count) for i in range(len(roles))]
    return [View(x[part], samples.index, g[part], samples.given) for part in parts]


def gone(drawn: Drawn) -> tuple[dict[str, Float[Tensor, "views"]], Float[Tensor, "views"] | None]:
    """What is no map of places or of colours: standard deviations of blurs, in pixels; whether values are inverted, and from where on (none: nowhere)."""
    lost, threshold = {}, None
    for change, u in drawn:
        if isinstance(change, Blur):
            sigma = change.sigma[0] + (change.sigma[1] - change.sigma[0]) * u["sigma"][0]
            lost["blur"] = torch.where(u["hit"][0] < change.p, sigma, 0.0)
        elif isinstance(change, Solarize):
            lost["solarize"] = (u["hit"][0] < change.p).float()
            threshold = torch.where(u["hit"][0] < change.p, change.threshold, 2.0)
    return lost, threshold


def draw(spec: Spec, channels: int, index: Int[Tensor, "batch"], counter: Counter, roles: list[str]) -> Drawn:
    """The random numbers of all changes, (count, roles * batch): those of the first role come first."""
    names = [(i, name, number or channels) for i, change in enumerate(spec.changes) for name, number in NUMBERS[type(change)].items()]
    counts = {f"{role}/{i}/{name}": number for role in roles for i, name, number in names}
    drawn: Drawn = [(change, {}) for change in spec.changes]
    if names:
        u = counter.uniforms(counts, index)
        u = u.view(len(roles), -1, len(index)).transpose(0, 1).reshape(-1, len(roles) * len(index))
        for (i, name, _), numbers in zip(names, u.split([number for *_, number in names]), strict=True):
            drawn[i][1][name] = numbers
    return drawn


def extents(samples: View) -> Float[Tensor, "batch 2"]:
    """Width and height of each picture, in pixels."""
    if isinstance(samples.x, Tensor):
        height, width = samples.x.shape[1:3]
        return torch.tensor([[width, height]], device=samples.index.device).float().expand(len(samples), 2)
    return torch.tensor([[a.shape[1], a.shape[0]] for a in samples.x], device=samples.index.device).float()
