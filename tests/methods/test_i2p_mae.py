import itertools

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, tiny_vit
from torch import nn

from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.i2p_mae import I2PMAE, drawn

GUIDE = "untrained:resnet_nano"


def make(**options: object) -> I2PMAE:
    torch.manual_seed(0)
    method = I2PMAE(build_encoder("point_m2ae_micro", 3, 128, seed=0), **{"guide": GUIDE, **options})
    method.counter = Counter(1, 2)
    return method


def clouds(batch: int = 3) -> View:
    x = torch.randn(batch, 128, 3, generator=torch.Generator().manual_seed(0))
    return View(x / x.norm(dim=-1).amax(1)[:, None, None], torch.arange(batch))


class Told(nn.Module):
    """A guide that says what it is told to."""

    def __init__(self, saliency: torch.Tensor, features: torch.Tensor):
        super().__init__()
        self.said = saliency, features

    def forward(self, view: object, top: object, target: object) -> tuple[torch.Tensor, torch.Tensor]:
        return self.said


# --- masks ------------------------------------------------------------------------------------------------------------------------------------


def test_groups_are_drawn_one_after_the_other_by_the_softmax_of_what_is_left():
    logits, count = torch.tensor([1.2, 0.0, -0.7]), 40000
    noise = Counter(0, 0).gumbel("mask", torch.arange(count), 3)
    visible = drawn(logits.expand(count, -1), torch.ones(count, 3, dtype=torch.bool), noise, 0.4)  # int(1.2) are hidden
    assert (visible.sum(1) == 2).all()
    p = logits.softmax(0)
    for hidden in range(3):
        first, second = (i for i in range(3) if i != hidden)
        exact = float(p[first] * p[second] / (1 - p[first]) + p[second] * p[first] / (1 - p[second]))
        assert float((~visible[:, hidden]).float().mean()) == pytest.approx(exact, abs=0.01)


def test_padding_is_never_drawn_and_one_group_always_is():
    exists = torch.arange(10) < torch.tensor([[10], [5], [1]])
    visible = drawn(torch.zeros(3, 10), exists, torch.randn(3, 10), 0.8)
    assert visible.sum(1).tolist() == [2, 1, 1] and not (visible & ~exists).any()


def test_finer_groups_are_visible_just_where_a_visible_one_holds_them():
    method, v = make(masking="random", semantic=0.0, mask_ratio=0.6), clouds()
    levels = method.encoder.levels(v)
    visible = method.show(levels, None, v.index)
    assert visible[2].sum(1).tolist() == [8 - int(0.6 * 8)] * 3
    for k in (2, 1):
        for n, i in itertools.product(range(3), range(visible[k - 1].shape[1])):
            held = any(i in levels[k].rows[n, g].tolist() for g in range(visible[k].shape[1]) if visible[k][n, g])
            assert bool(visible[k - 1][n, i]) == held


def test_what_stands_out_stays_visible_the_more_the_lower_the_temperature():
    method, v = make(temperature=0.001), clouds()
    levels = method.encoder.levels(v)
    saliency = torch.zeros(3, 8)
    saliency[:, [1, 6]] = 0.1
    assert method.show(levels, saliency, v.index)[2].nonzero()[:, 1].tolist() == [1, 6] * 3
    method.temperature = 1e6
    assert torch.equal(method.show(levels, saliency, v.index)[2], method.show(levels, None, v.index)[2])


# --- terms ------------------------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_terms_are_their_loops():
    method, v = make(semantic=0.5).eval(), clouds()
    generator = torch.Generator().manual_seed(3)
    saliency, features = torch.rand(3, 8, generator=generator), torch.randn(3, 32, method.guide.numbers(24), generator=generator)
    method.guide = Told(saliency, features)
    found = method.loss(v)
    levels = method.encoder.levels(v)
    visible = method.show(levels, saliency, v.index)
    encoded = method.encoder.encode_levels(levels, visible)
    t = method.decode(levels, encoded, visible)
    chamfers, squares = [], []
    for n, g in itertools.product(range(3), range(32)):
        if visible[1][n, g]:
            squares.append(float((method.describe(t[n, g]) - features[n, g]).square().mean()))
        else:
            square = torch.cdist(method.restore(t[n, g]).view(8, 3), levels[1].content[n, g]).square()
            chamfers.append(float(square.amin(0).mean() + square.amin(1).mean()))
    assert float(found["reconstruction"]) == pytest.approx(sum(chamfers) / len(chamfers), rel=1e-4)
    assert float(found["semantic"]) == pytest.approx(0.5 * sum(squares) / len(squares), rel=1e-4)


