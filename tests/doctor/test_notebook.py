"""`%%doctor` and `%doctor on` … `%doctor off` in IPython."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import carousel

pytest.importorskip("IPython", reason="IPython is not installed (pip install ipython)")

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

TRAIN = """
import torch
net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
rule = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(20):
    rule.zero_grad()
    torch.nn.functional.cross_entropy(net(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
    rule.step()
"""


@pytest.fixture
def shell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell that keeps no history on the disk."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance()  # `display` asks for the one
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "carousel")
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, cell: str) -> tuple[Any, str, list[str]]:
    """The result; what was printed; the tables."""
    with capture_output() as seen:
        result = shell.run_cell(cell)
    outputs = [output.data for output in seen.outputs]
    text = seen.stdout + "\n".join(data.get("text/plain", "") for data in outputs)
    return result, text, [data["text/html"] for data in outputs if "text/html" in data]


def test_a_cell(shell: InteractiveShell) -> None:
    result, text, (table,) = run(shell, "%%doctor\n" + TRAIN + "print('done')\n40 + 2")
    assert result.success
    assert "done\n" in text
    assert "carousel doctor: 1 finding in 20 updates (1 error)" in text
    assert "error: double-softmax, " in text
    assert "<table>" in table
    assert "<code>double-softmax</code>" in table
    assert "net" in shell.user_ns
    assert type(shell.user_ns["torch"].tanh).__name__ == "builtin_function_or_method"


def test_a_cell_with_an_error(shell: InteractiveShell) -> None:
    result, text, tables = run(shell, "%%doctor\n" + TRAIN + "{}['a']")
    assert not result.success
    assert text.count("Traceback (most recent") == 1, text
    assert len(tables) == 1
    result, text, _ = run(shell, "%%doctor\nfor x in:\n")
    assert not result.success
    assert text.count("SyntaxError") == 1, text


def test_across_cells(shell: InteractiveShell) -> None:
    assert "watches all cells until" in run(shell, "%doctor on")[1]
    assert "watches already" in run(shell, "%doctor on")[1]
    first, second = TRAIN.split("for _", 1)
    run(shell, first)
    run(shell, "for _" + second)
    _, text, tables = run(shell, "%doctor off")
    assert "1 finding in 20 updates" in text
    assert len(tables) == 1
    assert "does not watch" in run(shell, "%doctor off")[1]


def test_words(shell: InteractiveShell) -> None:
    assert "Use %%doctor above a cell" in run(shell, "%doctor")[1]
    assert "There is no %doctor up." in run(shell, "%doctor up")[1]
    assert "%%doctor takes no arguments." in run(shell, "%%doctor fast\n1")[1]
    assert "no update with an optimizer" in run(shell, "%%doctor\n1")[1]
    assert "watched by %%doctor" in run(shell, "%%doctor\n%doctor on")[1]
    run(shell, "%doctor on")
    assert "The doctor watches already; the cell is run." in run(shell, "%%doctor\nx = 5")[1]
    assert shell.user_ns["x"] == 5
    run(shell, "%doctor off")


def test_what_is_shown_is_escaped() -> None:
    from carousel.doctor import Finding
    from carousel.doctor.shown import as_html

    table = as_html([Finding("a", "note", "<b>", "x & y", "do")], "one", [])
    assert "&lt;b&gt;" in table
    assert "x &amp; y" in table
    assert carousel.load_ipython_extension is not None
