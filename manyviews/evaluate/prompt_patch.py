"""What parts tell about objects without training: segmentation from one prompt part, and how alike parts are within and between objects.

Wu et al., "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv:2308.11448: the similarity of every part's feature to
that of a part on the object is thresholded, the threshold is swept over the whole data set, and the masks are compared by intersection over union;
the histograms of similarities within an object and between objects overlap less, the better objects can be told apart.
Departs from the paper: masks are those of parts, not of pixels, so that any modality will do; a sample's prompt is by default the part of the object
that is nearest to the object's centre.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score, bootstrap

THRESHOLDS = tuple(k / 20 for k in range(-19, 20))  # cosines, -0.95 to 0.95


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Mean intersection over union at each threshold, and at the best one with its interval over samples."""

    thresholds: list[float]
    mean: list[float]
    threshold: float
    best: Score


def prompt_at(
    where: Float[Tensor, "batch tokens axes"], point: Float[Tensor, "batch axes"], allowed: Bool[Tensor, "batch tokens"] | None = None
) -> Int[Tensor, "batch"]:
    """The part nearest to a point of each sample, in the units of `where`; among those allowed (real ones, or an object's)."""
    distance = (where - point[:, None]).square().sum(-1)
    return (distance if allowed is None else distance.masked_fill(~allowed, torch.inf)).argmin(1)


def central_part(where: Float[Tensor, "batch tokens axes"], mask: Bool[Tensor, "batch tokens"]) -> Int[Tensor, "batch"]:
    """The part of the object that is nearest to the mean place of its parts. Raises InputError for a sample without the object."""
    count = mask.sum(1, keepdim=True)
    if not bool((count > 0).all()):
        raise InputError(f"{int((count == 0).sum())} of {len(mask)} samples have no part of the object to prompt with; leave them out")
    return prompt_at(where, torch.where(mask[..., None], where, 0.0).sum(1) / count, mask)


def similarity_map(parts: Float[Tensor, "batch tokens dim"], prompt: Int[Tensor, "batch"]) -> Float[Tensor, "batch tokens"]:
    """Cosine of each part's feature with the prompt part's, -1 to 1."""
    z = F.normalize(parts.float(), dim=2)
    return (z @ z[torch.arange(len(z), device=z.device), prompt, :, None])[..., 0]


def intersection_over_union(
    guess: Bool[Tensor, "batch tokens"], mask: Bool[Tensor, "batch tokens"], exists: Bool[Tensor, "batch tokens"] | None = None
) -> Float[Tensor, "batch"]:
    """Of each sample, over the parts that exist; 1 where both are empty."""
    real = torch.ones_like(mask) if exists is None else exists
    union = ((guess | mask) & real).sum(1)
    return torch.where(union > 0, (guess & mask & real).sum(1) / union.clamp(min=1), 1.0)


def prompt_segmentation(
    parts: Float[Tensor, "batch tokens dim"],
    mask: Bool[Tensor, "batch tokens"],
    where: Float[Tensor, "batch tokens axes"],
    point: Float[Tensor, "batch axes"] | None = None,
    exists: Bool[Tensor, "batch tokens"] | None = None,
    thresholds: tuple[float, ...] = THRESHOLDS,
    seed: int = 0,
) -> Sweep:
    """Zero-shot segmentation of one object a sample from a prompt: parts at least as similar to the prompt's as the threshold are the object.

    point: where each sample is prompted; None: at its object's central part. One threshold is for all samples.
    """
    if not thresholds:
        raise InputError("there is no threshold to try; give at least one cosine between -1 and 1")
    prompt = central_part(where, mask if exists is None else mask & exists) if point is None else prompt_at(where, point, exists)
    similarity = similarity_map(parts, prompt)
    found = [intersection_over_union(similarity >= threshold, mask, exists).cpu() for threshold in thresholds]
    mean = [float(iou.double().mean()) for iou in found]
    best = max(range(len(mean)), key=mean.__getitem__)
    return Sweep(list(thresholds), mean, thresholds[best], bootstrap(found[best], seed))


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Histograms over [-1, 1], each summing to one, of the cosines of pairs of parts in the same sample."""

    within: Float[Tensor, "bins"]  # of two parts of one object
    between: Float[Tensor, "bins"]  # of parts of two objects

    @property
    def overlap(self) -> float:
        """The overlap coefficient, the area that both histograms share: 0 (one cosine tells them apart) to 1 (none says anything)."""
        return float(torch.minimum(self.within, self.between).sum())


def object_similarities(parts: Float[Tensor, "batch tokens dim"], objects: Int[Tensor, "batch tokens"], bins: int = 100) -> Similarities:
    """How alike parts are within and between objects. `objects` numbers the object that each part belongs to; negative: none, or padding.

    Each unordered pair of two different parts counts once, so that large objects count more.
    """
    if bins < 1:
        raise InputError(f"{bins} bins: a histogram has at least one; 100 is the default")
    counts = torch.zeros(2, bins, dtype=torch.long)
    for z, owner in zip(F.normalize(parts.float(), dim=2), objects, strict=True):
        z, owner = z[owner >= 0], owner[owner >= 0]
        i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
        bin = ((z @ z.T)[i, j].clamp(-1, 1).add(1) / 2 * bins).long().clamp(max=bins - 1)
        same = owner[i] == owner[j]
        counts += torch.stack([torch.bincount(bin[chosen], minlength=bins) for chosen in (same, ~same)]).cpu()
    if not bool((counts.sum(1) > 0).all()):
        raise InputError("similarities within and between objects need samples with two parts in one object and parts in two objects")
    within, between = counts.double() / counts.sum(1, keepdim=True)
    return Similarities(within.float(), between.float())
