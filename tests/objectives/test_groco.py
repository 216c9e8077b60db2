import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gloo_pair import Pair

from manyviews.errors import InputError
from manyviews.objectives.groco import _probability_of_upper, groco


def slow_permutation(x: torch.Tensor, steepness: float) -> torch.Tensor:
    """The soft permutation of the odd-even network, one comparison after the other: entry i is put to place j by the share [i, j]."""
    values, p = list(x), torch.eye(len(x), dtype=x.dtype)
    for layer in range(len(x)):
        for a in range(layer % 2, len(x) - 1, 2):
            keep = torch.atan(steepness * (values[a + 1] - values[a])) / math.pi + 0.5
            swap = torch.eye(len(x), dtype=x.dtype)
            swap[[a, a + 1], [a, a + 1]] = keep
            swap[[a, a + 1], [a + 1, a]] = 1 - keep
            values[a], values[a + 1] = keep * values[a] + (1 - keep) * values[a + 1], (1 - keep) * values[a] + keep * values[a + 1]
            p = p @ swap
    return p


def slow(za: torch.Tensor, zb: torch.Tensor, negatives: int = 10, steepness: float = 1.0, stop_gradient: bool = True) -> torch.Tensor:
    """The paper's loss, one anchor after the other, in double precision: both groups' cross-entropies, averaged."""
    total = torch.zeros((), dtype=torch.double)
    for anchors, others in ((za.double(), zb.double()), (zb.double(), za.double())):
        same = anchors.detach() if stop_gradient else anchors
        others = others.detach() if stop_gradient else others
        for i, anchor in enumerate(anchors):
            cosines = [F.cosine_similarity(anchor, same[j], dim=0) for j in range(len(anchors)) if j != i]
            hardest = sorted(cosines, key=float)[-negatives:]
            x = torch.stack([*hardest, F.cosine_similarity(anchor, others[i], dim=0)])
            p = slow_permutation(x, steepness)
            k = len(hardest)
            for columns in (slice(None, k), slice(k, None)):
                target = torch.zeros(k + 1, dtype=torch.double)
                target[columns] = 1
                total = total + F.binary_cross_entropy(p[:, columns].sum(1).clamp(0, 1), target) / 2
    return total / (2 * len(za))


@pytest.mark.parametrize("settings", [{}, {"negatives": 3}, {"negatives": 4, "steepness": 7.0}, {"negatives": 2, "stop_gradient": False}])
def test_value_and_gradient_are_those_of_the_papers_loss(settings: dict) -> None:
    z = torch.randn(2, 6, 5, requires_grad=True)
    value, expected = groco(*z, **settings), slow(*z, **settings)
    assert math.isclose(value.item(), expected.item(), rel_tol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(value, z)[0], torch.autograd.grad(expected, z)[0], rtol=1e-4, atol=1e-6)


def test_by_default_the_ten_hardest_negatives_are_sorted_and_only_the_anchor_moves() -> None:
    z = torch.randn(2, 14, 5, requires_grad=True)
    value = groco(*z)
    assert torch.equal(value, groco(*z, negatives=10, steepness=1.0, stop_gradient=True)) and not torch.equal(value, groco(*z, negatives=9))
    assert not torch.allclose(torch.autograd.grad(value, z)[0], torch.autograd.grad(groco(*z, stop_gradient=False), z)[0], rtol=1e-2)


def test_with_one_negative_it_is_the_cauchy_probability_that_the_hardest_is_less_similar() -> None:
    za, zb = F.normalize(torch.randn(2, 7, 5), dim=2)
    expected = 0.0
    for a, b in ((za, zb), (zb, za)):
        for i in range(7):
            hardest = max(float(a[i] @ a[j]) for j in range(7) if j != i)
            expected -= math.log(0.5 + math.atan(3 * (float(a[i] @ b[i]) - hardest)) / math.pi) / 14
    assert math.isclose(groco(za, zb, negatives=1, steepness=3.0).item(), expected, rel_tol=1e-5)


