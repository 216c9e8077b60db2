import copy
import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from manyviews.backbones.building import build_encoder
from manyviews.backbones.timm_model import TimmEncoder
from manyviews.contracts import Tokens, View
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

torchvision_schemas.declare()
from timm.models.beit import Beit  # noqa: E402
from timm.models.deit import VisionTransformerDistilled  # noqa: E402
from timm.models.eva import Eva  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

SMALL = {"img_size": 32, "patch_size": 8, "num_classes": 0, "embed_dim": 32, "depth": 5, "num_heads": 2}
ANY = {"dynamic_img_size": True, "dynamic_img_pad": True}
MODELS = {
    "class token": lambda: VisionTransformer(**SMALL, **ANY),
    "registers without position, like DINOv2": lambda: VisionTransformer(**SMALL, **ANY, reg_tokens=4, no_embed_class=True, init_values=0.1),
    "registers with position": lambda: VisionTransformer(**SMALL, **ANY, reg_tokens=3),
    "no position": lambda: VisionTransformer(**SMALL, **ANY, pos_embed="none"),
    "normalised before, like CLIP": lambda: VisionTransformer(**SMALL, **ANY, pre_norm=True),
    "distilled": lambda: VisionTransformerDistilled(**SMALL, **ANY),
    "averaged, like SigLIP gap": lambda: VisionTransformer(**SMALL, **ANY, class_token=False, global_pool="avg"),
    "averaged beside a class token": lambda: VisionTransformer(**SMALL, **ANY, global_pool="avgmax"),
    "largest": lambda: VisionTransformer(**SMALL, **ANY, global_pool="max"),
    "attention pooled, like SigLIP": lambda: VisionTransformer(**SMALL, **ANY, class_token=False, global_pool="map"),
    "fixed size": lambda: VisionTransformer(**SMALL),
    "EVA": lambda: Eva(**SMALL, **ANY),
    "EVA-02": lambda: Eva(**SMALL, **ANY, use_rot_pos_emb=True, swiglu_mlp=True, ref_feat_shape=4),
    "mixed rotary": lambda: Eva(**SMALL, **ANY, use_rot_pos_emb=True, rope_type="mixed", use_abs_pos_emb=False),
    "DINOv3": lambda: Eva(**SMALL, **ANY, use_rot_pos_emb=True, rope_type="dinov3", use_abs_pos_emb=False, num_reg_tokens=4, rope_rotate_half=True),
    "EVA, attention pooled": lambda: Eva(**SMALL, **ANY, use_rot_pos_emb=True, global_pool="map", attn_type="rope"),
}


def make(name: str) -> TimmEncoder:
    encoder = TimmEncoder(MODELS[name](), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)).eval().requires_grad_(False)
    for p in encoder.parameters():
        p.add_(0.1 * torch.randn_like(p))  # so that nothing is at a special value
    return encoder


def picture(height: int = 32, width: int = 32, batch: int = 2) -> View:
    return View(torch.rand(batch, 3, height, width), torch.arange(batch))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_all_tokens_encoded_are_the_plain_forward(name: str) -> None:
    encoder = make(name)
    sizes = [(32, 32)] if name == "fixed size" else [(32, 32), (64, 64), (16, 16), (48, 16), (37, 30)]
    for size in sizes:
        view = picture(*size)
        close(encoder.encode(encoder.tokenize(view)).whole, encoder(view))


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_tokens_does_not_matter(name: str) -> None:
    encoder, view = make(name), picture(32, 32 if name == "fixed size" else 48)
    tokens = encoder.tokenize(view)
    order = torch.stack([torch.randperm(tokens.x.shape[1]) for _ in range(2)])
    all_, shuffled = encoder.encode(tokens), encoder.encode(tokens.select(order))
    close(shuffled.whole, all_.whole)
    close(shuffled.parts, all_.parts.gather(1, order[..., None].expand_as(all_.parts)))


@pytest.mark.parametrize("name", MODELS)
def test_tokens_that_do_not_exist_are_as_good_as_dropped(name: str) -> None:
    encoder, view = make(name), picture()
    tokens = encoder.tokenize(view)
    rows = torch.stack([torch.randperm(16) for _ in range(2)])
    kept = tokens.select(rows[:, :5])
    padded = dataclasses.replace(tokens.select(rows), exists=torch.arange(16).expand(2, -1) < 5)
    padded = dataclasses.replace(padded, x=torch.where(padded.exists[..., None], padded.x, 7.0))
    without, within = encoder.encode(kept), encoder.encode(padded)
    close(within.whole, without.whole)
    close(within.parts[:, :5], without.parts)
    everything = dataclasses.replace(tokens, exists=torch.ones(2, 16, dtype=torch.bool))
    close(encoder.encode(everything).whole, encoder(view))


