"""Retrieval among the views of an object: does the mapped embedding W(g) f(x) find f(gx) among its other views?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError

HELD = 1 << 25  # numbers of candidates held at a time


def views_of_objects(objects: Int[Tensor, "views"], shown: Int[Tensor, "rows"]) -> Int[Tensor, "objects most"]:
    """The rows in `shown` of each object (all numbers from 0 to the largest), -1 where there are no more."""
    own = objects[shown]
    order = own.argsort(stable=True)
    counts = own.bincount(minlength=int(objects.max()) + 1)
    position = torch.arange(len(own)) - (counts.cumsum(0) - counts)[own[order]]
    table = torch.full((len(counts), int(counts.max())), -1)
    table[own[order], position] = shown[order]
    return table


def ranks(
    query: Float[Tensor, "pairs dim"],
    z: Float[Tensor, "views dim"],
    candidates: Int[Tensor, "pairs most"],
    source: Int[Tensor, "pairs"],
    target: Int[Tensor, "pairs"],
) -> tuple[Float[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """The rank of the target among the candidates by cosine, from 1, and how many there are, in float64.

    The source view is no candidate. Ties share their middle rank, so that an encoder whose views are all alike does not come first.
    """
    z, query = F.normalize(z.double(), dim=1), F.normalize(query.double(), dim=1)
    rank, count = [], []
    size = max(1, HELD // max(1, candidates.shape[1] * z.shape[1]))
    for rows in torch.arange(len(query)).split(size):
        others = candidates[rows]
        there = (others >= 0) & (others != source[rows, None])
        if not (there & (others == target[rows, None])).any(1).all():
            raise InputError("a pair's target is not among the views of its object that can be retrieved")
        products = torch.einsum("pd,pnd->pn", query[rows], z[others.clamp(min=0)])
        own = products.gather(1, (others == target[rows, None]).int().argmax(1, keepdim=True))
        above, level = (products > own) & there, (products == own) & there
        rank.append(1 + above.sum(1) + (level.sum(1) - 1) / 2)
        count.append(there.sum(1))
    return torch.cat(rank).double(), torch.cat(count)


def chance(count: Int[Tensor, "pairs"], hits: tuple[int, ...]) -> dict[str, float]:
    """What ranks at random reach among n views: MRR (1/n) sum 1/i, and H@k k/n."""
    harmonic = torch.cat([torch.zeros(1).double(), (1 / torch.arange(1, int(count.max()) + 1).double()).cumsum(0)])
    n = count.double()
    return {"MRR": float((harmonic[count] / n).mean()), **{f"H@{k}": float((k / n).clamp(max=1).mean()) for k in hits}}


def hits(rank: Float[Tensor, "pairs"], k: int) -> Bool[Tensor, "pairs"]:
    return rank <= k
