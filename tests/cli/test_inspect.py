"""`carousel inspect`: a run from the text to the page, a formula to its circuit, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import carousel
from carousel.errors import DataError, UsageError

Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)


def source(lines: int, seed: int) -> str:
    draw = random.Random(seed)
    names = [f"value{n}" for n in range(6)]
    made = []
    for _ in range(lines):
        a, b = draw.choice(names), draw.choice(names)
        made.append(
            draw.choice([f'{a} = print("{b} (or {a})")', f"def {a}({b}):\n    return [{b}, {a}]", f"{a} = {b}  # {a}"])
        )
    return "\n".join(made) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("inspected")
    (place / "source.py").write_text(source(1500, 0))
    options = {"hidden_size": 24, "steps": 30, "threads": 1, "device": "cpu", "doctor": False}
    options = {name: value for name, value in options.items() if name != "doctor"}
    return carousel.train(place / "source.py", out=place / "run", dev=0.3, **options).path


def test_a_run_from_the_text_to_the_page(run: Run, trained: Path) -> None:
    code, said = run("inspect", str(trained), "--tokens", "4000", "--json", "found.json", "--out", "page.html")
    assert code == 0, said
    assert "memory: " in said
    assert "largest Lyapunov exponent" in said
    found = json.loads(Path("found.json").read_text())
    page = Path("page.html").read_text()
    units = {unit["property"]: unit for unit in found["units"]}
    assert {"inside a string", "inside ( )", "inside a comment", "on a line after 'def'"} <= set(units)
    for unit in units.values():
        assert f"{unit['score']:.3f}" in page
        assert 0.3 < unit["control"] < 0.7
    assert {gate["name"] for gate in found["gates"]} >= {"f", "o"}
    assert all(0 <= gate["mean"] <= 1 for gate in found["gates"])
    assert page.count("<svg") >= 5
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("aria-label") >= page.count("<svg")
    first = next(iter(found["time"]["norms"].values()))
    assert len(first) == 256
    assert first[-1] > first[0]  # the loss is that of the last token


def test_another_text_and_what_is_refused(run: Run, trained: Path) -> None:
    Path("other.py").write_text(source(100, 1) + "ü")
    code, said = run("inspect", str(trained), "--text", "other.py", "--out", "page.html")
    assert code == 0, said
    Path("short.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="5 tokens; to look at a network takes 512"):
        carousel.inspect_run(trained, text="short.py")
    code, said = run("inspect", str(trained), "--text", "nosuch.py")
    assert code == 2
    assert "\n" not in said.strip()
    code, said = run("inspect", "nosuch")
    assert code == 1
    assert "no run folder nosuch" in said


def test_images_from_the_folder_to_the_page(run: Run) -> None:
    random = np.random.default_rng(0)
    for name in ("up", "down"):
        Path("lines", name).mkdir(parents=True)
        for number in range(24):
            pixels = random.integers(0, 90, (12, 12, 3), dtype=np.uint8)
            pixels[2 if name == "up" else 9] = 255
            Image.fromarray(pixels).save(f"lines/{name}/{number}.png")
    few = {"steps": 20, "threads": 1, "device": "cpu", "batch": 8, "dev": 0.3}
    line = "conv 4 3 pad half, relu, pool 2, conv 6 3, relu, pool 2, dense"
    carousel.train("lines", network=line, out="run", **few)
    code, said = run("inspect", "run", "--json", "found.json")
    assert code == 0, said
    assert "conv2: a unit sees 8 x 8 pixels" in said
    found = json.loads(Path("found.json").read_text())
    assert [one["receptive_field"] for one in found["layers"]] == [[3, 3], [8, 8]]
    assert all(one["answer"] in ("up", "down") for one in found["examples"])
    page = Path("run/inspect.html").read_text()
    for words in ("Filters of the first layer", "What the channels of conv1 look for", "Which pixels matter",
                  "What it needs to say", "The ideal image of each class", "Through depth"):  # fmt: skip
        assert words in page
    assert page.count("aria-label") >= page.count("<svg") >= 6
    with pytest.raises(UsageError, match="is no language model, and --text"):
        carousel.inspect_run("run", text="x.txt")


def test_a_formula(run: Run) -> None:
    code, said = run("inspect", "(x + y) * z", "x=-2", "y=5", "z=-4", "--json", "f.json")
    assert code == 0, said
    assert "The picture is circuit.html" in said
    nodes = {node["label"]: node for node in json.loads(Path("f.json").read_text())["nodes"]}
    assert {name: nodes[name]["gradient"] for name in "xyz"} == {"x": -4, "y": -4, "z": 3}
    assert "<svg" in Path("circuit.html").read_text()
    code, said = run("inspect", "max(w, 2) ** 2", "w=3", "--out", "f.svg")
    assert Path("f.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["(x +", "x=1"], "is no formula"),
        (["x*y", "x=1"], "The formula has y, which has no value; give it as y=2."),
        (["x*x", "x=1", "z=2"], "The formula has no z; its names are x."),
        (["x*x", "x"], "'x' is no value; write it as x=-2."),
        (["tahn(x)", "x=1"], "There is no function 'tahn' for formulas. Did you mean tanh?"),
        (["x.real*2", "x=1"], "has no place in a formula"),
        (["(2 + 3)*2", "x=1"], "has no names"),
        (["max(x)*1", "x=1"], "cannot be computed"),
        (["x*x", "x=1", "--out", "f.png"], "written as .html or .svg"),
        (["x*x", "x=1", "--out", "no/f.svg"], "there is no folder"),
    ],
)
def test_formulas_that_are_none(run: Run, arguments: list[str], said: str) -> None:
    code, printed = run("inspect", *arguments)
    assert code == 2
    assert said in printed
    assert "\n" not in printed.strip()