def test_a_steep_network_sorts_exactly() -> None:
    x = torch.rand(11, 20)
    above = _probability_of_upper(x, 8, steepness=1e7)
    torch.testing.assert_close(above, (x.argsort(0).argsort(0) >= 8).float(), atol=1e-3, rtol=0)


def test_what_is_put_above_always_fills_the_places_above() -> None:
    for entries, below in ((2, 1), (5, 4), (6, 2), (11, 10)):
        above = _probability_of_upper(torch.randn(entries, 9), below, steepness=2.0)
        assert bool((above >= 0).all() and (above <= 1).all())
        torch.testing.assert_close(above.sum(0), torch.full((9,), float(entries - below)))


def test_groups_in_order_cost_nothing_when_steep_and_groups_in_disorder_cost_much() -> None:
    z = torch.eye(6)
    assert groco(z, z, steepness=1e6).item() < 1e-5
    one = F.normalize(z + 10, dim=1)  # samples of a view are nearly equal, its two views are orthogonal
    assert groco(one, torch.cat([-one[:, :3], one[:, 3:]], 1), steepness=1e6).item() > 2


def test_exchanging_the_views_reordering_the_batch_scaling_and_rotating_change_nothing() -> None:
    za, zb = torch.randn(2, 6, 5)
    order, (rotation, _) = torch.randperm(6), torch.linalg.qr(torch.randn(5, 5))
    scale = torch.rand(6, 1) + 0.1
    for other in (groco(zb, za), groco(za[order], zb[order]), groco(scale * za, zb), groco(za @ rotation, zb @ rotation)):
        torch.testing.assert_close(other, groco(za, zb))


def test_a_step_against_the_gradient_brings_partners_together() -> None:
    za, zb = torch.randn(2, 6, 5)
    za.requires_grad_()
    groco(za, zb).backward()
    torch.testing.assert_close((za.grad * za).sum(1), torch.zeros(6), atol=1e-6, rtol=0)
    nearer = (za - za.grad).detach()
    assert groco(nearer, zb) < groco(za.detach(), zb)
    assert F.cosine_similarity(nearer, zb).mean() > F.cosine_similarity(za, zb).mean()


def test_a_small_batch_sorts_what_there_is() -> None:
    for n in (2, 3, 6):
        za, zb = torch.randn(2, n, 5)
        assert torch.equal(groco(za, zb, negatives=10), groco(za, zb, negatives=n - 1))


def test_settings_without_meaning_are_refused() -> None:
    za, zb = torch.randn(2, 4, 3)
    with pytest.raises(InputError, match="negatives 0"):
        groco(za, zb, negatives=0)
    with pytest.raises(InputError, match="steepness -1"):
        groco(za, zb, steepness=-1.0)


def evaluate(rows: slice, stop_gradient: bool) -> tuple[float, np.ndarray]:
    z = torch.randn(2, 10, 4, generator=torch.Generator().manual_seed(3))[:, rows].clone().requires_grad_()
    value = groco(z[0], z[1], negatives=6, stop_gradient=stop_gradient)
    value.backward()
    return value.item(), z.grad.numpy()


def work(fabric: object, stop_gradient: bool) -> tuple[float, np.ndarray]:
    return evaluate(slice(5 * fabric.global_rank, 5 * fabric.global_rank + 5), stop_gradient)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_two_processes_sort_the_negatives_of_both(stop_gradient: bool, pair: Pair) -> None:
    value, gradient = evaluate(slice(None), stop_gradient)
    (value0, gradient0), (value1, gradient1) = pair(work, stop_gradient)
    assert math.isclose((value0 + value1) / 2, value, rel_tol=1e-5)
    np.testing.assert_allclose(np.concatenate([gradient0, gradient1], 1) / 2, gradient, atol=1e-6, rtol=1e-4)
