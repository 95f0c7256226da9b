"""Folders and ZIP archives of images: what is in them, and which folder stands for which class or part."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from .image_files import IMAGE_SUFFIXES, Picture
from .splits import split_of

__all__ = ["Arranged", "Walked", "arrange", "glance", "is_archive", "walk"]

_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass
class Walked:
    """What is in folders and archives.

    Attributes:
        images: the folders on the way to each image, its name, and where it is; sorted.
        refused: links that are not followed, and why.
        others: how many files of each suffix are no images.
        empty: folders in which there is no image.
    """

    images: list[tuple[tuple[str, ...], str, Picture]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)


@dataclass
class Arranged:
    """Classes and parts by the folders.

    Attributes:
        rows: places of the images that lie in a class's folder.
        labels: of these.
        splits: of all images, train, dev or test; None where no folder says so.
        notes: sentences that the user should read.
    """

    rows: list[int]
    labels: list[str]
    splits: list[str | None]
    notes: list[str]


def walk(sources: Sequence[Path]) -> Walked:
    """All images of folders, archives and files.

    Hidden files and folders are left out, and so are links to folders. A link to a file is followed if that is in the
    folder that was given.

    Args:
        sources: with one, the folders on the way begin inside it; with several, with its own name.

    Raises:
        DataError: a folder or an archive cannot be opened.
    """
    found = Walked()
    files = [source for source in sources if not source.is_dir() and not is_archive(source)]
    common = Path(os.path.commonpath([file.absolute().parent for file in files])) if files else Path()
    for source in sources:
        above = (source.resolve().name,) if len(sources) > 1 else ()
        if source.is_dir():
            _walk(source, source.resolve(), above, found)
        elif is_archive(source):
            _walk_archive(source, above, found)
        elif len(files) == len(sources):
            way = source.absolute().parent.relative_to(common).parts
            found.images.append((way, source.name, Picture(source)))
        else:
            found.images.append(((source.absolute().parent.name,), source.name, Picture(source)))
    return found


def is_archive(path: Path) -> bool:
    """Whether it is a ZIP archive."""
    return path.suffix.lower() == ".zip" and path.is_file() and zipfile.is_zipfile(path)


def glance(folder: Path, most: int = 300, each: int = 30) -> Iterator[Path]:
    """Some files of a folder and of those inside it, outer ones first; it opens few folders and reads no long lists."""
    waiting = [folder]
    while waiting and most > 0:
        try:
            with os.scandir(waiting.pop(0)) as entries:
                left = each
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in _IGNORED:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [Path(entry.path)] if len(waiting) < most else []
                    elif left:
                        left, most = left - 1, most - 1
                        yield Path(entry.path)
                    elif len(waiting) >= each:
                        break
        except OSError:
            continue


def arrange(folders: Sequence[tuple[str, ...]]) -> Arranged:
    """Which class and part each image is of, by the folders on the way to it.

    Folders that all images share are passed by. Where all outer folders are called train, dev, test or the like, they
    are the parts. The next folder is the class; folders inside it belong to it.
    """
    notes: list[str] = []
    ways = list(folders)
    while len(ways) and min(map(len, ways)) > 1 and len({way[0] for way in ways}) == 1 and split_of(ways[0][0]) is None:
        ways = [way[1:] for way in ways]
    tops = {way[0] for way in ways if way}
    named = sorted(top for top in tops if split_of(top) is not None)
    splits: list[str | None] = [None] * len(ways)
    if tops and len(named) == len(tops):
        splits = [split_of(way[0]) if way else None for way in ways]
        ways = [way[1:] for way in ways]
    elif named:
        notes.append(
            f'The folder "{named[0]}" is taken for a class, because "{min(tops - set(named))}" beside it is none of '
            "train, dev and test."
        )
    rows = [row for row, way in enumerate(ways) if way]
    loose = len(ways) - len(rows)
    if rows and loose:
        first = next(row for row, way in enumerate(ways) if not way)
        where = f"directly in {splits[first]}" if splits[first] else "outside of them"
        notes.append(
            f"{loose:,} image{' lies' if loose == 1 else 's lie'} in no class's folder but {where}, and "
            f"{'was' if loose == 1 else 'were'} left out."
        )
    deep = next((ways[row] for row in rows if len(ways[row]) > 1), None)
    if deep is not None:
        notes.append(f'Folders inside a class\'s folder, such as "{"/".join(deep)}", belong to that class.')
    labels = [unicodedata.normalize("NFC", ways[row][0]) for row in rows]
    return Arranged(rows, labels, splits, notes)


def _walk(folder: Path, root: Path, above: tuple[str, ...], found: Walked) -> int:
    """Add what is in a folder; returns how many images that are."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f'"{folder}" cannot be opened: {error.strerror or error}.') from None
    count = 0
    for entry in inside:
        if entry.name.startswith(".") or entry.name in _IGNORED:
            continue
        path = Path(entry.path)
        matters = entry.is_symlink() and (path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir())
        reason = _refused(path, root) if matters else None
        if reason is not None:
            found.refused.append((str(path), reason))
        elif entry.is_dir():
            own = _walk(path, root, (*above, entry.name), found)
            found.empty += [] if own else [str(path)]
            count += own
        elif path.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
            found.images.append((above, entry.name, Picture(path)))
            count += 1
        else:
            found.others[path.suffix.lower() or entry.name] += 1
    return count


def _refused(link: Path, root: Path) -> str | None:
    """Why a link is not followed; None if it is."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "it is a symbolic link that leads nowhere"
    if not target.is_relative_to(root):
        return f'it is a symbolic link that leads out of the folder, to "{target}"'
    return "it is a symbolic link to a folder" if target.is_dir() else None


def _walk_archive(path: Path, above: tuple[str, ...], found: Walked) -> None:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f'"{path}" cannot be opened as a ZIP archive: {error}.') from None
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        *way, name = info.filename.split("/")
        if info.is_dir() or any(part.startswith(".") or part in _IGNORED for part in (*way, name)):
            continue
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            found.images.append(((*above, *way), name, Picture(path, archive, info.filename)))
        else:
            found.others[Path(name).suffix.lower() or name] += 1
