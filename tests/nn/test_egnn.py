"""EGNN against loops over its equations, its symmetries and its limits."""

import pytest
import torch

from manyviews.groups import check_layer, e3
from manyviews.nn.egnn import EGNN, EGNNLayer


def drawn(batch=2, nodes=4, width=6, edge_channels=2):
    torch.manual_seed(0)
    return (
        torch.randn(batch, nodes, width).double(),
        torch.randn(batch, nodes, 3).double(),
        torch.randn(batch, nodes, 3).double(),
        torch.randn(batch, nodes, nodes, edge_channels).double(),
    )


def test_a_layer_is_the_papers_equations_node_by_node():
    h, x, v, a = drawn()
    layer = EGNNLayer(6, 2, hidden=5).double()
    near = torch.rand(2, 4, 4) < 0.7
    new_h, new_x, new_v = layer(h, x, v, a, near)
    for b in range(2):
        for i in range(4):
            heard, moved, count = torch.zeros(5).double(), torch.zeros(3).double(), 0
            for j in range(4):
                if i == j or not near[b, i, j]:
                    continue
                m = layer.message(torch.cat([h[b, i], h[b, j], (x[b, i] - x[b, j]).square().sum()[None], a[b, i, j]]))
                heard, moved, count = heard + m, moved + (x[b, i] - x[b, j]) * layer.along(m), count + 1
            speed = layer.speed(h[b, i]) * v[b, i] + moved / max(count, 1)
            torch.testing.assert_close(new_v[b, i], speed)
            torch.testing.assert_close(new_x[b, i], x[b, i] + speed)
            torch.testing.assert_close(new_h[b, i], h[b, i] + layer.node(torch.cat([h[b, i], heard])))


def test_every_layer_sees_the_velocities_there_were_at_first():
    h, x, v, a = drawn()
    network = EGNN(6, 8, 3, edge_channels=2).double()
    found = network(h, x, v, a)
    h = network.embed(h)
    for layer in network.layers:
        speed = layer.speed(h)
        h, moved = layer(h, x, None, a)
        new = moved - x + speed * v
        x = x + new
    torch.testing.assert_close(found, (network.last(h), x, new))


@pytest.mark.parametrize("axes", [2, 3])
def test_it_turns_and_moves_with_its_input(axes):
    torch.manual_seed(0)
    for network in (EGNNLayer(4, axes=axes), EGNN(3, 8, 2, axes=axes), EGNN(3, 8, 2, out=5, axes=axes)):
        assert max(check_layer(network).values()) < 1e-3


def test_without_velocities_positions_move_by_the_mean_alone():
    h, x, _, a = drawn()
    layer = EGNNLayer(6, 2).double()
    _, moved = layer(h, x, None, a)
    _, also, _ = layer(h, x, torch.zeros_like(x), a)
    torch.testing.assert_close(moved, also)


def test_the_order_of_nodes_is_only_their_order():
    h, x, v, a = drawn()
    network, order = EGNN(6, 8, 2, edge_channels=2).double(), torch.tensor([2, 0, 3, 1])
    plain = network(h, x, v, a)
    other = network(h[:, order], x[:, order], v[:, order], a[:, order][:, :, order])
    for one, two in zip(plain, other, strict=True):
        torch.testing.assert_close(one[:, order], two)


def test_who_hears_nobody_goes_its_own_way():
    h, x, v, _ = drawn()
    layer = EGNNLayer(6).double()
    near = torch.ones(2, 4, 4, dtype=torch.bool)
    near[:, :, 3] = near[:, 3] = False
    alone = layer(h[:, 3:], x[:, 3:], v[:, 3:])
    rest = layer(h[:, :3], x[:, :3], v[:, :3])
    together = layer(h, x, v, near=near)
    for one, few, every in zip(alone, rest, together, strict=True):
        torch.testing.assert_close(every[:, 3:], one)
        torch.testing.assert_close(every[:, :3], few)


def test_gradients_are_finite_where_nodes_coincide():
    x = torch.zeros(1, 4, 3, requires_grad=True)
    h, moved = EGNN(2, 8, 2)(torch.ones(1, 4, 2), x)
    (h.sum() + moved.square().sum()).backward()
    assert torch.isfinite(x.grad).all()


def test_it_works_under_every_rotation_with_pairs_given():
    h, x, v, a = drawn()
    network = EGNN(6, 8, 3, edge_channels=2).double()
    g = e3.sample(2, torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = network(h, x, v, a)
    seen = network(h, e3.act(g, x), e3.act(g, v, "vectors"), a)
    torch.testing.assert_close(seen[0], expected[0])
    torch.testing.assert_close(seen[1], e3.act(g, expected[1]))
    torch.testing.assert_close(seen[2], e3.act(g, expected[2], "vectors"))
