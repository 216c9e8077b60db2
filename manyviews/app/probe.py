"""Is it learning? A look at the encoder during training: knn on held-out training rows, or RankMe where there are no labels."""

from __future__ import annotations

import numpy as np
import torch

from manyviews.contracts import Encoder
from manyviews.data.dataset import Data
from manyviews.evaluate.features import extract
from manyviews.evaluate.knn import knn
from manyviews.evaluate.rankme import rankme, uniformity
from manyviews.views import images


class Probe:
    """Up to 2,000 rows of the training data, a fifth of them asked about; test rows are never used for choosing."""

    def __init__(self, data: Data, size: int, policy: images.Policy, seed: int = 0, most: int = 2000):
        rows = np.random.default_rng([seed, 1]).permutation(len(data))[:most]
        self.data, self.size, self.policy, self.held = data.select(rows), size, policy, max(1, len(rows) // 5)
        self.name = "rankme" if data.labels is None else "knn"

    def __call__(self, encoder: Encoder, device: str) -> dict[str, float]:
        """`probe`, the number that chooses the best weights, and its companions."""
        order = np.array_split(np.arange(len(self.data)), max(1, len(self.data) // 256))
        x, index = extract(encoder, self.data.batches(order), images.plain(self.size), device)
        if self.data.labels is not None:
            y = torch.from_numpy(self.data.labels)[index]
            predicted = knn(x[self.held :], y[self.held :], x[: self.held])
            value = float((predicted == y[: self.held]).float().mean())
            return {"probe": value, "knn": value, "rankme": rankme(x[:1000])}
        value = rankme(x)
        return {"probe": value, "rankme": value, "uniformity": uniformity(x[:1000])}
