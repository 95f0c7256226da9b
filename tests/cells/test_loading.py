"""Cells by what the user writes: a registered name, FILE.py:Class, or a class."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from carousel.cells import LSTM, RNN
from carousel.cells.loading import load_cell
from carousel.errors import CellError, UsageError
from carousel.nn import Recurrent

SOURCE = """
import carousel, torch

class Leaky(carousel.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.wx = carousel.weight(hidden_size, input_size)

    def step(self, x, state):
        (h,) = state
        h = 0.5 * h + torch.tanh(x @ self.wx.T)
        return h, (h,)

class NotACell:
    pass

some_function = len
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my cells.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_a_registered_name() -> None:
    found = load_cell("lstm-peephole")
    assert (found.name, found.cell_class, found.options) == ("lstm-peephole", LSTM, {"peephole": True})
    assert not found.is_own
    assert found.digest is None
    assert found.short_name == "lstm-peephole"
    found.options["peephole"] = False
    assert load_cell("lstm-peephole").options == {"peephole": True}, "the registry was changed"


def test_a_class_in_a_file(file: Path) -> None:
    found = load_cell(f"{file}:Leaky")
    assert found.is_own
    assert found.path == file
    assert found.text == SOURCE
    assert found.digest == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert found.short_name == "leaky"
    layer = Recurrent(found.cell_class, 3, 4)
    output, _ = layer(torch.ones(5, 2, 3))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(torch.ones(5, 2, 3))[0], output)


def test_a_class_as_it_is() -> None:
    class Mine(RNN):
        pass

    found = load_cell(Mine)
    assert found.is_own
    assert found.cell_class is Mine
    assert "class Mine(RNN)" in (found.text or "")
    registered = load_cell(RNN)
    assert (registered.name, registered.is_own) == ("rnn", False)


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        ("", UsageError, r"names a file but no class; write it as .*my cells.py:ClassName"),
        (":Leeky", UsageError, r"has no class Leeky. Did you mean Leaky\?"),
        (":Transformer", UsageError, r"has no class Transformer. It has Leaky, NotACell"),
        (":NotACell", CellError, r"NotACell is not a subclass of carousel.Cell"),
        (":some_function", CellError, r"some_function is not a subclass of carousel.Cell"),
    ],
)
def test_errors_of_a_file(file: Path, end: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_cell(f"{file}{end}")


def test_other_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*nowhere.py"):
        load_cell(f"{tmp_path / 'nowhere.py'}:Leaky")
    with pytest.raises(UsageError, match="Did you mean 'lstm'"):
        load_cell("lstmm")
    with pytest.raises(CellError, match=r"dict is not a subclass of carousel\.Cell"):
        load_cell(dict)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import carousel\nx = 1 / 0\n", r"line 2\b.*ZeroDivisionError"),
        ("def f(:\n    pass\n", r"line 1\b.*SyntaxError"),
        ("import surely_not_installed_anywhere\n", r"line 1\b.*ModuleNotFoundError.*surely"),
    ],
)
def test_a_file_that_does_not_import(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CellError, match=words):
        load_cell(f"{path}:Leaky")
