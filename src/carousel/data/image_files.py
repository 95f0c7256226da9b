"""One image: read with Pillow, brought upright, to 8 bits, to a size and to one or three channels.

Only formats that are nothing but pixels are opened: Pillow would run a program for PostScript. Whatever the file has,
the result is the same kind of array, and a few words (facts, see `decode`) say what was changed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

__all__ = ["GRAY", "IMAGE_SUFFIXES", "Picture", "Unreadable", "bombs_refused", "decode", "fitted", "probe"]

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .gif .bmp .dib .tif .tiff .webp .ppm .pgm .pbm .pnm .jp2 .avif .tga".split()
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
GRAY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes without color."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation."""
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError,
           NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile,
           Image.DecompressionBombError, Image.DecompressionBombWarning)  # fmt: skip
"""What Pillow's decoders raise on bytes that are not what they seem."""


class Unreadable(Exception):  # noqa: N818 (a fact about a file, which the caller makes an error or a note)
    """An image that can't be used; the text is the reason, to stand behind "because"."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where an image is: a file, or a member of a ZIP archive."""

    file: Path
    archive: zipfile.ZipFile | None = None
    member: str = ""

    def __str__(self) -> str:
        return f"{self.file}/{self.member}" if self.archive else str(self.file)

    def opened(self) -> Image.Image:
        """Its header, read by Pillow."""
        if self.archive is None:
            return Image.open(self.file, formats=_formats())
        info = self.archive.getinfo(self.member)
        # an image of the greatest size that is read has fewer bytes than this, and so do all that are no bombs
        if info.file_size > 4 * (Image.MAX_IMAGE_PIXELS or 1 << 28):
            raise Unreadable(f"it would take {info.file_size:,} bytes when it is unpacked")
        return Image.open(io.BytesIO(self.archive.read(info)), formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that this build of Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def bombs_refused() -> Iterator[None]:
    """Pillow only warns of images above 89 million pixels: within this, they are refused in all threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of odd metadata; what can't be decoded is an error anyway
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def probe(picture: Picture) -> tuple[int, int, str]:
    """Height, width and Pillow's mode, from the header alone.

    Raises:
        Unreadable: it has none.
    """
    with _explained(picture), picture.opened() as image:
        width, height = image.size
        turned = "exif" in image.info and _orientation(image) >= 5  # a PNG would be decoded to look for more
        return (width, height, image.mode) if turned else (height, width, image.mode)


def decode(picture: Picture, size: tuple[int, int], channels: int) -> tuple[NDArray[np.uint8], list[str]]:
    """The pixels of an image, and what was done to it.

    The greatest centered part that has the shape of `size` is cut out, then brought to that size (each new pixel the
    mean of the old ones under a triangle, as wide as two new pixels).

    Args:
        picture: where it is.
        size: height and width of the result.
        channels: 1 for gray, 3 for red, green and blue.

    Returns:
        (channels, height, width), and facts: "mode X", its mode in Pillow; "resized", "cropped", "turned" (as its
        EXIF says), "pages" (it has several, the first is taken), "transparent" (laid on white), "16 bits" (their
        upper half is kept), "dark" (of 16 bits it uses the lower 12 only).

    Raises:
        Unreadable: it is damaged, no image, or too large.
    """
    facts: list[str] = []
    with _explained(picture), picture.opened() as image:
        facts.append(f"mode {image.mode}")
        if image.format != "MPO" and getattr(image, "is_animated", False):  # a MPO's others are for depth, or small
            facts.append("pages")
        # JPEG can be decoded at a half, a quarter or an eighth of its size: to twice of what is needed
        image.draft(None, (2 * max(size), 2 * max(size)))
        image.load()
        turn = _TURNS.get(_orientation(image))
        if turn is not None:
            facts.append("turned")
        upright = image if turn is None else image.transpose(turn)
        return fitted(_eight_bits(upright, facts), size, channels, facts), facts


def fitted(image: Image.Image, size: tuple[int, int], channels: int, facts: list[str]) -> NDArray[np.uint8]:
    """An image of 8 bits a channel at a size and with as many channels: (channels, height, width)."""
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size[1], size[0]):
        box = _centered(image.size, size)
        facts.append("resized")
        if max(box[:2]) > 0.5:
            facts.append("cropped")
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


@contextlib.contextmanager
def _explained(picture: Picture) -> Iterator[None]:
    """Whatever goes wrong inside, as a reason in words."""
    try:
        yield
    except _BROKEN as error:
        raise Unreadable(_reason(picture, error)) from None


def _reason(picture: Picture, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        return f"it has more than {most} million pixels, as a decompression bomb would; make it smaller"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "permission is denied"
    if isinstance(error, UnidentifiedImageError):
        with contextlib.suppress(OSError):
            if picture.archive is None and not picture.file.stat().st_size:
                return "it is empty"
        return "it is no image of a known format, or its beginning is damaged"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if "truncated" in str(error) or isinstance(error, EOFError):
        return "it is truncated"
    return f"it is damaged ({(str(error) or type(error).__name__).splitlines()[0][:80].rstrip('.')})"


def _orientation(image: Image.Image) -> int:
    """1 for upright to 8; damaged EXIF counts as none."""
    with contextlib.suppress(*_BROKEN):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _eight_bits(image: Image.Image, facts: list[str]) -> Image.Image:
    """Without transparency and with 8 bits a channel."""
    if image.mode.startswith("I"):
        values: NDArray[Any] = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise Unreadable(f"its values go from {values.min():,} to {values.max():,}; save it with 8 or 16 bits")
        facts.append("16 bits")
        if values.max() < 1 << 12:
            facts.append("dark")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise Unreadable("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            facts.append("transparent")
            paper = Image.new("RGBA", layer.size, "white")
            paper.alpha_composite(layer)
            layer = paper
        return layer.convert("RGB")
    return image


def _centered(have: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The greatest centered box of the wanted shape in an image of this width and height: left, top, right, bottom."""
    width, height = have
    scale = min(width / size[1], height / size[0])
    wide, tall = min(scale * size[1], width), min(scale * size[0], height)
    left, top = (width - wide) / 2, (height - tall) / 2
    return left, top, left + wide, top + tall
