"""Hops, rings, surroundings, similar pairs and parts of graphs, against slow searches and by what they must keep to."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from manyviews.counters import Counter
from manyviews.nn import hops as found

COUNTER = Counter(3, 0)


def some_edges(nodes: int, edges: int, seed: int = 0) -> np.ndarray:
    """Between the first four fifths of the nodes, some of them twice or loops; the others are alone."""
    return np.random.default_rng(seed).integers(0, 4 * nodes // 5, (2, edges))


def slow(edges: np.ndarray, nodes: int) -> np.ndarray:
    """All distances by one search a node; -1 where there is no path."""
    around: list[set[int]] = [set() for _ in range(nodes)]
    for a, b in edges.T.tolist():
        around[a].add(b)
        around[b].add(a)
    far = np.full((nodes, nodes), -1)
    for start in range(nodes):
        far[start, start], queue = 0, deque([start])
        while queue:
            node = queue.popleft()
            for other in around[node]:
                if far[start, other] < 0:
                    far[start, other] = far[start, node] + 1
                    queue.append(other)
    return far


def planted(parts: int = 4, each: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Edges that are mostly inside parts, and the parts."""
    r, part = np.random.default_rng(seed), np.arange(parts * each) % parts
    a, b = np.triu_indices(len(part), 1)
    kept = r.uniform(size=len(a)) < np.where(part[a] == part[b], 0.3, 0.01)
    return np.stack([a[kept], b[kept]]), part


def test_the_matrix_is_symmetric_without_loops_and_an_edge_counts_once():
    a = found.adjacency(np.array([[0, 0, 1, 2], [1, 1, 0, 2]]), 4).toarray()
    assert a.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (5, 3), (40, 30), (300, 500), (700, 600)])
def test_hops_are_those_of_one_search_a_node(nodes, edges):
    drawn = some_edges(nodes, edges)
    a, far = found.adjacency(drawn, nodes), slow(drawn, nodes)
    for most in (-1, 2):
        chunks = list(found.hops(a, np.arange(nodes), most))
        np.testing.assert_array_equal(np.concatenate([chunk for chunk, _ in chunks]), np.arange(nodes))
        expected = far if most < 0 else np.where(far > most, -1, far)
        np.testing.assert_array_equal(np.concatenate([levels for _, levels in chunks]), expected)


def test_a_long_path_is_followed_to_its_end():
    path = np.stack([np.arange(99), np.arange(1, 100)])
    ((_, far),) = found.hops(found.adjacency(path, 100), np.array([0]))
    np.testing.assert_array_equal(far[0], np.arange(100))


def test_what_is_near_is_close_and_what_no_path_leads_to_is_not():
    close = found.closeness(found.adjacency(np.array([[0, 1], [1, 2]]), 4), np.array([0, 3]))
    np.testing.assert_allclose(close, [[1, 1, 0.5, 0], [0, 0, 0, 1]])
    assert found.closeness(found.adjacency(np.zeros((2, 0), int), 4), np.zeros(0, int)).shape == (0, 4)


def test_rings_have_all_their_members_counted_and_some_of_them_drawn():
    drawn = some_edges(300, 260)
    count, members = found.rings(found.adjacency(drawn, 300), 4, 40, COUNTER)
    far = slow(drawn, 300)
    far[(far < 0) | (far > 4)] = 4
    for k in range(4):
        np.testing.assert_array_equal(count[k], (far == k + 1).sum(1))
        some = count[k] > 0
        assert (far[np.arange(300)[:, None], members[k]] == k + 1)[some].all()
        assert (members[k] == np.arange(300)[:, None])[~some].all()
        few = (count[k] > 1) & (count[k] < 5)
        assert few.sum() == 0 or np.mean([len(set(row)) == n for row, n in zip(members[k][few], count[k][few])]) > 0.9


