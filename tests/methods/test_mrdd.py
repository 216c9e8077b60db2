import math

import pytest
import torch
from torch import nn

from manyviews.app.preparing import Tools
from manyviews.backbones.mrdd import named
from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.mrdd import CLUB, MRDD, Consistency, Decoder, Disentangled, hide, normal_divergence, partners
from manyviews.nn.edges import contours


class Small(Encoder):
    def __init__(self):
        super().__init__()
        self.dim = 6
        self.net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, view):
        return self.net(view.x)


def small(**settings):
    torch.manual_seed(0)
    method = MRDD(Small(), **{"consistent": 3, "specific": 5, "width": 4, "blocks": 1, "hidden": 8, **settings})
    method.counter = Counter(0, 0)
    return method


def views(count=7, size=12):
    x = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))
    return View(x, torch.arange(count)), View(contours(x), torch.arange(count))


def test_the_bound_is_what_a_loop_over_samples_finds():
    torch.manual_seed(0)
    club, z, c = CLUB(4, 3, 10), torch.randn(6, 4), torch.randn(6, 3)
    other = c.roll(1, 0)
    expected = 0.0
    for i in range(6):
        mean, log_variance = club.mean(z[i]), club.log_variance(z[i])
        normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        expected += float((normal.log_prob(c[i]) - normal.log_prob(other[i])).sum()) / 6
    assert float(club.bound(z, c, other)) == pytest.approx(expected, abs=1e-5)


def test_the_bound_moves_the_encoder_alone_and_the_estimators_error_the_estimator_alone():
    club, z = CLUB(4, 3, 10), torch.randn(6, 4, requires_grad=True)
    c = torch.randn(6, 3)
    club.bound(z, c, c.roll(1, 0)).backward()
    assert z.grad is not None and all(p.grad is None for p in club.parameters())
    club.error(z.detach(), c).backward()
    assert all(p.grad is not None for p in club.parameters())


def test_the_estimators_error_is_least_where_it_knows_mean_and_variance():
    club, c = CLUB(1, 1, 2), 0.5 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    for p in club.parameters():
        nn.init.zeros_(p)
    found = {}
    for bias in (-1.5, -0.9, math.atanh(math.log(0.25) / 2) if abs(math.log(0.25) / 2) < 1 else -0.88, 0.0):
        club.log_variance[2].bias.data.fill_(bias)
        found[bias] = float(club.error(torch.zeros(4000, 1), c))
    assert min(found, key=found.get) == -1.5  # log variance is held above -1, the nearest to log 0.25


def test_a_code_that_tells_nothing_has_a_bound_of_zero_and_one_that_tells_has_more():
    torch.manual_seed(0)
    club, z = CLUB(3, 3, 64), torch.randn(512, 3)
    optimizer = torch.optim.Adam(club.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        club.error(z, z).backward()
        optimizer.step()
    c = z.detach()
    assert float(club.bound(z, c, c.roll(1, 0))) > 1
    assert abs(float(club.bound(torch.zeros_like(z), c, c.roll(1, 0)))) < 0.5


def test_every_sample_looks_at_another_one_whatever_the_order_of_the_batch():
    c, index = torch.arange(9.0)[:, None], torch.arange(9)
    found = partners(c, View(c, index), Counter(0, 3))[:, 0]
    assert sorted(found.tolist()) == list(range(9)) and bool((found != c[:, 0]).all())
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    again = partners(c[order], View(c[order], index[order]), Counter(0, 3))[:, 0]
    assert torch.equal(again, found[order])


def test_so_many_whole_patches_are_black():
    view = View(torch.ones(3, 2, 12, 10), torch.arange(3))
    x = hide(view, 0.7, 2, Counter(0, 0), "mask")
    blocks = x.unflatten(3, (5, 2)).unflatten(2, (6, 2)).transpose(3, 4).flatten(4)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))
    assert (blocks[:, 0, :, :, 0] == 0).flatten(1).sum(1).tolist() == [21, 21, 21]
    assert torch.equal(hide(view, 0.0, 2, Counter(0, 0), "mask"), view.x)
    assert hide(View(torch.ones(1, 1, 7, 9), torch.arange(1)), 0.5, 2, Counter(0, 0), "mask").shape == (1, 1, 7, 9)


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert float(normal_divergence(mean, log_variance)) == pytest.approx(float(expected), rel=1e-5)


def test_each_stage_trains_its_own_part_and_leaves_the_other_as_it_is():
    method, (v, w) = small(), views()
    names = []
    for stage in method.stages(None, Tools(12)):
        before = {name: t.clone() for name, t in method.state_dict().items()}
        stage.trainable.counter = Counter(0, 0)
        stage.trainable.train()
        optimizer = torch.optim.SGD([p for p in stage.trainable.parameters() if p.requires_grad], 1e-3)
        torch.stack(list(stage.trainable.loss(v, w).values())).sum().backward()
        optimizer.step()
        moved = {name for name, t in method.state_dict().items() if not torch.equal(t, before[name])}
        names.append(stage.name)
        shared = {name for name in moved if name.startswith(("encoder.shared", "shared_decoders"))}
        assert (moved == shared) if stage.name == "consistency" else not shared
    assert names == ["consistency", ""]


def test_the_first_stage_rebuilds_whole_views_from_masked_ones():
    method, (v, w) = small(mask_ratio=0.0, divergence=0.0), views()
    first = Consistency(method)
    first.counter = Counter(0, 0)
    first.train()
    found = first.loss(v, w)
    mean, log_variance = first.shared([v, w])
    c = mean + (0.5 * log_variance).exp() * Counter(0, 0).normal("c", v.index, 3)
    expected = sum(((decoder(c, view.x) - view.x) ** 2).sum() / 7 for decoder, view in zip(first.decoders, (v, w), strict=True))
    assert float(found["reconstruction"]) == pytest.approx(float(expected), rel=1e-4) and float(found["divergence"]) == 0


def test_evaluation_makes_the_second_view_itself():
    method, (v, w) = small(), views()
    encoder = method.exported.eval()
    assert encoder.dim == 13 and torch.allclose(encoder(v), encoder.of(v, w))
    same = small(second="same").exported.eval()
    assert torch.allclose(same(v), same.of(v, v)) and not torch.allclose(same(v), same.of(v, w))


@pytest.mark.parametrize("sides", [(8, 8), (12, 20), (33, 31)])
def test_a_decoder_makes_pictures_of_any_sides(sides):
    like = torch.rand(2, 3, *sides)
    assert Decoder(5, 3, 4, 1)(torch.randn(2, 5), like).shape == like.shape


def test_its_encoder_is_made_again_by_name():
    method = MRDD(named("mrdd:4,6,same:resnet_nano", 1, 16).shared.network, consistent=4, specific=6, second="same")
    name = method.exported.named("resnet_nano")
    again = named(name, 1, 16)
    assert isinstance(again, Disentangled) and name == "mrdd:4,6,same:resnet_nano"
    again.load_state_dict(method.exported.state_dict())


def test_what_cannot_be_is_said_together():
    with pytest.raises(InputError) as error:
        small(mask_ratio=1.0, second="depth", first=0.0)
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="no 2-D convolution"):
        MRDD(Encoder())
    with pytest.raises(InputError, match="expected mrdd:"):
        named("mrdd:4:resnet_nano")
