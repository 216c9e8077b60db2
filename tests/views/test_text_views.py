"""Views of texts: each change against a slow loop over words, what stays whatever happens, and that a view is the sample's own affair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.bpe import END, START
from manyviews.data.dataset import Data
from manyviews.data.text import from_array, words_in
from manyviews.errors import InputError
from manyviews.views.finding import find_policy, names
from manyviews.views.text import TextView, local, plain, raw, simcse, strong, weak
from manyviews.views.text_changes import Drop, Hide, OneOf, Repeat, Replace, Shuffle, Span, Swap

WORDS = [f"w{k}x" for k in range(30)]
SAID = [" ".join(WORDS[:n]) for n in (30, 1, 2, 7, 30, 13)] * 4
EVERY = (Drop(0.3), Replace(0.3), Shuffle(2), Swap(0.2), Repeat(0.2), Span(0.3, 0.6), Hide(0.3, 3))


@pytest.fixture(scope="module")
def data() -> Data:
    return from_array(SAID)


def made(data: Data, *changes, size: int = 10_000, step: int = 0, rows: np.ndarray | None = None) -> View:
    samples = data.batch(np.arange(len(data)) if rows is None else rows)
    return TextView(size, changes).apply(samples, Counter(3, step), ["v"])[0]


def words(data: Data, view: View, i: int) -> list[str]:
    return words_in(view.x[i].numpy(), data.form).split()


def test_the_plain_view_is_the_text_and_a_longer_one_keeps_its_end_mark(data: Data):
    view = plain(10_000)(data.batch(np.arange(6)), Counter(0, 0))["v"]
    assert [" ".join(words(data, view, i)) for i in range(6)] == SAID[:6]
    assert not view.g.parameters and view.g.inverse() is view.g
    short = plain(6)(data.batch(np.arange(6)), Counter(0, 0))["v"].x
    assert short.shape == (6, 6)
    for cut, whole in zip(short, view.x, strict=True):
        length = int((whole >= 0).sum())
        assert cut[:5].tolist() == whole[:5].tolist() and int(cut[5]) == (END if length >= 6 else -1)


@pytest.mark.parametrize("change", EVERY, ids=lambda c: type(c).__name__)
def test_marks_stay_and_a_word_at_least_and_a_view_depends_on_its_sample_alone(change, data: Data):
    view, again = made(data, change), made(data, change)
    assert torch.equal(view.x, again.x) and not torch.equal(view.x[0], made(data, change, step=1).x[0, : view.x.shape[1]])
    for i, ids in enumerate(view.x):
        real = ids[ids >= 0]
        assert real[0] == START and real[-1] == END and len(real) >= 3
        assert int((real == START).sum()) == int((real == END).sum()) == 1
        if not isinstance(change, Hide):
            assert (ids[len(real) :] == -1).all()
        alone = made(data, change, rows=np.array([i])).x[0]
        assert alone[alone >= 0].tolist() == real.tolist()
    (share,) = view.g.parameters.values()
    assert share.shape == (len(data),) and (share >= 0).all() and (share <= 1).all() and (share > 0).any()
    with pytest.raises(ValueError, match="cannot be brought back"):
        view.g.inverse()


def test_dropping_and_spans_leave_words_in_order(data: Data):
    dropped, span = made(data, Drop(0.3)), made(data, Span(0.3, 0.6))
    counts = []
    for i, said in enumerate(SAID):
        own, left, cut = said.split(), words(data, dropped, i), words(data, span, i)
        kept = iter(own)
        assert all(word in kept for word in left), "a part of the text, in its order"
        assert float(dropped.g.parameters["0/Drop"][i]) == pytest.approx(1 - len(left) / len(own))
        at = own.index(cut[0])
        assert own[at : at + len(cut)] == cut and len(cut) in range(max(1, int(0.3 * len(own))), int(np.ceil(0.6 * len(own))) + 1)
        counts += [len(left) / len(own)] if len(own) == 30 else []
    assert 0.55 < np.mean(counts) < 0.85


def test_shuffled_words_stay_near_and_swapped_ones_change_in_pairs(data: Data):
    shuffled, swapped = made(data, Shuffle(2)), made(data, Swap(0.1))
    for i, said in enumerate(SAID):
        own, new, pairs = said.split(), words(data, shuffled, i), words(data, swapped, i)
        assert sorted(new) == sorted(own) == sorted(pairs)
        assert all(abs(new.index(word) - k) <= 2 for k, word in enumerate(own))
        assert sum(a != b for a, b in zip(own, pairs, strict=True)) <= 2 * max(1, int(0.1 * len(own)))
        assert len(own) == 1 or int(0.1 * len(own)) > 1 or pairs != own, "one swap is always of two words"


def test_repeated_words_are_whole_copies(data: Data):
    view = made(data, Repeat(0.2))
    for i, said in enumerate(SAID):
        own, new = said.split(), words(data, view, i)
        assert len(new) == len(own) + max(1, int(0.2 * len(own))) and set(new) == set(own)
        rest = iter(new)
        assert all(word in rest for word in own), "the text is still there, in its order"


def test_tokens_are_replaced_as_often_as_they_are_seen():
    data = from_array(["aa bb cc dd"] * 30 + ["zz zz zz zz"] * 10)
    view = made(data, Replace(1.0), rows=np.arange(30))
    share = sum(words_in(ids.numpy(), data.form).count("zz") for ids in view.x) / (4 * 30)
    assert 0.1 < share < 0.4 and float(view.g.parameters["0/Replace"].mean()) == 1


def test_hidden_tokens_leave_the_others_in_their_places(data: Data):
    view, whole = made(data, Hide(0.3, 3)), made(data)
    hidden = (view.x == -1) & (whole.x >= 0)
    assert torch.equal(torch.where(hidden, whole.x, view.x), whole.x)
    share = hidden.sum(1) / ((whole.x >= 0).sum(1) - 2)
    assert torch.allclose(share, view.g.parameters["0/Hide"]) and 0 < float(share.mean()) <= 0.5


def test_one_of_several_changes_is_drawn_for_each_text(data: Data):
    view = made(data, OneOf((Drop(0.5), Repeat(0.5))))
    drops, repeats = view.g.parameters["0/Drop"] > 0, view.g.parameters["0/Repeat"] > 0
    assert drops.any() and repeats.any() and not (drops & repeats).any()
    lengths, before = (view.x >= 0).sum(1), (made(data).x >= 0).sum(1)
    assert (lengths[drops] < before[drops]).all() and (lengths[repeats] > before[repeats]).all()


def test_policies_are_found_and_stay_within_the_size(data: Data):
    assert {"simcse", "eda", "masked", "plain", "simclr", "dino", "mae"} <= set(names("text"))
    samples = data.batch(np.arange(12))
    for name in ("simcse", "eda", "masked", "simclr", "dino", "mae", "moco_v3"):
        for made_ in find_policy(name, 8, "text")(samples, Counter(0, 0)).values():
            for view in made_ if isinstance(made_, list) else [made_]:
                assert view.x.shape[1] <= 8 and view.x.dtype == torch.int64
    twice = simcse(50)(samples, Counter(0, 0))
    assert torch.equal(twice["v"].x, twice["w"].x)
    assert strong(8) == strong(8) and weak(8) != local(8) and hash(strong(8)) == hash(strong(8))


def test_bare_tokens_can_be_shown_but_not_changed(data: Data):
    ids = data.batch(np.arange(3)).x.tokens
    assert torch.equal(plain(1000)(View(ids, torch.arange(3)), Counter(0, 0))["v"].x, ids)
    with pytest.raises(InputError, match="where words begin"):
        weak(1000).apply(View(ids, torch.arange(3)), Counter(0, 0), ["v"])


def test_the_raw_input_is_a_bag_of_tokens(data: Data):
    view, shuffled = made(data), made(data, Shuffle(5))
    bag = raw(view)
    assert bag.shape[0] == len(data) and torch.allclose(bag.sum(1), torch.ones(len(data)))
    assert torch.allclose(bag, raw(shuffled)) and torch.allclose(bag[0], bag[4]) and not torch.allclose(bag[0], bag[3])
    assert torch.equal(raw(View(torch.tensor([[START, END, -1]]), torch.arange(1))), torch.zeros(1, bag.shape[1]))
