"""Is it learning? A look at the encoder during training: knn among training rows, or RankMe where there are no labels; and whether it has collapsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.evaluate.features import extract
from manyviews.evaluate.knn import knn
from manyviews.evaluate.rankme import alignment, rankme, spread, uniformity
from manyviews.views.finding import plain

SHARE = 0.02  # of a run's work that looks may take
LEAST, MOST = 256, 2000  # rows that are looked at
FLAT, LINE = 0.01, 1.05  # spread and effective rank below which an encoder has collapsed; untrained ones have 0.1 and 20 or more


class Probe:
    """Looks at some rows of the training data; test rows are never used for choosing. The same encoder gets the same numbers.

    With labels, each row is asked about with all the others as the bank. `affordable` says how many rows cost little beside the training.
    """

    def __init__(self, data: Data, size: int, policy: Any, seed: int = 0, most: int = MOST):
        if data.labels is not None:
            data = data.select(data.labels >= 0)
        rows = np.random.default_rng([seed, 1]).permutation(len(data))[:most]
        self.data, self.size, self.policy = data.select(np.sort(rows)), size, policy
        self.name = "rankme" if data.labels is None else "knn"

    def __call__(self, encoder: Encoder, device: str = "cpu") -> dict[str, float]:
        """`probe`, the number that chooses the best weights, and its companions. Not a number where the embeddings are not finite."""
        x, index = self.look(encoder, plain(self.size, self.data.modality), device)
        if len(x) < 2 or not bool(x.isfinite().all()):
            return {"probe": math.nan, self.name: math.nan, "rankme": math.nan, "spread": math.nan}
        row = {"rankme": rankme(x[:1000]), "spread": spread(x)}
        if self.data.labels is not None:
            y = torch.from_numpy(self.data.labels)[index].long()
            row["knn"] = float((knn(x, y, x, exclude=torch.arange(len(x))) == y).double().mean())
        else:
            row.update(uniformity=uniformity(x[:1000]), **self.agreement(encoder, device))
        return {"probe": row[self.name], **row}

    def agreement(self, encoder: Encoder, device: str) -> dict[str, float]:
        """How near two training views of a sample are; nothing where the method has only one."""
        count = min(len(self.data), LEAST)
        pair = [
            self.look(encoder, lambda samples, counter, k=k: {"v": two_views(self.policy, samples, counter)[k]}, device, count)[0]  # type: ignore[misc]
            for k in range(min(2, len(self.policy.specs)))
        ]
        return {"alignment": alignment(*pair)} if len(pair) == 2 and all(bool(z.isfinite().all()) for z in pair) else {}

    def look(
        self, encoder: Encoder, policy: Callable[[View, Counter], dict[str, Any]], device: str, count: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = np.arange(len(self.data))[:count]
        return extract(encoder, self.data.batches(np.array_split(rows, max(1, len(rows) // LEAST))), policy, device)


def two_views(policy: Any, samples: View, counter: Counter) -> list[View]:
    """The first two views that the policy makes."""
    made = policy(samples, counter).values()
    return [view for role in made for view in (role if isinstance(role, list) else [role])][:2]


def affordable(steps: int, batch: int, looks: int, views: int = 2) -> int:
    """Rows a look, so that all looks take at most SHARE of the work: a training sample costs three forward passes a view, a row of a look one."""
    return int(min(MOST, max(LEAST, SHARE * 3 * views * steps * batch / max(1, looks))))


def collapsed(row: dict[str, float]) -> str | None:
    """What has gone wrong with the encoder, and what to try; None where nothing has. `row` is what a Probe returned."""
    flat, rank = row.get("spread", 1.0), row.get("rankme", math.inf)
    remedy = "try a lower --lr, a larger --batch, or a method that keeps embeddings apart (simclr, vicreg)"
    if math.isnan(flat) or math.isnan(rank):
        return f"the embeddings are not finite; {remedy}, or --precision 32"
    if flat < FLAT or rank < LINE:
        return (
            f"the encoder has collapsed: it gives nearly the same vector for every sample (spread {flat:.4f} of at most 1, effective rank {rank:.1f}); {remedy}"
        )
    return None
