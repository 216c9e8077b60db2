import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from manyviews.app.model import Model
from manyviews.backbones.building import build_encoder
from manyviews.backbones.i2p_mae import Frame, Guide, look, picture_model
from manyviews.backbones.text_pretrained import Pictures
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas
from manyviews.nn.hierarchy import Level


def clouds(count: int = 2, points: int = 60) -> torch.Tensor:
    x = torch.randn(count, points, 3, generator=torch.Generator().manual_seed(0))
    return x / x.norm(dim=-1).amax(1)[:, None, None] * torch.tensor([1.3, 0.6, 0.9])


def test_a_depth_map_is_its_loop():
    size, x = 112, clouds()
    found = Frame.of(x, size).depth_map(x)
    for b in range(2):
        low, high = x[b].amin(0), x[b].amax(0)
        cell = float(max(high[0] - low[0], high[1] - low[1])) / (size - 3)
        at = [[math.floor(float((p[k] - low[k]) / cell)) for k in range(2)] for p in x[b]]
        middle = [(max(a[k] for a in at) + min(a[k] for a in at)) // 2 for k in range(2)]
        total = torch.zeros(size, size)
        for p, a in zip(x[b], at, strict=True):
            row, column = (a[k] - middle[k] + size // 2 - 1 for k in range(2))
            for i, j in itertools.product((-1, 0, 1), repeat=2):
                total[min(max(row + i, 0), size - 1), min(max(column + j, 0), size - 1)] += p[2]
        assert (found[b, 0] - total.sigmoid()).abs().gt(1e-4).sum() <= 9, "more than one point has moved by rounding"


def test_the_picture_does_not_depend_on_where_the_cloud_is_nor_on_its_size():
    x = clouds()
    flat = x.clone()
    flat[..., :2] = x[..., :2] * 2 + 0.5  # powers of two, so that nothing is rounded otherwise
    assert (Frame.of(flat, 64).depth_map(flat) - Frame.of(x, 64).depth_map(x)).abs().gt(1e-4).float().mean() < 0.01


def test_reading_a_map_is_enlarging_it_and_looking_the_pixels_up():
    x, a = clouds(), torch.randn(2, 5, 7, 7, generator=torch.Generator().manual_seed(1))
    frame = Frame.of(x, 56)
    at = frame.pixels(x)
    large = F.interpolate(a, (56, 56), mode="bicubic")
    slow = torch.stack([torch.stack([large[b, :, i, j] for i, j in at[b].tolist()]) for b in range(2)])
    assert torch.allclose(frame.read(a, x), slow, atol=1e-4)


def test_saliency_is_the_mean_of_three_sides_and_features_stand_beside_each_other():
    guide, x = Guide("untrained:resnet_nano"), clouds()
    top = Level(x[:, :4], torch.zeros(2, 4, 3, 3))
    target = Level(x[:, :6], x[:, 6:30].unflatten(1, (6, 4)) - x[:, :6, None])
    saliency, features = guide(View(x, torch.arange(2)), top, target)
    assert saliency.shape == (2, 4) and features.shape == (2, 6, guide.numbers(12)) and guide.numbers(12) == 4 * 3 * guide.width
    members = features.unflatten(2, (4, 3, guide.width))
    slow = torch.zeros(2, 4)
    for k, turn in enumerate(([0, 1, 2], [2, 0, 1], [1, 2, 0])):
        turned = x[..., turn]
        frame = Frame.of(turned, guide.size)
        maps, salient = look(guide.model, frame.depth_map(turned).expand(-1, 3, -1, -1))
        slow += frame.read(salient, turned[:, :4])[..., 0] / 3
        assert torch.allclose(members[:, :, :, k].flatten(1, 2), frame.read(maps, turned[:, 6:30]), atol=1e-4)
    assert torch.allclose(saliency, slow, atol=1e-5)


def test_it_is_frozen_and_its_normalisations_hold_still():
    guide, x = Guide("untrained:resnet_nano").train(), clouds()
    before = {key: value.clone() for key, value in guide.state_dict().items()}
    level = Level(x[:, :6], torch.zeros(2, 6, 4, 3))
    _, features = guide(View(x, torch.arange(2)), level, level)
    assert not features.requires_grad and all(torch.equal(value, before[key]) for key, value in guide.state_dict().items())
    assert not any(p.requires_grad for p in guide.parameters())


def test_a_run_can_guide_and_what_is_no_model_of_pictures_is_refused(tmp_path: Path):
    trained = build_encoder("resnet_nano", 1, 24, seed=5)
    Model(trained, "resnet_nano", 24, channels=1).save(tmp_path / "encoder.safetensors")
    for name in (str(tmp_path), str(tmp_path / "encoder.safetensors")):
        model, size, channels = picture_model(name)
        assert (size, channels) == (24, 1)
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), trained.state_dict().values(), strict=True))
    Model(build_encoder("pointnet", 3, 64), "pointnet", 64, modality="points").save(tmp_path / "points.safetensors")
    with pytest.raises(InputError, match="it is not of pictures; take open_clip:NAME"):
        picture_model(str(tmp_path / "points.safetensors"))
    with pytest.raises(InputError, match="no model of pictures 'nothing': it is no run"):
        Guide("nothing")


def test_a_model_of_open_clip_is_asked_for_its_class_tokens_attention_and_for_projected_patches():
    torchvision_schemas.declare()
    open_clip = pytest.importorskip("open_clip")
    visual = open_clip.transformer.VisionTransformer(16, 4, 12, layers=2, heads=3, mlp_ratio=2.0, output_dim=5).eval()
    x = torch.rand(2, 3, 16, 16)
    model = Pictures(visual, 5, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    maps, salient = look(model, x)
    with torch.no_grad():
        t = visual.transformer.resblocks[0](visual._embeds((x - 0.5) / 0.2))
        last = visual.transformer.resblocks[1]
        q, k, _ = (last.ln_1(t) @ last.attn.in_proj_weight.T + last.attn.in_proj_bias).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / 2).softmax(-1).mean(1)[:, 0, 1:]
        parts = visual.ln_post(last(t))[:, 1:] @ visual.proj
    assert torch.allclose(salient.flatten(1), attention, atol=1e-6) and torch.allclose(maps.flatten(2).mT, parts, atol=1e-5)
