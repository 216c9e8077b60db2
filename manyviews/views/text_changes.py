"""What may change in a text: words dropped, moved, repeated, tokens replaced or hidden, a span cut out.

A word is what stands between blanks, however many tokens it has. The marks before and after a text stay, and a word at least.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.data.bpe import END, START
from manyviews.data.text import Vocabulary

Ids = Int[Tensor, "batch tokens"]
Others = Int[Tensor, "batch others"]  # as many as there are then


@dataclasses.dataclass(frozen=True)
class Drop:
    """Each word gone with probability `share`."""

    share: float = 0.1


@dataclasses.dataclass(frozen=True)
class Replace:
    """Each token, with probability `share`, another one, drawn as often as texts for training have it."""

    share: float = 0.1


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """Words in another order, none of them further than `reach` words from its place (Lample et al. 2018, arXiv:1711.00043)."""

    reach: int = 2


@dataclasses.dataclass(frozen=True)
class Swap:
    """So many times two words change places: a `share` of the number of words, at least once."""

    share: float = 0.1


@dataclasses.dataclass(frozen=True)
class Repeat:
    """So many copies of words, each put anywhere: a `share` of the number of words, at least one."""

    share: float = 0.1


@dataclasses.dataclass(frozen=True)
class Span:
    """The words from somewhere to somewhere: of all of them a share between `low` and `high`."""

    low: float = 0.5
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class Hide:
    """Spans of `length` tokens that nobody sees (-1), while the others keep their places; they cover up to a `share` of the text. Always the last change."""

    share: float = 0.15
    length: int = 3


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several changes, another for every sample."""

    changes: tuple[Drop | Replace | Shuffle | Swap | Repeat | Span | Hide, ...]


Change = Drop | Replace | Shuffle | Swap | Repeat | Span | Hide


class Words:
    """Tokens of texts, told apart into words, and random numbers for them."""

    def __init__(self, ids: Ids, vocabulary: Vocabulary, draw: Callable[..., Float[Tensor, "batch *shape"]]):
        self.ids, self.vocabulary, self.draw = ids, vocabulary, draw
        self.inner: Bool[Tensor, "batch tokens"] = (ids >= 0) & (ids != START) & (ids != END)
        before = torch.nn.functional.pad(self.inner[:, :-1], (1, 0))
        first = self.inner & (vocabulary.begins[ids.clamp(min=0)] | ~before)
        self.word: Ids = (first.cumsum(1) - 1).clamp(min=0)  # of each token the number of its word
        self.count: Int[Tensor, "batch"] = first.sum(1)
        self.first = first

    @property
    def width(self) -> int:
        return self.ids.shape[1]

    def some(self, share: float) -> Int[Tensor, "batch"]:
        """A share of the number of words, rounded down, at least one."""
        return (share * self.count).long().clamp(min=1)

    def kept(self, keep: Bool[Tensor, "batch tokens"]) -> Others:
        """The tokens to keep, and the marks, moved together."""
        keep = keep & self.inner | ~self.inner & (self.ids >= 0)
        ids = self.ids.gather(1, (~keep).int().argsort(dim=1, stable=True))
        return trimmed(ids.masked_fill(torch.arange(self.width, device=ids.device) >= keep.sum(1, keepdim=True), -1))

    def arranged(
        self, place: Float[Tensor, "batch words"], extra: Int[Tensor, "batch extra"] | None = None, extra_place: Float[Tensor, "batch extra"] | None = None
    ) -> Others:
        """Words in the order of their places, tokens within a word as they were; and further tokens by theirs. The marks stay where they are."""
        ids = self.ids
        key = place.gather(1, self.word).masked_fill(~self.inner, torch.inf)  # stable: END before padding
        key[:, :1] = torch.where(self.inner[:, :1], key[:, :1], -torch.inf)
        if extra is not None and extra_place is not None:
            ids, key = torch.cat([ids, extra], 1), torch.cat([key, extra_place.masked_fill(extra < 0, torch.inf)], 1)
        return trimmed(ids.gather(1, key.argsort(dim=1, stable=True)))


def trimmed(ids: Ids) -> Others:
    """Without columns in which no text has anything."""
    used = (ids >= 0).any(0).nonzero()
    return ids[:, : int(used[-1]) + 1 if len(used) else 0]


def shortened(ids: Ids, size: int) -> Others:
    """The first `size` tokens; of a text that has more, the last of them is the end mark."""
    longer = (ids[:, size:] >= 0).any(1)
    ids = ids[:, :size].clone()
    if ids.shape[1] == size:
        ids[:, -1] = torch.where(longer, END, ids[:, -1])
    return ids


def chosen(on: Bool[Tensor, "batch"], a: Ids, b: Others) -> Int[Tensor, "batch wider"]:
    """The rows of `a` where `on`, else those of `b`, as wide as the wider."""
    width = max(a.shape[1], b.shape[1])
    a, b = (torch.nn.functional.pad(c, (0, width - c.shape[1]), value=-1) for c in (a, b))
    return trimmed(torch.where(on[:, None], a, b))


# --- changes: each gives the tokens, and the share touched --------------------------------------------------------------------------------------


