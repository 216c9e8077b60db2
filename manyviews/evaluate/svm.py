"""Linear support vector machines on features, and their few-shot trials: how encoders of point clouds are compared.

The protocol of Achlioptas et al., "Learning Representations and Generative Models for 3D Point Clouds", ICML 2018, arXiv:1707.02392, Sec. 5.1, and, with
few samples, of Sharma and Kaul, "Self-Supervised Few-Shot Learning on Point Clouds", NeurIPS 2020, arXiv:2009.14168: n classes, k labelled samples each, 20
others of each to be told apart; ten trials.
Departs from the papers: features are standardised, and the penalty is chosen on a fifth of the training rows instead of being set for a data set; trials take
it at 1, and their other samples from the test rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.few_shot import draw
from manyviews.evaluate.scores import Labelled, Score, accuracy, bootstrap, held_out

COSTS = (1e-3, 1e-2, 1e-1, 1.0)  # C, what a row on the wrong side costs


def svm(train: Labelled, test: Labelled, validation: Labelled | None = None, seed: int = 0) -> dict[str, Score]:
    """`svm`: the accuracy on `test` of a linear machine, one class against another."""
    some, rest = (train, validation) if validation is not None else held_out(train, seed)
    right = [int((predicted(some, rest.x, cost) == rest.y).sum()) for cost in COSTS]
    cost = COSTS[right.index(max(right))]
    whole = train if validation is None else train.and_also(validation)
    return {"svm": accuracy(predicted(whole, test.x, cost) == test.y, seed)}


def predicted(train: Labelled, asked: Float[Tensor, "rows dim"], cost: float = 1.0) -> Int[Tensor, "rows"]:
    """The classes of `asked`."""
    from sklearn.svm import SVC

    mean, scale = train.x.float().mean(0), train.x.float().std(0, correction=0)
    scale = torch.where(scale > 1e-6, scale, 1.0)
    machine = SVC(C=cost, kernel="linear").fit(((train.x.float() - mean) / scale).numpy(), train.y.numpy())
    return torch.from_numpy(machine.predict(((asked.float() - mean) / scale).numpy())).long()


def trials(
    train: Labelled,
    test: Labelled,
    ways: tuple[int, ...] = (5, 10),
    shots: tuple[int, ...] = (10, 20),
    queries: int = 20,
    count: int = 10,
    seed: int = 0,
) -> dict[str, Score]:
    """`N-way K-shot svm`: the mean accuracy of `count` trials with its interval over them. Classes with too few samples are left out, and what too few have."""
    have = torch.stack([part.y.bincount(minlength=train.classes) for part in (train, test)])
    found: dict[str, Score] = {}
    for way in ways:
        for shot in shots:
            able = ((have[0] >= shot) & (have[1] >= 1)).nonzero()[:, 0]
            if len(able) < way:
                continue
            generator = torch.Generator().manual_seed(seed + 100 * way + shot)
            classes = able[torch.rand(count, len(able), generator=generator).argsort(1)[:, :way]]
            asked = min(queries, int(have[1, able].min()))
            known, unknown = draw(train.y, classes, shot, generator), draw(test.y, classes, asked, generator)
            answers = torch.arange(way)
            right = [
                (predicted(Labelled(train.x[k.flatten()], answers.repeat_interleave(shot), way), test.x[u.flatten()]) == answers.repeat_interleave(asked))
                for k, u in zip(known, unknown, strict=True)
            ]
            found[f"{way}-way {shot}-shot svm"] = bootstrap(torch.stack([r.double().mean() for r in right]), seed)
    if not found:
        raise InputError(f"trials need {min(ways)} classes with {min(shots)} training samples and a test sample each")
    return found
