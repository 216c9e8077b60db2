"""Induced representations for pose: features that turn with the picture are taken to features that rotate in space, by the most general map there is.

Howell, Klee, Biza, Zhao, Walters, "Equivariant Single View Pose Prediction Via Induced and Restricted Representations", NeurIPS 2023, arXiv:2307.03704
(authors' code: owenhowell20/Induced-and-Restriction-Representations-for-ML); what follows the map is from Klee et al., "Image to Sphere", ICLR 2023,
arXiv:2302.13926.

Turning a picture is rotating the world about the line of sight: SO(2) within SO(3). A linear map from picture features to functions on the sphere that respects
turns takes frequency k to any degree l >= k (Frobenius reciprocity), and from whole pictures it is a steerable kernel as large as they are
(`plane_to_sphere`); projecting the picture onto a half sphere, as Image to Sphere does, is one such kernel. Then convolutions on the sphere and on SO(3), in
harmonics up to a degree, end in a function on SO(3), the logarithm of the pose's density. It is taken at a grid of rotations, equal shares of SO(3):
HEALPix directions times angles about them (Yershova et al., 2010). The map itself is exactly equivariant under turns, and with whole pictures under
quarter turns; other turns of pixels are resampled, and the nonlinearity on SO(3) is taken on a finite grid, so that the whole is only approximately
equivariant (`exact = False`). The picture encoder has fields of functions on the circle.

Departs from the paper: the encoder is a small steerable network of our own instead of a steerable or a pretrained ResNet; the likelihood is taken at the true
rotation itself, not at the nearest of the grid, which only normalises it; the kernel on the sphere is free in harmonics, not sampled near a pole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.timm_model import cells
from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.groups import Acting, Cyclic, lie, so2, so3, wigner
from manyviews.groups import Fields as Vectors
from manyviews.symmetry.plane_to_sphere import SIGHT, At, Lifted, Orthographic, Pointwise, Steerable, frequencies, sphere

MODALITY = "images"
MAPS = ("induced", "orthographic", "mlp")


# --- rotations --------------------------------------------------------------------------------------------------------------------------------


def directions(nside: int) -> Float[Tensor, "pixels 3"]:
    """The centres of HEALPix' 12 nside^2 pixels of equal area, ring by ring (Gorski et al., 2005), with the rings about y; float64."""
    rings = []
    for i in range(1, 4 * nside):
        cap = min(i, 4 * nside - i)
        if cap < nside:
            count, start, height = 4 * cap, 0.5, (1 - cap * cap / (3 * nside * nside)) * (1 if i < nside else -1)
        else:
            count, start, height = 4 * nside, 0.5 * ((i - nside + 1) % 2), 4 / 3 - 2 * i / (3 * nside)
        angle = 2 * math.pi * (torch.arange(count, dtype=torch.float64) + start) / count
        width = math.sqrt(1 - height * height)
        rings.append(torch.stack([width * angle.sin(), torch.full_like(angle, height), width * angle.cos()], -1))
    return torch.cat(rings)


