"""The doctor's page: findings and pictures, that names stay text, and that odd data do not break it."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from carousel.errors import RunFolderError
from carousel.report.concepts import CONCEPTS
from carousel.report.doctor import render_doctor_report, write_doctor_report

SECTIONS = ("findings", "loss", "layers", "activations", "idle", "time", "experiments")


def make_activation(number: int, of: int) -> dict[str, Any]:
    counts = [round(100 * math.exp(-(((at - 20) / (3 + number % 9)) ** 2))) for at in range(40)]
    return {
        "where": f"Net.layers.{number}",
        "kind": ("tanh", "relu", "sigmoid")[number % 3],
        "first": {"step": 0, "low": -0.9, "high": 0.9, "counts": counts},
        "last": {"step": 90, "low": -0.1, "high": 0.2, "counts": counts[::-1]},
        "idle": [min(1.0, unit * number / (24 * of)) for unit in range(48)],
        "size": [[step, 0.5 * 0.9**number] for step in range(50)],
    }


def make_content(layers: int = 5, steps: int = 100) -> dict[str, Any]:
    """What `Doctor.to_dict` gives of a recurrent network with everything in it."""
    finding = {
        "severity": "warning",
        "where": "here",
        "evidence": "seen",
        "advice": "do",
        "step": 0,
        "consequences": [],
    }
    return {
        "findings": [
            {**finding, "code": "overfitting", "severity": "note", "step": 60},
            {**finding, "code": "lr-too-high", "step": 30},
            {
                **finding,
                "code": "dead-relu",
                "severity": "error",
                "where": "Net.layers.2",
                "consequences": ["underfitting"],
            },
        ],
        "steps": steps,
        "signals": {
            "loss": [[step, 0.3 + math.exp(-3 * step / steps)] for step in range(steps)],
            "evaluations": {"mse_loss": [[step, 0.5] for step in range(0, steps, 10)]},
            "activations": [make_activation(number, layers) for number in range(layers)],
            "layers": [
                {
                    "where": f"Net.layers.{number}.weight",
                    "gradient": [[step, 0.5**number] for step in range(0, steps, 2)],
                    "update": [[step, 0.003 * 0.9**number] for step in range(0, steps, 2)],
                }
                for number in range(layers)
            ],
            "through_time": {
                when: {
                    "kind": "rnn_tanh",
                    "loss": [0.7 ** (30 - t) for t in range(31)],
                    "last": [0.8 ** (30 - t) for t in range(31)],
                }
                for when in ("start", "end")
            },
            "experiments": {
                "why_not": None,
                "batches": 12,
                "seconds": 1.5,
                "learning_rates": {"updates": 60, "start": 1.5, "after": {"1.0": 1.2, "10.0": 0.4, "100.0": None}},
                "standardized": {"start": 2.0, "after": 0.25, "largest": 900.0, "spread": 80.0},
                "shallow": {"start": 1.0, "after": 0.125, "layers": 36},
                "reference": {"start": 1.0, "after": 0.0625},
                "reliance": {"loss": 0.178, "mixed": 0.18},
                "axes": {
                    "kind": "lstm",
                    "steps": 9,
                    "samples": 4,
                    "batch_first": False,
                    "lone": 3,
                    "lone_steps": 9,
                    "same": False,
                },
                "gradients": [
                    {"name": "Square", "wrong": [[1.0, 2.0]], "tried": 3},
                    {"name": "Cube", "wrong": [], "tried": 3},
                ],
                "lags": {"window": 10, "within": 0.02, "beyond": 0.9, "lag": 15, "samples": 400},
                "through time, start": {"kind": "rnn_tanh", "loss": [1.0], "last": [1e-9, 1.0]},
                "something new": {"a": 1},
            },
        },
    }


class Checker(HTMLParser):
    """Tags must close in order; collects the sections and the tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sections: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "section":
            self.sections.append(dict(attrs).get("id") or "")
        if tag not in {"meta", "link", "wbr", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def render(content: dict[str, Any], title: str = "train.py") -> tuple[str, Checker]:
    page = render_doctor_report(content, title)
    checked = Checker(page)
    assert not {"script", "img", "iframe"} & checked.tags
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    return page, checked


def test_everything() -> None:
    page, checked = render(make_content())
    assert tuple(checked.sections) == SECTIONS
    assert page.index("dead-relu") < page.index("lr-too-high") < page.index("overfitting")
    assert "It explains <code>underfitting</code> too." in page
    assert "First seen at step 30." in page
    assert "1 error, 1 warning, 1 note" in page
    for code in ("dead-relu", "lr-too-high", "overfitting"):
        assert CONCEPTS[code][0] in page
    for name in ("loss", "gradient", "updates", "time-last", "time-loss"):
        assert f'class="plot plot-{name}"' in page
        assert f'class="plot plot-{name}-narrow"' in page
    assert page.count('class="histogram"') == page.count('class="idle"') == 5
    for words in (
        'class="better">10 times: <b>0.4</b>',
        "100 times: <b>no finite loss</b>",
        "The loss goes from 2 to <b>0.25</b>",
        "36 layers",
        "makes no use of its inputs",
        "through sample 3 alone",
        "differs in 1 of 3",
        "15 steps back, 90 %",
        "something new",
    ):
        assert words in page


def test_a_sentence_for_every_code() -> None:
    text = (Path(__file__).parents[2] / "src" / "carousel" / "doctor" / "rules").glob("[!_]*.py")
    codes = {re.search(r'^CODE = "(.+)"', path.read_text(encoding="utf-8"), re.MULTILINE) for path in text}
    assert {code[1] for code in codes if code} == set(CONCEPTS)
    for concept, sentence in CONCEPTS.values():
        assert concept[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize("content", [{}, {"findings": [], "steps": 0}, {"findings": None, "signals": None}])
def test_nothing_seen(content: dict[str, Any]) -> None:
    page, checked = render(content)
    assert checked.sections == ["findings"]
    assert "There was nothing to judge." in page


@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("loss", "loss"),
        ("layers", "layers"),
        ("through_time", "time"),
        ("activations", "activations"),
        ("experiments", "experiments"),
    ],
)
def test_what_is_missing_is_left_out(key: str, section: str) -> None:
    content = make_content()
    content["signals"] |= {key: type(content["signals"][key])()}
    content["signals"] |= {"evaluations": {}}
    gone = {section} | ({"idle"} if key == "activations" else set())
    assert render(content)[1].sections == [name for name in SECTIONS if name not in gone]


