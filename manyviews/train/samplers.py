"""Which samples make which batch: pure functions of (columns, seed, epoch), so that any step of any epoch can be found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

Sampler = Callable[[int, Mapping[str, np.ndarray], int, int], np.ndarray]  # (rows, columns, seed, epoch) -> order


def shuffled(rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
    """Every row once."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def balanced(rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
    """As many rows an epoch, every class equally often; rows of rare classes recur. Raises ValueError without labels."""
    if "label" not in columns:
        raise ValueError("the balanced sampler needs labels; this data has none")
    rng = np.random.default_rng([seed, epoch])
    labels = columns["label"]
    classes = np.unique(labels)
    pools = [np.flatnonzero(labels == c) for c in classes]
    each = -(-rows // len(classes))
    order = np.concatenate([np.concatenate([rng.permutation(pool) for _ in range(-(-each // len(pool)))])[:each] for pool in pools])
    return rng.permutation(order)[:rows]


def batch_rows(
    rows: int,
    columns: Mapping[str, np.ndarray],
    batch: int,
    seed: int,
    start: int,
    stop: int,
    rank: int = 0,
    world: int = 1,
    sampler: Sampler = shuffled,
    together: int = 1,
) -> Iterator[np.ndarray]:
    """This rank's rows of the global batches start..stop-1, so many that are side by side in the order together.

    The last, smaller batch of an epoch is dropped; a small set is one whole batch.
    """
    each = max(1, rows // batch)
    epoch, order = -1, np.empty(0, int)
    for step in range(start, stop):
        if step // each != epoch:
            epoch = step // each
            order = sampler(rows, columns, seed, epoch)
        k = step % each
        whole = order[k * batch : (k + 1) * batch]
        yield whole[np.arange(len(whole)) // together % world == rank]
