"""Views of point clouds: one affine map a cloud, then what is lost (crops, cut-outs, dropped points), then noise, and one map of its colours.

Samples are (points, channels): x, y, z first; where there are six channels or more, channels 3 to 5 are normals, which turn with the points; where there are
nine, the last three are colours in 0..1, which change as those of pictures do: where they stay, objects are told apart by them, and nothing else is learned
(docs/systems/splat_groups.md). Every view begins with the centre at the origin and the farthest point at distance 1; that is part of `g`, which takes the
sample's frame to the view's.
A view has `size` points. A cloud with more is thinned at random (by `plain` evenly), one with fewer repeats some.

    policy = simclr(1024)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: float (batch, points, channels), or a list of such clouds
    views["v"].x, views["v"].g.parameters                  # (batch, 1024, channels), and what made it: angles in radians, factors, shares lost
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.contracts import Tokens, View
from manyviews.counters import Counter
from manyviews.groups import Affine, Colour, Picture, rotations_about, rotations_from
from manyviews.views import changes
from manyviews.views.composing import compose_colour
from manyviews.views.policy import Policy


@dataclasses.dataclass(frozen=True)
class Turn:
    """A rotation: about `axis` (0, 1, 2) by an angle uniform in +-`angle` radians, or, with axis None, uniform on SO(3)."""

    axis: int | None = 1
    angle: float = math.pi


@dataclasses.dataclass(frozen=True)
class Scale:
    """A factor in [low, high], one for each axis where `each`."""

    low: float = 0.8
    high: float = 1.25
    each: bool = False


@dataclasses.dataclass(frozen=True)
class Shift:
    """A translation of up to `most` along each axis, in radii of the cloud."""

    most: float = 0.1


@dataclasses.dataclass(frozen=True)
class Mirror:
    """An axis exchanged with its opposite, with probability `p`."""

    axis: int = 0
    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Crop:
    """The nearest `share` in [low, high] of the points to a random one of them."""

    low: float = 0.5
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class CutOut:
    """Without the nearest `share` of the points to a random one of them, with probability `p`."""

    share: float = 0.2
    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Gaussian noise of standard deviation `sigma`, at most `clip`, in radii of the cloud."""

    sigma: float = 0.01
    clip: float = 0.05


@dataclasses.dataclass(frozen=True)
class Paint:
    """Colours mapped as those of a picture are, one map a cloud: `changes.Jitter`, then grey with probability `grey`. Nothing where there are none."""

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    p: float = 0.8
    grey: float = 0.2


Change = Turn | Scale | Shift | Mirror | Crop | CutOut | Jitter | Paint


