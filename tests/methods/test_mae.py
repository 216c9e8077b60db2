import dataclasses
import math
from unittest.mock import patch

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, tiny_vit, untouched

from manyviews.contracts import Features, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.mae import MAE
from manyviews.nn.masking import hide


def make(seed: int = 0, **options: object) -> MAE:
    method = MAE(tiny_vit(seed), **{"dim": 16, "depth": 2, "heads": 2, **options})
    method.counter = Counter(1, 2)
    return method


def hidden_of(method: MAE, tokens: Tokens, index: torch.Tensor):
    return hide(tokens, method.counter.order("mask", index, tokens.x.shape[1]), method.mask_ratio)


def view(batch: int = 6) -> View:
    return crops(batch)["global_crops"][0]


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_the_loss_is_the_mean_squared_error_of_hidden_patches_alone(norm_pix_loss: bool) -> None:
    method, v = make(norm_pix_loss=norm_pix_loss), view()
    tokens = method.encoder.tokenize(v)
    visible, rows, hidden = hidden_of(method, tokens, v.index)
    prediction = method.decoder(method.encoder.encode(visible), rows, hidden, tokens)
    slow, count = 0.0, 0
    for n in range(6):
        for i in range(4):
            for j in range(4):
                if hidden[n, 4 * i + j]:
                    patch_ = [float(v.x[n, c, 2 * i + a, 2 * j + b]) for a in range(2) for b in range(2) for c in range(3)]
                    if norm_pix_loss:
                        mean = sum(patch_) / 12
                        variance = sum((p - mean) ** 2 for p in patch_) / 11
                        patch_ = [(p - mean) / math.sqrt(variance + 1e-6) for p in patch_]
                    slow += sum((float(a) - b) ** 2 for a, b in zip(prediction[n, 4 * i + j], patch_, strict=True)) / 12
                    count += 1
    assert count == 6 * 12
    assert math.isclose(float(method.loss(v)["reconstruction"]), slow / count, rel_tol=1e-4)


