"""Pictures with captions: a sample is a picture and the tokens of its caption.

A caption is UTF-8; blanks of any kind count as one. It becomes tokens by byte-level BPE in lower case, learned from the captions of the data
(`manyviews.data.bpe`), with a mark before it and one after it, CONTEXT tokens at most: a longer one is cut, and keeps the last mark. `Data.form` holds the
tokenizer, so that it is saved with an encoder. A pair without its picture, without a caption, or whose caption is empty or no UTF-8, cannot be read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from manyviews.data import folder, images, lists, pair_files, parquet
from manyviews.data.bpe import BPE, VOCABULARY
from manyviews.data.dataset import Data, Store, Unreadable, stack
from manyviews.data.folder import content
from manyviews.data.tokens import cleaned, learned, padded
from manyviews.errors import InputError

CONTEXT = 77  # tokens, CLIP's
WORDY = re.compile(r"[^\W\d_]{2,}")  # a caption has words; the .txt of boxes beside a picture has numbers


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """One sample. To NumPy it is one object without axes, whose content is that of both parts."""

    image: np.ndarray  # (height, width, channels)
    tokens: Int[np.ndarray, "tokens"]
    shape = ()
    dtype = np.dtype(object)

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + self.tokens.nbytes + 200

    def tobytes(self) -> bytes:
        return f"{self.image.shape}{self.image.dtype}".encode() + np.ascontiguousarray(self.image).tobytes() + self.tokens.tobytes()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """The bytes of both parts, which is what duplicates are told by."""
        return np.frombuffer(self.tobytes(), np.uint8)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A batch: pictures as of the modality images, and tokens, -1 where a caption has ended."""

    image: Tensor | list[Tensor]
    text: Int[Tensor, "batch tokens"]

    def __len__(self) -> int:
        return len(self.text)

    def to(self, device: torch.device | str, **options: Any) -> Pairs:
        image = [a.to(device, **options) for a in self.image] if isinstance(self.image, list) else self.image.to(device, **options)
        return Pairs(image, self.text.to(device, **options))


def collate(samples: Sequence[Any]) -> Pairs | list[Tensor]:
    """A batch of `Pair`s, with captions padded to the longest; pictures without captions stay a list."""
    if not all(isinstance(sample, Pair) for sample in samples):
        return [torch.as_tensor(sample) for sample in samples]
    return Pairs(stack([sample.image for sample in samples]), padded([sample.tokens for sample in samples]))


@dataclasses.dataclass(frozen=True)
class Decode:
    """(picture, caption) as bytes -> Pair. Raises Unreadable. pixels, channels, bits: of the picture, as for images."""

    bpe: BPE
    context: int = CONTEXT

    def __call__(self, raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Pair:
        picture, caption = raw
        tokens = np.array(self.bpe.encode(cleaned(caption), self.context), np.int32)
        return Pair(images.decode(picture, pixels, channels, bits), tokens)


class Both:
    """A store of pictures and one of captions, row by row."""

    def __init__(self, pictures: Store, captions: pair_files.Captions, what: str):
        self.pictures, self.captions, self.what = pictures, captions, what

    def __len__(self) -> int:
        return len(self.pictures)

    def raw(self, row: int) -> tuple[Any, bytes]:
        caption = self.captions.raw(row)
        return self.pictures.raw(row), caption

    def name(self, row: int) -> str:
        return self.pictures.name(row)

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.pictures.fingerprint()}/{self.captions.fingerprint()}".encode()).hexdigest()


def captions_of(data: Data) -> Iterator[str]:
    """The captions that can be read, in the order of the rows."""
    store: Any = data.store
    for i in range(len(data)):
        try:
            yield cleaned(store.captions.raw(data.row(i)))
        except Unreadable:
            continue


def caption(data: Data, i: int) -> str:
    """Of sample i. Raises Unreadable."""
    store: Any = data.store
    return cleaned(store.captions.raw(data.row(i)))


def in_form(data: Data, form: Mapping[str, Any]) -> Data:
    """The same pairs with captions in the tokens that an encoder of this form was trained with. Raises InputError."""
    bpe, context = BPE.from_json(form.get("tokenizer")), int(form.get("context", CONTEXT))
    decode: Any = Decode(bpe, context)
    return dataclasses.replace(data, decode=decode, form={"tokenizer": bpe.to_json(), "context": context}, kept=None)


