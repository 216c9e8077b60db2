"""Temperatures of samples: against autograd of the robust loss, where they rest, and their limits."""

import math

import pytest
import torch

from manyviews.errors import InputError
from manyviews.nn.individual_temperatures import IndividualTemperatures

SETTINGS = {"rho": 0.4, "temperature": 0.1, "lowest": 0.05, "highest": 1.0, "gamma": 0.8, "beta": 0.5, "step": 0.03, "steepest": 3.0}


def state(samples: int = 30, **settings: float) -> IndividualTemperatures:
    return IndividualTemperatures(samples, **{**SETTINGS, **settings})


def test_without_a_memory_the_gradients_are_those_of_the_robust_loss() -> None:
    side = state(gamma=1.0)
    h, negative, index = torch.randn(5, 8, requires_grad=True), torch.rand(5, 8) < 0.7, torch.arange(5)
    tau = side.temperature[:5].clone().requires_grad_()
    inside = (h / tau[:, None]).masked_fill(~negative, -torch.inf).logsumexp(1) - negative.sum(1).log()
    by_h, by_tau = torch.autograd.grad((tau * (inside + side.rho)).sum(), [h, tau])
    torch.testing.assert_close(torch.autograd.grad(side(h, negative, index).sum(), h)[0], by_h)
    torch.testing.assert_close(side.fresh[0][2], by_tau, rtol=1e-4, atol=1e-4)


def test_a_temperature_rests_where_the_weights_are_rho_away_from_uniform() -> None:
    side, h = state(1, gamma=1.0, rho=0.3), torch.linspace(-0.5, 0.5, 12)[None].requires_grad_()
    for _ in range(150):
        side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0]))
        side.update()
    (weights,) = torch.autograd.grad(side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0])).sum(), h)
    assert 0.06 < float(side.temperature) < 0.9
    assert math.isclose(float((weights * (12 * weights).log()).sum()), 0.3, rel_tol=1e-3)


def test_larger_rho_means_lower_temperatures() -> None:
    h = torch.linspace(-0.5, 0.5, 12)[None]
    rest = []
    for rho in (0.1, 0.2, 0.5):
        side = state(1, rho=rho)
        for _ in range(60):
            side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0]))
            side.update()
        rest.append(float(side.temperature))
    assert rest[0] > rest[1] > rest[2]


def test_extreme_temperatures_weigh_all_negatives_alike_or_only_the_hardest() -> None:
    h, everything = torch.randn(4, 7), torch.ones(4, 7, dtype=torch.bool)
    hot = state(temperature=1e6, highest=1e6)(h, everything, torch.arange(4))
    cold = state(temperature=1e-4, lowest=1e-4)(h, everything, torch.arange(4))
    torch.testing.assert_close(hot, h.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cold, h.max(1).values)
    assert bool(cold.isfinite().all())


def test_temperatures_stay_between_their_bounds() -> None:
    for rho, bound in ((50.0, 0.05), (0.0, 1.0)):
        side, h = state(4, rho=rho, gamma=1.0, step=1.0), torch.randn(4, 6)
        for _ in range(10):
            side(h, torch.ones(4, 6, dtype=torch.bool), torch.arange(4))
            side.update()
        assert side.temperature.tolist() == pytest.approx([bound] * 4)


@pytest.mark.parametrize("wrong", [{"temperature": 0.01}, {"lowest": 0.0}, {"highest": 0.05}, {"gamma": 0.0}, {"beta": 1.5}, {"rho": -1.0}, {"step": -0.1}])
def test_settings_without_meaning_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        state(**wrong)
