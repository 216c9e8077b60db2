"""Video: clips of some frames, as uint8 (time, height, width, 3).

Read are files through PyAV (.mp4 .mkv .webm .avi .mov .gif ...), folders of numbered pictures, and arrays (.npy: time, height, width, channels).

A `Clip` is a light handle that says which moments of a video are wanted; only these are read, from the nearest keyframe on. A moment's frame is the one
that is on screen then, by presentation time, so frames of unequal length count for as long as they are seen. By default a clip is FRAMES moments, each in
the middle of an equal part of the video. Two clips at a chosen interval, of 16 frames a fifteenth of a second apart:

    clip = data.store.raw(row)
    seconds, rate = facts(clip)
    v, w = (decode(clip.at(start, frames=16, stride=1 / 15), pixels=112) for start in (1.0, 3.5))

A video that breaks off is used up to there if that is SHARE of it. Rotation noted by the camera is applied. Single frames as pictures:
`manyviews.data.stills`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from manyviews.data import arrays, folder, images, lists
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.film import RATE as RATE
from manyviews.data.film import SHARE, opened
from manyviews.data.film import Film as Film
from manyviews.data.labels import text
from manyviews.data.locating import chosen, count, number
from manyviews.errors import InputError

CONTAINERS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
SUFFIXES = (*CONTAINERS, ".gif", ".npy")
FRAMES = 16  # of a clip
NO_FRAMES = ("mask", "annotation", "label", "segmentation")  # how folders of pictures begin that are no video


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """Which moments of a video: the middles of `frames` equal parts of the `span` seconds from `start` on."""

    source: Path | np.ndarray  # a file, a folder of frames, or the frames
    frames: int = FRAMES
    span: float = 0.0  # seconds; 0: all from the start on
    start: float | None = None  # seconds after the first frame; None: so that the span is in the middle

    def at(self, start: float, frames: int, stride: float) -> Clip:
        """The clip of `frames` frames that begins with the one at `start`, `stride` seconds apart."""
        return Clip(self.source, frames, frames * stride, start - stride / 2)

    def moments(self, seconds: float) -> Float64[np.ndarray, "frames"]:
        """In seconds after the first frame, of a video that lasts so long."""
        span = min(self.span or seconds, seconds) if self.start is None else self.span or max(0.0, seconds - self.start)
        start = (seconds - span) / 2 if self.start is None else self.start
        return start + (np.arange(self.frames) + 0.5) * span / self.frames


def decode(raw: Any, pixels: int = 0, channels: int = 3, bits: int = 8) -> UInt8[np.ndarray, "time height width channels"]:
    """A clip. Raises Unreadable.

    raw: a Clip, a path, or an array (time, height, width[, channels]). pixels: how many the shorter side needs at least; frames are reduced by a whole
    factor where that leaves as much. channels: 1 or 3.
    """
    frames, _ = read(raw if isinstance(raw, Clip) else Clip(raw if isinstance(raw, np.ndarray) else Path(raw)), pixels)
    time, height, width, _ = frames.shape
    return images.to_channels(frames.reshape(time * height, width, 3), channels or 3).reshape(time, height, width, -1)


def read(clip: Clip, pixels: int = 0) -> tuple[UInt8[np.ndarray, "time height width 3"], Float64[np.ndarray, "time"]]:
    """The frames of a clip, and when each first comes on screen, in seconds after the first frame. Raises Unreadable."""
    with opened(clip.source) as video:
        moments = clip.moments(video.seconds)
        shown = video.show(moments, pixels)
        if shown[-1] is None and clip.start is None and video.end >= SHARE * video.seconds:
            shown = video.show(clip.moments(video.end), pixels)  # the same of what there is
        there = [i for i, found in enumerate(shown) if found is not None]
        if len(there) < max(1, SHARE * len(moments)):
            raise Unreadable(f"it can be read up to {video.end:.2f} s, of {moments[-1]:.2f} s asked for" if video.end else "no frames")
    filled = [shown[max((i for i in there if i <= k), default=there[0])] for k in range(len(shown))]  # the one before, where one is missing
    return np.stack([found[1] for found in filled if found]), np.array([found[0] for found in filled if found], dtype=np.float64)


def facts(raw: Any) -> tuple[float, float]:
    """How many seconds a video lasts as its file says, and its mean number of frames a second. Raises Unreadable."""
    with opened(raw.source if isinstance(raw, Clip) else raw) as video:
        return video.seconds, video.rate


class Videos:
    """Files and folders of frames as `Clip`s."""

    def __init__(self, files: folder.Files, frames: int, span: float):
        self.files, self.frames, self.span = files, frames, span

    def __len__(self) -> int:
        return len(self.files)

    def raw(self, row: int) -> Clip:
        return Clip(Path(os.fsdecode(os.path.join(self.files.prefix, self.files.paths[row].as_py()))), self.frames, self.span)

    def name(self, row: int) -> str:
        return self.files.name(row)

    def describe(self) -> str:
        return self.files.describe()

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.files.fingerprint()} {self.frames} {self.span}".encode()).hexdigest()


class VideoArray(arrays.Array):
    """An array (count, time, height, width[, channels]) as `Clip`s."""

    def __init__(self, samples: np.ndarray, what: str, frames: int, span: float = 0.0):
        super().__init__(samples, what)
        self.frames, self.span = frames, span

    def raw(self, row: int) -> Any:
        return Clip(np.asarray(self.samples[row]), self.frames, self.span)

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()} {self.frames} {self.span}".encode()).hexdigest()


def open_video(path: Path, frames: int = FRAMES, span: float = 0.0) -> Data:
    """The videos of a folder at any depth, of a list (.txt, .csv, .tsv), or one. Raises InputError.

    frames: of a clip. span: seconds in the middle of each video that the frames are spread over; 0: all of it. A path may say both, as in
    CLIPS?frames=8&span=2.5; with CLIPS?pictures=yes&every=2 single frames become pictures (`manyviews.data.stills`).
    """
    from manyviews.data import stills  # which reads what is opened here

    path, said = chosen(path, {"frames": count, "span": number, **stills.CHOICES})
    every = stills.every_of(said)
    if every is not None:
        return stills.stills(open_video(path), every)
    frames, span = said.get("frames", frames), said.get("span", span)
    if frames < 1 or span < 0:
        raise InputError(f"frames={frames}, span={span}: expected at least one frame, and seconds of 0 or more")
    if path.suffix.lower() == ".npy" and not path.is_dir():
        try:
            many = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read as an array: {error}") from None
        if many.ndim == 5:
            return from_array(many, f"array {text(str(path))}", frames, span)
    files, columns, classes = listed(path)
    data = Data(Videos(files, frames, span), decode, "video", columns, classes, form={"frames": frames})
    failures = []
    for row in np.linspace(0, len(files) - 1, min(len(files), 8)).astype(int).tolist():
        try:
            read(dataclasses.replace(data.store.raw(row), frames=1), 32)
            return data
        except Unreadable as reason:
            failures.append(f"  {files.name(row)}: {reason}")
    raise InputError(f"none of the first videos looked at in {files.describe()} can be read:\n" + "\n".join(failures[:5]))


def from_array(source: np.ndarray, what: str = "an array", frames: int = FRAMES, span: float = 0.0) -> Data:
    """An array (count, time, height, width, channels) of videos. Raises InputError."""
    if source.ndim != 5 or 0 in source.shape:
        raise InputError(f"{what} has the shape {source.shape}; videos are (count, time, height, width, channels)")
    frames = min(frames, source.shape[1])
    return Data(VideoArray(source, what, frames, span), decode, "video", form={"frames": frames})


def listed(path: Path) -> tuple[folder.Files, dict[str, np.ndarray], Sequence[str]]:
    """The videos of a folder, of a list, or one; the columns and classes that folders tell. Raises InputError."""
    if path.suffix.lower() in (".txt", ".csv", ".tsv"):
        return lists.listed(path)
    if not path.is_dir():
        return folder.Files(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {text(str(path))}"), {}, []
    found = folder.folder(path, SUFFIXES)
    if found is not None:
        files, columns, classes = found
    else:
        places = [os.path.dirname(part[0].as_py()) or b"." for part in folder.walk(path, images.SUFFIXES) if len(part) > 1]
        places = [place for place in places if not any(part.lower().startswith(NO_FRAMES) for part in os.fsdecode(place).split("/"))] or places
        if not places:
            raise InputError(f"{text(str(path))} has no videos; looked for, at any depth: {' '.join(SUFFIXES)} and folders of pictures")
        files = folder.Files(path, folder.column(places), f"folders of frames in {text(str(path))}")
        columns, classes = folder.columns_of(files.paths)
    if len(classes) * 2 > len(files):  # folders of single videos are no classes
        columns.pop("label", None)
        classes = []
    return files, columns, classes


def looks_like_video(path: Path) -> bool:
    """Whether a file, or one of those first found in a folder, is of a kind that is nothing but video."""
    if not path.is_dir():
        return path.name.lower().endswith(CONTAINERS)
    return any(name.lower().endswith(CONTAINERS) for _, _, names in itertools.islice(os.walk(path), 50) for name in names)


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Pixels a side of a view: the median shorter side of some clips, in steps of 4, at most 32, or 112 with a GPU."""
    import torch

    sides = [min(a.shape[1:3]) for a in samples]
    most = 112 if torch.cuda.is_available() else 32
    return int(np.clip((np.median(sides) if sides else most) // 4 * 4, 8, most))
