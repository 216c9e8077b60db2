"""Projection head study: what the layers after the encoder take away from what it knows, predicted for linear networks and measured on real ones.

Xue et al., "Investigating the Benefits of Projection Head for Representation Learning", ICLR 2024, arXiv:2403.11391; the loss of the linear theory is the
spectral one of HaoChen et al., NeurIPS 2021, arXiv:2106.04156; last layers are retrained on balanced data as in Kirichenko et al. (DFR), ICLR 2023,
arXiv:2204.02937.
Departs from the paper: the linear theory is for any depth and for time as well as for its end, where the paper has two layers and the end; its theorems
on non-linear layers and on supervised losses are not here. DFR's penalty is that of `evaluate.linear` and not the l1 norm, and is chosen on held-out
rows of the first balanced draw. The fixed reweighting head is a projector: `head` reweight of joint_embedding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import fit, linear
from manyviews.evaluate.scores import Labelled, Score, accuracy

CHUNK = 4096  # rows that go through the head at a time
DRAWS = 10  # balanced subsets that DFR averages over


def projection_head(
    train: Labelled,
    test: Labelled,
    head: Callable[[Tensor], Tensor] | None = None,
    train_groups: Int[Tensor, "rows"] | None = None,
    test_groups: Int[Tensor, "asked"] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Probes of one encoder's features before the head and, where there is one, after it.

    train, test: features with labels, before the head.
    head: features -> embeddings, as it was trained; None for what has no head, such as raw input.
    train_groups: the group of each training row (label and background, say); where both are given, DFR's accuracy in the worst group is measured too.
    test_groups: the same of the rows that are tested.
    seed: of the held-out rows and the balanced draws.
    """
    found: dict[str, Score] = {}
    for where, map in (("before the head", None), ("after the head", head)):
        if where.startswith("after") and head is None:
            continue
        known, asked = through(map, train), through(map, test)
        found[f"linear {where}"] = accuracy(linear(known, seed=seed).predict(asked.x) == asked.y, seed)
        found[f"knn {where}"] = accuracy(knn(known.x, known.y, asked.x) == asked.y, seed)
        if train_groups is not None and test_groups is not None:
            found[f"DFR, worst group, {where}"] = worst_group(dfr(known, train_groups, seed)(asked.x) == asked.y, test_groups, seed)
    return found


@torch.no_grad()
def through(head: Callable[[Tensor], Tensor] | None, rows: Labelled) -> Labelled:
    """The rows as the head leaves them; as they are, without one."""
    return rows if head is None else Labelled(torch.cat([head(part).float().cpu() for part in rows.x.split(CHUNK)]), rows.y, rows.classes)


# --- deep feature reweighting -----------------------------------------------------------------------------------------------------------------


def dfr(train: Labelled, groups: Int[Tensor, "rows"], seed: int = 0, draws: int = DRAWS) -> Callable[[Tensor], Int[Tensor, "asked"]]:
    """A last layer retrained on data in which all groups are equally many: the mean of `draws` classifiers, each of another balanced subset.

    groups: of each row; negative ones are left out. What comes back predicts the labels of features.
    """
    known = [g for g in groups.unique().tolist() if g >= 0]
    if len(known) < 2:
        raise InputError(f"{len(known)} group{'s' * (len(known) != 1)}: balancing needs at least two; give each row the number of its group")
    penalty, heads = None, []
    for k in range(draws):
        rows = balanced(groups, known, seed * draws + k)
        if penalty is None:
            penalty = linear(train.select(rows), seed=seed).penalty
        heads.append(fit(train.select(rows), (penalty,))[0])
    scale, mean = torch.stack([h.scale for h in heads]), torch.stack([h.mean for h in heads])
    weight = torch.stack([h.weight for h in heads]) / scale[:, :, None]
    bias = torch.stack([h.bias for h in heads]) - (mean[:, None] @ weight)[:, 0]
    return lambda x: (x.float() @ weight.mean(0) + bias.mean(0)).argmax(1)


