"""Where data are kept that were read once: `$CAROUSEL_CACHE`, else the user's cache folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["building_folder", "cache_folder"]


def cache_folder(chosen: str | os.PathLike[str] | None = None) -> Path:
    """The chosen folder, else `$CAROUSEL_CACHE`, else `$XDG_CACHE_HOME/carousel`, else `~/.cache/carousel`.

    Raises:
        RuntimeError: there is no home folder.
    """
    if chosen is not None:
        return Path(chosen).expanduser()
    if own := os.environ.get("CAROUSEL_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "carousel"


@contextlib.contextmanager
def building_folder(parent: Path) -> Iterator[Path]:
    """A folder to build in, beside the final place; gone in the end unless it was renamed to that place.

    Raises:
        OSError: it cannot be made.
    """
    folder = parent / f".building-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
