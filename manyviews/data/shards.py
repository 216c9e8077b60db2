"""WebDataset tar shards, read at random by the offsets of their members.

A sample is a run of members with one key (the path up to the first dot of its name): a picture, and maybe .cls (a number or name), .json (its label,
class or target) or .txt (a class name where names recur; a caption otherwise, which is passed over). Of several pictures with one key the first is
taken, and the number of the others is said. Shards are not unpacked, and not compressed.
"""

from __future__ import annotations

import array
import hashlib
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manyviews.data.dataset import Unreadable
from manyviews.data.derive import cached
from manyviews.data.folder import PATHS, column
from manyviews.data.labels import label_column, split_column, split_of, text
from manyviews.errors import InputError

CACHED_FROM = 100_000_000  # bytes of tar whose index is kept in the cache
LABEL_KEYS = ("label", "class", "cls", "target", "category")


class Shards:
    """Members of tar files, by (shard, offset, size)."""

    def __init__(self, paths: Sequence[Path], index: dict[str, np.ndarray], what: str):
        self.paths, self.index, self.what = paths, index, what
        self.shard, self.offset, self.size = (index[name] for name in ("shard", "offset", "size"))
        self.keys = pa.LargeBinaryArray.from_buffers(PATHS, len(self.shard), [None, *map(pa.py_buffer, (index["starts"], index["keys"]))])

    def __len__(self) -> int:
        return len(self.shard)

    def raw(self, row: int) -> bytes:
        try:
            file = os.open(self.paths[int(self.shard[row])], os.O_RDONLY)
            try:
                found = os.pread(file, int(self.size[row]), int(self.offset[row]))  # moves no position: safe in threads and forks
            finally:
                os.close(file)
        except OSError as error:
            raise Unreadable(f"{error.strerror or error}") from None
        if len(found) < self.size[row]:
            raise Unreadable(f"the shard ends after {len(found):,} of the {self.size[row]:,} bytes of this member")
        return found

    def name(self, row: int) -> str:
        return f"{text(str(self.paths[int(self.shard[row])]))}/{text(self.keys[row].as_py())}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        h = hashlib.sha256()
        for name in ("keys", "starts", "shard", "size"):
            h.update(self.index[name].tobytes())
        return h.hexdigest()


def expand(pattern: str) -> list[str]:
    """shard-{0000..0002}.tar and {a,b}.tar as the names they stand for."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    limits = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if limits:
        width = len(limits[1]) if limits[1].startswith("0") or len(limits[1]) == len(limits[2]) else 0
        middle = [f"{k:0{width}d}" for k in range(int(limits[1]), int(limits[2]) + 1)]
    else:
        middle = found[1].split(",")
    ends = expand(pattern[found.end() :])
    return [pattern[: found.start()] + a + b for a, b in itertools.product(middle, ends)]


def shards(paths: Sequence[Path], suffixes: tuple[str, ...], what: str) -> tuple[Shards, dict[str, np.ndarray], list[str]]:
    """The samples of tar files with a member of one of the suffixes. Raises InputError with every shard that is missing or no plain tar."""
    problems, stats = [], []
    for path in paths:
        try:
            stats.append(os.stat(path))
            with open(path, "rb") as file:
                start = file.read(512)
            if start[:2] == b"\x1f\x8b" or start[:3] in (b"BZh", b"\xfd7z") or start[:4] == b"\x28\xb5\x2f\xfd":
                problems.append(f"{path} is compressed, so its members cannot be read at random; unpack it to a plain .tar (gunzip, unxz, zstd -d)")
            elif start[257:262] != b"ustar" and any(start):
                problems.append(f"{path} is not a tar file")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    if problems:
        raise InputError(*problems)
    key = "shards/2/" + "/".join(f"{path.absolute()}:{s.st_size}:{s.st_mtime_ns}" for path, s in zip(paths, stats, strict=True)) + "".join(suffixes)
    large = sum(s.st_size for s in stats) >= CACHED_FROM
    index = cached(key, lambda: scan(paths, suffixes)) if large else scan(paths, suffixes)
    if not len(index["shard"]):
        raise InputError(f"{what} has no pictures in it; members are looked for that end in {' '.join(suffixes[:8])} ...")
    cut = [text(str(paths[int(k)])) for k in np.flatnonzero(index["cut"])]
    notes = [f"{len(cut)} of them cut off: {', '.join(cut[:3])}"] if cut else []
    if others := int(index["others"][0]):
        notes.append(f"{others:,} picture{'s' if others > 1 else ''} passed over: only the first of a key is taken, and names are keys up to their first dot")
    said = f"{what} ({'; '.join(notes)})" if notes else what
    columns = {"label": index["label"]} if len(index["label"]) else {}
    splits = split_column([split_of(text(path.name)) or split_of(text(path.parent.name)) for path in paths])
    if splits:
        columns["split"] = splits["split"][index["shard"]]
    return Shards(paths, index, said), columns, [str(name) for name in index["classes"]]


def scan(paths: Sequence[Path], suffixes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Where every sample is, from one pass over the headers; in arrays, so that ten million fit."""
    place = {name: array.array("q") for name in ("shard", "offset", "size")}
    cut = np.zeros(len(paths), dtype=bool)
    others = np.zeros(1, np.int64)
    labels: list[bytes] = []
    known: dict[bytes, bytes] = {}  # equal labels are one object

    def samples() -> Iterator[bytes]:
        for number, path in enumerate(paths):
            try:
                for key, picture, label, more in grouped(path, suffixes):
                    others[0] += more
                    place["shard"].append(number)
                    place["offset"].append(picture.offset_data)
                    place["size"].append(picture.size)
                    labels.append(known.setdefault(label, label))
                    yield key
            except (tarfile.TarError, OSError, EOFError):
                cut[number] = True

    keys = column(samples())
    empty = {"label": np.empty(0, np.int64)}
    captions = any(b"\0" in label for label in known) and len(known) > len(labels) // 2  # texts that hardly recur
    found, classes = (empty, []) if captions else label_column(numbers([label.removeprefix(b"\0") for label in labels]))
    starts = np.frombuffer(keys.buffers()[1], np.int64)[: len(keys) + 1]
    data = np.frombuffer(keys.buffers()[2] or b"", np.uint8)[: starts[-1]]
    arrays = {name: np.frombuffer(a, np.int64) for name, a in place.items()}
    return {**arrays, "keys": data, "starts": starts, "cut": cut, "others": others, "classes": np.array(classes, dtype=str), **(found or empty)}


