"""Segmentation by a linear probe: what the parts of an encoder know of every place of a sample, with the encoder as it is.

Features at a place are those of the three nearest tokens of every level, weighted by 1 / distance^2 as in PointNet++ (Qi et al., NeurIPS 2017,
arXiv:1706.02413), or of a grid linear between its cells; one level beside the other. A logistic regression tells the classes apart, on some places of each
training sample; every place of a test sample is asked about.

Of parts of shapes the measure is the intersection over union (Yi et al., "A Scalable Active Framework for Region Annotation in 3D Shape Collections",
SIGGRAPH Asia 2016): of a shape the mean over the parts that its category has, where one that is neither there nor predicted counts 1; then the mean over
shapes, and the mean over the categories' means. Only parts of the shape's own category, which is known, are answered. Of organs it is the Dice coefficient of
each class but the background, over the volumes in which it is or is predicted. Of things in pictures it is the mean over classes of the intersection over
union of all places of all pictures together, as PASCAL VOC has it (Everingham et al., IJCV 2010), and the share of places that are told right.
Departs from the papers: they train a network for it; this asks what is in the features already, so figures are lower and stand for
nothing but beside each other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import Tokens, View
from manyviews.errors import InputError
from manyviews.evaluate.linear import Linear, linear
from manyviews.evaluate.scores import Labelled, Score, bootstrap, interval, resampled
from manyviews.nn.levels import Levels
from manyviews.nn.neighbours import inverse_distance_interpolation

MOST, LEAST = 10_000, 16  # places to learn from in all, and of each sample at least
PENALTIES = (1e-4, 1e-2)
NAMED = 12  # classes whose own scores are told, at most


@dataclasses.dataclass(frozen=True)
class Located:
    """A view of one sample, with places in it whose class is known."""

    view: View
    places: Float[Tensor, "places axes"]  # in the frame of its tokens' `where`
    labels: Int[Tensor, "places"]  # -1: not known
    category: int = -1  # of the sample; -1: not known


def segmentation(
    levels: Levels, train: Sequence[Located] | Iterable[Located], test: Iterable[Located], names: Sequence[str], measure: str = "iou", seed: int = 0
) -> dict[str, Score]:
    """Scores of a linear probe on `levels`. names: of the classes 0, 1, ...; measure: iou, mean_iou, or dice, for which class 0 is the background.

    Raises InputError where fewer than two classes have places to learn from.
    """
    train = list(train)
    share = max(LEAST, MOST // max(1, len(train)))
    generator = torch.Generator().manual_seed(seed)
    known = [some(one, share, generator) for one in train]
    x = torch.cat([features(levels, one) for one in known])
    y = torch.cat([one.labels for one in known])
    if len(y.unique()) < 2:
        raise InputError(f"segmentation needs places of two classes to learn from, and there are {len(y.unique())}")
    probe = linear(Labelled(x, y, len(names)), penalties=PENALTIES, seed=seed)
    own = parts_of(train, len(names))
    counted = [(one.category, count(answer(probe, features(levels, one), own.get(one.category)), one.labels, len(names))) for one in test]
    if not counted:
        raise InputError("segmentation needs test samples whose parts are known")
    if measure == "iou":
        return part_iou(counted, own, seed)
    return {"dice": dice, "mean_iou": mean_iou}[measure]([c for _, c in counted], names, seed)


def some(one: Located, most: int, generator: torch.Generator) -> Located:
    """Up to `most` of the places whose class is known, at random."""
    rows = (one.labels >= 0).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=generator)[:most]]
    return dataclasses.replace(one, places=one.places[rows], labels=one.labels[rows])


@torch.no_grad()
def features(levels: Levels, one: Located) -> Float[Tensor, "places width"]:
    """Of every place, from each level's nearest tokens."""
    places = one.places[None].to(one.view.index.device)
    found = []
    for level in levels(one.view):
        counts = grid(level)
        if counts is None:
            found.append(inverse_distance_interpolation(places, level.where.float(), level.x.float(), exists=level.exists))
        else:
            found.append(between(level.x.float(), counts, places))
    return torch.cat(found, -1)[0].cpu()


def grid(level: Tokens) -> list[int] | None:
    """How many tokens there are along each axis, the last one first, where they fill [0, 1] as cells of a grid do; else None."""
    where = level.where[0].float()
    counts = [len(axis.unique()) for axis in where.T.flip(0)]
    if level.exists is not None or math.prod(counts) != len(where) or len(counts) not in (2, 3):
        return None
    centres = torch.meshgrid(*((torch.arange(n, device=where.device) + 0.5) / n for n in counts), indexing="ij")
    return counts if torch.allclose(torch.stack(centres[::-1], -1).view(-1, len(counts)), where, atol=1e-4) else None


