"""Gaussian-MAE: the loss against a slow loop on splats and on pictures, what the encoder may not see, and bad settings."""

import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, tiny_vit

from manyviews.backbones.building import build_encoder
from manyviews.contracts import Features, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.gaussian_mae import GaussianMAE
from manyviews.nn.masking import hide
from manyviews.views.finding import find_policy


def splats(count: int = 4, size: int = 96) -> View:
    x = torch.randn(count, size, 14, generator=torch.Generator().manual_seed(0))
    x[..., 3], x[..., 4:7] = x[..., 3].sigmoid(), (x[..., 4:7] - 3).exp()
    x[..., 7:11] = torch.nn.functional.normalize(x[..., 7:11], dim=-1)
    return find_policy("mae", size, "splats")(View(x, torch.arange(count)), Counter(0, 0))["v"]


def make(encoder: object = None, **options: object) -> GaussianMAE:
    torch.manual_seed(0)
    method = GaussianMAE(encoder or build_encoder("splat_transformer_micro", 14, 96, seed=0), **{"depth": 1, "heads": 3, **options})
    method.counter = Counter(1, 2)
    return method.eval()


def slow_loss(method: GaussianMAE, v: View, ratio: float) -> float:
    """Group by group: what the decoder makes of each hidden one, beside what it was."""
    tokens, decoder = method.encoder.tokenize(v), method.decoder
    n = tokens.x.shape[1]
    visible, rows, hidden = hide(tokens, method.counter.order("mask", v.index, n), ratio)
    features, total, count = method.encoder.encode(visible).parts, 0.0, 0
    for b in range(len(v)):
        row = [decoder.mask_token + decoder.place(tokens.where[b, i]) for i in range(n)]
        for k, i in enumerate(rows[b].tolist()):
            row[i] = features[b, k] + decoder.place(tokens.where[b, i])
        out = decoder.predict(decoder.decoder(torch.stack(row)[None]))[0]
        for i in range(n):
            if hidden[b, i]:
                total += float(method.encoder.content_error(out[None, i : i + 1], tokens.content[b : b + 1, i : i + 1]))
                count += 1
    return total / count


@pytest.mark.parametrize("ratio", [0.6, 0.25])
def test_the_loss_is_the_error_of_the_hidden_groups_alone(ratio: float) -> None:
    method, v = make(mask_ratio=ratio), splats()
    assert math.isclose(float(method.loss(v)["reconstruction"]), slow_loss(method, v, ratio), rel_tol=1e-4)
    on_pictures, pictures = make(tiny_vit(0), heads=2), crops(6)["global_crops"][0]
    assert math.isclose(float(on_pictures.loss(pictures)["reconstruction"]), slow_loss(on_pictures, pictures, 0.6), rel_tol=1e-4)


def test_every_parameter_of_a_hidden_group_is_restored_and_none_of_a_seen_one_counts() -> None:
    method, v = make(), splats()
    tokens = method.encoder.tokenize(v)
    _, _, hidden = hide(tokens, method.counter.order("mask", v.index, tokens.x.shape[1]), 0.6)
    content = tokens.content.clone().requires_grad_(True)
    method.encoder.tokenize = lambda view: Tokens(tokens.x, tokens.where, content)
    (gradient,) = torch.autograd.grad(method.loss(v)["reconstruction"], content)
    moved = gradient.abs().sum(2) > 0  # over the members: batch, groups, columns
    assert bool(moved[hidden].all()) and not bool(moved[~hidden].any())


def test_the_encoder_is_not_told_where_the_hidden_groups_are(monkeypatch: pytest.MonkeyPatch) -> None:
    method, v, seen = make(), splats(), []

    def encode(tokens: Tokens) -> Features:
        seen.append(tokens)
        return type(method.encoder).encode(method.encoder, tokens)

    monkeypatch.setattr(method.encoder, "encode", encode)
    n = method.encoder.tokenize(v).x.shape[1]
    method.loss(v)
    assert [tokens.x.shape[1] for tokens in seen] == [tokens.where.shape[1] for tokens in seen] == [max(1, int(n * 0.4))]


def test_training_lowers_the_error_of_every_parameter() -> None:
    method, v = make().train(), splats()
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)

    def errors() -> dict[str, float]:
        tokens = method.encoder.tokenize(v)
        visible, rows, hidden = hide(tokens, method.counter.order("mask", v.index, tokens.x.shape[1]), 0.6)
        found = method.decoder.predict(method.decoder(method.encoder.encode(visible), rows, hidden, tokens))
        return {name: float(e[hidden].mean()) for name, e in method.encoder.tokenizer.errors(found, tokens.content).items()}

    before = errors()
    for _ in range(40):
        optimizer.zero_grad()
        method.loss(v)["reconstruction"].backward()
        optimizer.step()
    after = errors()
    assert list(after) == ["centre", "opacity", "scale", "rotation", "colour"] and all(after[name] < before[name] for name in after), (before, after)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio=1.0: the share of hidden groups"),
        ({"heads": 5}, "heads=5: they cannot share the encoder's width"),
        ({"depth": 0}, "depth=0: the decoder needs a block"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make(**options)


def test_an_encoder_without_parts_is_refused() -> None:
    with pytest.raises(InputError, match="this encoder has none; take a transformer, e.g. --encoder splat_transformer"):
        GaussianMAE(SmallEncoder())
