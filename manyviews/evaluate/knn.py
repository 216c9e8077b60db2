"""The weighted nearest-neighbour classifier, the usual first look at a representation.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, arXiv:1805.01978: cosine similarity, k
neighbours, votes weighted by exp(similarity / temperature).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def neighbours(
    queries: Float[Tensor, "queries dim"], bank: Float[Tensor, "rows dim"], k: int, chunk: int = 4096
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """The k largest cosine similarities of each query to the bank, exactly, and their rows; memory is chunk * rows."""
    bank = F.normalize(bank.float(), dim=1).T.contiguous()
    k = min(k, bank.shape[1])
    found = [torch.topk(F.normalize(part.float(), dim=1) @ bank, k, dim=1) for part in queries.split(chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def knn(
    train: Float[Tensor, "rows dim"],
    labels: Int[Tensor, "rows"],
    test: Float[Tensor, "queries dim"],
    k: int = 20,
    temperature: float = 0.07,
) -> Int[Tensor, "queries"]:
    """The class of each test sample by the weighted vote of its k nearest training samples."""
    similarity, rows = neighbours(test, train, k)
    classes = int(labels.max()) + 1
    votes = torch.zeros(len(test), classes).scatter_add_(1, labels[rows], (similarity / temperature).exp())
    return votes.argmax(1)