@torch.no_grad()
def test_the_decoder_is_its_loop():
    method, v = make(masking="random", semantic=0.0).eval(), clouds(1)
    levels = method.encoder.levels(v)
    visible = method.show(levels, None, v.index)
    encoded = method.encoder.encode_levels(levels, visible)
    top = torch.stack([encoded[2][0, g] if visible[2][0, g] else method.mask_token for g in range(8)])
    t = method.first(top[None], levels[2])[0]
    step, rows = method.others[0], []
    for g in range(32):
        square = (levels[2].where[0] - levels[1].where[0, g]).square().sum(-1)
        near = square.argsort()[:3]
        weight = 1 / square[near].clamp(min=1e-12)
        own = step.norm(encoded[1][0, g]) if visible[1][0, g] else torch.zeros(48)
        rows.append(torch.cat([own, (weight[:, None] * t[near]).sum(0) / weight.sum()]))
    joined = step.fuse(torch.stack(rows))
    joined = nn.functional.gelu(step.more(joined) + joined)
    slow = method.norm(step(joined[None], levels[1]))
    assert torch.allclose(method.decode(levels, encoded, visible), slow, atol=1e-4)


def test_hidden_points_reach_the_terms_only_as_targets():
    method, v = make(masking="random", semantic=0.0).eval(), clouds()
    levels = method.encoder.levels(v)
    visible = method.show(levels, None, v.index)
    levels[0].x.requires_grad_(True)
    t = method.decode(levels, method.encoder.encode_levels(levels, visible), visible)
    (gradient,) = torch.autograd.grad(t.square().sum(), levels[0].x)
    assert not gradient[~visible[0]].any() and gradient[visible[0]].any()


def test_what_is_trained_gets_a_gradient_and_the_guide_does_not():
    method = make().train()
    torch.stack([*method.loss(clouds()).values()]).sum().backward()
    assert [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(name.startswith("guide.") for name, p in method.named_parameters() if not p.requires_grad)


def test_random_masks_of_points_alone_need_no_guide():
    method = make(masking="random", semantic=0.0, guide="nothing")
    assert method.guide is None and set(method.loss(clouds())) == {"reconstruction"}
    assert set(make(masking="random").loss(clouds())) == {"reconstruction", "semantic"}


# --- other encoders ---------------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_encoder_without_levels_is_one_level_and_its_own_guide():
    torch.manual_seed(0)
    method, v = I2PMAE(tiny_vit(0), heads=2), crops(4)["global_crops"][0]
    method.counter = Counter(1, 2)
    found = method.eval().loss(v)
    tokens = method.encoder.tokenize(v)
    features = method.guide.encoder.encode(tokens).parts
    levels = method.source.levels(v)
    (visible,) = method.show(levels, method.guide(v, levels[0], levels[0])[0], v.index)
    assert visible.sum(1).tolist() == [16 - int(0.8 * 16)] * 4
    rows = visible.nonzero()[:, 1].view(4, -1)
    parts = method.encoder.encode(tokens.select(rows)).parts
    full = method.mask_token.expand(4, 16, -1).clone()
    for n, (k, i) in itertools.product(range(4), enumerate(range(rows.shape[1]))):
        full[n, rows[n, i]] = parts[n, k]
    t = method.norm(method.first(full, levels[0]))
    error, wrong = (method.restore(t) - tokens.content).square().mean(-1), (method.describe(t) - features).square().mean(-1)
    assert float(found["reconstruction"]) == pytest.approx(float(error[~visible].mean()), rel=1e-4)
    assert float(found["semantic"]) == pytest.approx(float(wrong[visible].mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio=0.0: the share of hidden groups"),
        ({"masking": "salient"}, "masking=salient: expected guided or random"),
        ({"temperature": 0.0}, "temperature=0.0: it divides"),
        ({"heads": 5}, "heads=5: they cannot share the widths 96, 48"),
        ({"guide": "nothing"}, "no model of pictures 'nothing'"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        make(**options)


def test_an_encoder_without_parts_is_refused():
    with pytest.raises(InputError, match="this encoder has none; take --encoder point_m2ae"):
        I2PMAE(SmallEncoder())
