import dataclasses
import math

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, sum_of, tiny_vit, untouched

from manyviews.contracts import Tokens
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.distill.ibot import IBOT


def make(**options: object) -> IBOT:
    method = IBOT(tiny_vit(), **{"out": 12, "hidden": 16, "bottleneck": 8, "unmasked": 0.3, **options})
    method.counter = Counter(3, 7)
    return method


def distribution(logits: torch.Tensor, temperature: float) -> list[float]:
    e = [math.exp(float(a) / temperature) for a in logits]
    return [a / sum(e) for a in e]


def test_both_terms_are_the_papers_loops() -> None:
    method, views = make(), crops()
    method.progress = 0.15
    method.whole_centre.value.copy_(0.1 * torch.randn(12))
    method.parts_centre.value.copy_(0.1 * torch.randn(12))
    method.mask_token.data.normal_()
    for p in method.teacher.parameters():
        p.add_(0.1 * torch.randn_like(p))
    found = method.loss(**views)
    teacher, student, parts = [], [], []
    with torch.no_grad():
        for k, crop in enumerate(views["global_crops"]):
            tokens = method.encoder.tokenize(crop)
            hidden = method.hide(f"mask{k}", tokens, crop.index)
            assert 0 < hidden.sum() < hidden.numel()
            seen = method.encoder.encode(dataclasses.replace(tokens, x=torch.where(hidden[..., None], method.mask_token, tokens.x)))
            known = method.teacher.encode(method.teacher.tokenize(crop))
            teacher.append(method.teacher_head(known.whole) - method.whole_centre.value)
            student.append(method.head(seen.whole))
            for n in range(6):
                errors = []
                for t in range(16):
                    if hidden[n, t]:
                        p = distribution(method.teacher_head(known.parts[n, t][None])[0] - method.parts_centre.value, 0.055)
                        q = distribution(method.head(seen.parts[n, t][None])[0], 0.1)
                        errors.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
                parts.append(sum(errors) / max(1, len(errors)))
        student += [method.head(method.encoder(crop)) for crop in views["local_crops"]]
    whole = [
        -sum(a * math.log(b) for a, b in zip(distribution(teacher[i][n], 0.055), distribution(student[j][n], 0.1), strict=True))
        for i in range(2) for j in range(4) if i != j for n in range(6)
    ]  # fmt: skip
    assert math.isclose(float(found["whole"]), sum(whole) / len(whole), rel_tol=1e-4)
    assert math.isclose(float(found["parts"]), sum(parts) / len(parts), rel_tol=1e-4)


def test_the_centres_follow_the_mean_over_pictures_and_over_all_their_patches() -> None:
    method, views = make(), crops()
    with torch.no_grad():
        features = [method.teacher.encode(method.teacher.tokenize(v)) for v in views["global_crops"]]
        whole = torch.stack([method.teacher_head(f.whole) for f in features]).mean((0, 1))
        parts = torch.stack([method.teacher_head(f.parts.flatten(0, 1)) for f in features]).mean((0, 1))
    method.loss(**views)
    method.after_step()
    torch.testing.assert_close(method.whole_centre.value, 0.1 * whole)
    torch.testing.assert_close(method.parts_centre.value, 0.1 * parts)


def test_only_the_student_gets_gradients_the_mask_token_too() -> None:
    assert untouched(make(), crops()) == {"teacher", "teacher_head"}
    assert make().exported is not make().encoder


def test_hidden_patches_are_hidden_from_the_student() -> None:
    method, views = make(unmasked=0.0), crops()
    crop = views["global_crops"][0]
    tokens = method.encoder.tokenize(crop)
    hidden = method.hide("mask0", tokens, crop.index)
    before = method.encoder.encode(tokens.replace(hidden, method.mask_token)).whole
    noise = dataclasses.replace(tokens, x=torch.where(hidden[..., None], torch.randn_like(tokens.x), tokens.x))
    torch.testing.assert_close(method.encoder.encode(noise.replace(hidden, method.mask_token)).whole, before)


