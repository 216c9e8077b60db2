"""GenView: the second view of a pair comes from a generated picture, noised the more the more foreground its original has; good pairs count more.

Li et al., "GenView: Enhancing View Quality with Pretrained Generative Model for Self-Supervised Learning", ECCV 2024, arXiv:2403.12003.
Departs from the paper: one encoder of the user's tells the foreground of originals and of views, where there CLIP's ViT-H does the first and its
ConvNeXt-B the second; the sign of the principal direction, which theirs is given by hand, is the one under which foreground lies nearer to the centre. As
in the authors' code, projections are not centred (the threshold makes up for it) and levels change at 20, 40, 60 and 80 % of foreground; the threshold
leaves 40 % of the parts as foreground, as the text says (65th percentile in their code). Weights are normalised over the batch of all processes, not of
each one. The column `quality` judges the pair once, before augmentation, so that training costs nothing more; `Pairs(..., judge)` judges the augmented
views at each step, as the paper does. Beside Stable unCLIP there is a small autoencoder that is trained on the data at hand (`manyviews.views.generators`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.nn.levels import coarsest, levels_of
from manyviews.views import images
from manyviews.views.generators import build_generator, bytes_of
from manyviews.views.policy import Policy

LEVELS = (0, 100, 200, 300, 400)  # of noise, of 1000, from little foreground to much
CELLS = 16  # parts that a feature map must have at least for a foreground to be seen in it


# --- what is foreground -----------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Foreground:
    """Parts whose feature lies beyond `threshold` in `direction` are foreground."""

    encoder: Encoder
    direction: Float[Tensor, "dim"]
    threshold: float

    def project(self, view: View) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch tokens"]]:
        """The parts and how far each lies in the direction."""
        x = parts(self.encoder, view)[0]
        return x, x @ self.direction.to(x.device)

    def ratio(self, view: View) -> Float[Tensor, "batch"]:
        """The share of each picture that is foreground."""
        return (self.project(view)[1] > self.threshold).float().mean(1)

    def quality(self, v: View, w: View) -> Float[Tensor, "batch"]:
        """Cosine of the two views' foregrounds less that of their backgrounds, -2 to 2: high where the thing is the same and its surroundings are not."""
        (fv, bv), (fw, bw) = (aggregate(*self.project(view)) for view in (v, w))
        return F.cosine_similarity(fv, fw, dim=1) - F.cosine_similarity(bv, bw, dim=1)


@torch.no_grad()
def parts(encoder: Encoder, view: View) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch tokens axes"]]:
    """The coarsest feature map with CELLS parts or more (else of the finest), by an encoder that is not trained by it; and where its parts are."""
    level = coarsest(levels_of(encoder.to(view.x.device))(view), CELLS)
    return level.x.float(), level.where.float()


def aggregate(x: Float[Tensor, "batch tokens dim"], projection: Float[Tensor, "batch tokens"]) -> tuple[Tensor, Tensor]:
    """The mean part, weighted by the map of the foreground (the projection stretched to 0..1), and by that of the background."""
    low, high = projection.amin(1, keepdim=True), projection.amax(1, keepdim=True)
    front = (projection - low) / (high - low + 1e-7)
    return mean_of(x, front), mean_of(x, 1 - front)


def mean_of(x: Float[Tensor, "batch tokens dim"], weight: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
    return torch.einsum("bn,bnd->bd", weight / (weight.sum(1, keepdim=True) + 1e-7), x)


def find_foreground(encoder: Encoder, views: Iterable[View], share: float = 0.4) -> Foreground:
    """From the parts of some views: their first principal direction, pointing to the centre, and the threshold beyond which `share` of them lie."""
    if not 0 < share < 1:
        raise InputError(f"share {share}: of the parts that are foreground, between 0 and 1; the paper's is 0.4")
    encoder = copy.deepcopy(encoder).requires_grad_(False)
    found = [parts(encoder, view) for view in views]
    x, where = (torch.cat([f[k].flatten(0, 1).cpu() for f in found]) for k in (0, 1))
    centred = (x - x.mean(0)).double()
    direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1].float()
    along, outside = x @ direction, (where - 0.5).norm(dim=1)
    if float(((along - along.mean()) * (outside - outside.mean())).sum()) > 0:
        direction, along = -direction, -along
    return Foreground(encoder, direction, float(np.quantile(along.numpy(), 1 - share)))


def noise_level(ratio: Float[Tensor, "batch"], levels: tuple[int, ...] = LEVELS) -> Int[Tensor, "batch"]:
    """Of `levels`, as many steps up as the share of foreground has passed of equal steps from 0 to 1; a border belongs to the step below it."""
    step = ((ratio.double() * len(levels) - 1e-6).ceil() - 1).clamp(0, len(levels) - 1).long()
    return torch.tensor(levels, device=ratio.device)[step]


