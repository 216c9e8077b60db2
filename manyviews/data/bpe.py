"""Byte-level BPE: text as numbers, by merging the pairs of bytes that are most frequent in the captions at hand.

Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016, arXiv:1508.07909; on bytes instead of characters as in
Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. Nothing is unknown to it: whatever was never merged stays bytes.
Text falls into words (letters, single digits, runs of punctuation, blanks; a blank belongs to the word after it), and no token spans two. Numbers 0 to 255 are
the bytes, 256 begins a text, 257 ends it, and each merge adds the next one. Among pairs of one count the smaller numbers are merged first, so that
the same captions, in any order, give the same tokens.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manyviews.errors import InputError

START, END, FIRST = 256, 257, 258  # of a text, and the number of the first merge
VOCABULARY = 16384  # tokens, where nothing is said; the most that training makes
LEAST = 2  # a pair that was seen once says nothing
REMEMBERED = 1 << 17  # words whose tokens are kept at hand
# every character is in one of these; no word has more than 64 of them, as merging takes the square of the length
WORDS = re.compile(r" ?[^\W\d_]{1,64}| ?\d| ?(?:[^\w\s]|_){1,16}|\s{1,16}(?!\S)|\s{1,16}")
Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class BPE:
    """Merges in the order in which they were learned. lower: whether text is put into lower case first, as in CLIP."""

    merges: tuple[Pair, ...] = ()
    lower: bool = True
    ranks: dict[Pair, int] = dataclasses.field(init=False, repr=False, compare=False)
    pieces: list[bytes] = dataclasses.field(init=False, repr=False, compare=False)  # token -> bytes
    known: dict[str, list[int]] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = [bytes([k]) for k in range(256)] + [b"", b""]
        for a, b in self.merges:
            pieces.append(pieces[a] + pieces[b])
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "ranks", {pair: FIRST + k for k, pair in enumerate(self.merges)})
        object.__setattr__(self, "known", {})

    def __len__(self) -> int:
        """Tokens there are."""
        return len(self.pieces)

    def encode(self, text: str, context: int | None = None) -> list[int]:
        """START, the tokens of the text, END; cut to `context` tokens in all, of which the last one is still END. Raises InputError for a context below 2."""
        if context is not None and context < 2:
            raise InputError(f"a context of {context} tokens has no place for the start and the end of a text; take 2 or more")
        found = [START]
        for word in WORDS.finditer(text.lower() if self.lower else text):
            if context is not None and len(found) >= context:
                break
            found += self.word(word[0])
        return [*found[: None if context is None else context - 1], END]

    def word(self, word: str) -> list[int]:
        """The tokens of one word: of the pairs in it, the one that was learned first is merged, until there is none."""
        found = self.known.get(word)
        if found is None:
            found = list(word.encode("utf-8", "replace"))
            while len(found) > 1:
                number = min(self.ranks.get(pair, len(self)) for pair in itertools.pairwise(found))
                if number == len(self):
                    break
                found = merged(found, self.merges[number - FIRST], number)
            if len(self.known) < REMEMBERED:
                self.known[word] = found
        return found

    def decode(self, tokens: Iterable[int]) -> str:
        """The text, without START, END and padding (-1); what is no whole character in UTF-8, as where a text was cut, becomes U+FFFD."""
        return b"".join(self.pieces[token] for token in tokens if token >= 0).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be saved beside an encoder."""
        return {"kind": "bpe", "lower": self.lower, "merges": [list(pair) for pair in self.merges]}

    @classmethod
    def from_json(cls, content: Any) -> BPE:
        """Back from what `to_json` gave. Raises InputError."""
        merges = content.get("merges") if isinstance(content, Mapping) and content.get("kind") == "bpe" else None
        if not isinstance(merges, Sequence):
            raise InputError("the tokenizer of this model is not understood: expected kind 'bpe' and its merges; was it written by a newer version?")
        pairs = [tuple(pair) for pair in merges]
        for k, pair in enumerate(pairs):
            if len(pair) != 2 or not all(isinstance(a, int) and 0 <= a < FIRST + k and a not in (START, END) for a in pair):
                raise InputError(f"merge {k} of the tokenizer, {list(pair)!r}, does not join two of the {FIRST + k} tokens before it")
        return cls(tuple(pairs), bool(content.get("lower", True)))  # type: ignore[arg-type]


def merged(tokens: list[int], pair: Pair, number: int) -> list[int]:
    """The tokens with every occurrence of `pair`, from the left, replaced by `number`."""
    out: list[int] = []
    k = 0
    while k < len(tokens):
        if k + 1 < len(tokens) and (tokens[k], tokens[k + 1]) == pair:
            out.append(number)
            k += 2
        else:
            out.append(tokens[k])
            k += 1
    return out


def train(captions: Iterable[str], vocabulary: int = VOCABULARY, lower: bool = True) -> BPE:
    """Merges learned from captions, until there are `vocabulary` tokens or no pair is seen `LEAST` times. Raises InputError."""
    if vocabulary < FIRST:
        raise InputError(f"a vocabulary of {vocabulary} tokens does not hold the {FIRST} that bytes, start and end need")
    seen: Counter[str] = Counter()
    for caption in captions:
        seen.update(WORDS.findall(caption.lower() if lower else caption))
    words = sorted(seen)
    learner = Learner([list(word.encode("utf-8", "replace")) for word in words], [seen[word] for word in words])
    merges: list[Pair] = []
    while len(merges) < vocabulary - FIRST and (pair := learner.best()) is not None:
        learner.merge(pair, FIRST + len(merges))
        merges.append(pair)
    return BPE(tuple(merges), lower)


class Learner:
    """Words as tokens with their counts, the counts of all pairs, and the words that each pair may be in."""

    def __init__(self, words: list[list[int]], counts: list[int]):
        self.words, self.counts = words, counts
        self.number: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for w, tokens in enumerate(words):
            for pair in itertools.pairwise(tokens):
                self.number[pair] += counts[w]
                self.where[pair].add(w)
        self.heap = [(-count, pair) for pair, count in self.number.items()]
        heapq.heapify(self.heap)

    def best(self) -> Pair | None:
        """The most frequent pair; None where none recurs."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.number[pair]:
                return pair if -count >= LEAST else None
            heapq.heappop(self.heap)  # the count has changed since
        return None

    def merge(self, pair: Pair, number: int) -> None:
        """Makes one token of a pair, wherever it is."""
        changed: Counter[Pair] = Counter()
        for w in self.where.pop(pair):
            before, after = self.words[w], merged(self.words[w], pair, number)
            if len(after) == len(before):
                continue  # an earlier merge took it away
            for old in itertools.pairwise(before):
                changed[old] -= self.counts[w]
            for new in itertools.pairwise(after):
                changed[new] += self.counts[w]
                self.where[new].add(w)
            self.words[w] = after
        for other, difference in changed.items():
            if difference:
                self.number[other] += difference
                heapq.heappush(self.heap, (-self.number[other], other))
