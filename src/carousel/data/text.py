"""A corpus of text: found on disk, read in pieces, encoded once and kept in a cache.

Encoded tokens lie in `$CAROUSEL_CACHE`, else `$XDG_CACHE_HOME/carousel`, else `~/.cache/carousel`, in
`tokens/<key>/`; the key is a hash of the content and of every option that changes the tokens. No file is ever held in
memory as a whole: reading, hashing and encoding go piece by piece, and the tokens are a memory map.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carousel.data.bpe import BYTES
from carousel.data.builders import BpeBuilder, ByteBuilder, CharBuilder, WordBuilder
from carousel.data.cache import building_folder, cache_folder
from carousel.data.text_files import (
    STDLIB,
    TEXT_SUFFIXES,
    PathLike,
    TextFiles,
    find_text_files,
    read_pieces,
    standard_encoding,
)
from carousel.data.tokenizers import (
    LEVELS,
    SPLITS,
    Tokenizer,
    tokenizer_from_dict,
)
from carousel.errors import DataError, UsageError

__all__ = ["STDLIB", "TEXT_SUFFIXES", "TextCorpus", "describe", "load_text"]

_FORMAT = 1
_PIECE = 1 << 18

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TextCorpus:
    """Encoded text.

    Attributes:
        name: short name for folders and messages, from the file or folder that was given.
        files: the files, in the order of the tokens.
        tokenizer: how text became ids.
        tokens: the ids, shape `(tokens,)`, a read-only memory map of uint8, uint16 or uint32.
        documents: where each file starts among the tokens, shape `(files,)`, int64; the first is 0.
        characters: number of characters in the text.
        bytes: number of bytes of the text in UTF-8, whatever the encoding of the files.
        distinct: number of distinct symbols in the text, before any are left out of the vocabulary.
        digest: hash of the content of the files, in hexadecimal.
        notes: sentences that the user should read, such as which files were left out.
    """

    name: str
    files: list[Path]
    tokenizer: Tokenizer
    tokens: np.memmap
    documents: NDArray[np.int64]
    characters: int
    bytes: int
    distinct: int
    digest: str
    notes: list[str]


def load_text(
    source: PathLike | Iterable[PathLike],
    *,
    level: str = "char",
    encoding: str = "utf-8",
    vocabulary_size: int | None = None,
    min_count: int = 1,
    split: str = "words",
    count_share: float = 0.9,
    cache_dir: PathLike | None = None,
    progress: Progress | None = None,
) -> TextCorpus:
    r"""Find, read and encode text, or take the tokens from the cache.

    The text is taken as it is (line ends too), except that a byte order mark at the start of a file is dropped.

    Args:
        source: a file, a folder, a pattern such as `"books/*.txt"`, several of these, or `"python-stdlib"`.
            A folder is searched recursively, in sorted order and without hidden files, for the usual suffixes of
            text; where there are none, for every file that is text by its content. Files in a folder that are no
            text are left out with a note, empty ones without. `"python-stdlib"` is the source code of the standard
            library of this interpreter without tests and tables, in an order that mixes the packages (by a hash of
            the relative path), so that the last part of it is a fair dev split.
        level: `"char"`, `"byte"`, `"word"`, or `"bpe"` for byte pairs that are learned from the text.
        encoding: the encoding of the files.
        vocabulary_size: words: how many ids at most, `<unk>` among them. The most frequent words are kept. Byte
            pairs: how many ids, the 256 bytes among them; by default one for every 500 bytes of the text, from 512
            to 8,000 and no more than there are pairs that come twice.
        min_count: words only: rarer words become `<unk>`.
        split: words only: `"words"` separates punctuation, `"spaces"` separates at white space only.
        count_share: words and byte pairs: the share of the text, from the start, that counts for choosing the
            vocabulary. A word that appears only later becomes `<unk>`, so that a dev split at the end does not leak
            into it.
        cache_dir: the folder to use instead of `$CAROUSEL_CACHE`.
        progress: called with the bytes done and the bytes in all while the text is encoded.

    Raises:
        UsageError: nothing is found under this name, or an option is impossible.
        DataError: what is found cannot be read as text, leaves nothing to learn, or is too short for a vocabulary
            of byte pairs.

    Example:
        >>> _ = Path("rose.txt").write_text("a rose is a rose\n")
        >>> corpus = load_text("rose.txt", level="word")
        >>> corpus.tokenizer.decode(corpus.tokens[1:4])
        'rose is a'
        >>> describe(corpus)
        'text: 1 file, 17 characters, 6 words, 4 distinct, vocabulary of 5'
    """
    options = _Options(level, standard_encoding(encoding), vocabulary_size, min_count, split, count_share)
    found = find_text_files([source] if isinstance(source, str | os.PathLike) else list(source))
    survey = _survey(found, options.encoding)
    entry = _entry(survey, options, cache_dir, progress, found.notes)
    facts = {name: entry.meta[name] for name in ("characters", "bytes", "distinct", "digest")}
    return TextCorpus(
        found.name, survey.files, entry.tokenizer, entry.tokens, entry.documents, notes=found.notes, **facts
    )


def describe(corpus: TextCorpus) -> str:
    """The corpus in one line, such as `text: 1 file, 1,115,394 characters, 65 distinct`."""
    parts = [_plural(len(corpus.files), "file"), _plural(corpus.characters, "character")]
    if corpus.tokenizer.level != "char":
        parts.append(_plural(len(corpus.tokens), corpus.tokenizer.unit))
    parts.append(f"{corpus.distinct:,} distinct")
    if corpus.tokenizer.level in ("word", "bpe"):
        parts.append(f"vocabulary of {corpus.tokenizer.size:,}")
    return f"text: {', '.join(parts)}"


@dataclass(frozen=True)
class _Options:
    """All that changes the tokens besides the content."""

    level: str
    encoding: str
    vocabulary_size: int | None
    min_count: int
    split: str
    count_share: float

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UsageError(f'There is no level "{self.level}"; use {" or ".join(LEVELS)}.')
        if self.split not in SPLITS:
            raise UsageError(f'Words cannot be split by "{self.split}"; use {" or ".join(SPLITS)}.')
        if self.level != "word" and (self.min_count, self.split) != (1, "words"):
            raise UsageError(
                f'The options min_count and split are about words, but the level is "{self.level}": leave them out, '
                'or use level "word".'
            )
        if self.level not in ("word", "bpe") and (self.vocabulary_size, self.count_share) != (None, 0.9):
            raise UsageError(
                "The options vocabulary_size and count_share are about words and byte pairs, but the level is "
                f'"{self.level}": leave them out, or use level "word" or "bpe".'
            )
        least, why = (BYTES + 1, "256 bytes and one pair") if self.level == "bpe" else (2, "<unk> and one word")
        if self.vocabulary_size is not None and self.vocabulary_size < least:
            raise UsageError(f"The vocabulary_size is {self.vocabulary_size}, but must be at least {least}: {why}.")
        if self.min_count < 1:
            raise UsageError(f"The min_count is {self.min_count}, but must be at least 1.")
        if not 0 < self.count_share <= 1:
            raise UsageError(f"The count_share is {self.count_share}, but must be above 0 and at most 1.")


@dataclass(frozen=True)
class _Survey:
    """The files that are text, their size in bytes, and the key of their tokens."""

    files: list[Path]
    size: int
    digest: str


def _survey(found: TextFiles, encoding: str) -> _Survey:
    """Read all files once; what is no text or empty is left out where that is possible."""
    files: list[Path] = []
    refused: list[str] = []
    size, content = 0, _blake()
    for path, in_folder in found.files.items():
        own, own_size, characters = _blake(), 0, 0
        try:
            for raw, text in read_pieces(path, encoding):
                own.update(raw)
                own_size += len(raw)
                characters += len(text)
        except DataError as error:
            if not in_folder:
                raise
            refused.append(str(error))
            continue
        if characters:
            files.append(path)
            size += own_size
            content.update(own.digest())
        elif not in_folder:
            found.notes.append(f'"{path}" is empty and was left out.')
    if not files and refused:
        raise DataError(f'No file of "{found.name}" can be read as text. The first: {refused[0]}')
    if not files:
        raise DataError(f'"{next(iter(found.files))}" is empty: there is nothing to learn. Give a file with text.')
    found.notes += [f"Left out: {reason}" for reason in refused[:5]]
    if len(refused) > 5:
        found.notes.append(f"Left out: {_plural(len(refused) - 5, 'more file')} for such reasons.")
    return _Survey(files, size, content.hexdigest())


@dataclass(frozen=True)
class _Entry:
    """A folder of encoded text: tokens.bin, documents.npy, meta.json."""

    meta: dict[str, Any]
    tokenizer: Tokenizer
    tokens: np.memmap
    documents: NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path) -> _Entry | None:
        """The entry in this folder, or None where there is none or it is damaged."""
        try:
            meta = json.loads((folder / "meta.json").read_text("utf-8"))
            tokens = np.memmap(folder / "tokens.bin", np.dtype(meta["dtype"]), mode="r")
            documents = np.load(folder / "documents.npy")
            whole = meta["format"] == _FORMAT and (len(tokens), len(documents)) == (meta["tokens"], meta["documents"])
            return cls(meta, tokenizer_from_dict(meta["tokenizer"]), tokens, documents) if whole else None
        except (OSError, EOFError, ValueError, KeyError, TypeError, DataError):
            return None


def _entry(
    survey: _Survey, options: _Options, cache_dir: PathLike | None, progress: Progress | None, notes: list[str]
) -> _Entry:
    """From the cache, or encoded into it, or encoded into a temporary folder where the cache fails."""
    cache = "in the home folder"
    try:
        cache = cache_folder(cache_dir) / "tokens"
        return _Entry.open(cache / _key(survey.digest, options)) or _encode_into(cache, survey, options, progress)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
    notes.append(
        f"The cache {cache} cannot be written ({reason}), so the text is encoded anew in every run. "
        "Set CAROUSEL_CACHE to a folder with space."
    )
    try:
        folder = Path(tempfile.mkdtemp(prefix="carousel-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return _encode_into(folder, survey, options, progress)
    except OSError as error:
        raise DataError(
            f"There is no place for the encoded text, neither in the cache {cache} ({reason}) nor in "
            f"{tempfile.gettempdir()} ({error.strerror or error}). Set CAROUSEL_CACHE to a folder with space."
        ) from None


def _encode_into(cache: Path, survey: _Survey, options: _Options, progress: Progress | None) -> _Entry:
    """Encode into a folder beside the final place, then move it there."""
    with building_folder(cache) as building:
        target = cache / _key(_encode(survey, options, building, progress), options)
        with contextlib.suppress(OSError):
            building.rename(target)
        entry = _Entry.open(target)
        if entry is None:
            # What stands there is damaged. Others may repair it right now: the content is equal, so all may win.
            for name in ("tokens.bin", "documents.npy", "meta.json"):
                (building / name).replace(target / name)
            entry = _Entry.open(target)
        if entry is None:
            raise OSError(f"{target} cannot be read back")
        return entry


def _encode(survey: _Survey, options: _Options, folder: Path, progress: Progress | None) -> str:
    """Encode the files into a folder in one pass; returns the digest of what was read."""
    builder = _builder(survey, options)
    characters = size = done = 0
    documents: list[int] = []
    content = _blake()
    with _TokenFile(folder / "tokens.bin") as tokens:
        for path in survey.files:
            own = _blake()
            documents.append(tokens.length)
            for raw, text in read_pieces(path, options.encoding):
                own.update(raw)
                tokens.append(builder.feed(text, final=not raw), builder.size)
                characters += len(text)
                size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
                done += len(raw)
                if progress is not None:
                    progress(done, max(done, survey.size))
            content.update(own.digest())
        if builder.distinct < 2:
            raise DataError(_nothing_to_learn(builder.distinct, options.level))
        if isinstance(builder, WordBuilder):
            counts = tokens.counts(math.ceil(tokens.length * options.count_share), builder.size)
            tokenizer, table = builder.choose(counts, options.vocabulary_size, options.min_count)
            if tokenizer.size < 2:
                raise DataError(f"No word comes {options.min_count} times or more: choose a smaller min_count.")
            tokens.rewrite(_narrowest(tokenizer.size), table)
        else:
            tokenizer = builder.tokenizer()
    np.save(folder / "documents.npy", np.array(documents, np.int64))
    meta = {
        "format": _FORMAT,
        "digest": content.hexdigest(),
        "dtype": tokens.dtype.name,
        "tokens": tokens.length,
        "documents": len(documents),
        "characters": characters,
        "bytes": size,
        "distinct": builder.distinct,
        "tokenizer": tokenizer.to_dict(),
    }
    (folder / "meta.json").write_text(json.dumps(meta), "utf-8")
    return meta["digest"]


def _builder(survey: _Survey, options: _Options) -> CharBuilder | ByteBuilder | WordBuilder | BpeBuilder:
    """What gives out ids; for byte pairs the beginning of the text is read to learn them."""
    match options.level:
        case "char":
            return CharBuilder()
        case "byte":
            return ByteBuilder()
        case "word":
            return WordBuilder(options.split)
    wanted = options.vocabulary_size
    builder = BpeBuilder.learn(
        _beginning(survey, options), min(max(survey.size // 500, 512), 8000) if wanted is None else wanted
    )
    if wanted is not None and builder.size < wanted:
        raise DataError(
            f"The text is too short for a vocabulary of {wanted:,} byte pairs: after {builder.size:,} no pair comes "
            f"twice. Give --vocabulary-size {builder.size} or less, or leave it out."
        )
    return builder


def _beginning(survey: _Survey, options: _Options) -> Iterator[Iterator[str]]:
    """The documents in pieces, up to the share of the text that counts for the vocabulary."""
    left = math.ceil(survey.size * options.count_share)

    def pieces(path: Path) -> Iterator[str]:
        nonlocal left
        for raw, text in read_pieces(path, options.encoding):
            share = min(max(left, 0) / max(len(raw), 1), 1.0)
            yield text[: math.ceil(share * len(text))]
            left -= len(raw)

    for path in survey.files:
        if left > 0:
            yield pieces(path)


def _nothing_to_learn(distinct: int, level: str) -> str:
    unit = LEVELS[level].unit
    if distinct == 0:
        return f"The text is empty: there is no {unit} in it, so there is nothing to learn."
    return f"The text is one {unit}, again and again: there is nothing to learn. Give text with at least two."


class _TokenFile:
    """Ids appended to a file, in the narrowest unsigned type that holds them."""

    def __init__(self, path: Path) -> None:
        self.dtype = np.dtype(np.uint8)
        self.length = 0
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> _TokenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, ids: NDArray[Any], size: int) -> None:
        """Append ids below `size`."""
        if _narrowest(size).itemsize > self.dtype.itemsize:
            self.rewrite(_narrowest(size))
        self._file.write(ids.astype(self.dtype, copy=False).data)
        self.length += len(ids)

    def rewrite(self, dtype: np.dtype, table: NDArray[Any] | None = None) -> None:
        """Change the type of the file and, with a table, its ids."""
        self._file.close()
        old = self._path.rename(self._path.with_suffix(".old"))
        self._file = self._path.open("wb")
        for ids in self._pieces(old):
            self._file.write((ids if table is None else table[ids]).astype(dtype).data)
        old.unlink()
        self.dtype = dtype

    def counts(self, first: int, size: int) -> NDArray[np.int64]:
        """How often each id below `size` comes among the `first` tokens."""
        self._file.flush()
        counts = np.zeros(size, np.int64)
        for ids in self._pieces(self._path):
            counts += np.bincount(ids[:first], minlength=size)
            first = max(first - len(ids), 0)
        return counts

    def _pieces(self, path: Path) -> Iterator[NDArray[Any]]:
        with path.open("rb") as file:
            while len(ids := np.fromfile(file, self.dtype, _PIECE)):
                yield ids


def _narrowest(size: int) -> np.dtype:
    return np.min_scalar_type(max(size - 1, 0))


def _key(digest: str, options: _Options) -> str:
    return _blake(json.dumps([_FORMAT, digest, dataclasses.asdict(options)]).encode()).hexdigest()


def _blake(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=16)


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
