"""InfoNCE (NT-Xent): each embedding must pick out its partner among all others of the batch.

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), ICML 2020, arXiv:2002.05709, Eq. (1);
van den Oord et al., "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748.
Departs from the paper in nothing known; where its text is silent it follows the authors' code: the projector's output is batch-normalised, with a
learned scale and no shift. The recipe's warm-up is their 10 epochs, of 100.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Recipe
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank

NAME = "simclr"  # the published name that joint_embedding runs it under
PROJECTOR = {"hidden": 2048, "out": 128, "layers": 2, "last_norm": True, "last_shift": False}
RECIPE = Recipe(views="simclr", optimizer="lars", lr=0.3, weight_decay=1e-6)


def infonce(za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """Mean over all 2 * batch embeddings of -log softmax of the cosine similarity to the partner, against all others.

    Rows of all ranks are the batch. temperature > 0; the paper's best is 0.1 on ImageNet and 0.5 on CIFAR-10.
    """
    return each(za, zb, temperature).mean()


def each(za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], temperature: float = 0.1) -> Float[Tensor, "batch"]:
    """The loss of each pair, the mean of its two embeddings': for when pairs count more or less."""
    if temperature <= 0:
        raise InputError(f"temperature {temperature}: it divides similarities and must be above 0; the paper's is 0.1")
    n = len(za)
    local = F.normalize(torch.cat([za, zb]).float(), dim=1)
    others = torch.cat([gather(local[:n]), gather(local[n:])])
    total = len(others) // 2
    own = rank() * n + torch.arange(n, device=za.device)
    similarity = local @ others.T / temperature
    itself = torch.cat([own, own + total])
    partner = torch.cat([own + total, own])
    similarity = similarity.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(similarity, partner, reduction="none").view(2, n).mean(0)  # Eq. (1)