@dataclasses.dataclass(frozen=True)
class Cloud:
    """One view: its number of points and the changes that make it. `even`: thinned evenly instead of at random."""

    size: int
    changes: tuple[Change, ...] = ()
    even: bool = False

    @property
    def pixels(self) -> int:
        """Points that readers should hand over: enough that what a crop leaves is not repeated."""
        smallest = min([c.low for c in self.changes if isinstance(c, Crop)], default=1.0)
        return math.ceil(self.size / smallest * (1 if self.even else 2))

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name: geometry composed first, then applied once."""
        x, exists = padded(samples.x)
        g = standard(x, exists)
        for k, change in enumerate(self.changes):
            element = geometric(change, counter, f"{role}/{k}", samples.index)
            if element is not None:
                g = Affine((element @ g).matrix, {**g.parameters, **element.parameters})
        there, lost = exists, {}
        for k, change in enumerate(self.changes):
            if isinstance(change, Crop | CutOut):
                there, share = dropped(change, x[..., :3], there, counter, f"{role}/{k}", samples.index)
                lost["crop" if isinstance(change, Crop) else "cut_out"] = share
        x = x.gather(1, self.rows(there, counter, role, samples.index)[..., None].expand(-1, -1, x.shape[-1]))
        x = self.act(g, x)
        for k, change in enumerate(self.changes):
            if isinstance(change, Jitter):
                noise = counter.normal(f"{role}/{k}", samples.index, self.size, 3) * change.sigma
                x = torch.cat([x[..., :3] + noise.clamp(-change.clip, change.clip), x[..., 3:]], -1)
                lost["jitter"] = torch.full((len(x),), change.sigma, device=x.device)
        colour = None
        for k, change in enumerate(self.changes):
            seen = self.colours(x)
            if isinstance(change, Paint) and seen is not None:
                step = drawn_colour(change, seen.mean(1), counter, f"{role}/{k}", samples.index)
                colour = step if colour is None else step @ colour
                x = self.painted(step, x)
        return View(x, samples.index, Picture(g, colour, lost), samples.given)

    def colours(self, x: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch points 3"] | None:
        """Red, green and blue in 0..1, where there are any."""
        return x[..., 6:9] if x.shape[-1] >= 9 else None

    def painted(self, colour: Colour, x: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch points channels"]:
        """With colours mapped, and clamped to 0..1."""
        return torch.cat([x[..., :6], mapped(colour, x[..., 6:9]).clamp(0, 1), x[..., 9:]], -1)

    def act(self, g: Affine, x: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch points channels"]:
        """What a map does to all columns; other kinds of points have others."""
        return acted(g, x)

    def rows(self, there: Bool[Tensor, "batch points"], counter: Counter, role: str, index: Int[Tensor, "batch"]) -> Int[Tensor, "batch size"]:
        """Which points are shown: of those that are there, `size`, each as seldom as can be."""
        n = there.shape[1]
        order = torch.arange(n, device=index.device).expand(len(index), n) if self.even else counter.order(f"{role}/points", index, n)
        order = order.gather(1, (~there.gather(1, order)).int().argsort(dim=1, stable=True))  # what is not there comes last
        count = there.sum(1, keepdim=True)
        step = torch.arange(self.size, device=index.device)
        place = (step * count // self.size) if self.even else step % count
        return order.gather(1, torch.where(count > self.size, place, step % count))


def padded(x: Tensor | list[Tensor]) -> tuple[Float[Tensor, "batch points channels"], Bool[Tensor, "batch points"]]:
    """One tensor of all clouds, and which of its points are real."""
    if isinstance(x, Tensor):
        return x.float(), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    most = max(len(cloud) for cloud in x)
    out = x[0].new_zeros(len(x), most, x[0].shape[1], dtype=torch.float32)
    exists = torch.zeros(len(x), most, dtype=torch.bool, device=out.device)
    for k, cloud in enumerate(x):
        out[k, : len(cloud)], exists[k, : len(cloud)] = cloud.float(), True
    return out, exists


def standard(x: Float[Tensor, "batch points channels"], exists: Bool[Tensor, "batch points"]) -> Affine:
    """To the unit ball: the mean to the origin, the farthest point to distance 1 (a single point stays as large as it is)."""
    p = torch.where(exists[..., None], x[..., :3], 0)
    centre = p.sum(1) / exists.sum(1, keepdim=True)
    radius = torch.where(exists, (x[..., :3] - centre[:, None]).norm(dim=-1), 0).amax(1)
    factor = torch.where(radius > 0, 1 / radius.clamp(min=1e-30), 1.0)
    matrix = torch.eye(4, device=x.device).repeat(len(x), 1, 1)
    matrix[:, :3, :3] *= factor[:, None, None]
    matrix[:, :3, 3] = -centre * factor[:, None]
    return Affine(matrix, {"centre": centre, "radius": radius})


def geometric(change: Change, counter: Counter, name: str, index: Int[Tensor, "batch"]) -> Affine | None:
    """The element of the affine group that a change draws; None for what is no map of points."""
    if isinstance(change, Turn):
        if change.axis is None:
            rotation = rotations_from(counter.normal(name, index, 4))
            return homogeneous(rotation, rotation=rotation)
        angle = (2 * counter.uniform(name, index) - 1) * change.angle
        return homogeneous(rotations_about(change.axis, angle), angle=angle)
    if isinstance(change, Scale):
        factor = change.low + (change.high - change.low) * counter.uniform(name, index, 3 if change.each else 1).expand(-1, 3)
        return homogeneous(torch.diag_embed(factor), factor=factor)
    if isinstance(change, Mirror):
        sign = torch.ones(len(index), 3, device=index.device)
        sign[:, change.axis] = torch.where(counter.uniform(name, index) < change.p, -1.0, 1.0)
        return homogeneous(torch.diag_embed(sign), mirrored=sign[:, change.axis] < 0)
    if isinstance(change, Shift):
        by = (2 * counter.uniform(name, index, 3) - 1) * change.most
        element = homogeneous(torch.eye(3, device=index.device).repeat(len(index), 1, 1), shift=by)
        element.matrix[:, :3, 3] = by
        return element
    return None


def drawn_colour(change: Paint, mean: Float[Tensor, "batch 3"], counter: Counter, name: str, index: Int[Tensor, "batch"]) -> Colour:
    """The map of colours that a change draws for each cloud; its contrast is about the mean colour."""
    steps: list[changes.Change] = [changes.Jitter(change.brightness, change.contrast, change.saturation, change.hue, change.p), changes.Grey(change.grey)]
    drawn: changes.Drawn = [
        (step, {key: counter.uniform(f"{name}/{i}/{key}", index, number).T for key, number in changes.NUMBERS[type(step)].items()})
        for i, step in enumerate(steps)
    ]
    colour = compose_colour(mean, drawn)
    assert colour is not None  # there are changes
    return colour


def mapped(colour: Colour, rgb: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
    """Not clamped."""
    return colour.act(rgb.mT[..., None])[..., 0].mT


def homogeneous(linear: Float[Tensor, "batch 3 3"], **parameters: Tensor) -> Affine:
    matrix = torch.eye(4, device=linear.device).repeat(len(linear), 1, 1)
    matrix[:, :3, :3] = linear
    return Affine(matrix, parameters)


def dropped(
    change: Crop | CutOut,
    points: Float[Tensor, "batch points 3"],
    there: Bool[Tensor, "batch points"],
    counter: Counter,
    name: str,
    index: Int[Tensor, "batch"],
) -> tuple[Bool[Tensor, "batch points"], Float[Tensor, "batch"]]:
    """What is left of the points that were there, at least one; and the share that was lost."""
    count = there.sum(1)
    centre = torch.where(there, counter.uniform(f"{name}/centre", index, there.shape[1]), -1).argmax(1)
    distance = (points - points[torch.arange(len(points)), centre][:, None]).square().sum(-1)
    rank = torch.where(there, distance, torch.inf).argsort(1).argsort(1)
    u = counter.uniform(f"{name}/share", index)
    if isinstance(change, Crop):
        kept = ((change.low + (change.high - change.low) * u) * count).ceil().clamp(min=1)
        left = there & (rank < kept[:, None])
    else:
        cut = torch.where(u < change.p, (change.share * count).floor(), 0.0)
        left = there & (rank >= torch.minimum(cut, count - 1)[:, None])
    return left, 1 - left.sum(1) / count


def acted(g: Affine, x: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch points channels"]:
    """Points moved; normals, where there are any, by the inverse transpose, and of length 1 again."""
    p = g.act(x[..., :3])
    if x.shape[-1] < 6:
        return torch.cat([p, x[..., 3:]], -1)
    linear = torch.linalg.inv(g.matrix[:, :3, :3])
    n = x[..., 3:6] @ linear
    return torch.cat([p, torch.nn.functional.normalize(n, dim=-1), x[..., 6:]], -1)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """In the unit ball, thinned evenly: for evaluation."""
    return Policy({"v": Cloud(size, (), even=True)})


def weak(size: int) -> Cloud:
    """As Point-MAE (Pang et al. 2022, arXiv:2203.06604) trains: factors in [2/3, 3/2] for each axis and shifts of up to 0.2."""
    return Cloud(size, (Scale(2 / 3, 1.5, each=True), Shift(0.2)))


def strong(size: int) -> Cloud:
    """Turned about the vertical (y), stretched, shifted, cropped, cut out, shaken and painted: what contrastive methods on clouds use, in one."""
    return Cloud(size, (Turn(1), Scale(0.8, 1.25, each=True), Shift(0.1), Crop(0.5, 1.0), CutOut(0.2), Jitter(0.01, 0.05), Paint()))


def local(size: int) -> Cloud:
    """A smaller piece with fewer points."""
    return Cloud(max(32, size // 4), (Turn(1), Scale(0.8, 1.25, each=True), Shift(0.1), Crop(0.15, 0.4), Jitter(0.01, 0.05), Paint()))


def rotated(size: int) -> Policy:
    """Two views under any rotation: for clouds without an upright."""
    changes = strong(size).changes[1:]
    return Policy({role: Cloud(size, (Turn(None), *changes)) for role in ("v", "w")})


def kept_colours(size: int) -> Policy:
    """Two views whose colours stay as they are: where colour is what tells."""
    return Policy({role: Cloud(size, strong(size).changes[:-1]) for role in ("v", "w")})


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: how many points each cell of an 8 x 8 x 8 grid over [-1, 1] holds, as a share."""
    cell = ((view.x[..., :3].clamp(-1, 1 - 1e-6) + 1) * 4).long()
    number = (cell[..., 0] * 8 + cell[..., 1]) * 8 + cell[..., 2]
    counts = torch.zeros(len(number), 512, device=number.device).scatter_add_(1, number, torch.ones_like(number, dtype=torch.float32))
    return counts / number.shape[1]


def placed(view: View, places: Float[Tensor, "batch places axes"]) -> Float[Tensor, "batch places axes"]:
    """Where places of the samples are among the tokens of a view."""
    return view.g.geometry.act(places)


def raw_parts(view: View) -> list[Tokens]:
    """What stands for the input itself, place by place: the points as they are."""
    return [Tokens(view.x, view.x[..., :3])]
