"""Encoders of rows: tokens are columns, content is what they hold, and a model reads tables of other orders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from manyviews.backbones import tables
from manyviews.backbones.ft_transformer import CLASSES, FTTransformer
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.builtin_tables import builtin_tables
from manyviews.data.table_columns import FAR
from manyviews.data.tables import from_array
from manyviews.errors import InputError

COLUMNS = {"x": [1.0, 3.0, None, 2.0, 2.0], "c": ["a", "a", "b", "b", None], "y2": [True, False, True, False, True]}


def made(seed: int = 0, **columns):
    data = from_array(columns or COLUMNS)
    torch.manual_seed(seed)
    return FTTransformer(data.form, 3, 16, 2, 2).eval(), data.batch(np.arange(len(data)))


def test_a_token_is_the_columns_vectors_by_a_slow_loop():
    encoder, view = made()
    part, scheme = encoder.tokenizer, encoder.tokenizer.input.scheme
    tokens = encoder.tokenize(view)
    number, category = scheme.standard(view.x.values), scheme.category(view.x.values)
    for i in range(5):
        for k in range(3):
            if view.x.values[i, k].isnan():
                expected = part.missing[k]
            elif scheme.numeric[k]:
                expected = number[i, k] * part.weight[k]
            else:
                expected = part.embedding[part.input.offsets[k] + category[i, k]]
            assert torch.allclose(tokens.x[i, k], expected + part.bias[k])
    assert tokens.exists is None and tokens.where[0, :, 0].tolist() == pytest.approx([1 / 6, 0.5, 5 / 6])


def test_the_error_is_squared_for_numbers_and_cross_entropy_for_categories_and_nothing_for_what_is_missing():
    encoder, view = made()
    tokens = encoder.tokenize(view)
    assert encoder.content_width == 3
    prediction = torch.randn(5, 3, 3)
    found = encoder.content_error(prediction, tokens.content)
    number, category = encoder.tokenizer.input.scheme.standard(view.x.values), encoder.tokenizer.input.scheme.category(view.x.values)
    for i in range(5):
        assert float(found[i, 0]) == pytest.approx(0.0 if i == 2 else float((prediction[i, 0, 0] - number[i, 0]) ** 2), rel=1e-5)
        assert float(found[i, 1]) == pytest.approx(0.0 if i == 4 else float(F.cross_entropy(prediction[i, 1], category[i, 1])), rel=1e-5)
    prediction.requires_grad_()
    encoder.content_error(prediction, tokens.content).sum().backward()
    assert bool(prediction.grad.isfinite().all()) and not prediction.grad[2, 0].any()


def test_the_error_follows_a_token_wherever_it_goes():
    encoder, view = made()
    tokens, prediction = encoder.tokenize(view), torch.randn(5, 3, 3)
    rows = Counter(0, 0).order("order", view.index, 3)
    whole = encoder.content_error(prediction, tokens.content).gather(1, rows)
    moved = encoder.content_error(prediction.gather(1, rows[..., None].expand(-1, -1, 3)), tokens.select(rows).content)
    assert torch.allclose(whole, moved)


def test_many_categories_are_told_apart_up_to_a_limit():
    names = [f"c{k // 2}" for k in range(4 * CLASSES)]
    data = from_array({"c": names, "x": np.arange(len(names))})
    encoder = tables.ft_transformer_micro(0, 2, data.form)
    assert encoder.content_width == CLASSES
    tokens = encoder.tokenize(data.batch(np.arange(len(names))))
    assert float(tokens.content[:, 0, 0, 1].max()) == CLASSES - 1 and len(tokens.x[:, 0].unique(dim=0)) == 2 * CLASSES


def test_some_of_the_tokens_in_any_order_give_the_same_features():
    encoder, view = made()
    tokens = encoder.tokenize(view)
    rows = torch.tensor([[2, 0, 1]]).expand(5, -1)
    whole, moved = encoder.encode(tokens), encoder.encode(tokens.select(rows))
    assert torch.allclose(whole.whole, moved.whole, atol=1e-5) and torch.allclose(whole.parts[:, [2, 0, 1]], moved.parts, atol=1e-5)
    assert [t.x.shape for t in encoder.pyramid(view)] == [(5, 3, 16)] * 2


def test_the_register_is_always_seen_and_never_handed_out():
    encoder, view = made()
    tokens = encoder.tokenize(view)
    before = encoder.encode(tokens).parts
    with torch.no_grad():
        encoder.registers += torch.randn(encoder.registers.shape)  # one number for all would be taken out by the normalisation
    assert before.shape == (5, 3, 16) and not torch.allclose(before, encoder.encode(tokens).parts)
    encoder.registers = torch.nn.Parameter(encoder.registers.detach()[:0])
    assert encoder.encode(tokens).parts.shape == (5, 3, 16)


def test_columns_are_found_by_name_in_another_table():
    encoder, view = made()
    other = from_array({"new": [0.0] * 5, **dict(reversed(COLUMNS.items()))}).batch(np.arange(5))
    assert torch.allclose(encoder(view), encoder(other), atol=1e-6)


def test_tables_without_the_columns_are_refused():
    encoder, _ = made()
    with pytest.raises(InputError, match="does not have: c; it has x, y2"):
        encoder(from_array({k: v for k, v in COLUMNS.items() if k != "c"}).batch(np.arange(5)))
    with pytest.raises(InputError, match=r"column 'c' is numeric here and was categorical in training; say \?categorical=c"):
        encoder(from_array({**COLUMNS, "c": [1.0, 2, 3, 4, 5]}).batch(np.arange(5)))
    with pytest.raises(InputError, match="made for 3 columns .* got 4"):
        encoder(View(torch.zeros(2, 4), torch.arange(2)))


@pytest.mark.parametrize("name", ["ft_transformer", "ft_transformer_micro", "resnet_mlp"])
def test_every_encoder_takes_the_built_in_table_and_trains_all_it_has(name):
    data = builtin_tables()
    encoder = getattr(tables, name)(0, 16, data.form)
    z = encoder(data.batch(np.arange(32)))
    assert z.shape == (32, encoder.dim) and bool(z.isfinite().all())
    z.square().sum().backward()
    assert not [key for key, p in encoder.named_parameters() if p.grad is None]
    assert not [key for key in encoder.state_dict() if "scheme" in key]


@pytest.mark.parametrize("name", ["ft_transformer_micro", "resnet_mlp"])
def test_without_a_form_standardised_numbers_are_expected_and_far_or_missing_ones_do_no_harm(name):
    encoder = getattr(tables, name)(0, 4).eval()
    x = torch.tensor([[0.0, 1, 2, torch.nan], [1e30, -torch.inf, 0, 0], [FAR, -FAR, 0, 0]])
    z = encoder(View(x, torch.arange(3)))
    assert bool(z.isfinite().all()) and torch.allclose(z[1], z[2], atol=1e-5)


def test_missing_is_something_else_than_the_mean_and_than_a_rare_category():
    encoder, _ = made()
    known = from_array({**COLUMNS, "x": [2.0, None, 2.0, 2.0, 2.0], "c": ["z", None, "zz", "a", "a"], "y2": [True] * 5}).batch(np.arange(5))
    z = encoder(known)
    assert torch.allclose(z[0], z[2]) and not torch.allclose(z[0], z[1]) and not torch.allclose(z[0], z[3])


def test_the_natural_encoder_is_there():
    assert hasattr(tables, tables.natural(16)) and tables.SIZE == 16
