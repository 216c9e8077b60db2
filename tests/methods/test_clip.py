"""CLIP: against a double loop written from the paper's figure, its limits, and two processes."""

import math

import pytest
import torch
from small_encoder import SmallEncoder, total, two_views

from manyviews.backbones.pairs import TwoTowers
from manyviews.backbones.text import TextEncoder
from manyviews.contracts import View
from manyviews.data.bpe import BPE
from manyviews.errors import InputError
from manyviews.methods.align.clip import CLIP

TEXTS = ["a", "red", "a cat", "the dog", "x", "yz", "hello", "a longer one"]


def make(**settings: float) -> CLIP:
    torch.manual_seed(0)
    return CLIP(TwoTowers(SmallEncoder(), TextEncoder(BPE(), 16, 2, 2, 20, causal=True), 5), **settings).eval()


def views(rows: slice = slice(None)) -> dict[str, View]:
    v, _ = two_views(8)
    ids = make().encoder.text.read(TEXTS).x
    return {"image": View(v.x[rows], v.index[rows]), "text": View(ids[rows], v.index[rows])}


def test_the_loss_is_that_of_a_slow_double_loop():
    method, given = make(temperature=0.2), views()
    terms = method.loss(**given)
    zi, zt = (z.detach() / z.detach().norm(dim=1, keepdim=True) for z in (method.encoder.embed_image(given["image"]), method.encoder.embed_text(given["text"])))
    rows = columns = 0.0
    for i in range(8):
        rows -= math.log(math.exp(float(zi[i] @ zt[i]) / 0.2) / sum(math.exp(float(zi[i] @ zt[j]) / 0.2) for j in range(8))) / 8
        columns -= math.log(math.exp(float(zi[i] @ zt[i]) / 0.2) / sum(math.exp(float(zi[j] @ zt[i]) / 0.2) for j in range(8))) / 8
    assert math.isclose(float(terms["image_to_text"]), rows / 2, rel_tol=1e-4)
    assert math.isclose(float(terms["text_to_image"]), columns / 2, rel_tol=1e-4)
    assert math.isclose(float(terms["scale"]), 5.0, rel_tol=1e-5) and not terms["scale"].requires_grad


def test_the_order_of_the_pairs_and_the_length_of_embeddings_change_nothing():
    method, given = make(), views()
    before = {k: float(t) for k, t in method.loss(**given).items()}
    order = torch.randperm(8)
    mixed = {role: View(v.x[order], v.index[order]) for role, v in given.items()}
    with torch.no_grad():
        method.encoder.image_map.weight.mul_(7)
    assert {k: float(t) for k, t in method.loss(**mixed).items()} == pytest.approx(before, rel=1e-4)


def test_embeddings_that_are_all_one_cost_the_logarithm_of_the_batch():
    method, given = make(), views()
    same = View(given["image"].x[:1].expand(8, -1, -1, -1), given["image"].index)
    assert float(method.loss(same, given["text"])["text_to_image"]) == pytest.approx(math.log(8) / 2, rel=1e-5)


def test_the_scale_starts_at_one_over_the_temperature_and_never_exceeds_its_ceiling():
    method = make()
    assert float(method.log_scale.exp()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        method.log_scale.fill_(9.0)
    method.after_step()
    assert float(method.log_scale.exp()) == pytest.approx(100.0)
    with torch.no_grad():
        method.log_scale.fill_(-3.0)
    method.after_step()
    assert float(method.log_scale) == -3.0


def test_both_towers_both_maps_and_the_scale_are_trained():
    method = make()
    total(method, *views().values()).backward()
    assert not [name for name, p in method.named_parameters() if p.grad is None]
    moved = {name.split(".")[1] for name, p in method.named_parameters() if name.startswith("encoder") and p.grad.abs().sum() > 0}
    assert moved == {"image", "text", "image_map", "text_map"} and method.log_scale.grad != 0


def test_an_encoder_without_text_and_impossible_settings_are_refused():
    with pytest.raises(InputError, match="no tower for text; name one for each, e.g. --encoder resnet_micro"):
        CLIP(SmallEncoder())
    with pytest.raises(InputError, match="temperature=0"):
        make(temperature=0.0)
    with pytest.raises(InputError, match="ceiling=10"):
        make(ceiling=10.0)


def gradients(fabric: object) -> list[torch.Tensor]:
    rows = slice(None) if fabric is None else slice(4 * fabric.global_rank, 4 * fabric.global_rank + 4)  # type: ignore[attr-defined]
    method = make()
    total(method, *views(rows).values()).backward()
    return [p.grad for p in method.parameters()]


def test_two_processes_get_the_gradient_of_one_batch(pair):
    first, second = pair(gradients)
    for g, a, b in zip(gradients(None), first, second, strict=True):
        torch.testing.assert_close((a + b) / 2, g, rtol=1e-3, atol=1e-5)
