"""Few-shot classification: a handful of labelled samples of a few classes, and the rest to be told apart; many times over.

Episodes as in Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, arXiv:1606.04080. Two classifiers: the nearest centroid of
centred unit features (Wang et al., "SimpleShot", arXiv:1911.04623, CL2N), and logistic regression on unit features (Tian et al., "Rethinking
Few-Shot Image Classification: a Good Embedding Is All You Need?", ECCV 2020, arXiv:2003.11539).
Departs from the papers: the classes are not new ones (nothing was trained on labels); the labelled samples come from the training rows and the
queries from the test rows; where there are fewer than five classes all of them are told apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.lbfgs import minimize
from manyviews.evaluate.scores import Labelled, Score, bootstrap, by_class

CHUNK = 50  # episodes that are solved together
DRAWN = 1 << 24  # random numbers that are drawn at a time


def few_shot(
    train: Labelled, test: Labelled, shots: tuple[int, ...] = (1, 5), ways: int = 5, queries: int = 15, episodes: int = 600, seed: int = 0
) -> dict[str, Score]:
    """Mean accuracy over episodes, with a bootstrap interval over them; for each number of labelled samples a class, and each classifier.

    Classes with too few samples are left out, and so is a number of shots that fewer than two classes have.
    """
    own, others = (F.normalize(part.x.float(), dim=1) for part in (train, test))
    centre = own.mean(0)
    scores: dict[str, Score] = {}
    for shot in shots:
        counts = torch.stack([part.y.bincount(minlength=train.classes) for part in (train, test)])
        able = ((counts[0] >= shot) & (counts[1] >= 1)).nonzero()[:, 0]
        if len(able) < 2:
            continue
        way = min(ways, len(able))
        asked = min(queries, int(counts[1, able].min()))
        generator = torch.Generator().manual_seed(seed + shot)
        classes = able[torch.rand(episodes, len(able), generator=generator).argsort(1)[:, :way]]
        drawn = draw(train.y, classes, shot, generator), draw(test.y, classes, asked, generator)
        right: dict[str, list[Tensor]] = {"centroid": [], "logistic": []}
        for known, unknown in zip(*(rows.split(CHUNK) for rows in drawn), strict=True):
            support, query = own[known], others[unknown].flatten(1, 2)
            answers = torch.arange(way).repeat_interleave(asked)
            right["centroid"].append((centroid(support, query, centre) == answers).double().mean(1))
            right["logistic"].append((logistic(support, query) == answers).double().mean(1))
        scores.update({f"{way}-way {shot}-shot {name}": bootstrap(torch.cat(parts), seed) for name, parts in right.items()})
    if not scores:
        raise InputError(f"few-shot needs two classes with {min(shots)} training samples and a test sample each")
    return scores


def draw(y: Int[Tensor, "rows"], classes: Int[Tensor, "episodes ways"], count: int, generator: torch.Generator) -> Int[Tensor, "episodes ways count"]:
    """Rows of each class, without repetition within an episode. For a large class some episodes are drawn at a time, so that memory stays small."""
    rows = torch.empty(*classes.shape, count, dtype=torch.int64)
    rows_of = by_class(y)
    for c in classes.unique().tolist():
        own, places = rows_of[c], classes == c
        together = max(1, DRAWN // len(own))
        sizes = [min(together, left) for left in range(int(places.sum()), 0, -together)]
        rows[places] = own[torch.cat([torch.rand(size, len(own), generator=generator).topk(count, 1).indices for size in sizes])]
    return rows


def centroid(
    support: Float[Tensor, "episodes ways shots dim"], query: Float[Tensor, "episodes queries dim"], centre: Float[Tensor, "dim"]
) -> Int[Tensor, "episodes queries"]:
    """The way whose mean of centred unit features is nearest."""
    means = F.normalize(support - centre, dim=-1).mean(2)
    return torch.cdist(F.normalize(query - centre, dim=-1), means).argmin(-1)


def logistic(
    support: Float[Tensor, "episodes ways shots dim"], query: Float[Tensor, "episodes queries dim"], penalty: float | None = None
) -> Int[Tensor, "episodes queries"]:
    """Multinomial logistic regression, one for each episode, all solved together.

    penalty: times half the squared weights, beside the mean cross-entropy; by default 1 / samples, which is scikit-learn's C = 1 as in the paper.
    The weights are combinations of the few samples, so they are sought in an orthonormal basis of those.
    """
    episodes, ways, shots, _ = support.shape
    x = support.flatten(1, 2)
    strength = 1 / (ways * shots) if penalty is None else penalty
    basis = torch.linalg.qr(x.mT).Q
    small = x @ basis
    target = F.one_hot(torch.arange(ways).repeat_interleave(shots), ways).float()

    def objective(w: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        own = small[which]
        logs = torch.log_softmax(own @ w[:, :-1] + w[:, -1:], -1)
        wrong = (logs.exp() - target) / (ways * shots)
        gradient = torch.cat([own.mT @ wrong + strength * w[:, :-1], wrong.sum(1, keepdim=True)], 1)
        return -(logs * target).double().sum((1, 2)) / (ways * shots) + strength / 2 * w[:, :-1].double().square().sum((1, 2)), gradient

    w = minimize(objective, torch.zeros(episodes, small.shape[2] + 1, ways)).w
    return (query @ basis @ w[:, :-1] + w[:, -1:]).argmax(-1)
