"""Views of clouds: one map, told by `g`; what is lost; the same whatever else is in the batch."""

import math

import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import rotations_about, rotations_from
from manyviews.views import points
from manyviews.views.finding import find_policy, names
from manyviews.views.points import Cloud, Crop, CutOut, Jitter, Mirror, Paint, Scale, Shift, Turn


def samples(count: int = 5, size: int = 200, channels: int = 3) -> View:
    x = torch.randn(count, size, channels, generator=torch.Generator().manual_seed(0)) * 3 + 7
    if channels >= 6:
        x[..., 3:6] = torch.nn.functional.normalize(x[..., 3:6], dim=-1)
    return View(x, torch.arange(count) + 10)


def one(cloud: Cloud, v: View, role: str = "v", step: int = 0) -> View:
    return cloud.apply(v, Counter(3, step), [role])[0]


def test_the_plain_view_lies_in_the_unit_ball_with_its_centre_at_the_origin_before_thinning():
    v = samples()
    seen = one(Cloud(200, (), even=True), v)
    assert torch.allclose(seen.x.mean(1), torch.zeros(5, 3), atol=1e-5)
    assert torch.allclose(seen.x.norm(dim=-1).amax(1), torch.ones(5), atol=1e-5)


@pytest.mark.parametrize("change", [Turn(1), Turn(None), Scale(0.5, 2.0, each=True), Shift(0.3), Mirror(0)])
def test_g_takes_the_samples_points_to_the_views(change: points.Change):
    v = samples()
    seen = one(Cloud(200, (change,), even=True), v)
    assert torch.allclose(seen.g.geometry.act(v.x), seen.x, atol=1e-4)
    assert torch.allclose(seen.g.geometry.inverse().act(seen.x), v.x, atol=1e-2)


def test_rotations_are_rotations_and_haar_ones_have_no_favourite_direction():
    r = rotations_from(torch.randn(20000, 4, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(r @ r.mT, torch.eye(3).expand_as(r), atol=1e-5) and torch.allclose(torch.linalg.det(r), torch.ones(20000), atol=1e-5)
    assert float(r.mean(0).abs().max()) < 0.02
    assert abs(float(r.diagonal(dim1=1, dim2=2).sum(1).square().mean()) - 1) < 0.05  # the character of the standard representation has norm 1


def test_a_turn_about_the_vertical_keeps_heights_and_takes_z_to_x():
    v = samples()
    plain, seen = one(Cloud(200, (), even=True), v), one(Cloud(200, (Turn(1),), even=True), v)
    assert torch.allclose(plain.x[..., 1], seen.x[..., 1], atol=1e-5)
    quarter = rotations_about(1, torch.tensor([math.pi / 2]))
    assert torch.allclose(quarter[0] @ torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]), atol=1e-6)


