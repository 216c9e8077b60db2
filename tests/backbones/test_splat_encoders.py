"""Encoders of splats: groups, splats pooling and errors against slow loops, and what must not change them."""

import math

import pytest
import torch

from manyviews.backbones.building import build_encoder, builders, modality_of
from manyviews.backbones.splat_groups import SplatGroups, SplatsPooling, in_range, normalised, rows_of
from manyviews.contracts import View
from manyviews.data.splats import HARMONIC
from manyviews.errors import InputError

NAMES = [name for name, (modality, _) in builders().items() if modality == "splats" and name.endswith("_micro")]


def some(count: int = 3, size: int = 128, channels: int = 14, seed: int = 0) -> View:
    x = torch.randn(count, size, channels, generator=torch.Generator().manual_seed(seed))
    x[..., :3] /= x[..., :3].norm(dim=-1).amax(1)[:, None, None]
    if channels > 3:
        x[..., 3] = x[..., 3].sigmoid()
        x[..., 4:7] = (x[..., 4:7] - 3).exp()
        x[..., 7:11] = torch.nn.functional.normalize(x[..., 7:11], dim=-1) * torch.where(x[..., 7:8] < 0, -1, 1)
    return View(x, torch.arange(count))


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_trains_all_of_itself_and_sees_order_and_batch_as_nothing(name: str) -> None:
    encoder, v = build_encoder(name, 14, 128, seed=0), some()
    z = encoder(v)
    assert modality_of(name) == "splats" and z.shape == (3, encoder.dim)
    z.square().sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []
    encoder.eval()
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(127)])  # sampling begins at the first splat
    with torch.no_grad():
        z = encoder(v)
        assert torch.allclose(encoder(View(v.x[:, order], v.index)), z, atol=1e-4)
        assert torch.allclose(encoder(View(v.x[1:2], v.index[1:2])), z[1:2], atol=1e-4)
        assert encoder(View(some(2, 40).x, torch.arange(2))).shape == (2, 96)  # fewer splats than pooling looks at


def test_the_kinds_see_what_they_say_and_of_centres_alone_there_is_one_kind() -> None:
    v = some()
    changed = {name: v.x.clone() for name in ("opacity", "scale", "rotation", "colour", "harmonics")}
    changed["opacity"][..., 3] = 1 - changed["opacity"][..., 3]
    changed["scale"][..., 4:7] = changed["scale"][..., [5, 6, 4]]
    changed["rotation"][..., 7:11] = changed["rotation"][..., [10, 7, 8, 9]]
    changed["colour"][..., 11:14] *= -1
    for name, sees in ((NAMES[0], True), ("splat_transformer_centres_micro", False)):
        encoder = build_encoder(name, 14, 128, seed=0).eval()
        with torch.no_grad():
            same = {what: torch.allclose(encoder(View(x, v.index)), encoder(v), atol=1e-6) for what, x in changed.items() if what != "harmonics"}
        assert set(same.values()) == {not sees}, same
    with torch.no_grad():
        more, encoder = torch.cat([v.x, torch.randn(3, 128, 9)], -1), build_encoder(NAMES[0], 23, 128, seed=0).eval()
        assert torch.equal(encoder(View(more, v.index)), build_encoder(NAMES[0], 14, 128, seed=0).eval()(v))
        for name in NAMES:
            alone = build_encoder(name, 3, 128, seed=0).eval()
            assert alone.content_width == 3 * 32 and alone(View(v.x[..., :3], v.index)).shape == (3, 96)


def test_parameters_are_normalised_as_in_the_released_code() -> None:
    v = some()
    found = normalised(v.x)
    for b in range(3):
        s = v.x[b, :, 4:7]
        centred = s - s.mean(0)
        assert torch.allclose(found[b, :, 4:7], centred / max(float(row.norm()) for row in centred), atol=1e-6)
        for i in (0, 17):
            assert torch.allclose(found[b, i, 3], 2 * v.x[b, i, 3] - 1) and torch.equal(found[b, i, 7:11], v.x[b, i, 7:11])
            slow = [2 * min(max(HARMONIC * float(c), -0.5), 0.5) / math.sqrt(3) for c in v.x[b, i, 11:14]]
            assert torch.allclose(found[b, i, 11:14], torch.tensor(slow), atol=1e-6)
    assert float(found[..., 3:].abs().max()) <= 1 and rows_of(("colour", "opacity")) == [3, 11, 12, 13]
    alike = v.x.clone()
    alike[..., 4:7] = 0.1
    assert not normalised(alike)[..., 4:7].abs().gt(1e-3).any()


