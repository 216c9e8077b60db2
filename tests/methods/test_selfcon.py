import math

import pytest
import torch
from gloo_pair import Pair
from tiny_vit import descend, tiny_vit, untouched
from torch import Tensor, nn

from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.methods.contrast.selfcon import SelfCon
from manyviews.nn.distributed import synchronise_batch_norm, world
from manyviews.views.finding import find_policy


class Levels(Encoder):
    """Three levels of 4, 2 and 1 cells a side, and then nothing: the encoder is the mean of the last."""

    def __init__(self, after: bool = False):
        super().__init__()
        self.dim, self.widths, self.stages = 6, [3, 4, 6], ["first", "second", "third"]
        self.model = nn.Module()
        self.model.first, self.model.second, self.model.third = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 6, 2, 2)
        if after:
            self.model.norm = nn.LayerNorm(6)
        self.passes = 0

    def pyramid(self, view: View) -> list[Tokens]:
        self.passes += 1
        x, levels = view.x, []
        for name in self.stages:
            x = nn.functional.gelu(getattr(self.model, name)(x))
            t = x.flatten(2).mT
            levels.append(Tokens(t, torch.zeros(*t.shape[:2], 2)))
        return levels

    def forward(self, view: View) -> Tensor:
        x = self.pyramid(view)[-1].x.mean(1)
        return self.model.norm(x) if hasattr(self.model, "norm") else x


