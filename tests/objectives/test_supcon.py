import math

import pytest
import torch

from manyviews.errors import InputError
from manyviews.objectives.infonce import infonce
from manyviews.objectives.supcon import supcon


def slow(za: torch.Tensor, zb: torch.Tensor, label: torch.Tensor, temperature: float) -> float:
    """Eq. (2) of SupCon (the outer sum), anchor by anchor in double precision, as a mean over anchors."""
    z = [row / row.norm() for row in torch.cat([za, zb]).double()]
    y = label.tolist() * 2
    total = 0.0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and y[p] == y[i]]
        below = sum(math.exp(float(z[i] @ z[a]) / temperature) for a in range(len(z)) if a != i)
        total -= sum(math.log(math.exp(float(z[i] @ z[p]) / temperature) / below) for p in positives) / len(positives)
    return total / len(z)


def test_it_is_the_papers_equation() -> None:
    za, zb = torch.randn(2, 7, 5)
    label = torch.tensor([3, 1, 3, 3, 0, 1, 2])
    for temperature in (0.1, 0.7):
        assert math.isclose(float(supcon(za, zb, label, temperature)), slow(za, zb, label, temperature), rel_tol=1e-5)


def test_with_a_class_of_its_own_for_every_sample_it_is_infonce() -> None:
    za, zb = torch.randn(2, 7, 5)
    torch.testing.assert_close(supcon(za, zb, torch.randperm(7)), infonce(za, zb))


def test_names_of_classes_do_not_matter_and_neither_do_order_and_exchange_of_views() -> None:
    za, zb = torch.randn(2, 6, 5)
    label = torch.tensor([0, 1, 0, 2, 1, 0])
    value = supcon(za, zb, label)
    order = torch.randperm(6)
    for other in (supcon(za, zb, 7 - label), supcon(zb, za, label), supcon(za[order], zb[order], label[order])):
        torch.testing.assert_close(other, value)


def test_classes_collapsed_to_orthogonal_points_are_the_best_and_cost_the_logarithm_of_a_class() -> None:
    label = torch.arange(3).repeat(4)  # 3 classes of 4 samples, 8 embeddings each
    z = torch.eye(3)[label]
    assert math.isclose(float(supcon(z, z, label, 0.05)), math.log(7), rel_tol=1e-5)


def test_one_class_alone_and_collapsed_still_has_a_finite_loss_and_gradient() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    value = supcon(z, z, torch.zeros(4, dtype=torch.long))
    value.backward()
    assert math.isclose(float(value), math.log(7), rel_tol=1e-5) and z.grad.isfinite().all()


def test_samples_whose_label_is_not_known_are_left_out_entirely() -> None:
    za, zb = torch.randn(2, 7, 5)
    label = torch.tensor([3, -1, 3, -1, 0, 1, -2])
    known = label >= 0
    za.requires_grad_()
    value = supcon(za, zb, label)
    assert math.isclose(float(value), slow(za[known], zb[known], label[known], 0.1), rel_tol=1e-5)
    value.backward()
    assert not za.grad[~known].any() and (za.grad[known] != 0).any(1).all()


def test_where_no_label_is_known_the_loss_is_zero_with_a_gradient_of_zeros() -> None:
    za, zb = torch.randn(2, 4, 3).requires_grad_()
    value = supcon(za, zb, torch.full((4,), -1))
    (gradient,) = torch.autograd.grad(value, za)
    assert float(value) == 0 and gradient.isfinite().all() and not gradient.any()


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        supcon(torch.randn(4, 3), torch.randn(4, 3), torch.arange(4), temperature=0.0)
