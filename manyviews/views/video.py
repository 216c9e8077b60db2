"""Views of video: a clip, cropped and coloured alike in all its frames.

Samples are uint8 (time, height, width, channels). A clip has half as many frames as were read, one after the other; what is drawn for a picture (crop, flip,
colours, blur) is drawn once for a clip and applied to every frame, unless it is told not to be consistent. A view is (batch, channels, time, height, width) in
[0, 1]; `g` is the map of every frame's pixels, with the clip's first frame among its parameters.

    policy = simclr(32)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: (batch, 16, height, width, 3), or a list of such videos
    views["v"].x, views["v"].g.parameters["first"]         # (batch, 3, 8, 32, 32)
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Colour, Picture
from manyviews.views import images
from manyviews.views.changes import Centre, Change, Crop, Flip, Grey, Jitter
from manyviews.views.composing import compose_colour, compose_geometry
from manyviews.views.picture import Spec, draw, gone
from manyviews.views.policy import Policy
from manyviews.views.resample import paint, see


@dataclasses.dataclass(frozen=True)
class Clip:
    """One view: side in pixels, the changes of a picture, and where in the video it begins. share: of the frames that were read."""

    size: int
    changes: tuple[Change, ...]
    start: str = "random"  # or "middle"
    consistent: bool = True  # the same crop and colours in all frames
    share: float = 0.5

    @property
    def pixels(self) -> int:
        return Spec(self.size, self.changes).pixels

    def length(self, total: int) -> int:
        return max(1, round(total * self.share))

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.clip(samples, counter, role, self.first(samples, counter, role)) for role in roles]

    def first(self, samples: View, counter: Counter, role: str) -> Int[Tensor, "batch"]:
        """The first frame of each clip: any that leaves room for the rest, alike."""
        room = torch.tensor([len(x) - self.length(len(x)) for x in samples.x], device=samples.index.device)
        if self.start == "middle":
            return room // 2
        return (counter.uniform(f"{role}/first", samples.index) * (room + 1)).long()

    def clip(self, samples: View, counter: Counter, role: str, first: Int[Tensor, "batch"]) -> View:
        """The view that begins at frame `first`."""
        videos = [x[f : f + self.length(len(x))] for x, f in zip(samples.x, first.tolist(), strict=True)]
        length = min(len(x) for x in videos)
        frames = [frame for x in videos for frame in x[:length]]
        one = View([x[0] for x in videos], samples.index)
        if self.consistent:
            spread = torch.arange(len(one), device=samples.index.device).repeat_interleave(length)
            x, g = self.drawn(frames, one, counter, role, spread)
        else:
            many = View(frames, samples.index.repeat_interleave(length) * length + torch.arange(length, device=samples.index.device).repeat(len(one)))
            x, g = self.drawn(frames, many, counter, role, torch.arange(len(frames), device=samples.index.device))
            g = g[torch.arange(0, len(frames), length, device=samples.index.device)]
        g = Picture(dataclasses.replace(g.geometry, parameters={**g.geometry.parameters, "first": first}), g.colour, g.lost)
        return View(x.unflatten(0, (len(one), length)).transpose(1, 2), samples.index, g, samples.given)

    def drawn(
        self, frames: list[Tensor], drawn_for: View, counter: Counter, role: str, spread: Int[Tensor, "frames"]
    ) -> tuple[Float[Tensor, "frames channels size size"], Picture]:
        """All frames seen as `drawn_for` draws, whose row `spread` counts for each; and the maps of `drawn_for`."""
        device = drawn_for.index.device
        drawn = draw(Spec(self.size, self.changes), int(frames[0].shape[-1]), drawn_for.index, counter, [role])
        extent = torch.tensor([[a.shape[1], a.shape[0]] for a in drawn_for.x], device=device).float()
        geometry = compose_geometry(self.size, extent, drawn)
        lost, threshold = gone(drawn)
        x, mean = see(frames, geometry.matrix[spread], self.size, lost["blur"][spread] if "blur" in lost else None)
        count = torch.zeros(len(drawn_for), device=device).index_add_(0, spread, torch.ones(len(spread), device=device))
        mean = torch.zeros(len(drawn_for), mean.shape[1], device=device).index_add_(0, spread, mean) / count[:, None]  # of the clip: contrast is about it
        colour = compose_colour(mean, drawn)
        x = paint(x, None if colour is None else Colour(colour.matrix[spread]), None if threshold is None else threshold[spread])
        return x, Picture(geometry, colour, lost)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """The middle of the video, its centred square: for evaluation."""
    return Policy({"v": Clip(size, (Centre(),), start="middle")})


def weak(size: int) -> Clip:
    """Crops of at least half the area, and flips."""
    return Clip(size, (Crop((0.5, 1.0)), Flip()))


def strong(size: int) -> Clip:
    """SimCLR's changes of a picture (crops of at least 30 %, as CVRL's; arXiv:2008.03800), one draw for all frames."""
    return Clip(size, (Crop((0.3, 1.0)), *(c for c in images.simclr(size).specs[0].changes if not isinstance(c, Crop))))


def local(size: int) -> Clip:
    """A small crop of half the side."""
    return Clip(max(8, size // 2), (Crop((0.05, 0.3)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2)))
