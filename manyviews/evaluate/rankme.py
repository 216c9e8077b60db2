"""How good a representation looks without labels: effective rank, alignment, uniformity and spread.

RankMe: Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank", ICML 2023,
arXiv:2210.02885, Eq. (1). Alignment and uniformity: Wang and Isola, ICML 2020, arXiv:2005.10242, Sec. 4.1. Spread: the standard deviation that Chen
and He (SimSiam), CVPR 2021, arXiv:2011.10566, Fig. 2, watch for collapse, times sqrt(dim).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rankme(z: Float[Tensor, "rows dim"], epsilon: float = 1e-7) -> float:
    """exp of the entropy of the normalised singular values; between 1 (collapsed) and dim."""
    s = torch.linalg.svdvals(z.double())
    p = s / s.sum().clamp(min=1e-300) + epsilon
    return float((-(p * p.log()).sum()).exp())  # Eq. (1)


def spread(z: Float[Tensor, "rows dim"]) -> float:
    """Root of the summed variances of unit embeddings, 0 (all the same) to 1 (as if drawn evenly from the sphere)."""
    return float(F.normalize(z.double(), dim=1).var(0, correction=0).sum().sqrt())


def alignment(v: Float[Tensor, "rows dim"], w: Float[Tensor, "rows dim"]) -> float:
    """Mean squared distance of two views' unit embeddings, 0 to 4; lower is closer."""
    return float((F.normalize(v.float()) - F.normalize(w.float())).square().sum(1).mean())


def uniformity(z: Float[Tensor, "rows dim"], t: float = 2.0) -> float:
    """log of the mean Gaussian potential of pairs of unit embeddings; 0 is collapsed, lower is more even."""
    return float(torch.pdist(F.normalize(z.float())).square().mul(-t).exp().mean().log())
