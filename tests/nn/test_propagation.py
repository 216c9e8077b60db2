"""Labels of some nodes carried to others, against slow loops, and prototypes against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from manyviews.nn.hops import adjacency
from manyviews.nn.propagation import guessed, harmonic, iterative_classification, label_shares, likest_class, near_labels, one_hot, prototypes


def graph(classes: int = 3, nodes: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges that mostly join like to like, features that tell a little, and the classes; the last five nodes are alone."""
    r = np.random.default_rng(seed)
    true = np.arange(nodes) % classes
    a, b = np.triu_indices(nodes - 5, 1)
    kept = r.uniform(size=len(a)) < np.where(true[a] == true[b], 0.2, 0.02)
    x = r.normal(size=(nodes, 6)).astype(np.float32) + np.eye(6, dtype=np.float32)[true]
    return np.stack([a[kept], b[kept]]), x, true


def known(true: np.ndarray, each: int = 4) -> np.ndarray:
    label = np.full(len(true), -1)
    for k in np.unique(true):
        label[np.flatnonzero(true == k)[:each]] = k
    return label


def test_harmonic_is_the_mean_of_the_neighbours_by_a_slow_loop():
    edges, _, true = graph()
    label, a = known(true), adjacency(edges, 60)
    f = one_hot(label, 3)
    for _ in range(6):
        new = f.copy()
        for i in np.flatnonzero(label < 0):
            around = a.indices[a.indptr[i] : a.indptr[i + 1]]
            new[i] = f[around].mean(0) if len(around) else 0
        f = new
    np.testing.assert_allclose(harmonic(a, label, 3, 7), f, atol=1e-12)


def test_harmonic_keeps_labels_and_says_nothing_where_none_reaches():
    edges, _, true = graph()
    label = known(true)
    p = harmonic(adjacency(edges, 60), label, 3)
    np.testing.assert_array_equal(p[label >= 0].argmax(1), label[label >= 0])
    assert not p[55:].any()
    assert (guessed("lp", adjacency(edges, 60), np.zeros((60, 1), np.float32), label, 3)[55:] == -1).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_iterative_classification_is_that_of_a_slow_loop(classes):
    edges, x, true = graph(classes)
    label, a = known(true), adjacency(edges, 60)
    train = np.flatnonzero(label >= 0)

    def counted(now: np.ndarray, i: int) -> list[float]:
        return [float((now[a.indices[a.indptr[i] : a.indptr[i + 1]]] == k).sum()) for k in range(classes)]

    now = LogisticRegression(max_iter=1000).fit(x[train], label[train]).predict(x)
    now[train] = label[train]
    model = LogisticRegression(max_iter=1000).fit([[*x[i], *counted(now, i)] for i in train], label[train])
    for _ in range(10):
        for i in np.flatnonzero(label < 0):
            now[i] = model.predict([[*x[i], *counted(now, i)]])[0]
    p = iterative_classification(a, x, label, classes)
    np.testing.assert_array_equal(p.argmax(1), now)
    np.testing.assert_allclose(p.sum(1), 1)
    expected = model.predict_proba([[*x[i], *counted(now, i)] for i in np.flatnonzero(label < 0)])
    np.testing.assert_allclose(p[label < 0], expected, atol=1e-6)


def test_classes_without_labels_are_never_guessed():
    edges, x, true = graph()
    label = np.where(known(true) == 1, -1, known(true))
    a = adjacency(edges, 60)
    for kind in ("lp", "ica", "both"):
        assert {*guessed(kind, a, x, label, 3).tolist()} <= {-1, 0, 2}
    assert (guessed("ica", a, x, np.where(label == 2, 2, -1), 3) == 2).all()  # one label alone
    assert (guessed("ica", a, x, np.full(60, -1), 3) == -1).all()