@pytest.mark.parametrize("name", ["class token", "EVA-02", "averaged, like SigLIP gap"])
def test_dropped_pixels_change_nothing_and_kept_ones_do(name: str) -> None:
    encoder, view = make(name), picture()
    rows = torch.tensor([[0, 5, 9], [1, 6, 15]])
    before = encoder.encode(encoder.tokenize(view).select(rows)).whole
    other = view.x.clone()
    other[0, :, :8, 8:16] = 0  # patch 1 is hidden in the first picture and kept in the second
    after = encoder.encode(encoder.tokenize(View(other, view.index)).select(rows)).whole
    close(after[0], before[0])
    other[1, :, :8, 8:16] = 0
    changed = encoder.encode(encoder.tokenize(View(other, view.index)).select(rows)).whole
    assert (changed[1] - before[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["vit_micro", "vit_small_patch14_reg4_dinov2"])
def test_named_encoders_agree_with_themselves_at_native_and_other_sizes(name: str) -> None:
    size = 32 if name == "vit_micro" else 56
    encoder = build_encoder(name, 3, size, seed=0).eval().requires_grad_(False)
    encoder.model.pos_embed.add_(torch.randn_like(encoder.model.pos_embed))
    for height, width in ((size, size), (size // 2, size), (2 * size, size)):
        view = picture(height, width)
        close(encoder.encode(encoder.tokenize(view)).whole, encoder(view))


def test_content_is_the_picture_itself_at_the_place_that_where_tells() -> None:
    encoder = make("class token")
    view = picture(16, 48)
    tokens = encoder.tokenize(view)
    assert tokens.x.shape == (2, 12, 32) and tokens.content.shape == (2, 12, encoder.content_width) and encoder.content_width == 8 * 8 * 3
    assert float(tokens.where.min()) > 0 and float(tokens.where.max()) < 1
    for k in range(12):
        x, y = (tokens.where[1, k] * torch.tensor([48, 16])).tolist()
        patch = view.x[1, :, round(y) - 4 : round(y) + 4, round(x) - 4 : round(x) + 4]
        torch.testing.assert_close(tokens.content[1, k], patch.permute(1, 2, 0).flatten())


def test_a_token_is_the_projection_of_its_own_normalised_patch_and_of_nothing_else() -> None:
    encoder, view = make("class token"), picture()
    tokens = encoder.tokenize(view)
    weight = encoder.model.patch_embed.proj.weight.permute(0, 2, 3, 1).flatten(1)
    patches = (tokens.content.unflatten(-1, (-1, 3)) - encoder.mean.flatten()) / encoder.std.flatten()
    close(tokens.x, patches.flatten(2) @ weight.T + encoder.model.patch_embed.proj.bias)


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels_has_tokens(channels: int) -> None:
    encoder = build_encoder("vit_micro", channels, 28, seed=0).eval()
    view = View(torch.rand(2, channels, 28, 28), torch.arange(2))
    tokens = encoder.tokenize(view)
    assert tokens.content.shape == (2, 49, 16 * channels) and encoder.content_width == 16 * channels
    close(encoder.encode(tokens).whole, encoder(view))


def test_a_picture_that_is_no_multiple_of_the_patch_is_filled_up_with_the_mean_colour() -> None:
    encoder = make("class token")
    view = picture(29, 32)
    filled = torch.cat([view.x, encoder.mean.expand(2, 3, 3, 32)], 2)
    close(encoder.encode(encoder.tokenize(view)).whole, encoder(View(filled, view.index)))


def test_position_reaches_tokens_through_where_alone() -> None:
    encoder = make("class token")
    tokens = encoder.tokenize(picture())
    same = dataclasses.replace(tokens, x=tokens.x[:, :1].expand(-1, 16, -1))
    parts = encoder.encode(same).parts
    assert (parts[:, 0] - parts[:, 1]).abs().max() > 1e-2
    nowhere = dataclasses.replace(same, where=tokens.where[:, :1].expand(-1, 16, -1))
    parts = encoder.encode(nowhere).parts
    close(parts[:, 0], parts[:, 1])
    assert encoder.encode(Tokens(tokens.x, tokens.where)).whole.shape == (2, 32)


@pytest.mark.parametrize("name", ["class token", "EVA-02", "mixed rotary"])
def test_blocks_run_alone_and_what_takes_their_place_is_used(name: str) -> None:
    encoder, view = make(name), picture()
    tokens = encoder.tokenize(view)
    t = torch.randn(2, encoder.prefix + 16, 32)
    assert len(encoder.blocks) == 5 and encoder.blocks[0](t, tokens.where, None).shape == t.shape
    plain = encoder(view)
    inner = encoder.blocks[2]
    prompt = torch.randn(1, 3, 32)

    def prompted(t: torch.Tensor, where: torch.Tensor, exists: torch.Tensor | None) -> torch.Tensor:
        front = encoder.prefix
        longer = inner(torch.cat([t[:, :front], prompt.expand(len(t), -1, -1), t[:, front:]], 1), where, exists)
        return torch.cat([longer[:, :front], longer[:, front + 3 :]], 1)

    encoder.blocks[2] = prompted
    assert (encoder(view) - plain).abs().max() > 1e-4
    exists = torch.ones(2, 16, dtype=torch.bool)
    close(encoder.encode(dataclasses.replace(tokens, exists=exists)).whole, encoder(view))
    encoder.blocks[2] = inner
    close(encoder(view), plain)


def test_a_copied_encoder_has_blocks_of_its_own() -> None:
    encoder = make("EVA-02")
    view = picture()
    encoder.encode(encoder.tokenize(view))
    twin = copy.deepcopy(encoder)
    assert twin.blocks[0].module is twin.model.blocks[0] and twin.rotary.model is twin.model
    for p in encoder.parameters():
        p.zero_()
    assert twin.encode(twin.tokenize(view)).whole.abs().sum() > 0


def test_gradients_reach_the_position_table_through_kept_tokens() -> None:
    encoder = make("class token").requires_grad_(True)
    encoder.encode(encoder.tokenize(picture()).select(torch.tensor([[3], [3]]))).whole.sum().backward()
    moved = encoder.model.pos_embed.grad[0].abs().sum(1) > 1e-9
    assert moved.nonzero().flatten().tolist() == [0, 4]  # the class token's and the kept one's


def test_relative_position_models_take_all_tokens_and_refuse_fewer() -> None:
    model = Beit(img_size=32, patch_size=8, num_classes=0, embed_dim=32, depth=2, num_heads=2, use_rel_pos_bias=True, init_values=0.1)
    encoder = TimmEncoder(model).eval().requires_grad_(False)
    for p in encoder.parameters():
        p.add_(0.1 * torch.randn_like(p))
    view = picture()
    tokens = encoder.tokenize(view)
    features = encoder.encode(tokens)
    close(features.whole, encoder(view))
    assert features.parts.shape == (2, 16, 32)
    with pytest.raises(InputError, match=r"cannot drop any of them.*vit_micro"):
        encoder.encode(tokens.select(torch.arange(15).expand(2, -1)))
    replaced = encoder.encode(tokens.replace(torch.arange(16).expand(2, -1) == 3, torch.zeros(32)))
    assert (replaced.whole - features.whole).abs().max() > 1e-4
    with pytest.raises(InputError, match="made for"):
        encoder(picture(16, 16))


@pytest.mark.parametrize("name", ["resnet_micro", "swin_tiny_patch4_window7_224"])
def test_architectures_without_separable_tokens_say_which_have_them(name: str) -> None:
    encoder = build_encoder(name, 3, 32, seed=0)
    assert encoder.content_width == 0
    with pytest.raises(InputError, match="vit_micro"):
        encoder.tokenize(picture())
    with pytest.raises(InputError, match="vit_micro"):
        encoder.encode(Tokens(torch.zeros(1, 1, 4), torch.zeros(1, 1, 2)))


@pytest.mark.parametrize("name", ["resnet_micro", "skresnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "vit_micro", "xcit_nano_12_p16_224"])
def test_a_pyramid_has_the_widths_it_says_and_each_cell_lies_in_its_parent(name: str) -> None:
    encoder = build_encoder(name, 3, 64, seed=0).eval()
    with torch.no_grad():
        levels = encoder.pyramid(picture(64, 64))
    assert [level.x.shape[-1] for level in levels] == encoder.widths and len(levels) >= 4
    assert [level.x.shape[1] for level in levels] == sorted([level.x.shape[1] for level in levels], reverse=True)
    for fine, coarse in itertools.pairwise(levels):
        parents = coarse.where.gather(1, fine.parent[..., None].expand(-1, -1, 2))
        assert ((fine.where - parents).abs() <= coarse.extent[:, :1] / 2).all()
    assert levels[-1].parent is None


def test_the_pyramid_of_a_transformer_is_timms_intermediate_features() -> None:
    encoder, view = make("registers with position"), picture(32, 64)
    ours = encoder.pyramid(view)
    theirs = encoder.model.forward_intermediates(encoder.normalised(view), indices=[1, 2, 3, 4], norm=True, intermediates_only=True)
    assert [level.x.shape for level in ours] == [(2, 32, 32)] * 4
    for level, map_ in zip(ours, theirs, strict=True):
        close(level.x, map_.flatten(2).mT)


def test_parts_are_normalised_as_the_pooled_vector_is() -> None:
    encoder = make("averaged, like SigLIP gap")
    encoder.model.fc_norm.weight.fill_(1.0)
    encoder.model.fc_norm.bias.fill_(0.0)
    parts = encoder.encode(encoder.tokenize(picture())).parts
    close(parts, F.layer_norm(parts, (32,)))
