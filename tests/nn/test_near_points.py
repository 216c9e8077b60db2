"""Farthest points, nearest points, balls, groups, distances between clouds and voxels: every way of computing them against loops from the definition."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from manyviews.errors import InputError
from manyviews.nn import neighbour_farthest, neighbour_tree, neighbours
from manyviews.nn.neighbour_input import checked
from manyviews.nn.neighbours import (
    ball_query,
    chamfer,
    earth_movers_distance,
    farthest_point_sampling,
    group,
    inverse_distance_interpolation,
    knn,
    voxelise,
)

WAYS = ("plain", "all with all", "tree")


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on neighbours are found that way."""
    if way == "plain":
        monkeypatch.setattr(neighbours, "module", lambda name: None)
    monkeypatch.setattr(neighbour_farthest, "worth_a_tree", lambda count: way == "tree")
    monkeypatch.setattr(neighbour_tree, "worth_planting", lambda points, queries, k: way == "tree")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    return request.param


def lattice(*shape: int, side: int = 4) -> Tensor:
    """Points with whole coordinates: many of them equal, most distances equally far."""
    return torch.randint(0, side, shape).float()


def padded(batch: int, points: int, axes: int = 3, fewest: int = 1) -> tuple[Tensor, Tensor]:
    """Clouds of different lengths, in any rows; where there is no point there is no number either."""
    exists = torch.rand(batch, points) < 0.6
    exists[:, -fewest:] = True
    return torch.randn(batch, points, axes).masked_fill(~exists[..., None], math.nan), exists


def farthest_by_loop(cloud: Tensor, count: int, start: int, exists: Tensor) -> list[int]:
    q = (cloud[:, None] - cloud[None]).double().square().sum(-1).tolist()
    chosen, left = [start], [i for i in range(len(cloud)) if exists[i] and i != start]
    while left and len(chosen) < count:
        reach = {i: min(q[i][j] for j in chosen) for i in left}
        chosen.append(max(left, key=lambda i: (reach[i], -i)))
        left.remove(chosen[-1])
    return [chosen[i % len(chosen)] for i in range(count)]


def nearest_by_loop(query: Tensor, cloud: Tensor, exists: Tensor) -> list[tuple[float, int]]:
    q = (cloud - query).double().square().sum(-1).tolist()
    return sorted((q[i], i) for i in range(len(cloud)) if exists[i])


# --- farthest points --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3, 5])
def test_farthest_points_are_those_of_the_definition(way: str, axes: int) -> None:
    points = torch.randn(3, 40, axes)
    found = farthest_point_sampling(points, 12, start=torch.tensor([0, 39, 7]))
    for c, start in enumerate((0, 39, 7)):
        assert found[c].tolist() == farthest_by_loop(points[c], 12, start, torch.ones(40, dtype=torch.bool))


def test_of_points_equally_far_the_lowest_row_is_chosen_and_none_twice(way: str) -> None:
    points = lattice(2, 300, 3, side=3)
    found = farthest_point_sampling(points, 300)
    for c in range(2):
        assert found[c, :40].tolist() == farthest_by_loop(points[c], 40, 0, torch.ones(300, dtype=torch.bool))
        assert sorted(found[c].tolist()) == list(range(300))


def test_padding_is_never_chosen_and_the_first_point_is_the_start(way: str) -> None:
    points, exists = padded(4, 50, fewest=20)
    found = farthest_point_sampling(points, 20, exists=exists)
    for c in range(4):
        assert found[c].tolist() == farthest_by_loop(points[c], 20, int(exists[c].int().argmax()), exists[c])


def test_clouds_of_too_few_points_repeat_when_they_may(way: str) -> None:
    points, exists = padded(4, 9)
    with pytest.raises(InputError, match=r"cloud \d has \d points, 12 are asked for.*repeat=True"):
        farthest_point_sampling(points, 12, exists=exists)
    found = farthest_point_sampling(points, 12, exists=exists, repeat=True)
    for c in range(4):
        assert found[c].tolist() == farthest_by_loop(points[c], 12, int(exists[c].int().argmax()), exists[c])


