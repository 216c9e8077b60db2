"""Soft equivariance: projections against averages over the group, products and gates against loops, and strengths against the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.groups import Group, find
from manyviews.symmetry.soft_equivariance import PER, Gates, Products, SoftEquivariantNetwork, SoftLinear, Tensors, automatic

SOME, OTHER = Tensors(2, 2, 1), Tensors(1, 3, 2)
GROUPS = [find(name) for name in ("so2_about_x", "so2_about_z", "o3")]


def soft() -> SoftLinear:
    return SoftLinear(SOME, OTHER, GROUPS).double()


@pytest.mark.parametrize("group", GROUPS[:2], ids=lambda group: group.name)
def test_the_projection_is_the_mean_over_the_group(group: Group) -> None:
    layer = soft()
    angles = torch.arange(8, dtype=torch.float64)[:, None] * (math.pi / 4)  # enough turns, as the maps hold frequencies up to 4
    g = group.exp(angles)
    a, b = SOME.rep(group).matrix(g), OTHER.rep(group).matrix(g)
    weight, bias = layer.projected(group)
    torch.testing.assert_close(weight, (b.mT @ layer.weight @ a).mean(0))
    torch.testing.assert_close(bias, (b.mT @ layer.bias).mean(0))


@pytest.mark.parametrize("name", ["so2_about_x", "o3", "scaling3", "gl3"])
def test_the_projection_commutes_and_is_the_nearest(name: str) -> None:
    group = find(name)
    layer = SoftLinear(SOME, OTHER, [group]).double()
    weight, bias = layer.projected(group)
    g = group.sample(4, torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = SOME.rep(group).matrix(g), OTHER.rep(group).matrix(g)
    torch.testing.assert_close(b @ weight, weight @ a)
    torch.testing.assert_close(b @ bias, bias.expand(4, -1))
    layer.weight.data, rest = weight.detach().clone(), layer.weight.detach() - weight.detach()
    torch.testing.assert_close(layer.projected(group)[0], weight.detach())
    assert abs(float((rest * weight).sum())) < 1e-9  # at right angles: nothing that is allowed is nearer


def test_distances_are_half_the_squared_rest_of_weights_and_biases_summed_over_layers() -> None:
    network = SoftEquivariantNetwork(SOME, OTHER, GROUPS, Tensors(2, 1, 1), 2).double()
    for group, distance in zip(GROUPS, network.distances(), strict=True):
        expected = 0.0
        for layer in network.linear():
            weight, bias = layer.projected(group)
            expected += float(((layer.weight - weight) ** 2).sum() + ((layer.bias - bias) ** 2).sum()) / 2
        assert math.isclose(float(distance), expected, rel_tol=1e-9)
    assert float(network.distances()[2]) > float(network.distances()[1])  # what O(3) allows, each of its parts does


def test_descent_on_one_distance_makes_the_layer_equivariant() -> None:
    network = SoftEquivariantNetwork(SOME, OTHER, GROUPS, Tensors(4, 3, 1), 2).double()
    x = torch.randn(20, SOME.dim(3), dtype=torch.float64)
    before = network.levels(x)["so2_about_z"]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        network.distances()[1].backward()
        optimizer.step()
    after = network.levels(x)
    assert before > 0.05 and after["so2_about_z"] < 1e-6 < 0.01 < after["so2_about_x"]


def test_products_are_those_of_a_loop() -> None:
    layer, x = Products(SOME, 3, 0.7), torch.randn(1, SOME.dim(3))
    s, v, m = (part[0] for part in SOME.parts(x, 3))
    named = {name: p.detach() for name, p in layer.named_parameters()}

    def mix(name: str, side: int, k: int, parts: Tensor) -> Tensor:
        return torch.stack([named[name][side, k, j] * parts[j] for j in range(len(parts))]).sum(0)

    numbers = [s[k] + 0.7 * (mix("dots", 0, k, v) @ mix("dots", 1, k, v) + torch.trace(mix("traces", 0, k, m) @ mix("traces", 1, k, m).T)) for k in range(2)]
    vectors = [v[k] + 0.7 * mix("turned_m", 0, k, m) @ mix("turned_v", 0, k, v) for k in range(2)]
    outer = torch.outer(mix("outers", 0, 0, v), mix("outers", 1, 0, v))
    matrix = m[0] + 0.7 * (outer + mix("matrix_products", 0, 0, m) @ mix("matrix_products", 1, 0, m))
    torch.testing.assert_close(layer(x)[0], torch.cat([torch.stack(numbers), *vectors, matrix.flatten()]))


def test_gates_take_a_number_of_their_own() -> None:
    x = torch.randn(1, SOME.gated().dim(3))
    out = Gates(SOME, 3)(x)[0]
    s, v, m = (part[0] for part in SOME.gated().parts(x, 3))
    expected = [s[:2] * s[:2].sigmoid(), *(v[k] * s[2 + k].sigmoid() for k in range(2)), (m[0] * s[4].sigmoid()).flatten()]
    torch.testing.assert_close(out, torch.cat(expected))


def test_strengths_go_with_the_power_of_the_share_of_the_least_distance() -> None:
    torch.testing.assert_close(automatic(torch.tensor([4.0, 1.0, 2.0]), 2.0), torch.tensor([1 / 16, 1.0, 1 / 4]))
    torch.testing.assert_close(automatic(torch.tensor([0.0, 1.0]), 1.0), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(automatic(torch.tensor([3.0, 1.0]), 0.0), torch.ones(2))


def batch(count: int = 8) -> View:
    return View(torch.randn(count, SOME.dim(3)), torch.arange(count), None, {"target": torch.randn(count, OTHER.dim(3))})


def test_the_loss_is_the_error_and_the_weighed_distances_and_strengths_are_set_once() -> None:
    network, v = SoftEquivariantNetwork(SOME, OTHER, GROUPS, Tensors(2, 1, 1), 1), batch()
    method = PER(network, 3.0, 2.0, 0.1)
    method.progress = 0.0
    terms, distances = method.loss(v), network.distances()
    torch.testing.assert_close(terms["error"], (network(v.x) - v.given["target"]).square().mean())
    torch.testing.assert_close(terms["penalty"], 3 * distances.sum())
    torch.testing.assert_close(terms["size"], 0.05 * sum(layer.weight.square().sum() for layer in network.linear()))
    method.after_step()
    assert torch.equal(method.strengths, torch.full((3,), 3.0))
    method.progress = 0.3
    method.loss(v)
    method.after_step()
    torch.testing.assert_close(method.strengths, 3 * automatic(distances.detach(), 2.0))
    kept = method.strengths.clone()
    method.loss(v)
    method.after_step()
    assert torch.equal(method.strengths, kept) and terms["distance_o3"].requires_grad is False


def test_it_finds_the_axis_about_which_a_function_may_be_turned() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 3)
    y = (x * torch.tensor([1.0, 1.0, 3.0])).square().sum(1, keepdim=True) / 10
    turns = [find(f"so2_about_{axis}") for axis in "xyz"]
    method = PER(SoftEquivariantNetwork(Tensors(0, 1), Tensors(1), turns, Tensors(6, 3, 1), 1), 0.3, 1.0, adjust=0.5)
    optimizer = torch.optim.Adam(method.parameters(), 2e-2)
    for step in range(120):
        method.progress = step / 120
        terms = method.loss(View(x, torch.arange(256), None, {"target": y}))
        optimizer.zero_grad()
        torch.stack([term for term in terms.values() if term.requires_grad]).sum().backward()
        optimizer.step()
        method.after_step()
    assert float(method.strengths[2]) > 2 * float(method.strengths[:2].max())
    assert float(method.network.distances()[2]) < 0.1 * float(method.network.distances()[:2].min())
    levels = method.network.levels(x)
    assert levels["so2_about_z"] < 0.02 < 0.2 < min(levels["so2_about_x"], levels["so2_about_y"])


def test_a_hard_network_keeps_to_its_group_whatever_its_weights() -> None:
    network = SoftEquivariantNetwork(SOME, OTHER, GROUPS, Tensors(4, 3, 1), 2, GROUPS[2]).double()
    levels = network.levels(torch.randn(10, SOME.dim(3), dtype=torch.float64))
    assert max(levels.values()) < 1e-12


def test_candidates_that_change_lengths_have_no_products() -> None:
    network = SoftEquivariantNetwork(SOME, SOME, [find("scaling3"), find("o3")], SOME, 1)
    assert not any(isinstance(layer, Products) for layer in network)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="so2 on 2"):
        SoftLinear(SOME, OTHER, [find("so2"), find("o3")])
    with pytest.raises(InputError, match="no candidate groups"):
        SoftEquivariantNetwork(SOME, OTHER, [])
    with pytest.raises(InputError) as error:
        PER(SoftEquivariantNetwork(SOME, OTHER, GROUPS, SOME, 1), strength=-1.0, adjust=2.0)
    assert "strength=-1.0" in str(error.value) and "adjust=2.0" in str(error.value)
    with pytest.raises(InputError, match="column `target`"):
        PER(SoftEquivariantNetwork(SOME, OTHER, GROUPS, SOME, 1)).loss(View(torch.zeros(2, 17), torch.arange(2)))
