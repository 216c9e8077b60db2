"""Pictures: what counts as one, and how bytes become a (height, width, channels) array.

JPEG goes through libjpeg-turbo at a reduced DCT scale where that suffices; TIFF with other than 1, 3 or 4 channels, or deeper than 8 bits, through
tifffile; everything else through Pillow. 8 bits stay uint8, 16 bits uint16; but colour of 16 bits in PPM, JPEG 2000 and AVIF, and grey of 16 bits with
alpha in PNG, arrive as 8, since Pillow gives no more. An alpha channel is laid over white, and the orientation that a camera noted is applied.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from manyviews.data.dataset import Data, Unreadable
from manyviews.data.regions import Regions
from manyviews.nn import memory

ENDINGS = """.jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .gif .tif .tiff .webp .avif .avifs .ppm .pgm .pbm .pnm .pfm .jp2 .j2k .j2c .jpc .jpf
.jpx .tga .icb .vda .vst .ico .cur .icns .pcx .dcx .sgi .bw .rgb .rgba .qoi .psd .dds .blp .fit .fits .ftc .ftu .im .msp .ras .xbm .xpm .fli .flc .pxr
.heic .heif"""
SUFFIXES = tuple(ENDINGS.split())  # all that Pillow decodes, but for containers (.pdf, .mpg, .hdf ...) and .eps, which runs a program
LARGEST = 180_000_000  # pixels of a picture that is decoded in full; JPEGs above it may still be read at a reduced scale
HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "Unknown Adobe color transform", "Warning: unknown JFIF")  # libjpeg's warnings about whole pictures


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> np.ndarray:
    """A picture as uint8 or uint16 (height, width, channels). Raises Unreadable.

    raw: a file's bytes, an array, or a Pillow picture. pixels: the shorter side that is enough; the picture is reduced by a whole factor (JPEG: eighths)
    where that leaves as much, never below. channels and bits: what it is brought to. 0: as it is.
    """
    picture = read(raw, pixels)
    if channels:
        picture = to_channels(picture, channels)
    return to_bits(picture, bits) if bits else picture


def read(raw: Any, pixels: int) -> np.ndarray:
    if isinstance(raw, np.ndarray):
        return shrink(from_array(narrowed(raw)), pixels)
    if not isinstance(raw, bytes):
        return from_pillow(raw, pixels)
    if not raw:
        raise Unreadable("empty file")
    if raw[:3] == b"\xff\xd8\xff":
        picture = from_jpeg(raw, pixels)
        if picture is not None:
            return shrink(picture, pixels)
    if raw[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return shrink(from_tiff(raw), pixels)
    return from_pillow(raw, pixels)


def narrowed(a: np.ndarray) -> np.ndarray:
    """Whole numbers of a wide type as 8 bits where they fit: int64 says nothing of the depth, and 0 to 255 is no picture of 16 bits."""
    wide = a.dtype.kind == "i" or (a.dtype.kind == "u" and a.dtype.itemsize > 2)
    return a.astype(np.uint8) if wide and a.size and a.min() >= 0 and a.max() <= 255 else a


def from_array(a: np.ndarray) -> np.ndarray:
    """Checks and completes an array that is already a picture: (height, width) gets a channel axis, floats in [0, 1] become uint16."""
    if a.ndim == 2:
        a = a[:, :, None]
    if a.ndim != 3 or 0 in a.shape:
        raise Unreadable(f"an array of shape {a.shape} is not a picture (height, width, channels)")
    if a.shape[0] <= 16 and a.shape[0] < min(a.shape[1:]):
        a = a.transpose(1, 2, 0)
    if a.dtype == bool:
        return a.astype(np.uint8) * 255
    if a.dtype in (np.uint8, np.uint16):
        return a.astype(a.dtype.newbyteorder("="), copy=False)
    if a.dtype.kind == "f":
        low, high = a.min(), a.max()  # NaN if any is
        if not (low >= 0 and high <= 1):
            raise Unreadable(f"numbers from {low:.4g} to {high:.4g}; a float picture must be within [0, 1], without NaN")
        return (a * 65535 + 0.5).astype(np.uint16)
    if a.dtype.kind in "iu":
        if a.min() < 0 or a.max() > 65535:
            raise Unreadable(f"whole numbers from {a.min()} to {a.max()}; a picture's must be within [0, 65535]")
        return a.astype(np.uint16)
    raise Unreadable(f"pictures of type {a.dtype} are not understood; uint8, uint16 and floats in [0, 1] are")


def from_jpeg(raw: bytes, pixels: int) -> np.ndarray | None:
    """Through libjpeg-turbo; None for what it does not do (CMYK, rare subsamplings) or warns about without need, which Pillow then tries."""
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(raw)
    except ValueError:  # damaged, or a subsampling of the colours that turbo has no name for
        return None
    try:
        if space.upper() not in ("RGB", "GRAY", "YCBCR"):
            return None
        if height * width > LARGEST * (64 if pixels and min(height, width) >= 8 * pixels else 1):
            raise Unreadable(f"{width} x {height} pixels are more than the {LARGEST:,} that are decoded")
        # the smallest scale in eighths with both sides >= least, up to 1/2: turbo takes longer for 5/8 to 7/8 than for all of it;
        # strict: a warning, such as a premature end, is an error
        least = min(pixels, height, width)
        scale = {"min_height": least, "min_width": least, "min_factor": 2 if least else 1}
        height, width, *_ = simplejpeg.decode_jpeg_header(raw, **scale)
        colours = "GRAY" if space.upper() == "GRAY" else "RGB"
        buffer = memory.empty((height, width, 1 if colours == "GRAY" else 3), np.uint8)
        picture = simplejpeg.decode_jpeg(raw, colorspace=colours, strict=True, buffer=buffer, **scale)
    except Unreadable:
        raise
    except ValueError as error:
        if any(warning.lower() in str(error).lower() for warning in HARMLESS):
            return None
        raise Unreadable(f"JPEG: {error}") from None
    return turned(picture, jpeg_orientation(raw))


def jpeg_orientation(raw: bytes) -> int:
    """EXIF orientation 1..8 of a JPEG, 1 where it says none."""
    start = raw.find(b"Exif\0\0", 0, 1 << 16)
    if start < 0:
        return 1
    exif = pillow().Exif()
    try:
        exif.load(raw[start : start + int.from_bytes(raw[start - 2 : start], "big") - 2])
        return exif.get(0x0112, 1)
    except Exception:  # Pillow raises many kinds on damaged notes; the picture itself may be whole
        return 1


def turned(a: np.ndarray, orientation: Any) -> np.ndarray:
    """The picture as it was seen. Orientation as in EXIF: 2 mirrored, 3 upside down, 6 and 8 on its side, 4, 5, 7 both."""
    if orientation in (5, 6, 7, 8):
        a = a.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        a = a[::-1]
    if orientation in (2, 3, 6, 7):
        a = a[:, ::-1]
    return np.ascontiguousarray(a)


def from_tiff(raw: bytes) -> np.ndarray:
    """The first picture. 8-bit grey, RGB, RGBA and CMYK go to Pillow, and so does what tifffile cannot unpack."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(raw)) as file:
            page: Any = file.pages[0]
            if page.imagewidth * page.imagelength > LARGEST:
                raise Unreadable(f"{page.imagewidth} x {page.imagelength} pixels are more than the {LARGEST:,} that are decoded")
            samples, series = page.samplesperpixel, file.series[0]
            common = samples in (1, 3) or (samples == 4 and (page.extrasamples or page.photometric == tifffile.PHOTOMETRIC.SEPARATED))
            several = len(series.shape) == 3 and min(series.shape[0], series.shape[2]) <= 16 and set(series.axes) <= set("YXSCQ")
            if common and page.bitspersample <= 8 and page.sampleformat == 1 and not (samples == 1 and several):
                return from_pillow(raw, 0)
            a = series.asarray() if several else page.asarray()
            if several and series.axes[0] in "SC" and series.axes[2] not in "SC":
                a = a.transpose(1, 2, 0)
            orientation = page.tags.valueof(274, 1)
            white_is_zero = samples == 1 and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and a.dtype in (np.uint8, np.uint16)
            alpha = samples in (2, 4) and page.extrasamples[-1:] in ((tifffile.EXTRASAMPLE.ASSOCALPHA,), (tifffile.EXTRASAMPLE.UNASSALPHA,))
            premultiplied = alpha and page.extrasamples[-1] == tifffile.EXTRASAMPLE.ASSOCALPHA
    except Unreadable:
        raise
    except Exception as error:  # tifffile raises many kinds
        try:
            return from_pillow(raw, 0)
        except Unreadable:
            raise Unreadable(f"TIFF: {error}") from None
    a = from_array(np.iinfo(a.dtype).max - a if white_is_zero else a)
    return turned(over_white(a, premultiplied) if alpha else a, orientation)


