"""Work on a whole data set before or between training, done once: columns added or rows selected, cached by content.

    data = derive(data, "duplicates", duplicates)        # adds the column duplicate_of

The cache is a folder of .npz files without pickles, ~/.cache/manyviews or $MANYVIEWS_CACHE; a file there can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from manyviews.data.dataset import Data, Unreadable
from manyviews.data.loading import prefetch

ROWS = "rows"  # the name under which a selection is cached


def derive(data: Data, name: str, compute: Callable[[Data], Mapping[str, np.ndarray] | np.ndarray]) -> Data:
    """`data` with the columns that `compute(data)` returns, or, where it returns one array, with only these rows (a mask, or numbers).

    The result is cached under the data's fingerprint and `name`, which says everything else that it depends on (an encoder's hash, a threshold).
    """

    def work() -> dict[str, np.ndarray]:
        found = compute(data)
        return dict(found) if isinstance(found, Mapping) else {ROWS: found}

    found = cached(f"derive/{name}/{data.fingerprint()}/{data.channels}/{data.bits}", work)
    return data.select(found[ROWS]) if ROWS in found else data.with_columns(**found)


def cached(key: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `work` returns, from the cache where it is there. A cache that cannot be written, or a damaged file, costs only time."""
    path = cache_folder() / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
    arrays = work()
    wrong = [name for name, array in arrays.items() if array.dtype.hasobject]
    if wrong:
        raise ValueError(f"arrays of Python objects cannot be cached: {', '.join(wrong)}; use numbers, or texts of a fixed width (dtype U)")
    with contextlib.suppress(OSError), new_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return arrays


def cache_folder() -> Path:
    return Path(os.environ.get("MANYVIEWS_CACHE") or "~/.cache/manyviews").expanduser()


@contextlib.contextmanager
def new_file(path: Path):
    """The name of a temporary file beside `path`, which takes its place when the block ends well and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    os.close(handle)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def duplicates(data: Data) -> dict[str, np.ndarray]:
    """Column `duplicate_of`: for each row the first row with exactly the same decoded content, itself where there is none before it, or it cannot be read."""
    whole = data.reduced(0)
    digests = np.zeros((len(whole), 2), np.uint64)

    def digest(start: int) -> list[bytes]:
        return [content_hash(whole, i) for i in range(start, min(start + 64, len(whole)))]

    for start, chunk in zip(range(0, len(whole), 64), prefetch(digest, range(0, len(whole), 64), os.cpu_count() or 1), strict=True):
        digests[start : start + len(chunk)] = np.frombuffer(b"".join(chunk), np.uint64).reshape(-1, 2)
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    return {"duplicate_of": first[group.reshape(-1)]}


def content_hash(data: Data, i: int) -> bytes:
    """16 bytes that tell decoded samples apart; an unreadable one has its own."""
    try:
        sample = data[i]
    except Unreadable:
        return hashlib.blake2b(f"unreadable {i}".encode(), digest_size=16).digest()
    return hashlib.blake2b(f"{sample.shape}{sample.dtype}".encode() + np.ascontiguousarray(sample).tobytes(), digest_size=16).digest()