# --- pairs ------------------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pairs(Policy):
    """View v from the original, w from its generated picture, which comes as `given["generated"]` (uint8, one shape for all).

    judge: what weights each pair by exp(sharpness * quality); None: the column `quality` does, where there is one. Losses take the mean by these weights,
    which is a softmax over the batch, times its size.
    """

    judge: Foreground | None = None
    sharpness: float = 1.0  # gamma in the authors' code

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        if "generated" not in samples.given:
            raise InputError("these views need a generated picture with every sample, in the column `generated`; manyviews.views.genview makes it")
        given = {name: value for name, value in samples.given.items() if name not in ("generated", "weight")}
        pictures = {"v": samples.x, "w": samples.given["generated"]}
        v, w = (self.roles[role].apply(View(x, samples.index, samples.g, given), counter, [role])[0] for role, x in pictures.items())
        quality = given.get("quality") if self.judge is None else self.judge.quality(v, w)
        if quality is not None:
            given["weight"] = (self.sharpness * quality.float()).exp()
        return {"v": v, "w": w}


def generated(size: int) -> Policy:
    """With SimCLR's changes."""
    return Pairs(images.simclr(size).roles)


def generated_moco(size: int) -> Policy:
    """With those of MoCo v2, for it and for SimSiam."""
    return Pairs(images.moco(size).roles)


def generated_byol(size: int) -> Policy:
    """With BYOL's."""
    return Pairs(images.byol(size).roles)


def generated_moco_v3(size: int) -> Policy:
    """With those of MoCo v3."""
    return Pairs(images.moco_v3(size).roles)


# --- the generated pictures -------------------------------------------------------------------------------------------------------------------


def genview(
    target: Data,
    encoder: Encoder,
    generator: str = "unclip",
    size: int = 224,
    side: int = 0,
    levels: tuple[int, ...] = LEVELS,
    share: float = 0.4,
    sampled: int = 10000,
    quality: bool = True,
    steps: int = 2000,
    model: str = "",
    folder: str = "",
    seed: int = 0,
    device: str = "cpu",
    threads: int = 2,
) -> dict[str, np.ndarray]:
    """Columns for each row of `target`: `generated`, a picture; `foreground`, its original's share of it; `noise`, the level; and `quality` of the pair.

    generator: unclip, Stable unCLIP by diffusers; autoencoder, a small one trained on `target`.
    size: of the pictures that are looked at, in pixels.
    side: of the generated pictures in pixels (the paper's is 512); 0: as `size`.
    levels: of noise, 0 to 1000, from little foreground to much; one alone is the same for all pictures.
    share: of their parts that shall be foreground, 0..1. sampled: from how many pictures, at most, that is found.
    quality: whether to judge the pairs; the policies weight them then.
    steps: of the autoencoder's training. device: where everything runs. threads: that decode.
    model: unclip's weights, a folder or a name at Hugging Face; "": those that the paper takes.
    folder: where generated.npy is written, to be read piece by piece; "": pictures are kept in memory.
    seed: of the rows looked at, the autoencoder and the noise. Rows that cannot be read get black pictures.
    """
    side, plain = side or size, images.plain(size)
    target = target.in_channels(3).reduced(max(target.pixels, plain.pixels))

    def look(rows: np.ndarray) -> Iterable[View]:
        order = np.array_split(rows, -(-len(rows) // 64))
        return (plain(samples.to(device), Counter(0, 0))["v"] for samples in target.batches(order, threads) if len(samples))  # type: ignore[misc]

    front = find_foreground(encoder.to(device), look(np.random.default_rng(seed).permutation(len(target))[:sampled]), share)
    make = build_generator(generator, target, size, steps, model, seed, device)
    shape = (len(target), side, side, 3)
    pictures = np.lib.format.open_memmap(Path(folder) / "generated.npy", "w+", np.uint8, shape) if folder else np.zeros(shape, np.uint8)
    kinds = {"foreground": np.float32, "noise": np.int64, **({"quality": np.float32} if quality else {})}
    found: dict[str, np.ndarray] = {name: np.zeros(len(target), kind) for name, kind in kinds.items()}
    for v in look(np.arange(len(target))):
        rows, ratio = v.index.cpu().numpy(), front.ratio(v)
        made = make(v, noise_level(ratio, levels), Counter(seed, 0))
        pictures[rows] = bytes_of(F.interpolate(made, (side, side), mode="bilinear", antialias=True) if made.shape[-1] != side else made)
        found["foreground"][rows], found["noise"][rows] = ratio.cpu().numpy(), noise_level(ratio, levels).cpu().numpy()
        if quality:
            w = plain(View(torch.from_numpy(pictures[rows]).to(device), v.index), Counter(0, 0))["v"]
            found["quality"][rows] = front.quality(v, w).cpu().numpy()  # type: ignore[arg-type]
    return {"generated": pictures, **found}


def summary(columns: Mapping[str, np.ndarray]) -> str:
    """What pairs with these columns will weigh, under the policies' own sharpness; "" where they were not judged."""
    if "quality" not in columns:
        return ""
    quality = columns["quality"].astype(np.float64)
    weight = np.exp(Pairs.sharpness * quality)
    weight /= weight.mean()
    worth = 1 / np.square(weight).mean()
    return (
        f"quality {quality.min():.3f} to {quality.max():.3f}, so that a pair weighs {weight.min():.2f} to {weight.max():.2f} times the mean "
        f"(standard deviation {weight.std():.3f}); all of them are worth {worth:.0%} of as many equal ones"
    )
