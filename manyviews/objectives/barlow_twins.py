"""Barlow Twins: the cross-correlation of the two embeddings' dimensions becomes the identity.

Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, arXiv:2103.03230, Eq. (1) and (2).
Departs from the paper in nothing known; as in the authors' code, 1e-5 is added to each variance that Eq. (2) divides by. The recipe's warm-up is their
10 epochs, of 100; biases and normalisations learn at 0.024 times the rate (0.0048 against 0.2).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Recipe, Terms
from manyviews.nn.distributed import average

PROJECTOR = {"hidden": 8192, "out": 8192, "layers": 3, "last_bias": False}
RECIPE = Recipe(views="barlow_twins", optimizer="lars", lr=0.2, weight_decay=1e-6, final_lr=0.001, vector_lr=0.024)


def barlow_twins(za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], redundancy: float = 0.0051) -> Terms:
    """The squared distance of the diagonal from 1, and of the rest from 0, weighted by `redundancy`. Rows of all ranks are the batch."""
    c = average(standardise(za.float()).T @ standardise(zb.float()) / len(za))  # Eq. (2)
    diagonal = c.diagonal()
    return {"invariance": (diagonal - 1).square().sum(), "redundancy": redundancy * (c - diagonal.diag()).square().sum()}  # Eq. (1)


def standardise(z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    """Mean 0 and variance 1 in each dimension, over the rows of all ranks."""
    centred = z - average(z.mean(0))
    return centred * (average(centred.square().mean(0)) + 1e-5).rsqrt()
