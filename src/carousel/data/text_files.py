"""Finding the text files that a name stands for, and reading them piece by piece."""

from __future__ import annotations

import codecs
import contextlib
import difflib
import errno
import glob
import hashlib
import os
import re
import stat
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from encodings.aliases import aliases
from pathlib import Path

from carousel.errors import DataError, UsageError

__all__ = [
    "STDLIB",
    "TEXT_SUFFIXES",
    "PathLike",
    "TextFiles",
    "common_name",
    "digest_of",
    "find_files",
    "find_text_files",
    "head_of",
    "read_pieces",
    "read_whole",
    "standard_encoding",
]

STDLIB = "python-stdlib"
TEXT_SUFFIXES = frozenset(
    f".{suffix}"
    for group in (
        "txt text md markdown rst org tex bib adoc log csv tsv json jsonl xml html htm yaml yml toml ini cfg srt vtt",
        "py pyi c h cc cpp hpp cu java kt scala js jsx ts tsx css go rs rb php pl lua swift cs hs ml jl r m sql sh el",
        "lisp clj f90 abc ly",
    )
    for suffix in group.split()
)

_PIECE = 1 << 18
_HEAD = 8192
_CONTROL = bytes({*range(32), 127} - set(b"\b\t\n\v\f\r\x0e\x0f\x1b"))
_MAGIC = {b"%PDF-": "a PDF", b"PK\3\4": "a ZIP archive or an office document", b"\x1f\x8b": "compressed by gzip"}
_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark starts like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_STDLIB = frozenset(
    {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip", "lib-dynload", "__pycache__"}
    | {"site-packages", "dist-packages", "encodings", "pydoc_data", "entities.py"}  # the last three are tables of data
)

PathLike = str | os.PathLike[str]


@dataclass
class TextFiles:
    """The files that the user's sources stand for.

    Attributes:
        name: short name of them all, safe as the name of a folder.
        files: each file, in order, and whether it was found in a folder, so that it may be left out.
        notes: sentences that the user should read.
    """

    name: str = "text"
    files: dict[Path, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_text_files(sources: Sequence[PathLike]) -> TextFiles:
    """The text files of files, folders, patterns and `"python-stdlib"`, each file once; they are not read.

    Raises:
        UsageError: there is nothing of a name, or a folder has no text in it.
        DataError: it is there, but cannot be opened.
    """
    if not sources:
        raise UsageError("The list of text files is empty: give at least one file or folder.")
    found = TextFiles()
    seen: set[Path] = set()
    for source in sources:
        files, in_folder = _files_of(source, found.notes)
        for file in files:
            real = file.resolve()
            if real not in seen:
                seen.add(real)
                found.files[file] = in_folder
            elif not in_folder:
                found.notes.append(f'"{file}" was given twice and is used once.')
    found.name = _name(sources, found.files)
    return found


def find_files(sources: Sequence[PathLike]) -> list[tuple[Path, Path | None]]:
    """Every file of files, folders and patterns, whatever is in it, each once, with the folder in which it was found.

    Raises:
        UsageError: there is nothing of a name.
        DataError: it is there, but cannot be opened.
    """
    found: dict[Path, Path | None] = {}
    for source in sources:
        path = _path(source)
        mode = _mode(path) if str(source) else None
        if mode is not None and stat.S_ISDIR(mode):
            found |= dict.fromkeys(_walk(path, []), path)
        elif mode is not None:
            found[path] = None
        elif glob.has_magic(str(path)):
            found |= dict.fromkeys(_matches(str(path)))
        else:
            raise UsageError(_missing(str(source)))
    return list(found.items())


def common_name(sources: Sequence[PathLike], files: Sequence[Path]) -> str:
    """A short name for them all: that of the only folder or file; of several files, what their names begin with."""
    only = _path(sources[0]).resolve() if len(sources) == 1 else None
    if only is not None and only.is_dir():
        name = only.name
    else:
        name = _beginning([file.stem for file in files])
        name = name.strip("-_. ") or f"{files[0].stem}+{len(files) - 1}"
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "data"


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with."""
    low, high = min(names), max(names)
    same = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:same]


def read_whole(path: Path, encoding: str) -> str:
    """The text of a file.

    Raises:
        DataError: the file cannot be opened, is binary, or is not valid in this encoding.
    """
    return "".join(text for _, text in read_pieces(path, standard_encoding(encoding)))


def head_of(path: Path, size: int = 1 << 16) -> str | None:
    """The beginning of a file as text, whatever its encoding, up to a line's end; None where it is no text."""
    try:
        with path.open("rb") as file:
            raw = file.read(size)
        _check_head(path, raw, "")
    except (OSError, DataError):
        return None
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    return text if len(raw) < size else text[: text.rfind("\n") + 1]


def digest_of(files: Sequence[Path]) -> str:
    """Hash of the content of files, in their order."""
    content = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return content.hexdigest()


def _files_of(source: PathLike, notes: list[str]) -> tuple[list[Path], bool]:
    """The files of one source, and whether they were found in a folder."""
    path = _path(source)
    mode = _mode(path) if str(source) else None
    if mode is None and str(source) == STDLIB:
        return _standard_library(), True
    if mode is None and glob.has_magic(str(path)):
        return _matches(str(path)), False
    if mode is None:
        raise UsageError(_missing(str(source)))
    if stat.S_ISDIR(mode):
        return _inside(path, notes), True
    if not stat.S_ISREG(mode):
        raise DataError(f'"{path}" is a pipe or a device, which can be read only once. Save the text to a file.')
    return [path], False


def _path(source: PathLike) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~name of no user
        return Path(source)


def _mode(path: Path) -> int | None:
    """The file mode, or None where there is nothing, be it that the name is too long for a path."""
    try:
        return path.stat().st_mode
    except PermissionError:
        raise DataError(_denied(path)) from None
    except ValueError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOENT and path.is_symlink()):
            raise DataError(f'"{path}" is a symbolic link that leads nowhere. Give the text file itself.') from None
        return None


def _matches(pattern: str) -> list[Path]:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 (absolute too)
    files = [match for match in matches if _is_regular(match)]
    if not files:
        what = (
            "only folders. Give a folder itself to read the text in it"
            if matches
            else "no file. Check how it is spelled"
        )
        raise UsageError(f'The pattern "{pattern}" matches {what}.')
    return files


def _inside(folder: Path, notes: list[str]) -> list[Path]:
    files = _walk(folder, notes)
    texts = [file for file in files if file.suffix.lower() in TEXT_SUFFIXES]
    texts = texts or [file for file in files if _looks_like_text(file)]
    if not texts:
        raise UsageError(
            f'The folder "{folder}" has no text in it. Looked for files that end in {" ".join(sorted(TEXT_SUFFIXES))}, '
            "then for any file that is text by its content."
        )
    return texts


def _walk(folder: Path, notes: list[str], skip: frozenset[str] = frozenset()) -> list[Path]:
    """The regular files in a folder, hidden and skipped names left out, each folder once even if links form a loop."""

    def is_new(path: Path) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        known = (status.st_dev, status.st_ino) in visited
        visited.add((status.st_dev, status.st_ino))
        return not known

    def denied(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise DataError(_denied(folder))
        notes.append(f"Left out: {_denied(Path(error.filename))}")

    def is_wanted(name: str) -> bool:
        return name[0] != "." and name not in skip

    visited: set[tuple[int, int]] = set()
    is_new(folder)
    files: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=denied):
        folders[:] = [name for name in sorted(folders) if is_wanted(name) and is_new(Path(root, name))]
        files += [Path(root, name) for name in names if is_wanted(name) and _is_regular(Path(root, name))]
    return sorted(files)


def _is_regular(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _standard_library() -> list[Path]:
    """The modules of the standard library, ordered by a hash so that packages mix and the last part is a fair split."""
    root = Path(sysconfig.get_path("stdlib"))
    files = [
        file for file in _walk(root, [], _NOT_STDLIB) if file.suffix == ".py" and "_sysconfigdata" not in file.name
    ]
    if not files:
        raise UsageError(f"This Python comes without the source code of its library (looked in {root}). Give a file.")
    return sorted(files, key=lambda file: hashlib.blake2b(file.relative_to(root).as_posix().encode()).digest())


def _missing(source: str) -> str:
    shown = source if len(source) <= 100 else f"{source[:100]}…"
    folder, name = _path(source).parent, Path(source).name
    names = {STDLIB: STDLIB}
    with contextlib.suppress(OSError, ValueError):
        names |= {entry.name.lower(): str(folder / entry.name) for entry in folder.iterdir()}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    usual = f'Give a file, several, a folder, a pattern such as "books/*.txt", or {STDLIB}, Python\'s own source.'
    return f'There is no file or folder "{shown}". ' + (f'Did you mean "{names[near[0]]}"?' if near else usual)


def _denied(path: Path) -> str:
    return f'"{path}" cannot be opened: permission denied.'


def _name(sources: Sequence[PathLike], files: dict[Path, bool]) -> str:
    """The stem of the only file or folder; of several files, that of the first and how many more."""
    first = next(iter(files))
    if len(sources) == 1 and files[first]:
        name = STDLIB if str(sources[0]) == STDLIB else _path(sources[0]).resolve().name
    else:
        name = first.stem if len(files) == 1 else f"{first.stem}+{len(files) - 1}"
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "text"


def standard_encoding(encoding: str) -> str:
    """The standard name of a text encoding.

    Raises:
        UsageError: there is no such encoding.
    """
    try:
        "a".encode(encoding)  # also refuses codecs that are not about text, such as hex
        codecs.getincrementaldecoder(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        near = difflib.get_close_matches(encoding.lower().replace("-", "_"), [*aliases, *aliases.values()], n=1)
        hint = f"Did you mean {aliases.get(near[0], near[0]).replace('_', '-')}?" if near else "Try utf-8 or latin-1."
        raise UsageError(f'There is no text encoding "{encoding}". {hint}') from None


def read_pieces(path: Path, encoding: str) -> Iterator[tuple[bytes, str]]:
    """Pieces of a file, raw and decoded; the last is empty or holds what the decoder kept back.

    A character on the border of two pieces comes with the second. A byte order mark at the start is dropped.

    Raises:
        DataError: the file cannot be opened, is binary, or is not valid in this encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    position, started, raw = 0, False, b"-"
    try:
        with path.open("rb") as file:
            while raw:
                raw = file.read(_PIECE)
                if position == 0:
                    _check_head(path, raw, encoding)
                position += len(raw)
                try:
                    text = decoder.decode(raw, final=not raw)
                except UnicodeError as error:
                    raise DataError(_undecodable(path, encoding, position, error)) from None
                if text and not started:
                    text, started = text.removeprefix("\ufeff"), True
                yield raw, text
    except PermissionError:
        raise DataError(_denied(path)) from None
    except OSError as error:
        raise DataError(f'"{path}" cannot be read: {error.strerror or error}.') from None


def _check_head(path: Path, head: bytes, encoding: str) -> None:
    """Refuse what is not text, judged by the first 8 KiB."""
    if encoding.startswith(("utf-16", "utf-32")):
        return
    head = head[:_HEAD]
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            raise DataError(f'"{path}" starts with the byte order mark of {name}: use --encoding {name}.')
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind or b"\0" in head or len(head) - len(head.translate(None, _CONTROL)) > 0.05 * len(head):
        raise DataError(f'"{path}" is not text but {kind or "binary data"}. Give its text as a plain text file.')


def _looks_like_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            _check_head(path, file.read(_HEAD), "")
    except (OSError, DataError):
        return False
    return True


def _undecodable(path: Path, encoding: str, position: int, error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return f'"{path}" cannot be read as {encoding} ({error}). Name its encoding, e.g. --encoding utf-16-le.'
    # The decoder's input is what it held back and the new piece, so it always ends at `position`.
    offset = position - len(error.object) + error.start
    other = "latin-1" if encoding.startswith("utf-8") else "utf-8"
    return (
        f'"{path}" is not valid {encoding}: byte 0x{error.object[error.start]:02X} at offset {offset} '
        f"(counted from 0) cannot be decoded. Name its encoding, e.g. --encoding {other}."
    )
