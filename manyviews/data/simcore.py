"""SimCore: of a large open set the samples that are like a small target set, found by its cluster centres, to pretrain on both.

Kim, Bae, Yun, "Coreset Sampling from Open-Set for Fine-Grained Self-Supervised Learning", CVPR 2023, arXiv:2303.11101.

Departs from the paper in nothing known but what is kept of a last round that the budget cuts short: the most similar ones, where their code draws;
and in that samples that cannot be read (an embedding of zeros) are never taken. As in their code a `share` switches the stopping rule off, centres that want
the same sample in the same round take it once, and the round that stops is not kept. The embeddings are to come from an encoder that was pretrained on
the target set alone; `manyviews derive simcore TARGET --from OPENSET --using RUN --out LIST.csv` writes target and coreset as one list to pretrain on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

from manyviews.data.dataset import Data
from manyviews.errors import InputError


def simcore(
    target: Data,
    open_set: Data,
    embed: Callable[[Data], np.ndarray],
    clusters: int = 100,
    share: float | None = None,
    threshold: float = 0.95,
    patience: int = 20,
    most: int = 50,
    starts: int = 10,
    seed: int = 0,
) -> Int[np.ndarray, "chosen"]:
    """The rows of `open_set` that are chosen, in order. embed: one embedding for every row of a data set, (rows, dim).

    clusters: centres of the target's embeddings; as many samples, or more: each sample is a centre. share: of the open set that is taken, 0..1; None:
    until the stopping rule or `most` says enough. threshold: share of the similarity in round `patience` below which a later round ends it.
    patience: the round, from 1, that others are compared with. most: samples of the open set for one of the target, at most, where there is no `share`.
    starts: k-means runs, of which the best is kept. seed: of k-means.
    """
    check(clusters, share, threshold, patience, most, starts)
    centres = centroids(unit(embed(target)), clusters, starts, seed)
    candidates = unit(embed(open_set))
    budget = most * len(target) if share is None else int(share * len(open_set))
    similarity = np.where(np.abs(candidates).sum(1, keepdims=True) > 0, candidates @ centres.T, -np.inf)
    return np.sort(greedy(similarity, budget, threshold if share is None else -np.inf, patience))


def greedy(similarity: Float[np.ndarray, "samples centres"], budget: int, threshold: float = 0.95, patience: int = 20) -> Int[np.ndarray, "chosen"]:
    """In each round every centre takes the most similar sample that no earlier round took; until the budget, the samples, or the likeness run out.

    How alike a round is, is the mean over centres of the similarity of what each takes; it ends below `threshold` times that of round `patience`.
    """
    taken = np.zeros(len(similarity), dtype=bool)
    waiting = [descending(column) for column in similarity.T]
    chosen: list[np.ndarray] = []
    count, rounds, limit = 0, 0, -np.inf
    while count < budget:
        picks = [next((i for i in queue if not taken[i]), -1) for queue in waiting]
        if -1 in picks:
            break  # nothing is left: all centres see the same samples, so all run out together
        values = similarity[picks, range(len(picks))]
        rounds += 1
        if rounds == patience:
            limit = threshold * values.mean()
        if values.mean() < limit:
            break
        order = np.argsort(-values, kind="stable")
        new, first = np.unique(np.asarray(picks)[order], return_index=True)
        new = new[np.argsort(first)][: budget - count]  # the most similar first
        taken[new] = True
        chosen.append(new)
        count += len(new)
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def descending(column: Float[np.ndarray, "samples"]) -> Iterator[int]:
    """The finite entries' numbers from the largest value down; sorted in growing blocks, as few are wanted of many."""
    left = np.flatnonzero(np.isfinite(column))
    size = 256
    while len(left):
        size = min(size, len(left))
        cut = np.partition(-column[left], size - 1)[size - 1]
        ahead = -column[left] <= cut
        block = left[ahead]
        yield from block[np.argsort(-column[block], kind="stable")].tolist()
        left, size = left[~ahead], 2 * size


def centroids(x: Float[np.ndarray, "samples dim"], clusters: int, starts: int, seed: int) -> Float[np.ndarray, "centres dim"]:
    """Unit vectors to the k-means centres of unit vectors."""
    x = x[np.abs(x).sum(1) > 0]
    if not len(x):
        raise InputError("simcore: no sample of the target set can be read")
    if clusters >= len(x):
        return x
    from sklearn.cluster import KMeans

    return unit(KMeans(clusters, n_init=starts, random_state=seed).fit(x).cluster_centers_)


def unit(x: np.ndarray) -> Float[np.ndarray, "samples dim"]:
    """Rows of length 1; zeros stay."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def check(clusters: int, share: float | None, threshold: float, patience: int, most: int, starts: int) -> None:
    """Raises InputError with everything that is wrong."""
    counts = {"clusters": clusters, "patience": patience, "starts": starts}
    problems = [f"simcore: {name}={value}; it must be at least 1" for name, value in counts.items() if value < 1]
    if share is not None and not 0 < share <= 1:
        problems.append(f"simcore: share={share}; a share of the open set is above 0 and at most 1, the paper's are 0.01 and 0.05")
    if threshold > 1:
        problems.append(f"simcore: threshold={threshold}; above 1 the rule would end it at once, the paper's is 0.95")
    if most <= 0:
        problems.append(f"simcore: most={most}; nothing would be taken, the paper's is 50")
    if problems:
        raise InputError(*problems)
