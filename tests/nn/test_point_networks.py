import itertools

import torch
import torch.nn.functional as F

from manyviews.nn.point_networks import Folding, Graph


@torch.no_grad()
def test_a_graph_of_groups_is_its_loop():
    torch.manual_seed(0)
    net, t, where = Graph(5, 32, 12), torch.randn(2, 9, 5), torch.randn(2, 9, 3)
    found = net(t, where, None)
    for b in range(2):
        x, outs = net.first(t[b]), []
        near = [(where[b] - where[b, i]).norm(dim=1).argsort()[:4].tolist() for i in range(9)]
        for layer in net.edges:
            edges = torch.stack([torch.stack([layer.linear(torch.cat([x[j] - x[i], x[i]])) for j in near[i]]) for i in range(9)])
            x = F.leaky_relu(normalised(edges, layer.norm), 0.2).amax(1)
            outs.append(x)
        last = F.leaky_relu(normalised(net.last.linear(torch.cat(outs, 1)), net.last.norm), 0.2)
        assert torch.allclose(found[b], last, atol=1e-4)


def normalised(x: torch.Tensor, layer: torch.nn.GroupNorm) -> torch.Tensor:
    """Each of four groups of channels, over all rows of a sample, to mean 0 and variance 1."""
    parts = [(p - p.mean()) / (p.var(unbiased=False) + 1e-5).sqrt() for p in x.chunk(4, -1)]
    return torch.cat(parts, -1) * layer.weight + layer.bias


@torch.no_grad()
def test_padding_is_nobodys_neighbour():
    torch.manual_seed(0)
    net, t, where = Graph(5, 32, 12), torch.randn(1, 9, 5), torch.randn(1, 9, 3)
    exists = torch.arange(9)[None] < 7
    other_t, other_where = t.clone(), where.clone()
    other_t[:, 7:], other_where[:, 7:] = 50.0, -3.0
    found = net(t, where, exists)[:, :7]
    assert torch.allclose(found, net(other_t, other_where, exists)[:, :7], atol=1e-4)
    assert torch.allclose(found, net(t[:, :7], where[:, :7], None), atol=1e-4)


@torch.no_grad()
def test_folding_moves_four_points_around_each_coarse_one():
    torch.manual_seed(0)
    net, t = Folding(6, 32, 10).eval(), torch.randn(2, 3, 6)
    coarse, fine = net(t)
    assert coarse.shape == (2, 3, 3, 3) and fine.shape == (2, 3, 12, 3)
    square = list(itertools.product((-0.05, 0.05), repeat=2))
    for b, g, c, s in itertools.product(range(2), range(3), range(3), range(4)):
        seen = torch.cat([t[b, g], torch.tensor(square[s]), coarse[b, g, c]])
        assert torch.allclose(fine[b, g, 4 * c + s], coarse[b, g, c] + net.second(seen[None])[0], atol=1e-5)
