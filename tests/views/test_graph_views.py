"""Views of graphs: what is drawn depends on the sample alone, and what is left is a graph."""

import dataclasses

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.builtin_graphs import builtin_graphs
from manyviews.data.graph_batch import Graphs
from manyviews.data.graphs import from_array
from manyviews.errors import InputError
from manyviews.views.finding import find_policy, names
from manyviews.views.graph_changes import DropEdges, DropNodes, MaskFeatures, MaskNodes, OneOf, PerturbEdges, Subgraph
from manyviews.views.graphs import DEGREES, GraphView, grace, graphcl, local, plain, raw, renumbered, strong, weak

CHANGES = [DropNodes(0.3), DropEdges(0.3), PerturbEdges(0.3), MaskNodes(0.3), MaskFeatures(0.3), Subgraph(0.5)]
NAMES = [type(change).__name__ for change in CHANGES]


@pytest.fixture
def many() -> View:
    return builtin_graphs().batch(np.arange(0, 600, 50))


@pytest.fixture
def nodes() -> View:
    """Eight of sixty nodes of one graph."""
    rng = np.random.default_rng(0)
    data = from_array({"edges": rng.integers(0, 60, (2, 150)), "x": rng.uniform(1, 2, (60, 5)), "label": rng.integers(0, 3, 60)})
    return data.batch(np.arange(3, 59, 7))


def alone(graphs: Graphs, k: int) -> Graphs:
    """One graph of a batch."""
    kept = graphs.owner == k
    found = graphs.with_nodes(kept)
    return dataclasses.replace(found, owner=torch.zeros_like(found.owner), graphs=1)


def same(a: Graphs, b: Graphs) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.edges, b.edges) and torch.equal(a.number, b.number)


def both_ways(graphs: Graphs) -> bool:
    edges = set(map(tuple, graphs.edges.T.tolist()))
    return len(edges) == graphs.edges.shape[1] and all((b, a) in edges and a != b for a, b in edges)


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_a_view_of_a_graph_is_the_same_in_any_batch(change, many):
    spec, counter = GraphView((change,)), Counter(1, 2)
    whole = spec.view(many, counter, "v").x
    data = builtin_graphs()
    for k, row in enumerate(range(0, 600, 50)):
        one = spec.view(data.batch(np.array([row])), counter, "v").x
        part = alone(whole, k)
        assert torch.equal(one.number, part.number) and torch.allclose(one.x, part.x)
        assert set(map(tuple, one.edges.T.tolist())) == set(map(tuple, part.edges.T.tolist()))


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_what_is_left_is_a_graph_of_the_same_samples(change, many, nodes):
    for samples in (many, nodes):
        seen = GraphView((change,)).view(samples, Counter(0, 0), "v")
        x = seen.x
        assert len(x) == len(samples) == len(seen) and both_ways(x) and (x.sizes > 0).all()
        assert bool((x.owner.diff() >= 0).all()) and len(x.x) == len(x.owner) == len(x.number)
        assert torch.equal(x.owner[x.edges[0]], x.owner[x.edges[1]])
        assert x.x.dtype == torch.float32 and seen.given is samples.given


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_nodes_that_are_samples_stay_whatever_is_dropped(change, nodes):
    most = dataclasses.replace(change, share=0.0 if isinstance(change, Subgraph) else 1.0)
    x = GraphView((most,)).view(nodes, Counter(0, 0), "v").x
    assert torch.equal(x.number[x.roots], nodes.x.number[nodes.x.roots])
    assert all(len(values) == len(x.x) for values in x.columns.values())


def test_a_graph_keeps_a_node(many):
    assert GraphView((DropNodes(1.0),)).view(many, Counter(0, 0), "v").x.sizes.tolist() == [1] * 12
    assert GraphView((Subgraph(0.0),)).view(many, Counter(0, 0), "v").x.sizes.tolist() == [1] * 12


