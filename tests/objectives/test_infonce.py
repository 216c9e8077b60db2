import math

import pytest
import torch
import torch.nn.functional as F

from manyviews.errors import InputError
from manyviews.objectives.infonce import each, infonce


def slow(za: torch.Tensor, zb: torch.Tensor, temperature: float) -> float:
    """Eq. (1) of SimCLR, one pair after the other, in double precision."""
    z = [row / row.norm() for pair in zip(za.double(), zb.double(), strict=True) for row in pair]  # partners are 2k and 2k + 1
    total = 0.0
    for i in range(len(z)):
        j = i ^ 1
        others = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(len(z)) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[j]) / temperature) / others)
    return total / len(z)


def test_it_is_the_papers_equation() -> None:
    za, zb = torch.randn(2, 6, 5)
    for temperature in (0.1, 0.5, 1.0):
        assert math.isclose(float(infonce(za, zb, temperature)), slow(za, zb, temperature), rel_tol=1e-5)


def test_the_default_temperature_is_that_of_imagenet() -> None:
    za, zb = torch.randn(2, 6, 5)
    assert torch.equal(infonce(za, zb), infonce(za, zb, temperature=0.1))


def test_exchanging_the_views_reordering_the_batch_scaling_and_rotating_change_nothing() -> None:
    za, zb = torch.randn(2, 6, 5)
    value = infonce(za, zb)
    order = torch.randperm(6)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5))
    scale = torch.rand(6, 1) + 0.1
    for other in (infonce(zb, za), infonce(za[order], zb[order]), infonce(scale * za, zb), infonce(za @ rotation, zb @ rotation)):
        torch.testing.assert_close(other, value)


def test_collapsed_embeddings_cost_the_logarithm_of_the_number_of_others() -> None:
    z = torch.ones(8, 5)
    assert math.isclose(float(infonce(z, z)), math.log(15), rel_tol=1e-5)


def test_orthogonal_samples_with_equal_views_cost_what_the_temperature_says() -> None:
    z = torch.eye(4)
    for temperature in (0.1, 0.5):
        expected = math.log(1 + 6 * math.exp(-1 / temperature))
        assert math.isclose(float(infonce(z, z, temperature)), expected, rel_tol=1e-4, abs_tol=1e-6)


def test_the_gradient_pulls_partners_together_and_has_no_radial_part() -> None:
    za, zb = torch.randn(2, 6, 5)
    za.requires_grad_()
    infonce(za, zb, 0.5).backward()
    torch.testing.assert_close((za.grad * za).sum(1), torch.zeros(6), atol=1e-6, rtol=0)
    nearer = (za - 0.1 * za.grad).detach()
    assert infonce(nearer, zb, 0.5) < infonce(za.detach(), zb, 0.5)
    assert F.cosine_similarity(nearer, zb).mean() > F.cosine_similarity(za, zb).mean()


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        infonce(torch.randn(4, 3), torch.randn(4, 3), temperature=0.0)


def test_the_losses_of_the_pairs_have_the_objective_as_their_mean_and_belong_to_their_pairs() -> None:
    za, zb = torch.randn(2, 6, 5)
    losses = each(za, zb, 0.5)
    torch.testing.assert_close(losses.mean(), infonce(za, zb, 0.5))
    zb[2] = za[2]  # this pair agrees perfectly now
    assert each(za, zb, 0.5)[2] < losses[2]
    order = torch.randperm(6)
    torch.testing.assert_close(each(za[order], zb[order], 0.5), each(za, zb, 0.5)[order])
