import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, tiny_vit

from manyviews.contracts import Features, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.point_mae import PointMAE
from manyviews.nn.masking import hide


def make(**options: object) -> PointMAE:
    torch.manual_seed(0)
    method = PointMAE(tiny_vit(0), **{"depth": 1, "heads": 2, **options})
    method.counter = Counter(1, 2)
    return method.eval()


def view(batch: int = 6) -> View:
    return crops(batch)["global_crops"][0]


def test_the_loss_is_the_error_of_hidden_parts_alone():
    method, v = make(), view()
    tokens = method.encoder.tokenize(v)
    visible, rows, hidden = hide(tokens, method.counter.order("mask", v.index, 16), 0.6)
    assert hidden.sum(1).tolist() == [10] * 6 and visible.x.shape[1] == 6
    features = method.encoder.encode(visible).parts
    slow, count = 0.0, 0
    for n in range(6):
        row = [method.decoder.mask_token + method.decoder.place(tokens.where[n, i]) for i in range(16)]
        for k, i in enumerate(rows[n].tolist()):
            row[i] = features[n, k] + method.decoder.place(tokens.where[n, i])
        out = method.decoder.predict(method.decoder.decoder(torch.stack(row)[None]))[0]
        for i in range(16):
            if hidden[n, i]:
                slow += float((out[i] - tokens.content[n, i]).square().mean())
                count += 1
    assert math.isclose(float(method.loss(v)["reconstruction"]), slow / count, rel_tol=1e-4)


def test_the_encoder_learns_nothing_of_where_the_hidden_parts_are(monkeypatch: pytest.MonkeyPatch):
    method, v, seen = make(), view(), []

    def encode(tokens: Tokens) -> Features:
        seen.append(tokens)
        return type(method.encoder).encode(method.encoder, tokens)

    monkeypatch.setattr(method.encoder, "encode", encode)
    method.loss(v)
    (tokens,) = seen
    assert tokens.x.shape[1] == tokens.where.shape[1] == 6


@pytest.mark.parametrize(
    ("options", "said"), [({"mask_ratio": 1.0}, "mask_ratio=1.0: the share of hidden groups"), ({"heads": 5}, "heads=5: they cannot share the encoder's width")]
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        make(**options)


def test_an_encoder_without_parts_is_refused():
    with pytest.raises(InputError, match="this encoder has none; take e.g. --encoder point_transformer"):
        PointMAE(SmallEncoder())
