"""Collectives keep gradients right: what two processes compute from halves is what one computes from the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.nn import torchvision_schemas
from manyviews.nn.distributed import BatchNorm, average, gather, rank, rank_mean, synchronise_batch_norm, total, world


def half(x: Tensor) -> Tensor:
    return x.chunk(world())[rank()] if world() > 1 else x


def by_gathering(fabric: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """All rows, and the gradient of the mean over ranks of a loss that compares own rows with everyone's."""
    x = half(x).clone().requires_grad_()
    everyone = gather(x)
    loss = (x @ everyone.T).exp().mean()
    loss.backward()
    return everyone.detach(), x.grad / world()  # type: ignore[operator]


def by_summing(fabric: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = half(x).clone().requires_grad_()
    mean = average(x.mean(0))
    ((x - mean) ** 2 * mean.exp()).mean().backward()
    return total(x.detach().sum(0)), mean.detach(), x.grad / world()  # type: ignore[operator]


def by_normalising(fabric: Any, x: Tensor, axes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    norm = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}[axes](5)
    nn.init.normal_(norm.weight)
    module = nn.Sequential(norm)
    if world() > 1:
        synchronise_batch_norm(module)
    x = half(x).clone().requires_grad_()
    y = module(x)
    y.pow(3).sum(tuple(range(1, axes))).mean().backward()
    return y.detach(), x.grad / world(), norm.running_mean, norm.running_var  # type: ignore[operator,return-value]


def by_agreeing(fabric: Any) -> list[float]:
    return rank_mean(torch.tensor([1.0 + rank(), 3.0]), float(rank() == 1)).tolist()


def test_gathered_rows_are_everyone_s_and_their_gradient_is_the_global_one(pair: Any) -> None:
    x = torch.randn(6, 3)
    rows, gradient = by_gathering(None, x)
    (rows0, g0), (rows1, g1) = pair(by_gathering, x)
    assert torch.equal(rows0, rows) and torch.equal(rows1, rows)
    torch.testing.assert_close(torch.cat([g0, g1]), gradient)


def test_a_gradient_that_others_still_need_is_not_written_over(pair: Any) -> None:
    for gradients in pair(shared_gradient):
        assert torch.equal(*gradients)


def shared_gradient(fabric: Any) -> tuple[Tensor, Tensor]:
    """d(total(x) + x)/dx by one sum, beside the same by two: autograd hands the same tensor to both branches."""
    x = torch.ones(3, requires_grad=True)
    (gather(x[None]).sum(0) * 0 + total(x) + x).backward(torch.ones(3))
    y = torch.ones(3, requires_grad=True)
    total(y).backward(torch.ones(3))
    assert y.grad is not None
    return x.grad, y.grad + 1  # type: ignore[return-value]


def test_sums_over_ranks_are_the_batch_s_and_so_are_their_gradients(pair: Any) -> None:
    x = torch.randn(8, 4)
    whole = by_summing(None, x)
    (sum0, mean0, g0), (_, mean1, g1) = pair(by_summing, x)
    torch.testing.assert_close((sum0, mean0, mean1), (whole[0], whole[1], whole[1]))
    torch.testing.assert_close(torch.cat([g0, g1]), whole[2])


@pytest.mark.parametrize("shape", [(8, 5), (4, 5, 3, 2)])
def test_batch_normalisation_over_two_processes_is_that_of_the_whole_batch(pair: Any, shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape) + 1
    y, gradient, mean, variance = by_normalising(None, x, len(shape))
    (y0, g0, m0, v0), (y1, g1, m1, v1) = pair(by_normalising, x, len(shape))
    torch.testing.assert_close(torch.cat([y0, y1]), y)
    torch.testing.assert_close(torch.cat([g0, g1]), gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((m0, v0), (mean, variance))
    assert torch.equal(m0, m1) and torch.equal(v0, v1)


def test_what_ranks_must_agree_on_is_the_same_on_both(pair: Any) -> None:
    assert pair(by_agreeing) == [[1.5, 3.0, 0.5]] * 2


def test_one_process_gathers_and_sums_nothing() -> None:
    x = torch.randn(3, 2)
    assert gather(x) is x and total(x) is x and (world(), rank()) == (1, 0)
    assert rank_mean(x[0], 1.0).tolist() == [*x[0].tolist(), 1.0]


def test_replacing_batch_normalisation_keeps_names_parameters_buffers_and_fused_activations() -> None:
    torchvision_schemas.declare()
    from timm.layers import BatchNormAct2d

    module = nn.Sequential(nn.Conv2d(3, 5, 1), BatchNormAct2d(5, act_layer=nn.SiLU), nn.Sequential(nn.BatchNorm2d(5)))
    before, parameters = module.state_dict(), list(module.parameters())
    x = torch.randn(4, 3, 2, 2)
    wanted = module.eval()(x)
    synchronise_batch_norm(module)
    assert isinstance(module[1], BatchNorm) and isinstance(module[2][0], BatchNorm)
    assert module.state_dict().keys() == before.keys()
    assert all(a is b for a, b in zip(module.parameters(), parameters, strict=True))
    assert torch.equal(module(x), wanted)
    module[1](F.relu(module[0](x)))
