"""TinvNN: scaling against its eigen-decomposition, what stays the same under every motion, and the clouds that have no axes of their own."""

import itertools

import pytest
import torch

from manyviews.backbones.building import build_encoder
from manyviews.backbones.pointnet import SmallPointNet
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.groups import e3, similarity, so3
from manyviews.symmetry.tinvnn import TinvNN, invariant_coordinates, multidimensional_scaling, sign_choices


def clouds(batch=3, points=30, axes=3, seed=0):
    return torch.randn(batch, points, axes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def squared(x):
    return (x[:, :, None] - x[:, None]).square().sum(-1)


def moved(x, group=e3, seed=1):
    return group.act(group.sample(len(x), torch.Generator().manual_seed(seed), dtype=torch.float64), x)


CUBE = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)[None]


# --- scaling ------------------------------------------------------------------------------------------------------------------------------------


def test_scaling_keeps_all_distances():
    x = clouds()
    torch.testing.assert_close(squared(multidimensional_scaling(squared(x), 3)), squared(x))


def test_scaling_is_the_eigen_decomposition_of_the_centred_distances():
    x = clouds(1)
    n = x.shape[1]
    j = torch.eye(n, dtype=torch.float64) - 1 / n
    values, u = torch.linalg.eigh(-0.5 * j @ squared(x)[0] @ j)
    expected = u[:, -3:].flip(1) * values[-3:].flip(0).sqrt()
    found = multidimensional_scaling(squared(x), 3)[0]
    torch.testing.assert_close((found * expected).sum(0).sign() * found, expected)


def test_scaling_of_a_clouds_distances_is_the_cloud_along_its_principal_axes():
    x = clouds()
    by_distances = multidimensional_scaling(squared(x), 3)
    by_points = invariant_coordinates(x, canonical=False, scale=False)[0]
    signs = (by_distances * by_points).sum(1, keepdim=True).sign()
    torch.testing.assert_close(by_distances * signs, by_points)


def test_coordinates_found_from_distances_alone_are_those_found_from_the_points():
    x = clouds()
    from_distances = invariant_coordinates(multidimensional_scaling(squared(x), 3))[0]
    torch.testing.assert_close(from_distances, invariant_coordinates(x)[0])


def test_fewer_coordinates_are_the_first_ones_and_more_are_nothing():
    d = squared(clouds(1, 10))
    torch.testing.assert_close(multidimensional_scaling(d, 2), multidimensional_scaling(d, 3)[..., :2])
    assert multidimensional_scaling(d, 5)[..., 3:].abs().max() < 1e-6
    with pytest.raises(InputError, match="as many as points"):
        multidimensional_scaling(d, 11)


# --- invariance ---------------------------------------------------------------------------------------------------------------------------------


def test_coordinates_do_not_change_under_motions_mirrors_and_scale():
    x = clouds()
    mirrored = x * torch.tensor([1.0, 1.0, -1.0])
    for other in (moved(x), moved(x, similarity(3)), mirrored, moved(mirrored)):
        torch.testing.assert_close(invariant_coordinates(other)[0], invariant_coordinates(x)[0])


def test_they_say_where_the_points_were():
    x = moved(clouds())
    for options in ({}, {"reflections": False}, {"scale": False}):
        new, axes, centre, size = invariant_coordinates(x, **options)
        torch.testing.assert_close(size * new @ axes.mT + centre, x)
        torch.testing.assert_close(axes.mT @ axes, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))


def test_left_and_right_are_told_apart_where_asked():
    x = clouds()
    mirrored = -x
    plain, other = (invariant_coordinates(a, reflections=False)[0] for a in (x, mirrored))
    torch.testing.assert_close(plain * torch.tensor([1.0, 1.0, -1.0]), other)
    torch.testing.assert_close(invariant_coordinates(moved(x, so3), reflections=False)[0], plain)