def drop(change: Drop, words: Words) -> tuple[Others, Tensor]:
    u = words.draw("words", words.width)
    u = torch.where(torch.arange(words.width, device=u.device) < words.count[:, None], u, -1.0)
    stays = (u >= change.share).scatter(1, u.argmax(1, keepdim=True), True)
    gone = words.first & ~stays.gather(1, words.word)
    return words.kept(stays.gather(1, words.word)), gone.sum(1) / words.count.clamp(min=1)


def replace(change: Replace, words: Words) -> tuple[Others, Tensor]:
    usual = words.vocabulary.usual
    chosen = (words.draw("tokens", words.width) < change.share) & words.inner
    at = (words.draw("values", words.width) * len(usual)).long()
    return torch.where(chosen, usual[at], words.ids), chosen.sum(1) / words.inner.sum(1).clamp(min=1)


def shuffle(change: Shuffle, words: Words) -> tuple[Others, Tensor]:
    place = torch.arange(words.width, device=words.ids.device) + words.draw("words", words.width) * (change.reach + 1)
    place = place.masked_fill(torch.arange(words.width, device=place.device) >= words.count[:, None], torch.inf)
    rank = place.argsort(dim=1, stable=True).argsort(1)
    moved = (rank != torch.arange(words.width, device=rank.device)).sum(1)
    return words.arranged(rank.float()), moved / words.count.clamp(min=1)


def swap(change: Swap, words: Words) -> tuple[Others, Tensor]:
    place = torch.arange(words.width, device=words.ids.device).repeat(len(words.ids), 1)
    times = words.some(change.share) * (words.count > 1)
    most = int(times.max()) if len(times) else 0
    u = words.draw("words", max(1, most), 2)
    for step in range(most):
        i = (u[:, step, 0] * words.count).long().clamp(min=0)
        j = (i + 1 + (u[:, step, 1] * (words.count - 1)).long()) % words.count.clamp(min=1)
        pair = torch.stack([i, j], 1)
        turned = torch.where((step < times)[:, None], pair.flip(1), pair)
        place = place.scatter(1, pair, place.gather(1, turned))
    moved = (place != torch.arange(words.width, device=place.device)).sum(1)
    return words.arranged(place.float()), moved / words.count.clamp(min=1)


def repeat(change: Repeat, words: Words) -> tuple[Others, Tensor]:
    ids, times = words.ids, words.some(change.share) * (words.count > 0)
    lengths = torch.zeros_like(ids).scatter_add(1, words.word, words.inner.long())
    starts = torch.zeros_like(ids).scatter_add(1, words.word, torch.arange(words.width, device=ids.device) * words.first)
    most, longest = (int(a.max()) if a.numel() else 0 for a in (times, lengths))
    u = words.draw("words", max(1, most), 2)
    which = (u[..., 0] * words.count[:, None]).long()
    place = (u[..., 1] * (words.count + 1)[:, None]).long() - 0.5  # before the word of that number
    step = torch.arange(longest, device=ids.device)
    real = (step < lengths.gather(1, which)[..., None]) & (torch.arange(which.shape[1], device=ids.device)[:, None] < times[:, None, None])
    at = (starts.gather(1, which)[..., None] + step).clamp(max=max(0, words.width - 1))
    extra = ids.gather(1, at.flatten(1)).masked_fill(~real.flatten(1), -1)
    order = torch.arange(words.width, device=ids.device).float().expand(len(ids), -1)
    return words.arranged(order, extra, place[..., None].expand(real.shape).flatten(1)), times / words.count.clamp(min=1)


def span(change: Span, words: Words) -> tuple[Others, Tensor]:
    u = words.draw("span", 2)
    length = torch.minimum(((change.low + (change.high - change.low) * u[:, 0]) * words.count).ceil().clamp(min=1), words.count.clamp(min=1).float())
    start = (u[:, 1] * (words.count - length + 1)).floor()
    inside = (words.word >= start[:, None]) & (words.word < (start + length)[:, None])
    return words.kept(inside), 1 - length / words.count.clamp(min=1)


def hide(change: Hide, words: Words) -> tuple[Others, Tensor]:
    number = words.inner.cumsum(1) - 1  # of each token among those that are no marks
    count = words.inner.sum(1)
    length = torch.minimum(count - 1, torch.full_like(count, change.length)).clamp(min=0)
    times = torch.where(length > 0, (change.share * count / change.length).ceil().long(), 0)
    most = int(times.max()) if len(times) else 0
    start = (words.draw("spans", max(1, most)) * (count - length + 1)[:, None]).long()
    start = start.masked_fill(torch.arange(start.shape[1], device=start.device) >= times[:, None], -change.length)
    offset = number[:, None] - start[..., None]
    hidden = ((offset >= 0) & (offset < length[:, None, None])).any(1) & words.inner
    everything = (hidden.sum(1) == count) & (count > 0)
    hidden = hidden & ~(everything[:, None] & (number == 0))  # one stays
    return words.ids.masked_fill(hidden, -1), hidden.sum(1) / count.clamp(min=1)


CHANGES: dict[type, Callable[[Any, Words], tuple[Others, Tensor]]] = {
    Drop: drop, Replace: replace, Shuffle: shuffle, Swap: swap, Repeat: repeat, Span: span, Hide: hide,
}  # fmt: skip
