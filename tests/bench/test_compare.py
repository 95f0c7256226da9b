"""The whole of `carousel.bench.compare` on tiny shapes, its table and its chart."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console

import carousel
from carousel.bench import compare, remarks, rivals, table, write_chart

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {"hidden_size": 6, "length": 4, "batch": 2, "threads": 1, "seconds": 0.0, "least": 2}


@pytest.fixture(autouse=True)
def _without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "installed", list)
    monkeypatch.setattr(rivals, "prepare_peers", lambda threads: None)


@pytest.mark.parametrize(
    ("cell", "loop"), [("lstm-peephole", "eager loop"), ("lstm", "eager loop"), ("multi-tap", "plain loop")]
)
def test_rows(cell: str, loop: str) -> None:
    said: list[str] = []
    result = compare(cell, **TINY, note=said.append)
    shapes = [[4, 2, 6], [4, 2, 3], [4, 1, 6]]
    assert len(said) == 3
    wanted = [(s, r, p) for s in shapes for p in ("training", "forward") for r in (cell, "torch.nn.LSTM", loop)]
    assert [(row["shape"], row["rival"], row["pass"]) for row in result["rows"]] == wanted
    for row in result["rows"]:
        assert row["ms"] > 0
        assert row["gflops"] > 0
        assert row["samples"] >= 2
        assert row["ratio"] == 1 or row["rival"] != "torch.nn.LSTM"
    assert result["environment"]["threads"] == 1
    assert json.loads(json.dumps(result)) == result


class Bare(carousel.Cell):
    """No weights, no product."""

    def step(self, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        (h,) = state
        h = torch.tanh(h - x)
        return h, (h,)


class Quiet(carousel.Cell):
    """Without input and without output that depends on anything."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(0, hidden_size)

    def step(self, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        (h,) = state
        h = h + 1
        return h, (h,)


@pytest.mark.parametrize("cell", [Bare, Quiet])
def test_cells_with_little_in_them(cell: type[carousel.Cell]) -> None:
    result = compare(cell, **TINY)
    assert {row["rival"] for row in result["rows"]} == {cell.__name__, "torch.nn.LSTM", "plain loop"}
    assert all(row["gflops"] is None for row in result["rows"] if row["rival"] == cell.__name__)
    shown(result)


def test_threads_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("carousel.bench.run._measure", lambda *_: [{"threads": torch.get_num_threads()}])
    result = compare("rnn", **{**TINY, "threads": 2})
    assert result["environment"]["threads"] == result["rows"][0]["threads"] == 2
    assert torch.get_num_threads() == before


def shown(result: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(result))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def example() -> dict[str, Any]:
    """As on a machine with all peers, so that the widest table is drawn."""
    names = ["lstm-layernorm", "torch.nn.LSTM", "plain loop", "JAX scan", "onnxruntime"]
    rows = [
        {"shape": [t, 32, 1024], "rival": name, "pass": p, "ms": 1234.5, "ratio": 12.345, "gflops": 345.6, "clean": 7}
        for t in (100, 1000)
        for p in ("training", "forward")
        for name in names
        if (p, name) != ("training", "onnxruntime")
    ]
    about = {"processor": "Some <CPU> & more", "cpu_flags": "AVX512", "threads": 2, "versions": {"torch": "2"}}
    return {"cell": "my$cells_.py:Own", "peer_cell": "an LSTM", "least": 7, "rows": rows, "environment": about}


def test_table_fits_a_narrow_terminal() -> None:
    text = shown(example())
    assert "…" not in text
    assert text.count("1,234.50") == 18
    assert text.count("–") == 6
    assert "100 × 32 × 1024" in text


def test_remarks() -> None:
    result = example()
    assert any("JAX scan and onnxruntime run an LSTM." in sentence for sentence in remarks(result))
    assert not any("waited" in sentence for sentence in remarks(result))
    result["rows"][0]["clean"] = 6
    assert any("Medians of lstm-layernorm" in sentence for sentence in remarks(result))
    result["rows"] = [row for row in result["rows"] if row["rival"] != "JAX scan"]
    assert any("Not installed: JAX scan; `pip install" in sentence for sentence in remarks(result))


def test_chart(tmp_path: Path) -> None:
    svg, png = write_chart(example(), tmp_path / "new")
    assert png.read_bytes().startswith(b"\x89PNG")
    texts = [element.text for element in ElementTree.parse(svg).iter() if element.tag.endswith("}text")]
    assert texts.count("torch.nn.LSTM") == 2  # one for each shape; the panels share the axis
    assert sum("12.35" in text or "12.34" in text for text in texts if text) == 18
    assert any("my$cells_.py:Own" in text and "<CPU> &" in text for text in texts if text)


def test_verdicts_of_the_benchmark() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.engine_targets import verdicts
    finally:
        sys.path.remove(str(ROOT))
    assert not any(line["met"] for line in verdicts({}))
    assert all(line["value"] is None for line in verdicts({}))
    rows = {"a": {"ms": {"carousel": 1.0, "torch.nn.LSTM": 2.0}}, "b": {"ms": {"carousel": 8.0, "torch.nn.LSTM": 9.0}}}
    mean, worst, loop, *_ = verdicts({"training": {"shapes": rows}})
    assert mean["value"] == pytest.approx((0.5 * 8 / 9) ** 0.5)
    assert worst["value"] == pytest.approx(8 / 9)
    assert not mean["met"]
    assert not worst["met"]
    assert loop["value"] is None
    compiled = {"cold_s": 3.0, "cold_long_s": 4.0, "warm_ms": 20.0, "files": 2, "files_after_other_shapes": 2}
    found = {line["what"]: line for line in verdicts({"compile": {"cells": {"gru": compiled}}})}
    assert found["cold compile, slowest cell and length, seconds"] == {
        "what": "cold compile, slowest cell and length, seconds",
        "target": "at most 6",
        "value": 4.0,
        "met": True,
    }
    assert found["files compiled anew for other lengths and batches"]["met"]
