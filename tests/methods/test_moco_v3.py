import math

import pytest
import torch
from small_encoder import PatchEncoder, SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.errors import InputError
from manyviews.methods.contrast.moco_v3 import MoCoV3
from manyviews.nn.contrast import contrast


def make(encoder: SmallEncoder | None = None) -> MoCoV3:
    return MoCoV3(encoder or PatchEncoder(), hidden=10, out=5)


def test_the_loss_is_infonce_over_the_batch_times_twice_the_temperature_from_either_side() -> None:
    method, (v, w) = make(), two_views()
    terms = method.loss(v, w)
    for name, a, b in (("v_to_w", v, w), ("w_to_v", w, v)):
        q, k = method.predictor(method.projector(method.encoder(a))), method.target(b)
        q, k = q / q.norm(dim=1, keepdim=True), k / k.norm(dim=1, keepdim=True)
        slow = 0.0
        for i in range(8):
            slow -= math.log(math.exp(float(q[i] @ k[i]) / 0.2) / sum(math.exp(float(q[i] @ k[j]) / 0.2) for j in range(8))) / 8
        assert math.isclose(float(terms[name]), 2 * 0.2 * slow, rel_tol=1e-4)


def test_exchanging_the_views_changes_nothing() -> None:
    method, (v, w) = make(), two_views()
    torch.testing.assert_close(total(method, v, w), total(method, w, v))


def test_patch_projections_and_the_momentum_encoder_are_frozen_and_all_else_gets_a_gradient() -> None:
    method = make()
    frozen = [name for name, p in method.named_parameters() if not p.requires_grad]
    assert frozen == [name for name, _ in method.named_parameters() if name.startswith(("target.", "encoder.model.patch_embed."))]
    assert set(without_gradient(method, *two_views())) - {"encoder.net.4.bias"} == set(frozen)  # a shift before batch normalisation cancels


def test_without_patches_nothing_is_frozen_and_the_recipe_is_that_for_convolutional_networks() -> None:
    method = make(SmallEncoder())
    assert all(p.requires_grad for p in method.encoder.parameters())
    assert (method.recipe.optimizer, make().recipe.optimizer, MoCoV3.recipe.optimizer) == ("lars", "adamw", "adamw")


@pytest.mark.parametrize(("encoder", "layers"), [(PatchEncoder, 3), (SmallEncoder, 2)])
def test_projector_and_predictor_normalise_their_outputs_without_scale_and_have_no_biases(encoder: type[SmallEncoder], layers: int) -> None:
    method = MoCoV3(encoder())
    linear = [layer for layer in method.projector if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [4096] * (layers - 1) + [256]
    for network in (method.projector, method.predictor):
        assert not any(layer.bias is not None for layer in network if isinstance(layer, nn.Linear))
        assert isinstance(network[-1], nn.BatchNorm1d) and not network[-1].affine


def test_the_momentum_encoder_follows_with_a_cosine_from_0_99_to_1() -> None:
    method = make()
    for progress in (0.0, 0.4, 1.0):
        for p in method.encoder.net.parameters():
            p.data.add_(1.0)
        before = method.target[0].net[1].weight.clone()
        method.progress = progress
        method.after_step()
        m = 1 - 0.01 * (math.cos(math.pi * progress) + 1) / 2
        torch.testing.assert_close(method.target[0].net[1].weight, m * before + (1 - m) * method.encoder.net[1].weight.detach())


def test_collapsed_queries_and_keys_cost_the_logarithm_of_the_batch() -> None:
    z = torch.ones(8, 5)
    assert math.isclose(float(contrast(z, z, 0.2)), 0.4 * math.log(8), rel_tol=1e-5)


def test_a_vision_transformer_keeps_its_random_patch_projection_through_training_steps() -> None:
    from manyviews.backbones.building import build_encoder
    from manyviews.contracts import View

    method = MoCoV3(build_encoder("vit_micro", 3, 16, seed=0), hidden=16, out=8)
    before = {name: p.clone() for name, p in method.encoder.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    x = torch.rand(2, 4, 3, 16, 16)
    total(method, View(x[0], torch.arange(4)), View(x[1], torch.arange(4))).backward()
    optimizer.step()
    changed = {name for name, p in method.encoder.named_parameters() if not torch.equal(p, before[name])}
    assert not any("patch_embed" in name for name in changed) and "model.blocks.0.attn.qkv.weight" in changed


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        MoCoV3(SmallEncoder(), hidden=10, out=5, temperature=0.0)
