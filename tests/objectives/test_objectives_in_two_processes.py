"""Each objective on two gloo processes: the ranks' losses average to the loss of the whole batch, and so do the gradients."""

import numpy as np
import pytest
import torch
from gloo_pair import Pair

from manyviews.objectives.barlow_twins import barlow_twins
from manyviews.objectives.infonce import infonce
from manyviews.objectives.supcon import supcon
from manyviews.objectives.vicreg import vicreg

CASES = {
    "infonce": (infonce, ()),
    "supcon": (supcon, ("label",)),
    "supcon, some unknown": (supcon, ("some",)),
    "supcon, none known on one rank": (supcon, ("last",)),
    "supcon, none known": (supcon, ("none",)),
    "vicreg": (vicreg, ()),
    "barlow_twins": (barlow_twins, ()),
}
WORLD, EACH, DIM = 2, 5, 4


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    za, zb = 0.8 * torch.randn(2, WORLD * EACH, DIM, generator=generator)
    label = torch.randint(0, 3, (WORLD * EACH,), generator=generator)
    row = torch.arange(WORLD * EACH)
    unknown = {"some": row % 3 == 0, "last": row >= EACH, "none": row >= 0}
    return {"za": za, "zb": zb, "label": label, **{name: label.masked_fill(rows, -1) for name, rows in unknown.items()}}


def evaluate(name: str, rows: slice) -> dict[str, np.ndarray]:
    """Terms, their sum, and its gradient by the embeddings."""
    objective, extra = CASES[name]
    given = {key: value[rows].clone() for key, value in inputs().items()}
    za, zb = given["za"].requires_grad_(), given["zb"].requires_grad_()
    value = objective(za, zb, *(given[key] for key in extra))
    terms = value if isinstance(value, dict) else {"loss": value}
    torch.stack(list(terms.values())).sum().backward()
    return {"za": za.grad.numpy(), "zb": zb.grad.numpy(), **{key: term.detach().numpy() for key, term in terms.items()}}


def work(fabric: object, name: str) -> dict[str, np.ndarray]:
    rank = fabric.global_rank
    return evaluate(name, slice(rank * EACH, (rank + 1) * EACH))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_the_loss_and_gradient_of_one(name: str, pair: Pair) -> None:
    whole, ranks = evaluate(name, slice(None)), pair(work, name)
    for key, expected in whole.items():
        parts = [results[key] for results in ranks]
        both = np.concatenate(parts) / WORLD if key in ("za", "zb") else np.mean(parts)  # gradients are averaged over ranks
        np.testing.assert_allclose(both, expected, atol=1e-6, rtol=1e-4)