def over_white(a: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """The colours, or the grey, of (height, width, channels and alpha) laid over white."""
    most = int(np.iinfo(a.dtype).max)
    colour, alpha = a[:, :, :-1].astype(np.uint32), a[:, :, -1:].astype(np.uint32)
    if premultiplied:
        return np.minimum(colour + (most - alpha), most).astype(a.dtype)
    return ((colour * alpha + most * (most - alpha) + most // 2) // most).astype(a.dtype)


@functools.cache
def pillow() -> ModuleType:
    """PIL.Image, told once that warnings about single pictures are not wanted (a filter around each decode would not be thread-safe)."""
    from PIL import Image

    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


def from_pillow(raw: Any, pixels: int) -> np.ndarray:
    """Bytes, or a picture that is already open, through Pillow."""
    image_module, image = pillow(), None
    try:
        image = image_module.open(io.BytesIO(raw)) if isinstance(raw, bytes) else raw
        if image.width * image.height > LARGEST:
            raise Unreadable(f"{image.width} x {image.height} pixels are more than the {LARGEST:,} that are decoded")
        if pixels and image.format == "JPEG":
            image.draft(None, (pixels, pixels))
        low = low_bytes(raw, image) if isinstance(raw, bytes) and image.format == "PNG" else None
        image.load()
        orientation = image.getexif().get(0x0112, 1)
        if low is not None:
            deep = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
            return shrink(turned(over_white(deep) if deep.shape[2] == 4 else deep, orientation), pixels)
        if image.mode.startswith("I") or image.mode == "F":
            return shrink(turned(from_array(np.asarray(image)), orientation), pixels)
        if image.mode in ("PA", "LA", "La", "RGBa", "RGBA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            grey = image.mode in ("LA", "La", "L", "1")
            image = image_module.new("RGBA", rgba.size, "white")
            image.alpha_composite(rgba)
            image = image.convert("L" if grey else "RGB")
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        if pixels and min(image.size) >= 2 * pixels:
            image = image.reduce(min(image.size) // pixels)
        return turned(from_array(np.asarray(image)), orientation)
    except Unreadable:
        raise
    except image_module.DecompressionBombError as error:
        raise Unreadable(f"too large: {error}") from None
    except Exception as error:  # Pillow's plugins raise nearly every kind on damaged files
        unknown = type(error).__name__ == "UnidentifiedImageError"
        raise Unreadable("not a picture" if unknown else f"{getattr(image, 'format', None) or type(error).__name__}: {error}") from None


def low_bytes(raw: bytes, image: Any) -> Any:
    """For a colour PNG of 16 bits, of which Pillow unpacks the high bytes, the same picture with the low ones; None for any other."""
    tile = image.tile[0] if len(image.tile) == 1 else ("", None, 0, "")
    if tile[3] not in ("RGB;16B", "RGBA;16B") or "transparency" in image.info or getattr(image, "is_animated", False):
        return None
    low = pillow().open(io.BytesIO(raw))
    low.tile = [(*tile[:3], tile[3].replace("16B", "16L"))]  # the bytes of a number in the other order: the low one counts as the high one
    low.load()
    return low


def shrink(a: np.ndarray, pixels: int) -> np.ndarray:
    """The means of k x k pixels, for the largest k that leaves a shorter side of `pixels`; 0: all there is."""
    k = min(a.shape[:2]) // pixels if pixels else 1
    if k < 2:
        return a
    if a.dtype == np.uint8 and a.shape[2] in (1, 3):
        small = np.asarray(pillow().fromarray(a[:, :, 0] if a.shape[2] == 1 else a).reduce(k))
        return small[:, :, None] if small.ndim == 2 else small
    height, width = (side // k for side in a.shape[:2])
    blocks = a[: height * k, : width * k].reshape(height, k, width, k, a.shape[2])
    return (blocks.sum((1, 3), dtype=np.uint64) // (k * k)).astype(a.dtype)


def to_channels(a: np.ndarray, channels: int) -> np.ndarray:
    """The picture with this many channels: grey is repeated to colour, colour averaged to grey; anything else is Unreadable."""
    have = a.shape[2]
    if have == channels:
        return a
    if have == 1 and channels == 3:
        return np.repeat(a, 3, 2)
    if have == 4 and channels == 3:
        return np.ascontiguousarray(a[:, :, :3])
    if have == 3 and channels == 1:
        return (a.sum(2, dtype=np.uint32, keepdims=True) // 3).astype(a.dtype)
    raise Unreadable(f"{have} channels where {channels} are expected")


def to_bits(a: np.ndarray, bits: int) -> np.ndarray:
    """uint8 for 8 bits, uint16 for 16; white stays white."""
    if a.dtype == np.uint8:
        return a if bits == 8 else a.astype(np.uint16) * 257
    return a if bits == 16 else ((a.astype(np.uint32) + 128) // 257).astype(np.uint8)


def usual(pictures: Sequence[np.ndarray]) -> tuple[int, int]:
    """The channels and bits to bring a set to, from some of its pictures: 3 channels where there is colour and grey, 16 bits where any has them."""
    counts = Counter(a.shape[2] for a in pictures)
    channels = max(counts, key=lambda c: (counts[c], -c))
    return 3 if channels == 1 and 3 in counts else channels, 16 if any(a.dtype == np.uint16 for a in pictures) else 8


def regions(data: Data) -> Regions | None:
    """The label maps beside pictures (`manyviews.data.picture_maps`), or None."""
    from manyviews.data import picture_maps

    return picture_maps.regions(data)
