"""What the columns of a table are: how values become numbers, what is remembered of a column, and a batch of rows.

A number stays what it is. A date is days since 1 January 1970 (in float32, so to about two minutes). A category is a code that its text alone decides, 24
bits of a hash, so that every file, whatever its rows, gives the same text the same code; yes and no, true and false are 1 and 0. Of 1,000 categories two
share a code with a probability of 3 %. What is not known is NaN. The form remembers which codes there were: those seen twice or more in training, at most
MOST of them, by how often. Any other code is `other`: one category for what is rare and what is new. So the form, which is saved with a model, is all that a
model needs to read another file. It also keeps how each column is distributed, as 256 values that stand for as many equal parts of the rows.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.data.labels import text
from manyviews.errors import InputError

MISSING = ("", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "<na>", "-nan")
TRUE, FALSE = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")  # the first that reads all
MOST = 10_000  # categories that the form of a column remembers
NAMED = 20  # with their names
NUMBERS = 0.95  # a column with more of them than this is numeric, and its other cells are missing
MARGINAL = 256  # values that stand for how a column is distributed
FAR = 10.0  # standard deviations that a standardised number is cut at


@dataclasses.dataclass
class Column:
    """A column's values as numbers. `names`: what codes stand for."""

    kind: str  # numeric, date, categorical, boolean
    values: Float[np.ndarray, "rows"]
    names: dict[int, str] = dataclasses.field(default_factory=dict)
    said: str = ""


def code(category: str) -> int:
    """A category's number, 0 to 2**24 - 1, which float32 holds exactly."""
    return int.from_bytes(hashlib.blake2b(category.encode("utf-8", "surrogateescape"), digest_size=3).digest(), "little")


