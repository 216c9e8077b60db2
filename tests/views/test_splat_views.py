"""Views of splats: what a map does to ellipsoids and to what is seen from a direction; the same whatever else is in the batch."""

import math

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.splats import OPACITY, POSITION, REST, ROTATION, SCALE
from manyviews.groups import Affine, rotations_from
from manyviews.views import points, splats
from manyviews.views.finding import find_policy, names
from manyviews.views.harmonics import harmonics, turned
from manyviews.views.points import Crop, Jitter, Mirror, Paint, Scale, Shift, Turn
from manyviews.views.splats import Splats, acted, quaternions_from


def some(count: int = 4, size: int = 200, channels: int = 14, seed: int = 0) -> View:
    """Splats somewhere, of all sizes from needles to balls, every tenth as long in all directions."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, channels, generator=g)
    x[..., POSITION] = x[..., POSITION] * 3 + 7
    x[..., OPACITY] = x[..., OPACITY].sigmoid()
    x[..., SCALE] = (2 * x[..., SCALE] - 3).exp()
    x[:, ::10, SCALE] = x[:, ::10, 4:5]
    x[..., ROTATION] = torch.nn.functional.normalize(x[..., ROTATION], dim=-1)
    return View(x, torch.arange(count) + 10)


def one(spec: Splats, v: View, role: str = "v", step: int = 0) -> View:
    return spec.apply(v, Counter(3, step), [role])[0]


def covariance(x: torch.Tensor) -> torch.Tensor:
    """By the definition, in double precision."""
    r = rotations_from(x[..., ROTATION].double().flatten(0, 1)).view(*x.shape[:2], 3, 3)
    return r @ torch.diag_embed(x[..., SCALE].double().square()) @ r.mT


def density(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Of all splats at some places, each with its opacity: what a renderer adds up."""
    off = at[:, :, None] - x[:, None, :, POSITION].double()
    square = torch.einsum("bpni,bnij,bpnj->bpn", off, torch.linalg.inv(covariance(x)), off)
    return ((-square / 2).exp() * x[:, None, :, 3].double()).sum(-1)


CHANGES = [Turn(1), Turn(None), Scale(0.5, 2.0), Scale(0.5, 2.0, each=True), Shift(0.3), Mirror(0, 1.0)]


@pytest.mark.parametrize("change", [*CHANGES, None])
def test_covariances_and_centres_go_where_g_takes_them(change: points.Change | None) -> None:
    v = some()
    seen = one(Splats(200, CHANGES if change is None else (change,), even=True), v)
    linear = seen.g.geometry.matrix[:, None, :3, :3].double()
    expected = linear @ covariance(v.x) @ linear.mT
    assert torch.allclose(seen.x[..., POSITION], seen.g.geometry.act(v.x[..., POSITION]), atol=1e-5)
    assert float(((covariance(seen.x) - expected).flatten(2).norm(dim=-1) / expected.flatten(2).norm(dim=-1)).max()) < 1e-5
    assert torch.allclose(seen.x[..., ROTATION].norm(dim=-1), torch.ones(4, 200), atol=1e-5) and bool((seen.x[..., 7] >= 0).all())
    assert torch.equal(seen.x[..., OPACITY], v.x[..., OPACITY]) and torch.equal(seen.x[..., 11:14], v.x[..., 11:14])


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_rendered_moves_with_the_map(change: points.Change) -> None:
    v = some(2, 30)
    v.x[..., SCALE] = v.x[..., SCALE].clamp(min=0.2)
    seen = one(Splats(30, (change,), even=True), v)
    at = v.x[:, :12, POSITION] + 0.2
    before, after = density(v.x, at.double()), density(seen.x, seen.g.geometry.act(at).double())
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-4) and float(before.max()) > 0.1


