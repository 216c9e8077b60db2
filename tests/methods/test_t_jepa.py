"""T-JEPA: contexts and targets keep apart, the loss is the mean squared difference of latents, and only the slow copy is asked for targets."""

import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, tiny_vit

from manyviews.backbones.tables import ft_transformer_micro
from manyviews.contracts import Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.predict.t_jepa import TJEPA, amount

SMALL = {"predictor_depth": 1, "predictor_width": 8, "predictor_heads": 2}


def make(columns: int = 10, step: int = 2, **options: object) -> TJEPA:
    torch.manual_seed(0)
    encoder = ft_transformer_micro(0, columns) if columns else tiny_vit(0)
    method = TJEPA(encoder, **{**SMALL, **options})
    method.counter = Counter(1, step)
    return method.eval()


def rows(columns: int = 10, batch: int = 6) -> View:
    return View(torch.randn(batch, columns, generator=torch.Generator().manual_seed(4)), torch.arange(batch))


def test_the_loss_is_the_mean_squared_difference_of_latents_by_a_slow_loop():
    method, v = make(), rows()
    with torch.no_grad():
        for p in method.target.parameters():
            p += 0.01 * torch.randn_like(p)
    tokens = method.encoder.tokenize(v)
    (context, _), masks = method.draw(tokens, v.index)
    h = method.target.encode(method.target.tokenize(v)).parts
    width, n = method.embed.out_features, 10

    def place(i: int) -> torch.Tensor:
        angle = i * torch.tensor([10000.0 ** (-k / (width / 2)) for k in range(width // 2)])
        return torch.cat([angle.sin(), angle.cos()])

    total, count = 0.0, 0
    for b in range(6):
        shown = Tokens(tokens.x[b : b + 1, context[b]], tokens.where[b : b + 1, context[b]])
        z = method.embed(method.encoder.encode(shown).parts)[0] + torch.stack([place(i) for i in context[b].tolist()])
        for wanted, _ in masks:
            asked = torch.stack([method.mask_token + place(i) for i in wanted[b].tolist()])
            out = method.predict(method.predictor(torch.cat([z, asked])[None]))[0, len(z) :]
            total += float((out - h[b, wanted[b]]).square().sum())
            count += out.numel()
    assert n == tokens.x.shape[1] and math.isclose(float(method.loss(v)["prediction"]), total / count, rel_tol=1e-4)


@pytest.mark.parametrize("columns", [2, 3, 7, 14, 40])
def test_no_target_is_in_the_context_and_sizes_are_the_shares(columns):
    seen = set()
    for step in range(12):
        method, v = make(columns, step), rows(columns)
        (context, _), masks = method.draw(method.encoder.tokenize(v), v.index)
        assert len(masks) == 4
        low, high = max(1, round(0.2 * columns)), max(1, round(0.4 * columns))
        assert low <= context.shape[1] <= high and all(low <= m.shape[1] <= high for m, _ in masks)
        seen.add((context.shape[1], masks[0][0].shape[1]))
        for b in range(6):
            assert len(set(context[b].tolist())) == context.shape[1]
            for m, _ in masks:
                assert len(set(m[b].tolist())) == m.shape[1] and not set(m[b].tolist()) & set(context[b].tolist())
    assert len(seen) > 1 or columns < 4


def test_every_column_comes_to_be_context_and_target():
    shown, asked = set(), set()
    for step in range(30):
        method, v = make(7, step), rows(7)
        (context, _), masks = method.draw(method.encoder.tokenize(v), v.index)
        shown |= set(context.flatten().tolist())
        asked |= {i for m, _ in masks for i in m.flatten().tolist()}
    assert shown == asked == set(range(7))


def test_what_a_sample_draws_does_not_depend_on_its_batch():
    method, v = make(), rows()
    tokens = method.encoder.tokenize(v)
    (context, _), masks = method.draw(tokens, v.index)
    (part, _), (first, *_) = method.draw(tokens.select(torch.arange(10).expand(6, -1)), v.index)
    assert torch.equal(context, part) and torch.equal(masks[0][0], first[0])
    half = View(v.x[3:], v.index[3:])
    assert torch.equal(method.draw(method.encoder.tokenize(half), half.index)[0][0], context[3:])


def test_parts_that_are_not_there_are_neither_shown_nor_asked_for():
    method, v = make(), rows()
    tokens = method.encoder.tokenize(v)
    exists = torch.arange(10) < torch.tensor([10, 8, 5, 3, 2, 1])[:, None]
    (context, there), masks = method.draw(Tokens(tokens.x, tokens.where, exists=exists), v.index)
    assert bool(exists.gather(1, context)[there].all()) and bool((there.sum(1) >= 1).all())
    for wanted, counted in masks:
        assert bool(exists.gather(1, wanted)[counted].all()) and int(counted[5].sum()) == 0 and bool((counted[:5].sum(1) >= 1).all())


def test_padding_changes_nothing():
    method, v = make(), rows()
    plain = method.loss(v)["prediction"]
    tokenize = method.encoder.tokenize

    def padded(view: View) -> Tokens:
        t = tokenize(view)
        return Tokens(t.x, t.where, t.content, torch.ones(t.x.shape[:2], dtype=torch.bool))

    method.encoder.tokenize = method.target.tokenize = padded
    assert torch.allclose(plain, method.loss(v)["prediction"], atol=1e-5)


def test_the_target_moves_slowly_and_ever_slower():
    method = make()
    with torch.no_grad():
        method.encoder.registers.fill_(1.0)
        method.target.registers.fill_(0.0)
    method.progress = 0.0
    method.after_step()
    assert float(method.target.registers[0, 0]) == pytest.approx(0.004)
    method.progress = 1.0
    method.after_step()
    assert float(method.target.registers[0, 0]) == pytest.approx(0.004) and method.exported is method.target


def test_gradients_reach_the_encoder_and_not_the_target():
    method, v = make(), rows()
    v.x[torch.rand(v.x.shape) < 0.3] = torch.nan  # so that the vectors of what is missing are asked for too
    method.zero_grad()
    method.loss(v)["prediction"].backward()
    assert {name.split(".")[0] for name, p in method.named_parameters() if p.grad is None} == {"target"}
    assert float(method.encoder.registers.grad.abs().sum()) > 0 and float(method.encoder.tokenizer.missing.grad.abs().sum()) > 0


@pytest.mark.parametrize("columns", [10, 0])
def test_it_learns_on_rows_and_on_pictures(columns):
    method = make(columns)
    losses = descend(method, {"v": rows() if columns else crops(6)["global_crops"][0]}, 15)
    assert losses[-1] < 0.8 * losses[0]


def test_sizes_are_the_rounded_shares():
    every = torch.tensor([5, 10, 1])
    assert amount(every, 0.2, 0.4, 0.0).tolist() == [1, 2, 1] and amount(every, 0.2, 0.4, 0.999).tolist() == [2, 4, 1]


def test_what_cannot_be_is_said_at_once():
    with pytest.raises(InputError) as error:
        make(predictor_heads=3, least_context=0.9, most_context=0.5, masks=0)
    assert len(error.value.problems) == 4
    with pytest.raises(InputError, match="take a transformer, e.g. --encoder ft_transformer"):
        TJEPA(SmallEncoder())
    with pytest.raises(InputError, match="samples have one part only"):
        make(1).loss(rows(1))