@torch.no_grad()
@pytest.mark.parametrize("by", [("centre",), ("centre", "opacity", "scale", "rotation", "colour")])
def test_groups_are_the_nearest_in_the_chosen_space_with_centres_relative(by: tuple[str, ...]) -> None:
    v, groups = some(2, 60), SplatGroups(14, 24, 5, 8, by=by)
    tokens, x = groups(v), normalised(v.x)
    key = x[..., rows_of(by)]
    assert tokens.where.shape == (2, 5, len(rows_of(by))) == (2, 5, groups.axes) and tokens.content.shape == (2, 5, 8, 14) and groups.content_width == 112
    for b in range(2):
        chosen = [0]
        while len(chosen) < 5:
            chosen.append(int(torch.stack([(key[b] - key[b, i]).norm(dim=1) for i in chosen]).amin(0).argmax()))
        assert torch.allclose(tokens.where[b], key[b, chosen])
        for g, i in enumerate(chosen):
            near = (key[b] - key[b, i]).norm(dim=1).argsort()[:8]
            assert torch.allclose(tokens.content[b, g, :, 3:], x[b, near, 3:]) and torch.allclose(tokens.content[b, g, :, :3], x[b, near, :3] - x[b, i, :3])


@torch.no_grad()
def test_splats_pooling_is_its_loop_over_candidates_and_temperatures() -> None:
    pool, t = SplatsPooling(6, 5), torch.randn(2, 3, 8, 5)
    found = pool(t)
    assert found.shape == (2, 3, 6, 5)
    for b in range(2):
        for g in range(3):
            query = t[b, g].max(0).values
            distance = [float((row - query).square().sum()) for row in t[b, g]]
            for k in range(6):
                odds = torch.tensor([math.exp(-d / math.exp(float(pool.log_temperature[k]))) for d in distance])
                assert torch.allclose(found[b, g, k], (odds / odds.sum()) @ t[b, g], atol=1e-5)
    pool.log_temperature.fill_(20.0)
    assert torch.allclose(pool(t), t.mean(2, keepdim=True).expand(2, 3, 6, 5), atol=1e-4)
    pool.log_temperature.fill_(-20.0)
    nearest = (t - t.amax(2, keepdim=True)).square().sum(-1).argmin(-1)
    assert torch.allclose(pool(t)[:, :, 0], t.gather(2, nearest[..., None, None].expand(-1, -1, 1, 5))[:, :, 0], atol=1e-5)


def test_temperatures_part_from_one_another_in_training() -> None:
    encoder = build_encoder("splat_transformer_micro", 14, 128, seed=0)
    pooling = encoder.tokenizer.pooling
    encoder(some()).square().sum().backward()
    assert bool((pooling.log_temperature.grad != 0).any()) and len(set(pooling.log_temperature.tolist())) == 32
    assert build_encoder("splat_transformer_unpooled_micro", 14, 128, seed=0).tokenizer.pooling is None


def test_the_error_is_chamfers_for_centres_and_absolute_for_the_rest() -> None:
    groups, v = SplatGroups(14, 24, 5, 8, pooling=True), some(2, 60)
    content = groups(v).content
    prediction = torch.randn(2, 5, groups.content_width)
    errors = groups.errors(prediction, content)
    assert list(errors) == ["centre", "opacity", "scale", "rotation", "colour"]
    assert torch.allclose(groups.error(prediction, content), sum(errors.values()), atol=1e-5)
    p, c = prediction[1, 3].view(8, 14), content[1, 3]
    square = torch.cdist(p[:, :3], c[:, :3]).square()
    assert torch.allclose(errors["centre"][1, 3], square.amin(0).mean() + square.amin(1).mean(), rtol=1e-4)
    turned = torch.cat([1 - p[:, 7:8].tanh(), p[:, 8:11].tanh()], 1)
    slow = {"opacity": p[:, 3:4].tanh() - c[:, 3:4], "scale": p[:, 4:7].tanh() - c[:, 4:7], "colour": p[:, 11:] - c[:, 11:]}
    slow["rotation"] = turned / turned.norm(dim=1, keepdim=True) - c[:, 7:11]
    for name, difference in slow.items():
        assert torch.allclose(errors[name][1, 3], difference.abs().mean(), rtol=1e-4), name
    assert torch.allclose(in_range("rotation", torch.zeros(3, 4)), torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4))


def test_a_right_prediction_has_no_error() -> None:
    groups, v = SplatGroups(14, 24, 5, 8), some(2, 60)
    content = groups(v).content
    right = content.clone()
    right[..., 3:7] = right[..., 3:7].clamp(-0.9999, 0.9999).atanh()
    half = content[..., 7:11] / 2  # of any length, as it is normalised
    right[..., 7:11] = torch.cat([1 - half[..., :1], half[..., 1:]], -1).clamp(-0.9999, 0.9999).atanh()
    assert float(groups.error(right.flatten(2), content).abs().max()) < 1e-3


def test_what_cannot_be_is_said_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        SplatGroups(14, 24, embed=("opacity", "size"), by=())
    assert "no parameter 'size' of splats; there are centre, opacity, scale" in str(error.value)
    assert "embed=opacity, size: centres are always seen" in str(error.value) and "by=nothing" in str(error.value)
    with pytest.raises(InputError, match="splats with 3 columns have centres alone; scale cannot be had without the 14 columns"):
        SplatGroups(3, 24, embed=("centre", "scale"))
    with pytest.raises(InputError, match=r"8 groups of 32 splats need at least as many splats, and views have 16; take a larger --size"):
        build_encoder("splat_transformer_micro", 14, 128, seed=0)(some(2, 16))