def test_a_turn_multiplies_quaternions_from_the_left_and_a_factor_scales_and_axes_keep_their_names() -> None:
    v = some()
    q, f = torch.nn.functional.normalize(torch.randn(4, 4), dim=1), torch.tensor([0.5, 1.0, 2.0, 7.0])
    matrix = torch.eye(4).repeat(4, 1, 1)
    matrix[:, :3, :3] = f[:, None, None] * rotations_from(q)
    x = acted(Affine(matrix), v.x)
    for b in range(4):
        (a0, a1, a2, a3), (w, i, j, k) = q[b], v.x[b, :, ROTATION].T
        product = [a0 * w - a1 * i - a2 * j - a3 * k, a0 * i + a1 * w + a2 * k - a3 * j, a0 * j - a1 * k + a2 * w + a3 * i, a0 * k + a1 * j - a2 * i + a3 * w]
        slow = torch.stack(product, -1)
        slow = torch.where(slow[:, :1] < 0, -slow, slow)
        sure = slow[:, 0] > 1e-4
        assert torch.allclose(x[b, sure, ROTATION], slow[sure], atol=1e-5)
    large = v.x[..., SCALE] > 2 * splats.THINNEST * v.x[..., SCALE].amax(-1, keepdim=True)
    assert torch.allclose((x[..., SCALE] / v.x[..., SCALE])[large], f[:, None, None].expand(4, 200, 3)[large], rtol=1e-4)


def test_one_map_after_another_is_their_product() -> None:
    v = some()
    a, b = torch.eye(4).repeat(4, 1, 1), torch.eye(4).repeat(4, 1, 1)
    a[:, :3], b[:, :3] = torch.randn(4, 3, 4), torch.randn(4, 3, 4)
    twice, once = acted(Affine(b), acted(Affine(a), v.x)), acted(Affine(b) @ Affine(a), v.x)
    assert torch.allclose(twice[..., POSITION], once[..., POSITION], rtol=1e-4, atol=1e-3)
    assert float(((covariance(twice) - covariance(once)).flatten(2).norm(dim=-1) / covariance(once).flatten(2).norm(dim=-1)).max()) < 1e-4


def test_scales_of_zero_and_scenes_of_any_size_leave_nothing_that_is_not_finite() -> None:
    v = some(3)
    v.x[:, :20, 4], v.x[:, 20:30, SCALE] = 0, 0
    v.x[1] *= torch.cat([torch.full((3,), 1e6), torch.ones(1), torch.full((3,), 1e6), torch.ones(7)])
    v.x[2] *= torch.cat([torch.full((3,), 1e-6), torch.ones(1), torch.full((3,), 1e-6), torch.ones(7)])
    seen = one(Splats(200, (Turn(None), Scale(0.5, 2.0, each=True)), even=True), v)
    assert bool(seen.x.isfinite().all()) and bool((seen.x[..., SCALE] >= 0).all()) and float(seen.x[..., POSITION].norm(dim=-1).max()) < 3
    assert torch.allclose(seen.x[..., ROTATION].norm(dim=-1), torch.ones(3, 200), atol=1e-5)


def test_quaternions_are_those_of_their_rotations_for_every_largest_number() -> None:
    q = torch.cat([torch.randn(500, 4), torch.eye(4), -torch.eye(4), torch.tensor([[0.0, 1, 1, 0], [0, 0, -1, 1]])])
    found = quaternions_from(rotations_from(q))
    assert torch.allclose(rotations_from(found), rotations_from(q), atol=1e-5) and bool((found[:500, 0] >= 0).all())
    assert torch.allclose(found[500:504], torch.eye(4), atol=1e-6) and torch.allclose(found[504:508], torch.eye(4), atol=1e-6)


# --- what is seen from a direction --------------------------------------------------------------------------------------------------------------


def sphere(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1)


