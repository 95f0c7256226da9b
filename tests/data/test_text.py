"""Text corpora: what the tokens are, what the cache promises, and that memory stays bounded."""

from __future__ import annotations

import doctest
import errno
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carousel.data import text as text_module
from carousel.data import text_files
from carousel.data.text import describe, load_text
from carousel.data.tokenizers import SPLITS, UNKNOWN, BpeTokenizer, CharTokenizer, WordTokenizer
from carousel.errors import DataError, UsageError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the files in {SHARED}")


def text_of(corpus) -> str:
    return corpus.tokenizer.decode(corpus.tokens)


def words_of(corpus) -> tuple[str, ...]:
    assert isinstance(corpus.tokenizer, WordTokenizer)
    return corpus.tokenizer.words


def message(error: type[Exception], *args, **options) -> str:
    with pytest.raises(error) as caught:
        load_text(*args, **options)
    sentence = str(caught.value)
    assert type(caught.value) is error
    assert re.match(r'["A-Z].*[.?]$', sentence, re.DOTALL)
    return sentence


def forbid_encoding(monkeypatch):
    def fail(*_):
        raise AssertionError("the text was encoded again")

    monkeypatch.setattr(text_module, "_encode", fail)


class TestContent:
    def test_characters(self, write):
        corpus = load_text(write("rose.txt", "a rosé\r\nis a rosé\n"))
        assert text_of(corpus) == "a rosé\r\nis a rosé\n"
        assert corpus.tokenizer == CharTokenizer("a rosé\r\ni")
        assert corpus.tokens.dtype == np.uint8
        assert isinstance(corpus.tokens, np.memmap)
        assert (corpus.name, corpus.characters, corpus.bytes, corpus.distinct) == ("rose", 18, 20, 9)
        assert corpus.documents.tolist() == [0]
        assert corpus.documents.dtype == np.int64
        assert corpus.notes == []
        with pytest.raises(ValueError, match="read-only"):
            corpus.tokens[0] = 1

    def test_bytes(self, write):
        corpus = load_text(write("a.txt", "né"), level="byte")
        assert corpus.tokens.tolist() == list("né".encode())
        assert (corpus.characters, corpus.bytes, corpus.distinct) == (2, 3, 3)

    def test_several_files_are_several_documents(self, write):
        files = [write("b.txt", "abc"), write("a.txt", "\ufeffde"), write("c.txt", "\ufefff")]
        corpus = load_text(files)
        assert text_of(corpus) == "abcdef"
        assert corpus.files == files
        assert corpus.documents.tolist() == [0, 3, 5]
        assert corpus.name == "b+2"

    def test_a_word_ends_with_its_file(self, write):
        corpus = load_text([write("a.txt", "one tw"), write("b.txt", "o three")], level="word", count_share=1.0)
        assert corpus.documents.tolist() == [0, 2]
        assert [words_of(corpus)[i] for i in corpus.tokens] == ["one", "tw", "o", "three"]

    @pytest.mark.parametrize(
        ("encoding", "stored"),
        [("latin-1", "latin-1"), ("utf-16", "utf-16"), ("UTF_16_LE", "utf-16-le"), ("utf8", "utf-8-sig")],
    )
    def test_other_encodings(self, write, encoding, stored):
        corpus = load_text(write("a.txt", "é\n".encode(stored)), encoding=encoding)
        assert text_of(corpus) == "é\n"
        assert corpus.bytes == 3

    @pytest.mark.parametrize("piece", [1, 2, 3, 5, 7])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "shift_jis"])
    def test_borders_of_pieces_are_not_seen(self, write, monkeypatch, piece, encoding):
        monkeypatch.setattr(text_files, "_PIECE", piece)
        monkeypatch.setattr(text_module, "_PIECE", piece)
        text = "日本語 is don't\r\n" + ("ｱ日" if encoding == "shift_jis" else "é𝄞𝄞") + " end"
        path = write("a.txt", text.encode(encoding))
        assert text_of(load_text(path, encoding=encoding)) == text
        assert text_of(load_text(path, encoding=encoding, level="byte")) == text
        words = load_text(path, encoding=encoding, level="word", count_share=1.0)
        assert words.tokens.tolist() == words.tokenizer.encode(text).tolist()
        assert words.distinct == words.tokenizer.size - 1 == len(set(SPLITS["words"].findall(text)))

    def test_a_byte_order_mark_is_dropped_only_at_the_start(self, write, monkeypatch):
        monkeypatch.setattr(text_files, "_PIECE", 3)
        assert text_of(load_text(write("a.txt", "\ufeffabc\ufeff\ufeff"))) == "abc\ufeff\ufeff"

    @pytest.mark.parametrize(("distinct", "dtype"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16)])
    def test_tokens_are_as_narrow_as_possible(self, write, monkeypatch, distinct, dtype):
        monkeypatch.setattr(text_files, "_PIECE", 1000)
        monkeypatch.setattr(text_module, "_PIECE", 100)
        text = "".join(map(chr, range(0x10000, 0x10000 + distinct))) + "\U00010000"
        corpus = load_text(write("a.txt", text))
        assert corpus.tokens.dtype == dtype
        assert corpus.tokens.tolist() == [*range(distinct), 0]

    def test_more_than_65536_characters(self, write):
        text = "".join(map(chr, range(0x10000, 0x10000 + 65537)))
        corpus = load_text(write("a.txt", text))
        assert corpus.tokens.dtype == np.uint32
        assert text_of(corpus) == text

    def test_progress_ends_at_the_size(self, write, monkeypatch):
        monkeypatch.setattr(text_files, "_PIECE", 4)
        seen = []
        load_text([write("a.txt", "abcdef"), write("b.txt", "ghi")], progress=lambda *now: seen.append(now))
        assert seen == [(4, 9), (6, 9), (6, 9), (9, 9), (9, 9)]

    def test_example_in_docstring(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = doctest.testmod(text_module)
        assert (result.failed, result.attempted) == (0, 4)

    def test_neither_torch_nor_tokenizers_is_imported(self):
        code = "import sys, carousel.data.text; sys.exit(bool({'torch', 'tokenizers'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestWords:
    TEXT = "b a a c c c b d"

    def options(self, **options) -> dict[str, Any]:
        return {"level": "word", "count_share": 1.0} | options

    def test_order_by_frequency_then_first_appearance(self, write):
        corpus = load_text(write("a.txt", self.TEXT), **self.options())
        assert words_of(corpus) == (UNKNOWN, "c", "b", "a", "d")
        assert corpus.tokens.tolist() == [2, 3, 3, 1, 1, 1, 2, 4]

    @pytest.mark.parametrize(
        ("options", "kept"),
        [
            ({"vocabulary_size": 3}, ("c", "b")),
            ({"min_count": 2}, ("c", "b", "a")),
            ({"min_count": 2, "vocabulary_size": 2}, ("c",)),
        ],
    )
    def test_cut_off(self, write, options, kept):
        corpus = load_text(write("a.txt", self.TEXT), **self.options(**options))
        assert words_of(corpus) == (UNKNOWN, *kept)
        assert text_of(corpus).split() == [word if word in kept else UNKNOWN for word in self.TEXT.split()]
        assert corpus.distinct == 4

    def test_the_last_part_does_not_count(self, write, monkeypatch):
        monkeypatch.setattr(text_module, "_PIECE", 7)
        path = write("a.txt", "b a " * 45 + "late " * 9 + "b")
        corpus = load_text(path, level="word")
        assert words_of(corpus) == (UNKNOWN, "b", "a")
        assert corpus.tokens[90:].tolist() == [0] * 9 + [1]
        assert words_of(load_text(path, level="word", count_share=0.91)) == (UNKNOWN, "b", "a", "late")

    def test_tokens_get_narrow_again_after_the_cut(self, write):
        path = write("a.txt", " ".join(f"w{i} x" for i in range(1000)))
        assert load_text(path, level="word").tokens.dtype == np.uint16
        assert load_text(path, level="word", vocabulary_size=10).tokens.dtype == np.uint8

    def test_min_count_that_leaves_no_word(self, write):
        assert "No word comes 9 times" in message(DataError, write("a.txt", self.TEXT), **self.options(min_count=9))


class TestCache:
    def test_second_time_is_not_encoded(self, write, cache, monkeypatch):
        path = write("a.txt", "to be or not to be")
        variants: list[dict[str, Any]] = [{}, {"level": "byte"}, {"level": "word", "min_count": 2}]
        for options in variants:
            first = load_text(path, **options)
            with monkeypatch.context() as patch:
                forbid_encoding(patch)
                second = load_text(path, **options)
            assert second.tokenizer == first.tokenizer
            assert second.tokens.tolist() == first.tokens.tolist()
            assert second.documents.tolist() == first.documents.tolist()
            assert (second.characters, second.bytes, second.distinct) == (first.characters, first.bytes, first.distinct)
        entries = list((cache / "tokens").iterdir())
        assert len(entries) == 3
        assert {file.name for file in entries[0].iterdir()} == {"tokens.bin", "documents.npy", "meta.json"}

    def test_same_content_elsewhere_is_not_encoded(self, write, monkeypatch):
        first = load_text(write("a.txt", "abc"))
        forbid_encoding(monkeypatch)
        second = load_text(write("b.txt", "abc"), encoding="UTF8")
        assert (second.name, second.digest) == ("b", first.digest)

    def test_the_key_holds_all_that_matters(self, write, cache):
        path = write("a.txt", "a b b\n")
        variants: list[dict[str, Any]] = [
            *({}, {"encoding": "latin-1"}, {"level": "byte"}, {"level": "word"}, {"level": "word", "split": "spaces"}),
            *({"level": "word", "min_count": 2}, {"level": "word", "vocabulary_size": 2}),
            {"level": "word", "count_share": 0.5},
        ]
        for options in variants:
            load_text(path, **options)
        assert len(list((cache / "tokens").iterdir())) == len(variants)

    def test_borders_of_files_are_content(self, write):
        one = load_text([write("a.txt", "ab"), write("b.txt", "c")])
        two = load_text([write("c.txt", "a"), write("d.txt", "bc")])
        assert one.digest != two.digest
        assert two.documents.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("tokens.bin", lambda content: content[:-1]),
            ("tokens.bin", lambda content: b""),
            ("meta.json", lambda content: content[:20]),
            ("meta.json", lambda content: b"[]"),
            ("meta.json", lambda content: b"\xff"),
            ("meta.json", lambda content: content.replace(b'"symbols"', b'"sumbols"')),
            ("meta.json", lambda content: content.replace(b'"format": ', b'"format": 9')),
            ("documents.npy", lambda content: content[:20]),
            ("documents.npy", lambda content: b""),
        ],
    )
    def test_damage_is_repaired(self, write, cache, monkeypatch, name, damage):
        path = write("a.txt", "abcabc")
        load_text(path)
        (file,) = (cache / "tokens").glob(f"*/{name}")
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        corpus = load_text(path)
        assert file.read_bytes() == whole
        assert text_of(corpus) == "abcabc"
        assert corpus.notes == []
        forbid_encoding(monkeypatch)
        assert text_of(load_text(path)) == "abcabc"
        assert len(list((cache / "tokens").iterdir())) == 1

    @pytest.mark.parametrize("name", ["tokens.bin", "documents.npy", "meta.json"])
    def test_a_missing_part_is_repaired(self, write, cache, name):
        path = write("a.txt", "abcabc")
        load_text(path)
        (file,) = (cache / "tokens").glob(f"*/{name}")
        file.unlink()
        assert text_of(load_text(path)) == "abcabc"
        assert file.is_file()

    def test_two_processes_at_once(self, tmp_path, write, cache):
        path = write("a.txt", "to be or not to be\n" * 50_000)
        code = """
            import sys, time
            from pathlib import Path
            from carousel.data import text, text_files
            encode = text._encode
            def together(*args):
                Path(sys.argv[2]).touch()
                while not Path(sys.argv[3]).exists():
                    time.sleep(0.001)
                return encode(*args)
            text._encode = together
            text_files._PIECE = 20_000
            corpus = text.load_text(sys.argv[1])
            print(corpus.digest, int(corpus.tokens.sum()), corpus.notes)
        """
        flags = [str(tmp_path / "one"), str(tmp_path / "two")]
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        both = [subprocess.Popen([*command, *order], stdout=subprocess.PIPE) for order in (flags, flags[::-1])]
        outputs = [process.communicate(timeout=60)[0] for process in both]
        corpus = load_text(path)
        assert outputs == [f"{corpus.digest} {corpus.tokens.sum()} []\n".encode()] * 2
        assert len(list((cache / "tokens").iterdir())) == 1

    def test_another_process_was_faster(self, write, cache, monkeypatch):
        path = write("a.txt", "abcabc")
        encode = text_module._encode

        def overtaken(*args):
            monkeypatch.setattr(text_module, "_encode", encode)
            load_text(path)
            return encode(*args)

        monkeypatch.setattr(text_module, "_encode", overtaken)
        assert text_of(load_text(path)) == "abcabc"
        assert len(list((cache / "tokens").iterdir())) == 1

    def test_a_file_that_changes_is_keyed_by_what_was_encoded(self, write, monkeypatch):
        path = write("a.txt", "before")
        encode = text_module._encode

        def changed(*args):
            write("a.txt", "after!")
            return encode(*args)

        monkeypatch.setattr(text_module, "_encode", changed)
        corpus = load_text(path)
        assert text_of(corpus) == "after!"
        forbid_encoding(monkeypatch)
        assert load_text(path).digest == corpus.digest

    def test_nothing_is_left_after_a_failure(self, write, cache):
        def interrupt(*_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load_text(write("a.txt", "abc"), progress=interrupt)
        assert list((cache / "tokens").iterdir()) == []

    def test_unwritable_cache(self, write, monkeypatch):
        monkeypatch.setenv("CAROUSEL_CACHE", str(write("no-folder", "")))
        corpus = load_text(write("a.txt", "abc"))
        assert text_of(corpus) == "abc"
        (note,) = corpus.notes
        assert re.fullmatch(
            r"The cache .*no-folder.tokens cannot be written \(.+\), so .* Set CAROUSEL_CACHE .*\.", note
        )

    def test_full_cache(self, write, cache, monkeypatch):
        append = text_module._TokenFile.append

        def full(self, *args):
            if cache in self._path.parents:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(self, *args)

        monkeypatch.setattr(text_module._TokenFile, "append", full)
        corpus = load_text(write("a.txt", "abc"))
        assert text_of(corpus) == "abc"
        assert "No space left on device" in corpus.notes[0]
        assert list((cache / "tokens").iterdir()) == []

    def test_no_place_at_all(self, write, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(text_module._TokenFile, "append", full)
        assert "There is no place for the encoded text" in message(DataError, write("a.txt", "abc"))

    def test_temporary_folder_is_removed_at_exit(self, write):
        code = "import sys; from carousel.data.text import load_text; print(load_text(sys.argv[1]).tokens.filename)"
        environment = os.environ | {"CAROUSEL_CACHE": str(write("no-folder", ""))}
        command = [sys.executable, "-c", code, str(write("a.txt", "abc"))]
        file = Path(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip())
        assert file.name == "tokens.bin"
        assert not file.parents[1].exists()

    @pytest.mark.parametrize(
        ("environment", "place"),
        [
            ({"CAROUSEL_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own/tokens"),
            ({"XDG_CACHE_HOME": "xdg"}, "xdg/carousel/tokens"),
            ({"HOME": "home"}, "home/.cache/carousel/tokens"),
        ],
    )
    def test_place(self, write, tmp_path, monkeypatch, environment, place):
        for name in ("CAROUSEL_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, folder in environment.items():
            monkeypatch.setenv(name, str(tmp_path / folder))
        load_text(write("a.txt", "abc"))
        assert len(list((tmp_path / place).iterdir())) == 1

    def test_cache_dir(self, write, tmp_path, cache):
        load_text(write("a.txt", "abc"), cache_dir=tmp_path / "here")
        assert len(list((tmp_path / "here/tokens").iterdir())) == 1
        assert not cache.exists()


class TestBpe:
    @pytest.mark.parametrize("piece", [1, 2, 3, 7])
    def test_borders_of_pieces_are_not_seen(self, write, monkeypatch, piece):
        text = "日本語 is don't\r\n  日本語 is é𝄞𝄞" * 3
        path = write("a.txt", text.encode("utf-16"))
        whole = load_text(path, level="bpe", encoding="utf-16", count_share=1.0, cache_dir=path.parent / "whole")
        monkeypatch.setattr(text_files, "_PIECE", piece)
        corpus = load_text(path, level="bpe", encoding="utf-16", count_share=1.0)
        assert text_of(corpus) == text
        assert corpus.tokenizer == whole.tokenizer
        assert corpus.tokens.tolist() == whole.tokens.tolist() == whole.tokenizer.encode(text).tolist()

    def test_a_word_ends_with_its_file(self, write):
        corpus = load_text([write("a.txt", "abab"), write("b.txt", "abab abab")], level="bpe", count_share=1.0)
        assert corpus.tokenizer.decode(corpus.tokens[: corpus.documents[1]]) == "abab"

    def test_the_last_part_does_not_count(self, write):
        corpus = load_text([write("a.txt", "ab" * 50), write("b.txt", "xy" * 50)], level="bpe", count_share=0.5)
        assert isinstance(corpus.tokenizer, BpeTokenizer)
        assert not any(b"x" in token for token in corpus.tokenizer.tokens[256:])
        assert text_of(corpus) == "ab" * 50 + "xy" * 50

    def test_the_size_comes_from_the_text_or_from_the_option(self, write):
        words = " ".join(f"{k:06d}" for k in range(99_999, 0, -3))
        path = write("a.txt", words + " " + words)
        assert load_text(path, level="bpe").tokenizer.size == len(words) * 2 // 500
        assert load_text(path, level="bpe", vocabulary_size=300).tokenizer.size == 300

    def test_too_short_for_the_vocabulary(self, write, cache):
        path = write("a.txt", "abc abc xyz")
        assert "after 258 no pair" in message(DataError, path, level="bpe", vocabulary_size=2000, count_share=1.0)
        assert list((cache / "tokens").iterdir()) == []


class TestErrors:
    @pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
    def test_nothing_to_learn(self, write, cache, level):
        path = write("a.txt", "\n" * 5000)
        assert "there is nothing to learn" in message(DataError, path, level=level)
        assert list((cache / "tokens").iterdir()) == []

    @pytest.mark.parametrize(
        ("options", "hint"),
        [
            ({"level": "line"}, "char or byte or word or bpe"),
            ({"level": "bpe", "vocabulary_size": 256}, "at least 257: 256 bytes and one pair"),
            ({"level": "bpe", "min_count": 2}, 'use level "word"'),
            ({"level": "word", "split": "lines"}, "words or spaces"),
            ({"level": "word", "vocabulary_size": 1}, "at least 2"),
            ({"level": "word", "min_count": 0}, "at least 1"),
            ({"level": "word", "count_share": 0.0}, "above 0"),
            ({"level": "word", "count_share": 1.5}, "at most 1"),
            ({"vocabulary_size": 100}, 'use level "word"'),
            ({"level": "byte", "split": "spaces"}, 'use level "word"'),
        ],
    )
    def test_impossible_options(self, write, options, hint):
        assert hint in message(UsageError, write("a.txt", "abc"), **options)


class TestDescribe:
    @pytest.mark.parametrize(
        ("options", "line"),
        [
            ({}, "text: 2 files, 1,007 characters, 4 distinct"),
            ({"level": "byte"}, "text: 2 files, 1,007 characters, 1,008 bytes, 5 distinct"),
            (
                {"level": "word", "min_count": 2},
                "text: 2 files, 1,007 characters, 503 words, 3 distinct, vocabulary of 2",
            ),
        ],
    )
    def test_line(self, write, options, line):
        corpus = load_text([write("a.txt", "a " * 500), write("b.txt", "ab é ab")], **options)
        assert describe(corpus) == line

    def test_one_of_each(self, write):
        assert describe(load_text(write("a.txt", "ab"))) == "text: 1 file, 2 characters, 2 distinct"


class TestMemory:
    @staticmethod
    def peak(path, **options) -> int:
        tracemalloc.start()
        try:
            load_text(path, **options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_characters_of_a_large_file(self, tmp_path):
        path = tmp_path / "large.txt"
        block = ("to be or not to be, that is the question: é\n" * 24_000).encode()
        with path.open("wb") as file:
            for _ in range(50):
                file.write(block)
        assert path.stat().st_size > 50_000_000
        assert self.peak(path) < 20_000_000

    def test_words_grow_with_the_piece_not_with_the_file(self, write, monkeypatch):
        monkeypatch.setattr(text_files, "_PIECE", 1 << 15)
        monkeypatch.setattr(text_module, "_PIECE", 1 << 15)
        path = write("a.txt", "to be or not to be, that is the question:\n" * 70_000)
        assert self.peak(path, level="word", vocabulary_size=5) < path.stat().st_size


@needs_shared
class TestKnownCorpora:
    def test_tiny_shakespeare(self):
        corpus = load_text(SHARED / "text/tinyshakespeare.txt")
        assert describe(corpus) == "text: 1 file, 1,115,394 characters, 65 distinct"
        assert text_of(corpus) == (SHARED / "text/tinyshakespeare.txt").read_text("utf-8")

    def test_penn_treebank(self):
        corpus = load_text(SHARED / "ptb/ptb.train.txt", level="word", split="spaces", count_share=1.0)
        assert len(corpus.tokens) == 929_589
        assert corpus.tokenizer.size == corpus.distinct == 10_000
        newline = words_of(corpus).index("\n")
        assert np.count_nonzero(corpus.tokens == newline) == 42_068
        assert corpus.tokenizer.unknown((SHARED / "ptb/ptb.test.txt").read_text("utf-8")) == []

    def test_words_of_tiny_shakespeare(self):
        corpus = load_text(SHARED / "text/tinyshakespeare.txt", level="word", vocabulary_size=5000)
        assert corpus.tokenizer.size == 5000
        assert text_of(corpus).startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n")