def between(x: Float[Tensor, "1 tokens dim"], counts: list[int], places: Float[Tensor, "1 places axes"]) -> Float[Tensor, "1 places dim"]:
    """Linearly between the cells of a grid."""
    at = (2 * places - 1).view(1, *[1] * (len(counts) - 1), -1, len(counts))
    return F.grid_sample(x.mT.reshape(1, -1, *counts), at, mode="bilinear", padding_mode="border", align_corners=False).flatten(2).mT


def parts_of(train: Sequence[Located], classes: int) -> dict[int, Int[Tensor, "parts"]]:
    """The classes that samples of each category have; all that there are, where the category is not known."""
    seen: dict[int, set[int]] = {}
    for one in train:
        seen.setdefault(one.category, set()).update(one.labels[one.labels >= 0].unique().tolist())
    return {category: torch.tensor(sorted(parts)) for category, parts in seen.items() if parts and category >= 0} or {-1: torch.arange(classes)}


def answer(probe: Linear, x: Float[Tensor, "places width"], own: Int[Tensor, "parts"] | None) -> Int[Tensor, "places"]:
    """The most probable class of each place, of those in `own`."""
    if own is None:
        return probe.predict(x)
    return own[(((x - probe.mean) / probe.scale) @ probe.weight[:, own] + probe.bias[own]).argmax(1)]


def count(predicted: Int[Tensor, "places"], labels: Int[Tensor, "places"], classes: int) -> Int[Tensor, "3 classes"]:
    """Of each class the places where both have it, where the prediction has it, and where it is; of places whose class is known."""
    known = labels >= 0
    a, b = predicted[known], labels[known]
    return torch.stack([t.bincount(minlength=classes)[:classes] for t in (a[a == b], a, b)])


def part_iou(counted: Sequence[tuple[int, Int[Tensor, "3 classes"]]], own: dict[int, Int[Tensor, "parts"]], seed: int = 0) -> dict[str, Score]:
    """`part mIoU`, the mean over shapes, and `part mIoU by category`, the mean over categories of theirs."""
    of_shape, by_category = [], dict[int, list[float]]()
    for category, (both, said, there) in counted:
        parts = own.get(category, torch.arange(len(both)) if -1 not in own else own[-1])
        union = (said + there - both)[parts].double()
        value = float(torch.where(union > 0, both[parts] / union.clamp(min=1), 1.0).mean())
        of_shape.append(value)
        by_category.setdefault(category, []).append(value)
    found = {"part mIoU": bootstrap(torch.tensor(of_shape).double(), seed)}
    if len(by_category) > 1:
        found["part mIoU by category"] = bootstrap(torch.tensor([sum(v) / len(v) for v in by_category.values()]).double(), seed)
    return found


def dice(counted: Sequence[Int[Tensor, "3 classes"]], names: Sequence[str], seed: int = 0) -> dict[str, Score]:
    """`Dice`, the mean over classes of a volume and then over volumes, and that of each class where there are several and they are few."""
    both, said, there = torch.stack(list(counted)).double().unbind(1)
    some = said + there > 0
    value = torch.where(some, 2 * both / (said + there).clamp(min=1), torch.nan)[:, 1:]
    rows = value.nanmean(1)
    if rows.isnan().all():
        raise InputError("no class but the background is in the test volumes")
    found = {"Dice": bootstrap(rows[~rows.isnan()], seed)}
    if 1 < value.shape[1] <= NAMED:
        for name, column in zip(names[1:], value.T, strict=True):
            if not column.isnan().all():
                found[f"Dice {name}"] = bootstrap(column[~column.isnan()], seed)
    return found


def mean_iou(counted: Sequence[Int[Tensor, "3 classes"]], names: Sequence[str], seed: int = 0) -> dict[str, Score]:
    """`mIoU`, the mean over the classes that are there, `right places`, and `IoU NAME` of each class where they are few; intervals are over pictures."""
    every = torch.stack(list(counted)).double()
    if not every[:, 2].any():
        raise InputError("the test pictures have no place whose class is known")
    both, said, there = torch.cat([every.sum(0, keepdim=True), resampled(every, seed)]).unbind(1)  # the first row: as they are
    of_class = torch.where(there > 0, both / (said + there - both), torch.nan)
    found = {"mIoU": of_class.nanmean(1), "right places": both.sum(1) / there.sum(1)}
    if len(names) <= NAMED:
        found |= {f"IoU {name}": of_class[:, c] for c, name in enumerate(names) if not of_class[0, c].isnan()}
    return {name: interval(values[0], values[1:]) for name, values in found.items()}
