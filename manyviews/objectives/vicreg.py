"""VICReg: the two embeddings of a sample agree, while every dimension keeps its spread and no two dimensions say the same.

Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022, arXiv:2105.04906.
Departs from the paper's equations where the authors' code does: the variance term is the mean of the two branches, not their sum, and the invariance
term is also divided by the number of dimensions; their weights are meant for these. The recipe's warm-up is their 10 epochs, of 100.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Recipe, Terms
from manyviews.nn.distributed import gather

PROJECTOR = {"hidden": 8192, "out": 8192, "layers": 3, "last_bias": False}
RECIPE = Recipe(views="vicreg", optimizer="lars", lr=0.2, weight_decay=1e-6, final_lr=0.001)


def vicreg(za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Terms:
    """The three weighted terms. Embeddings are not normalised; spread and covariance are over the rows of all ranks, at least two."""
    za, zb = za.float(), zb.float()
    agreement = F.mse_loss(za, zb)
    both = [gather(za), gather(zb)]
    return {
        "invariance": invariance * agreement,
        "variance": variance * (narrowness(both[0]) + narrowness(both[1])) / 2,
        "covariance": covariance * (redundancy(both[0]) + redundancy(both[1])),
    }


def narrowness(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """How far the standard deviations of the dimensions are below 1, on average."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def redundancy(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """The sum of the squared covariances of different dimensions, divided by the number of dimensions."""
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    return (c - c.diagonal().diag()).square().sum() / z.shape[1]
