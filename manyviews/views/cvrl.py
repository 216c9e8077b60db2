"""CVRL: two clips of a video, the nearer in time the likelier, each with one crop and one set of colours for all its frames.

Qian et al., "Spatiotemporal Contrastive Video Representation Learning", CVPR 2021, arXiv:2008.03800.
Departs from the paper: a video is as many frames as were read of it, and the interval is at most what they leave room for; below 65 pixels there is no
blur. The paper's network, projection and rates (R3D-50, three layers of 2,048, InfoNCE at 0.1, LARS) are options of `simclr`:
`--method simclr --views cvrl --encoder r3d_18 --set layers=3 hidden=2048 temperature=0.1`.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views import video
from manyviews.views.policy import Policy
from manyviews.views.video import Clip

MODALITY = "video"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A clip of a pair whose beginnings lie t frames apart, with a density that falls, stays or rises linearly with t."""

    clip: Clip
    slope: str = "decreasing"  # of the density: or uniform, increasing

    @property
    def pixels(self) -> int:
        return self.clip.pixels

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        """For two roles a pair in random order; what the interval leaves free decides where the pair lies."""
        room = torch.tensor([len(x) - self.clip.length(len(x)) for x in samples.x], device=samples.index.device)
        apart = (share(counter.uniform("interval", samples.index), self.slope) * (room + 1)).long().clamp(max=room)
        early = (counter.uniform("early", samples.index) * (room - apart + 1)).long()
        swap = counter.uniform("swap", samples.index) < 0.5
        starts = [torch.where(swap, early + apart, early), torch.where(swap, early, early + apart)]
        return [self.clip.clip(samples, counter, role, self.start(starts, k)) for k, role in enumerate(roles)]

    @staticmethod
    def start(starts: list[Int[Tensor, "batch"]], k: int) -> Int[Tensor, "batch"]:
        return starts[k % 2]


def share(u: Float[Tensor, "batch"], slope: str) -> Float[Tensor, "batch"]:
    """Of the longest interval: density 2 (1 - s), 1 or 2 s on [0, 1), by inversion of its distribution."""
    return {"decreasing": 1 - (1 - u).sqrt(), "uniform": u, "increasing": u.sqrt()}[slope]


def cvrl(size: int) -> Policy:
    """The paper's: a linearly decreasing density of intervals, consistent crops and colours."""
    return Policy({role: Interval(video.strong(size)) for role in ("v", "w")})


def cvrl_inconsistent(size: int) -> Policy:
    """Its control: crops and colours of each frame for itself."""
    return Policy({role: Interval(dataclasses.replace(video.strong(size), consistent=False)) for role in ("v", "w")})


def cvrl_uniform(size: int) -> Policy:
    """Its control: intervals alike."""
    return Policy({role: Interval(video.strong(size), "uniform") for role in ("v", "w")})


def cvrl_increasing(size: int) -> Policy:
    """Its control: the farther the likelier."""
    return Policy({role: Interval(video.strong(size), "increasing") for role in ("v", "w")})