def test_numbers_name_nodes_across_views(nodes):
    v, w = (GraphView((DropNodes(0.4),)).view(nodes, Counter(0, 0), role).x for role in "vw")
    assert not torch.equal(v.number, w.number)
    for x in (v, w):
        assert torch.equal(x.x, nodes.x.x[x.number])


def test_as_many_nodes_are_dropped_as_asked_and_every_one_as_often(many):
    sizes, seen = many.x.sizes, torch.zeros(len(many.x.x))
    for step in range(200):
        x = GraphView((DropNodes(0.2),)).view(many, Counter(0, step), "v").x
        assert torch.equal(x.sizes, sizes - (0.2 * sizes).floor().long())
        seen[many.x.starts[x.owner] + x.number] += 1
    expected = 1 - (0.2 * sizes).floor() / sizes
    assert (seen / 200 - expected[many.x.owner]).abs().max() < 0.15


def test_edges_that_are_dropped_are_a_subset_of_about_the_share(nodes, many):
    for samples in (nodes, many):
        x = GraphView((DropEdges(0.3),)).view(samples, Counter(0, 0), "v").x
        before, after = (set(map(tuple, g.edges.T.tolist())) for g in (samples.x, x))
        assert after < before and abs(1 - len(after) / len(before) - 0.3) < 0.12


def test_moved_edges_keep_their_number_about(many):
    counts = [GraphView((PerturbEdges(0.3),)).view(many, Counter(0, step), "v").x.edges.shape[1] for step in range(40)]
    assert abs(np.mean(counts) / many.x.edges.shape[1] - 1) < 0.05
    before = set(map(tuple, many.x.edges.T.tolist()))
    after = set(map(tuple, GraphView((PerturbEdges(0.3),)).view(many, Counter(0, 0), "v").x.edges.T.tolist()))
    assert 0.1 < len(after - before) / len(before) < 0.4


def test_added_edges_of_weighted_graphs_weigh_one():
    data = from_array({"edges": np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), "x": np.ones((6, 1)), "weight": np.array([2.0, 3, 4, 5, 6])})
    x = GraphView((PerturbEdges(0.8),)).view(data.batch(np.arange(6)), Counter(0, 3), "v").x
    assert x.weighted and x.edge_x.shape == (x.edges.shape[1], 1) and 1.0 in x.weight.tolist()


def test_hidden_nodes_show_the_mean_and_hidden_features_nothing(many, nodes):
    x = GraphView((MaskNodes(1.0),)).view(many, Counter(0, 0), "v").x
    mean = torch.stack([many.x.x[many.x.owner == k].mean(0) for k in range(12)])
    assert torch.allclose(x.x, mean[x.owner], atol=1e-6)
    x = GraphView((MaskFeatures(0.5),)).view(nodes, Counter(0, 0), "v").x
    gone = (x.x == 0).all(0)
    assert 0 < gone.sum() < 5 and torch.equal(x.x[:, ~gone], nodes.x.x[:, ~gone])


def test_what_is_cut_out_hangs_together_and_is_as_large_as_asked(many):
    x = GraphView((Subgraph(0.5),)).view(many, Counter(0, 0), "v").x
    sizes = many.x.sizes
    for k in range(12):
        part = alone(x, k)
        reached = torch.zeros(len(part.x), dtype=torch.bool)
        reached[0] = True
        for _ in range(len(part.x)):
            reached[part.edges[1][reached[part.edges[0]]]] = True
        assert bool(reached.all()) and len(part.x) <= np.ceil(0.5 * int(sizes[k]))
    assert (x.sizes >= (0.5 * sizes).ceil() - 1e-6).float().mean() > 0.7  # the others are of pieces


def test_a_part_begins_anywhere():
    path = builtin_graphs().select(np.array([300])).batch(np.array([0]))
    firsts = {int(GraphView((Subgraph(0.01),)).view(path, Counter(0, step), "v").x.number[0]) for step in range(300)}
    assert len(firsts) == int(path.x.sizes[0])


