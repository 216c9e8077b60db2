"""Encoders of graphs: layers against dense matrices, samples against the whole graph, tokens against walks."""

import dataclasses

import numpy as np
import pytest
import torch

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder, builders
from manyviews.backbones.graph_nodes import Nodes, nearest, returns
from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.builtin_graphs import builtin_graphs
from manyviews.data.dataset import Data
from manyviews.data.graph_batch import Around
from manyviews.data.graphs import from_array
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy
from manyviews.views.graphs import grace, renumbered

MESSAGES = ["gcn_micro", "gin_micro", "gat_micro"]
ALL = [*MESSAGES, "graph_transformer_micro"]


@pytest.fixture
def nodes() -> Data:
    rng = np.random.default_rng(0)
    return from_array({"edges": rng.integers(0, 80, (2, 90)), "x": rng.normal(size=(80, 6))})


@pytest.fixture
def many() -> View:
    return builtin_graphs().batch(np.arange(0, 600, 75))


def built(name: str, channels: int, form: dict | None = None) -> Encoder:
    """In evaluation, with running statistics that are not those of the start."""
    encoder = build_encoder(name, channels, 48, seed=0, form=form)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return encoder.eval()


@pytest.mark.parametrize("name", ALL)
def test_every_encoder_gives_a_row_a_sample(name, nodes, many):
    assert builders()[name][0] == "graphs"
    for samples, channels in ((nodes.batch(np.array([5, 0, 5])), 6), (many, 64)):
        encoder = build_encoder(name, channels, 48, seed=0)
        z = encoder(samples)
        assert z.shape == (len(samples), encoder.dim) and z.isfinite().all()
        z.square().sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize("name", ALL)
