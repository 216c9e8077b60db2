"""Retrieval: do the nearest pictures show the same thing?

recall@k as in Jegou et al., "Product quantization for nearest neighbor search", and Oh Song et al., CVPR 2016, arXiv:1511.06452 (a query counts when
any of its k nearest has its class); mean average precision as in Philbin et al., CVPR 2007, over all rows of the class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.knn import neighbours
from manyviews.evaluate.scores import Labelled, Score, accuracy, bootstrap

HELD = 1 << 24  # similarities that are sorted at a time


def retrieval(train: Labelled, test: Labelled, ranks: tuple[int, ...] = (1, 5, 10), most: int = 2000, seed: int = 0) -> dict[str, Score]:
    """Test queries against the training rows, and against the other test rows (leave one out). Cosine similarity.

    most: queries of the average precision, for which the whole bank is sorted; where there are more, a random choice of them.
    """
    scores = {}
    for what, bank in (("", train), (" among test", test)):
        inside = bank is test
        queries = with_relevant(test, bank, inside)
        if not len(queries):
            continue
        own = queries if inside else None
        _, rows = neighbours(test.x[queries], bank.x, max(ranks), exclude=own)
        same = bank.y[rows] == test.y[queries, None]
        for k in ranks:
            scores[f"recall@{k}{what}"] = accuracy(same[:, :k].any(1), seed)
        some = queries[torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))[:most]].sort().values
        precision = average_precision(test.x[some], test.y[some], bank.x, bank.y, some if inside else None)
        scores[f"mAP{what}"] = bootstrap(precision, seed)
    if not scores:
        raise InputError("no test sample has another of its class to retrieve")
    return scores


def with_relevant(test: Labelled, bank: Labelled, inside: bool) -> Int[Tensor, "queries"]:
    """The test rows that have something to find."""
    return (bank.y.bincount(minlength=test.classes)[test.y] > int(inside)).nonzero()[:, 0]


def average_precision(
    queries: Float[Tensor, "queries dim"],
    classes: Int[Tensor, "queries"],
    bank: Float[Tensor, "rows dim"],
    labels: Int[Tensor, "rows"],
    exclude: Int[Tensor, "queries"] | None = None,
    chunk: int = 256,
) -> Float[Tensor, "queries"]:
    """For each query the mean, over the rows of its class, of the share of that class among the rows at least as near.

    chunk: queries that are ranked together; fewer, where the bank is so large that more than HELD similarities would have to be sorted at a time.
    """
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    ranks, chunk = torch.arange(1, len(bank) + 1), max(1, min(chunk, HELD // len(bank)))
    found = []
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        similarity = queries[part] @ bank.T
        same = labels == classes[part, None]
        if exclude is not None:
            similarity.scatter_(1, exclude[part, None], -torch.inf)  # last, where it counts for nothing
            same = same.scatter(1, exclude[part, None], False)
        hit = same.gather(1, similarity.argsort(dim=1, descending=True, stable=True))
        found.append((hit.cumsum(1) / ranks * hit).sum(1) / hit.sum(1))
    return torch.cat(found)
