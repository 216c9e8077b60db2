"""Texts as numbers, whatever they belong to: bytes to text, a tokenizer learned from some of them, and batches of several lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from manyviews.data.bpe import BPE, train
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.derive import cached

READ = 100_000  # texts that a tokenizer is learned from, at most
CACHED_FROM = 20_000  # texts from which on the tokenizer is kept in the cache


def cleaned(content: bytes, what: str = "the caption", encoding: str = "utf-8-sig") -> str:
    """Bytes as text, every run of blanks one space. Raises Unreadable where they are not of that encoding, or there is nothing."""
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise Unreadable(f"{what} is no {name}: byte 0x{content[error.start]:02x} at {error.start}") from None
    text = " ".join(text.split())
    if not text:
        raise Unreadable(f"{what} is empty")
    return text


def padded(texts: Sequence[np.ndarray]) -> Int[Tensor, "batch tokens"]:
    """Tokens of several texts, -1 after the end of each."""
    out = np.full((len(texts), max(map(len, texts), default=0)), -1, np.int64)
    for row, tokens in zip(out, texts, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(out)


def learned(data: Data, texts: Callable[[Data], Iterable[str]], vocabulary: int, lower: bool = True, about: str = "") -> BPE:
    """The tokenizer of up to READ texts, spread over the rows. `texts` reads those of some rows; `about` says what else they depend on."""
    rows = np.linspace(0, len(data) - 1, min(len(data), READ)).astype(int)

    def work() -> dict[str, np.ndarray]:
        return {"merges": np.array(train(texts(data.select(rows)), vocabulary, lower).merges, np.int32).reshape(-1, 2)}

    key = f"bpe/1/{vocabulary}/{data.fingerprint()}" + f"/{about}" * bool(about)
    found = cached(key, work) if len(rows) >= CACHED_FROM else work()
    return BPE(tuple((int(a), int(b)) for a, b in found["merges"]), lower)