def view(batch: int = 8, seed: int = 0, rows: slice = slice(None)) -> View:
    g = torch.Generator().manual_seed(seed)
    x, label = torch.rand(batch, 3, 4, 4, generator=g), torch.arange(batch) % 2
    family = torch.where(label == 1, torch.arange(batch) // 2 % 2, -1)
    given = {"label": label, "family": family}
    return View(x[rows], torch.arange(batch)[rows], None, {name: value[rows] for name, value in given.items()})


def slow(zg: Tensor, zf: Tensor, label: list[int], temperature: float) -> float:
    """The paper's loss, an anchor at a time: both exits of every sample are anchors, positives are all other features of its class, of either exit."""
    z = torch.cat([zg, zf]).double()
    z = z / z.norm(dim=1, keepdim=True)
    classes, costs = label * 2, []
    for i in range(len(z)):
        if classes[i] < 0:
            continue
        others = [j for j in range(len(z)) if j != i and classes[j] >= 0]
        below = sum(math.exp(float(z[i] @ z[j]) / temperature) for j in others)
        positives = [j for j in others if classes[j] == classes[i]]
        costs.append(-sum(math.log(math.exp(float(z[i] @ z[j]) / temperature) / below) for j in positives) / len(positives))
    return sum(costs) / len(costs)


def embeddings(method: SelfCon, v: View) -> tuple[Tensor, Tensor]:
    half, whole = method.features(v)
    return method.exit_projector(half), method.projector(whole)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_the_loss_is_that_of_the_paper(temperature: float) -> None:
    method, v = SelfCon(Levels(), out=5, temperature=temperature), view()
    terms = method.loss(v)
    assert list(terms) == ["label"]
    assert terms["label"].item() == pytest.approx(slow(*embeddings(method, v), v.given["label"].tolist(), temperature), rel=1e-5)


def test_a_second_label_is_contrasted_among_the_samples_where_it_is_known() -> None:
    method, v = SelfCon(Levels(), out=5, second="family", weight=0.3, second_weight=2.0), view()
    zg, zf = embeddings(method, v)
    known = v.given["family"] >= 0
    terms = method.loss(v)
    assert terms["label"].item() == pytest.approx(0.3 * slow(zg, zf, v.given["label"].tolist(), 0.1), rel=1e-5)
    assert terms["family"].item() == pytest.approx(2 * slow(zg[known], zf[known], v.given["family"][known].tolist(), 0.1), rel=1e-5)


def test_without_labels_a_sample_is_drawn_to_its_other_feature_alone() -> None:
    method, v = SelfCon(Levels(), out=5, label=""), view()
    terms = method.loss(View(v.x, v.index))
    assert terms["sample"].item() == pytest.approx(slow(*embeddings(method, v), list(range(8)), 0.1), rel=1e-5)


def test_all_of_one_class_and_one_place_cost_the_logarithm_of_the_others() -> None:
    method, v = SelfCon(Levels(), out=5), view()
    one = View(v.x[:1].expand(8, -1, -1, -1), v.index, None, {"label": torch.zeros(8, dtype=torch.long)})
    for projector in (method.projector, method.exit_projector):
        nn.init.zeros_(projector[-1].weight)
        nn.init.ones_(projector[-1].bias)
    assert method.loss(one)["label"].item() == pytest.approx(math.log(15), rel=1e-5)


def test_reordering_the_batch_changes_nothing() -> None:
    method, v = SelfCon(Levels(), out=5), view()
    order = torch.randperm(8)
    shuffled = View(v.x[order], v.index[order], None, {"label": v.given["label"][order]})
    torch.testing.assert_close(method.loss(shuffled)["label"], method.loss(v)["label"])


def test_the_exit_is_the_middle_level_unless_another_is_asked_for() -> None:
    assert SelfCon(Levels()).exit.in_features == 4 and SelfCon(Levels(), level=-3).exit.in_features == 3
    resnet = build_encoder("resnet_micro", 3, 32, seed=0)
    assert len(resnet.widths) == 5 and SelfCon(resnet).level == -3 and SelfCon(resnet).exit.in_features == 64  # the second of four stages


def test_one_pass_is_enough_where_the_encoder_is_the_mean_of_its_last_level() -> None:
    for name, once in (("resnet_micro", True), ("resnet18_small", True), ("convnext_atto", False), ("efficientnet_b0", False), ("vit_micro", False)):
        encoder = build_encoder(name, 3, 32, seed=0).eval()
        method = SelfCon(encoder)
        assert method.once is once, name
        x = View(torch.rand(2, 3, 32, 32), torch.arange(2))
        torch.testing.assert_close(method.features(x)[1], encoder(x))
    for after, passes in ((False, 1), (True, 2)):
        method = SelfCon(Levels(after))
        method.loss(view())
        assert method.encoder.passes == passes  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoder", [Levels, lambda: Levels(after=True), tiny_vit])
def test_every_parameter_learns(encoder: type) -> None:
    v = view()
    big = View(nn.functional.interpolate(v.x, size=(8, 8)), v.index, None, v.given)
    assert untouched(SelfCon(encoder(), out=5), {"v": big}) == set()


def test_classes_come_apart() -> None:
    method, v = SelfCon(Levels(), out=5, temperature=0.5), view(16)
    v.x[:, 0] += v.given["label"][:, None, None]
    losses = descend(method, {"v": v}, steps=60, lr=0.02)
    z = nn.functional.normalize(method.projector(method.features(v)[1]), dim=1).detach()
    same = (v.given["label"][:, None] == v.given["label"]).float()
    similarity = z @ z.T
    assert losses[-1] < losses[0] - 0.2 and (similarity * same).sum() / same.sum() > (similarity * (1 - same)).sum() / (1 - same).sum() + 0.3


def test_a_label_that_is_not_there_is_said() -> None:
    v = view()
    with pytest.raises(InputError, match="'label', which this data does not have; class folders give a label. It has nothing"):
        SelfCon(Levels()).loss(View(v.x, v.index))
    with pytest.raises(InputError, match="'generator', which this data does not have. It has label, family"):
        SelfCon(Levels(), second="generator").loss(v)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"temperature": 0.0}, "must be above 0"),
        ({"level": -4}, "this encoder has -3 to -1"),
        ({"level": 0}, "-3 to -1"),
        ({"second_weight": -1.0}, "at least 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        SelfCon(Levels(), **settings)


def test_an_encoder_without_levels_is_refused() -> None:
    encoder = Levels()
    encoder.widths = []
    with pytest.raises(InputError, match="has no levels; take a ResNet"):
        SelfCon(encoder)


@pytest.mark.parametrize("name", ["selfcon", "detection"])
def test_its_views_are_one_view(name: str) -> None:
    assert list(find_policy(name, 32).roles) == ["v"] and not isinstance(find_policy(name, 32).roles["v"], list)


def test_the_detection_view_only_mirrors() -> None:
    from manyviews.counters import Counter

    x = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    seen = find_policy("detection", 32)(View(x, torch.arange(16)), Counter(0, 0))["v"].x
    plain = x.permute(0, 3, 1, 2) / 255
    mirrored = [bool(torch.allclose(a, b.flip(-1), atol=1e-6)) for a, b in zip(seen, plain, strict=True)]
    straight = [bool(torch.allclose(a, b, atol=1e-6)) for a, b in zip(seen, plain, strict=True)]
    assert all(m != s for m, s in zip(mirrored, straight, strict=True)) and 0 < sum(mirrored) < 16


def gradients(fabric: object, batch: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Loss and gradients of this rank's share of the batch, averaged over ranks."""
    import torch.distributed as dist

    torch.manual_seed(0)
    method = synchronise_batch_norm(SelfCon(Levels(), out=5, second="family"))
    part = slice(dist.get_rank() * batch // 2, (dist.get_rank() + 1) * batch // 2) if world() > 1 else slice(None)
    terms = method.loss(view(batch, rows=part))  # type: ignore[operator]
    torch.stack([*terms.values()]).sum().backward()
    found = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
    values = torch.stack([term.detach() for term in terms.values()])
    if world() > 1:
        for tensor in [*found.values(), values]:
            dist.all_reduce(tensor)
            tensor /= world()
    return dict(zip(terms, values.tolist(), strict=True)), found


def test_two_processes_are_one(pair: Pair) -> None:
    alone, one = gradients(None, 12)
    (first, a), (second, b) = pair(gradients, 12)
    assert first == second == pytest.approx(alone, rel=1e-5)
    for name, g in one.items():
        torch.testing.assert_close(a[name], g, rtol=1e-4, atol=1e-6)
        assert torch.equal(a[name], b[name])
