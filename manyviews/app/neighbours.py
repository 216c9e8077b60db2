"""`manyviews neighbours`: the samples of a vector file that are nearest to a picture, by cosine similarity, exactly."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont

from manyviews.app.drawing import drawn
from manyviews.app.embed import Vectors, read_vectors
from manyviews.app.model import Model, load
from manyviews.app.thumbnails import Originals, thumbnail
from manyviews.data.dataset import Unreadable
from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic

SIDE, GAP, TEXT = 128, 12, 40  # pixels of a cell of the contact sheet: picture, space around it, caption below it


@dataclasses.dataclass
class Neighbours:
    """What is nearest to `query`, nearest first."""

    query: str
    rows: list[dict[str, Any]]  # path, index, label of each
    similarity: list[float]
    picture: np.ndarray | None  # the query, decoded
    vectors: Vectors
    missing: str = ""  # why some originals could not be shown

    def table(self) -> str:
        """For people: rank, similarity, path, and the label where there is one."""
        lines = [["rank", "similarity", "path"] + (["label"] if self.rows and "label" in self.rows[0] else [])]
        for rank, (row, value) in enumerate(zip(self.rows, self.similarity, strict=True), 1):
            lines.append([str(rank), f"{value:.4f}", row["path"]] + ([str(row["label"])] if "label" in row else []))
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)

    def sheet(self, out: str | Path) -> Path:
        """A contact sheet: the query, large, and its neighbours. Grey where an original is not found any more, and `missing` says so."""
        find = Originals(self.vectors.metadata)
        pictures = [find(row["path"], row["index"]) for row in self.rows]
        absent = sum(p is None for p in pictures)
        self.missing = f"{absent} of {len(pictures)} originals are not found" + (f" ({find.missing})" if find.missing else "") if absent else ""
        columns = max(1, min(6, round(math.sqrt(1.5 * len(pictures)))))
        width, height = SIDE + GAP, SIDE + TEXT
        left = 2 * SIDE + 3 * GAP
        sheet = Image.new("RGB", (left + columns * width + GAP, max(2, math.ceil(len(pictures) / columns)) * height + 2 * GAP), "white")
        draw = ImageDraw.Draw(sheet)
        cell(sheet, draw, GAP, GAP, 2 * SIDE, self.picture, self.query, "query")
        for k, (row, value, picture) in enumerate(zip(self.rows, self.similarity, pictures, strict=True)):
            x, y = left + k % columns * width, GAP + k // columns * height
            cell(sheet, draw, x, y, SIDE, picture, row["path"], f"{k + 1}  {value:.3f}" + (f"  {row['label']}" if "label" in row else ""))
        out = Path(out).expanduser()
        with atomic(out) as temporary:
            sheet.save(temporary, "PNG", optimize=True)
        return out


def neighbours(vectors: str | Path | Vectors, photo: str | Path, k: int = 12, run: str | Path | None = None) -> Neighbours:
    """The `k` samples nearest to `photo`: a picture file, or the path of a sample that is in the vector file (which is then left out of the answer).

    An unseen picture is embedded by the run that the vectors name, or by `run`. Raises InputError when that holds another encoder.
    """
    vectors = vectors if isinstance(vectors, Vectors) else read_vectors(vectors)
    if k < 1:
        raise InputError(f"--k {k}: must be at least 1")
    file, own = Path(photo).expanduser(), find_row(vectors, photo)
    if own is None:
        if not file.is_file():
            raise InputError(
                f"no picture {str(photo)!r}: it is neither a file nor the path of one of the {len(vectors):,} samples of {vectors.path or 'the vectors'}"
            )
        try:
            model = encoder_of(vectors, run)
            sample = model.read(file)
            picture: np.ndarray | None = drawn(sample, model.modality, model.form)
            query = model([sample if model.modality == "images" else file])[0]
        except (Unreadable, OSError) as error:
            raise InputError(f"{photo} cannot be read: {error}") from None
        if not np.isfinite(query).all():
            raise InputError(f"the vector of {photo} is not finite: the encoder has diverged")
    else:
        row = vectors.rows([own])[0]
        picture, query = Originals(vectors.metadata)(row["path"], row["index"]), np.asarray(row["vector"], np.float32)
    similarity, rows = nearest(vectors, query, k + (own is not None))
    keep = np.flatnonzero(rows != (-1 if own is None else own))[:k]
    found = [{name: value for name, value in row.items() if name != "vector"} for row in vectors.rows([int(rows[i]) for i in keep])]
    return Neighbours(str(photo), found, [float(similarity[i]) for i in keep], picture, vectors)


def nearest(vectors: Vectors, query: Float[np.ndarray, "dim"], k: int) -> tuple[Float[np.ndarray, "k"], Int[np.ndarray, "k"]]:
    """The k largest cosine similarities and their rows; ties in the order of the file. Holds one row group at a time."""
    query = query / max(float(np.linalg.norm(query)), 1e-12)
    best, where = np.empty(0, np.float32), np.empty(0, np.int64)
    for start, x in vectors.groups():
        similarity = x @ query / np.maximum(np.linalg.norm(x, axis=1), 1e-12)
        best = np.concatenate([best, similarity.astype(np.float32)])
        where = np.concatenate([where, np.arange(start, start + len(x))])
        top = np.argsort(-best, kind="stable")[:k]
        best, where = best[top], where[top]
    return best, where


def find_row(vectors: Vectors, photo: str | Path) -> int | None:
    """The row of `photo`: by a path to one of the data set's files, or by its name in the data set, unless that is a file elsewhere."""
    source, file = vectors.metadata["data"], Path(photo).expanduser()
    if source and Path(source).is_dir():
        for path in (Path(os.path.abspath(file)), file.resolve()):
            if path.is_relative_to(source) and (row := vectors.find(printable(path.relative_to(source).as_posix()))) is not None:
                return row
        if file.is_file():
            return None
    return vectors.find(printable(photo))


