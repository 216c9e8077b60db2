import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo_pair import Pair
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, sum_of, tiny_vit
from torch import Tensor, nn

from manyviews.backbones.timm_model import cells
from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.distill.cmd import CMD, Levels, described, divergence
from manyviews.methods.distill.dino import DINO
from manyviews.nn.distributed import synchronise_batch_norm, world

TERMS = ("views", "regions", "intra", "inter")


class Maps(Encoder):
    """A convolutional network with batch normalisation: cells of 2 x 2 pixels, whose mean is its output."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.dim, self.widths = dim, [5, 6]
        self.net = nn.Sequential(nn.Conv2d(3, 5, 2, 2), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 1))

    def forward(self, view: View) -> Tensor:
        return self.pyramid(view)[-1].x.mean(1)

    def pyramid(self, view: View) -> list[Tokens]:
        m = self.net(view.x)
        where, extent = (a.expand(len(m), -1, -1) for a in cells(m.shape[2], m.shape[3], m.device))
        return [Tokens(m.flatten(2).mT, where, extent=extent)]


class Padded(Maps):
    """The same with cells that do not exist behind those that do."""

    def pyramid(self, view: View) -> list[Tokens]:
        (t,) = super().pyramid(view)
        x = torch.cat([t.x, 9.0 + 0 * t.x[:, :5]], 1)
        exists = torch.ones(x.shape[:2], dtype=torch.bool)
        exists[:, t.x.shape[1] :] = False
        return [Tokens(x, torch.zeros(*x.shape[:2], 2), exists=exists)]


def make(encoder: Encoder | None = None, **options: Any) -> CMD:
    return CMD(encoder or tiny_vit(), **{"out": 12, "hidden": 16, "bottleneck": 8, "attention": 7, **options})


def moved(method: CMD) -> CMD:
    """With a teacher that is not where the student is, and centres that are not zero."""
    for p in [*method.teacher.parameters(), *method.teacher_levels.parameters()]:
        p.add_(0.1 * torch.randn_like(p))
    method.view_centre.value.copy_(0.3 * torch.randn(12))
    method.region_centre.value.copy_(0.3 * torch.randn(12))
    return method


def softmax(z: Tensor, temperature: float) -> list[float]:
    e = [math.exp(float(a) / temperature) for a in z]
    return [a / sum(e) for a in e]


def cross_entropy(p: list[float], q: list[float]) -> float:
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def seen(encoder: Encoder, levels: Levels, view: View, n: int, centres: tuple[Any, Any], temperature: float) -> tuple[Any, ...]:
    """Features of sample n's regions, and the distributions of its view, its regions and their bag, weighted one by one."""
    features = encoder.encode(encoder.tokenize(view))
    parts = features.parts[n].detach()
    score = [float(levels.attention(x)) for x in parts]
    weight = [math.exp(a) / sum(math.exp(b) for b in score) for a in score]
    logits = levels.region(parts).detach()
    bag = sum(a * z for a, z in zip(weight, logits, strict=True))
    view_logits = levels.view(features.whole)[n].detach()
    return (
        parts,
        softmax(view_logits - centres[0], temperature),
        [softmax(z - centres[1], temperature) for z in logits],
        softmax(bag - centres[1], temperature),
    )


def test_the_terms_are_loops_over_pairs_of_crops_samples_and_regions() -> None:
    method, views = moved(make(intra=0.7, inter=0.4, regions=0.3)), crops(2)
    method.progress = 0.05  # the teacher's temperature is half way
    terms = method.loss(**views)
    every = [*views["global_crops"], *views["local_crops"]]
    centres = (method.view_centre.value, method.region_centre.value)
    slow = dict.fromkeys([*TERMS, "inside_teacher"], 0.0)
    for n in range(2):
        student = [seen(method.encoder, method.levels, b, n, (0, 0), 0.1) for b in every]
        for i, a in enumerate(views["global_crops"]):
            features_t, view_t, regions_t, bag_t = seen(method.teacher, method.teacher_levels, a, n, centres, 0.055)
            slow["inside_teacher"] += kl(bag_t, view_t) / 4
            for j, (features_s, view_s, regions_s, bag_s) in enumerate(student):
                if i == j:
                    continue
                slow["views"] += 0.7 * cross_entropy(view_t, view_s) / 12
                slow["intra"] += 0.7 * kl(bag_t, bag_s) / 12
                slow["inter"] += 0.4 * kl(bag_s, view_s) / 12
                for x, q in zip(features_s, regions_s, strict=True):
                    like = [float(x @ y / (x.norm() * y.norm())) for y in features_t]
                    slow["regions"] += 0.3 * cross_entropy(regions_t[like.index(max(like))], q) / len(features_s) / 12
    assert terms.keys() == slow.keys() and not terms["inside_teacher"].requires_grad
    for name, value in slow.items():
        assert math.isclose(float(terms[name]), value, rel_tol=2e-4), name


