import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, tiny_vit, untouched

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.sit import SiT


def make(seed: int = 0, **options: object) -> SiT:
    torch.manual_seed(seed)
    method = SiT(tiny_vit(seed), **{"hidden": 16, "out": 5, **options})
    method.counter = Counter(1, 2)
    return method


def views(batch: int = 6) -> dict[str, View]:
    v, w = crops(batch)["global_crops"]
    return {"v": v, "w": w}


def unlike(method: SiT) -> SiT:
    """With a teacher that is no copy."""
    with torch.no_grad():
        for p in [*method.teacher.parameters(), *method.teacher_projector.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    return method


def normalised(z: torch.Tensor) -> torch.Tensor:
    """Batch normalisation without scale and shift."""
    return (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()


def test_both_terms_are_the_papers_loops() -> None:
    method, both = unlike(make()), views()
    found = method.loss(**both)
    wholes, error, count = [], 0.0, 0
    for name, view in both.items():
        tokens = method.encoder.tokenize(view)
        shown, corrupted = method.corrupt(method.counter, name, tokens, view.index)
        features = method.encoder.encode(shown)
        prediction = method.restorer(features.parts)
        pixels = (tokens.content - view.x.mean()) / view.x.std(correction=0)
        for n in range(6):
            for t in range(16):
                if corrupted[n, t]:
                    error += sum(abs(float(a - b)) for a, b in zip(prediction[n, t], pixels[n, t], strict=True))
                    count += 12
        wholes.append(features.whole)
    assert math.isclose(float(found["restoration"]), error / count, rel_tol=1e-4)

    def project(layers: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        norms = [a for a in layers if isinstance(a, torch.nn.BatchNorm1d)]
        for layer, norm in zip([a for a in layers if isinstance(a, torch.nn.Linear)], norms, strict=True):
            x = normalised(x @ layer.weight.T)
            x = x if norm is norms[-1] else (x * norm.weight + norm.bias).clamp(min=0)
        return x

    q = project(method.projector, torch.cat(wholes))
    k = project(method.teacher_projector, torch.cat([method.teacher(view) for view in both.values()]))
    slow = 0.0
    for queries, keys in ((q[:6], k[6:]), (q[6:], k[:6])):
        for i in range(6):
            e = [math.exp(float(torch.nn.functional.cosine_similarity(queries[i], keys[j], dim=0)) / 0.2) for j in range(6)]
            slow += -math.log(e[i] / sum(e)) * 2 * 0.2 / 6
    assert math.isclose(float(found["contrast"]), slow, rel_tol=1e-4)


def test_the_teacher_sees_both_views_clean_and_the_student_neither() -> None:
    method, both = make(), views()
    seen = {"teacher": [], "student": []}
    method.teacher.register_forward_hook(lambda _m, inputs, _o: seen["teacher"].append(inputs[0].x))
    encode = method.encoder.encode
    method.encoder.encode = lambda tokens: seen["student"].append(tokens.x) or encode(tokens)
    method.loss(**both)
    for view, clean, shown in zip(both.values(), seen["teacher"], seen["student"], strict=True):
        assert torch.equal(clean, view.x)
        assert (shown != method.encoder.tokenize(view).x).any(2).any(1).all()


def test_only_the_student_gets_gradients_and_the_teacher_is_exported() -> None:
    method = make()
    assert untouched(method, views()) == {"teacher", "teacher_projector"}
    assert method.exported is method.teacher


def test_the_teacher_follows_slower_and_slower_and_stops_at_the_end() -> None:
    for progress, kept in ((0.0, 0.996), (0.5, 0.998), (1.0, 1.0)):
        method = unlike(make())
        old, new = [next(m.parameters()).detach().clone() for m in (method.teacher_projector, method.projector)]
        method.progress = progress
        method.after_step()
        torch.testing.assert_close(next(method.teacher_projector.parameters()), kept * old + (1 - kept) * new)


def test_the_order_of_views_and_samples_does_not_matter() -> None:
    method, both = unlike(make()), views()
    method.corrupt = lambda counter, name, tokens, index: (tokens, torch.ones_like(tokens.where[..., 0], dtype=torch.bool))
    found = method.loss(**both)
    exchanged = method.loss(v=both["w"], w=both["v"])
    turned = method.loss(**{name: View(view.x.flip(0), view.index.flip(0)) for name, view in both.items()})
    for name, term in found.items():
        torch.testing.assert_close(exchanged[name], term)
        torch.testing.assert_close(turned[name], term)


def test_the_weight_scales_restoration_alone() -> None:
    plain, scaled = make().loss(**views()), make(restoration_weight=5.0).loss(**views())
    torch.testing.assert_close(scaled["restoration"], 5 * plain["restoration"])
    torch.testing.assert_close(scaled["contrast"], plain["contrast"])


def test_learned_variances_weight_the_terms_as_in_the_first_version() -> None:
    plain, method = make().loss(**views()), make(uncertainty=True)
    method.log_variance.data = torch.tensor([0.3, -0.7])
    terms = method.loss(**views())
    assert float(terms["contrast"]) == pytest.approx(math.exp(-0.3) * float(plain["contrast"]) + 0.15, rel=1e-5)
    assert float(terms["restoration"]) == pytest.approx(0.5 * math.exp(0.7) * float(plain["restoration"]) - 0.35, rel=1e-5)
    best = torch.tensor([2 * float(plain["contrast"]), float(plain["restoration"])]).log()
    method.log_variance.data = best
    sum(method.loss(**views()).values()).backward()
    assert method.log_variance.grad.abs().max() < 1e-4  # the variance that explains the error
    assert make().log_variance is None and make(uncertainty=True).log_variance.tolist() == [1.0, 1.0]


def test_the_papers_settings_are_the_default() -> None:
    method = SiT(tiny_vit())
    assert (method.corrupt.drop, method.corrupt.replace, method.corrupt.fill) == (0.5, 0.3, "zeros")
    widths = [(a.in_features, a.out_features) for a in method.projector if isinstance(a, torch.nn.Linear)]
    assert widths == [(16, 4096), (4096, 4096), (4096, 256)] and (method.temperature, method.decay) == (0.2, 0.996)


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        SiT(SmallEncoder(), drop=0.0, replace=0.0, temperature=0.0)
    assert len(error.value.problems) == 3 and "vit_micro" in str(error.value)


def test_some_steps_reduce_both_terms_on_groups_never_seen() -> None:
    method, both = make(), views(16)

    def elsewhere() -> dict[str, float]:
        method.counter = Counter(1, 99)
        return {name: float(term.detach()) for name, term in method.loss(**both).items()}

    before = elsewhere()
    method.counter = Counter(1, 2)
    descend(method, both, steps=60, lr=1e-2)
    after = elsewhere()
    assert all(after[name] < 0.9 * before[name] for name in ("restoration", "contrast")), (before, after)