@functools.cache
def rotations(level: int) -> Float[Tensor, "rotations 3 3"]:
    """72 times 8^level rotations that share SO(3) evenly: each of HEALPix' directions of nside 2^level, and 6 nside angles about y before; float64."""
    if not 0 <= level <= 5:
        raise InputError(f"induced_pose: a grid of level {level}; there are 0 to 5")
    nside = 2**level
    d = directions(nside)
    y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    tilt = torch.atan2(d[:, [0, 2]].norm(dim=1), d[:, 1])
    to = lie.turn_space(torch.atan2(d[:, 0], d[:, 2])[:, None] * y) @ lie.turn_space(tilt[:, None] * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    about = lie.turn_space(2 * math.pi * torch.arange(6 * nside, dtype=torch.float64)[:, None] / (6 * nside) * y)
    return (to[:, None] @ about).flatten(0, 1)


def waves(rotation: Float[Tensor, "rotations 3 3"], degree: int) -> Float[Tensor, "rotations numbers"]:
    """Matrix entries up to a degree, with mean square 1 over SO(3), of rotations from an object's frame to the world."""
    r = SIGHT.to(rotation) @ rotation
    return torch.cat([math.sqrt(2 * k + 1) * wigner(k, r).flatten(1) for k in range(degree + 1)], 1)


def angles(a: Float[Tensor, "batch 3 3"], b: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch"]:
    """Between rotations, in degrees."""
    return torch.rad2deg(lie.log_space(a.double().mT @ b.double()).norm(dim=-1))


# --- layers in space --------------------------------------------------------------------------------------------------------------------------


class SphereToRotations(nn.Module):
    """Functions on the sphere to functions on SO(3): of each degree the outer product with free numbers."""

    def __init__(self, inside: int, outside: int, degree: int):
        super().__init__()
        self.degree = degree
        self.free = nn.ParameterList(torch.randn(inside, outside, 2 * k + 1) / math.sqrt(inside * (2 * k + 1)) for k in range(degree + 1))

    def forward(self, x: Float[Tensor, "batch inside numbers"]) -> Float[Tensor, "batch outside waves"]:
        parts = x.split([2 * k + 1 for k in range(self.degree + 1)], -1)
        return torch.cat([torch.einsum("bim,ion->bomn", part, w).flatten(2) for part, w in zip(parts, self.free, strict=True)], -1)


class OnRotations(nn.Module):
    """Convolution of functions on SO(3): of each degree a product of matrices."""

    def __init__(self, inside: int, outside: int, degree: int):
        super().__init__()
        self.degree = degree
        self.free = nn.ParameterList(torch.randn(inside, outside, 2 * k + 1, 2 * k + 1) / math.sqrt(inside * (2 * k + 1)) for k in range(degree + 1))

    def forward(self, x: Float[Tensor, "batch inside waves"]) -> Float[Tensor, "batch outside waves"]:
        parts = x.split([(2 * k + 1) ** 2 for k in range(self.degree + 1)], -1)
        found = [torch.einsum("bimn,ionp->bomp", part.unflatten(-1, (w.shape[-1], -1)), w).flatten(2) for part, w in zip(parts, self.free, strict=True)]
        return torch.cat(found, -1)


class Rectified(nn.Module):
    """ReLU of functions on SO(3), taken at a grid of rotations."""

    table: Tensor

    def __init__(self, degree: int, level: int = 1):
        super().__init__()
        self.register_buffer("table", waves(rotations(level), degree), persistent=False)

    def forward(self, x: Float[Tensor, "batch channels waves"]) -> Float[Tensor, "batch channels waves"]:
        table = self.table.to(x.dtype)
        return F.relu(x @ table.T) @ table / len(table)


# --- pictures ---------------------------------------------------------------------------------------------------------------------------------


class HarmonicNet(Encoder):
    """Fields of functions on the circle: steerable convolutions of `widths`, sides halved before the second to the fourth. The embedding does not turn: of each
    field's mean over places the average and the lengths of its frequencies.

    most: the largest frequency. side: of the kernels, in pixels.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], most: int = 2, side: int = 5):
        super().__init__()
        reps = [frequencies(0), *[frequencies(most)] * len(widths)]
        counts = [channels, *widths]
        self.layers = nn.ModuleList(Steerable(reps[k], counts[k], reps[k + 1], counts[k + 1], side, side // 2) for k in range(len(widths)))
        self.acts = nn.ModuleList(Pointwise(width, most) for width in widths)
        self.rep, self.channels = reps[-1], widths[-1]
        self.dim, self.widths = widths[-1] * (most + 1), [width * (2 * most + 1) for width in widths]

    def fields(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch channels_ numbers _ _"]]:
        t, found = x[:, :, None], []
        for k, (layer, act) in enumerate(zip(self.layers, self.acts, strict=True)):
            t = F.avg_pool2d(t.flatten(1, 2), 2).unflatten(1, t.shape[1:3]) if 0 < k < 4 else t
            t = act(layer(t))
            found.append(t)
        return found

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        t = self.fields(2 * view.x - 1)[-1].mean((3, 4))
        pairs = t[..., 1:].unflatten(-1, (-1, 2)).norm(dim=-1)
        return torch.cat([t[..., :1], pairs], -1).flatten(1)

    def pyramid(self, view: View) -> list[Tokens]:
        found = []
        for t in self.fields(2 * view.x - 1):
            where, extent = (a.expand(len(t), -1, -1) for a in cells(t.shape[-2], t.shape[-1], t.device))
            found.append(Tokens(t.flatten(1, 2).flatten(2).mT, where, extent=extent))
        return found


def induced_pose(channels: int = 3, size: int = 64) -> Encoder:
    """Five steerable convolutions with frequencies up to 4, 16 to 48 fields of them; `InducedPose` trains it on rotations."""
    return HarmonicNet(channels, (16, 24, 32, 48, 48), 4)


def induced_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """Three steerable convolutions with frequencies up to 2, 4 to 8 fields of them, for a CPU in minutes."""
    return HarmonicNet(channels, (4, 8, 8), 2)


# --- pose -------------------------------------------------------------------------------------------------------------------------------------


class InducedPose(Method):
    """An encoder of pictures, a map to the sphere, and a density of rotations, trained by the likelihood of `rotation`, which samples come with.

    size: of pictures, in pixels. maps: from pictures to the sphere: induced, orthographic (Image to Sphere), or mlp, which respects nothing and gives a
    function on SO(3) at once. degree: of harmonics. sphere_channels, space_channels: functions on the sphere and on SO(3). level: of the grid that
    normalises, 72 times 8^level rotations. stage: which of the encoder's maps is taken. channels: of pictures.
    """

    recipe = Recipe(views="plain", optimizer="adamw", lr=1e-3, weight_decay=0.0)
    table: Tensor

    def __init__(
        self, encoder: Encoder, size: int = 64, maps: str = "induced", degree: int = 6, sphere_channels: int = 16, space_channels: int = 8, level: int = 3,
        stage: int = -1, channels: int = 3,
    ):  # fmt: skip
        super().__init__()
        if maps not in MAPS:
            raise InputError(f"induced_pose: maps={maps!r}; there are {', '.join(MAPS)}")
        self.encoder, self.maps, self.degree, self.level, self.stage = encoder, maps, degree, level, stage
        self.register_buffer("table", waves(rotations(level), degree).float(), persistent=False)
        if maps == "mlp":
            self.mlp = nn.Sequential(nn.Linear(encoder.dim, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, self.table.shape[1]))
            return
        rep = encoder.rep if isinstance(encoder, HarmonicNet) else frequencies(0)
        with torch.no_grad():
            _, count, _, side, _ = self.features(torch.zeros(2, channels, size, size)).shape
        if maps == "orthographic":
            self.reduce = Steerable(rep, count, frequencies(0), sphere_channels, 1)  # a linear map at each place
            self.to_sphere: nn.Module = Orthographic(side, degree)
        else:
            self.to_sphere = Steerable(rep, count, sphere(degree), sphere_channels, side)
        self.to_rotations = SphereToRotations(sphere_channels, space_channels, degree)
        self.act, self.last = Rectified(degree), OnRotations(space_channels, 1, degree)
        self.scale = nn.Parameter(torch.full((), 0.1))  # so that little is claimed at first

    def features(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch fields numbers _ _"]:
        """The encoder's maps as fields; those of other encoders do not turn."""
        if isinstance(self.encoder, HarmonicNet):
            return self.encoder.fields(2 * x - 1)[self.stage]
        tokens = self.encoder.pyramid(View(x, torch.arange(len(x), device=x.device)))[self.stage].x
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise InputError(f"induced_pose: maps of {tokens.shape[1]} places are no square; show it square pictures")
        return tokens.mT.unflatten(2, (side, side))[:, :, None]

    def sphere_of(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels_ numbers"]:
        """Functions on the sphere."""
        t = self.features(x)
        return self.to_sphere(self.reduce(t)) if self.maps == "orthographic" else self.to_sphere(t)[..., 0, 0]

    def density(self, view: View) -> Float[Tensor, "batch waves"]:
        """The logarithm of the density, but for a constant, as a function on SO(3)."""
        if self.maps == "mlp":
            return self.mlp(self.encoder(view))
        s = self.sphere_of(view.x)
        s = s / s.square().mean((1, 2), keepdim=True).add(1e-6).sqrt()
        return self.scale * self.last(self.act(self.to_rotations(s)))[:, 0]

    def loss(self, v: View) -> Terms:
        if "rotation" not in v.given:
            raise InputError("induced_pose needs a rotation (3, 3) with every sample: data of manyviews.data.renders has it, other data a column `rotation`")
        return {"loss": -self.log_likelihood(self.density(v), v.given["rotation"]).mean()}

    def log_likelihood(self, f: Float[Tensor, "batch waves"], rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch"]:
        """Of the rotations, in a measure in which all of SO(3) is pi^2, so that ignorance has -2.29."""
        with torch.autocast(f.device.type, enabled=False):
            f, table = f.to(torch.promote_types(f.dtype, torch.float32)), self.table
            at = (f * waves(rotation.to(f.dtype), self.degree)).sum(1)
            return at - (f @ table.to(f.dtype).T).logsumexp(1) + math.log(len(table)) - 2 * math.log(math.pi)

    @torch.no_grad()
    def predict(self, f: Float[Tensor, "batch waves"], rounds: int = 6) -> Float[Tensor, "batch 3 3"]:
        """The rotations of the largest density: of the grid, then of ever smaller steps about the best so far."""
        best = rotations(self.level).to(f.device, f.dtype)[(f @ self.table.to(f.dtype).T).argmax(1)]
        line = torch.tensor([-1.0, 0.0, 1.0], device=f.device, dtype=f.dtype)
        for k in range(rounds):
            steps = lie.turn_space(torch.cartesian_prod(line, line, line) * math.radians(30) / 2 ** (self.level + k))
            near = best[:, None] @ steps
            at = waves(near.flatten(0, 1), self.degree).unflatten(0, near.shape[:2])
            best = near[torch.arange(len(f), device=f.device), torch.einsum("bw,bnw->bn", f, at).argmax(1)]
        return best

    def scores(self, f: Float[Tensor, "batch waves"], rotation: Float[Tensor, "batch 3 3"]) -> Mapping[str, Tensor]:
        """For each sample the angle in degrees, whether it is within 15 and 30 degrees, and the log likelihood."""
        off = angles(self.predict(f), rotation)
        return {"angle": off, "within 15": off <= 15, "within 30": off <= 30, "log likelihood": self.log_likelihood(f, rotation)}


def layers() -> dict[str, nn.Module]:
    """Layers on the sphere and on SO(3), and the way from a picture to the sphere."""
    from manyviews.groups import Representation

    def of(m: Tensor) -> Tensor:
        return torch.stack([torch.block_diag(*blocks) for blocks in zip(*(wigner(k, m[:, :-1, :-1]) for k in range(3)), strict=True)])

    def of_rows(m: Tensor) -> Tensor:
        parts = (torch.kron(wigner(k, row[None, :-1, :-1])[0], torch.eye(2 * k + 1, dtype=m.dtype)) for row in m for k in range(3))
        every = list(parts)
        return torch.stack([torch.block_diag(*every[i : i + 3]) for i in range(0, len(every), 3)])

    ball, space = Representation(so3, "degrees to 2", 9, of), Representation(so3, "waves to 2", 35, of_rows)
    picture = nn.Sequential(Lifted(), Steerable(frequencies(0), 2, sphere(2), 3, 8))
    return {
        "sphere to rotations": At(SphereToRotations(2, 3, 2), Vectors(ball, (2,)), Vectors(space, (3,))),
        "on rotations": At(OnRotations(2, 3, 2), Vectors(space, (2,)), Vectors(space, (3,))),
        "rectified": At(Rectified(2), Vectors(space, (2,)), Vectors(space, (2,)), exact=False),
        "induced": At(nn.Sequential(picture, nn.Flatten(3), Last()), Acting(Cyclic(4), "images", (2, 8, 8)), Vectors(sphere(2, Cyclic(4)), (3,))),
        "induced under all turns": At(nn.Sequential(picture, nn.Flatten(3), Last()), Acting(so2, "images", (2, 8, 8)), Vectors(sphere(2), (3,)), exact=False),
    }


class Last(nn.Module):
    """Without the one place there is."""

    def forward(self, x: Float[Tensor, "batch channels numbers 1"]) -> Float[Tensor, "batch channels numbers"]:
        return x[..., 0]
