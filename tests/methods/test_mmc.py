import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, tiny_vit, untouched

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.distill.mmc import MMC


def make(seed: int = 0, **options: object) -> MMC:
    torch.manual_seed(seed)
    method = MMC(tiny_vit(seed), **{"hidden": 16, "out": 5, "prototypes": 12, "prototype_hidden": 16, "bottleneck": 8, **options})
    method.counter = Counter(1, 2)
    return method


def views(batch: int = 6) -> dict[str, View]:
    v, w = crops(batch)["global_crops"]
    return {"v": v, "w": w}


def unlike(method: MMC) -> MMC:
    """With a teacher that is no copy."""
    with torch.no_grad():
        for p in [*method.teacher.parameters(), *method.teacher_head.parameters(), *method.teacher_projector.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    return method


def distribution(logits: torch.Tensor, temperature: float) -> list[float]:
    e = [math.exp(float(a) / temperature) for a in logits]
    return [a / sum(e) for a in e]


def test_all_three_terms_are_the_papers_loops() -> None:
    method, both = unlike(make()), views()
    method.progress = 0.5
    method.centre.value.copy_(0.1 * torch.randn(12))
    centre = method.centre.value.clone()
    found = method.loss(**both)
    wholes, restored, parts, count = [], 0.0, 0.0, 0
    with torch.no_grad():
        for name, view in both.items():
            tokens = method.encoder.tokenize(view)
            shown, corrupted = method.corrupt(method.counter, name, tokens, view.index)
            seen, known = method.encoder.encode(shown), method.teacher.encode(method.teacher.tokenize(view))
            pixels = (tokens.content - view.x.mean()) / view.x.std(correction=0)
            wholes.append((seen.whole, known.whole))
            for n in range(6):
                for t in range(16):
                    if corrupted[n, t]:
                        p = distribution(method.teacher_head(known.parts[n, t][None])[0] - centre, 0.07)
                        q = distribution(method.head(seen.parts[n, t][None])[0], 0.1)
                        parts -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
                        restored += float((method.restorer(seen.parts[n, t]) - pixels[n, t]).abs().mean())
                        count += 1
        q = method.projector(torch.cat([a for a, _ in wholes]))
        k = method.teacher_projector(torch.cat([b for _, b in wholes]))
    contrast = 0.0
    for queries, keys in ((q[:6], k[6:]), (q[6:], k[:6])):
        for i in range(6):
            e = [math.exp(float(torch.nn.functional.cosine_similarity(queries[i], keys[j], dim=0)) / 0.2) for j in range(6)]
            contrast += -math.log(e[i] / sum(e)) * 2 * 0.2 / 6
    assert math.isclose(float(found["parts"]), parts / count, rel_tol=1e-4)
    assert math.isclose(float(found["restoration"]), restored / count, rel_tol=1e-4)
    assert math.isclose(float(found["contrast"]), contrast, rel_tol=1e-4)


def test_the_teacher_sees_nothing_corrupted() -> None:
    method, both = make(), views()
    targets = method.assign(both["v"], torch.ones(6, 16, dtype=torch.bool))[1]
    features = method.teacher.encode(method.teacher.tokenize(both["v"]))
    expected = (method.teacher_head(features.parts.flatten(0, 1)) / 0.04).softmax(1)
    torch.testing.assert_close(targets, expected)
    few = torch.rand(6, 16) < 0.4
    torch.testing.assert_close(method.assign(both["v"], few)[1], expected.view(6, 16, -1)[few])


def test_the_centre_follows_the_mean_over_all_patches_of_both_views() -> None:
    method, both = unlike(make()), views()
    with torch.no_grad():
        logits = [method.teacher_head(method.teacher.encode(method.teacher.tokenize(v)).parts.flatten(0, 1)).mean(0) for v in both.values()]
    method.loss(**both)
    method.after_step()
    torch.testing.assert_close(method.centre.value, 0.1 * (logits[0] + logits[1]) / 2)


def test_a_large_teacher_temperature_asks_for_evenly_spread_prototypes() -> None:
    method = make(start_temperature=1e6, teacher_temperature=1e6, student_temperature=1e6)
    assert float(method.loss(**views())["parts"]) == pytest.approx(math.log(12), rel=1e-4)


def test_only_the_student_gets_gradients_and_the_teacher_is_exported() -> None:
    method = make()
    assert untouched(method, views()) == {"teacher", "teacher_head", "teacher_projector"}
    assert method.exported is method.teacher


def test_the_teacher_its_head_and_its_projector_follow_slowly() -> None:
    method = unlike(make(decay=0.9))
    pairs = [(method.teacher, method.encoder), (method.teacher_head, method.head), (method.teacher_projector, method.projector)]
    expected = [0.9 * next(slow.parameters()).detach() + 0.1 * next(fast.parameters()).detach() for slow, fast in pairs]
    method.after_step()
    for (slow, _), wanted in zip(pairs, expected, strict=True):
        torch.testing.assert_close(next(slow.parameters()), wanted)


def test_the_prototypes_hold_still_at_first() -> None:
    method = make()
    for progress, still in ((0.001, True), (0.002, False)):
        method.progress = progress
        sum(method.loss(**views()).values()).backward()
        method.before_step()
        assert (method.head.prototypes.grad is None) is still


def test_nothing_corrupted_leaves_the_contrast_alone() -> None:
    method = make()
    method.corrupt = lambda counter, name, tokens, index: (tokens, torch.zeros_like(tokens.where[..., 0], dtype=torch.bool))
    terms = method.loss(**views())
    assert float(terms["parts"]) == float(terms["restoration"]) == 0 and float(terms["contrast"]) > 0
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        MMC(SmallEncoder(), fill="grey", student_temperature=0.0)
    assert len(error.value.problems) == 3 and "vit_micro" in str(error.value)


def test_some_steps_reduce_restoration_and_contrast_on_groups_never_seen() -> None:
    method, both = make(), views(16)

    def elsewhere() -> dict[str, float]:
        method.counter = Counter(1, 99)
        return {name: float(term.detach()) for name, term in method.loss(**both).items()}

    before = elsewhere()
    method.counter = Counter(1, 2)
    descend(method, both, steps=60, lr=1e-2)
    after = elsewhere()
    assert all(after[name] < 0.9 * before[name] for name in ("restoration", "contrast")), (before, after)


def test_the_student_of_a_fixed_teacher_learns_what_it_says_of_each_patch() -> None:
    method, both = make(prototypes=32, decay=1.0, start_temperature=0.01, teacher_temperature=0.01), views(8)
    for _ in range(60):  # moving centres raise the loss at first, as they should: settle them
        for view in both.values():
            method.assign(view, torch.ones(8, 16, dtype=torch.bool))
        method.centre.update()
    before = float(method.loss(**both)["parts"].detach())
    method.centre.seen.clear()
    descend(method, both, steps=40, lr=1e-2)
    assert float(method.loss(**both)["parts"].detach()) < min(0.8 * before, 0.8 * math.log(32))  # better than always saying the same
