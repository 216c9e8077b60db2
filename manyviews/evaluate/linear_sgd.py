"""The linear probe by SGD, as the papers on self-supervised learning train it.

He et al. (MoCo), CVPR 2020, arXiv:1911.05722, Sec. 4.1: features after global pooling, no weight decay, momentum 0.9, batches of 256, 100 epochs, the
rate divided by ten after 60 and 80. Their rate of 30 fits their features only, so several are trained side by side and the best on held-out
training rows is taken, as in Oquab et al. (DINOv2), arXiv:2304.07193.
Departs from the papers: features are computed once, from the centre of each sample, without augmentation.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.evaluate.scores import Labelled, held_out

RATES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)


@dataclasses.dataclass(frozen=True)
class Heads:
    """Linear classifiers trained side by side."""

    weight: Float[Tensor, "heads dim_and_1 classes"]
    rates: tuple[float, ...]

    def predict(self, x: Float[Tensor, "rows dim"]) -> Int[Tensor, "heads rows"]:
        return (x.float() @ self.weight[:, :-1] + self.weight[:, -1:]).nan_to_num(-torch.inf).argmax(-1)


def linear_sgd(
    train: Labelled, validation: Labelled | None = None, rates: tuple[float, ...] = RATES, seed: int = 0, epochs: int = 100, batch: int = 256
) -> Heads:
    """The head with the rate that is best on `validation`, or else on a fifth of the training rows; trained then on both."""
    fitted = train
    if len(rates) > 1:
        some, rest = (train, validation) if validation is not None else held_out(train, seed)
        right = (descend(some, rates, seed, epochs, batch).predict(rest.x) == rest.y).sum(1).tolist()
        rates = (max(zip(right, rates, strict=True))[1],)
        fitted = train if validation is None else train.and_also(validation)
    return descend(fitted, rates, seed, epochs, batch)


def descend(train: Labelled, rates: tuple[float, ...], seed: int = 0, epochs: int = 100, batch: int = 256, momentum: float = 0.9) -> Heads:
    """SGD on the mean cross-entropy of one head for each rate; all see the same batches, in an order that the seed decides."""
    x, heads = train.x.float(), len(rates)
    w = torch.zeros(heads, x.shape[1] + 1, train.classes)
    velocity, rate = torch.zeros_like(w), torch.tensor(rates)[:, None, None]
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        now = rate * 0.1 ** sum(epoch >= at * epochs for at in (0.6, 0.8))
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            part, labels = x[rows], train.y[rows]
            p = torch.softmax((part @ w[:, :-1] + w[:, -1:]).nan_to_num(0.0), -1)
            p[:, torch.arange(len(rows)), labels] -= 1
            p /= len(rows)
            gradient = torch.cat([part.T @ p, p.sum(1, keepdim=True)], 1)
            velocity = momentum * velocity + gradient
            w = w - now * velocity
    return Heads(w, rates)
