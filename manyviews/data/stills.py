"""Stills: pictures from films. A row is a moment of a clip, and the column `track` says of which clip.

    data = open_data("CLIPS?pictures=yes&every=2")    # films or folders of frames, as `manyviews.data.video` finds them
    data = stills(open_video(path), every=2.0)        # the same

Pictures are from the middles of parts of a clip that are `every` seconds long, or as long as its frames are where that is longer; of a shorter clip, from
its middle. Columns: `track`, unless a list of the clips has such a column itself, `time` (seconds after the clip's first frame), and what is known of the
clip (`label`, `split` ...). To know how many there are every clip is opened, once as long as its file stays as it is, and only its first frame decoded; to
read one, only what leads to it from the keyframe before. A clip that cannot be opened or has no frames is one row, unreadable for that reason.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from manyviews.data import video
from manyviews.data.dataset import Data, Store, Unreadable
from manyviews.data.derive import cached
from manyviews.data.film import RATE, Film, opened
from manyviews.data.locating import number, whether
from manyviews.errors import InputError

EVERY = 0.5  # seconds from one picture to the next
LONGEST = 7 * 24 * 3600.0  # seconds of a clip; a file that says more is damaged
CHOICES = {"pictures": whether, "every": number}  # behind a path


def stills(clips: Data, every: float = EVERY) -> Data:
    """The pictures of clips, in the order of these and of time. Raises InputError.

    clips: as `manyviews.data.video.open_video` gives them. every: seconds from one picture to the next.
    """
    if not 0 < every < np.inf:
        raise InputError(f"every={every:g}: from one picture of a film to the next; expected seconds, above 0")
    rows = np.arange(len(clips)) if clips.rows is None else np.asarray(clips.rows)
    seconds, rate = lengths([clips.store.raw(int(row)).source for row in rows]).T
    step = np.maximum(every, 1 / rate)
    count = np.maximum(1, np.floor(seconds / step + 1e-6)).astype(np.int64)
    before = np.cumsum(count) - count
    time = (np.arange(count.sum()) - np.repeat(before, count) + 0.5) * np.repeat(np.where(seconds < step, seconds, step), count)
    store = Stills(clips.store, np.repeat(rows, count), time, f"{len(clips):,} clip{'s' * (len(clips) != 1)}, {every:g} s apart,")
    columns = {name: np.repeat(column, count, 0) for name, column in ({"track": np.arange(len(clips))} | dict(clips.columns)).items()}
    return Data(store, decode, "images", columns | {"time": time.astype(np.float32)}, clips.classes, max_bad=clips.max_bad)


def every_of(said: dict[str, Any]) -> float | None:
    """Takes CHOICES out of what is said behind a path: seconds from one picture to the next; None where clips are wanted. Raises InputError."""
    pictures, every = said.pop("pictures", False), said.pop("every", None)
    if every is not None and not pictures:
        raise InputError(f"every={every:g} says how far apart pictures from films are; say that films are to be read so: pictures=yes&every={every:g}")
    if pictures and said:
        raise InputError(f"{' and '.join(said)} of clips cannot be said with pictures=yes, which makes every frame a sample; leave out one or the other")
    return None if not pictures else EVERY if every is None else every


def decode(raw: video.Clip, pixels: int = 0, channels: int = 3, bits: int = 8) -> UInt8[np.ndarray, "height width channels"]:
    """The picture of a clip of one frame. Raises Unreadable."""
    picture: np.ndarray = video.decode(raw, pixels, channels)[0]
    return picture


class Stills:
    """A store whose row is a clip of one frame, at a time in seconds."""

    def __init__(self, clips: Store, rows: Int64[np.ndarray, "pictures"], time: Float64[np.ndarray, "pictures"], what: str):
        """rows: the clips of the pictures, in their store."""
        self.clips, self.rows, self.time, self.what = clips, rows, time, what

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, row: int) -> video.Clip:
        clip: video.Clip = self.clips.raw(int(self.rows[row]))
        return clip.at(float(self.time[row]), frames=1, stride=1 / RATE)

    def name(self, row: int) -> str:
        return f"{self.clips.name(int(self.rows[row]))} at {self.time[row]:.3f} s"

    def describe(self) -> str:
        return f"{self.what} {self.clips.describe()}"

    def fingerprint(self) -> str:
        h = hashlib.sha256(f"stills/1/{self.clips.fingerprint()}".encode())
        for numbers in (self.rows, self.time):
            h.update(numbers.tobytes())
        return h.hexdigest()


def lengths(sources: Sequence[Path | np.ndarray]) -> Float64[np.ndarray, "clips 2"]:
    """How many seconds each clip lasts, 0 where it cannot be read, and its frames a second; of files known again as long as they stay as they are."""

    def work() -> dict[str, np.ndarray]:
        with ThreadPoolExecutor(8) as pool:
            return {"lengths": np.array([*pool.map(length, sources)], dtype=np.float64)}

    states = [state(source) for source in sources if isinstance(source, Path)]
    return (cached("\n".join(["stills/1", *states]), work) if len(states) == len(sources) else work())["lengths"]


def state(source: Path) -> str:
    """Changes with a file, or with what is in a folder."""
    try:
        status = os.stat(source)
    except OSError as error:
        return f"{source.absolute()}: {error.strerror}"
    return f"{source.absolute()} {status.st_size} {status.st_mtime_ns}"


def length(source: Path | np.ndarray) -> tuple[float, float]:
    try:
        with opened(source) as film:
            if (isinstance(film, Film) and film.coming is None) or not 0 <= film.seconds < LONGEST or film.rate <= 0:
                return 0.0, RATE
            return film.seconds, film.rate
    except Unreadable:  # with its reason when it is read
        return 0.0, RATE