def as_pairs(store: Both, columns: Mapping[str, np.ndarray], classes: Sequence[str], said: str = "") -> Data:
    """The pairs of a store with their tokenizer, pictures brought to what is usual among some of them. Raises InputError where none can be read."""
    if not len(store):
        raise InputError(f"{store.describe()} is empty")
    data = Data(store, Decode(BPE()), "pairs", dict(columns), classes, channels=0, bits=0, said=said, collate=collate)  # type: ignore[arg-type]
    data = in_form(data, {"tokenizer": learned(data, captions_of, VOCABULARY).to_json(), "context": CONTEXT})
    some: Any = data.reduced(64).look(32)
    if not some:
        raise InputError(f"none of the first pairs looked at in {store.describe()} can be read:\n{data._failures()}")
    channels, bits = images.usual([sample.image for sample in some])
    return dataclasses.replace(data, channels=channels, bits=bits)


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def open_pairs(path: Path) -> Data:
    """The pairs of a folder, a table (.csv, .tsv, .jsonl, .parquet) or tar shards. Raises InputError."""
    found = pair_files.from_folder(path) if path.is_dir() else pair_files.from_file(path)
    return as_pairs(Both(found.pictures, found.captions, found.pictures.describe()), found.columns, found.classes, found.said)


def natural_size(samples: Sequence[Pair]) -> int:
    """The median shorter side of some pictures: as it is up to 64 pixels, in steps of 4; above, 224, or 64 where there is no GPU."""
    sides = [min(sample.image.shape[:2]) for sample in samples]
    side = int(np.median(sides)) if sides else 32
    if side <= 64:
        return max(8, side // 4 * 4)
    return 224 if torch.cuda.is_available() else 64


def looks_like_pairs(path: Path) -> bool:
    """Whether most pictures of a folder have a text of words beside them, or a table, shards or Parquet files have pictures and captions.

    Decided on the first files; a table with labels as well is left to whoever asks for it with `--as`.
    """
    try:
        if path.is_dir():
            own = pair_files.table_in(path)
            return looks_table(own) if own is not None else looks_beside(path) or looks_parts(path)
        ending = path.suffix.lower()
        return looks_table(path) if ending in pair_files.TABLES else ending in (".tar", ".parquet") and looks_part(path)
    except (InputError, OSError, ValueError, tarfile.TarError, EOFError, pa.ArrowException):
        return False


def looks_table(path: Path) -> bool:
    header = pair_files.header_of(path)
    return header is not None and not pair_files.pick(header[0], [n for n, role in lists.HEADER.items() if role == "label"])


def looks_beside(path: Path) -> bool:
    """Whether most of the first pictures have a .txt with words beside them."""
    names = itertools.islice((name for part in folder.walk(path, images.SUFFIXES) for name in part.to_pylist()), 64)
    beside = [os.path.splitext(os.path.join(os.fsencode(path), name))[0] + b".txt" for name in names]
    return 2 * sum(os.path.isfile(p) and wordy(content(p)[:4096]) for p in beside) > len(beside)


def looks_parts(path: Path) -> bool:
    """The first tar or Parquet file of a folder decides."""
    first = next((path / os.fsdecode(name) for part in folder.walk(path, (".tar", ".parquet")) for name in part.to_pylist()), None)
    return first is not None and looks_part(first)


def looks_part(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        names = parquet.opened(path).schema.names
        return bool(pair_files.pick(names, pair_files.CAPTIONS) and not pair_files.pick(names, parquet.LABELS)) and (
            parquet.picture_column(parquet.opened(path).schema) is not None or bool(pair_files.pick(names, pair_files.PICTURES))
        )
    captions = [caption for _, caption in itertools.islice(pair_files.texts_in(path), 16)]
    return bool(captions) and len({*captions}) > len(captions) // 2 and 2 * sum(wordy(c) and len(c.split()) > 1 for c in captions) > len(captions)


def wordy(caption: bytes) -> bool:
    return WORDY.search(caption.decode("utf-8", "replace")) is not None