def column(cells: pa.ChunkedArray, kind: str = "", missing: Sequence[str] = (), decimal_comma: bool = False) -> Column:
    """What cells hold, by all of them; `kind` is not guessed. Raises InputError where they are not of that kind."""
    type_ = cells.type
    if pa.types.is_boolean(type_) and kind in ("", "boolean"):
        return Column("boolean", pc.fill_null(pc.cast(cells, pa.float64()), np.nan).to_numpy(), {0: "false", 1: "true"})
    if pa.types.is_temporal(type_) and not pa.types.is_duration(type_) and not pa.types.is_time(type_) and kind in ("", "date"):
        return Column("date", days(pc.cast(cells, pa.timestamp("us"), safe=False)))
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        if kind in ("", "numeric"):
            return Column("numeric", pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        cells = pa.chunked_array([pa.array([None if v is None or v != v else text(float(v)) for v in cells.to_pylist()], pa.string())])
    elif not (pa.types.is_string(type_) or pa.types.is_large_string(type_)):
        known = type_ if not pa.types.is_dictionary(type_) else type_.value_type
        binary = pa.types.is_binary(known) or pa.types.is_large_binary(known)
        cells = (
            pa.chunked_array([pa.array([None if v is None else text(v) for v in cells.to_pylist()], pa.string())]) if binary else pc.cast(cells, pa.string())
        )
        kind = kind or "categorical"
    return of_text(cells, kind, missing, decimal_comma)


def of_text(cells: pa.ChunkedArray, kind: str, missing: Sequence[str], decimal_comma: bool) -> Column:
    """Decided on the distinct texts, each as often as it occurs."""
    encoded = pc.utf8_trim_whitespace(pc.cast(cells, pa.string())).dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    rows = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    words = [bare(word) for word in encoded.dictionary.to_pylist()]
    counts = np.bincount(rows, minlength=len(words) + 1)[: len(words)]
    known = np.array([word.lower() not in MISSING and word not in missing for word in words], bool)
    number = np.full(len(words) + 1, np.nan)
    names: dict[int, str] = {}
    said = ""
    found, parsed = recognised(words, known, counts, kind, decimal_comma)
    if found == "categorical":
        for k in np.flatnonzero(known):
            number[k] = code(words[k])
            names[int(number[k])] = words[k]
    else:
        number[:-1] = np.where(known, parsed, np.nan)
        names = {0: "false", 1: "true"} if found == "boolean" else {}
        lost = int(counts[known & np.isnan(number[:-1])].sum())
        said = f"{lost:,} cell{'s' if lost > 1 else ''} of no {'date' if found == 'date' else 'number'} count as missing" if lost else ""
        if kind and not np.isfinite(number).any() and known.any():
            raise InputError(f"is no {kind} column: it holds {', '.join(repr(words[k]) for k in np.flatnonzero(known)[:3])}")
    return Column(found, number[rows], names, said)


def recognised(words: list[str], known: np.ndarray, counts: np.ndarray, kind: str, decimal_comma: bool) -> tuple[str, np.ndarray]:
    """The kind of a column of texts, and its numbers. A column of nothing known is numeric."""
    lower = [word.lower() for word in words]
    if kind in ("", "boolean") and known.any() and all(word in TRUE + FALSE for word, k in zip(lower, known, strict=True) if k):
        return "boolean", np.array([float(word in TRUE) for word in lower])
    if kind in ("", "numeric"):
        numbers = np.array([as_number(word, decimal_comma) if k else np.nan for word, k in zip(words, known, strict=True)], float)
        read = counts[known & ~np.isnan(numbers)].sum()
        if kind or read == counts[known].sum() or read > NUMBERS * counts[known].sum():
            return "numeric", numbers
    if kind in ("", "date"):
        some = pa.array([word if k else None for word, k in zip(words, known, strict=True)], pa.string())
        for form in DATES:
            found = pc.strptime(some, format=form, unit="s", error_is_null=True)
            if found.null_count == some.null_count or (kind and form == DATES[-1]):
                return "date", days(pa.chunked_array([found]))
    return "categorical", np.full(len(words), np.nan)


def bare(word: str) -> str:
    """Without the single quotes that some files put around values."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word


def as_number(word: str, decimal_comma: bool) -> float:
    """NaN for what is no number; Python's underscores are none."""
    if word[:1].isalpha() and word[0] not in "iInN":  # infinity and nan
        return np.nan
    try:
        return float(word.replace(",", ".") if decimal_comma else word) if "_" not in word else np.nan
    except ValueError:
        return np.nan


def days(moments: pa.ChunkedArray) -> Float[np.ndarray, "rows"]:
    """Since the beginning of 1970."""
    microseconds = pc.cast(pc.cast(moments, pa.timestamp("us"), safe=False), pa.int64())
    return pc.fill_null(pc.cast(microseconds, pa.float64(), safe=False), np.nan).to_numpy() / 86_400e6


# --- what is remembered -------------------------------------------------------------------------------------------------------------------------


def remembered(name: str, column: Column, rows: np.ndarray) -> dict[str, Any]:
    """What the form says of a column, from the values at `rows`, as plain values."""
    every = np.sort(column.values[rows].astype(np.float32).astype(np.float64))  # NaN last
    middle = ((np.arange(MARGINAL) + 0.5) * len(every) / MARGINAL).astype(int)  # of as many parts of equally many rows
    marginal = [float(v) if np.isfinite(v) else None for v in every[middle]] if len(every) else []
    seen = every[np.isfinite(every)]
    if column.kind in ("numeric", "date"):
        centre = float(seen.mean()) if len(seen) else 0.0
        spread = float(seen.std()) if len(seen) else 0.0
        spread = spread if spread > 1e-6 * max(abs(centre), 1e-30) else 1.0
        return {"name": name, "kind": column.kind, "mean": centre, "std": spread, "marginal": marginal}
    codes, counts = np.unique(seen.astype(np.int64), return_counts=True)
    order = np.lexsort((codes, -counts))
    codes = codes[order][counts[order] > 1][:MOST].tolist()
    named = {"categories": [column.names.get(c, str(c)) for c in codes]} if len(codes) <= NAMED else {}
    return {"name": name, "kind": column.kind, "codes": codes, **named, "marginal": marginal}


class Scheme(nn.Module):
    """The columns of a form as tensors, which move with the module; they are no weights, since the form is saved."""

    names: list[str]
    numeric: Bool[Tensor, "columns"]
    mean: Float[Tensor, "columns"]
    std: Float[Tensor, "columns"]
    sizes: Int[Tensor, "columns"]  # categories known of each, 0 of numbers; `other` is the next number after them
    marginal: Float[Tensor, "values columns"]  # values as often as they occur in training
    keys: Int[Tensor, "categories"]
    places: Int[Tensor, "categories"]

    def __init__(self, columns: Sequence[Mapping[str, Any]]):
        super().__init__()
        self.names, self.kinds = [c["name"] for c in columns], [c["kind"] for c in columns]
        codes = [torch.tensor(c.get("codes", []), dtype=torch.int64) for c in columns]
        keys = torch.cat([k * (1 << 25) + c for k, c in enumerate(codes)]) if columns else torch.empty(0, dtype=torch.int64)
        keys, order = keys.sort()
        tensors = {
            "numeric": torch.tensor(["codes" not in c for c in columns], dtype=torch.bool),
            "mean": torch.tensor([c.get("mean", 0.0) for c in columns], dtype=torch.float32),
            "std": torch.tensor([c.get("std", 1.0) for c in columns], dtype=torch.float32),
            "sizes": torch.tensor([len(c) for c in codes], dtype=torch.int64),
            "marginal": torch.tensor([[np.nan if v is None else v for v in c.get("marginal") or [np.nan] * MARGINAL] for c in columns]).T.contiguous(),
            "keys": keys,
            "places": torch.cat([torch.arange(len(c)) for c in codes])[order] if columns else keys,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def standard(self, values: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch columns"]:
        """Numbers with mean 0 and deviation 1, cut at FAR; 0 for categories and what is missing."""
        return torch.where(self.numeric, (values - self.mean) / self.std, 0.0).nan_to_num(0.0, FAR, -FAR).clamp(-FAR, FAR)

    def category(self, values: Float[Tensor, "batch columns"]) -> Int[Tensor, "batch columns"]:
        """Which category, by how often it was seen; the number after the last is `other`. 0 for numbers; what is missing counts as other."""
        wanted = torch.arange(len(self.names), device=values.device) * (1 << 25) + values.nan_to_num(-1.0, -1.0, -1.0).clamp(-1, (1 << 24) - 1).long()
        if not len(self.keys):
            return self.sizes.expand_as(wanted)
        at = torch.searchsorted(self.keys, wanted.contiguous()).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[at] == wanted, self.places[at], self.sizes)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A batch of rows and what their columns are: what a View of a table holds."""

    values: Float[Tensor, "batch columns"]
    scheme: Scheme

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Rows:
        same = torch.device(device) == self.values.device
        return self if same else Rows(self.values.to(device, non_blocking=non_blocking), copy.deepcopy(self.scheme).to(device))
