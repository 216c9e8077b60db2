"""The linear probes and their solver against scikit-learn, NumPy and a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import manyviews.evaluate.linear as module
from manyviews.errors import InputError
from manyviews.evaluate.lbfgs import minimize
from manyviews.evaluate.linear import cross_entropy, fit, linear
from manyviews.evaluate.linear_sgd import descend, linear_sgd
from manyviews.evaluate.scores import Labelled


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that products in bfloat16 are what they say, on any machine."""
    monkeypatch.setattr(module, "has_bf16", lambda device: True)


def clustered(rows: int, dim: int = 12, classes: int = 4, seed: int = 0, spread: float = 1.5) -> Labelled:
    """Classes that overlap, in features that are correlated and of very different sizes."""
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(7)) * torch.logspace(-1, 1, dim)
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % classes
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(8))
    return Labelled((means[y] + spread * torch.randn(rows, dim, generator=g)) @ mix, y, classes)


def standardised(data: Labelled) -> Labelled:
    return Labelled((data.x - data.x.mean(0)) / data.x.std(0, correction=0), data.y, data.classes)


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [300, 9])  # 9: fewer than features
def test_weights_equal_those_of_scikit_learn(rows: int, products: torch.dtype) -> None:
    from sklearn.linear_model import LogisticRegression

    train = standardised(clustered(rows))
    found = fit(train, (1e-2,), products, tolerance=5e-6)[0]  # gradients of float32 come no nearer than 4e-6 on some processors
    theirs = LogisticRegression(C=1 / (1e-2 * rows), tol=1e-9, max_iter=10_000).fit(train.x.double().numpy(), train.y.numpy())
    assert found.converged
    np.testing.assert_allclose(found.weight.T.numpy(), theirs.coef_, atol=2e-3)  # the bound is gradient / penalty, 5e-4 in norm
    np.testing.assert_allclose((found.bias - found.bias.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-3)


def test_hardware_without_bfloat16_goes_all_the_way_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    train = clustered(200)
    expected = fit(train, (1e-2,))[0]
    monkeypatch.setattr(module, "has_bf16", lambda device: False)
    assert torch.equal(fit(train, (1e-2,), torch.bfloat16)[0].weight, expected.weight)


def test_value_and_gradient_equal_autograd_in_float64_for_each_penalty() -> None:
    train = clustered(50)
    w = torch.randn(2, 13, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    penalties = torch.tensor([0.1, 3.0])
    value, gradient = cross_entropy(train.x, train.y, penalties)(w, torch.arange(2))
    leaf = w.double().requires_grad_()
    logits = train.x.double() @ leaf[:, :-1] + leaf[:, -1:]
    loss = -torch.log_softmax(logits, -1)[:, torch.arange(50), train.y].mean(1) + penalties / 2 * leaf[:, :-1].square().sum((1, 2))
    loss.sum().backward()
    torch.testing.assert_close(value, loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), leaf.grad, rtol=1e-4, atol=1e-5)


def test_problems_solved_together_equal_problems_solved_alone() -> None:
    train = clustered(200)
    together = fit(train, (1e-3, 1e-1, 1.0), tolerance=1e-6)
    for one in together:
        torch.testing.assert_close(one.weight, fit(train, (one.penalty,), tolerance=1e-6)[0].weight, atol=2e-3, rtol=0)
    norms = [float(one.weight.norm()) for one in together]
    assert norms == sorted(norms, reverse=True)


def test_shifting_and_scaling_a_feature_changes_no_prediction() -> None:
    train, test = clustered(200), clustered(100, seed=1)
    moved = [Labelled((d.x + 5) * torch.logspace(-3, 3, 12), d.y, 4) for d in (train, test)]
    a, b = (fit(d, (1e-2,), tolerance=1e-6)[0] for d in (train, moved[0]))
    assert torch.equal(a.predict(test.x), b.predict(moved[1].x))


def test_a_constant_feature_does_no_harm() -> None:
    train = clustered(100)
    with_constant = Labelled(torch.cat([train.x, torch.full((100, 1), 3.3)], 1), train.y, 4)
    assert fit(with_constant, (0.1,))[0].weight.isfinite().all()


def test_the_penalty_is_chosen_on_validation_rows_where_there_are_any() -> None:
    """Wrong training labels ask for a large penalty; validation rows with the same wrong labels ask for a small one."""
    g = torch.Generator().manual_seed(0)
    true = torch.arange(100) % 2
    x = torch.randn(100, 60, generator=g)
    x[:, 0] += 2 * (2 * true - 1)
    train = Labelled(x, torch.where(torch.rand(100, generator=g) < 0.3, 1 - true, true), 2)
    assert linear(train, train).penalty < linear(train, Labelled(x, true, 2)).penalty


def test_without_two_rows_of_a_class_nothing_can_be_chosen() -> None:
    with pytest.raises(InputError, match="held out"):
        linear(Labelled(torch.randn(3, 4), torch.arange(3), 3))


def test_features_that_are_not_finite_are_refused() -> None:
    x = torch.randn(5, 3)
    x[2, 1], x[4, 0] = torch.nan, torch.inf
    with pytest.raises(InputError, match="2 of 5 feature vectors are not finite"):
        Labelled(x, torch.zeros(5, dtype=torch.int64), 1)


def test_quadratics_are_minimized_each_with_its_own_scale() -> None:
    g = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, 6, generator=g)
    hessian = root @ root.mT + 0.1 * torch.eye(6)
    hessian *= torch.tensor([1.0, 100.0, 0.01])[:, None, None]
    target = torch.randn(3, 6, generator=g)

    def objective(w: torch.Tensor, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        slope = (hessian[which] @ (w - target[which])[..., None])[..., 0]
        return 0.5 * ((w - target[which]) * slope).sum(1).double(), slope

    found = minimize(objective, torch.zeros(3, 6), tolerance=1e-4)
    assert found.converged.all()
    torch.testing.assert_close(found.w[1], target[1], atol=1e-3, rtol=0)
    plain = minimize(objective, torch.zeros(3, 6), tolerance=1e-4, precondition=lambda s, which: torch.linalg.solve(hessian[which], s))
    assert plain.evaluations <= 3, "with the inverse Hessian it is Newton's method, one step"


def test_rosenbrock_valley_is_followed_to_its_end() -> None:
    def objective(w: torch.Tensor, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = w.double().requires_grad_()
            value = (1 - leaf[:, 0]) ** 2 + 100 * (leaf[:, 1] - leaf[:, 0] ** 2) ** 2
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope.float()

    found = minimize(objective, torch.tensor([[-1.2, 1.0], [2.0, 2.0]]), tolerance=1e-4)
    torch.testing.assert_close(found.w, torch.ones(2, 2), atol=1e-2, rtol=0)


def test_sgd_follows_a_slow_loop_with_momentum_and_drops() -> None:
    train = Labelled(clustered(20, 3, 2).x / 5, torch.arange(20) % 2, 2)
    heads = descend(train, (0.1, 0.5), seed=3, epochs=5, batch=8)
    for h, rate in enumerate(heads.rates):
        layer = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)
        generator = torch.Generator().manual_seed(3)
        for epoch in range(5):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 if epoch < 3 else 0.1 if epoch < 4 else 0.01)
            for rows in torch.randperm(20, generator=generator).split(8):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(layer(train.x[rows]), train.y[rows]).backward()
                optimizer.step()
        torch.testing.assert_close(heads.weight[h, :-1].T, layer.weight.detach(), atol=1e-5, rtol=1e-4)


def test_sgd_takes_a_rate_that_does_not_diverge() -> None:
    train, test = clustered(200, spread=0.5), clustered(100, seed=1, spread=0.5)
    heads = linear_sgd(Labelled(train.x * 100, train.y, 4), rates=(1e4, 1e-6), epochs=20)
    assert float((heads.predict(test.x * 100)[0] == test.y).float().mean()) > 0.6
