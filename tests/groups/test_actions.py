"""What elements do to points, pictures, volumes, graphs and colours: g h acts as h and then g, quarter turns move whole pixels, gradients reach both."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import GL, Affine, Cyclic, Dihedral, Flips, O, Permutation, Symmetric, acting_on, affine, hue, in_pixels, se2, se3, so2, so3, translation
from manyviews.groups.finding import KNOWN

double = torch.float64
seeds = st.integers(0, 10**6)
moving = st.sampled_from(sorted(acting_on("points")))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=double)


def close(a: Tensor, b: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


@settings(max_examples=12, deadline=None)
@given(moving, seeds, seeds, st.sampled_from(["points", "vectors", "normals", "clouds"]))
def test_a_product_acts_as_its_factors_do_one_after_the_other(name: str, a: int, b: int, modality: str) -> None:
    group = KNOWN[name]
    g, h = (group.sample(2, generator(seed), dtype=double) for seed in (a, b))
    x = normal(a, 2, 5, group.axes * 2 + 3 if modality == "clouds" else group.axes)
    close(group.act(g @ h, x, modality), group.act(g, group.act(h, x, modality), modality))
    close(group.act(group.identity(2, double), x, modality), x)
    close(group.act(group.inverse(g), group.act(g, x, modality), modality), x)


@settings(max_examples=15, deadline=None)
@given(seeds, seeds)
def test_hues_and_permutations_act_as_products_do(a: int, b: int) -> None:
    g, h = (hue.sample(2, generator(seed), dtype=double) for seed in (a, b))
    for modality, x in (("colours", normal(a, 2, 5, 3)), ("images", normal(a, 2, 3, 4, 5))):
        close(hue.act(g @ h, x, modality), hue.act(g, hue.act(h, x, modality), modality))
    s = Symmetric(6)
    g, h = (s.sample(2, generator(seed)) for seed in (a, b))
    x = normal(b, 2, 6, 3)
    assert torch.equal(s.act(g @ h, x, "things"), s.act(g, s.act(h, x, "things"), "things"))
    torch.testing.assert_close(s.act(g, x, "things"), g.matrix.double() @ x)


def test_vectors_feel_no_shift_and_normals_stay_at_right_angles() -> None:
    g = translation(3).sample(2, generator(0), dtype=double)
    v = normal(1, 2, 4, 3)
    assert torch.equal(se3.act(g, v, "vectors"), v)
    g = GL(3).sample(2, generator(1), dtype=double)
    tangent = torch.linalg.cross(v, normal(2, 2, 4, 3))
    n, t = GL(3).act(g, v, "normals"), GL(3).act(g, tangent, "vectors")
    assert float((n * t).sum(-1).abs().max()) < 1e-9
    close(n.norm(dim=-1), v.norm(dim=-1))
    assert torch.equal(GL(3).act(g, torch.zeros(2, 1, 3, dtype=double), "normals"), torch.zeros(2, 1, 3, dtype=double))


def test_columns_of_clouds_that_are_no_normals_stay() -> None:
    x, g = normal(0, 2, 5, 8), so3.sample(2, generator(0), dtype=double)
    y = so3.act(g, x, "clouds")
    close(y[..., :3], so3.act(g, x[..., :3].contiguous()))
    close(y[..., 3:6], so3.act(g, x[..., 3:6].contiguous(), "vectors"))
    assert torch.equal(y[..., 6:], x[..., 6:])
    assert torch.equal(so3.act(g, x, "clouds", normals=False)[..., 3:], x[..., 3:])


# --- graphs -----------------------------------------------------------------------------------------------------------------------------------


def test_permuted_graphs_are_the_same_graphs_under_other_names() -> None:
    s, x = Symmetric(5), {"nodes": normal(0, 2, 5, 3), "label": torch.arange(10).view(2, 5), "edges": torch.tensor([[[0, 1, 2], [1, 2, 4]]] * 2)}
    x["adjacency"] = torch.zeros(2, 5, 5).index_put((torch.arange(2)[:, None], x["edges"][:, 0], x["edges"][:, 1]), torch.tensor(1.0))
    g, h = s.sample(2, generator(1)), s.sample(2, generator(2))
    y = s.act(g, x, "graphs")
    for b, i in itertools.product(range(2), range(5)):
        assert torch.equal(y["nodes"][b, g.order[b, i]], x["nodes"][b, i]) and y["label"][b, g.order[b, i]] == x["label"][b, i]
    again = torch.zeros(2, 5, 5).index_put((torch.arange(2)[:, None], y["edges"][:, 0], y["edges"][:, 1]), torch.tensor(1.0))
    assert torch.equal(again, y["adjacency"])
    twice, once = s.act(h, y, "graphs"), s.act(h @ g, x, "graphs")
    assert all(torch.equal(twice[name], once[name]) for name in x)


def test_maps_of_points_move_where_the_nodes_of_a_graph_are() -> None:
    x = {"nodes": normal(0, 2, 5, 4), "positions": normal(1, 2, 5, 3), "vectors": normal(2, 2, 5, 3)}
    g = se3.sample(2, generator(0), dtype=double)
    y = se3.act(g, x, "graphs")
    assert y["nodes"] is x["nodes"]
    close(y["positions"], g.act(x["positions"]))
    close(y["vectors"], so3.act(affine(g.matrix[:, :3, :3]), x["vectors"], "vectors"))
    with pytest.raises(InputError, match="positions, vectors, normals; this one has nodes"):
        se3.act(g, {"nodes": x["nodes"]}, "graphs")


# --- pictures and volumes ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, double, torch.uint8])
def test_quarter_turns_and_mirrors_move_whole_pixels(dtype: torch.dtype) -> None:
    x = (255 * torch.rand(1, 2, 5, 5, generator=generator(0))).to(dtype)
    d4 = Dihedral(4)
    for k in range(4):
        assert torch.equal(d4.act(d4.elements()[k : k + 1], x, "images"), x.rot90(-k, (2, 3)))
        assert torch.equal(d4.act(d4.elements()[4 + k : 5 + k], x, "images"), x.flip(2).rot90(-k, (2, 3)))
        turned = so2.exp(torch.tensor([[k * math.pi / 2]]))
        assert torch.equal(so2.act(turned, x, "images"), x.rot90(-k, (2, 3)))
    wide = x[..., :3]
    assert torch.equal(Flips(2, 0).act(Flips(2, 0).elements()[1:], wide, "images"), wide.flip(3))
    assert torch.equal(Flips(2, 1).act(Flips(2, 1).elements()[1:], wide, "images"), wide.flip(2))


def test_each_picture_of_a_batch_has_its_own_element_and_one_serves_all() -> None:
    x, d4 = torch.rand(8, 1, 4, 4, generator=generator(1)), Dihedral(4)
    every = d4.act(d4.elements(), x, "images")
    for k in range(8):
        assert torch.equal(every[k : k + 1], d4.act(d4.elements()[k : k + 1], x[k : k + 1], "images"))
    assert torch.equal(d4.act(d4.elements()[3:4], x, "images")[5], d4.act(d4.elements()[3:4], x[5:6], "images")[0])
    mixed = affine(torch.stack([torch.eye(2), so2.exp(torch.tensor([[0.3]])).matrix[0, :2, :2]]))
    y = so2.act(mixed, x[:2], "images")
    assert torch.equal(y[0], x[0]) and not torch.equal(y[1], x[1])


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(0, 7), st.integers(0, 7))
def test_products_act_exactly_on_pictures_where_pixels_move_whole(seed: int, i: int, j: int) -> None:
    d4, x = Dihedral(4), torch.rand(1, 2, 6, 6, generator=generator(seed))
    g, h = d4.elements()[i : i + 1], d4.elements()[j : j + 1]
    assert torch.equal(d4.act(g @ h, x, "images"), d4.act(g, d4.act(h, x, "images"), "images"))


def test_all_48_symmetries_of_the_cube_move_whole_voxels_as_points_move() -> None:
    x = torch.rand(1, 1, 3, 3, 3, generator=generator(2))
    centre = torch.tensor([1, 1, 1])
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product([1, -1], repeat=3)):
        a = torch.eye(3)[list(order)] * torch.tensor(signs)
        y = O(3).act(affine(a[None]), x, "volumes")
        for p in itertools.product(range(3), repeat=3):
            q = (a @ (torch.tensor(p) - centre).float()).long() + centre
            assert y[0, 0, q[2], q[1], q[0]] == x[0, 0, p[2], p[1], p[0]]


def smooth(height: int, width: int, at: Tensor | None = None) -> Tensor:
    """A picture that is a smooth function of the place, 0 at the border, seen at `at` (height, width, 2)."""
    y, x = torch.meshgrid(*((torch.arange(n, dtype=double) + 0.5 - n / 2) * 2 / min(height, width) for n in (height, width)), indexing="ij")
    p = torch.stack([x, y], -1) if at is None else at
    return torch.exp(-8 * ((p[..., 0] - 0.2) ** 2 + 2 * (p[..., 1] + 0.1) ** 2))


@pytest.mark.parametrize("extent", [(64, 64), (64, 96), (97, 64)])
def test_a_resampled_picture_is_the_function_at_the_place_it_came_from(extent: tuple[int, int]) -> None:
    x = smooth(*extent)[None, None]
    for g in (se2.sample(1, generator(3), 0.3, double), GL(2).sample(1, generator(4), 0.5, double), translation(2).sample(1, generator(5), 0.4, double)):
        sides = [(torch.arange(n, dtype=double) + 0.5 - n / 2) * 2 / min(extent) for n in extent]
        at = torch.stack(torch.meshgrid(*sides, indexing="ij")[::-1], -1)
        came_from = g.inverse().act(at.view(1, -1, 2)).view(*extent, 2)
        assert float((se2.act(g, x, "images")[0, 0] - smooth(*extent, came_from)).abs().max()) < 0.02


def test_pictures_and_volumes_turn_as_points_do() -> None:
    """The centre of mass of a blob goes where g takes it."""
    grid = torch.stack(torch.meshgrid(*[(torch.arange(24, dtype=double) + 0.5 - 12) / 12] * 3, indexing="ij")[::-1], -1)
    centre = torch.tensor([0.3, -0.2, 0.1], dtype=double)
    blob = torch.exp(-30 * (grid - centre).square().sum(-1))[None, None]
    g = so3.sample(1, generator(6), dtype=double)
    moved = so3.act(g, blob, "volumes")[0, 0]
    close((moved[..., None] * grid).sum((0, 1, 2)) / moved.sum(), g.act(centre[None, None])[0, 0], 1e-2)


def test_whole_shifts_move_pixels_and_what_comes_from_outside_is_0_or_the_border() -> None:
    x = torch.rand(1, 1, 4, 6, generator=generator(7), dtype=double)
    g = affine(torch.eye(2, dtype=double)[None], torch.tensor([[0.5, 0.0]], dtype=double))  # half of half the shortest side: one pixel
    y = se2.act(g, x, "images")
    close(y[..., 1:], x[..., :-1])
    assert float(y[..., 0].abs().max()) < 1e-12
    close(se2.act(g, x, "images", border="border")[..., 0], x[..., 0])


def test_maps_in_pixels_are_those_of_the_centre_in_the_units_of_views() -> None:
    g = in_pixels(so2.exp(torch.tensor([[math.pi / 2]], dtype=double)), 6, 4)
    close(g.act(torch.tensor([[[3.0, 2.0], [4.0, 2.0]]], dtype=double)), torch.tensor([[[3.0, 2.0], [3.0, 3.0]]], dtype=double))
    shift = in_pixels(translation(2).exp(torch.tensor([[0.5, 0.0]], dtype=double)), 6, 4)
    close(shift.act(torch.zeros(1, 1, 2, dtype=double)), torch.tensor([[[1.0, 0.0]]], dtype=double))
    with pytest.raises(InputError, match="2 dimensions"):
        in_pixels(g, 3)


def test_gradients_reach_the_picture_and_the_element() -> None:
    x = smooth(12, 12)[None, None].requires_grad_()
    for start in (0.0, 0.3):  # at 0 too, where nothing needs resampling
        v = torch.tensor([[start, 0.1, 0.0]], dtype=double, requires_grad=True)
        y = se2.act(se2.exp(v), x, "images")
        weights = normal(8, *y.shape)
        slope, into = torch.autograd.grad((y * weights).sum(), (v, x))
        assert bool(torch.isfinite(slope).all()) and float(slope.abs().sum()) > 0 and float(into.abs().sum()) > 0
    v = torch.tensor([[0.31, 0.13, 0.07]], dtype=double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: se2.act(se2.exp(v), smooth(12, 12)[None, None], "images"), (v,), eps=1e-7, atol=1e-4)
    (through,) = torch.autograd.grad(Dihedral(4).act(Dihedral(4).elements(double)[1:2], x, "images").sum(), x)
    assert torch.equal(through, torch.ones_like(x))


def test_gradients_reach_points_and_elements() -> None:
    v, x = torch.zeros(1, 6, dtype=double, requires_grad=True), normal(9, 1, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, x: se3.act(se3.exp(v), x), (v, x))


# --- refusals ---------------------------------------------------------------------------------------------------------------------------------


def test_a_group_that_cannot_act_on_something_names_those_that_can() -> None:
    with pytest.raises(InputError, match=r"so3 cannot act on images \(it acts on points, .*volumes\); those that can are .*c4.*d4.*so2.*se2.*hue"):
        so3.act(so3.identity(), torch.zeros(1, 3, 4, 4), "images")
    with pytest.raises(InputError, match="hue cannot act on points .*so3"):
        hue.act(hue.identity(), torch.zeros(1, 4, 3))
    with pytest.raises(InputError, match="no 'image'; the nearest are images"):
        so3.act(so3.identity(), torch.zeros(1, 3, 4, 4), "image")
    assert "so3" in acting_on("volumes") and "so3" not in acting_on("images") and acting_on("things") == ["s2", "s3", "s4", "s5"]
    assert acting_on("colours") == ["hue"]


def test_data_of_another_shape_is_refused_with_what_was_expected() -> None:
    with pytest.raises(InputError, match=r"points are \(batch, count, 3\)"):
        so3.act(so3.identity(), torch.zeros(1, 4, 2))
    with pytest.raises(InputError, match=r"\(batch, channels, height, width\)"):
        so2.act(so2.identity(), torch.zeros(1, 4, 2), "images")
    with pytest.raises(InputError, match="2 elements for 3 pictures"):
        so2.act(so2.identity(2), torch.zeros(3, 1, 4, 4), "images")
    with pytest.raises(InputError, match="resampling needs floats"):
        so2.act(so2.exp(torch.tensor([[0.3]])), torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "images")
    with pytest.raises(InputError, match=r"permutations of 3 act on"):
        Symmetric(3).act(Permutation(torch.arange(3)[None]), torch.zeros(1, 4, 2), "things")
    with pytest.raises(InputError, match="maps of 3 colours"):
        hue.act(hue.identity(), torch.zeros(1, 1, 4, 4), "images")
    with pytest.raises(InputError, match="colours are"):
        hue.act(hue.identity(), torch.zeros(1, 4, 4), "colours")


def test_empty_batches_stay_empty() -> None:
    g = Cyclic(4).sample(0, None)
    assert isinstance(g, Affine) and len(g.matrix) == 0
    assert Cyclic(4).act(g, torch.zeros(0, 5, 2)).shape == (0, 5, 2)
    assert Cyclic(4).act(g, torch.zeros(0, 1, 4, 4), "images").shape == (0, 1, 4, 4)


def test_a_turned_picture_is_numpys_rotation_in_the_middle() -> None:
    """x right, y down: a positive angle turns clockwise on the screen."""
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 7] = 1  # right of the centre
    y = so2.act(so2.exp(torch.tensor([[math.pi / 2]])), x, "images")
    assert np.argwhere(y[0, 0].numpy() == 1).tolist() == [[7, 4]]  # below it
