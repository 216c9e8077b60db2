"""Texts: a sample is the tokens of one text.

    REVIEWS/ (pos/1.txt neg/2.txt ..., also below train/ and test/)   lines.txt   reviews.csv .tsv .jsonl .parquet   each with ?KEY=VALUE&... behind it

A folder of .txt or .md is a text a file, a .txt alone a text a line. Text is UTF-8, or UTF-16 with its mark; blanks of any kind count as one. It becomes
tokens by byte-level BPE (`manyviews.data.bpe`), learned from the training rows, with a mark before it and one after it, `context` tokens at most: a
longer one is cut, and keeps the last mark. `Data.form` holds the tokenizer, so that it is saved with an encoder. A text that is empty, has NUL bytes, or is
of another encoding cannot be read, and is listed as such.

What a path may say: text, label, split (names of columns), header (no: the first line of a table has none, and they are called 1, 2, 3 ..., as where it
has a number in it; AG News is train.csv?text=3&label=1), context (tokens), vocabulary (how many tokens there are, at most), case (keep, or lower:
text is put into lower case first, the default), encoding (of files that are no UTF-8: latin-1, cp1252, utf-16-le ...).
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyviews.data import text_files
from manyviews.data.bpe import BPE, END, START
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.locating import chosen, count, one_of
from manyviews.data.text_files import WIDE, Columns, Found
from manyviews.data.tokens import cleaned, learned, padded
from manyviews.errors import InputError

CONTEXT = 512  # tokens, where nothing is said
VOCABULARY = 8192
LETTERS = 16  # of a text for each token of the context: what the tokenizer learns from
USUAL = 2048  # tokens that stand for how often each is seen
LOOKED = 2000  # texts that these are drawn from, at most


def encoding(value: str) -> str:
    """One that Python knows."""
    try:
        codecs.lookup(value)
    except LookupError:
        raise ValueError("expected an encoding, such as utf-8, latin-1, cp1252 or utf-16-le") from None
    return value


def several(value: str) -> int:
    """A number of tokens that holds the marks."""
    if count(value) < 3:
        raise ValueError("expected a number of tokens, 3 or more")
    return int(value)


KEYS: dict[str, Callable[[str], Any]] = {
    "text": unquote,
    "label": unquote,
    "split": unquote,
    "header": one_of("yes", "no"),
    "context": several,
    "vocabulary": count,
    "case": one_of("keep", "lower"),
    "encoding": encoding,
}
looks_like_text = text_files.looks_like_text


@dataclasses.dataclass(frozen=True)
class Options(Columns):
    """What was said after the path."""

    context: int = CONTEXT
    vocabulary: int = VOCABULARY
    case: str = "lower"
    encoding: str = "utf-8-sig"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a view must know of tokens."""

    usual: Int[Tensor, "some"]  # tokens as often as texts have them
    begins: Bool[Tensor, "vocabulary"]  # whether it begins with a blank, as the first of a word does

    def to(self, device: torch.device | str, **options: Any) -> Vocabulary:
        return Vocabulary(self.usual.to(device, **options), self.begins.to(device, **options))


@dataclasses.dataclass(frozen=True)
class Texts:
    """A batch: tokens, -1 where a text has ended."""

    tokens: Int[Tensor, "batch tokens"]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device | str, **options: Any) -> Texts:
        return Texts(self.tokens.to(device, **options), self.vocabulary.to(device, **options))


def words_of(raw: bytes, encoding: str = "utf-8-sig") -> str:
    """A text as it was written, every run of blanks one space, and one before it, so that its first word is as any other. Raises Unreadable."""
    found = cleaned(raw, "the text", "utf-16" if raw[:2] in WIDE else encoding)
    if "\0" in found:
        raise Unreadable("NUL bytes, so it is no text, or UTF-16 without its mark (?encoding=utf-16-le)")
    return f" {found}"


@dataclasses.dataclass(frozen=True)
class Decode:
    """Bytes of a text -> its tokens. Raises Unreadable. The three numbers mean nothing for texts."""

    bpe: BPE
    context: int
    encoding: str = "utf-8-sig"

    def __call__(self, raw: bytes, pixels: int = 0, channels: int = 0, bits: int = 0) -> Int[np.ndarray, "tokens"]:
        return np.array(self.bpe.encode(words_of(raw, self.encoding), self.context), np.int32)