def printable(path: str | Path) -> str:
    """A path as stores name it: bytes that are no text show as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def encoder_of(vectors: Vectors, run: str | Path | None) -> Model:
    """The encoder that made the vectors. Raises InputError when it is gone or another one."""
    about = vectors.metadata
    wanted = str(run or about["run"])
    if not wanted:
        raise InputError("the vectors do not say which run made them; name it with --run")
    try:
        model = load(wanted, size=about["size"], channels=about["channels"])
    except InputError as error:
        raise InputError(*error.problems, *([] if run else [f"the vectors were made by {wanted}; if it was moved, say where it is now with --run"])) from None
    if model.hash() != about["hash"]:
        raise InputError(
            f"{wanted} holds another encoder ({model.architecture}, hash {model.hash()}) than the one that made the vectors "
            f"({about['architecture']}, hash {about['hash']}); vectors of different encoders cannot be compared: embed the data again with "
            f"`manyviews embed {wanted} {about['data'] or 'DATA'}`, or name the run that made them with --run"
        )
    return model


def cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, side: int, picture: np.ndarray | None, name: str, above: str) -> None:
    """One picture of the sheet with two lines of caption."""
    if picture is None:
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=(232, 232, 232))
        draw.text((x + side / 2, y + side / 2), "not found", fill=(100, 100, 100), font=font(12), anchor="mm")
    else:
        sheet.paste(thumbnail(picture, side), (x, y))
    draw.text((x, y + side + 4), fitted(draw, above, side, 12, slice(None, -1)), fill=(20, 20, 20), font=font(12))
    draw.text((x, y + side + 19), fitted(draw, name, side, 11, slice(1, None)), fill=(100, 100, 100), font=font(11))


def fitted(draw: ImageDraw.ImageDraw, text: str, width: int, size: int, rest: slice) -> str:
    """The text, shortened by taking `rest` of it (all but the first or the last letter) until it fits; of a path the end tells more."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    short = text
    while short and draw.textlength(short, font(size)) > width:
        text = text[rest]
        short = text + "…" if rest.start is None else "…" + text
    return short


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with many scripts where the system has one, else Pillow's own."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)