def test_the_encoder_sees_a_quarter_of_the_patches_and_not_a_pixel_of_the_others() -> None:
    method, v = make(), view()
    tokens = method.encoder.tokenize(v)
    visible, rows, hidden = hidden_of(method, tokens, v.index)
    assert visible.x.shape[1] == 4 and hidden.sum(1).eq(12).all() and not hidden.gather(1, rows).any()
    mask = hidden.view(6, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = View(torch.where(mask, torch.rand_like(v.x), v.x), v.index)
    again, _, _ = hidden_of(method, method.encoder.tokenize(other), v.index)
    torch.testing.assert_close(method.encoder.encode(again).whole, method.encoder.encode(visible).whole)


def test_the_prediction_of_a_hidden_patch_does_not_come_from_the_patch() -> None:
    method, v = make(), view(1)
    tokens = method.encoder.tokenize(v)
    _, rows, hidden = hidden_of(method, tokens, v.index)
    x = tokens.x.detach().requires_grad_(True)
    again = dataclasses.replace(tokens, x=x)
    method.decoder(method.encoder.encode(again.select(rows)), rows, hidden, again).sum().backward()
    reached = x.grad[0].abs().sum(1) > 0
    assert torch.equal(reached, ~hidden[0])


def test_the_decoder_gets_each_visible_part_at_its_own_place_and_the_mask_token_elsewhere() -> None:
    method, v = make(), view()
    tokens = method.encoder.tokenize(v)
    visible, rows, hidden = hidden_of(method, tokens, v.index)
    features = method.encoder.encode(visible)
    seen = {}
    with patch.object(method.decoder.blocks, "forward", lambda t, exists: seen.update(t=t) or t):
        method.decoder(features, rows, hidden, tokens)
    torch.testing.assert_close(seen["t"][:, 0], method.decoder.embed(features.whole))
    for n in range(6):
        for t in range(16):
            inside = (rows[n] == t).nonzero().flatten()
            content = method.decoder.embed(features.parts[n, inside[0]]) if len(inside) else method.decoder.mask_token
            x, y = (tokens.where[n, t] * 14 - 0.5).tolist()
            position = [f(c / 10000 ** (k / 4)) for c in (x, y) for f in (math.sin, math.cos) for k in range(4)]
            torch.testing.assert_close(seen["t"][n, 1 + t], content + torch.tensor(position), atol=1e-5, rtol=1e-5)


def test_masks_depend_on_the_sample_and_the_step_and_on_nothing_else() -> None:
    method, v = make(), view()
    _, _, hidden = hidden_of(method, method.encoder.tokenize(v), v.index)
    _, _, back = hidden_of(method, method.encoder.tokenize(View(v.x.flip(0), v.index.flip(0))), v.index.flip(0))
    assert torch.equal(back.flip(0), hidden) and not torch.equal(hidden[0], hidden[1])
    method.counter = Counter(1, 3)
    assert not torch.equal(hidden_of(method, method.encoder.tokenize(v), v.index)[2], hidden)


def test_every_patch_is_hidden_equally_often() -> None:
    method = make()
    tokens = Tokens(torch.zeros(4000, 16, 1), torch.zeros(4000, 16, 2))
    often = hidden_of(method, tokens, torch.arange(4000))[2].float().mean(0)
    assert (often - 0.75).abs().max() < 0.03


def test_padded_tokens_are_neither_seen_nor_predicted_nor_felt() -> None:
    method, v = make(), view()
    tokens = method.encoder.tokenize(v)
    exists = torch.arange(16)[None] < torch.tensor([16, 12, 8, 4, 3, 1])[:, None]
    padded = dataclasses.replace(tokens, exists=exists)
    visible, _, hidden = hidden_of(method, padded, v.index)
    assert visible.exists.sum(1).tolist() == [4, 3, 2, 1, 1, 1]
    assert hidden.sum(1).tolist() == [12, 9, 6, 3, 2, 0] and not (hidden & ~exists).any()

    def loss(noise: float) -> torch.Tensor:
        x = torch.where(exists[..., None], tokens.x, noise)
        content = torch.where(exists[..., None], tokens.content, noise)
        with patch.object(method.encoder, "tokenize", lambda _: dataclasses.replace(padded, x=x, content=content)):
            return method.loss(v)["reconstruction"]

    torch.testing.assert_close(loss(5.0), loss(-3.0))


def test_every_parameter_is_trained() -> None:
    assert untouched(make(), {"v": view()}) == set()


def test_the_error_is_the_encoders_own_and_categories_are_not_normalised() -> None:
    method = make()
    with patch.object(method.encoder, "content_error", lambda p, c: torch.ones(c.shape[:2])):
        assert float(method.loss(view())["reconstruction"]) == pytest.approx(1)
    words = torch.randint(0, 9, (2, 5))
    points = torch.rand(2, 5, 7, 3)
    assert method.target(words) is words and method.target(points) is points


def test_the_papers_decoder_is_the_default() -> None:
    method = MAE(tiny_vit())
    assert len(method.decoder.blocks.blocks) == 8 and method.decoder.blocks.blocks[0].attention.heads == 16
    assert method.decoder.mask_token.shape == (512,) and method.decoder.predict.out_features == 12 and method.mask_ratio == 0.75


def test_with_almost_nothing_hidden_the_encoder_sees_almost_the_plain_picture() -> None:
    method, v = make(mask_ratio=0.01), view()
    tokens = method.encoder.tokenize(v)
    visible, _, hidden = hidden_of(method, tokens, v.index)
    assert hidden.sum(1).eq(1).all()
    features: Features = method.encoder.encode(visible)
    assert features.parts.shape[1] == 15


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        MAE(SmallEncoder(), mask_ratio=1.0, dim=10, heads=4)
    assert len(error.value.problems) == 3 and "vit_micro" in str(error.value)


def test_some_steps_reduce_the_loss_on_other_masks_too() -> None:
    method, v = make(norm_pix_loss=False), view(32)
    method.counter = Counter(1, 99)
    before = float(method.loss(v)["reconstruction"])
    method.counter = Counter(1, 2)
    descend(method, {"v": v})
    method.counter = Counter(1, 99)
    assert float(method.loss(v)["reconstruction"]) < 0.5 * before
