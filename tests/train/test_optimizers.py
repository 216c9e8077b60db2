"""Optimizers against their papers' equations, and the schedules' ends."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from manyviews.contracts import Recipe, Trainable
from manyviews.errors import InputError
from manyviews.train.optimizers import NAMES, build_optimizer, schedule


class Net(Trainable):
    """A matrix, a bias and a frozen layer."""

    def __init__(self, fixed: tuple[str, ...] = ()):
        super().__init__()
        self.body, self.head, self.frozen = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False)
        self.fixed_rate = fixed


def some_steps(name: str, decay: float, count: int = 4) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]], float]:
    """Weights before, between and after real steps with made-up gradients, those gradients, and the rate."""
    net, rate = Net(), 0.3
    recipe = Recipe(optimizer=name, weight_decay=decay, betas=(0.8, 0.95))
    optimizer = build_optimizer(net, recipe, rate)
    weights, gradients = [], []
    for _ in range(count):
        weights.append({key: p.detach().double().clone() for key, p in net.named_parameters()})
        for p in net.parameters():
            p.grad = torch.randn_like(p) if p.requires_grad else None
        gradients.append({key: p.grad.double().clone() for key, p in net.named_parameters() if p.grad is not None})
        optimizer.step()
    weights.append({key: p.detach().double().clone() for key, p in net.named_parameters()})
    return weights, gradients, rate


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_the_paper_with_matrices_adapted_and_biases_left_alone(decay: float) -> None:
    weights, gradients, rate = some_steps("lars", decay)
    momentum = {key: torch.zeros_like(g) for key, g in gradients[0].items()}
    w = {key: t.clone() for key, t in weights[0].items()}
    for k, g in enumerate(gradients):
        for key in g:
            step = g[key]
            if w[key].ndim > 1:
                local = 0.001 * w[key].norm() / (g[key].norm() + decay * w[key].norm())
                step = local * (g[key] + decay * w[key])
            momentum[key] = 0.9 * momentum[key] + step
            w[key] = w[key] - rate * momentum[key]
            torch.testing.assert_close(weights[k + 1][key], w[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_the_paper_with_matrices_adapted_and_biases_left_alone(decay: float) -> None:
    weights, gradients, rate = some_steps("lamb", decay)
    m = {key: torch.zeros_like(g) for key, g in gradients[0].items()}
    v = {key: torch.zeros_like(g) for key, g in gradients[0].items()}
    w = {key: t.clone() for key, t in weights[0].items()}
    for k, g in enumerate(gradients):
        for key in g:
            m[key] = 0.8 * m[key] + 0.2 * g[key]
            v[key] = 0.95 * v[key] + 0.05 * g[key] ** 2
            update = (m[key] / (1 - 0.8 ** (k + 1))) / ((v[key] / (1 - 0.95 ** (k + 1))).sqrt() + 1e-6)
            if w[key].ndim > 1:
                update = update + decay * w[key]
                update = update * w[key].norm() / update.norm()
            w[key] = w[key] - rate * update
            torch.testing.assert_close(weights[k + 1][key], w[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_biases_do_not_decay_and_frozen_weights_do_not_move(name: str) -> None:
    net = Net()
    optimizer = build_optimizer(net, Recipe(optimizer=name, weight_decay=0.5), 0.1)
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    optimizer.step()
    after = dict(net.named_parameters())
    assert torch.equal(after["body.bias"], before["body.bias"]) and torch.equal(after["frozen.weight"], before["frozen.weight"])
    assert float(after["body.weight"].norm()) < float(before["body.weight"].norm())


def test_the_rate_rises_along_a_line_and_falls_along_half_a_cosine() -> None:
    recipe = Recipe(warmup=0.2, final_lr=0.1, weight_decay=0.04, final_weight_decay=0.4)
    optimizer = build_optimizer(Net(), recipe, 2.0)
    rates = {progress: schedule(optimizer, recipe, 2.0, progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)}
    assert rates == pytest.approx({0.0: 0.0, 0.1: 1.0, 0.2: 2.0, 0.6: 1.1, 1.0: 0.2})
    decays = {group["decays"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {True: pytest.approx(0.4), False: 0.0}
    schedule(optimizer, recipe, 2.0, 0.5)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.22)


def test_no_warm_up_is_no_division_by_zero() -> None:
    recipe = Recipe(warmup=0.0)
    assert schedule(build_optimizer(Net(), recipe, 1.0), recipe, 1.0, 0.0) == 1.0
    assert math.isclose(schedule(build_optimizer(Net(), recipe, 1.0), dataclasses.replace(recipe, warmup=1.0), 1.0, 0.5), 0.5)


def test_what_has_a_fixed_rate_keeps_it_from_the_first_step_to_the_last() -> None:
    net, recipe = Net(fixed=("head",)), Recipe(warmup=0.5)
    optimizer = build_optimizer(net, recipe, 0.7)
    for progress in (0.0, 0.3, 1.0):
        rate = schedule(optimizer, recipe, 0.7, progress)
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert rates[id(net.head.weight)] == rates[id(net.head.bias)] == 0.7
        assert rates[id(net.body.weight)] == rates[id(net.body.bias)] == rate


def test_biases_and_normalisations_may_learn_at_a_share_of_the_rate() -> None:
    recipe = Recipe(optimizer="sgd", warmup=0.0, vector_lr=0.024)
    optimizer = build_optimizer(Net(), recipe, 0.2)
    schedule(optimizer, recipe, 0.2, 0.0)
    assert {group["decays"]: group["lr"] for group in optimizer.param_groups} == {True: 0.2, False: pytest.approx(0.0048)}


def test_an_unknown_optimizer_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="lars"):
        build_optimizer(Net(), Recipe(optimizer="larz"), 0.1)
