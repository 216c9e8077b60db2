"""Views of volumes: one 3-D affine map a sample, one resampling, then intensities.

Samples are (depth, height, width, channels), floats in [0, 1] or uint8; those of depth 1 are pictures, and stay so. Crop, turn, scale and mirror compose to
one 4x4 map from the sample's voxels to the view's, with axes (x, y, z) = (width, height, depth), corners at 0; `g` holds it. Where it shrinks, each voxel of
the view is the mean of a finer grid of trilinear samples, which antialiases; beyond the edge the border is repeated. A view is (batch, channels, size, size,
size) in [0, 1], of pictures alone (batch, channels, 1, size, size). Where a batch has both, pictures are the first slices of cubes that are NaN everywhere
else: of the encoders unified_vit alone takes that.

    policy = simclr(32)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: (batch, depth, height, width, channels), or a list of such volumes
    views["v"].x, views["v"].g.parameters
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Tokens, View
from manyviews.counters import Counter
from manyviews.groups import Affine, Picture, rotations_about
from manyviews.nn.levels import cells_of
from manyviews.views.policy import Policy

FINEST = 4  # samples along each axis of a voxel of the view, at most


@dataclasses.dataclass(frozen=True)
class Box:
    """A random box of sides in [low, high] of the volume's, drawn for each axis, anywhere inside it, stretched to the view."""

    low: float = 0.5
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class Turn:
    """A rotation about the centre by up to `angle` radians about each of the three axes."""

    angle: float = math.radians(15)


@dataclasses.dataclass(frozen=True)
class Scale:
    """A factor in [low, high] about the centre."""

    low: float = 0.9
    high: float = 1.1


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Each axis of `axes` (0: x, 1: y, 2: z) exchanged with its opposite, with probability `p`."""

    axes: tuple[int, ...] = (0,)
    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Intensity:
    """Values times a factor in 1 +- `contrast` about their mean, plus up to +- `brightness`, then to a power in [1 / (1 + gamma), 1 + gamma]."""

    contrast: float = 0.3
    brightness: float = 0.1
    gamma: float = 0.3


@dataclasses.dataclass(frozen=True)
class Noise:
    """Gaussian noise of a standard deviation up to `sigma`."""

    sigma: float = 0.05


@dataclasses.dataclass(frozen=True)
class Blur:
    """With probability `p` a Gaussian of up to `sigma` voxels of the view."""

    sigma: float = 1.0
    p: float = 0.5


Change = Box | Turn | Scale | Mirror | Intensity | Noise | Blur


@dataclasses.dataclass(frozen=True)
class Block:
    """One view: its side in voxels and the changes that make it. whole: all of the volume is stretched to the view, else its centred cube."""

    size: int
    changes: tuple[Change, ...] = ()

    @property
    def pixels(self) -> int:
        """The shorter side at which the smallest box is not enlarged."""
        return math.ceil(self.size / min([c.low for c in self.changes if isinstance(c, Box)], default=1.0))

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name."""
        device = samples.index.device
        flat = torch.tensor([len(x) == 1 for x in samples.x], device=device)
        if bool(flat.any()) and not bool(flat.all()):
            return joined([self.view(rows_of(samples, which), counter, role) for which in (flat, ~flat)], flat, samples)
        extent = torch.tensor([[x.shape[2], x.shape[1], x.shape[0]] for x in samples.x], device=device).float()
        g = self.geometry(extent, samples, counter, role)
        x = torch.stack([resampled(x, m, self.size) for x, m in zip(samples.x, g.matrix, strict=True)])
        lost: dict[str, Tensor] = {}
        for k, change in enumerate(self.changes):
            x = self.intensity(change, x, counter, f"{role}/{k}", samples, lost)
        return View(x.clamp(0, 1), samples.index, Picture(g, None, lost), samples.given)

    def geometry(self, extent: Float[Tensor, "batch 3"], samples: View, counter: Counter, role: str) -> Affine:
        """From the sample's voxels to the view's: the box, which comes first, then the rest about the view's centre."""
        box = next(((k, c) for k, c in enumerate(self.changes) if isinstance(c, Box)), None)
        flat = extent[:, 2] == 1
        side = torch.where(flat, extent[:, :2].amin(1), extent.amin(1))[:, None].repeat(1, 3)  # without a box: the centred cube
        corner = (extent - side) / 2
        if box is not None:
            u = counter.uniform(f"{role}/{box[0]}", samples.index, 2, 3)
            side = (box[1].low + (box[1].high - box[1].low) * u[:, 0]) * extent
            corner = (extent - side) * u[:, 1]
        zoom = self.size / side
        zoom[flat, 2], corner[flat, 2] = 1.0, 0.0  # a picture has one slice, and keeps it
        linear, parameters = torch.diag_embed(zoom), {"corner": corner, "side": side}
        m = homogeneous(linear, -corner * zoom)
        centre = torch.full_like(corner, self.size / 2)
        for k, change in enumerate(self.changes):
            found = about_centre(change, counter, f"{role}/{k}", samples)
            if found is not None:
                name, linear, parameters[name] = found
                linear[flat, 2], linear[flat, :, 2] = linear.new_tensor([0, 0, 1]), linear.new_tensor([0, 0, 1])  # turned, seen from before
                m = homogeneous(linear, centre - (linear @ centre[..., None])[..., 0]) @ m
        return Affine(m, parameters)

    def intensity(
        self, change: Change, x: Tensor, counter: Counter, name: str, samples: View, lost: dict[str, Tensor]
    ) -> Float[Tensor, "batch channels d h w"]:
        """The view after a change of its values; `lost` learns of what cannot be undone."""
        if isinstance(change, Intensity):
            u = counter.uniform(name, samples.index, 3).view(-1, 3, 1, 1, 1, 1) * 2 - 1
            mean = x.mean((2, 3, 4), keepdim=True)
            x = ((x - mean) * (1 + change.contrast * u[:, 0]) + mean + change.brightness * u[:, 1]).clamp(0, 1)
            power = (1 + change.gamma) ** u[:, 2]
            lost["gamma"] = power.flatten() - 1
            return x**power
        if isinstance(change, Noise):
            sigma = change.sigma * counter.uniform(f"{name}/sigma", samples.index)
            lost["noise"] = sigma
            noise = counter.normal(name, samples.index, x[0].numel()).view_as(x)
            return x + noise * sigma.view(-1, 1, 1, 1, 1)
        if isinstance(change, Blur):
            u = counter.uniform(name, samples.index, 2)
            lost["blur"] = torch.where(u[:, 0] < change.p, change.sigma * u[:, 1], 0.0)
            return blurred(x, lost["blur"], math.ceil(3 * change.sigma))
        return x


