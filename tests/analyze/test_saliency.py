"""Saliency maps against slow loops and modules' own outputs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from manyviews.analyze.saliency import attention_weights, class_attention, contribution, occlusion, pooled_contribution, saliency
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, View


def views(batch: int = 2, size: int = 32) -> View:
    return View(torch.rand(batch, 3, size, size), torch.arange(batch))


class Corner(Encoder):
    """Sees the mean colour of the upper left quarter and nothing else; a constant keeps the vector's length from mattering alone."""

    dim = 4

    def forward(self, view: View) -> Tensor:
        half = view.x.shape[-1] // 2
        mean = view.x[:, :, :half, :half].mean((2, 3))
        return torch.cat([mean, torch.full_like(mean[:, :1], 0.3)], 1)


def test_attention_is_the_softmax_of_scaled_products_for_each_pair() -> None:
    q, k = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    found = attention_weights(q, k, 5**-0.5)
    for b in range(2):
        for h in range(3):
            for i in range(4):
                scores = [float((q[b, h, i] * k[b, h, j]).sum()) / 5**0.5 for j in range(4)]
                total = sum(torch.tensor(s).exp() for s in scores)
                for j in range(4):
                    assert float(found[b, h, i, j]) == pytest.approx(float(torch.tensor(scores[j]).exp() / total), rel=1e-4)


def test_class_attention_is_what_the_last_block_really_uses() -> None:
    """Values weighted by the map, with what goes to the prefix, give the output of the attention layer at the class token."""
    encoder = build_encoder("vit_micro", size=32, seed=0).eval()
    for p in encoder.parameters():
        nn.init.normal_(p, std=0.2) if p.dim() > 1 else None
    layer = [m for m in encoder.modules() if hasattr(m, "qkv")][-1]
    caught = {}
    layer.register_forward_hook(lambda m, arguments, out: caught.update(x=arguments[0], out=out))
    view = views()
    with torch.no_grad():
        found = class_attention(encoder, view)
        x = caught["x"]
        _, _, v = layer.qkv(x).reshape(2, x.shape[1], 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
        assert found is not None and found.shape == (2, layer.num_heads, 8, 8)
        to_itself = 1 - found.flatten(2).sum(2)
        mixed = to_itself[..., None] * v[:, :, 0] + torch.einsum("bhn,bhnd->bhd", found.flatten(2), v[:, :, 1:])
        torch.testing.assert_close(layer.proj(mixed.flatten(1)), caught["out"][:, 0], rtol=1e-4, atol=1e-5)


def test_there_is_no_class_attention_where_positions_act_inside_attention() -> None:
    class Rotary(nn.Module):
        num_heads, scale = 2, 0.5

        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
            return x

    class Turning(Encoder):
        dim, num_prefix_tokens = 8, 1

        def __init__(self, rope: Tensor | None) -> None:
            super().__init__()
            self.layer, self.rope = Rotary(), rope

        def forward(self, view: View) -> Tensor:
            return self.layer(torch.ones(len(view), 17, 8), rope=self.rope)[:, 0]

    assert class_attention(Turning(torch.ones(1)), views()) is None
    assert class_attention(Turning(None), views()).shape == (2, 2, 4, 4)  # the same layer without them


def test_contributions_add_up_to_one_and_equal_their_definition() -> None:
    parts = torch.randn(3, 6, 5) + 0.5
    found = contribution(parts)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    for b in range(3):
        z = sum(parts[b]) / 6
        for n in range(6):
            assert float(found[b, n]) == pytest.approx(float(parts[b, n] @ z / (6 * (z @ z))), rel=1e-4, abs=1e-6)


def test_contribution_is_left_alone_where_the_embedding_is_not_the_mean_of_its_map() -> None:
    encoder = build_encoder("resnet_micro", size=96, seed=0).eval()
    with torch.no_grad():
        found = pooled_contribution(encoder, views(size=96))
        torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), rtol=1e-3, atol=1e-3)
        encoder.model.global_pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        assert pooled_contribution(encoder, views(size=96)) is None


def test_occlusion_finds_the_only_place_that_matters() -> None:
    drop = occlusion(Corner(), views(size=36), places=9, share=0.25)
    assert (drop[:, 6:].abs() < 1e-6).all() and (drop[:, :, 6:].abs() < 1e-6).all()
    assert (drop[:, :3, :3].mean((1, 2)) > 1e-7).all()


def test_occlusion_equals_covering_one_square_by_hand() -> None:
    encoder, view = build_encoder("resnet_micro", size=32, seed=1).eval(), views(1)
    with torch.no_grad():
        drop = occlusion(encoder, view, places=4, share=0.25)
        x = view.x.clone()
        x[:, :, 8:16, 16:24] = view.x.mean((2, 3), keepdim=True)
        z, w = encoder(view), encoder(dataclasses.replace(view, x=x))
        assert float(drop[0, 1, 2]) == pytest.approx(1 - float(torch.cosine_similarity(z, w)), abs=1e-5)


def test_a_picture_of_one_colour_has_no_salient_place() -> None:
    view = View(torch.full((1, 3, 32, 32), 0.5), torch.arange(1))
    assert float(occlusion(build_encoder("resnet_micro", seed=0).eval(), view).detach().abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "size", "measure"), [("vit_micro", 32, "attention"), ("resnet_micro", 112, "contribution"), ("resnet_micro", 32, "occlusion")]
)
def test_the_measure_is_what_the_architecture_allows_and_its_mode_stays(name: str, size: int, measure: str) -> None:
    encoder = build_encoder(name, size=size, seed=0).train()
    found = saliency(encoder, views(size=size))
    assert found.measure == measure and encoder.training
    assert found.map.shape[0] == 2 and min(found.map.shape[1:]) >= 6 and bool((found.map >= 0).all())
