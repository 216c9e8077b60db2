"""Views for SIE: two pictures of one object as they were taken, with the poses they were taken from; or one picture, turned and coloured in two ways.

Samples are views of objects where they come with a column `object` (renders, 3DIEBench). Rows that are side by side make a pair then: the policy's
`sampler` orders them so. A view's `g` is the pose that the column `rotation` tells, from the object's frame to the world's; light and floor are in `given`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import Affine
from manyviews.views.changes import Centre, Jitter, Rotate
from manyviews.views.picture import Spec
from manyviews.views.policy import Policy

OBJECT, POSE = "object", "rotation"


def sie(size: int) -> Policy:
    """Two views of an object, unchanged as in the paper; of samples that are no views of objects: turned by any angle, in any hue."""
    taken, drawn = Spec(size, (Centre(),)), Spec(size, (Centre(), Rotate(180.0), Jitter(0.0, 0.0, 0.0, 0.5, p=1.0)))
    return Policy({"v": Taken(taken, drawn), "w": Taken(taken, drawn)}, sampler=side_by_side, grouped=2)


def side_by_side(rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
    """Every row once, views of one object in random pairs; where a number is odd, one view comes twice. Raises InputError for objects with one view."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(rows)
    if OBJECT not in columns:
        return order
    objects = columns[OBJECT][order]
    by_object = order[np.argsort(objects, kind="stable")]
    _, counts = np.unique(objects, return_counts=True)
    if counts.min() < 2:
        raise InputError(f"{int((counts < 2).sum()):,} of {len(counts):,} objects have one view only, and a pair needs two: render more views of each")
    parts = np.split(by_object, counts.cumsum()[:-1])
    pairs = np.concatenate([np.append(part, part[:1]) if len(part) % 2 else part for part in parts]).reshape(-1, 2)
    return rng.permutation(pairs).reshape(-1)


@dataclasses.dataclass(frozen=True)
class Taken:
    """One view of several of the same object, one for each role. spec: how a picture is shown; drawn: what is seen of samples that have no `object`."""

    spec: Spec
    drawn: Spec

    @property
    def pixels(self) -> int:
        return self.spec.pixels

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        if OBJECT not in samples.given:
            return self.drawn.apply(samples, counter, roles)
        sets = torch.arange(len(samples) // len(roles) * len(roles), device=samples.index.device).view(-1, len(roles))
        objects = samples.given[OBJECT][sets]
        good = (objects == objects[:, :1]).all(1).nonzero()[:, 0]  # where a picture could not be read, another object's stands in for it
        if not len(good):
            raise InputError(f"no {len(roles)} neighbours in a batch of {len(samples)} show the same object; take a larger, even batch for each process")
        sets = sets[good[torch.arange(len(sets), device=good.device) % len(good)]]  # as many pairs in every process
        return [self.view(rows_of(samples, sets[:, k]), counter, role) for k, role in enumerate(roles)]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The pictures as they are, with their poses."""
        seen = self.spec.apply(samples, counter, [role])[0]
        return dataclasses.replace(seen, g=pose(samples.given[POSE]) if POSE in samples.given else None)


def rows_of(samples: View, rows: Tensor) -> View:
    """Some of the samples."""
    x = samples.x[rows] if isinstance(samples.x, Tensor) else [samples.x[i] for i in rows.tolist()]
    return View(x, samples.index[rows], None, {name: value[rows] for name, value in samples.given.items()})


def pose(rotation: Tensor) -> Affine:
    """Rotations (batch, 3, 3) as motions of space."""
    matrix = torch.eye(4, device=rotation.device).repeat(len(rotation), 1, 1)
    matrix[:, :3, :3] = rotation
    return Affine(matrix)
