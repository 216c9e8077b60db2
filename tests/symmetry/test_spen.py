"""SPEN: its maps against the space of all that permutations commute with, its neighbourhoods against a search, and networks on renumbered graphs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.data.graph_batch import Graph, Graphs, Union
from manyviews.errors import InputError
from manyviews.groups import find, intertwiners, standard, trivial
from manyviews.symmetry.spen import OPERATIONS, SPEN, PermutationLinear, neighbourhoods


def ring(n: int, *skips: int, shift: int = 0) -> np.ndarray:
    """Edges of a ring with chords, in both directions."""
    a = np.arange(n)
    one = np.concatenate([np.stack([a, (a + s) % n]) for s in (1, *skips)], 1) + shift
    return np.unique(np.concatenate([one, one[::-1]], 1), axis=1)


def batch(*graphs: tuple[int, np.ndarray], channels: int = 2, seed: int = 0) -> Graphs:
    rng = np.random.default_rng(seed)
    return Union(channels)([Graph(rng.normal(size=(n, channels)).astype(np.float32), edges) for n, edges in graphs])


def alike(graphs: Graphs) -> Graphs:
    return Graphs(torch.ones(len(graphs.x), 1), graphs.edges, graphs.owner, graphs.number, graphs.graphs)


def renumbered(graphs: Graphs, order: Tensor) -> Graphs:
    """Node i as order[i], within each graph, and the edges in another order."""
    back, edges = order.argsort(), order[graphs.edges]
    return Graphs(graphs.x[back], edges[:, torch.randperm(edges.shape[1])], graphs.owner, graphs.number, graphs.graphs)


def embed(encoder: SPEN, graphs: Graphs) -> Tensor:
    with torch.no_grad():
        return encoder.double().eval()(
            View(Graphs(graphs.x.double(), *[getattr(graphs, k) for k in ("edges", "owner", "number", "graphs")]), torch.arange(len(graphs)))
        )


@pytest.mark.parametrize(("source", "target"), OPERATIONS)
def test_the_maps_are_all_that_permutations_commute_with(source: int, target: int) -> None:
    n = 5
    group = find("s5")
    rep = {0: trivial(group), 1: standard(group), 2: standard(group) * standard(group)}
    every = intertwiners(rep[source], rep[target])
    layer = PermutationLinear(source, target, 1, 1).double()
    units = torch.eye(n**source, dtype=torch.float64).view(-1, *[n] * source, 1)
    found = []
    for k in range(OPERATIONS[source, target]):
        layer.weight.data.zero_()
        layer.weight.data[0, k] = 1
        found.append(layer(units).reshape(n**source, -1).T)
    ours, theirs = torch.stack(found).flatten(1), every.flatten(1)
    assert len(theirs) == len(ours) == int(torch.linalg.matrix_rank(ours))
    torch.testing.assert_close(ours @ theirs.T @ theirs, ours)


def test_pairs_to_pairs_is_the_sum_of_fifteen_terms() -> None:
    layer, x = PermutationLinear(2, 2, 1, 1), torch.randn(1, 4, 4, 1)
    layer.bias.data = torch.tensor([[[0.3], [0.7]]])
    w, m = layer.weight.detach()[0, :, 0, 0].tolist(), x[0, :, :, 0]
    r, c, d = m.mean(1), m.mean(0), m.diagonal()
    for i, j in itertools.product(range(4), repeat=2):
        terms = [m[i, j], m[j, i], d[i], r[i], c[i], d[j], r[j], c[j], m.mean(), d.mean()]
        value = sum(a * float(t) for a, t in zip(w, terms, strict=False)) + 0.3
        if i == j:
            value += sum(a * float(t) for a, t in zip(w[10:], [d[i], r[i], c[i], m.mean(), d.mean()], strict=True)) + 0.7
        assert abs(float(layer(x)[0, i, j, 0]) - value) < 1e-5


@pytest.mark.parametrize("hops", [0, 1, 2, 3])
def test_neighbourhoods_are_what_a_search_finds(hops: int) -> None:
    graphs = batch((7, ring(7)[:, :9]), (5, np.zeros((2, 0), int)), (6, ring(6, 2)))
    hoods = neighbourhoods(graphs, hops)
    near = {v: {v} for v in range(18)}
    for _ in range(hops):
        steps = {(int(a), int(b)) for a, b in graphs.edges.T} | {(int(b), int(a)) for a, b in graphs.edges.T}
        near = {v: near[v] | {b for a, b in steps if a in near[v]} for v in near}
    expected = near if hops else {g: {v for v in range(18) if int(graphs.owner[v]) == g} for g in range(3)}
    found = {int(r): set(nodes.tolist()) for rows, many in zip(hoods.rows, hoods.nodes, strict=True) for r, nodes in zip(rows, many, strict=True)}
    assert found == expected and hoods.held == sum(len(s) ** 2 for s in expected.values())
    for nodes, pairs in zip(hoods.nodes, hoods.pairs, strict=True):
        assert torch.equal(hoods.ends[0][pairs], nodes[:, :, None].expand_as(pairs)) and torch.equal(hoods.ends[1][pairs], nodes[:, None].expand_as(pairs))
    assert len(hoods.ends.T.unique(dim=0)) == hoods.ends.shape[1]


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_renumbering_nodes_and_exchanging_edges_changes_nothing(hops: int) -> None:
    graphs = batch((9, ring(9, 3)), (6, ring(6)), (1, np.zeros((2, 0), int)), (8, ring(8)[:, :10]))
    encoder = SPEN(2, 4, 3, hops, (2, 4))
    order = torch.cat([torch.randperm(n) + start for n, start in ((9, 0), (6, 9), (1, 15), (8, 16))])
    one, other = embed(encoder, graphs), embed(encoder, renumbered(graphs, order))
    assert one.shape == (4, 8) and float(one.std(0).min()) > 1e-6
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_graph_is_the_same_beside_others_and_alone() -> None:
    encoder, both = SPEN(2, 4, 2), batch((6, ring(6)), (5, ring(5)))
    alone = Graphs(both.x[:6], both.edges[:, both.edges[0] < 6], both.owner[:6], both.number[:6], 1)
    torch.testing.assert_close(embed(encoder, both)[:1], embed(encoder, alone))


def test_nodes_as_samples_are_their_own_neighbourhoods() -> None:
    graphs = batch((9, ring(9, 3)))
    roots = torch.tensor([4, 2])
    seen = Graphs(graphs.x, graphs.edges, graphs.owner, graphs.number, 1, roots)
    encoder = SPEN(2, 4, 2).eval()
    torch.testing.assert_close(encoder(View(seen, torch.arange(2))), encoder.of_neighbourhoods(graphs)[roots])
    with pytest.raises(InputError, match="hops=1 or more"):
        SPEN(2, 4, 2, 0)(View(seen, torch.arange(2)))


def test_it_tells_two_triangles_from_a_hexagon_where_every_node_has_two_neighbours() -> None:
    triangles = np.concatenate([ring(3), ring(3) + 3], 1)
    graphs = alike(batch((6, ring(6)), (6, triangles)))
    for hops, tells in ((1, True), (2, True), (0, False)):  # whole graphs by pairs tell no more than messages do
        a, b = embed(SPEN(1, 8, 2, hops), graphs)
        assert (float((a - b).abs().max()) > 1e-4) == tells
    gin = build_encoder("gin_micro", 1, 6).eval()
    a, b = gin(View(graphs, torch.arange(2)))
    torch.testing.assert_close(a, b)


def test_classes_of_sizes_have_their_own_weights_and_share_them_inside() -> None:
    graphs = batch((6, ring(6)), (6, ring(6, 2)))  # neighbourhoods of 3 and of 5
    shared, apart = SPEN(2, 4, 1, 1, ()), SPEN(2, 4, 1, 1, (3,))
    for encoder, rows in ((shared, {0}), (apart, {0, 1})):
        encoder(View(graphs, torch.arange(2))).square().sum().backward()
        grads = encoder.get_parameter("layers.0.maps.22.weight").grad
        assert grads is not None
        assert {k for k in range(len(grads)) if bool(grads[k].any())} == rows


@pytest.mark.parametrize("name", ["spen", "spen_two", "spen_micro", "spen_two_micro", "spen_whole_micro"])
def test_networks_are_found_by_name_and_every_parameter_gets_a_gradient(name: str) -> None:
    encoder = build_encoder(name, 2, 8)
    out = encoder(View(batch((6, ring(6)), (8, ring(8, 2)), (3, ring(3))), torch.arange(3)))
    out.square().sum().backward()
    assert out.shape == (3, encoder.dim) and all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_edges_with_numbers_are_read_and_wrong_numbers_refused() -> None:
    graphs = batch((6, ring(6)))
    numbers = torch.randn(graphs.edges.shape[1], 3)
    seen = Graphs(graphs.x, graphs.edges, graphs.owner, graphs.number, 1, None, numbers)
    encoder = SPEN(2, 4, 2, edges=3).eval()
    one = encoder(View(seen, torch.arange(1)))
    other = encoder(View(Graphs(graphs.x, graphs.edges, graphs.owner, graphs.number, 1, None, 2 * numbers), torch.arange(1)))
    assert float((one - other).abs().max()) > 1e-4
    with pytest.raises(InputError, match="edges have 0 numbers"):
        encoder(View(graphs, torch.arange(1)))
    with pytest.raises(InputError, match="build it with channels=2"):
        SPEN(5)(View(graphs, torch.arange(1)))
    with pytest.raises(InputError, match="hops=-1"):
        SPEN(2, hops=-1)
    with pytest.raises(InputError, match="order 3 to 1"):
        PermutationLinear(3, 1, 2, 2)
