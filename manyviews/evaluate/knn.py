"""The weighted nearest-neighbour classifier, the usual first look at a representation.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, arXiv:1805.01978: cosine similarity, k
neighbours, votes weighted by exp(similarity / temperature). The paper takes k = 200 on ImageNet; 20 is what DINO (arXiv:2104.14294) found best.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.nn.hardware import has_bf16

CHUNK = 1 << 25  # similarities held at a time


def neighbours(
    queries: Float[Tensor, "queries dim"],
    bank: Float[Tensor, "rows dim"],
    k: int,
    products: torch.dtype = torch.float32,
    exclude: Int[Tensor, "queries"] | None = None,
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """The k largest cosine similarities of each query to the bank, exactly and in descending order, and their rows.

    exclude: a row of the bank that each query does not see, such as itself.
    products: bfloat16 finds candidates by products in that precision, ranks them in float32, and looks in float32 for the neighbours of those
    queries whose candidates cannot be shown to hold all of them; so the answer is the same and only the time differs. Where the hardware has no
    bfloat16, float32 is faster and is taken.
    """
    products = products if has_bf16(bank.device) else torch.float32
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    exclude = torch.full((len(queries),), -1) if exclude is None else exclude
    k = min(k, len(bank) - int(bool((exclude >= 0).any())))
    size = max(1, min(512, CHUNK // len(bank)))
    rounded = bank.to(products)
    rounding = max(float((a.float() - b).norm(dim=1).max()) for a, b in zip(rounded.split(4096), bank.split(4096), strict=True))
    found: list[tuple[Tensor, Tensor]] = []
    for part, own in zip(queries.split(size), exclude.split(size), strict=True):
        if products == torch.float32 or len(bank) < 16 * k:
            found.append(torch.topk(similarities(part, bank, own), k, dim=1))
        else:
            found.append(ranked_candidates(part, bank, rounded, rounding, k, own))
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def similarities(queries: Float[Tensor, "queries dim"], bank: Float[Tensor, "rows dim"], exclude: Int[Tensor, "queries"]) -> Float[Tensor, "queries rows"]:
    """All products, minus infinity for the excluded row."""
    found = queries @ bank.T
    hidden = (exclude >= 0).nonzero()[:, 0]
    found[hidden, exclude[hidden]] = -torch.inf
    return found


def ranked_candidates(
    queries: Float[Tensor, "queries dim"],
    bank: Float[Tensor, "rows dim"],
    rounded_bank: Float[Tensor, "rows dim"],
    rounding: float,
    k: int,
    exclude: Int[Tensor, "queries"],
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """The k nearest among 2k + 16 candidates found in bfloat16, exact because of what rounding can do at most.

    q.b differs from the product of the rounded vectors by at most |q - q'| |b'| + |q| |b - b'| (Cauchy and Schwarz), plus one rounding of the
    result and the summation in float32. A row that is no candidate is therefore no nearer than the last candidate's product plus that.
    """
    rounded = queries.bfloat16()
    rough = torch.topk(similarities(rounded, rounded_bank, exclude), min(2 * k + 16, len(bank)), dim=1)
    exact = torch.bmm(bank[rough.indices], queries[:, :, None])[:, :, 0].masked_fill(rough.values == -torch.inf, -torch.inf)
    values, order = torch.topk(exact, k, dim=1)
    rows = rough.indices.gather(1, order)
    last = rough.values[:, -1].float()
    slack = (queries - rounded.float()).norm(dim=1) * (1 + rounding) + rounding + 2.0**-8 * last.abs() + queries.shape[1] * 2.0**-23
    unsure = (values[:, -1] < last + slack).nonzero()[:, 0]
    if len(unsure):
        again = torch.topk(similarities(queries[unsure], bank, exclude[unsure]), k, dim=1)
        values[unsure], rows[unsure] = again.values, again.indices
    return values, rows


def knn(
    train: Float[Tensor, "rows dim"],
    labels: Int[Tensor, "rows"],
    test: Float[Tensor, "queries dim"],
    k: int = 20,
    temperature: float = 0.07,
    products: torch.dtype = torch.float32,
    exclude: Int[Tensor, "queries"] | None = None,
) -> Int[Tensor, "queries"]:
    """The class of each test sample by the weighted vote of its k nearest training samples."""
    similarity, rows = neighbours(test, train, k, products, exclude)
    votes = torch.zeros(len(test), int(labels.max()) + 1).scatter_add_(1, labels[rows], ((similarity - similarity[:, :1]) / temperature).exp())
    return votes.argmax(1)
