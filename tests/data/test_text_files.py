"""Finding and reading text files: what a name stands for, and the sentence for each bad input."""

from __future__ import annotations

import codecs
import errno
import os
import re
from pathlib import Path

import pytest

from carousel.data import text_files
from carousel.data.text import load_text
from carousel.data.text_files import STDLIB, TEXT_SUFFIXES
from carousel.errors import DataError, UsageError


def text_of(corpus) -> str:
    return corpus.tokenizer.decode(corpus.tokens)


def message(error: type[Exception], *args, **options) -> str:
    with pytest.raises(error) as caught:
        load_text(*args, **options)
    sentence = str(caught.value)
    assert type(caught.value) is error
    assert re.match(r'["A-Z].*[.?]$', sentence, re.DOTALL)
    return sentence


class TestFinding:
    def test_folder(self, write, tmp_path):
        for name in ("b/z.txt", "b/a.PY", "a.md", ".git/x.txt", "b/.hidden.txt", "image.png", "b/empty.txt"):
            write(f"folder/{name}", "" if "empty" in name else f"{name}\n")
        corpus = load_text(tmp_path / "folder")
        assert text_of(corpus) == "a.md\nb/a.PY\nb/z.txt\n"
        assert (corpus.name, corpus.notes) == ("folder", [])
        assert [file.name for file in corpus.files] == ["a.md", "a.PY", "z.txt"]

    def test_current_folder_has_a_name(self, write, tmp_path, monkeypatch):
        write("my books!/a.txt", "abc")
        monkeypatch.chdir(tmp_path / "my books!")
        assert load_text(".").name == "my-books"

    def test_folder_without_usual_suffixes(self, write, tmp_path):
        write("folder/README", "read me")
        write("folder/data.bin", bytes(range(256)))
        corpus = load_text(tmp_path / "folder")
        assert text_of(corpus) == "read me"

    def test_folder_leaves_out_what_is_no_text(self, write, tmp_path):
        write("folder/good.txt", "good")
        write("folder/bad.txt", b"abc\xff")
        write("folder/zero.txt", b"abc\0")
        corpus = load_text(tmp_path / "folder")
        assert text_of(corpus) == "good"
        assert len(corpus.notes) == 2
        assert re.match(r'Left out: ".*bad.txt" is not valid utf-8: byte 0xFF at offset 3', corpus.notes[0])
        assert re.match(r'Left out: ".*zero.txt" is not text', corpus.notes[1])
        assert load_text(tmp_path / "folder").notes == corpus.notes

    def test_many_notes_are_summed_up(self, write, tmp_path):
        write("folder/good.txt", "good")
        for i in range(8):
            write(f"folder/{i}.txt", b"\0")
        assert load_text(tmp_path / "folder").notes[5:] == ["Left out: 3 more files for such reasons."]

    def test_folder_with_loops_and_broken_links(self, write, tmp_path):
        write("folder/sub/a.txt", "abc")
        write("outside/b.txt", "def")
        for name in ("loop", "again"):  # followed blindly, two loops take forever
            (tmp_path / "folder/sub" / name).symlink_to(tmp_path / "folder")
        (tmp_path / "folder/broken.txt").symlink_to(tmp_path / "nowhere")
        (tmp_path / "folder/self.txt").symlink_to(tmp_path / "folder/self.txt")
        (tmp_path / "folder/copy.txt").symlink_to(tmp_path / "folder/sub/a.txt")
        (tmp_path / "folder/other").symlink_to(tmp_path / "outside")
        corpus = load_text(tmp_path / "folder")
        assert text_of(corpus) == "abcdef"
        assert corpus.notes == []

    def test_pattern(self, write, tmp_path, monkeypatch):
        for name in ("b1.txt", "a1.txt", "a2.md", "deep/er/c1.txt"):
            write(name, name)
        monkeypatch.chdir(tmp_path)
        assert text_of(load_text("*1.txt")) == "a1.txtb1.txt"
        assert load_text("*1.txt").name == "a1+1"
        assert text_of(load_text("**/*1.txt")) == "a1.txtb1.txtdeep/er/c1.txt"
        assert text_of(load_text(str(tmp_path / "?2.md"))) == "a2.md"

    def test_a_name_that_looks_like_a_pattern(self, write):
        assert text_of(load_text(write("what[1].txt", "abc"))) == "abc"

    def test_files_given_twice_and_empty_files_are_noted(self, write):
        a, empty = write("a.txt", "abc"), write("empty.txt", "")
        corpus = load_text([a, empty, a])
        assert corpus.files == [a]
        assert corpus.notes == [f'"{a}" was given twice and is used once.', f'"{empty}" is empty and was left out.']

    def test_standard_library(self):
        corpus = load_text(STDLIB)
        assert corpus.characters > 3_000_000
        assert corpus.name == STDLIB
        names = {file.name for file in corpus.files}
        assert {"argparse.py", "decoder.py"} < names
        folders = [file.parent.name for file in corpus.files]
        assert not {"test", "tests", "encodings", "site-packages", "idlelib", "pydoc_data"} & set(folders)
        first, last = set(folders[: len(folders) // 2]), set(folders[len(folders) // 2 :])
        assert len(first & last) >= 10
        assert load_text(STDLIB).digest == corpus.digest

    def test_a_file_of_that_name_wins(self, write, tmp_path, monkeypatch):
        write(STDLIB, "mine")
        monkeypatch.chdir(tmp_path)
        assert text_of(load_text(STDLIB)) == "mine"


class TestErrors:
    def test_missing_file(self, write, tmp_path, monkeypatch):
        write("Corpus.txt", "abc")
        monkeypatch.chdir(tmp_path)
        assert (
            message(UsageError, "corpsu.txt") == 'There is no file or folder "corpsu.txt". Did you mean "Corpus.txt"?'
        )
        assert f'Did you mean "{STDLIB}"?' in message(UsageError, "python-stdlb")
        assert 'pattern such as "books/*.txt"' in message(UsageError, "nowhere/xyz")
        assert f'Did you mean "{tmp_path / "Corpus.txt"}"?' in message(UsageError, tmp_path / "corpus.tx")

    @pytest.mark.parametrize(
        "source", ["", "to be or not to be " * 300, "a\0b", "a.txt/b", "~nobody-of-this-name/a.txt"]
    )
    def test_names_that_cannot_be(self, write, tmp_path, monkeypatch, source):
        write("a.txt", "abc")
        monkeypatch.chdir(tmp_path)
        assert len(message(UsageError, source)) < 300

    def test_no_source(self):
        assert "list of text files is empty" in message(UsageError, [])

    def test_pattern_without_matches(self, tmp_path, write):
        assert "matches no file" in message(UsageError, str(tmp_path / "*.txt"))
        write("folder/a.txt", "abc")
        assert "matches only folders" in message(UsageError, str(tmp_path / "fold*"))

    def test_folder_without_text(self, write, tmp_path):
        write("folder/a.png", b"\x89PNG\0")
        sentence = message(UsageError, tmp_path / "folder")
        assert "has no text in it" in sentence
        assert all(suffix in sentence for suffix in TEXT_SUFFIXES)

    def test_folder_in_which_nothing_can_be_read(self, write, tmp_path):
        write("folder/a.txt", b"ab\xffc")
        assert "offset 2" in message(DataError, tmp_path / "folder")

    def test_empty(self, write, tmp_path):
        for content in ("", "\ufeff"):
            assert 'a.txt" is empty' in message(DataError, write("a.txt", content))
        write("folder/a.txt", "")
        assert "is empty" in message(DataError, tmp_path / "folder")
        assert "no word in it" in message(DataError, write("b.txt", " \t "), level="word")

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"abc\0def", "binary data"),
            (b"\x01\x02\x03 abc", "binary data"),
            (b"%PDF-1.7 abc", "a PDF"),
            (b"PK\x03\x04", "a ZIP archive"),
            (b"\x1f\x8b\x08\x00", "compressed by gzip"),
        ],
    )
    def test_binary(self, write, content, what):
        assert f'x.txt" is not text but {what}' in message(DataError, write("x.txt", content))

    def test_rare_control_characters_are_text(self, write):
        corpus = load_text(write("a.txt", "\x1b[1mbold\x1b[0m \x02 page\f" + "x" * 40))
        assert corpus.tokenizer.unknown("\x02\x1b\f") == []

    @pytest.mark.parametrize("piece", [1, 2, 3, 1 << 18])
    @pytest.mark.parametrize(
        ("content", "encoding", "offset", "value", "hint"),
        [
            ("日本".encode() + b"\xe9 rest", "utf-8", 6, "E9", "latin-1"),
            (b"abc\xe2\x82", "utf-8", 3, "E2", "latin-1"),
            (b"\xef\xbb\xbfab\xffc", "utf-8", 5, "FF", "latin-1"),
            (b"ab\xc3\xa9", "ascii", 2, "C3", "utf-8"),
            ("日本".encode("shift_jis") + b"\x81\x00a", "shift_jis", 4, "81", "utf-8"),
            ("日".encode("utf-16-le") + b"\x00\xdca\0", "utf-16-le", 2, "00", "utf-8"),
        ],
    )
    def test_bad_byte(self, write, monkeypatch, piece, content, encoding, offset, value, hint):
        monkeypatch.setattr(text_files, "_PIECE", piece)
        monkeypatch.setattr(text_files, "_check_head", lambda *_: None)
        sentence = message(DataError, write("a.txt", content), encoding=encoding)
        assert f'a.txt" is not valid {encoding}: byte 0x{value} at offset {offset} ' in sentence
        assert f"--encoding {hint}" in sentence

    def test_bad_byte_far_into_the_file(self, write):
        path = write("a.txt", b"x" * (3 << 20) + b"\xff" + b"x")
        assert f"byte 0xFF at offset {3 << 20} " in message(DataError, path)

    @pytest.mark.parametrize("name", ["utf-16", "utf-32"])
    @pytest.mark.parametrize("order", ["LE", "BE"])
    def test_byte_order_mark_of_another_encoding(self, write, name, order):
        mark = getattr(codecs, f"BOM_{name.upper().replace('-', '')}_{order}")
        path = write("a.txt", mark + "abc".encode(f"{name}-{order}"))
        assert f"--encoding {name}." in message(DataError, path)
        assert text_of(load_text(path, encoding=name)) == "abc"

    def test_utf_16_without_byte_order_mark(self, write):
        assert "--encoding" in message(DataError, write("a.txt", b"\xe9a" * 3 + b"\x00\xd8"), encoding="utf-16")

    @pytest.mark.parametrize(
        ("encoding", "hint"),
        [("utf8x", "utf8"), ("latin", "latin"), ("zzzzzz", "Try utf-8"), ("hex", "There is no"), ("", "Try utf-8")],
    )
    def test_unknown_encoding(self, write, encoding, hint):
        path = write("a.txt", "abc")
        if encoding == "latin":
            assert text_of(load_text(path, encoding=encoding)) == "abc"
        else:
            assert hint in message(UsageError, path, encoding=encoding)

    def test_permission_denied(self, write, tmp_path, monkeypatch):
        denied, good = write("folder/denied.txt", "abc"), write("folder/good.txt", "good")
        open_file = Path.open

        def guarded(self, *args, **options):
            if self == denied:
                raise PermissionError(errno.EACCES, "Permission denied", str(self))
            return open_file(self, *args, **options)

        monkeypatch.setattr(Path, "open", guarded)
        assert "permission denied" in message(DataError, denied)
        corpus = load_text(tmp_path / "folder")
        assert corpus.files == [good]
        assert corpus.notes == [f'Left out: "{denied}" cannot be opened: permission denied.']

    def test_folder_without_permission(self, write, tmp_path):
        write("folder/closed/a.txt", "abc")
        write("folder/b.txt", "def")
        closed = tmp_path / "folder/closed"
        closed.chmod(0)
        if os.access(closed, os.R_OK):
            pytest.skip("this user may open everything")
        try:
            assert "permission denied" in message(DataError, closed)
            assert "permission denied" in message(DataError, closed / "a.txt")
            assert "permission denied" in load_text(tmp_path / "folder").notes[0]
        finally:
            closed.chmod(0o700)

    def test_links_that_lead_nowhere(self, tmp_path):
        for name, target in (("broken.txt", "nowhere"), ("loop.txt", "loop.txt")):
            (tmp_path / name).symlink_to(tmp_path / target)
            assert "symbolic link that leads nowhere" in message(DataError, tmp_path / name)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert "pipe or a device" in message(DataError, tmp_path / "pipe")

    def test_file_that_cannot_be_read(self, write, monkeypatch):
        path = write("a.txt", "abc")

        def broken(self, *args, **options):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(Path, "open", broken)
        assert message(DataError, path) == f'"{path}" cannot be read: Input/output error.'
