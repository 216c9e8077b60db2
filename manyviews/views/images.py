"""Views of pictures: draw everything first, compose it, then touch the pixels once.

A view is described by data, a tuple of changes in order. Geometric changes (crop, flip, rotate) compose to one 3x3 map a sample, photometric
ones (brightness, contrast, saturation, hue, greyscale) to one colour matrix a sample; then one resampling, one matrix product, one blur, one
clamp. Solarize, which is not linear, acts after. Hue is a rotation about the grey axis, contrast is about the mean grey of the cropped picture.

    policy = simclr(32)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: uint8 (batch, height, width, channels), or a list of such pictures
    views["v"].x, views["v"].g.parameters                  # float in [0, 1], and what made it
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine, Colour, Picture, matrices
from manyviews.views.resample import blur, resample

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in the reference implementations


# --- the changes, as data -------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Crop:
    """A random rectangle of `scale` of the area and width/height `ratio`, stretched to the view (Inception crop)."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Centre:
    """The largest centred rectangle of the view's shape: nothing random."""


@dataclasses.dataclass(frozen=True)
class Flip:
    """Left and right exchanged."""

    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Rotate:
    """A rotation about the centre by up to `degrees` either way."""

    degrees: float
    p: float = 1.0


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Brightness, contrast and saturation factors in [1 - s, 1 + s], hue turned by up to `hue` of a full turn; in random order."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """The colour channels in a random order."""

    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Grey:
    """All channels replaced by the luma."""

    p: float = 0.2


@dataclasses.dataclass(frozen=True)
class Blur:
    """A Gaussian of standard deviation `sigma`, in pixels of a 224 pixel wide view and in proportion for others."""

    p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)


@dataclasses.dataclass(frozen=True)
class Solarize:
    """Values above `threshold` inverted."""

    p: float = 0.2
    threshold: float = 0.5


Draw = Callable[..., Tensor]  # draw(name, *shape) -> uniform numbers in [0, 1), (batch, *shape)
Step = Callable[[Tensor], Tensor]  # the current mean colour (batch, channels + 1, 1) -> a colour matrix (batch, channels + 1, channels + 1)
Change = Crop | Centre | Flip | Rotate | Jitter | Shuffle | Grey | Blur | Solarize


@dataclasses.dataclass(frozen=True)
class Spec:
    """One view: its side in pixels and the changes that make it."""

    size: int
    changes: tuple[Change, ...]


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which views a method gets, by the names of its `loss`'s parameters: one view, or a list of them."""

    roles: dict[str, Spec | list[Spec]]

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        return {
            role: [apply(s, samples, counter, f"{role}{i}") for i, s in enumerate(spec)]
            if isinstance(spec, list)
            else apply(spec, samples, counter, role)
            for role, spec in self.roles.items()
        }

    @property
    def specs(self) -> list[Spec]:
        return [s for spec in self.roles.values() for s in (spec if isinstance(spec, list) else [spec])]

    @property
    def pixels(self) -> int:
        """The shorter side below which a decoded picture would have to be enlarged for the smallest crop."""
        smallest = [min([c.scale[0] for c in s.changes if isinstance(c, Crop)], default=1.0) for s in self.specs]
        return max(math.ceil(s.size / math.sqrt(scale)) for s, scale in zip(self.specs, smallest, strict=True))


# --- drawing and composing ------------------------------------------------------------------------------------------------------------------