def collate(samples: Sequence[np.ndarray], vocabulary: Vocabulary) -> Texts:
    return Texts(padded(samples), vocabulary)


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Tokens that most of some texts have (all but one in twenty), in steps of 8; at most 512, or 128 where there is no GPU."""
    longest = float(np.quantile([len(sample) for sample in samples], 0.95)) if samples else 32
    return min(512 if torch.cuda.is_available() else 128, max(8, -(-int(longest) // 8) * 8))


# --- forms --------------------------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def known(merges: tuple[tuple[int, int], ...], lower: bool, usual: tuple[int, ...]) -> tuple[BPE, Vocabulary]:
    """The tokenizer and the vocabulary of a form, made once."""
    bpe = BPE(merges, lower)
    return bpe, Vocabulary(torch.tensor(usual), torch.tensor([piece[:1] == b" " for piece in bpe.pieces]))


def understood(form: Mapping[str, Any]) -> tuple[BPE, Vocabulary]:
    """What a form says. Raises InputError."""
    bpe = BPE.from_json(form.get("tokenizer"))
    usual = tuple(int(t) for t in form.get("usual", [])) or tuple(range(32, 127))
    if max(usual) >= len(bpe) or min(usual) < 0:
        raise InputError(f"a usual token of this model is none of the {len(bpe):,} that its tokenizer knows; was it written by a newer version?")
    return known(bpe.merges, bpe.lower, usual)


def in_form(data: Data, form: Mapping[str, Any]) -> Data:
    """The same texts in the tokens that an encoder of this form was trained with. Raises InputError."""
    bpe, vocabulary = understood(form)
    decode: Any = Decode(bpe, int(form.get("context", CONTEXT)), getattr(data.decode, "encoding", "utf-8-sig"))
    return dataclasses.replace(data, decode=decode, form=dict(form), kept=None, collate=functools.partial(collate, vocabulary=vocabulary))


def held(samples: Sequence[np.ndarray], channels: int, form: Mapping[str, Any]) -> Texts:
    """Tokens as a View holds them."""
    return collate(samples, understood(form)[1])


def of_words(words: str, form: Mapping[str, Any]) -> Int[np.ndarray, "tokens"]:
    """A text that is at hand, as a sample. Raises Unreadable where there is nothing in it."""
    return Decode(understood(form)[0], int(form.get("context", CONTEXT)))(words.encode("utf-8", "replace"))


def words_in(sample: Int[np.ndarray, "tokens"], form: Mapping[str, Any]) -> str:
    """A sample as a text again."""
    return understood(form)[0].decode(np.asarray(sample).tolist()).removeprefix(" ")


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def open_text(path: Path | str) -> Data:
    """The texts of a folder or file. Raises InputError with everything that is wrong at once."""
    place, given = chosen(path, KEYS)
    options = Options(**given)
    return opened(text_files.read(place, options), options)


def from_array(source: Any, options: Options | None = None) -> Data:
    """Texts: a list of strings, or a data frame, Arrow table or mapping with a column of them. Raises InputError."""
    options = options or Options()
    try:
        if isinstance(source, Sequence) and all(isinstance(text, str | bytes) for text in source):
            source = {"text": source}
        if isinstance(source, Mapping):
            source = pa.table({str(name): pa.array(values, from_pandas=True) for name, values in source.items()})
        elif not isinstance(source, pa.Table):
            source = pa.Table.from_pandas(source, preserve_index=False)
        return opened(text_files.of_arrow(source, "a data frame", options), options)
    except (pa.ArrowException, AttributeError, TypeError, UnicodeError) as error:
        raise InputError(f"{type(source).__name__} is not understood as texts: {error}; give a list of strings, or a table with a column of them") from None


def opened(found: Found, options: Options) -> Data:
    """The texts with a tokenizer learned from those for training. Raises InputError where none can be read."""
    if not len(found.store):
        raise InputError(f"{found.store.describe()} is empty")
    raw: Any = Decode(BPE((), options.case == "lower"), options.context, options.encoding)
    data = Data(found.store, raw, "text", dict(found.columns), found.classes, channels=0, bits=0, said=found.said)
    train = data.select(data.columns["split"] == "train") if "split" in data.columns else data
    texts = functools.partial(texts_of, letters=LETTERS * options.context)
    bpe = learned(train, texts, options.vocabulary, raw.bpe.lower, f"{options.context}/{options.case}/{options.encoding}")
    form = {"tokenizer": bpe.to_json(), "context": options.context, "usual": usual_of(train, Decode(bpe, options.context, options.encoding))}
    data = in_form(data, form)
    if not data.look(32):
        raise InputError(f"none of the first texts looked at in {found.store.describe()} can be read:\n{data._failures()}")
    return dataclasses.replace(data, said="; ".join(filter(None, [found.said, f"{len(bpe):,} different tokens"])))


def texts_of(data: Data, letters: int) -> Iterator[str]:
    """The beginnings of the texts that can be read."""
    decode: Any = data.decode
    for i in range(len(data)):
        try:
            yield words_of(data.store.raw(data.row(i)), decode.encoding)[:letters]
        except Unreadable:
            continue


def usual_of(data: Data, decode: Decode) -> list[int]:
    """USUAL tokens, each as often as in some texts: what a token that is drawn from how often they are seen is taken from."""
    rows, found = np.linspace(0, len(data) - 1, min(len(data), LOOKED)).astype(int), []
    for i in rows.tolist():
        try:
            found.append(decode(data.store.raw(data.row(i)))[1:-1])
        except Unreadable:
            continue
    every = np.sort(np.concatenate([*found, np.empty(0, np.int32)]))
    every = every[(every != START) & (every != END)]
    return every[np.linspace(0, len(every) - 1, USUAL).round().astype(int)].tolist() if len(every) else []
