"""PONITA against loops over its equations, what is exact in it and how far the rest is off."""

import copy

import pytest
import torch

import manyviews.symmetry.ponita as file
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.groups import Affine, affine, e3, se3, so3
from manyviews.nn.continuous_kernels import Monomials, window
from manyviews.nn.neighbour_table import neighbour_table
from manyviews.nn.orientations import frames_on, turns, vectors_on
from manyviews.symmetry.ponita import Ponita

SMALL = {"width": 6, "depth": 2, "basis": 5, "layer_scale": 0.5}


def drawn(batch=2, nodes=5, scalars=2, vectors=2, axes=3):
    torch.manual_seed(0)
    return torch.randn(batch, nodes, axes).double(), torch.randn(batch, nodes, scalars).double(), torch.randn(batch, nodes, vectors, axes).double()


def network(*numbers, seed=1, **options):
    torch.manual_seed(seed)
    return Ponita(*numbers, **{**SMALL, **options}).double().eval()


def moved(g, x, v):
    return g.act(x), (v.flatten(1, 2) @ g.matrix[:, :-1, :-1].mT).view_as(v)


def off(net, g, x, s, v, grid=None, turned=None):
    """The largest difference between what comes out of moved points and what moved comes out."""
    gx, gv = moved(g, x, v)
    (a, u), (b, w) = net(x, s, v, grid=grid), net(gx, s, gv, grid=turned)
    u = (u.flatten(1, 2) @ g.matrix[:, :-1, :-1].mT).view_as(w)
    return max(float((a - b).abs().max()), float((u - w).abs().max()))


# --- the equations ------------------------------------------------------------------------------------------------------------------------------


def test_a_convolution_is_the_two_sums_written_out():
    x, s, v = drawn(1, 4)
    net = network(2, 2, 3, 2, orientations=6, radius=2.0)
    grid, block = net.grid[:, 0], net.blocks[0]
    f = net.embed(torch.cat([s[0][:, None].expand(-1, 6, -1), torch.einsum("nva,oa->nov", v[0], grid)], -1))
    one, two = torch.zeros(4, 6, 6).double(), torch.zeros(4, 6, 6).double()
    for i in range(4):
        for j in range(4):
            away = x[0, j] - x[0, i]
            for o in range(6):
                along = away @ grid[o]
                seen = torch.stack([along, (away - along * grid[o]).norm()])
                kernel = block.convolution.spatial(net.spatial(seen) * window(away.norm() / 2.0))
                one[i, o] += kernel * f[j, o]
    for i in range(4):
        for p in range(6):
            for o in range(6):
                two[i, p] += block.convolution.spherical(net.spherical((grid[p] @ grid[o])[None])) * one[i, o] / 6
    expected = f + 0.5 * block.pointwise(two + block.convolution.bias)
    rows, basis = net.neighbourhoods(x, None, None, None, net.grid[None])
    torch.testing.assert_close(block(f, rows, basis, net.spherical(file.between_orientations(net.grid[None])), None), expected)


def test_readouts_are_means_over_layers_and_orientations():
    x, s, v = drawn(1, 3)
    net = network(2, 2, 1, 1, orientations=4, depth=1)
    for p in net.readouts.parameters():
        torch.nn.init.zeros_(p)
    net.readouts[0].bias.data = torch.tensor([2.0, 3.0]).double()
    scalars, vectors = net(x, s, v)
    torch.testing.assert_close(scalars, torch.full_like(scalars, 2.0))
    assert vectors.abs().max() < 1e-12, "the same weight in all directions makes no vector"


def test_vectors_come_back_from_an_even_grid_as_they_went_in():
    grid = vectors_on(12)[:, None]
    v = torch.randn(2, 3, 2, 3).double()
    shares = file.lifted(torch.zeros(2, 3, 0).double(), v, grid[None])
    again = torch.einsum("nov,oa->nva", shares, grid[:, 0]) * 3 / 12
    torch.testing.assert_close(again, v.flatten(0, 1))


def test_monomials_come_once_each():
    a, b = torch.tensor(2.0), torch.tensor(5.0)
    assert Monomials(3)(torch.stack([a, b])).tolist() == [2, 5, 4, 10, 25, 8, 20, 50, 125]