def test_the_divergence_is_zero_for_equal_distributions_alone_and_ignores_constants() -> None:
    p, q = torch.randn(4, 9), torch.randn(4, 9)
    assert float(divergence(p, p + 3.0)) == pytest.approx(0, abs=1e-6)
    assert float(divergence(p, q)) > 0.1
    torch.testing.assert_close(divergence(p, q), nn.functional.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="batchmean", log_target=True))


def test_without_regions_and_bags_it_is_dino() -> None:
    views = crops()
    method = make(regions=0.0, intra=0.0, inter=0.0)
    other = DINO(tiny_vit(), out=12, hidden=16, bottleneck=8, temperature_warmup=0.1)
    other.head.load_state_dict(method.levels.view.state_dict())
    other.teacher_head.load_state_dict(method.levels.view.state_dict())
    torch.testing.assert_close(sum(method.loss(**views)[name] for name in TERMS), other.loss(**views)["distillation"])


def logits(levels: Levels, x: Tensor) -> Tensor:
    """Of regions with these features."""
    return levels.region(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def columns(whole: Tensor, parts: Tensor) -> Tensor:
    return nn.functional.pad(torch.cat([whole[:, None], parts], 1), (0, 1), value=1.0)


def test_a_bag_runs_from_the_mean_of_its_regions_to_the_one_that_attention_picks() -> None:
    levels, whole, parts = Levels(6, 12, 16, 8, 7), torch.randn(3, 6), torch.randn(3, 5, 6)
    levels.attention[-1].weight.data.zero_()
    torch.testing.assert_close(levels(columns(whole, parts)).bag, logits(levels, parts).mean(1))
    levels.attention[-1].weight.data.copy_(torch.randn(1, 7) * 1e4)
    best = levels.attention(parts)[..., 0].argmax(1)
    torch.testing.assert_close(levels(columns(whole, parts)).bag, logits(levels, parts)[torch.arange(3), best])


def test_with_mean_pooling_there_is_no_attention_and_all_regions_weigh_the_same() -> None:
    levels, whole, parts = Levels(6, 12, 16, 8, 0), torch.randn(3, 6), torch.randn(3, 5, 6)
    assert levels.attention is None and make(pooling="mean").levels.attention is None
    torch.testing.assert_close(levels(columns(whole, parts)).bag, logits(levels, parts).mean(1))


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_the_order_of_a_views_regions_does_not_matter(pooling: str) -> None:
    levels = Levels(6, 12, 16, 8, 7 if pooling == "attention" else 0)
    whole, parts = torch.randn(3, 6), torch.randn(3, 5, 6)
    torch.testing.assert_close(levels(columns(whole, parts)).bag, levels(columns(whole, parts[:, torch.randperm(5)])).bag)


def test_attention_learns_from_bags_alone_and_everything_else_from_its_own_term() -> None:
    method, views = make(), crops()
    moves = {}
    for term in TERMS:
        method.zero_grad()
        method.loss(**views)[term].backward()
        moves[term] = {name.split(".")[1] for name, p in method.levels.named_parameters(prefix="levels") if p.grad is not None and p.grad.abs().sum() > 0}
    assert moves == {"views": {"view"}, "regions": {"region"}, "intra": {"region", "attention"}, "inter": {"view", "region", "attention"}}


def test_only_the_student_gets_gradients_and_the_teacher_is_exported() -> None:
    method = make()
    sum_of(method, crops()).backward()
    assert {name.split(".")[0] for name, p in method.named_parameters() if p.grad is None} == {"teacher", "teacher_levels"}
    assert method.exported is method.teacher


def test_centres_follow_the_teachers_mean_over_global_crops_and_over_their_regions() -> None:
    method, views = make(), crops()
    whole = torch.stack([method.teacher_levels.view(method.teacher(v)) for v in views["global_crops"]])
    parts = torch.stack([logits(method.teacher_levels, method.teacher.encode(method.teacher.tokenize(v)).parts) for v in views["global_crops"]])
    method.loss(**views)
    assert method.view_centre.value.eq(0).all() and method.region_centre.value.eq(0).all()
    method.after_step()
    torch.testing.assert_close(method.view_centre.value, 0.1 * whole.mean((0, 1)).detach())
    torch.testing.assert_close(method.region_centre.value, 0.1 * parts.mean((0, 1, 2)).detach())


def test_the_teacher_follows_with_a_cosine_from_0_996_to_1() -> None:
    method = make()
    for progress, decay in ((0.0, 0.996), (0.5, 0.998), (1.0, 1.0)):
        for p in [*method.encoder.parameters(), *method.levels.parameters()]:
            p.data.add_(torch.randn_like(p))
        slow, fast = [*method.teacher.parameters(), *method.teacher_levels.parameters()], [*method.encoder.parameters(), *method.levels.parameters()]
        before = [p.clone() for p in slow]
        method.progress = progress
        method.after_step()
        for old, new, online in zip(before, slow, fast, strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * online.detach())


def test_prototypes_of_both_levels_hold_still_at_first() -> None:
    for progress, still in ((0.0, True), (0.01, False)):
        method = make(freeze=0.005)
        method.progress = progress
        sum_of(method, crops()).backward()
        method.before_step()
        assert [head.prototypes.grad is None for head in (method.levels.view, method.levels.region)] == [still, still]


def test_a_transformers_regions_are_its_patches_and_its_view_is_what_it_is_evaluated_by() -> None:
    encoder, view = tiny_vit(), crops()["global_crops"][0]
    x = described(encoder, view)
    torch.testing.assert_close(x[:, 0, :-1], encoder(view))
    torch.testing.assert_close(x[:, 1:, :-1], encoder.encode(encoder.tokenize(view)).parts)
    assert x[..., -1].eq(1).all()


def test_a_networks_regions_are_its_last_cells_and_its_view_is_their_mean() -> None:
    encoder, view = Maps().eval(), crops()["global_crops"][0]
    x = described(encoder, view)
    torch.testing.assert_close(x[:, 0, :-1], encoder(view))
    torch.testing.assert_close(x[:, 1:, :-1], encoder.pyramid(view)[-1].x)


def test_padding_changes_nothing() -> None:
    plain, padded = make(Maps()), make(Padded())
    padded.load_state_dict(plain.state_dict())
    a, b = plain.loss(**crops()), padded.loss(**crops())
    for name in a:
        torch.testing.assert_close(a[name], b[name], msg=name)
    plain.after_step()
    padded.after_step()
    torch.testing.assert_close(plain.region_centre.value, padded.region_centre.value)


def test_mixed_precision_changes_little() -> None:
    method, views = make(), crops(8)
    exact = float(sum_of(method, views))
    with torch.autocast("cpu", torch.bfloat16):
        rough = sum_of(method, views)
    rough.backward()
    assert rough.dtype == torch.float32 and float(rough) == pytest.approx(exact, rel=0.1)
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_some_steps_bring_the_terms_down() -> None:
    method, views = make(freeze=0.0), crops(8)
    before = {name: float(value) for name, value in method.loss(**views).items()}
    descend(method, views, 20)
    after = {name: float(value) for name, value in method.loss(**views).items()}
    assert sum(after[name] for name in TERMS) < sum(before[name] for name in TERMS) - 0.1
    assert after["inter"] < 0.5 * before["inter"]


def test_the_papers_numbers_are_the_defaults() -> None:
    method = CMD(Maps())
    assert method.levels.view.prototypes.shape == method.levels.region.prototypes.shape == (65536, 256)
    assert (method.regions, method.intra, method.inter, method.decay) == (0.5, 1.0, 1.0, 0.996)


def test_what_cannot_work_is_refused_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        make(SmallEncoder(), pooling="max", regions=1.5, student_temperature=0.0)
    assert len(error.value.problems) == 4
    with pytest.raises(InputError, match="own width"):
        make(Maps(dim=7))
    with pytest.raises(InputError, match="inter=-1"):
        make(inter=-1.0)


def train(encoder: str, pooling: str, rank: int, size: int) -> dict[str, np.ndarray]:
    """Some steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = make(Maps() if encoder == "maps" else tiny_vit(), pooling=pooling, freeze=0.0).train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(3):
        views = crops(8, step, slice(rank * size, (rank + 1) * size))
        method.progress, method.counter = step / 3, Counter(0, step)
        method.zero_grad()
        sum_of(method, views).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.progress = (step + 1) / 3
        method.after_step()
    return {**{f"gradient of {key}": p.grad.numpy() for key, p in trained.items()}, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: Any, encoder: str, pooling: str) -> dict[str, np.ndarray]:
    return train(encoder, pooling, fabric.global_rank, 4)


@pytest.mark.parametrize(("encoder", "pooling"), [("vit", "attention"), ("maps", "mean")])
def test_two_processes_learn_what_one_does(encoder: str, pooling: str, pair: Pair) -> None:
    whole, ranks = train(encoder, pooling, 0, 8), pair(work, encoder, pooling)
    assert len(whole) > 10
    for results in ranks:
        for key, expected in whole.items():
            np.testing.assert_allclose(results[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
