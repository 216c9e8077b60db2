"""Decoding pictures: what every kind of file becomes, and what is refused with which reason."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from manyviews.data.dataset import Unreadable
from manyviews.data.images import SUFFIXES, decode, shrink, to_bits, to_channels, usual

RED, WHITE = (200, 30, 40), (255, 255, 255)


def smooth(width: int, height: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(a: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, a, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "TGA", "GIF", "JPEG2000"])
def test_a_lossless_format_gives_back_the_pixels(kind: str) -> None:
    picture = (smooth(24, 16) // 51) * 51 if kind != "GIF" else np.repeat(np.indices((16, 24)).sum(0)[..., None] * 6, 3, 2).astype(np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {"irreversible": False} if kind == "JPEG2000" else {}
    np.testing.assert_array_equal(decode(encoded(picture, kind, **options)), picture)


def test_a_jpeg_equals_pillow_within_rounding() -> None:
    raw = encoded(smooth(50, 37), "JPEG", quality=95, subsampling=0)
    expected = np.asarray(Image.open(io.BytesIO(raw))).astype(int)
    assert np.abs(decode(raw).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (130, 1000), (64, 64), (900, 700)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("pixels", [1, 32, 47, 48, 94, 95, 187, 188, 224, 5000])
def test_a_reduced_picture_is_never_smaller_than_asked_and_less_than_twice_when_it_can_be(size: tuple[int, int], kind: str, pixels: int) -> None:
    raw = encoded(smooth(*size), kind)
    height, width, _ = decode(raw, pixels).shape
    assert min(height, width) >= min(pixels, *size)
    assert min(height, width) <= min(size) if pixels >= min(size) else min(height, width) <= max(2 * pixels, 1 + min(size) // (min(size) // pixels))
    assert abs(width / height - size[0] / size[1]) < 0.1 * size[0] / size[1] or min(height, width) < 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_reduced_picture_shows_the_same(kind: str) -> None:
    raw = encoded(smooth(256, 192), kind, **({"quality": 95} if kind == "JPEG" else {}))
    k = 4
    means = decode(raw).reshape(192 // k, k, 256 // k, k, 3).mean((1, 3))
    assert np.abs(decode(raw, 48).astype(float) - means).max() < 4


def test_shrinking_sixteen_bits_and_five_channels_takes_means() -> None:
    a = np.random.default_rng(0).integers(0, 65535, (12, 20, 5)).astype(np.uint16)
    np.testing.assert_array_equal(shrink(a, 4), a[:12, :18].reshape(4, 3, 6, 3, 5).mean((1, 3)).astype(np.uint16))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_a_camera_noted_is_applied(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    raw = encoded(smooth(40, 24), kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))).astype(int)
    got = decode(raw)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 2


def test_damaged_notes_of_a_camera_do_not_lose_the_picture() -> None:
    raw = encoded(smooth(40, 24), "JPEG")
    note = b"Exif\0\0" + b"II*\0\xff\xff\xff\x7f" + b"junk"
    damaged = raw[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + raw[2:]
    np.testing.assert_array_equal(decode(damaged), decode(raw))


def test_grey_keeps_one_channel_and_sixteen_bits_keep_their_depth() -> None:
    a = np.random.default_rng(0).integers(0, 65535, (9, 11)).astype(np.uint16)
    for raw in (encoded(Image.fromarray(a), "PNG"), encoded(Image.fromarray(a), "TIFF"), tiff(a)):
        np.testing.assert_array_equal(decode(raw)[:, :, 0], a)
    grey = (a >> 8).astype(np.uint8)
    for kind in ("PNG", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode(encoded(grey, kind))[:, :, 0], grey)
    assert decode(encoded(grey, "JPEG")).shape == (9, 11, 1)


def test_a_bit_a_pixel_is_black_and_white() -> None:
    mask = np.indices((8, 8)).sum(0) % 2 == 0
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(mask), kind))[:, :, 0], mask * 255)


@pytest.mark.parametrize("channels", [2, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["contiguous", "planes", "pages"])
def test_a_tiff_of_many_channels_keeps_them_last(channels: int, dtype: type, layout: str) -> None:
    a = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 24, channels)).astype(dtype)
    if layout == "contiguous":
        raw = tiff(a, photometric="minisblack", planarconfig="contig")
    else:
        raw = tiff(np.ascontiguousarray(a.transpose(2, 0, 1)), photometric="minisblack", planarconfig="separate" if layout == "planes" else None)
    np.testing.assert_array_equal(decode(raw), a)


def test_colour_tiffs_of_sixteen_bits_and_of_floats_are_read() -> None:
    a = np.random.default_rng(0).integers(0, 65535, (20, 24, 3)).astype(np.uint16)
    np.testing.assert_array_equal(decode(tiff(a, photometric="rgb")), a)
    assert np.abs(decode(tiff((a / 65535).astype(np.float32), photometric="rgb")).astype(int) - a).max() <= 1


def png16(a: np.ndarray, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a channel, with every row filter in turn."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def rows(a: np.ndarray) -> bytes:
        step, out = 2 * a.shape[2], b""
        above = np.zeros(a.shape[1] * step, int)
        for i, row in enumerate(a.astype(">u2").reshape(len(a), -1).view(np.uint8).astype(int)):
            left, corner = (np.concatenate([np.zeros(step, int), r[:-step]]) for r in (row, above))
            guess = left + above - corner
            errors = np.abs(np.stack([guess - left, guess - above, guess - corner]))
            paeth = np.choose(errors.argmin(0), [left, above, corner])
            filtered = (row - [0 * row, left, above, (left + above) // 2, paeth][i % 5]) % 256
            out, above = out + bytes([i % 5]) + filtered.astype(np.uint8).tobytes(), row
        return out

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)] if interlaced else [(0, 0, 1, 1)]
    content = b"".join(rows(np.ascontiguousarray(a[y::dy, x::dx])) for y, x, dy, dx in passes)
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], 16, {3: 2, 4: 6}[a.shape[2]], 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
def test_colour_pngs_of_sixteen_bits_keep_their_depth(interlaced: bool) -> None:
    a = np.random.default_rng(0).integers(0, 65536, (19, 23, 3)).astype(np.uint16)
    raw = png16(a, interlaced)
    np.testing.assert_array_equal(decode(raw), a)
    assert decode(raw, 9).shape == (9, 11, 3) and decode(raw, 0, 3, 8).dtype == np.uint8
    with pytest.raises(Unreadable, match="truncated"):
        decode(raw[: len(raw) // 2])


def test_sixteen_bits_with_transparency_are_laid_over_white() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 65536, (20, 24, 4)).astype(np.uint16)
    colour, alpha = a[..., :3] / 65535, a[..., 3:] / 65535
    expected = 65535 * (colour * alpha + 1 - alpha)
    for raw in (png16(a), tiff(a, photometric="rgb", extrasamples=["unassalpha"])):
        assert np.abs(decode(raw) - expected).max() <= 0.51
    associated = np.concatenate([(a[..., :3] * alpha).round(), a[..., 3:]], 2).astype(np.uint16)
    assert np.abs(decode(tiff(associated, photometric="rgb", extrasamples=["assocalpha"])) - expected).max() <= 1.01
    clear = np.zeros((20, 24, 2), np.uint8)
    assert decode(tiff(clear, photometric="minisblack", extrasamples=["unassalpha"])).tolist() == np.full((20, 24, 1), 255).tolist()


def test_a_tiff_in_which_white_is_zero_is_not_a_negative() -> None:
    for dtype in (np.uint8, np.uint16):
        a = np.full((8, 9), 200, dtype)
        assert decode(tiff(a, photometric="miniswhite"))[0, 0, 0] == np.iinfo(dtype).max - 200


def test_whole_numbers_of_a_wide_type_that_fit_eight_bits_are_eight_bits() -> None:
    for dtype in (np.int16, np.int32, np.int64, np.uint32):
        picture = decode(np.full((4, 5, 3), 200, dtype))
        assert picture.dtype == np.uint8 and (picture == 200).all()
    assert decode(np.full((4, 5, 3), 200, np.uint16)).dtype == np.uint16 == decode(np.full((4, 5, 3), 200, ">u2")).dtype


def test_a_palette_and_transparency_become_colour_over_white() -> None:
    palette = Image.fromarray(np.full((6, 6, 3), RED, np.uint8)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.abs(decode(encoded(palette, "PNG")).astype(int) - RED).max() <= 8
    clear = Image.new("RGBA", (6, 6), (*RED, 0))
    np.testing.assert_array_equal(decode(encoded(clear, "PNG")), np.full((6, 6, 3), 255))
    half = Image.new("RGBA", (6, 6), (*RED, 128))
    assert np.abs(decode(encoded(half, "PNG")).astype(int) - (np.array(RED) + WHITE) / 2).max() <= 2
    assert decode(encoded(Image.new("LA", (6, 6), (10, 0)), "PNG")).tolist() == np.full((6, 6, 1), 255).tolist()


def test_cmyk_jpegs_have_the_right_colours() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    raw = encoded(red, "JPEG", quality=95)
    assert b"Adobe" in raw  # stored inverted, as Photoshop does
    for pixels in (0, 8):
        assert np.abs(decode(raw, pixels).astype(int) - (255, 0, 0)).max() <= 3
    np.testing.assert_array_equal(decode(encoded(red, "TIFF"))[0, 0], (255, 0, 0))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "progressive"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    picture = (smooth(128, 96) ^ rng.integers(0, 8, (96, 128, 3), dtype=np.uint8)).astype(np.uint8)
    raw = encoded(picture, "JPEG", progressive=True) if kind == "progressive" else encoded(picture, kind)
    if kind in ("GIF", "PNG") and share == 0.99:
        share = 0.97  # what is lost must be pixels, not the end mark
    with pytest.raises(Unreadable):
        decode(raw[: int(len(raw) * share)])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("pixels", [0, 16])
def test_a_truncated_jpeg_is_refused_at_every_scale_and_with_a_false_end_mark(mode: str, pixels: int) -> None:
    raw = encoded(Image.fromarray(smooth(200, 150)).convert(mode), "JPEG")
    for cut in (raw[: len(raw) // 2], raw[: len(raw) // 2] + b"\xff\xd9" if mode != "CMYK" else raw[:-40]):
        with pytest.raises(Unreadable):
            decode(cut, pixels)


def test_stray_bytes_before_a_marker_do_not_lose_a_jpeg() -> None:
    raw = encoded(smooth(40, 24), "JPEG")
    strayed = raw[:-2] + b"\0\0\0" + raw[-2:]
    assert np.abs(decode(strayed).astype(int) - decode(raw).astype(int)).max() <= 2


def test_a_jpeg_whose_header_turbo_does_not_know_goes_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    import simplejpeg

    def unknown(raw: bytes) -> tuple:
        raise ValueError("Could not determine subsampling level of JPEG image")

    raw = encoded(smooth(400, 240), "JPEG")
    expected = decode(raw)
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", unknown)
    assert np.abs(decode(raw).astype(int) - expected).max() <= 2
    assert decode(raw, 50).shape == (60, 100, 3)
    with pytest.raises(Unreadable):
        decode(raw[: len(raw) // 2])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text\n" * 50, "not a picture"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, ""),
        (b"II*\0" + b"\xff" * 50, ""),
        (b"\x89PNG\r\n\x1a\n", ""),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as error:
        decode(raw)
    assert str(error.value)


def test_noise_never_raises_anything_but_unreadable() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000"):
        whole = encoded(smooth(40, 30), kind)
        for _ in range(30):
            raw = bytearray(whole)
            for place in rng.integers(0, len(raw), 6):
                raw[place] = rng.integers(0, 256)
            try:
                assert decode(bytes(raw)).ndim == 3
            except Unreadable as reason:
                assert str(reason)


def bomb(side: int) -> bytes:
    """A side x side PNG of one bit a pixel, all black: some kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(1), bytes(1 + (side + 7) // 8)
    content = b"".join([packer.compress(row * 1000) for _ in range(side // 1000)]) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    import resource

    raw = bomb(30_000)
    assert len(raw) < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match=r"900000000|30000|pixels"):
        decode(raw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_arrays_are_completed_and_checked() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(a.transpose(2, 0, 1)), a)
    np.testing.assert_array_equal(decode(rng.random((20, 30, 5)).astype(np.float32)).shape, (20, 30, 5))
    assert decode(np.ones((4, 4)))[0, 0, 0] == 65535
    assert decode(np.array([[1, 300], [0, 65535]]))[1, 1, 0] == 65535
    for wrong in (
        np.full((4, 4), np.nan),
        np.full((4, 4), 200.0),
        np.full((4, 4), -1),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros(7),
        np.full((2, 2), 1 << 20),
        np.array([["a"]]),
    ):
        with pytest.raises(Unreadable):
            decode(wrong)


def test_channels_and_bits_are_brought_to_what_is_asked() -> None:
    grey = np.full((2, 2, 1), 90, np.uint8)
    np.testing.assert_array_equal(to_channels(grey, 3), np.full((2, 2, 3), 90))
    np.testing.assert_array_equal(to_channels(np.array([[[10, 20, 60]]], np.uint8), 1), [[[30]]])
    for have, want in ((5, 3), (2, 3), (3, 5), (1, 5)):
        with pytest.raises(Unreadable, match=f"{have} channels where {want}"):
            to_channels(np.zeros((2, 2, have), np.uint8), want)
    a = np.arange(256, dtype=np.uint8)[None, :, None]
    np.testing.assert_array_equal(to_bits(to_bits(a, 16), 8), a)
    assert to_bits(a, 16).max() == 65535
    assert decode(a, 0, 3, 16).dtype == np.uint16
    assert decode(to_bits(a, 16), 0, 3, 8).shape == (1, 256, 3)


def test_the_usual_channels_are_those_of_most_but_colour_where_there_is_some() -> None:
    def of(*channels: int, dtype: type = np.uint8) -> list[np.ndarray]:
        return [np.zeros((2, 2, c), dtype) for c in channels]

    assert usual(of(1, 1, 1)) == (1, 8)
    assert usual(of(1, 1, 3)) == (3, 8)
    assert usual(of(3, 3, 5, 1)) == (3, 8)
    assert usual(of(5, 5, 3)) == (5, 8)
    assert usual(of(3, 3) + of(1, dtype=np.uint16)) == (3, 16)


def test_every_ending_that_pillow_decodes_is_looked_for() -> None:
    Image.init()
    readable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    no_pictures = {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".bufr", ".grib", ".h5", ".hdf", ".wmf", ".emf", ".gbr", ".pcd", ".iim", ".mic", ".fpx", ".wal"}
    assert readable - no_pictures <= set(SUFFIXES)