@pytest.mark.parametrize("shape", ["block", "random"])
def test_ratios_are_zero_for_the_unmasked_and_spread_over_the_papers_range_for_the_others(shape: str) -> None:
    method = make(shape=shape, unmasked=0.5)
    y, x = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
    where = ((torch.stack([x, y], -1).view(1, 196, 2) + 0.5) / 14).expand(400, -1, -1)
    hidden = method.hide("mask0", Tokens(torch.zeros(400, 196, 4), where), torch.arange(400))
    share = hidden.float().mean(1)
    assert 0.4 < float((share == 0).float().mean()) < 0.6
    some = share[share > 0]
    assert 0.09 < float(some.min()) < 0.15 and 0.45 < float(some.max()) <= 0.5 and 0.27 < float(some.mean()) < 0.33
    grid = hidden.view(400, 14, 14).float()
    together = float((grid[:, :, 1:] * grid[:, :, :-1]).sum() / grid[:, :, 1:].sum())  # a hidden patch's left neighbour is hidden
    assert together > 0.7 if shape == "block" else together < 0.45


def test_masks_depend_on_the_sample_and_the_step_and_on_nothing_else() -> None:
    method, index = make(unmasked=0.0), torch.arange(8)
    tokens = method.encoder.tokenize(crops(8)["global_crops"][0])
    hidden = method.hide("mask0", tokens, index)
    back = method.hide("mask0", tokens.select(torch.arange(16).expand(8, -1)), index.flip(0)).flip(0)
    assert torch.equal(hidden, back)
    assert not torch.equal(hidden, method.hide("mask1", tokens, index))
    method.counter = Counter(3, 8)
    assert not torch.equal(hidden, method.hide("mask0", tokens, index))


def test_padding_is_never_hidden_nor_counted() -> None:
    method = make(unmasked=0.0, mask_ratio=0.5, mask_spread=0.0)
    tokens = method.encoder.tokenize(crops()["global_crops"][0])
    exists = torch.arange(16).expand(6, -1) < 10
    hidden = method.hide("mask0", dataclasses.replace(tokens, exists=exists), torch.arange(6))
    assert not (hidden & ~exists).any()
    assert hidden.sum(1).tolist() == [5] * 6


def test_a_batch_that_hides_nothing_is_dino() -> None:
    method = make(unmasked=1.0)
    terms = method.loss(**crops())
    assert float(terms["parts"]) == 0
    method.zero_grad()
    sum(terms.values()).backward()
    assert method.mask_token.grad is not None and method.mask_token.grad.eq(0).all()


def test_weights_scale_their_terms_and_the_prototypes_hold_still_at_first() -> None:
    plain, scaled = make().loss(**crops()), make(whole_weight=2.0, parts_weight=0.5).loss(**crops())
    assert float(scaled["whole"]) != 0  # other heads: compare within one method
    method = make()
    first = {k: float(v) for k, v in method.loss(**crops()).items()}
    method.whole_weight, method.parts_weight = 2.0, 0.5
    second = {k: float(v) for k, v in method.loss(**crops()).items()}
    assert second == pytest.approx({"whole": 2 * first["whole"], "parts": 0.5 * first["parts"]}, rel=1e-5)
    assert set(plain) == {"whole", "parts"}
    sum_of(method, crops()).backward()
    method.before_step()
    assert method.head.prototypes.grad is None


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        IBOT(SmallEncoder(), shape="stripes", mask_ratio=0.1, mask_spread=0.2)
    assert len(error.value.problems) == 3 and "vit_micro" in str(error.value)


def test_the_student_of_a_fixed_teacher_learns_what_it_says() -> None:
    method, views = make(out=32, decay=1.0, teacher_temperature=0.04, unmasked=0.0), crops(8)
    for _ in range(60):  # moving centres raise the loss at first, as they should: settle them
        method.assign(views["global_crops"][0], torch.zeros(8, 16, dtype=torch.bool), 0.04)
        method.whole_centre.update()
        method.parts_centre.update()
    losses = descend(method, views, steps=20, lr=1e-2)
    assert losses[-1] < 0.6 * losses[0]
