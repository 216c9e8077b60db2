import math

import pytest
import torch
from tiny_vit import crops, descend, sum_of, tiny_vit, untouched

from manyviews.methods.distill.dino import DINO


def make(**options: object) -> DINO:
    return DINO(tiny_vit(), **{"out": 12, "hidden": 16, "bottleneck": 8, **options})


def test_the_loss_is_the_papers_loop() -> None:
    method, views = make(), crops()
    method.progress = 0.15
    method.centre.value.copy_(torch.randn(12))
    for p in method.teacher.parameters():
        p.add_(0.1 * torch.randn_like(p))
    found = float(method.loss(**views)["distillation"])
    every = [*views["global_crops"], *views["local_crops"]]
    slow, pairs = 0.0, 0
    for i, a in enumerate(views["global_crops"]):
        teacher = method.teacher_head(method.teacher(a))
        for j, b in enumerate(every):
            if i == j:
                continue
            student, pairs = method.head(method.encoder(b)), pairs + 1
            for n in range(6):
                p = [math.exp(float(teacher[n, k] - method.centre.value[k]) / 0.055) for k in range(12)]
                q = [math.exp(float(student[n, k]) / 0.1) for k in range(12)]
                slow -= sum(p[k] / sum(p) * math.log(q[k] / sum(q)) for k in range(12)) / 6
    assert pairs == 6
    assert math.isclose(found, slow / pairs, rel_tol=1e-4)


def test_only_the_student_gets_gradients() -> None:
    method = make()
    assert untouched(method, crops()) == {"teacher", "teacher_head"}
    assert not any(p.requires_grad for p in [*method.teacher.parameters(), *method.teacher_head.parameters()])


def test_the_centre_follows_the_teachers_mean_over_both_global_crops() -> None:
    method, views = make(), crops()
    with torch.no_grad():
        mean = torch.stack([method.teacher_head(method.teacher(v)) for v in views["global_crops"]]).mean((0, 1))
    method.loss(**views)
    assert method.centre.value.eq(0).all()
    method.after_step()
    torch.testing.assert_close(method.centre.value, 0.1 * mean)


def test_the_teacher_follows_with_a_cosine_from_0_996_to_1_and_is_what_is_exported() -> None:
    method = make()
    for progress in (0.0, 0.5, 1.0):
        before = {k: p.clone() for k, p in method.teacher.named_parameters()}
        for p in [*method.encoder.parameters(), *method.head.parameters()]:
            p.data.add_(torch.randn_like(p))
        method.progress = progress
        method.after_step()
        m = 1 - 0.004 * (math.cos(math.pi * progress) + 1) / 2
        online = dict(method.encoder.named_parameters())
        for k, p in method.teacher.named_parameters():
            torch.testing.assert_close(p, m * before[k] + (1 - m) * online[k].detach())
    assert method.exported is method.teacher


def test_the_prototypes_hold_still_for_the_first_share_and_move_after_it() -> None:
    method, views = make(freeze=0.1), crops()
    for progress, still in ((0.0, True), (0.09, True), (0.1, False)):
        method.progress = progress
        sum_of(method, views).backward()
        method.before_step()
        assert (method.head.prototypes.grad is None) is still
        assert method.head.mlp[0].weight.grad is not None


def test_local_crops_are_optional_and_the_last_layer_is_the_papers() -> None:
    method = DINO(tiny_vit())
    assert method.head.prototypes.shape == (65536, 256)
    assert make().loss(crops()["global_crops"])["distillation"].isfinite()


def test_a_teacher_that_says_nothing_leaves_the_entropy_of_the_uniform_distribution() -> None:
    method = make()
    method.head.prototypes.data[:] = method.head.prototypes.data[:1]
    method.teacher_head.prototypes[:] = method.teacher_head.prototypes[:1].clone()
    assert float(sum_of(method, crops())) == pytest.approx(math.log(12), rel=1e-4)


def test_the_student_of_a_fixed_teacher_learns_what_it_says() -> None:
    method, views = make(out=32, decay=1.0, teacher_temperature=0.04), crops(8)
    for _ in range(60):  # a moving centre raises the loss at first, as it should: settle it
        method.targets(views["global_crops"])
        method.centre.update()
    losses = descend(method, views, steps=40, lr=1e-2)
    assert losses[-1] < 0.6 * losses[0]
