"""Views of pictures: composed once, equal to one step after another; drawn by sample, not by batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Picture
from manyviews.views import images
from manyviews.views import resample as module
from manyviews.views.changes import Blur, Centre, Change, Crop, Flip, Grey, Jitter, Rotate, Shuffle, Solarize
from manyviews.views.picture import Spec
from manyviews.views.policy import Policy
from manyviews.views.resample import blur, resample

POLICIES = ["plain", "simclr", "shuffled_colours", "moco", "byol", "vicreg", "barlow_twins", "moco_v3", "dino", "ibot", "swav", "obow", "mae", "supervised"]
LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


def samples(x: Tensor | Sequence[Tensor], first: int = 0) -> View:
    return View(x, torch.arange(first, first + len(x)))


def photo(count: int = 6, height: int = 40, width: int = 50, channels: int = 3) -> Tensor:
    return (torch.rand(count, height, width, channels) * 255).to(torch.uint8)


def flat(views: dict[str, View | list[View]]) -> list[View]:
    return [v for role in views.values() for v in (role if isinstance(role, list) else [role])]


def turned_about_grey(c: Tensor, angle: float) -> Tensor:
    """Rodrigues' rotation of a colour (3, ...) about the grey axis, with the cross product written out."""
    n = torch.full((3,), 1 / math.sqrt(3), dtype=c.dtype)
    along = torch.einsum("i,i...->...", n, c)
    cross = torch.stack([n[1] * c[2] - n[2] * c[1], n[2] * c[0] - n[0] * c[2], n[0] * c[1] - n[1] * c[0]])
    return c * math.cos(angle) + cross * math.sin(angle) + torch.einsum("i,...->i...", n, along) * (1 - math.cos(angle))


def one_after_another(x: Tensor, spec: Spec, given: dict[str, Tensor]) -> Tensor:
    """The cropped picture (channels, size, size), float64, through every photometric step of the recorded parameters, clamped once at the end."""
    threshold = None
    for change in spec.changes:
        if isinstance(change, Jitter):
            for step in given["order"].int().tolist() if "order" in given else (0, 1):
                name = ("brightness", "contrast", "saturation", "hue")[step]
                f = float(given[name])
                luma = torch.einsum("i,i...->...", LUMA, x) if len(x) == 3 else x.mean(0)
                x = {"brightness": x * f, "contrast": f * x + (1 - f) * luma.mean(), "saturation": f * x + (1 - f) * luma}.get(name, x)
                x = turned_about_grey(x, f) if name == "hue" else x
        elif isinstance(change, Shuffle):
            x = x[given["shuffle"].long()]
        elif isinstance(change, Grey) and len(x) == 3 and given["grey"]:
            x = torch.einsum("i,i...->...", LUMA, x).expand_as(x)
        elif isinstance(change, Blur):
            x = blur(x[None], given["blur"][None])[0]
        elif isinstance(change, Solarize) and given["solarize"]:
            threshold = change.threshold
    x = x.clamp(0, 1)
    return x if threshold is None else torch.where(x >= threshold, 1 - x, x)