def test_nothing_depends_on_the_order_of_nodes(name, nodes, many):
    for samples, channels in ((nodes.batch(np.arange(9)), 6), (many, 64)):
        encoder = built(name, channels)
        views = renumbered(48)(samples, Counter(0, 0))
        assert torch.allclose(encoder(views["v"]), encoder(views["w"]), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_graph_alone_gets_what_it_gets_in_a_batch(name):
    data = builtin_graphs()
    encoder = built(name, 64)
    together = encoder(data.batch(np.array([3, 300, 590])))
    for k, row in enumerate((3, 300, 590)):
        assert torch.allclose(encoder(data.batch(np.array([row])))[0], together[k], atol=1e-5)


@pytest.mark.parametrize("name", MESSAGES)
def test_nodes_get_from_what_is_near_exactly_what_they_get_from_the_whole_graph(name, nodes):
    encoder = built(name, 6)
    rows = np.array([0, 11, 42])
    whole = encoder(nodes.batch(rows))
    hops = len(encoder.convolutions) + 1
    near = dataclasses.replace(nodes, collate=Around(nodes[0].whole, hops)).batch(rows)
    assert len(near.x.x) < 80 and torch.allclose(encoder(near), whole, atol=1e-6)
    less = dataclasses.replace(nodes, collate=Around(nodes[0].whole, 1)).batch(rows)
    assert not torch.allclose(encoder(less), whole, atol=1e-3)


def test_graph_convolutions_are_a_normalised_matrix_product(nodes):
    graphs = nodes.batch(np.arange(80)).x
    encoder = built("gcn_micro", 6)
    a = torch.eye(80)
    a[graphs.edges[1], graphs.edges[0]] = 1
    scale = a.sum(1).rsqrt()
    p, h = scale[:, None] * a * scale, graphs.x
    for layer, norm in zip(encoder.convolutions, encoder.norms, strict=True):
        h = norm(p @ (h @ layer.lin.weight.T) + layer.bias).relu()
    assert torch.allclose(encoder.nodes(graphs), h, atol=1e-5)


def test_isomorphism_layers_sum_neighbours_and_graphs_sum_layers(many):
    encoder, g = built("gin_micro", 64), many.x
    a = torch.zeros(len(g.x), len(g.x))
    a[g.edges[1], g.edges[0]] = 1
    h, sums = g.x, []
    for layer, norm in zip(encoder.convolutions, encoder.norms, strict=True):
        h = norm(layer.nn(a @ h + (1 + layer.eps) * h)).relu()
        sums.append(torch.stack([h[g.owner == k].sum(0) for k in range(g.graphs)]))
    assert torch.allclose(encoder(many), torch.cat(sums, 1), rtol=1e-4, atol=1e-4) and encoder.dim == 96


def test_weights_of_edges_count_for_convolutions():
    arrays = {"edges": np.array([[0, 1, 2], [1, 2, 3]]), "x": np.eye(4)}
    light, heavy = (from_array({**arrays, "weight": np.array(w, float)}).batch(np.arange(4)) for w in ([1, 1, 2], [1, 1, 9]))
    encoder = built("gcn_micro", 4, {"weighted": True})
    assert not torch.allclose(encoder(light), encoder(heavy), atol=1e-3)


def test_features_of_edges_count_for_attention():
    data = from_array({"edges": np.array([[0, 1, 2], [1, 2, 3]]), "x": np.eye(4), "weight": np.array([1.0, 2.0, 9.0])})
    assert data.form["edges"] == 1
    batch = data.batch(np.arange(4))
    encoder = built("gat_micro", 4, data.form)
    other = dataclasses.replace(batch, x=dataclasses.replace(batch.x, edge_x=batch.x.edge_x * 2))
    assert not torch.allclose(encoder(batch), encoder(other), atol=1e-4)


def trained(name: str, method: str, data: Data) -> list[float]:
    """The losses of two steps on eight nodes at a time."""
    encoder = build_encoder(name, data.channels, 16, seed=0, form=data.form)
    settings = {"hidden": 16, "out": 8} if method == "simclr" else {"dim": 48, "depth": 1, "heads": 2}
    torch.manual_seed(0)
    built_, recipe = build_method(method, encoder, data, **settings)
    return [step.loss for step in fit(built_, data, find_policy(recipe.views, 16, "graphs"), steps=2, batch=8, recipe=recipe, threads=0)]


@pytest.mark.parametrize(("name", "method"), [("gcn_micro", "simclr"), ("gin_micro", "simclr"), ("gat_micro", "simclr"), ("graph_transformer_micro", "mae")])
def test_nodes_of_one_graph_are_trained_on_and_a_repetition_is_exact(name, method, nodes):
    losses = trained(name, method, nodes)
    assert all(np.isfinite(losses)) and losses == trained(name, method, nodes)


def test_networks_that_pass_messages_have_no_tokens(nodes):
    encoder = built("gcn_micro", 6)
    assert encoder.content_width == 0
    for ask in (encoder.tokenize, encoder.pyramid):
        with pytest.raises(InputError, match="transformer"):
            ask(nodes.batch(np.arange(2)))


def test_a_missing_library_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric", None)
    with pytest.raises(InputError, match=r"pip install 'manyviews\[graphs\]'"):
        build_encoder("gcn_micro", 4)
    build_encoder("graph_transformer_micro", 4)


def test_tokens_are_nodes_and_padding_says_nothing(many):
    tokenizer = Nodes(64, 32, 48)
    tokens = tokenizer(many)
    sizes = many.x.sizes
    assert torch.equal(tokens.exists.sum(1), sizes) and tokens.x.shape[1] == int(sizes.max()) and tokens.content.shape == (8, int(sizes.max()), 1, 64)
    assert torch.equal(tokens.content[tokens.exists][:, 0], many.x.x)
    encoder = built("graph_transformer_micro", 64)
    own = encoder.tokenize(many)
    noise = torch.where(own.exists[..., None], own.x, torch.randn_like(own.x))
    assert torch.allclose(encoder.encode(dataclasses.replace(own, x=noise)).whole, encoder.encode(own).whole, atol=1e-5)


def test_places_are_how_often_a_walk_comes_back(many):
    tokens = Nodes(64, 32, 48)(many)
    for k in range(3):
        rows = many.x.owner == k
        n, start = int(rows.sum()), int(many.x.starts[k])
        a = torch.zeros(n, n)
        inside = rows[many.x.edges[0]]
        a[many.x.edges[0][inside] - start, many.x.edges[1][inside] - start] = 1
        p = a / a.sum(1, keepdim=True).clamp(min=1)
        walks = torch.stack([torch.linalg.matrix_power(p, steps).diagonal() for steps in range(2, 7)], 1)
        assert torch.allclose(tokens.where[k, :n, :5], walks, atol=1e-6) and not tokens.where[k, n:].any()
    assert returns(torch.zeros(1, 3, 3)).eq(0).all()


def test_a_node_is_first_and_those_around_it_follow_by_hops(nodes):
    batch = nodes.batch(np.array([0, 20, 40]))
    rows, exists, hops = nearest(batch.x, batch.x.roots, 12)
    assert torch.equal(rows[:, 0], batch.x.roots) and bool((hops.diff(dim=1)[exists[:, 1:]] >= 0).all())
    a = torch.zeros(80, 80)
    a[batch.x.edges[0], batch.x.edges[1]] = 1
    for k, root in enumerate(batch.x.roots.tolist()):
        reached = torch.full((80,), torch.inf)
        reached[root] = 0
        for hop in range(1, 7):
            reached[(a @ (reached < hop).float() > 0) & (reached > hop)] = hop
        true = reached.sort().values[:12]
        assert torch.equal(hops[k][exists[k]], true[true < 7]) and torch.equal(reached[rows[k][exists[k]]], hops[k][exists[k]])
    tokens = Nodes(6, 32, 12)(batch)
    assert torch.allclose(tokens.where[..., 5][tokens.exists], (1 / (1 + hops))[exists]) and tokens.x.shape[1] <= 12


def test_the_surroundings_of_a_node_do_not_depend_on_the_batch(nodes):
    tokenizer = Nodes(6, 32, 10)
    alone, among = tokenizer(nodes.batch(np.array([7]))), tokenizer(nodes.batch(np.array([3, 7, 50])))
    n = int(alone.exists.sum())
    assert torch.equal(among.content[1, :n], alone.content[0, :n]) and int(among.exists[1].sum()) == n


def test_of_a_large_graph_those_nearest_to_its_best_connected_node_are_tokens():
    data = builtin_graphs()
    view = data.batch(np.array([100, 101]))  # hubs
    tokens = Nodes(64, 32, 8)(view)
    assert tokens.x.shape[1] == 8 and bool(tokens.exists.all())
    degree = torch.stack([view.x.degree[view.x.owner == k].max() for k in range(2)])
    assert torch.equal(tokens.content[:, 0, 0].argmax(1), degree)


def test_the_error_asks_for_the_direction_of_features():
    tokenizer = Nodes(3, 32, 8)
    content = torch.tensor([[[[1.0, 0, 0]], [[0, 2, 0]], [[0, 0, 0]]]])
    prediction = torch.tensor([[[5.0, 0, 0], [0, -1, 0], [1, 1, 1]]])
    assert torch.allclose(tokenizer.error(prediction, content), torch.tensor([[0.0, 4.0, 1.0]]))
    halfway = torch.tensor([[[1.0, 1, 0]] * 3])
    assert float(tokenizer.error(halfway, content)[0, 0]) == pytest.approx((1 - 0.5**0.5) ** 2)


@pytest.mark.parametrize("name", ALL)
def test_graphs_without_edges_are_encoded(name):
    data = from_array({"edges": np.zeros((2, 0), np.int64), "x": np.eye(3)})
    encoder = build_encoder(name, 3, 8, seed=0)
    assert encoder(data.batch(np.array([0, 2]))).isfinite().all()
    views = grace(8)(data.batch(np.array([1])), Counter(0, 0))
    assert encoder(views["v"]).isfinite().all()
    single = View(views["v"].x.with_nodes(torch.tensor([False, True, False])), torch.tensor([1]))
    assert encoder(single).isfinite().all()
