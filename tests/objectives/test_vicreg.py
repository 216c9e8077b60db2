import math

import torch

from manyviews.objectives.vicreg import vicreg


def slow(za: torch.Tensor, zb: torch.Tensor) -> tuple[float, float, float]:
    """Invariance (mean over samples and dimensions), variance (mean of the branches) and covariance (sum of the branches), unweighted, entry by entry."""
    n, d = za.shape
    a, b = za.double().tolist(), zb.double().tolist()
    invariance = sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    variance = covariance = 0.0
    for z in (a, b):
        mean = [sum(z[i][j] for i in range(n)) / n for j in range(d)]
        c = [[sum((z[i][j] - mean[j]) * (z[i][k] - mean[k]) for i in range(n)) / (n - 1) for k in range(d)] for j in range(d)]
        variance += sum(max(0.0, 1 - math.sqrt(c[j][j] + 1e-4)) for j in range(d)) / d / 2
        covariance += sum(c[j][k] ** 2 for j in range(d) for k in range(d) if j != k) / d
    return invariance, variance, covariance


def test_it_is_the_papers_three_terms_with_their_weights() -> None:
    za, zb = 0.7 * torch.randn(2, 9, 4)
    terms = vicreg(za, zb)
    invariance, variance, covariance = slow(za, zb)
    assert math.isclose(float(terms["invariance"]), 25 * invariance, rel_tol=1e-5)
    assert math.isclose(float(terms["variance"]), 25 * variance, rel_tol=1e-4)
    assert math.isclose(float(terms["covariance"]), covariance, rel_tol=1e-4)


def test_each_weight_scales_its_own_term() -> None:
    za, zb = torch.randn(2, 9, 4)
    ones, weighted = vicreg(za, zb, 1.0, 1.0, 1.0), vicreg(za, zb, 2.0, 3.0, 5.0)
    for name, weight in (("invariance", 2.0), ("variance", 3.0), ("covariance", 5.0)):
        torch.testing.assert_close(weighted[name], weight * ones[name])


def test_exchanging_the_views_and_shifting_both_change_nothing() -> None:
    za, zb = torch.randn(2, 9, 4)
    value = vicreg(za, zb)
    for other in (vicreg(zb, za), vicreg(za + 3, zb + 3)):
        for name, term in value.items():
            torch.testing.assert_close(other[name], term, atol=1e-4, rtol=1e-4)


def test_collapse_to_a_point_is_seen_by_the_variance_alone() -> None:
    z = torch.full((8, 4), 0.3)
    terms = vicreg(z, z)
    assert math.isclose(float(terms["variance"]), 25 * (1 - 0.01), rel_tol=1e-5)
    assert float(terms["invariance"]) < 1e-12 and float(terms["covariance"]) < 1e-12


def test_collapse_to_a_line_is_seen_by_the_covariance_alone() -> None:
    z = torch.randn(64, 1).expand(64, 4) * 2
    terms = vicreg(z, z)
    assert float(terms["variance"]) == 0 and float(terms["covariance"]) > 1


def test_white_embeddings_of_unit_variance_cost_nothing() -> None:
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 2  # orthogonal columns, mean 0
    assert float(sum(vicreg(signs, signs).values())) == 0


def test_from_collapse_the_gradient_is_finite() -> None:
    z = torch.zeros(6, 4, requires_grad=True)
    sum(vicreg(z, z + 0).values()).backward()
    assert z.grad.isfinite().all()
