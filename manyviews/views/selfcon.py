"""The views that selfcon learns from: one for classes, one (or two, for others) for telling how a picture was made."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine, Picture, matrices
from manyviews.views.changes import Centre, Crop, Flip, Grey, Jitter
from manyviews.views.corruptions import jpeg
from manyviews.views.picture import Spec, extents
from manyviews.views.policy import Policy
from manyviews.views.resample import blur, see

SIGMA = (0.8, 1.4)  # pixels: of Gaussians of 3 to 7 pixels, as OpenCV takes it
NOISE = (3.0, 10.0)  # variance, of values up to 255


def selfcon(size: int) -> Policy:
    """Bae et al. 2021, arXiv:2106.15499: crops of at least 20 %, flips, MoCo's colours; no blur."""
    return Policy({"v": Spec(size, (Crop((0.2, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2)))})


def detection(size: int) -> Policy:
    """The centred square and flips: a picture that is resampled no longer shows how it was made. ImagiNet's own training is `detection_cut`."""
    return Policy({"v": Spec(size, (Centre(), Flip()))})


def detection_pair(size: int) -> Policy:
    """The same for methods that take two views."""
    return Policy({role: Spec(size, (Centre(), Flip())) for role in ("v", "w")})


def detection_cut(size: int) -> Policy:
    """ImagiNet's own training (arXiv:2407.20020; the authors' code, with size 96): a piece of the picture, turned and mirrored, half of the pieces worn.

    What is evaluated sees the centred square, resampled to `size`, as everywhere.
    """
    return Policy({"v": Cut(size)})


def detection_cut_pair(size: int) -> Policy:
    """The same for methods that take two views."""
    return Policy({role: Cut(size) for role in ("v", "w")})


@dataclasses.dataclass(frozen=True)
class Cut:
    """A square of `size` pixels of the picture, not resampled; beyond the border of a smaller picture the border is repeated (theirs is mirrored).

    worn: share that is compressed, blurred or noised, each as often. quality: of the compression, by JPEG (theirs is WebP in every second case), as files,
    one after the other. turned: share that is turned by one of four quarter turns. mirrored: share that is mirrored along one axis or along both.
    """

    size: int
    worn: float = 0.5
    quality: tuple[int, int] = (50, 95)
    turned: float = 0.33
    mirrored: float = 0.33

    @property
    def pixels(self) -> int:
        """In full: a picture that was reduced no longer shows how it was made."""
        return 0

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """One view of all samples."""
        u = counter.uniform(f"{role}/cut", samples.index, 6)
        room = extents(samples) - self.size
        left, top = torch.where(room < 0, (room / 2).floor(), (u[:, :2] * (room + 1)).floor()).unbind(1)
        x, _ = see(samples.x, matrices([[1, 0, -left], [0, 1, -top], [0, 0, 1]], like=left), self.size)
        x, lost = self.wear(x, samples.index, counter, role)
        quarters = torch.where(u[:, 2] < self.turned, (4 * u[:, 3]).floor(), 0.0)
        axes = torch.where(u[:, 4] < self.mirrored, (3 * u[:, 5]).floor() + 1, 0.0)  # 1: left and right, 2: up and down, 3: both
        across, down = (quarters >= 2) ^ (axes % 2 == 1), ((quarters == 1) | (quarters == 2)) ^ (axes >= 2)
        x, matrix = moved(x, left, top, quarters % 2 == 1, across, down)
        parameters = {"crop_x": left, "crop_y": top, "quarters": quarters, "mirrored": axes}
        return View(x, samples.index, Picture(Affine(matrix, parameters), None, lost), samples.given)

    def wear(
        self, x: Float[Tensor, "batch channels size size"], index: Int[Tensor, "batch"], counter: Counter, role: str
    ) -> tuple[Float[Tensor, "batch channels size size"], dict[str, Float[Tensor, "batch"]]]:
        """Some compressed, some blurred, some noised, all of these in steps of 1/255 as a file has them; and how much: 1 - quality / 100, and deviations."""
        u = counter.uniform(f"{role}/worn", index, 3)
        kind = torch.where(u[:, 0] < self.worn, (3 * u[:, 1]).floor(), -1.0)
        low, high = self.quality
        quality = (low + (high + 1 - low) * u[:, 2]).floor()
        lost = {
            "compression": torch.where(kind == 0, 1 - quality / 100, 0.0),
            "blur": torch.where(kind == 1, SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u[:, 2], 0.0),
            "noise": torch.where(kind == 2, (NOISE[0] + (NOISE[1] - NOISE[0]) * u[:, 2]).sqrt() / 255, 0.0),
        }
        x = blur(x, lost["blur"])
        packed, noisy, touched = (hit.nonzero()[:, 0] for hit in (kind == 0, kind == 2, kind >= 0))
        x[noisy] += lost["noise"][noisy, None, None, None] * counter.normal(f"{role}/noise", index[noisy], *x.shape[1:])
        for i in packed.tolist():
            x[i] = jpeg(x[i : i + 1], float(quality[i]), counter, index[i : i + 1])[0]
        x[touched] = (x[touched].clamp(0, 1) * 255).round() / 255
        return x, lost


def moved(
    x: Float[Tensor, "batch channels size size"],
    left: Float[Tensor, "batch"],
    top: Float[Tensor, "batch"],
    swapped: Tensor,
    across: Tensor,
    down: Tensor,
) -> tuple[Float[Tensor, "batch channels size size"], Float[Tensor, "batch 3 3"]]:
    """Pieces with their axes swapped, then mirrored across and down, pixel by pixel; and the map from the picture that the piece was cut from to that."""
    size = x.shape[-1]
    x = torch.where(swapped[:, None, None, None], x.mT, x)
    x = torch.where(across[:, None, None, None], x.flip(3), x)
    x = torch.where(down[:, None, None, None], x.flip(2), x)
    matrix = matrices([[~swapped, swapped, -torch.where(swapped, top, left)], [swapped, ~swapped, -torch.where(swapped, left, top)], [0, 0, 1]], like=left)
    for axis, hit in enumerate((across, down)):
        matrix[:, axis] = torch.where(hit[:, None], matrix.new_tensor([0, 0, size]) - matrix[:, axis], matrix[:, axis])
    return x, matrix
