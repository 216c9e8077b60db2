"""Induced representations for pose: the kernels' law, how many maps there are, the grid, densities on SO(3), the whole turned with its picture; training."""

import math

import pytest
import torch

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder, builders, modality_of
from manyviews.contracts import View
from manyviews.data.renders import renders
from manyviews.errors import InputError
from manyviews.groups import Affine, harmonics, intertwiners, irrep, lie, so2, so3, wigner
from manyviews.methods.equivary.induced_pose import InducedPose
from manyviews.symmetry.induced_pose import HarmonicNet, PoseNet
from manyviews.symmetry.plane_to_sphere import SIGHT, Orthographic, Steerable, frequencies, sphere
from manyviews.symmetry.sphere_to_rotations import OnRotations, SphereToRotations, angles, directions, rotations, waves
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy

ABOUT_Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def some(count, seed=0):
    return so3.sample(count, torch.Generator().manual_seed(seed), dtype=torch.float64).matrix[:, :3, :3]


def pose(maps="induced"):
    torch.manual_seed(0)
    return PoseNet(HarmonicNet(1, (4, 8, 8), 2), 32, maps, degree=3, level=1, sphere_channels=4, space_channels=3, channels=1)


def blob(count=2):
    """Smooth pictures without a symmetry, small at their borders."""
    line = torch.linspace(-1, 1, 32, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    one = (-8 * ((x - 0.2) ** 2 + y**2)).exp() + 0.7 * (-12 * ((x + 0.2) ** 2 + (y - 0.35) ** 2)).exp()
    return torch.stack([one, one.flip(0)])[:count, None]


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
def test_a_frequency_reaches_every_degree_that_is_not_smaller_in_one_way_or_two(k):
    found = [sum(len(intertwiners(irrep(so2, k), part)) for part in [degree_of(degree)]) for degree in range(5)]
    assert found == [0 if degree < k else 1 if k == 0 else 2 for degree in range(5)]


def degree_of(degree):
    """One degree alone, under turns of the picture."""
    import dataclasses

    whole, low = sphere(degree), degree**2
    return dataclasses.replace(whole, dim=2 * degree + 1, name=f"degree {degree}", of=lambda m: whole.of(m)[:, low:, low:])


def test_the_map_from_one_place_is_any_of_the_maps_that_respect_turns():
    torch.manual_seed(0)
    layer = Steerable(frequencies(2), 1, sphere(2), 1, 1).double()
    w = layer.kernel().detach()[0, :, 0, :, 0, 0]
    parts = [intertwiners(irrep(so2, k), sphere(2)) for k in range(3)]
    basis = torch.zeros(sum(map(len, parts)), 9, 5, dtype=torch.float64)
    row = 0
    for k, part in enumerate(parts):
        basis[row : row + len(part), :, [0] if k == 0 else [2 * k - 1, 2 * k]] = part
        row += len(part)
    assert len(basis) == 3 + 2 * 2 + 2  # 0 to three degrees, 1 to two, 2 to one
    flat = basis.flatten(1)
    torch.testing.assert_close((w.flatten() @ flat.T) @ flat, w.flatten())
    assert w.norm() > 0


def test_kernels_turn_with_their_places():
    torch.manual_seed(0)
    rep_in, rep_out = frequencies(1), sphere(2)
    k = Steerable(rep_in, 2, rep_out, 3, 5).double().kernel()
    turn = lie.turn_plane(torch.tensor([math.pi / 2], dtype=torch.float64))
    g = so2.exp(torch.tensor([[math.pi / 2]], dtype=torch.float64))
    a, b = rep_out.matrix(g)[0], rep_in.matrix(g)[0]
    line = torch.arange(5) - 2
    for i in range(5):
        for j in range(5):
            x, y = (turn[0] @ torch.tensor([line[j], line[i]], dtype=torch.float64)).round().long().tolist()
            torch.testing.assert_close(k[..., y + 2, x + 2], torch.einsum("ca,oaib,db->ocid", a, k[..., i, j], b))


def test_turning_the_picture_is_rotating_the_world_about_the_line_of_sight():
    """From x to y, downwards, in the picture: from y to x about z in the world, whose y is up."""
    angle = torch.tensor([0.7], dtype=torch.float64)
    d = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64), dim=1)
    moved = d @ lie.turn_space(-angle[:, None] * ABOUT_Z)[0].T
    f, seen = (torch.cat([harmonics(k, v @ SIGHT.T) for k in range(4)], -1) for v in (d, moved))
    torch.testing.assert_close(seen, sphere(3).act(so2.exp(angle[:, None]), f))
    picture = lie.turn_plane(angle)[0] @ torch.tensor([d[0, 0], -d[0, 1]])
    torch.testing.assert_close(picture, torch.stack([moved[0, 0], -moved[0, 1]]))


