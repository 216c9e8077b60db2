"""SupCon: each embedding is drawn to all others of its class, against all others of the batch.

Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362, Eq. (2): the sum over positives outside the logarithm.
Departs from the paper in the recipe, which is the authors' for CIFAR-10 and not their ImageNet one (LARS, AutoAugment, normalised features before the
projector). There the loss is multiplied by the temperature 0.1 and momentum SGD runs at 0.5 with a weight decay of 1e-4; unscaled, as in Eq. (2),
that is 0.05 and 1e-3. The mean over the anchors is taken, not the sum. Samples whose label is not known (-1) are left out: they may be of any class,
so they are neither anchors, nor positives, nor negatives.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import Recipe
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank, total, world

PROJECTOR = {"hidden": 2048, "out": 128, "layers": 2, "norm": False, "last_bias": False}
RECIPE = Recipe(views="simclr", optimizer="sgd", lr=0.05, weight_decay=1e-3)


def supcon(za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], label: Int[Tensor, "batch"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """Mean over all 2 * batch embeddings and over the positives of each of -log softmax of the cosine similarity, against all others.

    Rows of all ranks are the batch. label: class numbers, -1 where not known; both views of a sample have its label. temperature > 0. Zero where no
    label is known.
    """
    if temperature <= 0:
        raise InputError(f"temperature {temperature}: it divides similarities and must be above 0; the paper's is 0.1")
    n = len(za)
    local = F.normalize(torch.cat([za, zb]).float(), dim=1)
    others = torch.cat([gather(local[:n]), gather(local[n:])])
    classes = gather(label).repeat(2)
    own = rank() * n + torch.arange(n, device=za.device)
    itself = torch.cat([own, own + len(others) // 2])[:, None]
    anchors = (label >= 0).repeat(2)
    itself, own_class = itself[anchors], label.repeat(2)[anchors, None]
    similarity = local[anchors] @ others.T / temperature
    log_p = similarity - similarity.masked_fill(classes < 0, -torch.inf).scatter(1, itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (own_class == classes).float().scatter(1, itself, 0.0)
    count = total(anchors.sum().float()) / world()
    return -((positive * log_p).sum(1) / positive.sum(1)).sum() / count.clamp(min=1)  # Eq. (2)
