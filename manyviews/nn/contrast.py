"""The one-sided contrast of a query with its key among the keys of the whole batch (MoCo v3, arXiv:2104.02057, Eq. (1))."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.nn.distributed import gather, rank
from manyviews.nn.weighting import weighted_mean


def contrast(
    q: Float[Tensor, "batch dim"], k: Float[Tensor, "batch dim"], temperature: float, weight: Float[Tensor, "batch"] | None = None
) -> Float[Tensor, ""]:
    """2 * temperature times the (weighted) mean of -log softmax of each query's cosine similarity to its key, against the keys of all ranks; in float32."""
    with torch.autocast(q.device.type, enabled=False):
        q, k = F.normalize(q.float(), dim=1), F.normalize(gather(k.float()), dim=1)
        own = rank() * len(q) + torch.arange(len(q), device=q.device)
        return 2 * temperature * weighted_mean(F.cross_entropy(q @ k.T / temperature, own, reduction="none"), weight)