def test_normals_stay_perpendicular_to_the_surface_under_uneven_scales():
    u = torch.rand(1, 300, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    flat = torch.cat([u, 0.5 * u[..., :1] - 0.3 * u[..., 1:]], -1)
    normal = torch.nn.functional.normalize(torch.tensor([-0.5, 0.3, 1.0]), dim=0).expand(1, 300, 3)
    seen = one(Cloud(300, (Turn(None), Scale(0.5, 2.0, each=True)), even=True), View(torch.cat([flat, normal], -1), torch.tensor([4])))
    edges = seen.x[:, 1:, :3] - seen.x[:, :1, :3]
    assert float((edges * seen.x[:, 1:, 3:6]).sum(-1).abs().max()) < 1e-4
    assert torch.allclose(seen.x[..., 3:6].norm(dim=-1), torch.ones(1, 300), atol=1e-5)


def test_a_crop_keeps_the_nearest_points_to_one_of_them_and_says_how_much_was_lost():
    v = samples(3, 400)
    left, share = points.dropped(Crop(0.25, 0.25), v.x, torch.ones(3, 400, dtype=torch.bool), Counter(0, 0), "a", v.index)
    assert left.sum(1).tolist() == [100] * 3 and share.tolist() == [0.75] * 3
    for x, kept in zip(v.x, left, strict=True):
        assert any(bool(torch.cdist(x[i : i + 1], x)[0][kept].max() <= torch.cdist(x[i : i + 1], x)[0][~kept].min()) for i in range(400))


def test_a_cut_out_removes_the_nearest_points_and_never_all():
    v = samples(4, 50)
    there = torch.ones(4, 50, dtype=torch.bool)
    left, _ = points.dropped(CutOut(0.2, 1.0), v.x, there, Counter(0, 0), "a", v.index)
    assert left.sum(1).tolist() == [40] * 4
    left, _ = points.dropped(CutOut(1.0, 1.0), v.x, there, Counter(0, 0), "a", v.index)
    assert left.sum(1).tolist() == [1] * 4


def test_jitter_is_clipped_and_points_repeat_as_seldom_as_can_be():
    v = samples(2, 30)
    plain, seen = one(Cloud(30, (), even=True), v), one(Cloud(30, (Jitter(0.5, 0.02),), even=True), v)
    assert 0 < float((plain.x - seen.x).abs().max()) <= 0.02 + 1e-6
    more = one(Cloud(75), v)
    counts = [len(set(map(tuple, cloud.tolist()))) for cloud in more.x]
    assert more.x.shape == (2, 75, 3) and counts == [30, 30]


def test_a_view_is_the_same_in_another_batch_and_a_list_of_clouds_is_a_batch():
    v = samples(6)
    for policy in (find_policy("simclr", 64, "points"), points.rotated(64)):
        whole = policy(v, Counter(5, 1))["v"].x
        part = policy(View(v.x[2:4], v.index[2:4]), Counter(5, 1))["v"].x
        assert torch.allclose(whole[2:4], part, atol=1e-6)
    ragged = [torch.randn(k, 3) for k in (1, 7, 300)]
    seen = find_policy("simclr", 64, "points")(View(ragged, torch.arange(3)), Counter(0, 0))
    assert seen["v"].x.shape == (3, 64, 3) and bool(seen["v"].x.isfinite().all()) and not torch.equal(seen["v"].x, seen["w"].x)


def test_every_policy_of_pictures_has_an_analogue_with_the_same_roles():
    v = samples(2)
    for name in names("points"):
        policy = find_policy(name, 64, "points")
        made = policy(v, Counter(0, 0))
        if name in names():
            assert {k: len(x) if isinstance(x, list) else 1 for k, x in made.items()} == {
                k: len(x) if isinstance(x, list) else 1 for k, x in find_policy(name, 64).roles.items()
            } or name in ("plain", "rotated")
        assert policy.pixels >= 32
    dino = find_policy("dino", 64, "points")(v, Counter(0, 0))
    assert dino["global_crops"][0].x.shape == (2, 64, 3) and dino["local_crops"][0].x.shape == (2, 32, 3)


def test_raw_input_is_the_share_of_points_in_each_cell():
    x = torch.tensor([[[-1.0, -1, -1], [0.99, 0.99, 0.99], [1.0, 1, 1], [0.01, 0.01, 0.01]]])
    counts = points.raw(View(x, torch.tensor([0])))
    assert counts.shape == (1, 512) and counts[0, 0] == 0.25 and counts[0, 511] == 0.5 and counts[0, 4 * 64 + 4 * 8 + 4] == 0.25


def test_colours_are_mapped_as_those_of_pictures_are_one_map_a_cloud_and_nothing_else_moves():
    g = torch.Generator().manual_seed(5)
    v = View(torch.rand(6, 90, 9, generator=g) * 0.3 + 0.3, torch.arange(6))
    paint = Paint(0.4, 0.4, 0.4, 0.1, p=1.0, grey=0.0)
    seen, same = (Cloud(90, kept, even=True).apply(v, Counter(1, 0), ["v"])[0] for kept in ((Turn(1), paint), (Turn(1),)))
    assert torch.equal(seen.x[..., :6], same.x[..., :6]) and seen.g.colour is not None and same.g.colour is None
    inside = 0
    for b, (m, p) in enumerate(zip(seen.g.colour.matrix, zip(*(seen.g.parameters[k] for k in ("brightness", "contrast", "saturation", "hue", "order"))))):
        for n in range(90):
            slow = m[:, :3] @ same.x[b, n, 6:] + m[:, 3]
            assert torch.allclose(seen.x[b, n, 6:], slow.clamp(0, 1), atol=1e-6)
            inside += bool(((slow > 0) & (slow < 1)).all())
        brightness, contrast, saturation, hue, order = p
        slow = one_by_one(same.x[b, :, 6:], float(brightness), float(contrast), float(saturation), float(hue), order.int().tolist())
        assert torch.allclose(seen.x[b, :, 6:], slow.clamp(0, 1), atol=1e-5)
    assert inside > 300 and len(seen.g.colour.matrix[:, 0, 0].unique()) == 6
    grey = Cloud(90, (Paint(grey=1.0),)).apply(v, Counter(1, 0), ["v"])[0].x[..., 6:]
    assert float((grey - grey.mean(-1, keepdim=True)).abs().max()) < 1e-6
    assert torch.equal(Cloud(90, (paint,), even=True).apply(View(v.x[..., :6], v.index), Counter(1, 0), ["v"])[0].x, same_without(v))


def one_by_one(colours, brightness, contrast, saturation, hue, order):
    """The four changes of a picture's colours, one after the other, without clamping in between."""
    luma = torch.tensor([0.299, 0.587, 0.114])
    c, s = math.cos(hue), math.sin(hue)
    third, root = (1 - c) / 3, s / math.sqrt(3)
    turn = torch.tensor([[c + third, third - root, third + root], [third + root, c + third, third - root], [third - root, third + root, c + third]])
    for change in order:
        grey = (colours @ luma)[:, None]
        if change == 0:
            colours = brightness * colours
        elif change == 1:
            colours = contrast * colours + (1 - contrast) * grey.mean()
        elif change == 2:
            colours = saturation * colours + (1 - saturation) * grey
        else:
            colours = colours @ turn.T
    return colours


def same_without(v):
    return Cloud(90, (), even=True).apply(View(v.x[..., :6], v.index), Counter(1, 0), ["v"])[0].x


def test_two_views_of_a_contrastive_policy_have_other_colours_unless_these_are_kept():
    v = View(torch.rand(4, 200, 9) * 0.5 + 0.25, torch.arange(4))
    for name, changed in (("simclr", True), ("rotated", True), ("kept_colours", False), ("mae", False)):
        views = find_policy(name, 128, "points")(v, Counter(0, 0))
        assert all((view.g.colour is not None) == changed for view in views.values()), name
