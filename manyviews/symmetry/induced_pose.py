"""The encoders of induced_pose: features that turn with the picture are taken to features that rotate in space, by the most general map there is.

Howell, Klee, Biza, Zhao, Walters, "Equivariant Single View Pose Prediction Via Induced and Restricted Representations", NeurIPS 2023, arXiv:2307.03704
(authors' code: owenhowell20/Induced-and-Restriction-Representations-for-ML); what follows the map is from Klee et al., "Image to Sphere", ICLR 2023,
arXiv:2302.13926.

Turning a picture is rotating the world about the line of sight: SO(2) within SO(3). A linear map from picture features to functions on the sphere that respects
turns takes frequency k to any degree l >= k (Frobenius reciprocity), and from whole pictures it is a steerable kernel as large as they are
(`plane_to_sphere`); projecting the picture onto a half sphere, as Image to Sphere does, is one such kernel. Then convolutions on the sphere and on SO(3), in
harmonics up to a degree (`sphere_to_rotations`), end in a function on SO(3), the logarithm of the pose's density. The map itself is exactly equivariant under
turns, and with whole pictures under quarter turns; other turns of pixels are resampled, and the nonlinearity on SO(3) is taken on a finite grid, so that the
whole is only approximately equivariant (`exact = False`). The picture encoder has fields of functions on the circle.

`PoseNet` is a network of pictures with such a map and what comes after it, or with one of its rivals: the projection, or a perceptron that respects nothing.
The method of the same name trains it on rotations, and says in what all this is not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones import small
from manyviews.backbones.timm_model import cells
from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.groups import Acting, Cyclic, Representation, lie, so2
from manyviews.groups import Fields as Vectors
from manyviews.nn import torchvision_schemas
from manyviews.symmetry.plane_to_sphere import At, Lifted, Orthographic, Pointwise, Steerable, frequencies, sphere
from manyviews.symmetry.sphere_to_rotations import OnRotations, Rectified, SphereToRotations, angles, rotations, waves

MODALITY = "images"
MAPS = ("induced", "orthographic", "mlp")


# --- pictures ---------------------------------------------------------------------------------------------------------------------------------


class FieldNet(Encoder):
    """A network of pictures whose maps are fields; `rep` says how the numbers of one turn with the picture."""

    rep: Representation

    def fields(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch channels_ numbers _ _"]]:
        """From fine to coarse, of pictures in [0, 1]; abstract: every network of fields has its own."""
        raise NotImplementedError

    def pyramid(self, view: View) -> list[Tokens]:
        found = []
        for t in self.fields(view.x):
            where, extent = (a.expand(len(t), -1, -1) for a in cells(t.shape[-2], t.shape[-1], t.device))
            found.append(Tokens(t.flatten(1, 2).flatten(2).mT, where, extent=extent))
        return found


class HarmonicNet(FieldNet):
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
        self.rep = reps[-1]
        self.dim, self.widths = widths[-1] * (most + 1), [width * (2 * most + 1) for width in widths]

    def fields(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch channels_ numbers _ _"]]:
        t, found = (2 * x - 1)[:, :, None], []
        for k, (layer, act) in enumerate(zip(self.layers, self.acts, strict=True)):
            t = F.avg_pool2d(t.flatten(1, 2), 2).unflatten(1, t.shape[1:3]) if 0 < k < 4 else t
            t = act(layer(t))
            found.append(t)
        return found

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        t = self.fields(view.x)[-1].mean((3, 4))
        pairs = t[..., 1:].unflatten(-1, (-1, 2)).norm(dim=-1)
        return torch.cat([t[..., :1], pairs], -1).flatten(1)


class PlainNet(FieldNet):
    """A ResNet of timm's without what comes after its map `level` (0 is that of the stem). Its numbers do not turn; the embedding is their mean over places."""

    rep = frequencies(0)

    def __init__(self, model: Any, level: int):
        super().__init__()
        self.widths = [stage["num_chs"] for stage in model.feature_info[: level + 1]]
        self.dim = self.widths[-1]
        model.prune_intermediate_layers([level])
        self.model = model

    def fields(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch channels_ 1 _ _"]]:
        maps = self.model.forward_intermediates(4 * x - 2, indices=list(range(len(self.widths))), stop_early=True, intermediates_only=True)
        return [t[:, :, None] for t in maps]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.fields(view.x)[-1].mean((3, 4)).flatten(1)


# --- pose -------------------------------------------------------------------------------------------------------------------------------------


class PoseNet(Encoder):
    """A network of pictures, its embedding and its maps, and beside them a density of rotations: a function on SO(3) for each picture.

    size: of pictures, in pixels; a density is of these alone, the kernel to the sphere being as large as the last map. maps: from it to the sphere: induced,
    orthographic (Image to Sphere), or mlp, which respects nothing and takes its mean over places to a function on SO(3) at once. degree: of harmonics.
    sphere_channels, space_channels: functions on the sphere and on SO(3). level: of the grid that normalises, 72 times 8^level rotations.
    channels: of pictures.
    """

    table: Tensor

    def __init__(
        self, net: FieldNet, size: int = 64, maps: str = "induced", degree: int = 6, sphere_channels: int = 16, space_channels: int = 8, level: int = 3,
        channels: int = 3,
    ):  # fmt: skip
        super().__init__()
        if maps not in MAPS:
            raise InputError(f"induced_pose: maps={maps!r}; there are {', '.join(MAPS)}")
        self.net, self.size, self.maps, self.degree, self.level = net, size, maps, degree, level
        self.dim, self.widths = net.dim, net.widths
        self.register_buffer("table", waves(rotations(level), degree).float(), persistent=False)
        with torch.no_grad():
            _, count, numbers, side, _ = net.eval().fields(torch.zeros(1, channels, size, size))[-1].shape
        net.train()
        if maps == "mlp":
            self.mlp = nn.Sequential(nn.Linear(count * numbers, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, self.table.shape[1]))
            return
        if maps == "orthographic":
            self.reduce = Steerable(frequencies(0), count, frequencies(0), sphere_channels, 1)  # a linear map at each place, of what does not turn
            self.to_sphere: nn.Module = Orthographic(side, degree)
        else:
            self.to_sphere = Steerable(net.rep, count, sphere(degree), sphere_channels, side)
        self.to_rotations = SphereToRotations(sphere_channels, space_channels, degree)
        self.act, self.last = Rectified(degree), OnRotations(space_channels, 1, degree)
        self.scale = nn.Parameter(torch.full((), 0.1))  # so that little is claimed at first

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.net(view)

    def pyramid(self, view: View) -> list[Tokens]:
        return self.net.pyramid(view)

    def sphere_of(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels_ numbers"]:
        """Functions on the sphere."""
        t = self.net.fields(x)[-1]
        return self.to_sphere(self.reduce(t[:, :, :1])) if self.maps == "orthographic" else self.to_sphere(t)[..., 0, 0]

    def density(self, view: View) -> Float[Tensor, "batch waves"]:
        """The logarithm of the density, but for a constant, as a function on SO(3). Raises InputError for pictures of another size."""
        high, wide = view.x.shape[-2:]
        if (high, wide) != (self.size, self.size):
            raise InputError(
                f"this encoder tells rotations from pictures of {self.size} x {self.size} pixels, and these have {high} x {wide}; take --size {self.size}"
            )
        if self.maps == "mlp":
            return self.mlp(self.net.fields(view.x)[-1].mean((3, 4)).flatten(1))
        s = self.sphere_of(view.x)
        s = s / s.square().mean((1, 2), keepdim=True).add(1e-6).sqrt()
        return self.scale * self.last(self.act(self.to_rotations(s)))[:, 0]

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


# --- by name ----------------------------------------------------------------------------------------------------------------------------------


def induced_pose(channels: int = 3, size: int = 64) -> Encoder:
    """Rotations by the induced map, from five steerable convolutions with frequencies up to 4; harmonics up to degree 6, 36,864 rotations."""
    return PoseNet(large_net(channels), size, channels=channels)


def induced_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """Rotations by the induced map, from three steerable convolutions with frequencies up to 2; harmonics up to degree 4, 4,608 rotations. For a CPU."""
    return PoseNet(micro_net(channels), size, channels=channels, **MICRO)


def projected_pose(channels: int = 3, size: int = 64) -> Encoder:
    """As induced_pose, with the fixed projection onto a half sphere instead of the induced map."""
    return PoseNet(large_net(channels), size, "orthographic", channels=channels)


def projected_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """As induced_pose_micro, with the fixed projection onto a half sphere instead of the induced map."""
    return PoseNet(micro_net(channels), size, "orthographic", channels=channels, **MICRO)


def mlp_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """As induced_pose_micro, with a perceptron on the mean over places instead of the induced map and what comes after it."""
    return PoseNet(micro_net(channels), size, "mlp", channels=channels, **MICRO)


def cnn_projected_pose(channels: int = 3, size: int = 64) -> Encoder:
    """Image to Sphere (Klee et al. 2023): rotations from the maps of resnet18_small, projected onto a half sphere; sizes as in induced_pose."""
    return PoseNet(cnn(small.resnet18_small, channels, size, 4), size, "orthographic", channels=channels)


def cnn_projected_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """Image to Sphere (Klee et al. 2023): rotations from the third map of resnet_nano, projected onto a half sphere; sizes as in induced_pose_micro."""
    return PoseNet(cnn(small.resnet_nano, channels, size, 2), size, "orthographic", channels=channels, **MICRO)


def cnn_mlp_pose(channels: int = 3, size: int = 64) -> Encoder:
    """Rotations from resnet18_small by a perceptron, which respects nothing; sizes as in induced_pose."""
    return PoseNet(cnn(small.resnet18_small, channels, size, 4), size, "mlp", channels=channels)


def cnn_mlp_pose_micro(channels: int = 3, size: int = 32) -> Encoder:
    """Rotations from resnet_nano by a perceptron, which respects nothing; sizes as in induced_pose_micro."""
    return PoseNet(cnn(small.resnet_nano, channels, size, 4), size, "mlp", channels=channels, **MICRO)


MICRO: dict[str, Any] = {"degree": 4, "sphere_channels": 12, "level": 2}


def large_net(channels: int) -> FieldNet:
    return HarmonicNet(channels, (16, 24, 32, 48, 48), 4)


def micro_net(channels: int) -> FieldNet:
    return HarmonicNet(channels, (4, 8, 8), 2)


def cnn(build: Callable[[int, int], nn.Module], channels: int, size: int, level: int) -> FieldNet:
    torchvision_schemas.declare()
    return PlainNet(build(channels, size), level)


def layers() -> dict[str, nn.Module]:
    """The way from a picture to the sphere; what comes after it is in `sphere_to_rotations`."""
    picture = nn.Sequential(Lifted(), Steerable(frequencies(0), 2, sphere(2), 3, 8))
    return {
        "induced": At(nn.Sequential(picture, nn.Flatten(3), Last()), Acting(Cyclic(4), "images", (2, 8, 8)), Vectors(sphere(2, Cyclic(4)), (3,))),
        "induced under all turns": At(nn.Sequential(picture, nn.Flatten(3), Last()), Acting(so2, "images", (2, 8, 8)), Vectors(sphere(2), (3,)), exact=False),
    }


class Last(nn.Module):
    """Without the one place there is."""

    def forward(self, x: Float[Tensor, "batch channels numbers 1"]) -> Float[Tensor, "batch channels numbers"]:
        return x[..., 0]
