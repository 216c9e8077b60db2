"""Pieces of pictures as they are, for telling how a picture was made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine
from manyviews.views.corruptions import jpeg
from manyviews.views.finding import find_policy
from manyviews.views.selfcon import Cut

AS_IT_IS = Cut(16, worn=0.0)


def samples(count: int = 8, height: int = 40, width: int = 30, channels: int = 3) -> View:
    generator = torch.Generator().manual_seed(3)
    x = (torch.rand(count, height, width, channels, generator=generator) * 255).to(torch.uint8)
    return View(x, torch.randperm(10 * count, generator=generator)[:count])


def one(spec: Cut, batch: View, step: int = 0) -> View:
    return spec.apply(batch, Counter(0, step), ["v"])[0]


def test_a_view_is_a_piece_of_the_picture_turned_and_mirrored_without_a_new_value() -> None:
    batch, seen = samples(200), set()
    view = one(Cut(16, worn=0.0, turned=0.8, mirrored=0.8), batch)
    for i in range(200):
        p = {name: int(value[i]) for name, value in view.g.geometry.parameters.items()}
        piece = batch.x[i, p["crop_y"] : p["crop_y"] + 16, p["crop_x"] : p["crop_x"] + 16].numpy()
        piece = np.rot90(piece, p["quarters"])
        piece = piece[:, ::-1] if p["mirrored"] & 1 else piece
        piece = piece[::-1] if p["mirrored"] & 2 else piece
        torch.testing.assert_close(view.x[i], torch.from_numpy(piece.copy()).permute(2, 0, 1) / 255, rtol=0, atol=1e-6)
        seen.add((p["quarters"], p["mirrored"]))
    assert len(seen) == 16
    assert float(view.g.geometry.parameters["crop_x"].max()) == 14 and float(view.g.geometry.parameters["crop_y"].max()) == 24


def test_g_says_where_each_pixel_went() -> None:
    batch = samples(60)
    view = one(Cut(16, worn=0.0, turned=0.8, mirrored=0.8), batch)
    assert isinstance(view.g.geometry, Affine)
    at = torch.cartesian_prod(torch.arange(16), torch.arange(16)) + 0.5
    back = view.g.inverse().geometry.act(at.expand(60, -1, -1)).floor().long()
    for i in range(60):
        came = batch.x[i][back[i, :, 1], back[i, :, 0]].float() / 255
        torch.testing.assert_close(view.x[i][:, at[:, 1].long(), at[:, 0].long()].T, came, rtol=0, atol=1e-6)


def test_half_of_the_pictures_are_worn_in_one_of_three_ways_each_as_often() -> None:
    view = one(Cut(16), samples(1500))
    lost = {name: view.g.parameters[name] for name in ("compression", "blur", "noise")}
    counts = {name: float((amount > 0).float().mean()) for name, amount in lost.items()}
    assert all(abs(share - 1 / 6) < 0.04 for share in counts.values()), counts
    assert bool(((lost["compression"] > 0).int() + (lost["blur"] > 0) + (lost["noise"] > 0) <= 1).all())
    for name, low, high in (("compression", 0.05, 0.5), ("blur", 0.8, 1.4), ("noise", 3**0.5 / 255, 10**0.5 / 255)):
        amounts = lost[name][lost[name] > 0]
        assert low - 1e-6 <= float(amounts.min()) < low + 0.15 * (high - low) and high - 0.15 * (high - low) < float(amounts.max()) <= high + 1e-6
    assert bool((((view.x * 255) - (view.x * 255).round()).abs() < 1e-3).all()) and 0 <= float(view.x.min()) <= float(view.x.max()) <= 1
    with pytest.raises(ValueError, match="compression, blur, noise cannot be undone"):
        view.g.inverse()
    shares = [float((view.g.parameters[name] > 0).float().mean()) for name in ("quarters", "mirrored")]
    assert abs(shares[0] - 0.33 * 0.75) < 0.05 and abs(shares[1] - 0.33) < 0.05


def test_compression_is_that_of_a_jpeg_file_and_comes_before_the_turn() -> None:
    batch = samples(300)
    view, clean = (one(Cut(16, worn=worn, turned=0.8, mirrored=0.8), batch) for worn in (1.0, 0.0))
    assert torch.equal(view.g.geometry.matrix, clean.g.geometry.matrix)
    for i in view.g.parameters["compression"].nonzero()[:9, 0].tolist():
        p = {name: int(value[i]) for name, value in view.g.geometry.parameters.items()}
        piece = batch.x[i, p["crop_y"] : p["crop_y"] + 16, p["crop_x"] : p["crop_x"] + 16].permute(2, 0, 1) / 255
        quality = 100.0 - round(100 * float(view.g.parameters["compression"][i]))
        read = jpeg(piece[None], quality, Counter(0, 0), batch.index[:1])[0].rot90(p["quarters"], (1, 2))
        read = read.flip([axis for axis, bit in ((2, 1), (1, 2)) if p["mirrored"] & bit])
        torch.testing.assert_close(view.x[i], read, rtol=0, atol=1e-6)
        assert float((view.x[i] - clean.x[i]).abs().mean()) > 0.04


def test_views_do_not_depend_on_the_rest_of_the_batch() -> None:
    batch, spec = samples(24), Cut(16, worn=0.9, turned=0.8)
    whole, order = one(spec, batch), torch.randperm(24)
    assert torch.equal(one(spec, View(batch.x[order], batch.index[order])).x, whole.x[order])
    assert torch.equal(one(spec, View(batch.x[2:3], batch.index[2:3])).x, whole.x[2:3])
    assert not torch.equal(one(spec, batch, 1).x, whole.x)


@pytest.mark.parametrize(("height", "width", "channels"), [(10, 40, 3), (12, 12, 1), (16, 16, 4)])
def test_small_pictures_and_other_channels_are_seen_whole(height: int, width: int, channels: int) -> None:
    batch = samples(40, height, width, channels)
    assert one(Cut(16), batch).x.shape == (40, channels, 16, 16)
    view = one(Cut(16, worn=0.0, turned=0.0, mirrored=0.0), batch)
    top = (16 - height + 1) // 2 if height < 16 else 0
    for i in range(40):
        left = int(view.g.geometry.parameters["crop_x"][i])
        shown = view.x[i, :, top : top + height, max(0, -left) : max(0, -left) + min(16, width)]
        expected = batch.x[i, :, max(0, left) : max(0, left) + min(16, width)].permute(2, 0, 1) / 255
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-6)


def test_pictures_of_several_shapes_are_read_in_full_and_found_by_name() -> None:
    x = [(torch.rand(30 + 9 * i, 50 - 7 * i, 3) * 255).to(torch.uint8) for i in range(4)]
    for name, roles in (("detection_cut", ["v"]), ("detection_cut_pair", ["v", "w"])):
        policy = find_policy(name, 16)
        views = policy(View(x, torch.arange(4)), Counter(0, 0))
        assert list(views) == roles and policy.pixels == 0
        assert all(view.x.shape == (4, 3, 16, 16) for view in views.values())
    assert not torch.equal(views["v"].x, views["w"].x)