def test_one_of_several_changes_is_another_for_every_sample(many):
    seen = GraphView((OneOf((DropNodes(0.5), MaskFeatures(0.5))),)).view(many, Counter(0, 1), "v")
    dropped, hidden = (seen.g.parameters[f"0/{name}"] > 0 for name in ("DropNodes", "MaskFeatures"))
    assert bool((dropped ^ hidden).all()) and dropped.any() and hidden.any()
    assert torch.equal(seen.x.sizes < many.x.sizes, dropped)


def test_what_was_dropped_has_no_inverse(many):
    assert plain(8)(many, Counter(0, 0))["v"].g.inverse() is not None
    with pytest.raises(ValueError, match="cannot be brought back"):
        weak(8).view(many, Counter(0, 0), "v").g.inverse()


def test_other_numberings_are_a_group(many, nodes):
    for samples in (many, nodes):
        views = renumbered(8)(samples, Counter(0, 0))
        g, x = views["w"].g, views["w"].x
        assert not torch.equal(x.number, samples.x.number) and torch.equal(x.owner, samples.x.owner)
        assert same(g.inverse().act(x), samples.x) and torch.equal((g.inverse() @ g).order, torch.arange(len(x.x)))
        h = renumbered(8)(samples, Counter(0, 1))["w"].g
        assert same((h @ g).act(samples.x), h.act(g.act(samples.x)))


def test_policies_make_the_views_that_methods_take(many, nodes):
    assert {"graphcl", "grace", "plain", "simclr", "dino", "mae"} <= set(names("graphs"))
    for samples in (many, nodes):
        for policy in (graphcl(8), grace(8), find_policy("simclr", 8, "graphs")):
            views = policy(samples, Counter(0, 0))
            assert set(views) == {"v", "w"} and not same(views["v"].x, views["w"].x)
            again = policy(samples, Counter(0, 0))
            assert all(same(views[role].x, again[role].x) for role in views) and not same(policy(samples, Counter(0, 1))["v"].x, views["v"].x)
        assert len(local(8).view(samples, Counter(0, 0), "v").x.x) < len(strong(8).view(samples, Counter(0, 0), "v").x.x)
    assert same(plain(8)(many, Counter(0, 0))["v"].x, many.x)


def test_the_input_itself_is_features_and_degrees(many, nodes):
    assert torch.equal(raw(nodes), nodes.x.x[nodes.x.roots])
    numbers = raw(many)
    assert numbers.shape == (12, 64 + DEGREES + 1)
    degree = torch.bincount(many.x.edges[1], minlength=len(many.x.x))[many.x.owner == 3]
    assert torch.allclose(numbers[3, 64:-1], torch.bincount(degree, minlength=DEGREES) / len(degree))
    assert torch.allclose(numbers[3, :64], many.x.x[many.x.owner == 3].mean(0)) and float(numbers[3, -1].expm1()) == pytest.approx(len(degree))


def test_graphs_without_edges_and_of_one_node_go_through():
    lone = from_array({"edges": np.zeros((2, 0), np.int64), "x": np.ones((3, 2))}).batch(np.arange(3))
    x = torch.ones(1, 2)
    single = View(Graphs(x, torch.zeros(2, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1), torch.tensor([5]))
    for samples in (lone, single):
        for change in CHANGES:
            seen = GraphView((change,)).view(samples, Counter(0, 0), "v").x
            assert len(seen.x) >= 1 and seen.edges.shape[0] == 2
        assert raw(samples).isfinite().all()


def test_what_is_no_batch_of_graphs_is_refused():
    with pytest.raises(InputError, match="need a batch of graphs, and this is Tensor"):
        strong(8).view(View(torch.zeros(2, 3), torch.arange(2)), Counter(0, 0), "v")
