"""Pictures: what counts as one, and how bytes become a (height, width, channels) array.

JPEG goes through libjpeg-turbo at the smallest DCT scale that still has the side asked for; TIFF with other than 1, 3 or 4 channels through
tifffile; everything else through Pillow. 8 bits stay uint8, 16 bits uint16. An alpha channel is laid over white.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from manyviews.data.dataset import Unreadable

SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .tif .tiff .webp .ppm .pgm .pbm .pnm .tga .ico .jp2 .j2k .avif .pcx .sgi .qoi .hdr".split())
LARGEST = 180_000_000  # pixels of a picture that is decoded in full; JPEGs above it may still be read at a reduced scale


def decode(raw: Any, pixels: int = 0) -> np.ndarray:
    """A picture as uint8 or uint16 (height, width, channels). `pixels`: the shorter side that is enough, 0 for all there is. Raises Unreadable."""
    if isinstance(raw, np.ndarray):
        return from_array(raw)
    if not raw:
        raise Unreadable("empty file")
    if raw[:3] == b"\xff\xd8\xff":
        picture = from_jpeg(raw, pixels)
        if picture is not None:
            return picture
    if raw[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return from_tiff(raw)
    return from_pillow(raw, pixels)


def from_array(a: np.ndarray) -> np.ndarray:
    """Checks and completes an array that is already a picture: (height, width) gets a channel axis, floats in [0, 1] become uint16."""
    if a.ndim == 2:
        a = a[:, :, None]
    if a.ndim != 3 or 0 in a.shape:
        raise Unreadable(f"an array of shape {a.shape} is not a picture (height, width, channels)")
    if a.shape[0] <= 4 < min(a.shape[1:]):
        a = a.transpose(1, 2, 0)
    if a.dtype == bool:
        return a.astype(np.uint8) * 255
    if a.dtype in (np.uint8, np.uint16):
        return a
    if a.dtype.kind == "f":
        if not np.isfinite(a).all() or a.min() < 0 or a.max() > 1:
            raise Unreadable("a float picture must be finite and within [0, 1]")
        return (a * 65535 + 0.5).astype(np.uint16)
    raise Unreadable(f"pictures of type {a.dtype} are not understood; uint8, uint16 and floats in [0, 1] are")


def from_jpeg(raw: bytes, pixels: int) -> np.ndarray | None:
    """Through libjpeg-turbo; None for what it does not do (CMYK), which Pillow then tries."""
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(raw)
        if space.upper() not in ("RGB", "GRAY", "YCBCR"):
            return None
        least = min(pixels, height, width) if pixels else min(height, width)
        if height * width > LARGEST and not pixels:
            raise Unreadable(f"{width} x {height} pixels are more than the {LARGEST:,} that are decoded")
        grey = space.upper() == "GRAY"
        # min_height and min_width pick the DCT scale; turbo's strict mode turns a truncated file into an error
        return simplejpeg.decode_jpeg(
            raw, colorspace="GRAY" if grey else "RGB", min_height=least if pixels else 0, min_width=least if pixels else 0, strict=True
        )
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"JPEG: {error}") from None


def from_tiff(raw: bytes) -> np.ndarray:
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(raw)) as file:
            page = file.pages[0]
            if np.prod(page.shape) > 4 * LARGEST:
                raise Unreadable(f"{page.shape} is too large")
            a = file.series[0].asarray()
    except Unreadable:
        raise
    except Exception as error:  # tifffile raises many kinds
        try:
            return from_pillow(raw, 0)
        except Unreadable:
            raise Unreadable(f"TIFF: {error}") from None
    while a.ndim > 3 and a.shape[0] == 1:
        a = a[0]
    if a.ndim == 3 and a.shape[0] < min(a.shape[1:]):
        a = a.transpose(1, 2, 0)
    if a.dtype.kind == "f" and a.size and np.isfinite(a).all() and (a.min() < 0 or a.max() > 1):
        raise Unreadable("a float TIFF must be within [0, 1]")
    return from_array(a)


def from_pillow(raw: bytes, pixels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(raw))
        if image.width * image.height > LARGEST:
            raise Unreadable(f"{image.width} x {image.height} pixels are more than the {LARGEST:,} that are decoded")
        if image.mode in ("I;16", "I;16B", "I;16L", "I"):
            return from_array(np.asarray(image).clip(0, 65535).astype(np.uint16))
        if image.mode == "F":
            return from_array(np.asarray(image))
        if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = Image.new("RGBA", rgba.size, "white")
            image.alpha_composite(rgba)
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        if pixels and min(image.size) >= 2 * pixels:
            image = image.reduce(min(image.size) // pixels)
        return from_array(np.asarray(image))
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not a picture") from None
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too large: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, MemoryError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def to_channels(a: np.ndarray, channels: int) -> np.ndarray:
    """The picture with this many channels: grey is repeated, colour averaged to grey; anything else is Unreadable."""
    have = a.shape[2]
    if have == channels:
        return a
    if have == 1:
        return np.repeat(a, channels, 2)
    if have == 4 and channels == 3:
        return a[:, :, :3]
    if channels == 1:
        return (a.astype(np.float32) @ np.full(have, 1 / have, np.float32))[:, :, None].astype(a.dtype)
    raise Unreadable(f"{have} channels where {channels} are expected")
