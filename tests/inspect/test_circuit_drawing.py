"""Pictures of circuits: complete, without overlaps, and played in the right order."""

from __future__ import annotations

import json
import re
import sys
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.inspect import circuit
from carousel.inspect.circuit_drawing import CHARACTER, LINE, sentences

pytest.importorskip("igraph")
SVG = "{http://www.w3.org/2000/svg}"


def simple(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    q = x + y
    return q * z


def tangled(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    for _ in range(11):
        a, b, c, d = a * b, torch.tanh(b + c), c - d, d * a
    return a + b + c + d


def boxes(picture: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every text and box."""
    root = ElementTree.fromstring(picture)
    found = []
    for group in root.iter(f"{SVG}g"):
        (rect,) = group.iter(f"{SVG}rect")
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    for text in root.findall(f"{SVG}text"):
        half = len(text.text or "") * CHARACTER / 2
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        found.append((x - half, y - LINE * 0.75, x + half, y + LINE * 0.2))
    return found


@pytest.mark.parametrize("case", ["simple", "tangled", "network"])
def test_nothing_lies_on_anything(case: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    calls: dict[str, tuple[Any, ...]] = {
        "simple": (simple, -2.0, 5.0, -4.0), "tangled": (tangled, 0.5, 0.6, 0.7, 0.8),
        "network": (net, torch.randn(4, 3)),
    }  # fmt: skip
    found = circuit(*calls[case])
    picture = found.svg()
    everything = boxes(picture)
    assert len(everything) >= len(found.nodes) + len(found.edges)
    for one, other in combinations(everything, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())  # pyright: ignore
    assert all(x0 >= 0 and x1 <= width and y0 >= 0 and y1 <= height for x0, y0, x1, y1 in everything)
    assert picture == circuit(*calls[case]).svg()


def test_what_stands_in_the_picture() -> None:
    picture = circuit(simple, -2.0, 5.0, -4.0).svg()
    texts = [(t.attrib["class"], t.text) for t in ElementTree.fromstring(picture).findall(f"{SVG}text")]
    assert texts == [
        ("value", "−2"), ("gradient", "−4"), ("local", "∂ 1"), ("value", "5"), ("gradient", "−4"), ("local", "∂ 1"),
        ("value", "3"), ("gradient", "−4"), ("local", "∂ −4"), ("value", "−4"), ("gradient", "3"), ("local", "∂ 3"),
        ("value", "−12"), ("gradient", "1"),
    ]  # fmt: skip
    assert 'role="img"' in picture
    assert "q = x + y = −2 + 5 = 3" in picture  # for those who cannot see it


def test_sentences() -> None:
    assert [text for text, _ in sentences(circuit(simple, -2.0, 5.0, -4.0))] == [
        "x is given: −2",
        "y is given: 5",
        "q = x + y = −2 + 5 = 3",
        "z is given: −4",
        "#5 = q × z = 3 × (−4) = −12",
        "backward: the gradient of #5 is 1; it hands −4 to q (local derivative −4), 3 to z (local derivative 3)",
        "backward: the gradient of z is 3",
        "backward: the gradient of q is −4; it hands −4 to x (local derivative 1), −4 to y (local derivative 1)",
        "backward: the gradient of y is −4",
        "backward: the gradient of x is −4",
    ]
    both = sentences(circuit(lambda x: x * x, 3.0))
    assert both[-1][0] == "backward: the gradient of x is 6 = 3 + 3"


def test_the_page_plays_the_steps() -> None:
    found = circuit(simple, -2.0, 5.0, -4.0)
    page = found.html("x < y")
    assert "<title>x &lt; y</title>" in page
    assert json.loads(re.search(r"const order = (\[.*?\])", page).group(1)) == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]  # pyright: ignore
    assert page.count("<li>") == 10
    assert not re.search(r'(src|href)="http', page)
    assert found._repr_html_() == found.svg()


def test_without_igraph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(UsageError, match=r"pip install .carousel-nn\[inspect\]"):
        circuit(simple, 1.0, 2.0, 3.0).svg()
