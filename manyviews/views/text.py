"""Views of texts: words dropped, moved, repeated or hidden, tokens of other texts in place of some, a span cut out.

    policy = eda(size)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: `Texts` of manyviews.data.text
    views["v"].x, views["v"].g.parameters                  # int (batch, tokens), -1 where nothing is; by name the share of each text that a change touched

A word is what stands between blanks, however many tokens it has. Every number is drawn for a sample, by its index, so that a view does not depend on the
other texts of its batch. The marks before and after a text stay, and a word at least. A view has `size` tokens at most: of a longer one the first
are shown, and the last mark. What is gone cannot be brought back, so there is no inverse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.bpe import END, START
from manyviews.data.text import Texts
from manyviews.errors import InputError
from manyviews.views.policy import Changed, Policy
from manyviews.views.text_changes import CHANGES, Change, Drop, Hide, Ids, OneOf, Repeat, Replace, Shuffle, Span, Swap, Words, chosen, shortened

BINS = 512  # of `raw`


@dataclasses.dataclass(frozen=True)
class TextView:
    """One view: the changes that make it, in this order, `size` tokens at most."""

    size: int
    changes: tuple[Change | OneOf, ...] = ()

    @property
    def pixels(self) -> int:
        """Texts are read in full."""
        return 0

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name. Raises InputError for a bare tensor, whose words nobody knows, unless nothing is to be changed."""
        texts, touched = samples.x, {}
        if self.changes and not isinstance(texts, Texts):
            raise InputError("views of texts need to know where words begin: open them as data (manyviews.data.text), not as a tensor")
        ids: Ids = texts.tokens if isinstance(texts, Texts) else texts
        for k, change in enumerate(self.changes):
            options = change.changes if isinstance(change, OneOf) else (change,)
            pick = (counter.uniform(f"{role}/{k}/which", samples.index) * len(options)).long()
            before = ids
            for n, option in enumerate(options):
                on = pick == n if len(options) > 1 else torch.ones_like(pick, dtype=torch.bool)
                words = Words(before, texts.vocabulary, drawing(counter, f"{role}/{k}/{n}", samples.index))
                after, own = CHANGES[type(option)](option, words)
                ids = chosen(on, after, ids)
                touched[f"{k}/{type(option).__name__}"] = torch.where(on, own, 0)
        return View(shortened(ids, self.size), samples.index, Changed(touched), samples.given)


def drawing(counter: Counter, name: str, index: Tensor) -> Callable[..., Tensor]:
    return lambda what, *shape: counter.uniform(f"{name}/{what}", index, *shape)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """Texts as they are."""
    return Policy({"v": TextView(size)})


def weak(size: int) -> TextView:
    """A span of seven words in ten, or more."""
    return TextView(size, (Span(0.7, 1.0),))


def strong(size: int) -> TextView:
    """A span of half the words or more, of which one in ten is gone, and one token in ten from elsewhere; neighbours change places."""
    return TextView(size, (Span(0.5, 1.0), Drop(0.1), Replace(0.1), Shuffle(2)))


def local(size: int) -> TextView:
    """A span of a fifth to half of the words, one in ten gone."""
    return TextView(size, (Span(0.2, 0.5), Drop(0.1)))


def simcse(size: int) -> Policy:
    """The same text twice: the noise is the encoder's own dropout, so take one that has it, text_transformer_dropout_micro or _small.

    Gao, Yao, Chen, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", EMNLP 2021, arXiv:2104.08821.
    """
    return Policy({"v": TextView(size), "w": TextView(size)})


def eda(size: int) -> Policy:
    """Each view by one of three changes of a tenth of the words: some gone, some swapped, some put in once more elsewhere.

    Wei, Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks", EMNLP 2019, arXiv:1901.11196. Departs from the
    paper: no WordNet, so nothing is replaced by synonyms, and what is put in is a word of the text and not a synonym of it.
    """
    own = TextView(size, (OneOf((Drop(0.1), Swap(0.1), Repeat(0.1))),))
    return Policy({"v": own, "w": own})


def masked(size: int) -> Policy:
    """A text as it is, and with three tokens in ten hidden in spans of three."""
    return Policy({"v": TextView(size), "w": TextView(size, (Hide(0.3, 3),))})


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: the shares of a text's tokens that fall into each of BINS bins by a fixed hash; order counts for nothing."""
    ids: Ids = view.x.tokens if isinstance(view.x, Texts) else view.x
    inner = (ids >= 0) & (ids != START) & (ids != END)
    bins = ((ids.clamp(min=0) * 2654435761) >> 16) % BINS
    counts = torch.zeros(len(ids), BINS, device=ids.device).scatter_add(1, bins, inner.float())
    return counts / counts.sum(1, keepdim=True).clamp(min=1)
