"""Sinkhorn and Knopp's balancing: soft assignments in which every prototype gets its share of the samples.

Cuturi, "Sinkhorn distances", NeurIPS 2013, arXiv:1306.0895; as used by Caron et al. 2020, arXiv:2006.09882, Eq. (3) and (5).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.nn.distributed import gather


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "rows prototypes"], epsilon: float = 0.05, iterations: int = 3) -> Float[Tensor, "rows prototypes"]:
    """exp(scores / epsilon), rescaled by turns so that prototypes get equal shares and each sample's row sums to one; rows last.

    The samples of all ranks are balanced together; ranks may have different numbers of them. Computed in logarithms, so nothing overflows.
    Rows sum to one exactly, shares are equal only in the limit of many iterations: three are the paper's.
    """
    log_q = scores.float() / epsilon
    log_count = math.log(scores.shape[1])
    for _ in range(iterations):
        share = gather(log_q.logsumexp(0, keepdim=True)).logsumexp(0)
        log_q = log_q - share - log_count
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.softmax(1)