def apply(spec: Spec, samples: View, counter: Counter, role: str) -> View:
    """The view of `samples` that `spec` describes and `counter` draws; `role` keeps the randomness of several views apart."""
    index = samples.index

    def draw(name: str, *shape: int) -> Tensor:
        return counter.uniform(f"{role}/{name}", index, *shape)

    geometry = compose_geometry(spec, extents(samples), draw)
    x = resample(samples.x, geometry.matrix, spec.size)
    colour = compose_colour(spec, x, draw)
    if colour is not None:
        x = colour.act(x)
    lost = {}
    for change in spec.changes:
        if isinstance(change, Blur):
            sigma = change.sigma[0] + (change.sigma[1] - change.sigma[0]) * draw("sigma")
            lost["blur"] = torch.where(draw("blur") < change.p, sigma * spec.size / 224, 0.0)
            x = blur(x, lost["blur"])
    x = x.clamp(0, 1)
    for change in spec.changes:
        if isinstance(change, Solarize):
            hit = draw("solarize") < change.p
            x = torch.where(hit[:, None, None, None] & (x >= change.threshold), 1 - x, x)
            lost["solarize"] = hit.float()
    return View(x, index, Picture(geometry, colour, lost), samples.given)


def extents(samples: View) -> Float[Tensor, "batch 2"]:
    """Width and height of each picture, in pixels."""
    if isinstance(samples.x, Tensor):
        height, width = samples.x.shape[1:3]
        return torch.tensor([[width, height]], device=samples.index.device).float().expand(len(samples), 2)
    return torch.tensor([[a.shape[1], a.shape[0]] for a in samples.x], device=samples.index.device).float()


def compose_geometry(spec: Spec, extent: Float[Tensor, "batch 2"], draw: Draw) -> Affine:
    """The map from sample pixels to view pixels."""
    size, width, height = spec.size, extent[:, 0], extent[:, 1]
    start = next((change for change in spec.changes if isinstance(change, Crop | Centre)), Centre())
    x, y, w, h = crop_box(start, width, height, draw) if isinstance(start, Crop) else centre_box(width, height)
    parameters = {"crop_x": x, "crop_y": y, "crop_width": w, "crop_height": h}
    m = matrices([[size / w, 0, -x * size / w], [0, size / h, -y * size / h], [0, 0, 1]], like=x)
    for change in spec.changes:
        if isinstance(change, Flip):
            hit = draw("flip") < change.p
            sign = torch.where(hit, -1.0, 1.0)
            m = matrices([[sign, 0, size * (1 - sign) / 2], [0, 1, 0], [0, 0, 1]], like=x) @ m
            parameters["flip"] = hit.float()
        elif isinstance(change, Rotate):
            angle = math.radians(change.degrees) * (2 * draw("angle") - 1) * (draw("rotate") < change.p)
            c, s, o = angle.cos(), angle.sin(), size / 2
            m = matrices([[c, -s, o - c * o + s * o], [s, c, o - s * o - c * o], [0, 0, 1]], like=x) @ m
            parameters["angle"] = angle
    return Affine(m, parameters)


