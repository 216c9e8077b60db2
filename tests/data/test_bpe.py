"""The tokenizer: against a slow one written from the definition, and what must hold whatever the text is."""

import itertools
import json
import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyviews.data.bpe import BPE, END, FIRST, START, WORDS, train
from manyviews.errors import InputError

CAPTIONS = ["a red circle above a blue square", "a blue circle left of a red square", "two red, red circles!", "naïve café 日本 12", "ababab abab"] * 2


def slow_train(captions: list[str], vocabulary: int) -> list[tuple[int, int]]:
    """Counts every pair again before every merge."""
    words = [list(word.encode()) for caption in captions for word in WORDS.findall(caption.lower())]
    merges: list[tuple[int, int]] = []
    while len(merges) < vocabulary - FIRST:
        counts = Counter(pair for word in words for pair in itertools.pairwise(word))
        top = max(counts.values(), default=0)
        if top < 2:
            break
        pair = min(pair for pair, count in counts.items() if count == top)
        merges.append(pair)
        for word in words:
            k = 0
            while k < len(word) - 1:
                if (word[k], word[k + 1]) == pair:
                    word[k : k + 2] = [FIRST + len(merges) - 1]
                k += 1
    return merges


@pytest.mark.parametrize("vocabulary", [FIRST, FIRST + 7, 10_000])
def test_merges_are_those_of_a_slow_count(vocabulary: int):
    assert list(train(CAPTIONS, vocabulary).merges) == slow_train(CAPTIONS, vocabulary)


def test_the_order_of_the_captions_does_not_matter():
    mixed = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    assert train(mixed) == train(CAPTIONS)


LOWER = train(CAPTIONS)
EXACT = BPE(LOWER.merges, lower=False)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_decoding_gives_the_text_back(text: str):
    exact, lower = EXACT, LOWER
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    assert "".join(WORDS.findall(text)) == text, "no character is lost between words"
    assert exact.decode(exact.encode(text)) == text
    assert lower.decode(lower.encode(text)) == text.lower()


def test_a_text_is_cut_to_the_context_and_keeps_its_end():
    bpe = train(CAPTIONS)
    whole = bpe.encode("a red circle above a blue square")
    assert (whole[0], whole[-1]) == (START, END) and len(whole) == 9, "words that recur are one token each"
    assert bpe.encode("a red circle above a blue square", 9) == whole
    assert bpe.encode("a red circle above a blue square", 5) == [*whole[:4], END]
    assert bpe.encode("a red circle", 2) == [START, END] == bpe.encode("")
    with pytest.raises(InputError, match="context of 1"):
        bpe.encode("a", 1)


def test_padding_and_cut_characters_do_no_harm_to_decoding():
    bpe = BPE(lower=False)
    assert bpe.decode([START, *b"ab", END, -1, -1]) == "ab"
    assert bpe.decode([START, *"é".encode()[:1], END]) == "�"


def test_it_survives_json_and_what_is_no_tokenizer_is_refused():
    bpe = train(CAPTIONS)
    again = BPE.from_json(json.loads(json.dumps(bpe.to_json())))
    assert again == bpe and again.encode("a red squirrel") == bpe.encode("a red squirrel") and len(again) == FIRST + len(bpe.merges)
    for wrong in (None, {}, {"kind": "word"}, {"kind": "bpe"}):
        with pytest.raises(InputError, match="not understood"):
            BPE.from_json(wrong)
    for merges in ([[97, 300]], [[97]], [[START, 97]], [["a", "b"]]):
        with pytest.raises(InputError, match="merge 0"):
            BPE.from_json({"kind": "bpe", "merges": merges})
    with pytest.raises(InputError, match="does not hold"):
        train(CAPTIONS, 100)


def test_words_without_end_take_no_time_without_end():
    began = time.perf_counter()
    for text in ("a" * 20_000, "é!" * 10_000, " " * 20_000, "word " * 20_000):
        bpe = train([text, text])
        assert bpe.encode(text, 77)[-1] == END and len(bpe.encode(text, 77)) <= 77
        assert bpe.decode(bpe.encode(text)) == text
    assert time.perf_counter() - began < 10
