"""One image: every mode, orientation and size comes out as the same kind of array, and damage is named."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from carousel.data.image_files import Picture, Unreadable, bombs_refused, decode, fitted, probe


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options) -> Picture:
    image.save(tmp_path / name, **options)
    return Picture(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_right_size_is_copied(tmp_path: Path, channels: int) -> None:
    pixels = noise(5, 7, channels)
    found, facts = decode(saved(tmp_path, Image.fromarray(pixels)), (5, 7), channels)
    assert found.shape == (channels, 5, 7)
    assert np.array_equal(found, pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))
    assert facts == [f"mode {'L' if channels == 1 else 'RGB'}"]


def test_color_becomes_gray_by_its_brightness_and_gray_becomes_color_by_copies(tmp_path: Path) -> None:
    picture = saved(tmp_path, Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)))
    assert decode(picture, (1, 3), 1)[0].tolist() == [[[76, 150, 29]]]  # 0.299, 0.587, 0.114 of 255
    gray = saved(tmp_path, Image.fromarray(noise(2, 3, 1)))
    found, _ = decode(gray, (2, 3), 3)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], noise(2, 3, 1))


def test_the_center_is_cut_out_and_the_rest_is_gone(tmp_path: Path) -> None:
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[:, 30:60] = (10, 200, 30)
    found, facts = decode(saved(tmp_path, Image.fromarray(pixels)), (10, 10), 3)
    assert (found[:, :, 1:-1] == np.array([10, 200, 30])[:, None, None]).all()  # the triangle looks beyond the edge
    assert facts == ["mode RGB", "resized", "cropped"]
    turned, _ = decode(saved(tmp_path, Image.fromarray(pixels.transpose(1, 0, 2))), (10, 10), 3)
    assert np.array_equal(turned, found.transpose(0, 2, 1))
    _, facts = decode(saved(tmp_path, Image.fromarray(pixels)), (10, 30), 3)
    assert facts == ["mode RGB", "resized"]


def test_half_the_size_is_a_mean_under_a_triangle() -> None:
    column = np.random.default_rng(0).integers(0, 256, (16, 1), np.uint8)
    found = fitted(Image.fromarray(np.repeat(column, 16, 1)), (8, 8), 1, [])[0, :, 0]
    triangle = np.array([1, 3, 3, 1]) / 8  # at distances 1.5, 0.5, 0.5, 1.5 of old pixels, the width being 2
    inner = [triangle @ column[2 * row - 1 : 2 * row + 3, 0] for row in range(1, 7)]
    assert np.abs(found[1:7] - inner).max() <= 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
def test_any_size_becomes_any_other(height: int, width: int, tall: int, wide: int, channels: int) -> None:
    flat = Image.fromarray(np.full((height, width, 3), 77, np.uint8))
    found = fitted(flat, (tall, wide), channels, [])
    assert found.shape == (channels, tall, wide)
    assert (found == 77).all()


@pytest.mark.parametrize(
    ("mode", "suffix", "wanted"),
    [
        ("L", "png", (76, 76, 76)),
        ("LA", "png", (76, 76, 76)),
        ("P", "png", (255, 0, 0)),
        ("P", "gif", (255, 0, 0)),
        ("RGB", "webp", (255, 0, 0)),
        ("RGBA", "png", (255, 0, 0)),
        ("CMYK", "tif", (255, 0, 0)),
        ("CMYK", "jpg", (255, 0, 0)),
        ("YCbCr", "tif", (255, 0, 0)),
    ],
)
def test_every_mode(tmp_path: Path, mode: str, suffix: str, wanted: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    image = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    found, facts = decode(saved(tmp_path, image, f"a.{suffix}"), (4, 4), 3)
    assert np.abs(found.astype(int) - np.array(wanted)[:, None, None]).max() <= 2
    assert facts == [f"mode {'RGB' if suffix == 'webp' else mode}"]


def test_one_bit(tmp_path: Path) -> None:
    bits = np.array([[1, 0, 0], [0, 1, 1]], bool)
    found, facts = decode(saved(tmp_path, Image.fromarray(bits)), (2, 3), 1)
    assert (found[0] == 255 * bits).all()
    assert facts == ["mode 1"]


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (255, 0, 128)  # black: opaque, transparent, half
    found, facts = decode(saved(tmp_path, Image.fromarray(pixels)), (1, 3), 3)
    assert found[0, 0].tolist() == [0, 255, 127]
    assert "transparent" in facts
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 200, 100, 0])
    found, facts = decode(saved(tmp_path, palette, transparency=0), (1, 2), 3)
    assert found[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 0]]
    assert facts[:2] == ["mode P", "transparent"]


def test_sixteen_bits_are_divided_by_257(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128, 129, 65535, 40000]], np.uint16)
    found, facts = decode(saved(tmp_path, Image.fromarray(values)), (1, 6), 1)
    assert found[0, 0].tolist() == [0, 1, 0, 1, 255, 156]
    assert facts[1:] == ["16 bits"]
    _, facts = decode(saved(tmp_path, Image.fromarray(values // 16)), (1, 6), 1)
    assert facts[1:] == ["16 bits", "dark"]
    with pytest.raises(Unreadable, match=r"go from 0 to 70,000; save it with 8 or 16 bits"):
        decode(saved(tmp_path, Image.fromarray(np.array([[0, 70000]], np.int32)), "a.tif"), (1, 2), 1)
    with pytest.raises(Unreadable, match="floating-point numbers without a known range"):
        decode(saved(tmp_path, Image.fromarray(np.zeros((2, 2), np.float32)), "b.tif"), (2, 2), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_turns_the_image(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = saved(tmp_path, Image.fromarray(noise(5, 8)), f"a{suffix}", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(picture.file))).transpose(2, 0, 1)
    found, facts = decode(picture, upright.shape[1:], 3)
    assert np.array_equal(found, upright)
    if suffix == ".png":  # Pillow turns TIFF by itself
        assert facts == ["mode RGB"] + ["turned"] * (orientation > 1)
    assert probe(picture) == (*upright.shape[1:], "RGB")


def test_a_large_jpeg_is_decoded_smaller_with_the_same_result(tmp_path: Path) -> None:
    y, x = np.mgrid[:400, :640] / 40
    smooth = (127 + 60 * np.sin(y) + 60 * np.cos(x)).astype(np.uint8)
    picture = saved(tmp_path, Image.fromarray(smooth).convert("RGB"), "a.jpg", quality=95)
    found, _ = decode(picture, (20, 32), 3)
    whole = fitted(Image.fromarray(smooth), (20, 32), 3, [])
    assert np.abs(found.astype(int) - whole).max() <= 4


def test_pages_and_damaged_exif_and_other_suffixes(tmp_path: Path) -> None:
    frames = [Image.new("L", (3, 3), shade) for shade in (10, 20)]
    found, facts = decode(saved(tmp_path, frames[0], "a.tif", save_all=True, append_images=frames[1:]), (3, 3), 1)
    assert (found == 10).all()
    assert "pages" in facts
    odd = saved(tmp_path, Image.fromarray(noise(4, 4)), "b.png", exif=b"Exif\0\0MM\0*garbage")
    with bombs_refused():
        assert decode(odd, (4, 4), 3)[1] == ["mode RGB"]
    png = saved(tmp_path, Image.fromarray(noise(4, 4)), "c.png").file.rename(tmp_path / "really-a-png.jpg")
    assert np.array_equal(decode(Picture(png), (4, 4), 3)[0], noise(4, 4).transpose(2, 0, 1))


def test_damage_is_named(tmp_path: Path) -> None:
    def refused(words: str, picture: Picture) -> None:
        with pytest.raises(Unreadable, match=words) as caught:
            decode(picture, (4, 4), 3)
        assert "\n" not in str(caught.value)

    whole = saved(tmp_path, Image.fromarray(noise(40, 40)), "a.jpg").file.read_bytes()
    for name, content, words in (
        ("half.jpg", whole[: len(whole) // 2], "truncated"),
        ("empty.jpg", b"", "it is empty"),
        ("text.png", b"hello", "no image of a known format"),
        ("program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(words, Picture(tmp_path / name))
    png = saved(tmp_path, Image.fromarray(noise(40, 40))).file.read_bytes()
    (tmp_path / "bits.png").write_bytes(png[:100] + bytes(50) + png[150:])
    refused("damaged|truncated", Picture(tmp_path / "bits.png"))
    (tmp_path / "short.png").write_bytes(png[:200])
    refused("truncated", Picture(tmp_path / "short.png"))
    refused("no such file", Picture(tmp_path / "nothing.png"))
    (tmp_path / "folder.png").mkdir()
    refused("it is a folder", Picture(tmp_path / "folder.png"))


ENCODED = {}
"""An image in each format."""
for _format in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "TGA"):
    _buffer = io.BytesIO()
    Image.fromarray(noise(9, 12)).save(_buffer, _format)
    ENCODED[_format] = _buffer.getvalue()


@given(st.sampled_from(sorted(ENCODED)), st.randoms(use_true_random=False))
def test_any_damage_gives_an_image_or_a_reason(tmp_path_factory, kind: str, random) -> None:
    content = bytearray(ENCODED[kind])
    for _ in range(random.randrange(1, 8)):
        content[random.randrange(len(content))] = random.randrange(256)
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: random.choice([len(content), random.randrange(len(content))])])
    found, reason = None, ""
    with bombs_refused():
        try:
            found, _ = decode(Picture(path), (5, 4), 3)
        except Unreadable as error:
            reason = str(error)
    assert reason.startswith("it ") if found is None else (found.shape, found.dtype) == ((3, 5, 4), np.uint8)
    assert "\n" not in reason


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 50_000])
def test_decompression_bombs_are_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of(side, side))
    with bombs_refused(), pytest.raises(Unreadable, match="more than 89 million pixels, as a decompression bomb"):
        decode(Picture(tmp_path / "bomb.png"), (4, 4), 3)


def test_members_of_archives(tmp_path: Path) -> None:
    image = saved(tmp_path, Image.fromarray(noise(4, 6)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(image.file, "in/a.png")
        archive.writestr("bomb.png", b"")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        inside = Picture(tmp_path / "a.zip", archive, "in/a.png")
        assert str(inside).endswith("a.zip/in/a.png")
        assert probe(inside) == (4, 6, "RGB")
        assert np.array_equal(decode(inside, (4, 6), 3)[0], noise(4, 6).transpose(2, 0, 1))
        archive.getinfo("bomb.png").file_size = 400_000_000
        with pytest.raises(Unreadable, match="would take 400,000,000 bytes"):
            decode(Picture(tmp_path / "a.zip", archive, "bomb.png"), (4, 4), 3)
