"""The symmetry measurement as a whole: the sanity table, invariance, fitted maps, and what is refused."""

import dataclasses
import json

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from manyviews.errors import InputError
from manyviews.evaluate.symmetry import Symmetry, measure, measure_layers, moved
from manyviews.evaluate.symmetry_maps import composition_error, fit_linear, fit_orthogonal
from manyviews.evaluate.symmetry_scores import collapsed, orbit_variance, ratio
from manyviews.evaluate.symmetry_tuples import orbits

DOUBLE = torch.float64
SHAPES, TURNS, POINTS = 120, 5, 12


def rotations(count, seed=0):
    return torch.tensor(Rotation.random(count, random_state=seed).as_matrix())


def turned(r, clouds):
    return clouds @ r.mT


@pytest.fixture(scope="module")
def world():
    """Clouds, rotations of each, and the encoders of the sanity table, in float64."""
    torch.manual_seed(1)
    clouds = torch.randn(SHAPES, POINTS, 3, dtype=DOUBLE) * torch.tensor([1.0, 0.6, 0.3])
    r = rotations(SHAPES * TURNS).view(TURNS, SHAPES, 3, 3)
    net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)).double().requires_grad_(False)
    mix, way = torch.randn(2, POINTS, POINTS, dtype=DOUBLE)

    def pointnet(x):
        return net(x).amax(1)

    def framed(x):
        """PointNet in the frame of the principal axes, signs by the third moment."""
        x = x - x.mean(1, keepdim=True)
        x = x @ torch.linalg.svd(x).Vh.mT
        return pointnet(x * x.pow(3).sum(1, keepdim=True).sign())

    def vectors(x):
        """A layer of vector neurons: linear over vectors, then what points against a learned direction is projected away."""
        v = mix @ x
        d = way @ v
        along = (v * d).sum(-1, keepdim=True)
        return torch.where(along > 0, v, v - along / d.square().sum(-1, keepdim=True) * d).flatten(1)

    encoders = {
        "raw": lambda x: x.flatten(1),
        "pointnet": pointnet,
        "framed": framed,
        "vectors": vectors,
        "constant": lambda x: torch.ones(len(x), 7, dtype=DOUBLE),
    }
    return clouds, r, encoders


def tuples_of(world, name, dtype=DOUBLE):
    clouds, r, encoders = world
    f = encoders[name]
    return orbits(f(clouds).to(dtype), torch.stack([f(turned(one, clouds)) for one in r]).to(dtype), torch.zeros(TURNS, SHAPES, 1), rotation=r)


def rho(tuples):
    """Rotated vectors, for features that are vectors."""
    return turned(tuples.rotation, tuples.before.view(len(tuples.source), -1, 3)).flatten(1)


