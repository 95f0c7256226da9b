"""Wrong input gets a sentence that names what was given and what to do, the right exit code, and loses nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from carousel.cli.main import main
from carousel.runs import FORMAT

SMALL = "--hidden-size 8 --embedding-size 4 --batch 4 --window 16 --threads 1 --evaluations 2 --device cpu".split()
TEXT = "The carousel turns, and the error goes round and round.\n" * 60

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def carousel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> Run:
    """The command line in an empty folder; returns the exit code and all that was printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = main(list(arguments))
        except SystemExit as stop:  # tyro's own refusals
            code = stop.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.err if code else printed.out

    return run


@pytest.fixture
def trained(carousel: Run) -> str:
    code, _ = carousel("train", "text.txt", *SMALL, "--steps", "6", "--out", "run")
    assert code == 0
    return "run"


def refused(result: tuple[int, str], code: int, *words: str) -> None:
    found, message = result
    assert found == code, message
    for word in words:
        assert word in message
    assert len(message.strip().splitlines()) <= 12


class TestData:
    def test_missing_file(self, carousel: Run) -> None:
        refused(carousel("train", "txet.txt", *SMALL), 2, "txet.txt", "text.txt")
        assert not Path("runs").exists()

    def test_nothing_given(self, carousel: Run) -> None:
        refused(carousel("train"), 2, "carousel train")

    def test_folder_without_text(self, carousel: Run) -> None:
        Path("papers").mkdir()
        Path("papers/a.pdf").write_bytes(b"%PDF-1.4\0\0\0")
        refused(carousel("train", "papers", *SMALL), 2, "papers", ".txt")

    def test_pictures_with_options_for_text(self, carousel: Run) -> None:
        Path("pictures").mkdir()
        Path("pictures/a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
        refused(carousel("train", "pictures", *SMALL), 2, "--window mean nothing for images", "--kind")

    def test_empty_file(self, carousel: Run) -> None:
        Path("empty.txt").touch()
        refused(carousel("train", "empty.txt", *SMALL), 1, "empty")

    def test_binary_file(self, carousel: Run) -> None:
        Path("a.bin").write_bytes(bytes(range(256)) * 40)
        refused(carousel("train", "a.bin", *SMALL), 1, "a.bin", "binary")

    def test_not_utf8(self, carousel: Run) -> None:
        Path("latin.txt").write_bytes(("x" * 1000).encode() + b"\xe9" + b"y" * 100)
        refused(carousel("train", "latin.txt", *SMALL), 1, "latin.txt", "offset 1000", "--encoding")
        assert carousel("train", "latin.txt", *SMALL, "--encoding", "latin-1", "--steps", "2")[0] == 0

    def test_shorter_than_one_window(self, carousel: Run) -> None:
        Path("short.txt").write_text("Too short.")
        refused(carousel("train", "short.txt", *SMALL), 1, "window", "--window")

    def test_text_that_does_not_fill_the_streams_is_read_with_fewer(self, carousel: Run) -> None:
        Path("little.txt").write_text(TEXT[:120])
        assert carousel("train", "little.txt", *SMALL, "--batch", "64", "--steps", "3", "--out", "little")[0] == 0
        assert yaml.safe_load(Path("little/config.yaml").read_text())["training"]["batch"] == 6  # 107 // 16

    def test_single_character(self, carousel: Run) -> None:
        Path("aaa.txt").write_text("a" * 5000)
        refused(carousel("train", "aaa.txt", *SMALL), 1, "one character", "at least two")


class TestOptions:
    def test_unknown_verb(self, carousel: Run) -> None:
        refused(carousel("trian", "text.txt"), 2, "trian", "carousel train")

    def test_unknown_option(self, carousel: Run) -> None:
        refused(carousel("train", "text.txt", "--hiden-size", "3"), 2, "--hiden-size", "Did you mean --hidden-size?")
        refused(carousel("train", "text.txt", "--hiden", "3"), 2, "no option --hiden", "Did you mean --hidden-size?")
        refused(carousel("sample", "run", "--zzz", "3"), 2, "no option --zzz", "carousel sample --help")

    def test_unknown_cell(self, carousel: Run) -> None:
        refused(carousel("train", "text.txt", "--cell", "lstn"), 2, "'lstn'", "'lstm'", "FILE.py:Class")

    @pytest.mark.parametrize(
        ("option", "value", "word"),
        [
            ("--hidden-size", "0", "at least 1"),
            ("--learning-rate", "-1", "above 0"),
            ("--learning-rate", "nan", "above 0"),
            ("--dropout", "1.5", "below 1"),
            ("--minutes", "0", "above 0"),
            ("--steps", "0", "at least 1"),
            ("--backward", "4", "--window 64"),
            ("--schedule", "sideways", "cosine"),
            ("--hidden-size", "many", "--hidden-size"),
            ("--device", "abacus", "abacus"),
            ("--encoding", "utf-9", "utf-9"),
            ("--dev", "1", "--dev"),
        ],
    )
    def test_impossible_value(self, carousel: Run, option: str, value: str, word: str) -> None:
        refused(carousel("train", "text.txt", option, value, "--out", "new"), 2, word)
        assert not Path("new").exists()

    def test_unknown_cell_option(self, carousel: Run) -> None:
        refused(carousel("train", "text.txt", *SMALL, "--cell-options", "pephole", "true"), 2, "pephole", "peephole")


class TestRunFolder:
    def test_existing_run(self, carousel: Run, trained: str) -> None:
        before = Path("run/model.safetensors").read_bytes()
        refused(carousel("train", "text.txt", *SMALL, "--out", "run"), 2, "holds a run", "carousel resume run")
        assert Path("run/model.safetensors").read_bytes() == before

    def test_folder_with_other_things(self, carousel: Run) -> None:
        Path("mine").mkdir()
        Path("mine/thesis.tex").write_text("precious")
        refused(carousel("train", "text.txt", *SMALL, "--out", "mine"), 2, "not empty", "--out")
        assert Path("mine/thesis.tex").read_text() == "precious"

    def test_unwritable(self, carousel: Run) -> None:
        refused(carousel("train", "text.txt", *SMALL, "--out", "text.txt/run"), 1, "text.txt/run", "--out")

    def test_disk_full_in_the_middle(self, carousel: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        real, written = os.fsync, []

        def fsync(handle: int) -> None:
            written.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            if sum("last.ckpt" in name for name in written) >= 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        options = [*SMALL, "--steps", "8", "--checkpoint-seconds", "0", "--out", "full"]
        refused(carousel("train", "text.txt", *options), 1, "disk is full", "kept")
        monkeypatch.setattr(os, "fsync", real)
        assert torch.load("full/last.ckpt", weights_only=True)["step"] == 1
        assert not list(Path("full").glob(".*tmp"))
        assert carousel("resume", "full")[0] == 0

    def test_no_run(self, carousel: Run) -> None:
        for verb in ("resume", "sample", "report"):
            refused(carousel(verb, "nowhere"), 1, "nowhere")
            refused(carousel(verb, str(Path.cwd())), 1, "config.yaml")

    def test_checkpoint_of_a_newer_version(self, carousel: Run, trained: str) -> None:
        state = torch.load("run/last.ckpt", weights_only=True)
        torch.save({**state, "format": FORMAT + 1}, "run/last.ckpt")
        Path("run/status.json").write_text('{"status": "stopped"}')
        refused(carousel("resume", "run"), 1, "newer", f"format {FORMAT + 1}", "pip install --upgrade")

    def test_checkpoint_of_an_older_version(self, carousel: Run, trained: str) -> None:
        state = torch.load("run/last.ckpt", weights_only=True)
        torch.save({**state, "format": FORMAT - 1}, "run/last.ckpt")
        Path("run/status.json").write_text('{"status": "stopped"}')
        refused(carousel("resume", "run"), 1, "older", f"format {FORMAT - 1}", "train anew")
        assert carousel("sample", "run", "--chars", "5")[0] == 0

    def test_run_of_a_newer_version(self, carousel: Run, trained: str) -> None:
        config = Path("run/config.yaml")
        config.write_text(config.read_text().replace(f"format: {FORMAT}", f"format: {FORMAT + 1}"))
        refused(carousel("sample", "run"), 1, "newer", "pip install --upgrade")

    def test_no_good_checkpoint_left(self, carousel: Run, trained: str) -> None:
        Path("run/status.json").write_text('{"status": "stopped"}')
        for name in ("last.ckpt", "previous.ckpt"):
            Path("run", name).write_bytes(b"nonsense")
        refused(carousel("resume", "run"), 1, "last.ckpt", "previous.ckpt", "damaged")

    def test_checkpoint_that_would_run_code(self, carousel: Run, trained: str, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple:
                return os.mkdir, (str(tmp_path / "sprung"),)

        torch.save(Trap(), "run/last.ckpt")
        Path("run/previous.ckpt").unlink()
        Path("run/status.json").write_text('{"status": "stopped"}')
        refused(carousel("resume", "run"), 1, "damaged")
        assert not (tmp_path / "sprung").exists()

    def test_damaged_weights(self, carousel: Run, trained: str) -> None:
        path = Path("run/model.safetensors")
        path.write_bytes(path.read_bytes()[:200])
        refused(carousel("sample", "run"), 1, "model.safetensors", "damaged")

    def test_damaged_config(self, carousel: Run, trained: str) -> None:
        Path("run/config.yaml").write_text("network: [unclosed")
        refused(carousel("sample", "run"), 1, "config.yaml")

    def test_text_changed_since(self, carousel: Run, trained: str) -> None:
        Path("run/status.json").write_text('{"status": "stopped"}')
        Path("text.txt").write_text(TEXT + "And one more line.\n")
        refused(carousel("resume", "run"), 1, "text.txt", "changed")

    def test_resume_of_a_finished_run(self, carousel: Run, trained: str) -> None:
        code, printed = carousel("resume", "run")
        assert code == 0
        assert "finished" in printed


class TestSampling:
    def test_unknown_characters_in_the_prompt(self, carousel: Run, trained: str) -> None:
        refused(carousel("sample", "run", "--prompt", "The 魚"), 1, "'魚'")

    @pytest.mark.parametrize(
        ("option", "value"), [("--temperature", "-1"), ("--top-p", "0"), ("--top-k", "0"), ("--chars", "0")]
    )
    def test_impossible_value(self, carousel: Run, trained: str, option: str, value: str) -> None:
        refused(carousel("sample", "run", option, value), 2, option)


class TestTraining:
    def test_loss_that_is_no_number(self, carousel: Run) -> None:
        options = "--optimizer sgd --learning-rate 1e30 --clip 0 --steps 20 --schedule constant --out nan".split()
        refused(carousel("train", "text.txt", *SMALL, *options), 1, "not a finite number at step", "--learning-rate")
        state = torch.load("nan/last.ckpt", weights_only=True)
        assert all(torch.isfinite(t).all() for t in state["network"].values())
        assert '"non-finite"' in Path("nan/findings.json").read_text()
        assert "not a finite number" in Path("nan/report.html").read_text()


OWN_CELL = """
import torch, carousel

class Own(carousel.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.wx = carousel.weight(hidden_size, input_size)
        self.wh = carousel.weight(hidden_size, hidden_size)
    def step(self, x, state):
        (h,) = state
        h = torch.tanh(x @ self.wx.T + h @ self.wh.T)
        return h, (h,)
"""


class TestOwnCell:
    def train(self, carousel: Run, source: str, spec: str = "own.py:Own") -> tuple[int, str]:
        Path("own.py").write_text(source)
        return carousel("train", "text.txt", *SMALL, "--steps", "4", "--cell", spec, "--out", "own")

    def test_works_and_is_never_executed_from_the_run(self, carousel: Run) -> None:
        assert self.train(carousel, OWN_CELL)[0] == 0
        assert Path("own/cell.py.txt").read_text() == OWN_CELL
        refused(carousel("sample", "own", "--chars", "5"), 2, "--cell own.py:Own")
        assert carousel("sample", "own", "--chars", "5", "--cell", "own.py:Own")[0] == 0

    def test_changed_source_is_noted(self, carousel: Run, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.train(carousel, OWN_CELL)[0] == 0
        Path("own.py").write_text(OWN_CELL + "\n# changed\n")
        assert main(["sample", "own", "--chars", "5", "--cell", "own.py:Own"]) == 0
        assert "note: The source of own.py:Own is not what it was" in capsys.readouterr().err

    def test_missing_file(self, carousel: Run) -> None:
        refused(carousel("train", "text.txt", "--cell", "none.py:Own"), 2, "none.py")

    def test_no_class_given(self, carousel: Run) -> None:
        refused(self.train(carousel, OWN_CELL, "own.py"), 2, "own.py:ClassName")

    def test_no_such_class(self, carousel: Run) -> None:
        refused(self.train(carousel, OWN_CELL, "own.py:Onw"), 2, "Onw", "Did you mean Own?")

    def test_not_a_cell(self, carousel: Run) -> None:
        refused(self.train(carousel, "class Own: pass"), 2, "not a subclass of carousel.Cell")

    def test_does_not_import(self, carousel: Run) -> None:
        refused(self.train(carousel, "import torch\nimport tarch\n"), 2, "own.py, line 2", "tarch")
        refused(self.train(carousel, "class Own(:\n"), 2, "own.py, line 1", "SyntaxError")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (("return h, (h,)", "return h, (h[:, :3],)"), ("state 'h'", "(2, 3)", "(2, 8)")),
            (("return h, (h,)", "return h[:, :3], (h,)"), ("output", "(2, 3)", "(2, 8)")),
            (("return h, (h,)", "return h"), ("(output, new_state)",)),
            (("return h, (h,)", "return h, (h, h)"), ("tuple of 1", "h")),
            (("h = torch.tanh", "self.last = h; h = torch.tanh"), ("self.last", "pure")),
            (("h = torch.tanh", "h.mul_(2); h = torch.tanh"), ("in place",)),
            (("input_size, hidden_size):", "input_size):"), ("hidden_size",)),
            (("def step", "def stepp"), ("has no step()",)),
        ],
    )
    def test_breaks_the_contract(self, carousel: Run, change: tuple[str, str], words: tuple[str, ...]) -> None:
        refused(self.train(carousel, OWN_CELL.replace(*change)), 2, "Own", *words)
        assert not Path("own").exists()

    def test_fails_inside_step(self, carousel: Run) -> None:
        refused(self.train(carousel, OWN_CELL.replace("h @ self.wh.T", "h @ self.wx.T")), 2, "own.py, line 11", "Own")