def test_why_there_are_no_experiments() -> None:
    content = make_content()
    content["signals"]["experiments"] = {
        "why_not": "several optimizers update the network",
        "batches": 3,
        "seconds": 0.0,
    }
    assert "There are none: several optimizers update the network." in render(content)[0]


def test_hostile_names_stay_text() -> None:
    bad = "</title><script>alert(1)</script>\u202e\x00]]>" + "x" * 5_000

    def spoiled(value: Any) -> Any:
        if isinstance(value, str) and value not in ("error", "warning", "tanh", "relu"):
            return bad
        if isinstance(value, dict):
            return {key: spoiled(v) for key, v in value.items()} | ({} if "loss" in value else {bad: 1})
        return [spoiled(v) for v in value] if isinstance(value, list) else value

    content = spoiled(make_content())
    content["signals"]["evaluations"] = {bad: [[0, 1.0], [5, 2.0]]}
    page, _ = render(content, bad)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("seed", range(4))
def test_values_that_are_no_numbers(seed: int) -> None:
    odd = [None, math.nan, math.inf, -math.inf, 1e300, 1e-300, 0.0, -1.0, "x", [], {}, True]
    chance = np.random.default_rng(seed)

    def spoiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoiled(v) for key, v in value.items()}
        if isinstance(value, list):
            return [spoiled(v) for v in value]
        number = isinstance(value, int | float) and chance.random() < 0.3 + 0.2 * seed
        return odd[chance.integers(len(odd))] if number else value

    render(spoiled(make_content()))


def test_zeros_have_a_sentence_in_place_of_a_logarithm() -> None:
    content = make_content()
    for layer in content["signals"]["layers"]:
        layer |= {"gradient": [[step, 0.0] for step in range(9)], "update": [[step, 0.0] for step in range(9)]}
    page, _ = render(content)
    assert "The gradient of 5 of 5 layers was 0 at most looks." in page
    content["signals"]["layers"][0]["gradient"] = [[0, 1.0]]
    assert "exactly 0" in render(content)[0]


def test_large_runs_stay_small_pages() -> None:
    content = make_content(layers=200, steps=8_000)
    page, _ = render(content)
    assert len(page) < 800_000
    assert "12 of 200 are shown, evenly chosen; 188 layers are left out." in page
    assert "24 of 200 are shown, evenly chosen; 176 layers are left out." in page
    assert page.count('class="histogram"') == 12
    assert "200. Net.<wbr>layers.<wbr>199.<wbr>weight" in page


def test_same_data_same_bytes(tmp_path: Path) -> None:
    content = make_content()
    before = copy.deepcopy(content)
    write_doctor_report(content, tmp_path / "a.html", "train.py")
    with (
        matplotlib.rc_context({"axes.grid": True, "lines.linewidth": 9, "axes.titlesize": 30}),
        np.errstate(all="raise"),
    ):
        write_doctor_report(json.loads(json.dumps(content)), tmp_path / "b.html", "train.py")
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert content == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_doctor_report({}, tmp_path / "no" / "a.html", "train.py")


def test_pyplot_is_not_needed() -> None:
    before = "matplotlib.pyplot" in sys.modules
    render(make_content())
    assert ("matplotlib.pyplot" in sys.modules) == before