def numbers(labels: list[bytes]) -> pa.Array:
    """Labels as whole numbers where all that are known are, else as they are."""
    if any(labels) and all(re.fullmatch(rb"-?\d{1,18}", label) for label in set(labels) if label):
        return pa.array([int(label) if label else None for label in labels])
    return pa.array(labels, pa.binary())


def grouped(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[bytes, tarfile.TarInfo, bytes, int]]:
    """(key, picture, label, other pictures) of every sample with a picture; a label from .txt begins with a zero byte.

    Raises what tarfile does, after the last sample.
    """
    key, picture, label, others, problem = None, None, b"", 0, None
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as file:
            for member in members(file):
                folder, name = os.path.split(member.name)
                stem, _, extension = name.partition(".")
                if not member.isreg() or not extension or not stem:
                    continue
                own = os.path.join(folder, stem)
                if own != key:
                    if picture is not None:
                        yield os.fsencode(key), picture, label, others  # type: ignore[arg-type]
                    key, picture, label, others = own, None, b"", 0
                if f".{extension.lower()}".endswith(suffixes):
                    picture, others = picture or member, others + (picture is not None)
                elif extension in ("cls", "json", "txt") and member.size < 1 << 20 and (extension == "cls" or not label):
                    label = label_of(file.extractfile(member).read(), extension) or label  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        problem = error
    if picture is not None and picture.offset_data + picture.size <= os.path.getsize(path):
        yield os.fsencode(key), picture, label, others  # type: ignore[arg-type]
    if problem is not None:
        raise problem


def members(file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, without the list of them that tarfile keeps. Raises ReadError where the archive has no end mark."""
    while (member := file.next()) is not None:
        yield member
        file.members = []  # type: ignore[attr-defined]
    stream: Any = file.fileobj
    stream.seek(file.offset)  # type: ignore[attr-defined]
    if stream.read(512) != bytes(512):  # tarfile takes half a header for the end
        raise tarfile.ReadError("no end mark")


def label_of(content: bytes, extension: str) -> bytes:
    if extension == "cls":
        return content.strip()
    if extension == "txt":
        return b"\0" + content.strip()
    try:
        facts: Any = json.loads(content)
    except ValueError:
        return b""
    value = next((facts[k] for k in LABEL_KEYS if k in facts), "") if isinstance(facts, dict) else ""
    return str(value).encode("utf-8", "surrogateescape") if isinstance(value, int | str) else b""