def test_the_projection_onto_the_half_sphere_is_one_induced_map():
    values = Orthographic(9, 2).values.unflatten(0, (9, 9))
    turned = values.rot90(-1, (0, 1))  # the place (x, y) = (1, 0) goes to (0, 1), downwards
    g = so2.exp(torch.tensor([[math.pi / 2]], dtype=torch.float64))
    torch.testing.assert_close(values, turned @ sphere(2).matrix(g)[0].T)
    assert values[0, 0].abs().max() == 0  # beyond the rim
    assert float(values[4, 4, 0]) > 0


@pytest.mark.parametrize("nside", [1, 2, 4])
def test_directions_share_the_sphere_evenly(nside):
    d = directions(nside)
    assert d.shape == (12 * nside**2, 3)
    torch.testing.assert_close(d.norm(dim=1), torch.ones(len(d), dtype=torch.float64))
    for degree in range(1, 3):
        assert harmonics(degree, d).mean(0).abs().max() < (1e-9 if degree == 1 else 0.06 / nside**2)
    assert (torch.cdist(d, d) + 9 * torch.eye(len(d))).min() > 0.7 / nside


def test_rotations_share_so3_evenly():
    r = rotations(1)
    assert r.shape == (576, 3, 3)
    assert so3.contains(Affine(torch.nn.functional.pad(r, (0, 1, 0, 1)) + torch.diag(torch.tensor([0.0, 0, 0, 1], dtype=r.dtype)))).all()
    w = waves(r, 2)
    torch.testing.assert_close(w.T @ w / len(w), torch.eye(35, dtype=torch.float64), atol=0.06, rtol=0)
    nearest = torch.stack([angles(r, q.expand_as(r)).min() for q in some(40)])
    assert nearest.max() < 30 and nearest.mean() < 20
    assert len(rotations(2)) == 4608


def test_layers_on_so3_are_sums_over_rotations():
    """(F * w)(R) = mean over Q of F(Q) w(Q^-1 R), on a grid fine enough for the degree."""
    torch.manual_seed(0)
    layer = OnRotations(1, 1, 1).double()
    f = torch.randn(1, 1, 10, dtype=torch.float64)
    grid, at = rotations(2), some(3)
    out = (layer(f)[0, 0] @ waves(at, 1).T).detach()
    values = waves(grid, 1) @ f[0, 0]
    for number, r in enumerate(at):
        between = grid.mT @ r  # Q^-1 R
        w = sum((2 * k + 1) * (wigner(k, between) * p[0, 0]).sum((1, 2)) for k, p in enumerate(layer.free))
        torch.testing.assert_close(out[number], (values * w).mean().detach(), atol=2e-2, rtol=2e-2)


def test_a_function_on_the_sphere_becomes_its_product_with_free_numbers():
    torch.manual_seed(0)
    layer = SphereToRotations(2, 1, 1).double()
    x = torch.randn(1, 2, 4, dtype=torch.float64)
    found = layer(x)[0, 0]
    slow = [sum(x[0, i, 0] * layer.free[0][i, 0, 0] for i in range(2))]
    slow += [sum(x[0, i, 1 + m] * layer.free[1][i, 0, n] for i in range(2)) for m in range(3) for n in range(3)]
    torch.testing.assert_close(found, torch.stack(slow))


def test_likelihood_of_ignorance_and_of_one_who_knows():
    network = pose().double()
    truth = some(3)
    f = torch.zeros(3, 84, dtype=torch.float64)
    torch.testing.assert_close(network.log_likelihood(f, truth), torch.full((3,), -2 * math.log(math.pi), dtype=torch.float64))
    f = 0.5 * waves(truth, 3)
    scores = network.scores(f, truth)
    assert (scores["log likelihood"] > 2).all()
    assert (scores["angle"] < 1).all() and scores["within 15"].all() and scores["within 30"].all()
    one = network.log_likelihood(f[:1].expand(576, -1), rotations(1)).exp().mean() * math.pi**2
    assert float(one) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("maps", ["induced", "orthographic"])
