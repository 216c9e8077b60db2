import math

import torch

from manyviews.objectives.barlow_twins import barlow_twins


def slow(za: torch.Tensor, zb: torch.Tensor, weight: float) -> tuple[float, float]:
    """Eq. (1) and (2), entry by entry in double precision."""
    n, d = za.shape
    a, b = za.double() - za.double().mean(0), zb.double() - zb.double().mean(0)
    on = off = 0.0
    for i in range(d):
        for j in range(d):
            above = sum(float(a[k, i] * b[k, j]) for k in range(n))
            below = math.sqrt(sum(float(a[k, i]) ** 2 for k in range(n)) * sum(float(b[k, j]) ** 2 for k in range(n)))
            if i == j:
                on += (1 - above / below) ** 2
            else:
                off += (above / below) ** 2
    return on, weight * off


def test_it_is_the_papers_equations() -> None:
    za, zb = torch.randn(2, 16, 5)
    for weight in (0.0051, 1.0):
        terms = barlow_twins(za, zb, weight)
        on, off = slow(za, zb, weight)
        assert math.isclose(float(terms["invariance"]), on, rel_tol=1e-3) and math.isclose(float(terms["redundancy"]), off, rel_tol=1e-3)


def test_the_default_weight_is_the_papers() -> None:
    za, zb = torch.randn(2, 16, 5)
    assert torch.equal(barlow_twins(za, zb)["redundancy"], barlow_twins(za, zb, 0.0051)["redundancy"])


def test_scale_and_shift_of_a_dimension_exchange_of_views_and_order_change_nothing() -> None:
    za, zb = torch.randn(2, 16, 5)
    value = barlow_twins(za, zb)
    order = torch.randperm(16)
    changed = (za * torch.tensor([1.0, 2, 3, 4, 5]) + 7, zb)
    for other in (barlow_twins(*changed), barlow_twins(zb, za), barlow_twins(za[order], zb[order])):
        for name, term in value.items():
            torch.testing.assert_close(other[name], term, atol=1e-4, rtol=1e-3)


def test_uncorrelated_dimensions_with_equal_views_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert float(sum(barlow_twins(z, z).values())) < 1e-8


def test_one_dimension_repeated_costs_all_the_redundancy_there_is() -> None:
    z = torch.randn(64, 1).expand(64, 4)
    terms = barlow_twins(z, z, 1.0)
    assert math.isclose(float(terms["redundancy"]), 12, rel_tol=1e-3) and float(terms["invariance"]) < 1e-6


def test_collapse_to_a_point_costs_one_a_dimension_and_has_a_finite_gradient() -> None:
    z = torch.full((8, 4), 0.3, requires_grad=True)
    terms = barlow_twins(z, z)
    sum(terms.values()).backward()
    assert math.isclose(float(terms["invariance"]), 4, rel_tol=1e-4) and z.grad.isfinite().all()
