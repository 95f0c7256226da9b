"""The pixels of many images: in memory where they are few, otherwise in a cache on disk.

Decoded pixels lie in `images/<key>/` of the cache folder (see cache.py); the key is a hash of the content of the files
and of all that changes the pixels. They are written image by image, so that memory never holds more than a few blocks,
and read through a memory map.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .cache import building_folder, cache_folder
from .image_files import Picture, Unreadable, decode

__all__ = ["Block", "Kept", "Pixels", "Progress", "decode_all", "in_threads", "keep"]

Progress = Callable[[int, int], None]
"""Called with the images done and the images in all."""

_FORMAT = 1
_BLOCK = 64
_IN_MEMORY = 256 << 20
"""Bytes of pixels above which they go to the disk."""
_QUICK = 32 << 20
"""Bytes of files that are decoded anew in each run rather than kept."""
_FILES = ("pixels.bin", "digests.npy", "meta.json")


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of one shape, read by their numbers.

    Attributes:
        array: (images, channels, height, width), uint8; in memory, or a read-only memory map.

    Example:
        >>> pixels = Pixels(np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4))
        >>> len(pixels), pixels.shape, pixels.read([1, 0]).shape
        (2, (1, 3, 4), (2, 1, 3, 4))
    """

    array: NDArray[np.uint8]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.array.shape[1:]
        return channels, height, width

    def read(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images of these numbers, copied: (rows, channels, height, width)."""
        return np.asarray(self.array[np.asarray(rows, np.int64)])


@dataclass(frozen=True, eq=False)
class Block:
    """Images one after the other.

    Attributes:
        pixels: (k, channels, height, width), uint8, those that could be read.
        facts: of each of these, see `image_files.decode`.
        failed: place among all images and the reason, of those that could not be read.
        count: of images, these and those.
    """

    pixels: NDArray[np.uint8]
    facts: list[list[str]]
    failed: list[tuple[int, str]]
    count: int


@dataclass(eq=False)
class Kept:
    """What came of decoding.

    Attributes:
        pixels: the images that could be read, in their order.
        digests: (images, 16) uint8, a hash of the pixels of each.
        facts: for each fact how many images it is true of, and the place of the first one among all.
        failed: place among all images and the reason, of those that could not be read.
        notes: sentences that the user should read.
    """

    pixels: Pixels
    digests: NDArray[np.uint8]
    facts: dict[str, tuple[int, int]]
    failed: dict[int, str]
    notes: list[str] = field(default_factory=list)


def workers() -> int:
    """Threads that decode: one for each core that this process may use, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def decode_all(pictures: Sequence[Picture], size: tuple[int, int], channels: int) -> Iterator[Block]:
    """The images, decoded in threads, in blocks and in order; to be used within `bombs_refused`."""

    def block(begin: int) -> Block:
        some = pictures[begin : begin + _BLOCK]
        pixels = np.empty((len(some), channels, *size), np.uint8)
        facts: list[list[str]] = []
        failed: list[tuple[int, str]] = []
        for place, picture in enumerate(some, begin):
            try:
                pixels[len(facts)], own = decode(picture, size, channels)
                facts.append(own)
            except Unreadable as reason:
                failed.append((place, str(reason)))
        return Block(pixels[: len(facts)], facts, failed, len(some))

    return in_threads(block, range(0, len(pictures), _BLOCK))


def in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """The results of `work` on each item, in order; only as many are under way as keep the threads busy."""
    with ThreadPoolExecutor(workers()) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def keep(
    blocks: Callable[[], Iterable[Block]],
    count: int,
    shape: tuple[int, int, int],
    key: Sequence[Any],
    *,
    effort: int,
    progress: Progress | None = None,
) -> Kept:
    """Decode into memory, or into the cache and open it, or take from the cache what was decoded before.

    Args:
        blocks: what decodes, from the start whenever it is called.
        count: images in all.
        shape: channels, height, width.
        key: all that the pixels depend on, fit for JSON.
        effort: bytes of compressed files; many are worth a place in the cache even if their pixels are few.
        progress: see `Progress`.

    Raises:
        DataError: there is no place for the pixels.
    """
    if effort <= _QUICK and count * int(np.prod(shape)) <= _IN_MEMORY:
        return _in_memory(_watched(blocks(), count, progress), count, shape)
    name = hashlib.blake2b(json.dumps([_FORMAT, *key]).encode(), digest_size=16).hexdigest()
    cache = "in the home folder"
    try:
        cache = cache_folder() / "images"
        return _open(cache / name) or _decode_into(cache, name, _watched(blocks(), count, progress), shape)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
    try:
        folder = Path(tempfile.mkdtemp(prefix="carousel-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        kept = _decode_into(folder, name, _watched(blocks(), count, progress), shape)
    except OSError as error:
        raise DataError(
            f"There is no place for the decoded images, neither in the cache {cache} ({reason}) nor in "
            f"{tempfile.gettempdir()} ({error.strerror or error}). Set CAROUSEL_CACHE to a folder with space, or ask "
            "for a smaller size."
        ) from None
    kept.notes.append(
        f"The cache {cache} cannot be written ({reason}), so the images are decoded anew in every run. Set "
        "CAROUSEL_CACHE to a folder with space."
    )
    return kept


def _map(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if not path.stat().st_size:  # an empty file can't be mapped
        return np.empty((0, *shape), np.uint8)
    return np.memmap(path, np.uint8, mode="r").reshape(-1, *shape)


def _watched(blocks: Iterable[Block], count: int, progress: Progress | None) -> Iterator[Block]:
    done = 0
    for block in blocks:
        yield block
        done += block.count
        if progress is not None:
            progress(done, count)


def _in_memory(blocks: Iterable[Block], count: int, shape: tuple[int, int, int]) -> Kept:
    pixels = np.empty((count, *shape), np.uint8)
    length = 0

    def append(some: NDArray[np.uint8]) -> None:
        nonlocal length
        pixels[length : length + len(some)] = some
        length += len(some)

    found = _gathered(blocks, append)
    return Kept(Pixels(pixels[:length]), *found)


def _gathered(
    blocks: Iterable[Block], append: Callable[[NDArray[np.uint8]], object]
) -> tuple[NDArray[np.uint8], dict[str, tuple[int, int]], dict[int, str]]:
    """Hand on the pixels of all blocks; digests, facts and failures as in `Kept`."""
    digests: list[bytes] = []
    failed: dict[int, str] = {}
    counts: Counter[str] = Counter()
    firsts: dict[str, int] = {}
    begin = 0
    for block in blocks:
        append(block.pixels)
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block.pixels]
        failed |= block.failed
        readable = (number for number in range(begin, begin + block.count) if number not in failed)
        for number, facts in zip(readable, block.facts, strict=True):
            counts.update(facts)
            for fact in facts:
                firsts.setdefault(fact, number)
        begin += block.count
    table = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
    return table, {fact: (counts[fact], firsts[fact]) for fact in counts}, failed


def _decode_into(cache: Path, name: str, blocks: Iterable[Block], shape: tuple[int, int, int]) -> Kept:
    """Decode into a folder beside the final place, then move it there."""
    with building_folder(cache) as building:
        with (building / "pixels.bin").open("wb") as file:
            digests, facts, failed = _gathered(blocks, lambda some: file.write(np.ascontiguousarray(some).data))
        np.save(building / "digests.npy", digests)
        meta = {
            "format": _FORMAT,
            "images": len(digests),
            "shape": shape,
            "facts": facts,
            "failed": list(failed.items()),
        }
        (building / "meta.json").write_text(json.dumps(meta), "utf-8")
        target = cache / name
        with contextlib.suppress(OSError):
            building.rename(target)
        found = _open(target)
        if found is None:  # what stands there is damaged; whoever mends it writes the same
            for part in _FILES:
                (building / part).replace(target / part)
            found = _open(target)
        if found is None:
            raise OSError(f"{target} cannot be read back")
        return found


def _open(folder: Path) -> Kept | None:
    """What was kept in this folder; None where there is nothing, or it is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        array = _map(folder / "pixels.bin", tuple(meta["shape"]))
        digests = np.load(folder / "digests.npy")
        facts = {fact: (count, first) for fact, (count, first) in meta["facts"].items()}
        whole = meta["format"] == _FORMAT and len(array) == len(digests) == meta["images"]
        return Kept(Pixels(array), digests, facts, dict(map(tuple, meta["failed"]))) if whole else None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