def test_the_window_is_one_at_the_centre_and_ends_smoothly():
    d = torch.tensor([0.0, 0.5, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
    found = window(d)
    assert found[0] == 1 and found[2].abs() < 1e-12 and found[3].abs() < 1e-12 and 0.5 < found[1] < 1
    assert torch.autograd.grad(found.sum(), d)[0][[0, 2, 3]].abs().max() < 1e-9


# --- what is exact --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "order"), [(4, 12), (6, 24), (8, 24), (12, 60), (20, 60)])
def test_the_rotations_of_the_body_whose_corners_are_the_orientations_are_kept_exactly(count, order):
    x, s, v = drawn(order)
    net, g = network(2, 2, 2, 2, orientations=count), affine(turns(order))
    assert off(net, g, x, s, v) < 1e-11
    some = so3.sample(order, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert off(net, some, x, s, v) > 1e-5, "and others only nearly"


def test_where_the_body_has_a_mirror_so_has_the_network():
    x, s, v = drawn(2)
    mirror = affine(-torch.eye(3).double().repeat(2, 1, 1))
    assert off(network(2, 2, 2, 2, orientations=20), mirror, x, s, v) < 1e-11
    assert off(network(2, 2, 2, 2, orientations=4), mirror, x, s, v) > 1e-5, "the tetrahedron does not look the same upside down"


@pytest.mark.parametrize("order", [12, 24, 60])
def test_over_motions_the_grids_own_rotations_are_kept_exactly_and_mirrors_are_not(order):
    x, s, v = drawn(order, 3)
    net = network(2, 2, 2, 2, space="motions", orientations=order, width=3, basis=3)
    assert off(net, affine(turns(order)), x, s, v) < 1e-11
    assert off(net, affine(-torch.eye(3).double().repeat(order, 1, 1)), x, s, v) > 1e-5


@pytest.mark.parametrize(("space", "group", "count"), [("sphere", e3, 20), ("sphere", e3, 7), ("motions", se3, 12)])
def test_a_grid_that_turns_with_the_points_makes_any_motion_exact(space, group, count):
    x, s, v = drawn(3)
    net = network(2, 2, 2, 2, space=space, orientations=count)
    g = group.sample(3, torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = net.grid.expand(3, -1, -1, -1)
    turned = torch.einsum("bij,bomj->bomi", g.matrix[:, :3, :3], grid)
    assert off(net, g, x, s, v, grid, turned) < 1e-11


def test_shifts_change_nothing():
    x, s, v = drawn()
    g = Affine(torch.eye(4).double().repeat(2, 1, 1))
    g.matrix[:, :3, 3] = 5.0
    assert off(network(2, 2, 2, 2), g, x, s, v) < 1e-11


def test_more_orientations_leave_a_smaller_error():
    x, s, v = drawn(16)
    g = so3.sample(16, torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = [off(network(2, 2, 2, 2, orientations=count), g, x, s, v) for count in (4, 12, 100)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_without_orientations_distances_alone_are_seen():
    x, s, _ = drawn()
    net, g = network(2, 0, 3, space="positions"), e3.sample(2, torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(net(g.act(x), s), net(x, s))


# --- graphs -----------------------------------------------------------------------------------------------------------------------------------


def test_padded_clouds_give_what_they_give_alone():
    x, s, v = drawn(2, 5)
    net = network(2, 2, 2, 2, radius=3.0)
    exists = torch.ones(2, 5, dtype=torch.bool)
    exists[1, 3:] = False
    x[1, 3:], s[1, 3:], v[1, 3:] = torch.nan, torch.nan, torch.nan
    for one, alone in zip(net(x, s, v, exists=exists), net(x[1:, :3], s[1:, :3], v[1:, :3]), strict=True):
        torch.testing.assert_close(one[1:, :3], alone)
        assert (one[1, 3:] == 0).all()


def test_a_list_of_edges_of_two_clouds_at_once_is_both_dense():
    x, s, v = drawn(2, 4)
    net = network(2, 2, 2, 2)
    i, j = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    rows, there = neighbour_table(torch.cat([torch.stack([i, j]), torch.stack([i + 4, j + 4])], 1), 8)
    both = net(x.flatten(0, 1)[None], s.flatten(0, 1)[None], v.flatten(0, 1)[None], rows, there)
    for one, dense in zip(both, net(x, s, v), strict=True):
        torch.testing.assert_close(one.view_as(dense), dense)


def test_a_table_of_neighbours_holds_the_edges_and_the_node_itself():
    rows, there = neighbour_table(torch.tensor([[1, 2, 0, 1], [0, 0, 2, 1]]), 4)
    heard = [sorted(rows[0, i][there[0, i]].tolist()) for i in range(4)]
    assert heard == [[0, 1, 2], [1], [0, 2], [3]]
    with pytest.raises(InputError, match="nodes count from 0 to 3"):
        neighbour_table(torch.tensor([[4], [0]]), 4)


def test_few_nodes_at_once_give_what_all_give(monkeypatch):
    x, s, v = drawn()
    net = network(2, 2, 2, 2, orientations=6)
    whole = net(x, s, v)
    monkeypatch.setattr(file, "ROWS", 60)
    with torch.no_grad():
        few = net(x, s, v)
    for one, other, third in zip(net(x, s, v), whole, few, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(third, other)


def test_gradients_are_finite_where_points_coincide_or_lie_along_an_orientation():
    net = network(1, 0, 2, orientations=6)
    x = torch.zeros(1, 4, 3).double()
    x[0, :2, 2] = torch.tensor([1.0, 2.0])
    x.requires_grad_(True)
    net(x, torch.ones(1, 4, 1).double()).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_forces_can_be_trained():
    net = network(1, 0, 1, orientations=6, radius=2.0)
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_(True)
    forces = torch.autograd.grad(net(x, torch.ones(1, 4, 1).double()).sum(), x, create_graph=True)[0]
    forces.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None) and torch.isfinite(x.grad).all()


# --- calibration --------------------------------------------------------------------------------------------------------------------------------


def test_the_first_batch_sets_the_kernels_so_that_what_comes_out_is_as_spread_as_what_went_in():
    x, s, v = drawn(4, 8)
    net = network(2, 2, 1, 0, depth=1).train()
    convolution, found = net.blocks[0].convolution, {}
    convolution.register_forward_hook(lambda module, given, out: found.update(f=given[0], out=out))
    net(x, s, v)
    assert convolution.calibrated
    torch.testing.assert_close(found["out"].std(), found["f"].std(), rtol=1e-5, atol=0)
    weights = copy.deepcopy(convolution.state_dict())
    net(3 * x, s, v)
    assert all(torch.equal(weights[name], value) for name, value in convolution.state_dict().items()), "only the first"


def test_a_single_node_or_nothing_at_all_does_not_spoil_the_kernels():
    for x in (torch.zeros(1, 1, 3), torch.zeros(2, 3, 3)):
        net = Ponita(1, space="positions", **SMALL).train()
        assert torch.isfinite(net(x, torch.zeros(*x.shape[:2], 1))).all()
        assert torch.isfinite(net(x, torch.ones(*x.shape[:2], 1))).all()


def test_evaluation_calibrates_nothing():
    x, s, v = drawn()
    net = network(2, 2, 1)
    net(x, s, v)
    assert not net.blocks[0].convolution.calibrated


# --- grids and encoders -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [12, 24, 60])
def test_the_rotations_of_a_body_are_a_group(order):
    r = turns(order)
    products = (r[:, None] @ r).flatten(0, 1)
    nearest = (products.flatten(1)[:, None] - r.flatten(1)).abs().amax(2).amin(1)
    assert len(r) == order and nearest.max() < 1e-12
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(order).double())


@pytest.mark.parametrize("count", [4, 6, 8, 12, 20, 33, 100])
def test_orientations_are_unit_vectors_evenly_spread(count):
    v = vectors_on(count)
    assert v.shape == (count, 3) and (v.norm(dim=1) - 1).abs().max() < 1e-12
    torch.testing.assert_close(v.T @ v / count, torch.eye(3).double() / 3, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["ponita_micro", "ponita"])
def test_encoders_of_points_are_found_by_name_and_nearly_invariant(name):
    encoder = build_encoder(name, 6, 64, seed=0).eval()
    x = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(0))
    g = so3.sample(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = (encoder(View(a, torch.arange(2))) for a in (x, so3.act(g, x, "clouds")))
    assert one.shape == (2, encoder.dim)
    assert (one - other).norm() < 0.2 * (one[0] - one[1]).norm(), "a turned cloud is nearer to itself than to another one"


def test_what_cannot_be_built_says_everything_at_once():
    with pytest.raises(InputError, match="no space 'torus'") as error:
        Ponita(0, 0, axes=4, space="torus")
    assert "4 axes" in str(error.value) and "nothing comes in" in str(error.value)
    with pytest.raises(InputError, match="take space='sphere'"):
        Ponita(1, 1, space="positions")
    with pytest.raises(InputError, match="12, 24 and 60"):
        frames_on(20, 3)