def test_harmonics_are_those_of_the_files_and_orthonormal() -> None:
    d = sphere(20)
    x, y, z = d.unbind(1)
    first = math.sqrt(3 / (4 * math.pi)) * torch.stack([-y, z, -x], 1)
    second = math.sqrt(15 / (4 * math.pi)) * torch.stack([x * y, -y * z, (3 * z * z - 1) / (2 * math.sqrt(3)), -x * z, (x * x - y * y) / 2], 1)
    assert torch.allclose(harmonics(1, d), first) and torch.allclose(harmonics(2, d), second)
    assert torch.allclose(harmonics(3, d)[:, 1], math.sqrt(105 / (4 * math.pi)) * x * y * z)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(8))
    angle = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16
    root = (1 - nodes.square()).sqrt()
    grid = torch.stack([root[:, None] * angle.cos(), root[:, None] * angle.sin(), nodes[:, None].expand(-1, 16)], -1).reshape(-1, 3)
    values = torch.cat([harmonics(degree, grid) for degree in range(5)], 1)
    assert torch.allclose(values.T @ (values * (weights.repeat_interleave(16) * 2 * math.pi / 16)[:, None]), torch.eye(25, dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_matrices_of_turns_are_orthogonal_multiply_and_say_what_is_seen_afterwards(degree: int) -> None:
    r = rotations_from(torch.randn(6, 4, dtype=torch.float64))
    r[3:] = -r[3:]  # reflections
    m = turned(degree, r)
    assert torch.allclose(m @ m.mT, torch.eye(2 * degree + 1, dtype=torch.float64).expand_as(m), atol=1e-10)
    assert torch.allclose(turned(degree, r @ r.roll(1, 0)), m @ m.roll(1, 0), atol=1e-10)
    c, d = torch.randn(6, 2 * degree + 1, dtype=torch.float64), sphere(30)
    seen = torch.einsum("dm,bm->bd", harmonics(degree, d), torch.einsum("bij,bj->bi", m, c))
    before = torch.stack([harmonics(degree, d @ r[b]) @ c[b] for b in range(6)])  # d @ r is the row of r^-1 d
    assert torch.allclose(seen, before, atol=1e-10)


@pytest.mark.parametrize("change", [Turn(None), Mirror(2, 1.0), Scale(0.5, 2.0)])
def test_an_eye_that_moves_along_sees_the_same_colours(change: points.Change) -> None:
    v = some(3, 20, channels=59)
    seen = one(Splats(20, (change,), even=True), v)
    r = seen.g.geometry.matrix[:, :3, :3].double()
    r = r / torch.linalg.det(r).abs()[:, None, None] ** (1 / 3)
    d = sphere(7)

    def colour(x: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        rest = x[..., REST].double().unflatten(-1, (3, 15))
        return torch.einsum("bdm,bncm->bdnc", torch.cat([harmonics(k, directions) for k in (1, 2, 3)], -1), rest)

    assert torch.allclose(colour(seen.x, d.expand(3, 7, 3) @ r.mT), colour(v.x, d.expand(3, 7, 3)), atol=1e-4)


# --- views ------------------------------------------------------------------------------------------------------------------------------------


def test_the_plain_view_lies_in_the_unit_ball_and_scales_with_it() -> None:
    v = some()
    seen = one(find_policy("plain", 200, "splats").roles["v"], v)
    assert torch.allclose(seen.x[..., :3].mean(1), torch.zeros(4, 3), atol=1e-5) and torch.allclose(
        seen.x[..., :3].norm(dim=-1).amax(1), torch.ones(4), atol=1e-5
    )
    radius = seen.g.geometry.parameters["radius"]
    assert torch.allclose(seen.x[..., SCALE].amax(-1) * radius[:, None], v.x[..., SCALE].amax(-1), rtol=1e-4)


def test_what_clouds_lose_splats_lose_and_jitter_moves_centres_alone() -> None:
    v = some(2, 400)
    seen = one(Splats(100, (Crop(0.25, 0.25),)), v)
    assert seen.x.shape == (2, 100, 14) and seen.g.parameters["crop"].tolist() == [0.75, 0.75]
    plain, shaken = one(Splats(400, (), even=True), v), one(Splats(400, (Jitter(0.1, 0.05),), even=True), v)
    assert torch.equal(plain.x[..., 3:], shaken.x[..., 3:]) and 0 < float((plain.x - shaken.x).abs().max()) <= 0.05 + 1e-6


def test_a_view_is_the_same_in_another_batch_and_of_lists_and_of_centres_alone() -> None:
    v = some(6)
    for policy in (find_policy("simclr", 64, "splats"), splats.rotated(64), find_policy("gaussian_mae", 64, "splats")):
        whole = policy(v, Counter(5, 1))["v"].x
        part = policy(View(v.x[2:4], v.index[2:4]), Counter(5, 1))["v"].x
        assert torch.allclose(whole[2:4], part, atol=1e-5)
    ragged = View([some(1, k).x[0] for k in (1, 7, 300)], torch.arange(3))
    seen = find_policy("simclr", 64, "splats")(ragged, Counter(0, 0))
    assert seen["v"].x.shape == (3, 64, 14) and bool(seen["v"].x.isfinite().all()) and not torch.equal(seen["v"].x, seen["w"].x)
    centres = find_policy("mae", 64, "splats")(View(v.x[..., :3], v.index), Counter(0, 0))["v"].x
    assert torch.equal(centres, find_policy("mae", 64, "points")(View(v.x[..., :3], v.index), Counter(0, 0))["v"].x)


def test_every_policy_of_pictures_has_an_analogue_and_gaussian_mae_trains_as_its_paper_says() -> None:
    v = some(2)
    for name in names("splats"):
        made = find_policy(name, 64, "splats")(v, Counter(0, 0))
        assert made
    assert find_policy("gaussian_mae", 64, "splats") == find_policy("mae", 64, "splats")
    assert find_policy("mae", 64, "splats").roles["v"].changes == (Scale(2 / 3, 1.5, each=True), Shift(0.2))


def test_raw_input_is_the_share_in_each_cell_and_what_the_rest_is_like() -> None:
    v = some(2)
    numbers = splats.raw(one(Splats(200, (), even=True), v))
    assert numbers.shape == (2, 512 + 22) and torch.allclose(numbers[:, :512].sum(1), torch.ones(2))
    assert torch.allclose(numbers[:, 512], v.x[..., 3].mean(1), atol=1e-5) and torch.allclose(numbers[:, 523], v.x[..., 3].std(1, correction=0), atol=1e-5)


def test_colours_are_mapped_from_every_direction_of_sight_alike() -> None:
    v = some(5, 60, channels=23)
    v.x[..., 11:] *= 0.3
    paint = Paint(0.4, 0.4, 0.4, 0.1, p=1.0, grey=0.3)
    seen, same = (one(Splats(60, kept, even=True), v) for kept in ((Turn(None), paint), (Turn(None),)))
    assert torch.equal(seen.x[..., :11], same.x[..., :11]) and same.g.colour is None
    towards = torch.nn.functional.normalize(torch.randn(7, 3), dim=1)
    basis = harmonics(1, towards)

    def colour(x: torch.Tensor, k: int) -> torch.Tensor:
        """0.5 + the sum of harmonics, for each channel, from a direction."""
        return 0.5 + splats.HARMONIC * x[..., 11:14] + x[..., 14:].unflatten(-1, (3, 3)) @ basis[k]

    m = seen.g.colour.matrix
    for k in range(7):
        expected = torch.einsum("bij,bnj->bni", m[:, :, :3], colour(same.x, k)) + m[:, None, :, 3]
        assert torch.allclose(colour(seen.x, k), expected, atol=1e-5)
    assert float((seen.x[..., 11:] - same.x[..., 11:]).abs().mean()) > 0.05
    for name, changed in (("simclr", True), ("rotated", True), ("kept_colours", False), ("gaussian_mae", False)):
        views = find_policy(name, 128, "splats")(v, Counter(0, 0))
        assert all((view.g.colour is not None) == changed for view in views.values()), name


def test_painted_splats_are_the_same_in_another_batch() -> None:
    v = some(6, 60, channels=23)
    alone = find_policy("simclr", 60, "splats")(View(v.x[2:3], v.index[2:3]), Counter(0, 3))["v"]
    assert torch.equal(find_policy("simclr", 60, "splats")(v, Counter(0, 3))["v"].x[2], alone.x[0])