def test_both_together_are_the_likeliest_by_the_sum_of_probabilities():
    edges, x, true = graph()
    label, a = known(true), adjacency(edges, 60)
    p = harmonic(a, label, 3) + iterative_classification(a, x, label, 3)
    np.testing.assert_array_equal(guessed("both", a, x, label, 3), p.argmax(1))


def test_near_labels_are_the_mean_the_nearest_and_the_farthest_of_each_class():
    path = np.stack([np.arange(5), np.arange(1, 6)])
    label = np.array([0, -1, -1, 1, 0, -1, -1])
    near = near_labels(adjacency(path, 7), label, 3)
    np.testing.assert_allclose(near[2], [0.5, 0.5, 0.5, 1, 1, 1, 0, 0, 0])  # class 0 is two hops away both ways
    np.testing.assert_allclose(near[1], [(1 + 1 / 3) / 2, 1, 1 / 3, 0.5, 0.5, 0.5, 0, 0, 0], rtol=1e-6)
    assert not near[6].any()


def test_shares_of_labels_are_counted_by_a_slow_loop():
    r = np.random.default_rng(0)
    nodes, others, label = r.integers(0, 20, 150), r.integers(0, 20, 150), r.integers(-1, 4, 20)
    share, there = label_shares(*map(torch.from_numpy, (nodes, others, label)), 4)
    for i in range(20):
        around = [label[o] for n, o in zip(nodes, others) if n == i and label[o] >= 0]
        expected = [around.count(k) / len(around) if around else 0.0 for k in range(4)]
        np.testing.assert_allclose(share[i], expected, rtol=1e-6)
        assert bool(there[i]) == bool(around)


def slow_prototypes(s: np.ndarray, count: int) -> set[int]:
    """By the definition: density, similarity to a denser one, and the densest of those that are apart."""
    n = len(s)
    cut = np.sort(s.flatten())[int(0.4 * (n * n - 1))]
    density = [sum(np.sign(s[i, j] - cut) for j in range(n)) for i in range(n)]
    for i, eta in enumerate([max((s[i, j] for j in range(n) if density[j] > density[i]), default=s[i].min()) for i in range(n)]):
        if eta >= 0.95:
            density[i] = 0
    return set(sorted(range(n), key=lambda i: -density[i])[:count])


@pytest.mark.parametrize("members", [3, 8, 60])
def test_prototypes_are_the_dense_ones_that_are_apart(members):
    z = torch.nn.functional.normalize(torch.randn(members, 4, generator=torch.Generator().manual_seed(members)) + torch.tensor([2.0, 0, 0, 0]), dim=1)
    chosen = prototypes(z, 5)
    assert {*chosen.tolist()} == slow_prototypes((z @ z.T).round(decimals=4).numpy(), 5)


def test_a_copy_of_a_denser_one_is_no_prototype():
    angle = torch.tensor([0.0, 0.02, 0.9, -0.9, 0.8, -0.8])
    z = torch.stack([angle.cos(), angle.sin()], 1)
    assert not {0, 1} <= {*prototypes(z, 2).tolist()}


def test_every_node_goes_to_the_class_of_the_prototypes_that_are_most_like_it():
    h = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0], [-0.1, 1.0], [3.0, 0.5], [0.5, 2.0], [-1.0, -0.2]])
    label = torch.tensor([0, 0, 2, 2, -1, -1, -1])
    got = likest_class(h, label, 3, 10, 2, torch.rand(7))
    assert got[:6].tolist() == [0, 0, 2, 2, 0, 2] and got[6] != 1  # class 1 has no node


def test_only_so_many_candidates_with_the_smallest_lots_make_prototypes():
    h = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.2], [0.2, 1.0]])
    label = torch.tensor([0, 0, 1, 1, -1])
    assert likest_class(h, label, 2, 1, 1, torch.tensor([0.9, 0.1, 0.9, 0.1, 0.0]))[4] == 0
    assert likest_class(h, label, 2, 1, 1, torch.tensor([0.1, 0.9, 0.1, 0.9, 0.0]))[4] == 1
