"""What parts tell about objects without training: segmentation from one prompt part, and how alike parts are within and between objects.

Wu et al., "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv:2308.11448: the similarity of every part's feature to
that of a part on the object is thresholded, the threshold is swept over the whole data set, and the masks are compared by intersection over union;
the histograms of similarities within an object and between objects overlap less, the better objects can be told apart.
Departs from the paper: masks are those of parts, not of pixels, so that any modality will do; a sample's prompt is by default the part of the object
that is nearest to the object's centre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.contracts import Tokens
from manyviews.errors import InputError
from manyviews.evaluate.scores import Score, bootstrap, interval, resampled
from manyviews.nn.neighbours import knn

LEAST, MOST = 49, 2048  # parts of a level that is asked, and parts of a sample that are looked at
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
    return sweep(overlaps(parts, mask, where, point, exists, thresholds), thresholds, seed)


def overlaps(
    parts: Float[Tensor, "batch tokens dim"],
    mask: Bool[Tensor, "batch tokens"],
    where: Float[Tensor, "batch tokens axes"],
    point: Float[Tensor, "batch axes"] | None = None,
    exists: Bool[Tensor, "batch tokens"] | None = None,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> Float[Tensor, "batch thresholds"]:
    """Intersection over union of each sample at each threshold; arguments as of `prompt_segmentation`."""
    if not thresholds:
        raise InputError("there is no threshold to try; give at least one cosine between -1 and 1")
    prompt = central_part(where, mask if exists is None else mask & exists) if point is None else prompt_at(where, point, exists)
    similarity = similarity_map(parts, prompt)
    return torch.stack([intersection_over_union(similarity >= threshold, mask, exists) for threshold in thresholds], 1).cpu()


def sweep(found: Float[Tensor, "samples thresholds"], thresholds: tuple[float, ...] = THRESHOLDS, seed: int = 0) -> Sweep:
    """Over all samples."""
    mean = found.double().mean(0)
    best = int(mean.argmax())
    return Sweep(list(thresholds), mean.tolist(), thresholds[best], bootstrap(found[:, best], seed))


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
    return similarities(torch.stack([pairs(z, owner, bins) for z, owner in zip(parts, objects, strict=True)]).sum(0))


def pairs(parts: Float[Tensor, "tokens dim"], objects: Int[Tensor, "tokens"], bins: int = 100) -> Int[Tensor, "2 bins"]:
    """How many pairs of one sample's parts have each cosine: those within an object, and those between two."""
    z, owner = F.normalize(parts[objects >= 0].float(), dim=1), objects[objects >= 0]
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    bin = ((z @ z.T)[i, j].clamp(-1, 1).add(1) / 2 * bins).long().clamp(max=bins - 1)
    same = owner[i] == owner[j]
    return torch.stack([torch.bincount(bin[chosen], minlength=bins) for chosen in (same, ~same)]).cpu()


def similarities(counts: Int[Tensor, "2 bins"]) -> Similarities:
    """Of all pairs counted. Raises InputError where there are none within or none between objects."""
    if not bool((counts.sum(1) > 0).all()):
        raise InputError("similarities within and between objects need samples with two parts in one object and parts in two objects")
    within, between = counts.double() / counts.sum(1, keepdim=True)
    return Similarities(within.float(), between.float())


# --- of an encoder, on samples of which places are known ------------------------------------------------------------------------------------------


def prompt_patch(scenes: Iterable[tuple[Tokens, Int[Tensor, "1 tokens"]]], seed: int = 0) -> dict[str, Score]:
    """`IoU from a prompt`, over all objects of all samples, and where samples have two objects `overlap of similarities`, which is better the lower.

    scenes: the parts of one sample each, and the object that each part belongs to; negative: none, or not known. Of more than MOST parts some, drawn.
    An object of a single part, which is its own prompt, is not asked for.
    """
    found, counted, generator = [], [], torch.Generator().manual_seed(seed)
    for level, objects in scenes:
        if objects.shape[1] > MOST:
            some = torch.randperm(objects.shape[1], generator=generator)[:MOST].sort().values
            level, objects = level.select(some[None].to(level.x.device)), objects[:, some]
        z, where = level.x.float().cpu(), level.where.float().cpu()
        here, size = objects[objects >= 0].unique(return_counts=True)
        here = here[size > 1]
        if len(here):
            many = [len(here), -1, -1]
            found.append(overlaps(z.expand(many), objects == here[:, None], where.expand(many)))
        counted.append(pairs(z[0], objects[0]))
    if not found:
        raise InputError("no sample shows an object of two parts to prompt with")
    scores = {"IoU from a prompt": sweep(torch.cat(found), seed=seed).best}
    counts = torch.stack(counted).double()
    if bool((counts.sum((0, 2)) > 0).all()):
        share = torch.cat([counts.sum(0, keepdim=True), resampled(counts, seed)])
        share = share / share.sum(2, keepdim=True)
        overlap = torch.minimum(share[:, 0], share[:, 1]).sum(1)  # NaN for a resample with none of one kind
        scores["overlap of similarities"] = interval(overlap[0], overlap[1:])
    return scores


def owners(where: Float[Tensor, "1 tokens axes"], places: Float[Tensor, "1 places axes"], labels: Int[Tensor, "1 places"]) -> Int[Tensor, "1 tokens"]:
    """What most of the known places to which a part is the nearest say it is; -1 where there are none."""
    known = labels[0] >= 0
    found = torch.full(where.shape[:2], -1)
    if known.any():
        kinds, code = labels[0, known].unique(return_inverse=True)
        nearest = knn(places[:, known], where, 1)[1][0, :, 0]
        votes = torch.bincount(nearest * len(kinds) + code, minlength=where.shape[1] * len(kinds)).view(-1, len(kinds))
        found[0] = torch.where(votes.any(1), kinds[votes.argmax(1)], -1)
    return found
