"""Batches of graphs: what surrounds nodes, objects of other libraries, duplicates, the built-in set, and size."""

import time

import numpy as np
import pytest
import torch

from manyviews.data import graphs
from manyviews.data.builtin_graphs import KINDS, builtin_graphs
from manyviews.data.derive import duplicates
from manyviews.data.graph_batch import Whole
from manyviews.data.graphs import DEGREES, from_array
from manyviews.data.splits import split
from manyviews.errors import InputError


def test_the_surroundings_of_nodes_are_what_a_search_finds():
    rng = np.random.default_rng(0)
    data = from_array({"edges": rng.integers(0, 60, (2, 70)), "x": rng.normal(size=(60, 3))})
    whole: Whole = data[0].whole
    joined = [set(whole.graph.edges[0][whole.graph.edges[1] == k].tolist()) for k in range(60)]
    for roots, hops in (([0], 1), ([3, 50], 2), ([7], 4)):
        seen = set(roots)
        for _ in range(hops):
            seen |= {n for k in seen for n in joined[k]}
        nodes, edges = whole.within(np.array(roots), hops)
        assert nodes.tolist() == sorted(seen)
        assert edges.tolist() == [k for k, (a, b) in enumerate(whole.graph.edges.T.tolist()) if a in seen and b in seen]


def test_at_most_so_many_neighbours_are_taken_the_same_every_time():
    star = {"edges": np.stack([np.zeros(99, np.int64), np.arange(1, 100)]), "x": np.ones((100, 2))}
    whole = from_array(star)[0].whole
    nodes, edges = whole.within(np.array([0]), 2, most=10)
    assert len(nodes) == 11 and edges.tolist() == whole.within(np.array([0]), 2, most=10)[1].tolist()
    ends = whole.graph.edges[:, edges]
    assert {*map(tuple, ends.T.tolist())} == {*map(tuple, ends[::-1].T.tolist())}  # both ways or not at all
    other = Whole(whole.graph, seed=1).within(np.array([0]), 2, most=10)[0]
    assert other.tolist() != nodes.tolist() and len(other) == 11


def test_large_graphs_come_in_pieces_and_small_ones_whole(monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {"edges": rng.integers(0, 500, (2, 400)), "x": rng.normal(size=(500, 2))}
    assert len(from_array(arrays).batch(np.arange(4)).x.x) == 500
    monkeypatch.setattr(graphs, "WHOLE", 100)
    part = from_array(arrays).batch(np.arange(4)).x
    assert len(part.x) < 100 and part.number[part.roots].tolist() == [0, 1, 2, 3] and torch.equal(part.x, torch.from_numpy(arrays["x"]).float()[part.number])


def test_objects_of_torch_geometric_are_taken():
    graph_data = pytest.importorskip("torch_geometric.data").Data
    edges = torch.tensor([[0, 1], [1, 0]])
    many = from_array([graph_data(x=torch.ones(k + 2, 3) * k, edge_index=edges, y=torch.tensor([k % 2])) for k in range(4)])
    assert len(many) == 4 and many.labels.tolist() == [0, 1, 0, 1] and many[3].x.tolist() == [[3] * 3] * 5
    mask = torch.tensor([[True, False], [False, True]])
    one = from_array(graph_data(x=torch.eye(2), edge_index=edges, y=torch.tensor([0, 1]), train_mask=mask, test_mask=~mask))
    assert len(one) == 2 and list(one.columns["split"]) == ["train", "test"]
    with pytest.raises(InputError, match="not understood as graphs"):
        from_array([1, 2])


def test_duplicates_are_found_and_kept_on_one_side():
    data = builtin_graphs().select(np.array([0, 5, 0, 205, 5]))
    assert duplicates(data)["duplicate_of"].tolist() == [0, 1, 0, 3, 1]
    ring = from_array({"edges": np.array([[0, 1, 2], [1, 2, 3]]), "x": np.ones((4, 1)), "label": [0, 1, 0, 1]})
    assert duplicates(ring)["duplicate_of"].tolist() == [0, 1, 2, 3]  # of equal features, but with other neighbours
    train, test = split(ring, 0)
    assert len(train) + len(test) == 4


def test_the_builtin_set_is_the_same_everywhere():
    data = builtin_graphs()
    assert len(data) == 600 and len(KINDS) == 6 == len(data.classes) and data.channels == DEGREES
    assert np.bincount(data.labels).tolist() == [100] * 6 and (data.columns["split"] == "train").sum() == 480
    assert all(12 <= len(data[k]) <= 40 for k in range(0, 600, 7)) and data.fingerprint() == builtin_graphs().fingerprint()
    assert all((data[k].x.argmax(1) == np.bincount(data[k].edges[1], minlength=len(data[k]))).all() for k in range(0, 600, 50))


def test_a_million_edges_are_opened_in_seconds():
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    data = from_array({"edges": rng.integers(0, 100_000, (2, 1_000_000)), "x": np.ones((100_000, 1), np.float32)})
    data.batch(np.arange(64))
    assert time.perf_counter() - start < 30 and data[0].whole.graph.edges.shape[1] > 1_990_000
