import torch
from torch import nn

from manyviews.nn.mlp import mlp


def kinds(network: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in network]


def test_hidden_layers_are_linear_normalised_and_rectified_and_the_last_is_linear() -> None:
    assert kinds(mlp(5, 7, 3)) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert kinds(mlp(5, 7, 7, 3, norm=False)) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert mlp(5, 7, 3)(torch.randn(4, 5)).shape == (4, 3)


def test_only_linear_layers_without_normalisation_have_a_bias() -> None:
    assert [layer.bias is not None for layer in mlp(5, 7, 3) if isinstance(layer, nn.Linear)] == [False, True]
    assert [layer.bias is not None for layer in mlp(5, 7, 3, last_norm=True) if isinstance(layer, nn.Linear)] == [False, False]
    assert [layer.bias is not None for layer in mlp(5, 7, 3, norm=False, last_bias=False) if isinstance(layer, nn.Linear)] == [True, False]
    assert [layer.bias is not None for layer in mlp(5, 7, 3, norm=False, bias=False) if isinstance(layer, nn.Linear)] == [False, False]


def test_a_normalised_output_has_mean_zero_and_variance_one_in_every_dimension() -> None:
    z = mlp(5, 7, 3, last_norm=True, last_affine=False)(torch.randn(64, 5))
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(0, unbiased=False), torch.ones(3), atol=1e-2, rtol=0)


def test_an_output_without_shift_keeps_mean_zero_whatever_is_learned() -> None:
    network = mlp(5, 7, 3, last_norm=True, last_shift=False)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        loss = (network(torch.randn(32, 5)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(network(torch.randn(32, 5)).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert not torch.equal(network[-1].weight, torch.ones(3))