CHAINS: dict[str, tuple[Change, ...]] = {
    "simclr": images.simclr(32).specs[0].changes,
    "strong": (Crop(), Flip(), Jitter(0.8, 0.8, 0.8, 0.5, p=1.0), Grey(0.3), Blur(1.0, (0.3, 1.5)), Solarize(0.5)),
    "shuffled": (Crop(), Rotate(40.0), Shuffle(0.7), Jitter(0.6, 0.6, 0.6, 0.2), Grey(0.2)),
    "jitter last": (Crop(), Grey(0.5), Shuffle(1.0), Jitter(1.0, 1.0, 1.0, 0.5, p=1.0)),
    "two jitters": (Centre(), Shuffle(0.5), Shuffle(0.5)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_composed_view_is_its_linear_parts_one_after_another_clamped_once(name: str, channels: int) -> None:
    spec = Spec(20, CHAINS[name])
    if name == "two jitters":
        spec = Spec(20, CHAINS[name][:2])
    batch = samples(photo(40, 30, 36, channels))
    view = flat(Policy({"v": spec})(batch, Counter(1, 2)))[0]
    seen = resample(batch.x, view.g.geometry.matrix, 20).double()
    for i in range(len(batch)):
        expected = one_after_another(seen[i], spec, {name: value[i] for name, value in view.g.parameters.items()})
        edge = torch.zeros_like(expected, dtype=torch.bool)
        if bool(view.g.lost.get("solarize", torch.zeros(40))[i]):
            edge = (expected - 0.5).abs() < 1e-5  # either side of the threshold
        torch.testing.assert_close(view.x[i].double()[~edge], expected[~edge], rtol=0, atol=3e-6)


def test_the_recorded_crop_flip_and_angle_make_the_geometry() -> None:
    batch = samples(photo(50))
    view = flat(Policy({"v": Spec(16, (Crop(), Flip(), Rotate(90.0)))})(batch, Counter(0, 0)))[0]
    q = {name: value.double() for name, value in view.g.geometry.parameters.items()}
    p = torch.rand(50, 9, 2, dtype=torch.float64) * 40
    x = (p[..., 0] - q["crop_x"][:, None]) / q["crop_width"][:, None] * 16
    y = (p[..., 1] - q["crop_y"][:, None]) / q["crop_height"][:, None] * 16
    x = torch.where(q["flip"][:, None] > 0, 16 - x, x)
    c, s = q["angle"].cos()[:, None], q["angle"].sin()[:, None]
    expected = torch.stack([c * (x - 8) - s * (y - 8) + 8, s * (x - 8) + c * (y - 8) + 8], -1)
    torch.testing.assert_close(view.g.geometry.act(p.float()).double(), expected, rtol=0, atol=1e-3)


def test_a_bright_dot_moves_as_g_says() -> None:
    side = 64
    place = torch.rand(40, 2) * 40 + 12
    at = torch.arange(side) + 0.5
    x = torch.exp(-((at[None, None] - place[:, :1, None]) ** 2 + (at[None, :, None] - place[:, 1:, None]) ** 2) / 18)[..., None]
    view = flat(Policy({"v": Spec(48, (Crop((0.4, 1.0)), Flip(), Rotate(30.0)))})(samples(x), Counter(0, 1)))[0]
    expected = view.g.geometry.act(place[:, None])[:, 0]
    seen = ((expected > 12) & (expected < 36)).all(1)
    assert int(seen.sum()) > 10
    weight = view.x[seen, 0]
    out = torch.arange(48) + 0.5
    centre = torch.stack([(weight * out).sum((1, 2)), (weight * out[:, None]).sum((1, 2))], 1) / weight.sum((1, 2))[:, None]
    torch.testing.assert_close(centre, expected[seen], rtol=0, atol=0.15)


def test_the_relative_element_of_two_views_takes_points_of_one_to_the_other() -> None:
    views = images.mae(16)(samples(photo()), Counter(0, 0)), images.mae(16)(samples(photo()), Counter(0, 1))
    v, w = (flat(a)[0].g for a in views)
    p = torch.rand(6, 4, 2) * 30
    torch.testing.assert_close((w.geometry @ v.geometry.inverse()).act(v.geometry.act(p)), w.geometry.act(p), rtol=1e-4, atol=1e-3)


def test_an_inverse_says_what_was_lost() -> None:
    grey = flat(Policy({"v": Spec(16, (Grey(1.0),))})(samples(photo()), Counter(0, 0)))[0].g
    lossy = flat(Policy({"v": Spec(16, (Blur(1.0), Solarize(1.0)))})(samples(photo()), Counter(0, 0)))[0].g
    with pytest.raises(ValueError, match="greyscale"):
        grey.inverse()
    with pytest.raises(ValueError, match="blur, solarize cannot be undone"):
        lossy.inverse()
    kept: Picture = flat(images.mae(16)(samples(photo()), Counter(0, 0)))[0].g
    assert kept.inverse().lost == {}


def test_solarize_acts_after_everything_else() -> None:
    spec = Spec(12, (Solarize(1.0, 0.4), Jitter(0.8, 0.8, 0.8, 0.2, p=1.0), Blur(1.0)))
    batch = samples(photo(8, 12, 12))
    solarized = flat(Policy({"v": spec})(batch, Counter(0, 0)))[0].x
    never = dataclasses.replace(spec, changes=(Solarize(0.0, 0.4), *spec.changes[1:]))
    before = flat(Policy({"v": never})(batch, Counter(0, 0)))[0].x
    torch.testing.assert_close(solarized, torch.where(before >= 0.4, 1 - before, before))
    assert float((solarized != before).float().mean()) > 0.1


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_data_and_make_views_of_their_size(name: str) -> None:
    policy = getattr(images, name)(40)
    assert policy == getattr(images, name)(40) and repr(policy)
    views = policy(samples(photo(3)), Counter(0, 0))
    assert list(views) == list(policy.roles)
    for view, spec in zip(flat(views), policy.specs, strict=True):
        assert view.x.shape == (3, 3, spec.size, spec.size) and view.x.dtype == torch.float32
        assert float(view.x.min()) >= 0 and float(view.x.max()) <= 1
        assert torch.equal(view.index, torch.arange(3)) and len(view.g.geometry.matrix) == 3
    assert all(not torch.equal(a.x, b.x) for k, a in enumerate(flat(views)) for b in flat(views)[k + 1 :] if a.x.shape == b.x.shape)


def test_every_policy_of_the_module_is_tested_here() -> None:
    found = {name for name, f in vars(images).items() if callable(f) and getattr(f, "__annotations__", {}) == {"size": "int", "return": "Policy"}}
    assert found == set(POLICIES)


@pytest.mark.parametrize("kind", ["ragged", "even"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["byol", "dino", "shuffled_colours"])
def test_a_view_depends_on_seed_step_and_index_alone(kind: str, fast: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(module, "compiled", lambda: None)
    x = photo(23) if kind == "even" else [photo(1, 20 + 3 * i, 64 - 2 * i)[0] for i in range(23)]
    index = torch.arange(100, 123)
    policy, counter = getattr(images, name)(80 if fast else 24), Counter(3, 4)
    whole = flat(policy(View(x, index), counter))
    for rows in ([7], [22, 3, 0, 11], list(range(22, -1, -1)), list(range(5, 21))):
        part = flat(policy(View(x[rows] if isinstance(x, Tensor) else [x[i] for i in rows], index[rows]), counter))
        for a, b in zip(part, whole, strict=True):
            assert torch.equal(a.x, b.x[rows])
            assert all(torch.equal(value, b.g.parameters[name][rows]) for name, value in a.g.parameters.items())
    again = flat(policy(View(x, index), Counter(3, 5)))
    assert not torch.equal(again[0].x, whole[0].x)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_views_of_every_kind_of_picture_are_in_the_unit_range(kind: str, channels: int) -> None:
    x = [torch.rand(20 + i, 33 - i, channels) for i in range(4)]
    if kind == "uint8":
        x = [(a * 255).to(torch.uint8) for a in x]
    elif kind == "uint16":
        x = [(a * 65535).int().to(torch.uint16) for a in x]
    for view in flat(images.byol(16)(samples(x), Counter(0, 0))):
        assert view.x.shape == (4, channels, 16, 16)
        assert float(view.x.min()) >= 0 and float(view.x.max()) <= 1 and float(view.x.std()) > 0.01


def test_the_same_picture_in_8_and_16_bits_and_as_floats_gives_the_same_view() -> None:
    x = photo()
    wide, real = (x.int() * 257).to(torch.uint16), x.float() / 255
    views = [flat(images.simclr(24)(samples(a), Counter(0, 0)))[0].x for a in (x, wide, real)]
    torch.testing.assert_close(views[1], views[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(views[2], views[0], rtol=0, atol=1e-5)


def test_crops_have_the_area_and_the_ratio_asked_for_and_lie_inside() -> None:
    batch = samples(torch.zeros(4000, 5, 5, 1, dtype=torch.uint8))
    view = flat(Policy({"v": Spec(4, (Crop((0.2, 0.5), (0.5, 2.0)), Flip(0.3)))})(batch, Counter(0, 0)))[0]
    q = view.g.geometry.parameters
    share, ratio = q["crop_width"] * q["crop_height"] / 25, q["crop_width"] / q["crop_height"]
    assert float(share.min()) >= 0.2 - 1e-5 and float(share.max()) <= 0.5 + 1e-5
    assert float(ratio.min()) >= 0.5 - 1e-4 and float(ratio.max()) <= 2 + 1e-4
    assert abs(float(ratio.log().mean())) < 0.03
    for low, width in (("crop_x", "crop_width"), ("crop_y", "crop_height")):
        assert float(q[low].min()) >= 0 and float((q[low] + q[width]).max()) <= 5 + 1e-4
    assert abs(float(q["flip"].mean()) - 0.3) < 0.03
    assert abs(float(share.mean()) - 0.35) < 0.02


def test_a_crop_that_never_fits_is_the_largest_centred_one() -> None:
    batch = samples(torch.zeros(5, 100, 10, 1, dtype=torch.uint8))
    q = flat(Policy({"v": Spec(8, (Crop((0.9, 1.0)),))})(batch, Counter(0, 0)))[0].g.geometry.parameters
    assert q["crop_width"].tolist() == [10] * 5
    torch.testing.assert_close(q["crop_height"], torch.full((5,), 10 / 0.75))
    torch.testing.assert_close(q["crop_y"], torch.full((5,), (100 - 10 / 0.75) / 2))


def test_chances_and_ranges_of_the_photometric_changes_are_as_written() -> None:
    batch = samples(torch.zeros(4000, 2, 2, 3, dtype=torch.uint8))
    spec = Spec(2, (Jitter(0.4, 0.3, 0.2, 0.1, p=0.8), Grey(0.2), Blur(0.5, (0.5, 1.5)), Solarize(0.25)))
    q = flat(Policy({"v": spec})(batch, Counter(0, 0)))[0].g.parameters
    for name, reach, centre in (("brightness", 0.4, 1), ("contrast", 0.3, 1), ("saturation", 0.2, 1), ("hue", 0.2 * math.pi, 0)):
        moved = q[name] - centre
        assert abs(float((moved != 0).float().mean()) - 0.8) < 0.03
        assert 0.98 * reach < float(moved.abs().max()) <= reach + 1e-5 and abs(float(moved.mean())) < 0.03
    assert abs(float(q["grey"].mean()) - 0.2) < 0.03 and abs(float(q["solarize"].mean()) - 0.25) < 0.03
    hit = q["blur"] > 0
    assert abs(float(hit.float().mean()) - 0.5) < 0.03
    assert float(q["blur"][hit].min()) >= 0.5 and float(q["blur"][hit].max()) <= 1.5
    assert torch.equal(q["order"].sort(1).values, torch.arange(4.0).expand(4000, 4))


def test_evaluation_views_are_the_centred_square_and_nothing_random() -> None:
    x = photo(2, 20, 30)
    a, b = (flat(images.plain(20)(samples(x), Counter(seed, 0)))[0] for seed in (0, 1))
    assert torch.equal(a.x, b.x)
    torch.testing.assert_close(a.x, x[:, :, 5:25].permute(0, 3, 1, 2) / 255, rtol=0, atol=1e-6)
    assert a.g.colour is None and a.g.inverse().lost == {}


def test_given_columns_travel_with_the_views() -> None:
    batch = View(photo(3), torch.arange(3), None, {"label": torch.tensor([2, 0, 1])})
    assert all(torch.equal(view.given["label"], batch.given["label"]) for view in flat(images.simclr(8)(batch, Counter(0, 0))))


def test_pixels_that_suffice_are_those_of_the_smallest_crop() -> None:
    assert images.plain(224).pixels == 224
    assert images.mae(224).pixels == math.ceil(224 / math.sqrt(0.2))
    assert images.dino(224).pixels == max(math.ceil(224 / math.sqrt(0.4)), math.ceil(96 / math.sqrt(0.05)))


STATED = {(1.0, 0.2): 0.024, (0.5, 0.2): 0.021, (1.0, 0.0): 0.005, (0.5, 0.0): 0.001}  # mean absolute differences, by strength and hue


def usual(x: np.ndarray, q: dict[str, float], order: list[int]) -> np.ndarray:
    """Colour jitter step by step with a clamp after each, hue in HSV: what torchvision does, from its documentation."""
    from skimage.color import hsv2rgb, rgb2hsv

    luma = LUMA.numpy()
    for step in order:
        if step == 0:
            x = x * q["brightness"]
        elif step == 1:
            x = q["contrast"] * x + (1 - q["contrast"]) * (x @ luma).mean()
        elif step == 2:
            x = q["saturation"] * x + (1 - q["saturation"]) * (x @ luma)[..., None]
        else:
            hsv = rgb2hsv(x)
            hsv[..., 0] = (hsv[..., 0] + q["hue"] / (2 * math.pi)) % 1
            x = hsv2rgb(hsv)
        x = x.clip(0, 1)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("hue", [0.2, 0.0])
def test_the_difference_from_the_usual_clamped_pipeline_is_what_the_docstring_says(strength: float, hue: float) -> None:
    data = pytest.importorskip("skimage.data")
    photos = [torch.from_numpy(getattr(data, name)()[::4, ::4].copy()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    batch = samples([photos[i % 4] for i in range(240)])
    spec = Spec(64, (Crop(), Jitter(0.8 * strength, 0.8 * strength, 0.8 * strength, hue * strength, p=1.0)))
    view = flat(Policy({"v": spec})(batch, Counter(0, 0)))[0]
    seen = resample(batch.x, view.g.geometry.matrix, 64).permute(0, 2, 3, 1).double().numpy()
    differences = []
    for i in range(len(batch)):
        q = {name: float(value[i]) for name, value in view.g.parameters.items() if name != "order"}
        expected = usual(seen[i], q, view.g.parameters["order"][i].int().tolist())
        differences.append(np.abs(view.x[i].permute(1, 2, 0).numpy() - expected).mean())
    stated = STATED[strength, hue]
    assert abs(float(np.mean(differences)) - stated) < 0.0006
    assert f"{stated:.3f}" in (images.__doc__ or "")
