import math
from unittest.mock import patch

import pytest
import torch
from small_encoder import SmallEncoder
from tiny_vit import crops, descend, tiny_vit, untouched

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.gmml import GMML


def make(seed: int = 0, **options: object) -> GMML:
    torch.manual_seed(seed)
    method = GMML(tiny_vit(seed), **options)
    method.counter = Counter(1, 2)
    return method


def view(batch: int = 6) -> View:
    return crops(batch)["global_crops"][0]


def test_the_loss_is_the_mean_absolute_error_of_corrupted_pixels_alone() -> None:
    method, v = make(), view()
    tokens = method.encoder.tokenize(v)
    shown, corrupted = method.corrupt(method.counter, "groups", tokens, v.index)
    prediction = method.restore(shown)
    slow, count = 0.0, 0
    for n in range(6):
        for i in range(4):
            for j in range(4):
                if corrupted[n, 4 * i + j]:
                    pixels = [float(v.x[n, c, 2 * i + a, 2 * j + b] - v.x.mean()) for a in range(2) for b in range(2) for c in range(3)]
                    slow += sum(abs(float(a) - b / float(v.x.std(correction=0))) for a, b in zip(prediction[n, 4 * i + j], pixels, strict=True))
                    count += 12
    assert 0 < count < 6 * 16 * 12
    assert math.isclose(float(method.loss(v)["restoration"]), slow / count, rel_tol=1e-4)


def test_content_is_restored_from_the_mean_of_normalised_features_of_the_upper_depths() -> None:
    method, v = make(), view()
    assert method.taken == [0]
    tokens = method.encoder.tokenize(v)
    t = method.encoder.positioned(tokens)
    first = method.encoder.blocks[0](t, tokens.where, None)
    last = method.encoder.model.norm(method.encoder.blocks[1](first, tokens.where, None))
    expected = method.restorer((method.norm(first[:, 1:]) + last[:, 1:]) / 2)
    torch.testing.assert_close(method.restore(tokens), expected)


def test_of_twelve_blocks_four_are_taken_as_in_the_paper_and_one_level_is_the_last() -> None:
    encoder = tiny_vit()
    encoder.blocks = encoder.blocks * 6
    assert [k + 1 for k in GMML(encoder).taken] == [6, 8, 10]  # and the twelfth, from the encoder itself
    single = make(levels=1)
    tokens = single.encoder.tokenize(view())
    assert single.taken == [] and single.norm is None
    torch.testing.assert_close(single.restore(tokens), single.restorer(single.encoder.encode(tokens).parts))


def test_the_encoder_keeps_its_blocks_even_when_it_fails() -> None:
    method, v = make(), view()
    blocks = method.encoder.blocks
    method.loss(v)
    assert method.encoder.blocks is blocks
    with patch.object(method.encoder, "pool", side_effect=RuntimeError), pytest.raises(RuntimeError):
        method.loss(v)
    assert method.encoder.blocks is blocks


def test_the_pixels_under_a_group_do_not_reach_the_prediction() -> None:
    method, v = make(fill="zeros", replace=0.0), view()
    tokens = method.encoder.tokenize(v)
    shown, corrupted = method.corrupt(method.counter, "groups", tokens, v.index)
    mask = corrupted.view(6, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = View(torch.where(mask, torch.rand_like(v.x), v.x), v.index)
    again, same = method.corrupt(method.counter, "groups", method.encoder.tokenize(other), v.index)
    assert torch.equal(same, corrupted)
    torch.testing.assert_close(method.restore(again), method.restore(shown))


def test_every_token_is_encoded_corrupted_or_not() -> None:
    method, v = make(), view()
    assert method.restore(method.encoder.tokenize(v)).shape == (6, 16, 12)


def test_every_parameter_is_trained_and_there_is_no_second_network() -> None:
    method = make()
    assert untouched(method, {"v": view()}) == set()
    assert method.exported is method.encoder


def test_the_papers_settings_are_the_default() -> None:
    corrupt = make().corrupt
    assert (corrupt.drop, corrupt.replace, corrupt.fill, corrupt.block) == (0.75, 0.3, "noise", 0.3)
    assert (GMML.recipe.lr, GMML.recipe.weight_decay, GMML.recipe.final_weight_decay) == (5e-4, 0.04, 0.4)


def test_bad_settings_are_all_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        GMML(SmallEncoder(), drop=1.5, fill="black", block=2.0, levels=0)
    assert len(error.value.problems) == 5 and "vit_micro" in str(error.value)


def test_some_steps_reduce_the_loss_on_groups_never_seen() -> None:
    method, v = make(), view(32)

    def elsewhere() -> float:
        method.counter = Counter(1, 99)
        return float(method.loss(v)["restoration"].detach())

    before = elsewhere()
    method.counter = Counter(1, 2)
    descend(method, {"v": v}, steps=60, lr=1e-2)
    assert elsewhere() < 0.9 * before