def balanced(groups: Int[Tensor, "rows"], known: Sequence[int], seed: int) -> Int[Tensor, "some"]:
    """As many rows of each group as the smallest has, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    members = [(groups == g).nonzero()[:, 0] for g in known]
    least = min(map(len, members))
    return torch.cat([rows[torch.randperm(len(rows), generator=generator)[:least]] for rows in members]).sort().values


def worst_group(right: Tensor, groups: Int[Tensor, "rows"], seed: int = 0) -> Score:
    """The accuracy in the group where it is lowest; negative groups are left out."""
    known = [g for g in groups.unique().tolist() if g >= 0]
    return min((accuracy(right[groups == g], seed) for g in known), key=lambda score: score.value)


# --- linear networks under the spectral contrastive loss --------------------------------------------------------------------------------------


def spectral_loss(
    whole: Float[Tensor, "out features"], covariance: Float[Tensor, "features features"], agreement: Float[Tensor, "features features"]
) -> Float[Tensor, ""]:
    """-2 E[f(v)'f(w)] + E[(f(v)'f(u))^2] for f(x) = `whole` x: v and w are views of one sample, u one of another.

    covariance: E[v v'] of views; agreement: E[v w'] of two views of a sample. Means are zero.
    """
    gram = whole.T @ whole
    return -2 * (gram * agreement).sum() + ((gram @ covariance) * (gram @ covariance).T).sum()


def learned_weights(
    variance: Float[Tensor, "features"], agreement: Float[Tensor, "features"], depth: int = 2, width: int | None = None
) -> Float[Tensor, "depth features"]:
    """How much each feature is multiplied by the first 1, 2, ... `depth` layers, where small balanced weights end up.

    variance: of each feature in a view, its strength squared plus what augmentation adds; agreement: its covariance between two views of a sample,
    the strength squared that augmentation leaves. The product of all layers is sqrt(agreement) / variance and all layers take an equal part, so that
    the first l have the l / depth-th power of it: features become more unequal from layer to layer. width: of the narrowest layer; only so many
    features, those of the largest agreement / variance, are kept.
    """
    if not bool((variance >= agreement).all()) or not bool((agreement >= 0).all()):
        raise InputError("agreement lies between 0 and the variance: it is the part of a feature's variance that two views of a sample share")
    product = agreement.sqrt() / variance
    if width is not None and width < len(product):
        kept = (agreement / variance).topk(width).indices
        product = torch.zeros_like(product).index_copy(0, kept, product[kept])
    return torch.stack([product ** (layer / depth) for layer in range(1, depth + 1)])


def time_to_learn(weight: Float[Tensor, "*some"], start: float, variance: Float[Tensor, "*some"], agreement: Float[Tensor, "*some"], depth: int = 2) -> Tensor:
    """The time at which gradient flow has brought a feature's product from `start` to `weight` (both below its end), in closed form for 1 or 2 layers.

    One layer: logistic in the square of the product. Two: d product / dt = 8 product^2 (agreement - variance^2 product^2), slower for what starts small.
    """
    if depth not in (1, 2):
        raise InputError(f"depth {depth}: the closed form is for 1 or 2 layers")
    end = agreement.sqrt() / variance

    def clock(f: Tensor) -> Tensor:
        part = f / end
        if depth == 1:
            return (part.square() / (1 - part.square())).log() / (8 * agreement)
        return (part.atanh() - 1 / part) * variance / agreement**1.5 / 8

    return clock(weight) - clock(torch.full_like(end, start))


def train_linear(
    covariance: Float[Tensor, "features features"],
    agreement: Float[Tensor, "features features"],
    widths: Sequence[int],
    time: float,
    rate: float = 0.01,
    scale: float = 0.3,
    seed: int = 0,
) -> list[Float[Tensor, "_ _"]]:
    """The layers of a linear network of these output widths after gradient descent for `time` (steps times `rate`) in double precision.

    They start balanced: each is `scale` times a random partial isometry, from where the one before it leads to. Small ones start slowly: the origin is
    a saddle that is flatter, the deeper the network.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [len(covariance), *widths]
    bases = [torch.linalg.qr(torch.randn(size, min(sizes), generator=generator, dtype=torch.float64)).Q for size in sizes]
    layers = [(scale * b @ a.T).requires_grad_() for a, b in itertools.pairwise(bases)]
    for _ in range(round(time / rate)):
        value = spectral_loss(torch.linalg.multi_dot([*layers[::-1]]) if len(layers) > 1 else layers[0], covariance.double(), agreement.double())
        slopes = torch.autograd.grad(value, layers)
        with torch.no_grad():
            for layer, slope in zip(layers, slopes, strict=True):
                layer -= rate * slope
        if not math.isfinite(float(value.detach())):
            raise InputError(f"rate {rate}: gradient descent diverged; take a smaller one")
    return [layer.detach() for layer in layers]


def measured_weights(layers: Sequence[Float[Tensor, "_ _"]], directions: Float[Tensor, "features inputs"] | None = None) -> Float[Tensor, "depth features"]:
    """How much each feature is multiplied by the first 1, 2, ... layers: the length that the image of its unit direction (default: an input) has."""
    x = (torch.eye(layers[0].shape[1]) if directions is None else directions).to(layers[0].dtype).T
    found = []
    for layer in layers:
        x = layer @ x
        found.append(x.norm(dim=0))
    return torch.stack(found)


def imbalance(weights: Float[Tensor, "*depth features"]) -> Float[Tensor, "*depth"]:
    """The standard deviation of the logarithms of the weights: 0 where all features count alike. Under `learned_weights` it grows in proportion to depth."""
    return weights.log().std(-1, correction=0)
