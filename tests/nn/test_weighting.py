import pytest
import torch

from manyviews.nn.weighting import weighted_mean


def test_without_weights_and_with_equal_ones_it_is_the_mean() -> None:
    x = torch.randn(7)
    torch.testing.assert_close(weighted_mean(x), x.mean())
    torch.testing.assert_close(weighted_mean(x, torch.full((7,), 3.0)), x.mean())


def test_whole_weights_count_as_copies() -> None:
    x = torch.tensor([1.0, 5.0, 2.0])
    torch.testing.assert_close(weighted_mean(x, torch.tensor([2.0, 0.0, 1.0])), torch.tensor([1.0, 1.0, 2.0]).mean())


def test_exponentials_as_weights_are_a_softmax_times_the_batch() -> None:
    x, q = torch.randn(2, 9)
    torch.testing.assert_close(weighted_mean(x, q.exp()), (q.softmax(0) * len(q) * x).mean())


def test_values_get_their_share_of_the_gradient_and_weights_get_none() -> None:
    x, weight = torch.randn(4, requires_grad=True), torch.tensor([1.0, 3.0, 0.0, 4.0], requires_grad=True)
    weighted_mean(x, weight).backward()
    torch.testing.assert_close(x.grad, torch.tensor([1 / 8, 3 / 8, 0.0, 1 / 2]))
    assert weight.grad is None


def test_all_weights_zero_give_zero_and_no_nan() -> None:
    assert float(weighted_mean(torch.randn(4), torch.zeros(4))) == 0


def on_its_rank(fabric: object, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    own = slice(3 * fabric.global_rank, 3 * fabric.global_rank + 3)  # type: ignore[attr-defined]
    part = x[own].clone().requires_grad_()
    value = weighted_mean(part, weight[own])
    value.backward()
    return value.detach(), part.grad / 2  # as DDP averages


def test_two_processes_have_the_mean_and_the_gradient_of_one(pair) -> None:
    x, weight = torch.randn(6), torch.rand(6) + torch.tensor([0.0, 0, 0, 5, 5, 5])
    whole = x.clone().requires_grad_()
    value = weighted_mean(whole, weight)
    value.backward()
    (a, first), (b, second) = pair(on_its_rank, x, weight)
    torch.testing.assert_close((a + b) / 2, value.detach())
    torch.testing.assert_close(torch.cat([first, second]), whole.grad)
    assert a != pytest.approx(b)
