"""Frames of clouds and graphs: what they are, that they move along, and what happens where they are not unique."""

import itertools
import math

import pytest
import torch

from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import find
from manyviews.nn.frames import principal_frames, sorting_frames, spectral_keys


def clouds(batch=4, n=9, d=3, seed=0):
    return torch.randn(batch, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_set(seen):
    """What is seen in all frames, in an order of its own."""
    rows = seen.flatten(-2)
    return torch.stack([cloud[sorted(range(len(cloud)), key=lambda k: cloud[k].tolist())] for cloud in rows])


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_there_are_two_to_the_d_frames_and_half_as_many_of_determinant_1(d):
    x = clouds(d=d)
    frames, proper = principal_frames(x), principal_frames(x, reflections=False)
    assert frames.count == 2**d and proper.count == 2 ** (d - 1)
    assert torch.allclose(torch.linalg.det(proper.axes), torch.ones(4, 2 ** (d - 1), dtype=torch.float64))
    assert torch.allclose(frames.axes.mT @ frames.axes, torch.eye(d, dtype=torch.float64).expand_as(frames.axes))
    assert len({tuple(map(float, a.flatten().round(decimals=6))) for a in frames.axes[0]}) == 2**d


def test_axes_are_those_of_the_weighted_covariance_largest_first():
    x, w = clouds(), torch.rand(4, 9, dtype=torch.float64)
    frames = principal_frames(x, w)
    for cloud, weight, t, values, axes in zip(x, w, frames.origin, frames.values, frames.axes, strict=True):
        mean = sum(a * p for a, p in zip(weight, cloud, strict=True)) / weight.sum()
        covariance = sum(a * torch.outer(p - mean, p - mean) for a, p in zip(weight, cloud, strict=True)) / weight.sum()
        assert torch.allclose(t, mean)
        assert torch.allclose(covariance @ axes[0], axes[0] * values)
        assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("name", ["so2", "o2", "se2", "e2", "so3", "o3", "se3", "e3"])
def test_the_set_of_what_is_seen_stays_when_the_cloud_moves(name):
    group = find(name)
    x = clouds(d=group.axes)
    g = group.sample(4, torch.Generator().manual_seed(1), dtype=torch.float64)
    kinds = {"reflections": name[0] in "oe", "shifts": "e" in name}
    a, b = principal_frames(x, **kinds), principal_frames(g.act(x), **kinds)
    assert torch.allclose(as_set(a.seen(x)), as_set(b.seen(g.act(x))), atol=1e-9)


def test_what_is_returned_is_what_was_seen():
    x = clouds()
    frames = principal_frames(x)
    assert torch.allclose(frames.returned(frames.seen(x)), x[:, None].expand(-1, 8, -1, -1))
    assert torch.allclose(frames.turned_back(frames.turned(x)), x[:, None].expand(-1, 8, -1, -1))


def test_points_without_weight_are_not_there_and_all_alike_is_no_weight():
    x = clouds()
    w = torch.ones(4, 9, dtype=torch.float64)
    assert torch.allclose(principal_frames(x, 3 * w).values, principal_frames(x).values)
    w[:, 6:] = 0
    assert torch.allclose(principal_frames(x, w).values, principal_frames(x[:, :6]).values)


def test_parts_of_clouds_may_have_more_axes_before_them():
    x, w = clouds(), torch.rand(4, 2, 9, dtype=torch.float64)
    frames = principal_frames(x[:, None].expand(-1, 2, -1, -1), w)
    assert frames.axes.shape == (4, 2, 8, 3, 3)
    assert torch.allclose(frames.values[:, 1], principal_frames(x, w[:, 1]).values)


DEGENERATE = {
    "coincident": torch.ones(1, 6, 3),
    "collinear": torch.arange(6.0)[None, :, None] * torch.tensor([1.0, 2, 3]),
    "one point": torch.zeros(1, 1, 3),
    "cube": torch.tensor(list(itertools.product((-1.0, 1), repeat=3)))[None],
    "disc": torch.tensor([[math.cos(k), math.sin(k), 0] for k in torch.arange(6) * math.pi / 3])[None],
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_where_axes_are_not_unique_it_is_said_and_nothing_breaks(name):
    x = DEGENERATE[name].clone().requires_grad_(True)
    frames = principal_frames(x)
    assert frames.ambiguous.all()
    (frames.returned(frames.seen(x).tanh()).square().sum() + frames.seen(x).sum()).backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and torch.isfinite(frames.axes).all()
    with pytest.raises(InputError, match="cloud 0 of the batch.*without strict"):
        principal_frames(x, strict=True)


def test_only_the_clouds_without_frames_are_named():
    x = torch.cat([clouds(2, 8), DEGENERATE["cube"].double(), clouds(1, 8)])
    with pytest.raises(InputError, match="cloud 2 of"):
        principal_frames(x, strict=True)
    assert principal_frames(x).ambiguous.tolist() == [False, False, True, False]


def test_a_coplanar_cloud_has_frames():
    x = clouds() * torch.tensor([3.0, 1, 0])
    assert not principal_frames(x, strict=True).ambiguous.any()


def test_what_is_seen_of_a_collinear_cloud_is_unique_nevertheless():
    x = DEGENERATE["collinear"].double() + torch.tensor([1.0, 0, 2])
    g = find("se3").sample(1, torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = principal_frames(x).seen(x), principal_frames(g.act(x)).seen(g.act(x))
    assert torch.allclose(as_set(a.round(decimals=9) + 0.0), as_set(b.round(decimals=9) + 0.0))


@pytest.mark.parametrize("reflections", [True, False])
@pytest.mark.parametrize("name", ["coincident", "collinear", "one point"])
def test_a_mean_over_frames_of_a_line_or_a_place_is_equivariant_nevertheless(name, reflections):
    x = DEGENERATE[name].double() + torch.tensor([1.0, 0, 2])
    g = find("se3").sample(1, torch.Generator().manual_seed(0), dtype=torch.float64)
    w = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def averaged(points):
        frames = principal_frames(points, reflections=reflections)
        return frames.returned((frames.seen(points) @ w + 1).tanh()).mean(-3)

    assert torch.allclose(g.act(averaged(x)), averaged(g.act(x)))


def test_a_part_without_any_weight_has_its_origin_at_0():
    frames = principal_frames(clouds(), torch.zeros(4, 9, dtype=torch.float64))
    assert torch.equal(frames.origin, torch.zeros(4, 3, dtype=torch.float64)) and frames.ambiguous.all()


def test_nan_goes_through_and_is_no_error_of_lapack():
    x = clouds()
    x[1, 2, 0] = float("nan")
    frames = principal_frames(x)
    assert torch.isfinite(frames.axes).all() and not torch.isfinite(frames.seen(x)[1]).all()


def test_half_precision_is_decomposed_in_float32():
    x = clouds().bfloat16()
    assert principal_frames(x).axes.dtype == torch.bfloat16 and principal_frames(x).values.dtype == torch.float32


def test_what_is_no_cloud_is_refused():
    with pytest.raises(InputError, match="one point and one axis"):
        principal_frames(torch.zeros(2, 0, 3))
    with pytest.raises(InputError, match="each point needs one"):
        principal_frames(torch.zeros(2, 4, 3), torch.ones(2, 3))


# --- graphs


def weighted(n=6, batch=3, seed=0):
    a = torch.rand(batch, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (a + a.mT) * (1 - torch.eye(n, dtype=torch.float64))


def edges(n, pairs):
    a = torch.zeros(1, n, n)
    for i, j in pairs:
        a[0, i, j] = a[0, j, i] = 1
    return a


def test_keys_are_lengths_of_rows_in_eigenspaces():
    a = weighted()
    values, vectors = torch.linalg.eigh(torch.diag_embed(a.sum(-1)) - a)
    assert (values.diff(dim=-1) > 1e-3).all()
    assert torch.allclose(spectral_keys(a), vectors.abs().round(decimals=2))


def test_a_graph_without_ties_has_one_order_however_it_is_numbered():
    a, p = weighted(), torch.tensor([3, 1, 5, 0, 2, 4])
    order, unique = sorting_frames(a, 4)
    again, _ = sorting_frames(a[:, p][:, :, p], 4)
    assert unique.all() and (order == order[:, :1]).all()
    assert torch.equal(p[again], order)


def test_ties_are_drawn_and_the_counter_decides_them():
    ring = edges(6, [(k, (k + 1) % 6) for k in range(6)])
    order, unique = sorting_frames(ring, 50, Counter(0, 0))
    assert not unique.any() and len({tuple(o) for o in order[0].tolist()}) > 40
    assert torch.equal(order, sorting_frames(ring, 50, Counter(0, 0))[0]) and not torch.equal(order, sorting_frames(ring, 50, Counter(0, 1))[0])


def test_in_a_star_only_the_leaves_are_alike():
    star = edges(5, [(2, k) for k in (0, 1, 3, 4)])
    order, unique = sorting_frames(star, 20)
    assert not unique.any() and len(set((order == 2).nonzero()[:, 2].tolist())) == 1


def test_padding_comes_last_and_is_no_tie():
    a = torch.zeros(1, 6, 6, dtype=torch.float64)
    a[:, [1, 3, 4, 5]] = torch.zeros(1, 4, 6, dtype=torch.float64)
    real = weighted(4, 1)
    rows = torch.tensor([0, 2, 3, 5])
    a[0, rows[:, None], rows] = real[0]
    order, unique = sorting_frames(a, 3, exists=torch.tensor([[True, False, True, True, False, True]]))
    assert set(order[0, 0, 4:].tolist()) == {1, 4} and unique.all()


def test_what_is_no_adjacency_is_refused():
    with pytest.raises(InputError, match="adjacency"):
        sorting_frames(torch.zeros(2, 3, 4))
