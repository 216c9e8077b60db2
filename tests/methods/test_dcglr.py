import math

import torch
from tiny_vit import crops, tiny_vit, untouched

from manyviews.contracts import View
from manyviews.methods.distill.dcglr import DCGLR


def make(**options: object) -> DCGLR:
    method = DCGLR(tiny_vit(), **{"out": 12, "hidden": 16, "bottleneck": 8, **options})
    for p in [*method.teacher.parameters(), *method.teacher_head.parameters()]:
        p.add_(0.1 * torch.randn_like(p))
    return method


def test_both_terms_are_their_loops() -> None:
    method, views = make(), crops()
    method.progress = 0.15
    method.centre.value.copy_(torch.randn(12))
    found = method.loss(**views)
    every = [*views["global_crops"], *views["local_crops"]]
    slow, contrast, pairs = 0.0, 0.0, 0
    with torch.no_grad():
        student = [method.head.bottleneck(method.encoder(b)) for b in every]
        teacher = [method.teacher_head.bottleneck(method.teacher(a)) for a in every[:2]]
        w, u = (torch.nn.functional.normalize(h.prototypes, dim=1) for h in (method.head, method.teacher_head))
        for i in range(2):
            for j in range(len(every)):
                if i == j:
                    continue
                pairs += 1
                for n in range(6):
                    p = [math.exp((float(teacher[i][n] @ u[k]) - float(method.centre.value[k])) / 0.055) for k in range(12)]
                    q = [math.exp(float(student[j][n] @ w[k]) / 0.1) for k in range(12)]
                    slow -= sum(p[k] / sum(p) * math.log(q[k] / sum(q)) for k in range(12)) / 6
            for n in range(6):
                e = [math.exp(float(student[1 - i][n] @ teacher[i][m]) / 0.07) for m in range(6)]
                contrast -= math.log(e[n] / sum(e)) / 12
    assert math.isclose(float(found["distillation"]), slow / pairs, rel_tol=1e-4)
    assert math.isclose(float(found["contrast"]), contrast, rel_tol=1e-4)


def test_a_term_of_weight_zero_is_not_there_and_without_distillation_small_crops_are_not_looked_at() -> None:
    assert set(make(contrast=0.0).loss(**crops())) == {"distillation"}
    method, views = make(distill=0.0), crops()
    assert set(method.loss(**views)) == {"contrast"}
    views["local_crops"] = [View(torch.full_like(v.x, torch.nan), v.index) for v in views["local_crops"]]
    assert bool(method.loss(**views)["contrast"].isfinite())
    assert not method.head.prototypes.requires_grad


def test_only_the_student_gets_gradients_and_the_teacher_is_exported() -> None:
    method = make()
    assert untouched(method, crops()) == {"teacher", "teacher_head"}
    assert method.exported is method.teacher