def shifts(dim=6, objects=40, seed=0, noise=0.0):
    """An encoder whose embedding rotates in a plane by g, at strengths 0 to 1; each object draws its own sign."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(objects, dim, generator=g, dtype=DOUBLE)
    strength = torch.linspace(0, 1, 5, dtype=DOUBLE)
    t = strength[:, None] * (torch.randint(0, 2, (5, objects), generator=g) * 2 - 1)
    gx = x.repeat(5, 1, 1)
    gx[..., 0], gx[..., 1] = t.cos() * x[:, 0] - t.sin() * x[:, 1], t.sin() * x[:, 0] + t.cos() * x[:, 1]
    return orbits(x, gx + noise * torch.randn(gx.shape, generator=g, dtype=DOUBLE), t[..., None], strength)


def circle(t):
    return torch.cat([torch.ones_like(t), t.cos(), t.sin()], 1)


def test_raw_coordinates_are_perfectly_equivariant_under_the_rotation_itself(world):
    tuples = tuples_of(world, "raw")
    found = measure("so3", tuples, expected=rho(tuples))
    assert found.beside["equivariance error, rho given"] < 1e-28
    assert found.scores["explained by a linear map"].value > 0.99 and found.scores["composition error"].value < 1e-2
    assert found.scores["MRR"].value > 0.99


def test_vector_neurons_score_one_up_to_float_error_and_their_rotation_can_be_read(world):
    tuples = tuples_of(world, "vectors")
    found = measure("so3", tuples, expected=rho(tuples))
    assert abs(found.scores["equivariance, rho given"].value - 1) < 1e-13
    assert abs(found.scores["invariance"].value) < 0.1
    assert found.scores["angle in degrees, perceptron"].value < 80 < 120 < found.beside["angle in degrees of a constant"]
    single = tuples_of(world, "vectors", torch.float32)
    assert measure("so3", single, expected=rho(single)).beside["equivariance error, rho given"] < 1e-10


def test_a_random_pointnet_is_neither(world):
    found = measure("so3", tuples_of(world, "pointnet"))
    assert 0.6 < found.beside["orbit variance ratio"] < 0.98
    assert found.scores["explained by identity"].value < 0
    assert -0.2 < found.scores["explained by a linear map"].value < 0.6
    assert found.scores["angle in degrees, perceptron"].value > 90


def test_pointnet_in_frames_is_invariant_and_what_would_score_float_noise_is_refused(world):
    found = measure("so3", tuples_of(world, "framed"))
    assert found.beside["orbit variance ratio"] < 1e-20 and found.verdict.startswith("invariant")
    assert set(found.refused) == {"explained", "R2", "retrieval"}
    assert all("float noise" in why for why in found.refused.values())
    assert set(found.scores) == {"invariance"}


def test_a_constant_encoder_is_called_collapsed_not_invariant(world):
    found = measure("so3", tuples_of(world, "constant"))
    assert found.verdict.startswith("collapsed, not invariant") and not found.scores
    assert "invariance" in found.refused
    assert collapsed(torch.full((9, 4), 3.0) * (1 + 1e-7 * torch.randn(9, 4))) and collapsed(torch.zeros(4, 2))
    assert not collapsed(torch.full((9, 4), 3.0) * (1 + 1e-3 * torch.randn(9, 4)))


def test_the_orbit_variance_ratio_is_its_definition():
    z, objects = torch.randn(30, 4, dtype=DOUBLE), torch.arange(6).repeat(5)
    within = sum(z[objects == o].var(0).sum() for o in range(6)) / 6
    total = (z - z.mean(0)).square().sum() / 30
    assert orbit_variance(z, objects).value == pytest.approx(float(within / total))


def test_noise_without_objects_has_a_ratio_of_one_and_the_interval_resamples_objects():
    z = torch.randn(200, 3, dtype=DOUBLE)
    few = orbit_variance(z, torch.arange(50).repeat(4))
    assert few.low < 1.03 and abs(few.value - 1) < 0.1
    more = ratio(z[:, 0].square().repeat(100), torch.ones(20000), torch.arange(200).repeat(100))
    once = ratio(z[:, 0].square(), torch.ones(200), torch.arange(200))
    assert (more.low, more.high) == pytest.approx((once.low, once.high))  # repeating the pairs of an object makes nothing surer


def test_how_far_the_embedding_moves_is_zero_at_the_identity_and_grows():
    values = [score.value for _, score in moved(shifts())]
    assert values[0] == 0 and values == sorted(values)
    unrelated = orbits(torch.randn(400, 5), torch.randn(1, 400, 5), torch.ones(1, 400, 1))
    assert moved(unrelated)[0][1].value == pytest.approx(1, abs=0.1)


def test_a_linear_map_of_the_right_family_is_found_and_composes():
    found = measure("plane", shifts(), basis=circle, compose=torch.add)
    assert found.scores["explained by a linear map"].value > 0.9999
    assert found.scores["move explained by a linear map"].value > 0.999
    assert found.scores["composition error"].value < 1e-3
    assert found.scores["explained by g alone"].value < 0.1
    assert [at for at, _ in found.curves["explained by a linear map"]] == [0, 0.25, 0.5, 0.75, 1]


def test_shares_of_a_move_and_of_g_are_told_by_strength_beyond_the_identity():
    """At one strength only, they are what the whole is; at several, the whole lies between them; and an element that moves nothing has no share."""
    tuples = shifts()
    found = measure("plane", tuples, basis=circle, compose=torch.add)
    for name in ("move explained by a linear map", "R2, linear", "R2, perceptron"):
        curve = found.curves[name]
        assert [at for at, _ in curve] == [0.25, 0.5, 0.75, 1]
        values = [score.value for _, score in curve]
        assert min(values) <= found.scores[name].value <= max(values)
    kept = (tuples.strength == 0) | (tuples.strength == 1)
    fields = ("source", "target", "parameters", "strength")
    once = measure("plane", dataclasses.replace(tuples, element=None, **{name: getattr(tuples, name)[kept] for name in fields}), basis=circle)
    for name in ("move explained by a linear map", "R2, perceptron"):
        ((at, score),) = once.curves[name]
        assert at == 1 and (score.value, score.low, score.high) == pytest.approx((once.scores[name].value, once.scores[name].low, once.scores[name].high))
    still = shifts()
    half = still.target[still.strength == 0.5]
    still.z[half] = still.z[still.source[still.strength == 0.5]]
    assert [at for at, _ in measure("plane", still, basis=circle).curves["move explained by a linear map"]] == [0.25, 0.75, 1]


def test_ridge_on_pairs_is_ridge_on_the_entries_of_the_maps():
    """Against the normal equations in the unknowns W_k, one column for each product of phi, z and the 1 beside it."""
    x, y, phi = torch.randn(25, 3, dtype=DOUBLE), torch.randn(25, 3, dtype=DOUBLE), torch.randn(25, 2, dtype=DOUBLE)
    fit = fit_linear(x, y, phi, torch.arange(25))

    def columns(phi, z):
        lifted = torch.cat([(z - fit.centre) / fit.scale, torch.ones(len(z), 1, dtype=DOUBLE)], 1)
        return torch.einsum("nk,nd->nkd", phi, lifted).flatten(1)

    a = columns(phi, x)
    assert torch.allclose(fit(phi, x), columns(phi, x) @ (a.T @ fit.coefficients) + (x if fit.from_identity else fit.centre))
    beyond = y - (x if fit.from_identity else fit.centre)
    left = a.T @ (beyond - a @ (a.T @ fit.coefficients))  # = penalty x solution
    assert torch.allclose(left / (a.T @ fit.coefficients), (left / (a.T @ fit.coefficients))[0, 0].expand_as(left))


def test_orthogonal_maps_are_orthogonal_and_find_a_rotation_of_the_embedding():
    q = torch.linalg.qr(torch.randn(2, 5, 5, dtype=DOUBLE)).Q
    x = torch.randn(60, 5, dtype=DOUBLE)
    element = torch.arange(60) % 2
    y = torch.einsum("nij,nj->ni", q[element], x) + element[:, None]
    maps = fit_orthogonal(x, y, element, torch.arange(60) // 2)
    new = torch.randn(8, 5, dtype=DOUBLE)
    for e in range(2):
        images = maps(torch.full((8,), e), new)
        assert torch.allclose(torch.cdist(images, images), torch.cdist(new, new))
        assert (images - new @ q[e].T - e).norm() < 0.2 * new.norm()


def test_elements_that_all_objects_share_get_a_map_each():
    angles = torch.tensor([1.0, 2.5], dtype=DOUBLE)
    x = torch.randn(60, 4, dtype=DOUBLE)
    turn = torch.stack([torch.block_diag(torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]), torch.eye(2)) for a in angles])
    tuples = orbits(x, torch.einsum("eij,nj->eni", turn, x), angles[:, None, None].expand(2, 60, 1).contiguous(), shared=True)
    found = measure("turns", tuples)
    assert found.scores["explained by a map for each element"].value > 0.999
    assert found.scores["explained by an orthogonal map for each element"].value > 0.98
    alone = measure("turns", shifts())
    assert "same elements for all objects" in alone.refused["explained by a map for each element"]


def test_what_g_alone_says_is_told_from_a_map_of_the_embedding():
    """Every sample goes to the same place: no equivariance, though f(gx) is predicted perfectly."""
    x, t = torch.randn(40, 3, dtype=DOUBLE), torch.randn(3, 40, 1, dtype=DOUBLE)
    found = measure("shift", orbits(x, t * torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE), t))
    assert found.scores["explained by g alone"].value > 0.999


def test_the_composition_error_is_its_definition():
    maps = torch.randn(3, 4, 4, dtype=DOUBLE)
    z = torch.randn(5, 4, dtype=DOUBLE)
    e = torch.eye(3, dtype=DOUBLE)

    def one(phi, z):
        return torch.einsum("nk,kij,nj->ni", phi, maps, z)

    error, size = composition_error(one, e[[0] * 5], e[[1] * 5], e[[2] * 5], z, torch.zeros(4, dtype=DOUBLE))
    assert torch.allclose(error, (z @ (maps[1] @ maps[0] - maps[2]).T).square().sum(1)) and torch.allclose(size, (z @ maps[2].T).square().sum(1))


def test_pure_noise_is_explained_by_nothing_on_other_objects():
    tuples = orbits(torch.randn(150, 20), torch.randn(4, 150, 20), torch.randn(4, 150, 2))
    found = measure("noise", tuples)
    for name in ("explained by a linear map", "R2, linear", "R2, perceptron"):
        assert found.scores[name].value < 0.1
    assert 0.3 < found.beside["move explained by the mean embedding"] < 0.7  # a share of the move that no map earns
    assert found.scores["explained by identity"].value == pytest.approx(1 - 2, abs=0.2)  # 1 - 2 omega


def test_an_object_on_both_sides_is_refused():
    tuples = shifts()
    with pytest.raises(InputError, match="both sides"):
        measure("plane", tuples, test=torch.arange(len(tuples.source)) % 3 == 0)


def test_strength_zero_alone_and_too_few_objects_are_told():
    x = torch.randn(9, 3)
    with pytest.raises(InputError, match="identity"):
        measure("nothing", orbits(x, x[None], torch.zeros(1, 9, 1), torch.zeros(1)))
    few = measure("few", orbits(x[:5], torch.randn(2, 5, 3), torch.randn(2, 5, 1)))
    assert "at least 8 objects" in few.refused["R2"] and "invariance" in few.scores
    flip = measure("flip", orbits(torch.randn(20, 3), torch.randn(1, 20, 3), torch.ones(1, 20, 1)))
    assert "same element" in flip.refused["R2"] and "one other view" in flip.refused["retrieval"]


def test_results_are_the_same_again_survive_json_and_come_per_layer():
    tuples = shifts(noise=0.1)
    found = measure("plane", tuples, basis=circle)
    assert found == measure("plane", tuples, basis=circle)
    assert Symmetry.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert all(isinstance(line, tuple) and line[1] for line in found.rows())
    layers = measure_layers("plane", {"first": tuples.z, "last": torch.zeros_like(tuples.z)}, tuples, basis=circle)
    assert layers["first"] == found and layers["last"].verdict.startswith("collapsed")
    with pytest.raises(InputError, match="layer 'short' has 3 rows"):
        measure_layers("plane", {"short": tuples.z[:3]}, tuples)
