"""Films and folders of frames: what is on screen at given moments, with no more decoded than that takes."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import folder, images
from manyviews.data.dataset import Unreadable
from manyviews.errors import InputError

RATE = 25.0  # frames a second of folders and arrays, which say no time
SHARE = 0.5  # of what is asked for that must be there
ROUNDED = 5e-4  # seconds by which a file's times may be off: many are in whole milliseconds
FAR = 5.0  # seconds ahead that are jumped over where a file has no index of its keyframes
Shown = tuple[float, np.ndarray] | None  # when a frame comes on screen, in seconds after the first, and the frame; None: it cannot be read


@contextlib.contextmanager
def opened(source: Path | np.ndarray) -> Iterator[Film | Pictures]:
    """A video to be read from; whatever goes wrong is Unreadable with its reason, but for a library that is missing."""
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(source, np.ndarray):
                yield of_array(source)
            elif source.is_dir():
                yield of_folder(source)
            elif source.suffix.lower() == ".npy":
                yield of_array(np.load(source, mmap_mode="r", allow_pickle=False))
            else:
                yield Film(stack.enter_context(av().open(os.fspath(source), metadata_errors="replace")))
        except (InputError, Unreadable):
            raise
        except Exception as error:  # NumPy, the system and PyAV, of which the latter two have a plain word for it
            raise Unreadable(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}") from None


def av() -> Any:
    try:
        import av as library
    except ImportError:
        raise InputError("reading video needs PyAV: pip install 'manyviews[video]'") from None
    return library


class Pictures:
    """Frames that can be had one by one: RATE of them a second."""

    def __init__(self, count: int, get: Callable[[int, int], np.ndarray]):
        """get: (number, pixels) -> uint8 (height, width, 3); may raise Unreadable."""
        if not count:
            raise Unreadable("no frames")
        self.count, self.get = count, get
        self.seconds = self.end = count / RATE
        self.rate = RATE

    def show(self, moments: np.ndarray, pixels: int) -> list[Shown]:
        """What is on screen at each of the moments."""
        numbers = np.floor((moments + ROUNDED) * RATE).astype(int).tolist()
        found: dict[int, Shown] = {}
        failed = []
        for n in sorted({n for n in numbers if n < self.count}):
            try:
                found[n] = n / RATE, self.get(n, pixels)
            except Unreadable as reason:
                failed.append(reason)
        if len(failed) > SHARE * (len(found) + len(failed)):
            raise Unreadable(f"{len(failed)} of {len(found) + len(failed)} frames cannot be read: {failed[0]}")
        if len({picture.shape for _, picture in filter(None, found.values())}) > 1:
            raise Unreadable("frames of different sizes")
        return [found.get(n) for n in numbers]


def of_array(frames: np.ndarray) -> Pictures:
    """(time, height, width[, channels]), with numbers as pictures have."""
    if frames.ndim not in (3, 4) or 0 in frames.shape:
        raise Unreadable(f"an array of shape {frames.shape} is not a video (time, height, width, channels)")
    return Pictures(len(frames), lambda n, pixels: images.decode(np.asarray(frames[n]), pixels, 3, 8))


def of_folder(place: Path) -> Pictures:
    """The pictures of a folder in the order of the numbers in their names."""
    with os.scandir(place) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(images.SUFFIXES) and not e.name.startswith(".")]
    names.sort(key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)])
    return Pictures(len(names), lambda n, pixels: images.decode(folder.content(place / names[n]), pixels, 3, 8))


class Film:
    """A file that is decoded forwards, with jumps to keyframes where they save work."""

    def __init__(self, container: Any):
        streams = [s for s in container.streams.video if not s.disposition & av().stream.Disposition.attached_pic]  # no cover
        if not streams:
            raise Unreadable("no video stream")
        self.container, self.stream = container, streams[0]
        self.stream.codec_context.thread_count = 1  # many videos are read at once
        self.origin = self.stream.start_time or 0  # in the units of the stream, as all times of frames
        self.unit = float(self.stream.time_base or Fraction(1, 1000))
        self.rate = float(self.stream.average_rate or self.stream.guessed_rate or RATE)
        self.end = 0.0  # where what was decoded ends, in seconds after the first frame
        self.seconds = self.length()
        self.lost = False  # whether nothing was found where a keyframe should be
        self.fruitless = False  # whether the last jump led back, as there is no later keyframe
        self.start()

    def length(self) -> float:
        """Seconds, as the file says, or, where it does not, as its packets say."""
        if self.stream.duration:
            return self.stream.duration * self.unit
        if self.container.duration:
            begins = 0 if "matroska" in self.container.format.name else self.container.start_time or 0  # which counts from 0
            return self.container.duration / 1e6 - max(0.0, self.origin * self.unit - begins / 1e6)
        last = max((p.pts + (p.duration or 0) for p in self.container.demux(self.stream) if p.pts is not None), default=self.origin)
        self.container.seek(self.origin, stream=self.stream)
        return (last - self.origin) * self.unit

    def start(self) -> None:
        """Begins to decode where the file is."""
        self.frames = self.decoded()
        self.now: Any = None  # the frame on screen
        self.coming: Any = next(self.frames, None)  # the one after it

    def decoded(self) -> Iterator[Any]:
        """Frames in the order of presentation. What is damaged is passed over; where the file cannot be read on, it ends."""
        broken, last = av().error.FFmpegError, self.origin - 1
        with contextlib.suppress(broken):
            for packet in self.container.demux(self.stream):
                with contextlib.suppress(broken):
                    for frame in packet.decode():
                        if frame.pts is None:
                            frame.pts = frame.dts if frame.dts is not None else last + max(1, round(1 / self.rate / self.unit))
                        if frame.pts > last or self.now is None:
                            last = frame.pts
                            yield frame

    def show(self, moments: np.ndarray, pixels: int) -> list[Shown]:
        """What is on screen at each of the moments, which are in order; before the first frame, that one."""
        shown: list[Shown] = [None] * len(moments)
        size, last = None, None
        for i, moment in enumerate(moments.tolist()):
            frame = self.on_screen(self.origin + math.floor((moment + ROUNDED) / self.unit))
            if frame is not None and frame is last:
                shown[i] = shown[i - 1]
            elif frame is not None:
                size = size or self.size(frame, pixels)  # that of the first, should it change
                picture = frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()
                shown[i] = (frame.pts - self.origin) * self.unit, np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
            elif self.lost:
                break
            last = frame
        return shown

    def size(self, frame: Any, pixels: int) -> tuple[int, int]:
        """Width and height, reduced by the largest whole factor that leaves a shorter side of `pixels`."""
        factor = max(1, min(frame.width, frame.height) // pixels) if pixels else 1
        return frame.width // factor, frame.height // factor

    def on_screen(self, time: int) -> Any:
        """The frame that is seen at a time; None after the last."""
        if self.must_jump(time):
            self.jump(time)
        while self.coming is not None and (self.coming.pts <= time or self.now is None):
            self.now, self.coming = self.coming, next(self.frames, None)
        if self.now is None:
            return None
        until = self.now.pts + (self.now.duration or 0 if self.coming is None else self.coming.pts - self.now.pts)
        until = max(until, self.now.pts + math.ceil(1 / self.rate / self.unit))
        self.end = max(self.end, (until - self.origin) * self.unit)
        return self.now if self.coming is not None or time < until else None

    def must_jump(self, time: int) -> bool:
        """Whether the time is past, or beyond a keyframe that is still to come."""
        if self.now is not None and time < self.now.pts:
            return True
        here = self.coming or self.now
        if here is None or time <= here.pts:
            return False
        index = self.stream.index_entries
        entry = index.search_timestamp(time, backward=True) if len(index) else -1
        if len(index) and index[len(index) - 1].timestamp > here.pts:
            return entry >= 0 and index[entry].timestamp > here.pts
        return (time - here.pts) * self.unit > FAR and not self.fruitless  # an index may be of what was read so far

    def jump(self, time: int) -> None:
        """To the last keyframe before a time; further back as long as the first frame from there comes too late."""
        back, here = 0, self.coming or self.now
        while True:
            try:
                self.container.seek(time - back, stream=self.stream)
            except av().error.FFmpegError:
                self.fruitless = True
                return  # it is read on from where it was
            self.start()
            self.lost = self.lost or self.coming is None
            self.fruitless = self.coming is None or (here is not None and here.pts < time and self.coming.pts <= here.pts)
            if (self.coming is not None and self.coming.pts <= time) or time - back <= self.origin:
                return
            back = max(2 * back, math.ceil(1 / self.unit))