def test_a_turned_picture_has_the_turned_density_exactly_by_quarter_turns_and_nearly_by_others(maps):
    network = pose(maps).double().eval()
    x = blob()
    for angle, most in ((math.pi / 2, 1e-9), (0.5, 0.2)):
        g = so2.exp(torch.tensor([[angle]], dtype=torch.float64))
        with torch.no_grad():
            plain, seen = network.sphere_of(x), network.sphere_of(so2.act(g, x, "images"))
        expected = sphere(3).act(Affine(g.matrix.expand(2, -1, -1)), plain)
        assert (seen - expected).norm() / expected.norm() < most
        assert (plain - expected).norm() / expected.norm() > 0.05


def test_a_density_needs_pictures_of_the_size_that_its_kernel_has_and_an_embedding_does_not():
    network = pose().eval()
    large = View(torch.rand(2, 1, 40, 40), torch.arange(2))
    assert network(large).shape == (2, network.dim)
    with pytest.raises(InputError, match="of 32 x 32 pixels, and these have 40 x 40; take --size 32"):
        network.density(large)


# --- by name ----------------------------------------------------------------------------------------------------------------------------------

NAMES = [name for name in builders() if "pose" in name and name.endswith("_micro")]


def test_rivals_have_names():
    assert set(NAMES) == {"induced_pose_micro", "projected_pose_micro", "mlp_pose_micro", "cnn_projected_pose_micro", "cnn_mlp_pose_micro"}
    large = {name.removesuffix("_micro") for name in NAMES} - {"mlp_pose"}
    assert large <= set(builders())


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_every_parameter_that_it_has(name):
    assert modality_of(name) == "images"
    method = InducedPose(build_encoder(name, 1, 32, seed=0))
    terms = method.loss(View(torch.rand(4, 1, 32, 32), torch.arange(4), given={"rotation": some(4).float()}))
    assert terms["loss"].isfinite()
    terms["loss"].backward()
    assert not [n for n, p in method.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]


@pytest.mark.parametrize("name", NAMES)
def test_its_embedding_and_maps_are_those_of_the_network_of_pictures(name):
    encoder = build_encoder(name, 3, 32, seed=0).eval()
    view = View(torch.rand(2, 3, 32, 32), torch.arange(2))
    assert encoder(view).shape == (2, encoder.dim)
    assert [t.x.shape[-1] for t in encoder.pyramid(view)] == encoder.widths


def test_the_embedding_does_not_turn():
    encoder = build_encoder("induced_pose_micro", 1, 32, seed=0).double().eval()
    view, turned = View(blob(), torch.arange(2)), View(blob().rot90(1, (2, 3)), torch.arange(2))
    torch.testing.assert_close(encoder(turned), encoder(view))


@pytest.mark.slow
def test_the_large_ones_have_the_sizes_of_the_paper():
    encoder = build_encoder("induced_pose", 3, 64, seed=0)
    assert (encoder.dim, encoder.degree, len(encoder.table)) == (48 * 5, 6, 36864)


# --- training ---------------------------------------------------------------------------------------------------------------------------------


def tetrahedron(folder):
    """Eight pictures of a mesh without a symmetry."""
    corners, faces = [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3)], [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    text = [f"v {x} {y} {z}" for x, y, z in corners] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    (folder / "one.obj").write_text("\n".join(text) + "\n")
    return renders(folder, views=8, side=16)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_by_name_on_renders(name, tmp_path):
    data = tetrahedron(tmp_path)
    method, recipe = build_method("induced_pose", build_encoder(name, data.channels or 3, 16, seed=0), data)
    before = [p.detach().clone() for p in method.parameters()]
    steps = list(fit(method, data, find_policy(recipe.views, 16), steps=2, batch=4, recipe=recipe, threads=0))
    assert len(steps) == 2 and all(math.isfinite(step.loss) for step in steps)
    assert all(not torch.equal(p, q) for p, q in zip(before, method.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pose("project"), "induced, orthographic, mlp"),
        (lambda: rotations(9), "0 to 5"),
        (lambda: Steerable(frequencies(1), 1, frequencies(1), 1, 0), "1 or more"),
        (lambda: InducedPose(build_encoder("resnet_nano", 1, 32)), "no density of rotations; take --encoder induced_pose or induced_pose_micro"),
        (lambda: InducedPose(pose()).loss(View(blob().float(), torch.arange(2))), "with --as renders, or data with a column `rotation`"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(make, says):
    with pytest.raises(InputError, match=says):
        make()
