"""Corruptions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views.corruptions import CORRUPTIONS, corrupted


def samples(count: int = 6, side: int = 32, channels: int = 3) -> View:
    """Smooth pictures between 0.2 and 0.8."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 4, 4, generator=g)
    x = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear").mul(0.6).add(0.2)
    return View((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), torch.arange(count))


def seen(name: str, severity: int, view: View, side: int = 32) -> torch.Tensor:
    return corrupted(side, name, severity)(view, Counter(0, 0))["v"].x


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_of_any_channels_stay_pictures_and_get_worse_with_severity(name: str, channels: int) -> None:
    view = samples(channels=channels)
    clean = view.x.permute(0, 3, 1, 2) / 255
    harm = [float((seen(name, s, view) - clean).abs().mean()) for s in (1, 5)]
    x = seen(name, 5, view)
    assert x.shape == clean.shape and float(x.min()) >= 0 and float(x.max()) <= 1
    assert 0 < harm[0] < harm[1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_a_sample_suffers_depends_on_its_index_and_not_on_its_batch(name: str) -> None:
    view = samples()
    alone = View(view.x[4:5], view.index[4:5])
    torch.testing.assert_close(seen(name, 3, view)[4:5], seen(name, 3, alone), atol=1.01 / 255, rtol=0)


def test_noise_has_the_published_strength() -> None:
    view = View(torch.full((8, 32, 32, 3), 128, dtype=torch.uint8), torch.arange(8))
    base = 128 / 255
    assert float((seen("gaussian noise", 1, view) - base).std()) == pytest.approx(0.04, rel=0.03)
    shot = seen("shot noise", 5, view)
    assert float(shot.mean()) == pytest.approx(base, abs=0.005) and float(shot.std()) == pytest.approx((base / 50) ** 0.5, rel=0.03)
    hit = seen("impulse noise", 5, view)
    assert float((hit == 0).float().mean()) == pytest.approx(0.035, abs=0.005) and float((hit == 1).float().mean()) == pytest.approx(0.035, abs=0.005)


def test_brightness_is_value_in_hsv() -> None:
    from colorsys import hsv_to_rgb, rgb_to_hsv

    view = samples(2, 8)
    x, got = view.x.double().numpy() / 255, seen("brightness", 5, view, 8)
    for i, row, column in np.ndindex(2, 8, 8):
        h, s, v = rgb_to_hsv(*x[i, row, column])
        np.testing.assert_allclose(got[i, :, row, column].numpy(), hsv_to_rgb(h, s, min(1, v + 0.3)), atol=0.51 / 255)


def test_black_becomes_grey_under_brightness() -> None:
    view = View(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(seen("brightness", 5, view, 8), torch.full((1, 3, 8, 8), round(0.3 * 255) / 255), atol=0.51 / 255, rtol=0)


def test_contrast_keeps_the_mean_and_blur_the_flat() -> None:
    view = samples()
    clean = view.x.permute(0, 3, 1, 2) / 255
    low = seen("contrast", 5, view)
    torch.testing.assert_close(low.mean((2, 3)), clean.mean((2, 3)), atol=2e-3, rtol=0)
    torch.testing.assert_close(low.std((2, 3)), 0.15 * clean.std((2, 3)), atol=2e-3, rtol=0)
    flat = View(torch.full((2, 32, 32, 3), 77, dtype=torch.uint8), torch.arange(2))
    for name in ("gaussian blur", "motion blur", "pixelate"):
        torch.testing.assert_close(seen(name, 5, flat), torch.full((2, 3, 32, 32), 77 / 255), atol=1e-3, rtol=0)


def test_motion_blur_smears_along_a_line_and_not_across_it() -> None:
    """Stripes that run along the motion would stay; horizontal ones at up to 45 degrees change less than vertical ones."""
    across = torch.zeros(32, 32, 32, 3, dtype=torch.uint8)
    across[:, :, ::2] = 255
    index = torch.arange(32)
    vertical, horizontal = View(across, index), View(across.transpose(1, 2).contiguous(), index)
    assert float(seen("motion blur", 3, vertical).std()) < float(seen("motion blur", 3, horizontal).std())


def test_levels_follow_the_side() -> None:
    blur = CORRUPTIONS["gaussian blur"]
    assert blur.level(5, 32) == 1.0 and blur.level(5, 64) == 2.0 and blur.level(5, 224) == 6.0 and blur.level(5, 448) == 12.0
    assert CORRUPTIONS["jpeg"].level(1, 32) == 80 and CORRUPTIONS["jpeg"].level(1, 224) == 25


def test_half_the_pixels_are_means_of_four() -> None:
    from manyviews.views.corruptions import pixelate

    x = torch.rand(2, 3, 8, 8)
    means = torch.nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(pixelate(x, 0.5, Counter(0, 0), torch.arange(2)), means)