def centre_box(width: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    side = torch.minimum(width, height)
    return (width - side) / 2, (height - side) / 2, side, side


def crop_box(crop: Crop, width: Tensor, height: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, top, width, height: the first of ten draws that fits into the picture, else the largest centred one of an allowed ratio."""
    u = draw("crop", 10, 2)
    area = (crop.scale[0] + (crop.scale[1] - crop.scale[0]) * u[..., 0]) * (width * height)[:, None]
    low, high = math.log(crop.ratio[0]), math.log(crop.ratio[1])
    ratio = (low + (high - low) * u[..., 1]).exp()
    w, h = (area * ratio).sqrt(), (area / ratio).sqrt()
    fits = (w <= width[:, None]) & (h <= height[:, None])
    first = fits.float().argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    inside = (width / height).clamp(*crop.ratio)
    none = ~fits.any(1)
    w = torch.where(none, torch.minimum(width, height * inside), w)
    h = torch.where(none, torch.minimum(height, width / inside), h)
    corner = torch.where(none[:, None], torch.full_like(u[:, 0], 0.5), draw("corner", 2))
    return (width - w) * corner[:, 0], (height - h) * corner[:, 1], w, h


def compose_colour(spec: Spec, x: Float[Tensor, "batch channels height width"], draw: Draw) -> Colour | None:
    """All photometric changes as one matrix a sample; `x` is the cropped picture, whose mean the contrast refers to."""
    changes = [change for change in spec.changes if isinstance(change, Jitter | Shuffle | Grey)]
    if not changes:
        return None
    batch, channels = x.shape[:2]
    mean = torch.cat([x.mean((2, 3)), x.new_ones(batch, 1)], 1)[:, :, None]
    m = torch.eye(channels + 1, device=x.device).repeat(batch, 1, 1)
    parameters = {}
    for change in changes:
        if isinstance(change, Jitter):
            factors, steps = jitter(change, channels, draw, like=mean[:, 0, 0])
            order = draw("order", len(steps)).argsort(1)
            for k in range(len(steps)):
                options = torch.stack([step(m @ mean) for step in steps], 1)
                m = options[torch.arange(batch), order[:, k]] @ m
            parameters.update(factors)
        elif isinstance(change, Shuffle):
            hit = draw("shuffle") < change.p
            order = torch.where(hit[:, None], draw("channels", channels).argsort(1), torch.arange(channels, device=x.device))
            full = torch.cat([order, torch.full_like(order[:, :1], channels)], 1)
            m = m.gather(1, full[:, :, None].expand_as(m))
            parameters["shuffle"] = order.float()
        elif channels == 3:
            hit = draw("grey") < change.p
            m = torch.where(hit[:, None, None], saturation(torch.zeros_like(mean[:, 0, 0])), torch.eye(4, device=x.device)) @ m
            parameters["grey"] = hit.float()
    return Colour(m[:, :-1], parameters)


def jitter(change: Jitter, channels: int, draw: Draw, like: Tensor) -> tuple[dict[str, Tensor], list[Step]]:
    """The factors drawn, and for each the matrix it makes of the current mean colour. Without three channels there is no saturation or hue."""
    hit = draw("jitter") < change.p
    u = 2 * draw("factors", 4) - 1
    b = torch.where(hit, (1 + change.brightness * u[:, 0]).clamp(min=0), 1.0)
    c = torch.where(hit, (1 + change.contrast * u[:, 1]).clamp(min=0), 1.0)
    s = torch.where(hit, (1 + change.saturation * u[:, 2]).clamp(min=0), 1.0)
    h = torch.where(hit, 2 * math.pi * change.hue * u[:, 3], 0.0)
    luma = torch.tensor(GREY if channels == 3 else [1 / channels] * channels, device=like.device)

    def scaled(factor: Tensor, offset: Tensor) -> Tensor:
        m = torch.diag_embed(torch.cat([factor[:, None].expand(-1, channels), torch.ones_like(factor)[:, None]], 1))
        m[:, :-1, -1] = offset[:, None]
        return m

    steps: list[Step] = [
        lambda mean: scaled(b, torch.zeros_like(b)),
        lambda mean: scaled(c, (1 - c) * (mean[:, :-1, 0] @ luma)),
    ]
    factors = {"brightness": b, "contrast": c}
    if channels == 3:
        steps += [lambda mean: saturation(s), lambda mean: hue(h)]
        factors.update(saturation=s, hue=h)
    return factors, steps


def saturation(factor: Float[Tensor, "batch"]) -> Float[Tensor, "batch 4 4"]:
    """Blend with the luma: 0 is grey, 1 the picture itself."""
    grey = torch.eye(4, device=factor.device)
    grey[:3, :3] = torch.tensor(GREY, device=factor.device)
    f = factor[:, None, None]
    return f * torch.eye(4, device=factor.device) + (1 - f) * grey


def hue(angle: Float[Tensor, "batch"]) -> Float[Tensor, "batch 4 4"]:
    """A rotation of the colour cube about its grey diagonal (Rodrigues)."""
    k = torch.zeros(4, 4, device=angle.device)
    k[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    a = angle[:, None, None]
    return torch.eye(4, device=angle.device) + a.sin() * k + (1 - a.cos()) * (k @ k)


# --- published policies ---------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """The centred square, for evaluation."""
    return Policy({"v": Spec(size, (Centre(),))})


def simclr(size: int) -> Policy:
    """Chen et al. 2020, arXiv:2002.05709, app. A; up to 64 pixels as in their CIFAR-10 runs (app. B.9: half the colour strength, no blur)."""
    small = size <= 64
    strength = 0.5 if small else 1.0
    colour = (Jitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength), Grey(0.2))
    return two(size, (Crop((0.08, 1.0)), Flip(), *colour, *(() if small else (Blur(0.5),))))


def shuffled_colours(size: int) -> Policy:
    """For objects whose colour says nothing: crops of at least 30 %, flips, channels in random order and strong jitter. Not from a paper."""
    return two(size, (Crop((0.3, 1.0)), Flip(), Shuffle(0.8), Jitter(0.6, 0.6, 0.6, 0.2), Grey(0.2)))


def moco(size: int) -> Policy:
    """MoCo v2, Chen et al. 2020, arXiv:2003.04297; blur only above 64 pixels."""
    return two(size, (Crop((0.2, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2), *(() if size <= 64 else (Blur(0.5),))))


def byol(size: int) -> Policy:
    """Grill et al. 2020, arXiv:2006.07733, table 6: the second view is seldom blurred and sometimes solarized."""
    common = (Crop((0.08, 1.0)), Flip(), Jitter(0.4, 0.4, 0.2, 0.1), Grey(0.2))
    return Policy({"v": Spec(size, (*common, Blur(1.0))), "w": Spec(size, (*common, Blur(0.1), Solarize(0.2)))})


vicreg = barlow_twins = byol  # both papers take BYOL's augmentations


def moco_v3(size: int) -> Policy:
    """Chen et al. 2021, arXiv:2104.02057: BYOL's, with crops of at least 20 % as in MoCo."""
    policy = byol(size)
    return Policy({k: Spec(size, (Crop((0.2, 1.0)), *s.changes[1:])) for k, s in policy.roles.items() if isinstance(s, Spec)})


def dino(size: int) -> Policy:
    """Caron et al. 2021, arXiv:2104.14294: two global crops, eight local ones of 3/7 of the side (in multiples of 16, of 4 below 112)."""
    colour = (Flip(), Jitter(0.4, 0.4, 0.2, 0.1), Grey(0.2))
    wide, narrow = Crop((0.4, 1.0)), Crop((0.05, 0.4))
    return Policy(
        {
            "global_crops": [Spec(size, (wide, *colour, Blur(1.0))), Spec(size, (wide, *colour, Blur(0.1), Solarize(0.2)))],
            "local_crops": [Spec(local_side(size), (narrow, *colour, Blur(0.5)))] * 8,
        }
    )


def swav(size: int) -> Policy:
    """Caron et al. 2020, arXiv:2006.09882: two global and six local crops with SimCLR's colours."""
    changes = simclr(size).specs[0].changes[1:]
    return Policy(
        {
            "global_crops": [Spec(size, (Crop((0.14, 1.0)), *changes))] * 2,
            "local_crops": [Spec(local_side(size), (Crop((0.05, 0.14)), *changes))] * 6,
        }
    )


def mae(size: int) -> Policy:
    """He et al. 2022, arXiv:2111.06377: crops of at least 20 % and flips, nothing else."""
    return Policy({"v": Spec(size, (Crop((0.2, 1.0)), Flip()))})


def supervised(size: int) -> Policy:
    """The usual crops and flips of supervised training; for up to 64 pixels no crop below half the area."""
    return Policy({"v": Spec(size, (Crop((0.5 if size <= 64 else 0.08, 1.0)), Flip()))})


def two(size: int, changes: Sequence[Change]) -> Policy:
    """Two views from the same changes."""
    return Policy({role: Spec(size, tuple(changes)) for role in ("v", "w")})


def local_side(size: int) -> int:
    step = 16 if size >= 112 else 4
    return max(step, round(size * 3 / 7 / step) * step)

