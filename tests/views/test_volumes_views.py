"""Views of volumes: one map, told by `g`; antialiased; the same whatever else is in the batch."""

import math

import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views import volumes
from manyviews.views.finding import find_policy
from manyviews.views.volumes import Block, Blur, Box, Intensity, Mirror, Noise, Scale, Turn


def smooth(shape: tuple[int, int, int]) -> torch.Tensor:
    """A function of place that can be asked anywhere: what a view should show there."""
    depth, height, width = ((torch.arange(n) + 0.5) / n for n in shape)
    return field(torch.stack(torch.meshgrid(depth, height, width, indexing="ij")[::-1], -1))[..., None]


def field(at: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.2 * torch.sin(3 * at[..., 0] + 1) + 0.2 * torch.cos(4 * at[..., 1]) * at[..., 2]


def samples() -> View:
    return View([smooth((40, 44, 48)), smooth((36, 30, 52))], torch.tensor([3, 8]))


@pytest.mark.parametrize("changes", [(Box(1.0, 1.0),), (Box(0.5, 0.8),), (Box(0.6, 0.6), Turn()), (Box(0.7, 0.9), Scale(), Mirror((0, 1, 2)))])
def test_a_view_shows_at_each_voxel_what_the_sample_has_where_g_says_it_came_from(changes: tuple[volumes.Change, ...]):
    v = samples()
    seen = Block(20, changes).apply(v, Counter(0, 1), ["v"])[0]
    axis = torch.arange(20) + 0.5
    at = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(1, -1, 3).expand(2, -1, -1)
    back = seen.g.geometry.inverse().act(at)
    for x, y, where in zip(v.x, seen.x, back, strict=True):
        extent = torch.tensor([x.shape[2], x.shape[1], x.shape[0]])
        inside = ((where > 1) & (where < extent - 1)).all(1)
        assert inside.float().mean() > 0.7
        assert float((y.flatten() - field(where / extent))[inside].abs().max()) < 0.01


def test_the_middle_voxel_of_a_centred_cube_stays_the_middle():
    seen = Block(10).apply(samples(), Counter(0, 0), ["v"])[0]
    assert torch.allclose(seen.g.geometry.act(torch.tensor([[[24.0, 22, 20]], [[26, 15, 18]]]))[:, 0], torch.full((2, 3), 5.0), atol=1e-4)


def test_shrinking_averages_instead_of_skipping():
    checker = (torch.arange(32)[:, None, None] + torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float()[..., None]
    seen = volumes.plain(8)(View([checker], torch.tensor([0])), Counter(0, 0))["v"].x
    assert torch.allclose(seen, torch.full_like(seen, 0.5), atol=1e-5)


def test_whole_numbers_of_eight_bits_are_shares_of_255():
    x = torch.randint(0, 255, (12, 12, 12, 2), dtype=torch.uint8)
    seen = volumes.plain(12)(View([x], torch.tensor([0])), Counter(0, 0))["v"].x
    assert torch.allclose(seen[0], x.permute(3, 0, 1, 2) / 255, atol=1e-5)


def test_intensities_stay_in_range_and_what_is_lost_is_told():
    v = samples()
    seen = Block(16, (Intensity(0.9, 0.5, 0.9), Noise(0.3), Blur(1.0, 1.0))).apply(v, Counter(0, 0), ["v"])[0]
    assert float(seen.x.min()) >= 0 and float(seen.x.max()) <= 1 and set(seen.g.lost) == {"gamma", "noise", "blur"}
    with pytest.raises(ValueError, match="cannot be undone"):
        seen.g.inverse()


def test_the_blur_is_gaussian_and_leaves_alone_what_is_not_blurred():
    x = torch.zeros(2, 1, 15, 15, 15)
    x[:, 0, 7, 7, 7] = 1
    out = volumes.blurred(x, torch.tensor([1.0, 0.0]), 4)
    assert torch.allclose(out[1], x[1], atol=1e-6) and math.isclose(float(out[0].sum()), 1, rel_tol=1e-4)
    assert math.isclose(float(out[0, 0, 7, 7, 8] / out[0, 0, 7, 7, 7]), math.exp(-0.5), rel_tol=1e-4)
    assert math.isclose(float(out[0, 0, 8, 7, 9] / out[0, 0, 7, 7, 7]), math.exp(-2.5), rel_tol=1e-3)


def test_a_view_is_the_same_in_another_batch_and_every_policy_of_pictures_has_an_analogue():
    v = samples()
    policy = find_policy("simclr", 12, "volumes")
    whole = policy(v, Counter(1, 1))
    assert torch.allclose(policy(View(v.x[1:], v.index[1:]), Counter(1, 1))["w"].x, whole["w"].x[1:], atol=1e-5)
    assert whole["v"].x.shape == (2, 1, 12, 12, 12) and not torch.equal(whole["v"].x, whole["w"].x)
    made = find_policy("ibot", 16, "volumes")(v, Counter(0, 0))
    assert made["global_crops"][1].x.shape == (2, 1, 16, 16, 16) and made["local_crops"][0].x.shape == (2, 1, 8, 8, 8)