def test_the_order_of_points_is_only_their_order():
    x, order = clouds(), torch.randperm(30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(invariant_coordinates(x[:, order])[0], invariant_coordinates(x)[0][:, order])


def test_points_that_are_padding_change_nothing():
    x, exists = clouds(2), torch.ones(2, 30, dtype=torch.bool)
    x[1, 20:], exists[1, 20:] = torch.nan, False
    found = invariant_coordinates(x, exists)[0]
    torch.testing.assert_close(found[1:, :20], invariant_coordinates(x[1:, :20])[0])
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("equal", [[0, 1], [1, 2], [0, 1, 2]])
def test_equal_eigenvalues_are_settled_by_where_the_weight_of_the_cloud_lies(equal):
    x = clouds()
    x = x - x.mean(1, keepdim=True)
    values, u = torch.linalg.eigh(x.mT @ x)
    wanted = torch.tensor([9.0, 4.0, 1.0], dtype=torch.float64)
    wanted[equal] = 5.0 if 0 in equal else 2.0
    x = x @ u / values.sqrt()[:, None] * wanted.sqrt()
    plain, other = (invariant_coordinates(a, canonical=False)[0] for a in (x, moved(x)))
    assert (plain.abs() - other.abs()).abs().max() > 1e-2, "eigenvectors alone are any of many"
    torch.testing.assert_close(invariant_coordinates(moved(x))[0], invariant_coordinates(x)[0])


def test_clouds_without_axes_give_finite_coordinates_and_gradients():
    for x in (CUBE.clone(), torch.zeros(1, 5, 3), torch.ones(1, 1, 3), torch.eye(3)[None] * torch.tensor([1.0, 0, 0])):
        x = x.double().requires_grad_(True)
        new, axes, _, _ = invariant_coordinates(x)
        torch.testing.assert_close(axes.mT @ axes, torch.eye(3, dtype=torch.float64)[None])
        new.square().sum().backward()
        assert torch.isfinite(new).all() and torch.isfinite(x.grad).all()


def test_the_mean_over_signs_settles_what_moments_cannot():
    torch.manual_seed(0)
    half = clouds(2, 12)
    x = torch.cat([half, -half], 1)  # all odd moments vanish
    network = TinvNN(SmallPointNet(), "average").double().eval()
    one, other = (network(View(a, torch.arange(2))) for a in (x, moved(x)))
    torch.testing.assert_close(one, other)


# --- networks -----------------------------------------------------------------------------------------------------------------------------------


def test_the_average_is_the_loop_over_signs():
    torch.manual_seed(0)
    inner, x = SmallPointNet().double().eval(), clouds(2)
    p = invariant_coordinates(x, canonical=False)[0]
    expected = sum(inner(View(p * s, torch.arange(2))) for s in sign_choices(3, True)) / 8
    torch.testing.assert_close(TinvNN(inner, "average")(View(x, torch.arange(2))), expected)
    assert len(sign_choices(3, False)) == 4 and (sign_choices(3, False).prod(1) == 1).all()


def test_normals_turn_with_the_points_and_colours_stay():
    x = torch.cat([clouds(), torch.nn.functional.normalize(clouds(seed=5), dim=-1), clouds(axes=2)], -1)
    torch.manual_seed(0)
    for signs in ("moments", "average"):
        network = TinvNN(SmallPointNet(8), signs).double().eval()
        g = so3.sample(3, torch.Generator().manual_seed(1), dtype=torch.float64)
        one, other = (network(View(a, torch.arange(3))) for a in (x, so3.act(g, x, "clouds")))
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("signs", ["moments", "average"])
def test_the_pyramid_lies_in_the_frame_of_the_view(signs):
    torch.manual_seed(0)
    x = moved(clouds())
    network = TinvNN(SmallPointNet(), signs).double().eval()
    level = network.pyramid(View(x, torch.arange(3)))[0]
    torch.testing.assert_close(level.where, x)
    other = network.pyramid(View(moved(x, similarity(3)), torch.arange(3)))[0]
    torch.testing.assert_close(level.x, other.x)


@pytest.mark.parametrize("name", ["tinvnn_micro", "tinvnn_pointnet", "tinvnn_dgcnn"])
def test_encoders_are_found_by_name_and_invariant(name):
    encoder = build_encoder(name, 3, 32, seed=0).double().eval()
    x = clouds(2, 32)
    with torch.no_grad():
        one, other = (encoder(View(a, torch.arange(2))) for a in (x, moved(x)))
    assert one.shape == (2, encoder.dim)
    torch.testing.assert_close(one, other)


def test_unknown_ways_to_choose_signs_are_refused():
    with pytest.raises(InputError, match="'moments', 'average' or 'any'"):
        TinvNN(SmallPointNet(), "luck")
