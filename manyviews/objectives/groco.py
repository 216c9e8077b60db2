"""GroCo: sort the similarities of an anchor with a differentiable network, so that the positive group comes out above the hardest negatives.

Shvetsova et al., "Learning by Sorting: Self-supervised Learning with Group Ordering Constraints", ICCV 2023, arXiv:2301.02009; the network is that of
Petersen et al., "Monotonic Differentiable Sorting Networks", ICLR 2022, arXiv:2203.09630.
Departs from the paper in that there are two views and so one positive (with more views or crops there are more); in the recipe's views, whose crops
begin at 8 % of the picture where theirs begin at 14 %; and in how the loss is computed, not in its value: as only sums of the soft permutation's
columns are needed, the positive group is taken back through the network instead of a matrix forward, and as the two groups' shares sum to one, the
mean of their cross-entropies is either of them. The rest of the recipe is that of the authors' run of 100 epochs: momentum SGD without LARC, one
epoch of warm-up.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Recipe
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank

PROJECTOR = {"hidden": None, "out": 2048, "layers": 3, "last_norm": True, "last_affine": False}
RECIPE = Recipe(views="byol", optimizer="sgd", lr=6.0, weight_decay=1e-6, warmup=0.01)


def groco(
    za: Float[Tensor, "batch dim"], zb: Float[Tensor, "batch dim"], negatives: int = 10, steepness: float = 1.0, stop_gradient: bool = True
) -> Float[Tensor, ""]:
    """Mean over all 2 * batch anchors of the cross-entropy between the group that each similarity is sorted into and the one it belongs to.

    What an anchor is compared with is its positive, the other view of its sample, and its own view of the other samples, of all ranks.
    negatives: how many of those are sorted, the most similar ones; all of them in a batch that has fewer.
    steepness: of the soft comparisons; similarities lie within 2 of each other, and towards infinity the network sorts exactly; above 0.
    stop_gradient: whether only the anchor is moved, and neither its positive nor its negatives.
    """
    if negatives < 1:
        raise InputError(f"negatives {negatives}: at least one must be there to be sorted below the positive; the paper takes 10")
    if steepness <= 0:
        raise InputError(f"steepness {steepness}: soft comparisons need it above 0; the paper's is 1")
    n = len(za)
    anchor = F.normalize(torch.stack([za, zb]).float(), dim=2)
    other = anchor.detach() if stop_gradient else anchor
    positive = (anchor * other.flip(0)).sum(2, keepdim=True)
    everyone = torch.stack([gather(other[0]), gather(other[1])])
    itself = rank() * n + torch.arange(n, device=za.device)
    similarity = (anchor @ everyone.mT).scatter(2, itself.expand(2, n)[..., None], -torch.inf)
    count = min(negatives, everyone.shape[1] - 1)
    hardest = similarity.topk(count, dim=2).values.flip(2)  # in ascending order, as are the groups
    scores = torch.cat([hardest, positive], 2).flatten(0, 1).T
    belongs = torch.arange(count + 1, device=za.device) >= count
    p = _probability_of_upper(scores, count, steepness).clamp(0, 1)
    return F.binary_cross_entropy(p, belongs.float()[:, None].expand_as(p))


def _probability_of_upper(x: Float[Tensor, "entries rows"], below: int, steepness: float) -> Float[Tensor, "entries rows"]:
    """How much of each entry the odd-even sorting network puts above the lowest `below` places of its row.

    Layer k compares the neighbours that begin at k % 2. `swap` is how much of the two is exchanged, by the Cauchy distribution's function of their difference.
    """
    swaps = []
    for k in range(len(x)):
        gap = _differences(x, k % 2)
        swaps.append(0.5 - torch.atan(steepness * gap) / math.pi)
        x = _exchange(x, k % 2, swaps[-1] * gap)
    q = (torch.arange(len(x), device=x.device) >= below).to(x.dtype)[:, None].expand_as(x)
    for k, swap in reversed(list(enumerate(swaps))):  # the layers' matrices are symmetric
        q = _exchange(q, k % 2, swap * _differences(q, k % 2))
    return q


def _differences(x: Float[Tensor, "entries rows"], start: int) -> Float[Tensor, "pairs rows"]:
    """Upper minus lower of the pairs of neighbours that begin at `start`."""
    return x[start + 1 :: 2] - x[start : len(x) - 1 : 2]


def _exchange(x: Float[Tensor, "entries rows"], start: int, amount: Float[Tensor, "pairs rows"]) -> Float[Tensor, "entries rows"]:
    """`amount` given by the upper to the lower of each pair."""
    given = torch.stack([amount, -amount], 1).flatten(0, 1)
    return x + F.pad(given, (0, 0, start, len(x) - start - len(given)))