def about_centre(change: Change, counter: Counter, name: str, samples: View) -> tuple[str, Float[Tensor, "batch 3 3"], Tensor] | None:
    """The linear map that a change draws, and its parameter by name; None for what is no linear map."""
    if isinstance(change, Turn):
        angles = (2 * counter.uniform(name, samples.index, 3) - 1) * change.angle
        x, y, z = (rotations_about(axis, angles[:, axis]) for axis in range(3))
        return "angles", z @ y @ x, angles
    if isinstance(change, Scale):
        factor = change.low + (change.high - change.low) * counter.uniform(name, samples.index)
        return "factor", torch.diag_embed(factor[:, None].expand(-1, 3)), factor
    if isinstance(change, Mirror):
        hit = counter.uniform(name, samples.index, 3) < change.p
        hit &= torch.tensor([axis in change.axes for axis in range(3)], device=hit.device)
        return "mirrored", torch.diag_embed(1 - 2 * hit.float()), hit
    return None


def homogeneous(linear: Float[Tensor, "batch 3 3"], shift: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 4 4"]:
    matrix = torch.eye(4, device=linear.device).repeat(len(linear), 1, 1)
    matrix[:, :3, :3], matrix[:, :3, 3] = linear, shift
    return matrix


def resampled(x: Tensor, matrix: Float[Tensor, "4 4"], size: int) -> Float[Tensor, "channels depth size size"]:
    """One volume seen through its map, in [0, 1]: trilinear, and the mean of finer samples where the map shrinks. Of depth 1 stays of depth 1."""
    top = 255.0 if x.dtype == torch.uint8 else 1.0
    back = torch.linalg.inv(matrix)
    shrinks = float(back[:3, :3].norm(dim=0).max())  # sample voxels to a voxel of the view
    fine = min(FINEST, max(1, math.ceil(shrinks - 0.25)))
    axis = (torch.arange(size * fine, device=x.device) + 0.5) / fine
    flat = len(x) == 1
    z, y, w = torch.meshgrid(axis.new_full((1,), 0.5) if flat else axis, axis, axis, indexing="ij")
    at = torch.stack([w, y, z], -1) @ back[:3, :3].T + back[:3, 3]
    extent = torch.tensor([x.shape[2], x.shape[1], x.shape[0]], device=x.device).float()
    grid = 2 * at / extent - 1
    seen = F.grid_sample(x.permute(3, 0, 1, 2)[None].float() / top, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return (F.avg_pool3d(seen, (1 if flat else fine, fine, fine)) if fine > 1 else seen)[0]


def rows_of(samples: View, which: Tensor) -> View:
    """Some of the samples."""
    rows = which.nonzero()[:, 0]
    return View([samples.x[i] for i in rows.tolist()], samples.index[rows], None, {name: value[rows] for name, value in samples.given.items()})


def joined(parts: list[View], flat: Tensor, samples: View) -> View:
    """Views of pictures and of volumes, in the rows that they had."""
    pictures, volumes = parts
    x = volumes.x.new_full((len(samples), *volumes.x.shape[1:]), torch.nan)
    x[flat, :, :1], x[~flat] = pictures.x, volumes.x
    back = torch.cat([flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]]).argsort()

    def both(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([one[name], other[name]])[back] for name in one}

    a, b = pictures.g.geometry, volumes.g.geometry
    geometry = Affine(torch.cat([a.matrix, b.matrix])[back], both(a.parameters, b.parameters))
    return View(x, samples.index, Picture(geometry, None, both(pictures.g.lost, volumes.g.lost)), samples.given)


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: all voxels; a picture counts as a volume of equal slices."""
    x = torch.where(view.x.isnan(), view.x[:, :, :1], view.x)
    return x.expand(-1, -1, x.shape[3], -1, -1).flatten(1)


def blurred(x: Float[Tensor, "batch channels d h w"], sigma: Float[Tensor, "batch"], radius: int) -> Float[Tensor, "batch channels d h w"]:
    """A Gaussian along each axis, cut off at `radius`, of another width for each sample; nothing where sigma is 0."""
    at = torch.arange(-radius, radius + 1, device=x.device).float()
    kernel = torch.exp(-0.5 * (at / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)
    flat = x.flatten(0, 1)[None]
    for axis, pad in ((2, (0, 0, 0, 0, radius, radius)), (3, (0, 0, radius, radius, 0, 0)), (4, (radius, radius, 0, 0, 0, 0))):
        shape = [len(kernel), 1, 1, 1, 1]
        shape[axis] = 2 * radius + 1
        flat = F.conv3d(F.pad(flat, pad, mode="replicate"), kernel.view(shape), groups=len(kernel))
    return flat.view_as(x)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """The whole volume, its axes stretched to the view's: for evaluation."""
    return Policy({"v": Block(size, (Box(1.0, 1.0),))})


def weak(size: int) -> Block:
    """Boxes of at least 70 % of each side, mirrored left to right."""
    return Block(size, (Box(0.7, 1.0), Mirror((0,))))


def strong(size: int) -> Block:
    """Boxes of half to all of each side, turned by up to 15 degrees, scaled, mirrored, with other intensities, noise and blur."""
    return Block(size, (Box(0.5, 1.0), Turn(), Scale(), Mirror((0, 1, 2)), Intensity(), Blur(), Noise()))


def local(size: int) -> Block:
    """A small box of half the side of the view."""
    return Block(max(8, size // 2 // 4 * 4), (Box(0.25, 0.5), Turn(), Mirror((0, 1, 2)), Intensity(), Noise()))


def placed(view: View, places: Float[Tensor, "batch places axes"]) -> Float[Tensor, "batch places axes"]:
    """Where places of the samples (x, y, z in their voxels) are among the tokens of a view, whose corners are 0 and 1."""
    return view.g.geometry.act(places) / torch.tensor(view.x.shape[:1:-1], device=places.device)


def raw_parts(view: View) -> list[Tokens]:
    """What stands for the input itself, place by place: each voxel, and where it is."""
    return [cells_of(view.x)]