def test_identical_points_are_chosen_in_order(way: str) -> None:
    assert farthest_point_sampling(torch.full((2, 500, 3), 0.1), 400).tolist() == [list(range(400))] * 2


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_tree_and_the_plain_way_choose_the_same_of_many_points(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.cat([torch.randn(2, 3000, 3), 1e-3 * torch.randn(2, 2000, 3) + 5], 1).to(kind)
    found = []
    for name in WAYS:
        with monkeypatch.context() as patch:
            take(name, patch)
            found.append(farthest_point_sampling(points, 500, start=2))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_starts_that_are_no_points_are_refused() -> None:
    points, exists = padded(3, 10)
    exists[1, 4] = False
    for start in (10, -1, torch.tensor([9, 4, 9])):
        with pytest.raises(InputError, match="give a row for each cloud"):
            farthest_point_sampling(points, 3, start=start, exists=exists, repeat=True)


# --- nearest points ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "k", "axes"), [(1, 1, 3), (40, 7, 2), (40, 40, 3), (300, 5, 3), (700, 100, 3), (1500, 300, 3), (50, 4, 6)])
def test_nearest_points_are_those_of_the_definition(way: str, points: int, k: int, axes: int) -> None:
    cloud, queries = torch.randn(2, points, axes), torch.randn(2, 6, axes)
    distances, rows = knn(queries, cloud, k)
    for c, i in itertools.product(range(2), range(6)):
        expected = nearest_by_loop(queries[c, i], cloud[c], torch.ones(points, dtype=torch.bool))[:k]
        assert rows[c, i].tolist() == [row for _, row in expected]
        assert np.allclose(distances[c, i], [math.sqrt(q) for q, _ in expected], rtol=1e-6)


def test_of_points_equally_near_the_lowest_row_comes_first(way: str) -> None:
    cloud = lattice(2, 600, 3)
    _, rows = knn(cloud[:, :20], cloud, 30)
    for c, i in itertools.product(range(2), range(20)):
        assert rows[c, i].tolist() == [row for _, row in nearest_by_loop(cloud[c, i], cloud[c], torch.ones(600, dtype=torch.bool))[:30]]


def test_all_points_in_one_place_are_found_in_order(way: str) -> None:
    distances, rows = knn(torch.zeros(1, 2, 3), torch.ones(1, 900, 3), 40)
    assert rows.tolist() == [[list(range(40))] * 2] and torch.allclose(distances, torch.tensor(math.sqrt(3)))


def test_padding_is_nobodys_neighbour_and_too_few_points_repeat(way: str) -> None:
    cloud, exists = padded(3, 12)
    queries = torch.randn(3, 4, 3)
    with pytest.raises(InputError, match=r"cloud \d has \d+ points, 15 are asked for"):
        knn(queries, cloud, 15, exists)
    distances, rows = knn(queries, cloud, 15, exists, repeat=True)
    for c, i in itertools.product(range(3), range(4)):
        expected = nearest_by_loop(queries[c, i], cloud[c], exists[c])
        assert rows[c, i].tolist() == [expected[j % len(expected)][1] for j in range(15)]
        assert np.allclose(distances[c, i], [math.sqrt(expected[j % len(expected)][0]) for j in range(15)], rtol=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_ways_agree_with_each_other_and_with_scipy_on_uneven_clouds(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = torch.cat([torch.randn(1, 3000, 3), 1e-4 * torch.randn(1, 3000, 3) + 5, torch.full((1, 1, 3), 1e4)], 1).to(kind)
    queries = cloud[:, ::50] + 1e-5
    found = []
    for name in WAYS:
        with monkeypatch.context() as patch:
            take(name, patch)
            found.append(knn(queries, cloud, 16))
    assert torch.equal(found[0][1], found[1][1]) and torch.equal(found[0][1], found[2][1])
    assert torch.equal(found[1][0], found[2][0])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=2e-7, atol=0)  # roots of PyTorch may be off by the last bit
    expected, _ = cKDTree(cloud[0].double().numpy()).query(queries[0].double().numpy(), 16)
    assert np.allclose(found[2][0][0], expected, rtol=1e-4 if kind == torch.float32 else 1e-12, atol=1e-12)


def test_threads_and_chunks_change_nothing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, exists = padded(3, 200, fewest=8)
    once = knn(cloud.nan_to_num(), cloud, 8, exists), farthest_point_sampling(cloud, 8, exists=exists)
    monkeypatch.setattr(neighbours.plain, "CHUNK", 1000)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        again = knn(cloud.nan_to_num(), cloud, 8, exists), farthest_point_sampling(cloud, 8, exists=exists)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(once[0][0], again[0][0]) and torch.equal(once[0][1], again[0][1]) and torch.equal(once[1], again[1])


# --- balls, groups, interpolation -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "radius", "k"), [(60, 0.8, 8), (700, 0.5, 16), (700, 3.0, 16), (5, 0.9, 9), (400, 0.0, 2)])
def test_a_ball_holds_the_first_points_within_its_radius(way: str, points: int, radius: float, k: int) -> None:
    cloud, exists = padded(2, points)
    queries = torch.cat([torch.randn(2, 5, 3), cloud[:, -1:], torch.full((2, 1, 3), 50.0)], 1)
    rows, inside = ball_query(queries, cloud, radius, k, exists)
    for c, i in itertools.product(range(2), range(7)):
        order = nearest_by_loop(queries[c, i], cloud[c], exists[c])
        held = sorted(row for q, row in order if q <= radius * radius)[:k]
        assert inside[c, i].tolist() == [j < len(held) for j in range(k)]
        first = held[0] if held else order[0][1]
        assert rows[c, i].tolist() == [*held, *[first] * (k - len(held))]


def test_groups_are_gathered_and_their_gradients_added() -> None:
    features, rows = torch.randn(3, 10, 4, dtype=torch.float64, requires_grad=True), torch.randint(0, 10, (3, 5, 6))
    found = group(features, rows)
    assert all(torch.equal(found[c, i, j], features[c, rows[c, i, j]]) for c in range(3) for i in range(5) for j in range(6))
    found.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad[..., 0], torch.stack([row.flatten().bincount(minlength=10) for row in rows]).double())
    assert group(torch.arange(6).view(1, 6, 1), rows[:1, :, 0] % 6).dtype == torch.int64


@pytest.mark.parametrize("row", [-1, 10, 1000])
def test_rows_of_another_cloud_cannot_be_read(row: int) -> None:
    with pytest.raises(InputError, match="rows count from 0 to 9"):
        group(torch.randn(3, 10, 4), torch.full((3, 2), row))


def test_interpolation_is_exact_at_points_and_weighs_by_inverse_square_distance(way: str) -> None:
    cloud, exists = padded(2, 30, fewest=5)
    features = torch.randn(2, 30, 4, requires_grad=True)
    queries = torch.cat([cloud[:, -3:], torch.randn(2, 6, 3)], 1)
    found = inverse_distance_interpolation(queries, cloud, features, 3, exists)
    torch.testing.assert_close(found[:, :3], features[:, -3:])
    for c, i in itertools.product(range(2), range(3, 9)):
        near = nearest_by_loop(queries[c, i], cloud[c], exists[c])[:3]
        expected = sum(features[c, row] / q for q, row in near) / sum(1 / q for q, _ in near)
        torch.testing.assert_close(found[c, i], expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    assert features.grad is not None and features.grad.isfinite().all()


def test_a_cloud_of_one_point_is_spread_everywhere() -> None:
    features = torch.randn(2, 1, 4)
    torch.testing.assert_close(inverse_distance_interpolation(torch.randn(2, 5, 3), torch.randn(2, 1, 3), features), features.expand(2, 5, 4))


# --- distances between clouds -----------------------------------------------------------------------------------------------------------------


def chamfer_by_broadcasting(a: Tensor, b: Tensor, squared: bool) -> Tensor:
    q = (a[:, None] - b[None]).square().sum(-1)
    d = q if squared else q.sqrt()
    return d.min(1).values.mean() + d.min(0).values.mean()


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(("n", "m"), [(32, 32), (1, 5), (17, 90)])
def test_chamfer_and_its_gradient_are_those_of_the_formula(way: str, squared: bool, n: int, m: int) -> None:
    a, b = torch.randn(3, n, 3, requires_grad=True), torch.randn(3, m, 3, requires_grad=True)
    weights = torch.randn(3)
    found = chamfer(a, b, squared)
    expected = torch.stack([chamfer_by_broadcasting(p, q, squared) for p, q in zip(a, b)])
    torch.testing.assert_close(found, expected)
    for x, y in zip(torch.autograd.grad(found @ weights, (a, b)), torch.autograd.grad(expected @ weights, (a, b))):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("squared", [True, False])
def test_padding_counts_neither_in_chamfer_nor_in_its_gradient_and_empty_clouds_give_nothing(way: str, squared: bool) -> None:
    (a, has_a), (b, has_b) = padded(4, 20), padded(4, 15, fewest=2)
    has_a[3] = False
    a.requires_grad_(), b.requires_grad_()
    found = chamfer(a, b, squared, has_a, has_b)
    for c in range(3):
        torch.testing.assert_close(found[c], chamfer_by_broadcasting(a[c][has_a[c]], b[c][has_b[c]], squared))
    assert found[3] == 0
    for grad, has in zip(torch.autograd.grad(found.sum(), (a, b)), (has_a, has_b)):
        assert grad.isfinite().all() and (grad[~has] == 0).all()
        assert (grad[:3][has[:3]] != 0).any() and (grad[3] == 0).all()


@pytest.mark.parametrize("squared", [True, False])
def test_the_gradient_of_chamfer_passes_gradcheck(way: str, squared: bool) -> None:
    a, b = (torch.randn(2, n, axes, dtype=torch.float64, requires_grad=True) for n, axes in ((6, 2), (4, 2)))
    assert torch.autograd.gradcheck(lambda p, q: chamfer(p, q, squared), (a, b))


def test_coinciding_points_are_no_distance_apart_and_have_no_gradient(way: str) -> None:
    a = torch.randn(2, 40, 3, requires_grad=True)
    for distance in (chamfer(a, a.detach(), squared=False), earth_movers_distance(a, a.detach().flip(1))):
        assert (distance == 0).all()
        assert (torch.autograd.grad(distance.sum(), a)[0] == 0).all()


def test_clouds_too_large_for_all_with_all_give_the_same_chamfer(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(1, 700, 3, requires_grad=True), torch.randn(1, 900, 3, requires_grad=True)
    all_with_all = chamfer(a, b)
    monkeypatch.setattr(neighbours, "SMALL", 100)
    torch.testing.assert_close(chamfer(a, b), all_with_all)
    for x, y in zip(torch.autograd.grad(chamfer(a, b).sum(), (a, b)), torch.autograd.grad(all_with_all.sum(), (a, b))):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-7)


def test_chamfer_computes_no_gradient_that_nobody_asked_for() -> None:
    a = torch.randn(2, 5, 3, requires_grad=True)
    chamfer(a, torch.randn(2, 5, 3)).sum().backward()
    assert a.grad is not None and not chamfer(a.detach(), a.detach()).requires_grad


@pytest.mark.parametrize("squared", [True, False])
def test_the_earth_movers_distance_is_the_least_of_all_matchings(squared: bool) -> None:
    a, b = torch.randn(3, 5, 3, requires_grad=True), torch.randn(3, 5, 3)
    found = earth_movers_distance(a, b, squared)
    for c in range(3):
        d = (a[c][:, None] - b[c][None]).square().sum(-1)
        d = d if squared else d.sqrt()
        expected = min((d[range(5), list(order)].mean() for order in itertools.permutations(range(5))), key=float)
        torch.testing.assert_close(found[c], expected)
        torch.testing.assert_close(torch.autograd.grad(found[c], a, retain_graph=True)[0][c], torch.autograd.grad(expected, a)[0][c])


def test_clouds_of_different_lengths_are_not_matched() -> None:
    with pytest.raises(InputError, match="5 points cannot be matched with 6.*chamfer"):
        earth_movers_distance(torch.randn(1, 5, 3), torch.randn(1, 6, 3))


# --- voxels -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axes", "size", "scale"), [(3, 0.5, 1), (2, 0.3, 1), (3, 1e-4, 1), (3, 1e-4, 1e4)])
def test_voxels_are_the_sorted_cells_that_hold_points(axes: int, size: float, scale: float) -> None:
    points, exists = padded(3, 50, axes)
    points = scale * points
    voxels, inverse, held = voxelise(points, size, exists)
    cells = {(c, *(points[c, i] / size).floor().long().tolist()): 0 for c in range(3) for i in range(50) if exists[c, i]}
    for c, i in itertools.product(range(3), range(50)):
        if exists[c, i]:
            cell = (c, *(points[c, i] / size).floor().long().tolist())
            cells[cell] += 1
            assert tuple(voxels[inverse[c, i]].tolist()) == cell
        else:
            assert inverse[c, i] == -1
    assert [tuple(v) for v in voxels.tolist()] == sorted(cells)
    assert held.tolist() == [cells[cell] for cell in sorted(cells)]


def test_voxels_beyond_counting_are_refused() -> None:
    with pytest.raises(InputError, match="take larger voxels, or subtract the mean"):
        voxelise(torch.full((1, 1, 3), 1e6), 1e-4)
    for size in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="finite number above 0"):
            voxelise(torch.randn(1, 4, 3), size)


# --- limits and bad input ---------------------------------------------------------------------------------------------------------------------


def test_no_clouds_and_no_queries_give_nothing(way: str) -> None:
    none = torch.empty(0, 8, 3)
    assert farthest_point_sampling(none, 4).shape == (0, 4)
    assert [x.shape for x in knn(none, none, 4)] == [(0, 8, 4)] * 2
    assert [x.shape for x in knn(torch.empty(2, 0, 3), torch.randn(2, 8, 3), 4)] == [(2, 0, 4)] * 2
    assert [x.shape for x in ball_query(torch.empty(2, 0, 3), torch.randn(2, 8, 3), 0.1, 4)] == [(2, 0, 4)] * 2
    assert group(none, torch.empty(0, 5, 2, dtype=torch.long)).shape == (0, 5, 2, 3)
    assert chamfer(none, none).shape == (0,) and earth_movers_distance(none, none).shape == (0,)
    assert [len(x) for x in voxelise(none, 0.1)] == [0, 0, 0]
    assert chamfer(torch.empty(2, 0, 3), torch.randn(2, 8, 3)).tolist() == [0, 0]


def test_memory_order_does_not_matter_and_short_floats_count_as_float32(way: str) -> None:
    points = torch.randn(3, 60, 4).bfloat16()
    strided = points.transpose(1, 2).contiguous().transpose(1, 2)[..., 1:]
    assert not strided.is_contiguous()
    full = strided.float().contiguous()
    assert torch.equal(farthest_point_sampling(strided, 9), farthest_point_sampling(full, 9))
    (d, rows), (e, same) = knn(strided, strided, 5), knn(full, full, 5)
    assert d.dtype == torch.float32 and torch.equal(d, e) and torch.equal(rows, same)
    expanded = strided[:1].expand(3, -1, -1)
    assert torch.equal(farthest_point_sampling(expanded, 9), farthest_point_sampling(full[:1], 9).expand(3, -1))
    a = strided.clone().requires_grad_()
    chamfer(a, full.flip(0)).sum().backward()
    assert a.grad is not None and a.grad.dtype == torch.bfloat16 and a.grad.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_coordinates_that_are_no_numbers_are_refused_with_their_clouds(way: str, bad: float) -> None:
    points = torch.randn(4, 30, 3)
    points[1, 7, 2] = points[3, 0, 0] = bad
    for ask in (lambda: farthest_point_sampling(points, 3), lambda: knn(points, points, 3), lambda: chamfer(points, points), lambda: voxelise(points, 1.0)):
        with pytest.raises(InputError, match="NaN or infinite coordinates in clouds 1, 3"):
            ask()


def test_large_numbers_whose_sum_overflows_are_numbers() -> None:
    points = torch.full((1, 4, 3), 3e38)
    assert farthest_point_sampling(points, 2).tolist() == [[0, 1]]


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError) as caught:
        checked({}, queries=torch.randn(5, 3), points=torch.zeros(2, 5, 3, dtype=torch.long))
    assert len(caught.value.problems) == 2 and "queries[None]" in str(caught.value) and "points.float()" in str(caught.value)
    with pytest.raises(InputError, match="queries are 2 clouds of 3 axes on cpu, points are 3 clouds of 2 axes on cpu"):
        checked({}, queries=torch.randn(2, 5, 3), points=torch.randn(3, 5, 2))
    with pytest.raises(InputError, match=r"torch.bool \(2, 5\) is needed"):
        checked({"b": torch.ones(2, 4, dtype=torch.bool)}, a=torch.randn(2, 5, 3), b=torch.randn(2, 5, 3))
    with pytest.raises(InputError, match="ask for at least 1"):
        knn(torch.randn(2, 5, 3), torch.randn(2, 5, 3), 0)
    with pytest.raises(InputError, match="cloud 1 has no points"):
        knn(torch.randn(2, 5, 3), torch.randn(2, 5, 3), 1, torch.tensor([[True] * 5, [False] * 5]), repeat=True)
    with pytest.raises(InputError, match="a ball of radius -1"):
        ball_query(torch.randn(2, 5, 3), torch.randn(2, 5, 3), -1.0, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_answers_of_the_cpu() -> None:
    for points in (torch.randn(4, 700, 3), lattice(4, 700, 3)):
        for a, b in zip(answers(points), answers(points.cuda()), strict=True):
            torch.testing.assert_close(b.cpu(), a)  # whole numbers must be equal


def answers(points: Tensor) -> list[Tensor]:
    return [farthest_point_sampling(points, 16), *knn(points, points, 8), *ball_query(points, points, 0.5, 8), chamfer(points, points.flip(0))]


def send_answers(points: Tensor, pipe: object) -> None:
    pipe.send([a.numpy() for a in answers(points)])  # type: ignore[attr-defined]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_worker_gives_the_same_answers_after_its_parent_has_used_threads() -> None:
    points = torch.randn(4, 300, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        expected = answers(points)
        here, there = multiprocessing.Pipe()
        worker = multiprocessing.get_context("fork").Process(target=send_answers, args=(points, there))
        worker.start()
        assert here.poll(60), "the worker gave no answer"
        found = here.recv()
        worker.join(10)
    finally:
        torch.set_num_threads(before)
    assert worker.exitcode == 0
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_the_benchmark_runs_and_all_sides_agree() -> None:
    table = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "neighbours.py"))["main"](["--small"])
    assert 0 < table.pop("memory")["ours"]["megabytes"] < 2000
    for task, sides in table.items():
        assert all(row["ms"] > 0 and not row["same"] < 0.99 for row in sides.values()), task