def test_every_member_of_a_ring_is_drawn_about_as_often_as_any_other():
    star = np.stack([np.zeros(10, int), np.arange(1, 11)])
    _, members = found.rings(found.adjacency(star, 11), 4, 20000, COUNTER)
    times = np.bincount(members[0, 0], minlength=11)
    assert times[0] == 0 and times[1:].min() > 1800 and times[1:].max() < 2200


def test_surroundings_are_all_pairs_within_a_radius_or_as_many_as_are_allowed():
    drawn = some_edges(300, 400)
    a, far = found.adjacency(drawn, 300), slow(drawn, 300)
    wanted = (far > 0) & (far <= 2)
    nodes, others = found.surroundings(a, 2, 300, COUNTER)
    assert len(nodes) == wanted.sum() and wanted[nodes, others].all() and len({*zip(nodes.tolist(), others.tolist())}) == len(nodes)
    nodes, others = found.surroundings(a, 2, 5, COUNTER)
    np.testing.assert_array_equal(np.bincount(nodes, minlength=300), wanted.sum(1).clip(max=5))
    assert wanted[nodes, others].all() and len({*zip(nodes.tolist(), others.tolist())}) == len(nodes)


def test_similar_pairs_are_each_nodes_most_and_least_similar_others():
    x = torch.randn(280, 5, generator=torch.Generator().manual_seed(1))
    pair, cosine = found.similar_pairs(x, 3, COUNTER)
    z = x / x.norm(dim=1, keepdim=True)
    s = z @ z.T
    expected = set()
    for i in range(280):
        order = [j for j in s[i].argsort().tolist() if j != i]
        expected |= {(min(i, j), max(i, j)) for j in (*order[:3], *order[-3:])}
    got = {*map(tuple, pair.T.tolist())}
    assert len(got) == pair.shape[1] and len(got ^ expected) <= 2  # the lots may turn over what is nearly equal
    torch.testing.assert_close(cosine, s[pair[0], pair[1]], atol=1e-6, rtol=0)


def test_of_equally_similar_nodes_not_the_same_ones_are_taken_by_all():
    x = torch.eye(50).repeat(2, 1)  # each node has one like it, and 98 with nothing in common
    pair, cosine = found.similar_pairs(x, 1, COUNTER)
    assert int((cosine > 0.5).sum()) == 50
    assert int(torch.bincount(pair[:, cosine < 0.5].flatten()).max()) < 10


def test_two_nodes_are_one_pair():
    pair, _ = found.similar_pairs(torch.ones(2, 3), 3, COUNTER)
    assert pair.tolist() == [[0], [1]]


@pytest.mark.parametrize("parts", [1, 2, 4, 7])
def test_parts_are_of_about_one_size_and_cut_few_edges(parts):
    edges, _ = planted(4)
    a = found.adjacency(edges, 120)
    part = found.partition(a, parts)
    size = np.bincount(part, minlength=parts)
    assert size.min() >= np.floor(0.95 * 120 / parts) and size.max() <= np.ceil(1.05 * 120 / parts)
    cut = (part[edges[0]] != part[edges[1]]).mean()
    assert cut <= 0.7 * (1 - 1 / parts)
    np.testing.assert_array_equal(part, found.partition(a, parts))


def test_planted_parts_are_found():
    edges, true = planted(4)
    part = found.partition(found.adjacency(edges, 120), 4)
    assert sum(np.bincount(true[part == k]).max() for k in range(4)) >= 114


@pytest.mark.parametrize("nodes", [10, 41])
def test_graphs_in_pieces_and_nodes_alone_are_shared_out(nodes):
    part = found.partition(found.adjacency(np.array([[0, 1, 5], [1, 2, 6]]), nodes), 5)
    assert sorted({*part.tolist()}) == [0, 1, 2, 3, 4] and np.ptp(np.bincount(part)) <= 2


def test_a_centre_is_the_node_with_the_most_edges_inside_its_part():
    edges = np.array([[0, 0, 1, 3, 3, 3, 3], [1, 2, 3, 4, 5, 6, 0]])
    part = np.array([0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(found.centres(found.adjacency(edges, 7), part), [0, 3])
