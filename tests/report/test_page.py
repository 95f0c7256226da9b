"""The report page: what it says, that it is safe and self-contained, and that odd runs do not break it."""

from __future__ import annotations

import html
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from carousel.errors import RunFolderError
from carousel.report import figures, run_figures
from carousel.report.page import ReportData, render_report, write_report

LINES = (
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n"
    "KING RICHARD III:\nNow is the winter of our discontent\nMade glorious summer by this sun of York;\n"
    "And all the clouds that lour'd upon our house\nIn the deep bosom of the ocean buried.\n\n"
)


def make_metrics(steps: int = 2_000, every: int = 100) -> list[dict[str, Any]]:
    """A plausible run: the loss falls from ln 65, the norm of the gradient has spikes, the rate decays."""
    rng = random.Random(1)
    lines = []
    for step in range(1, steps + 1):
        fall = 1.34 + 2.2 * math.exp(-step / (0.06 * steps)) + 0.63 * math.exp(-step / (0.4 * steps))
        norm = 0.45 * math.exp(rng.gauss(0, 0.3)) * (rng.uniform(8, 60) if rng.random() < 0.008 else 1)
        line = {
            "step": step,
            "seconds": 0.09 * step,
            "epoch": 5.3 * step / steps,
            "train_loss": fall + rng.gauss(0, 0.045),
            "lr": 0.002 * min(1, step / (0.05 * steps)) * (0.55 + 0.45 * math.cos(math.pi * step / steps)),
            "grad_norm": norm,
            "grad_norm_clipped": min(norm, 1.0),
            "tokens_per_second": 182_000 + rng.gauss(0, 5_000) - (60_000 if rng.random() < 0.01 else 0),
        }
        if step % every == 0:
            line["dev_loss"] = fall + 0.06 + 0.1 * (step / steps) ** 4 + rng.gauss(0, 0.006)
        lines.append(line)
    return lines


def make_samples() -> list[dict[str, Any]]:
    rng = random.Random(2)
    samples = []
    for step in (0, 100, 250, 500, 750, 1_000, 1_250, 1_500, 1_750, 2_000):
        noise = 0.85 * math.exp(-step / 300)
        text = "".join(rng.choice("etaoin shrdlu\n") if rng.random() < noise else letter for letter in LINES * 2)
        samples.append(
            {
                "step": step,
                "seconds": 0.09 * step,
                "dev_loss": 1.4 + 2.6 * math.exp(-step / 200),
                "text": "ROMEO:" + text[: rng.randrange(330, 400)],
                "prompt": "ROMEO:",
                "temperature": 0.8,
            }
        )
    return samples


EQUATIONS = """
    def step(self, x, state):
        h, c = state
        gates = x @ self.w_x.T + h @ self.w_h.T + self.bias
        i, f, g, o = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)   # the constant error carousel
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)
"""


def make_data(**changes: Any) -> ReportData:
    """A finished run on the Shakespeare text, with `changes` made to it."""
    values: dict[str, Any] = {
        "title": "tinyshakespeare · lstm 384",
        "name": "runs/2026-01-12-shakespeare",
        "metrics": make_metrics(),
        "samples": make_samples(),
        "vocabulary_size": 65,
        "parameters": 717_505,
        "summary": {
            "final_train_loss": 1.4012,
            "seconds": 182.4,
            "tokens_per_second": 182_345.2,
        },
        "network": [
            ("embedding", "65 characters → one-hot 65"),
            ("layer 1", "LSTM 65 → 384, cpu kernel"),
            ("dropout", "0.1 between layers"),
            ("head", "linear 384 → 65, softmax"),
        ],
        "equations": EQUATIONS,
        "config": {
            "seed": 1,
            "data": {
                "path": "data/tinyshakespeare.txt",
                "kind": "text",
                "split": [0.9, 0.05, 0.05],
                "vocabulary": "character",
            },
            "network": {"cell": "lstm", "hidden_size": 384, "num_layers": 1, "dropout": 0.1, "tie": False},
            "training": {
                "steps": 2_000,
                "minutes": 3,
                "batch": 64,
                "window": 128,
                "optimizer": {"name": "adamw", "lr": 0.002, "betas": [0.9, 0.95], "weight_decay": 0.01},
                "schedule": {"name": "cosine", "warmup": 100, "floor": 0.1},
                "clip": 1.0,
            },
            "evaluation": {"every": 100, "carry_state": True, "samples_every": 250},
        },
        "environment": {
            "carousel": "0.1.0",
            "torch": "2.13.0+cpu",
            "python": "3.11.2",
            "cpu": "AMD EPYC 7B13, AVX2",
            "threads": 2,
            "platform": "Linux x86_64",
            "date": "2026-01-12 14:03",
            "command": "carousel train data/tinyshakespeare.txt --minutes 3",
        },
        "reproduce": [
            "pip install carousel-nn==0.1.0",
            "carousel train data/tinyshakespeare.txt --cell lstm --steps 2000 --seed 1 --out runs/again",
        ],
        "next_commands": [
            ("carousel sample runs/2026-01-12-shakespeare --chars 400 --temperature 0.8", "Let it write"),
            ("carousel resume runs/2026-01-12-shakespeare --minutes 10", "Train it further from the last checkpoint"),
            ("carousel explain lstm", "See the equations of the cell and how the error flows through it"),
        ],
    }
    return ReportData(**{**values, **changes})


FEW = make_metrics(60, 20)
VOID = {"meta", "link", "wbr", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in order; keeps the attributes, the text and the tiles."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.open = source, []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())

    @property
    def tiles(self) -> dict[str, list[str]]:
        cells = re.findall(r'<div class="tile"><dt>(.*?)</dt>(.*?)</div>', self.source)
        return {label: [html.unescape(dd) for dd in re.findall(r"<dd[^>]*>(.*?)</dd>", rest)] for label, rest in cells}

    @property
    def sections(self) -> list[str]:
        return re.findall(r'<section id="(\w+)">', self.source)

    @property
    def plots(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", self.source, re.DOTALL)]


def read(data: ReportData) -> Page:
    """The page of `data`, after the checks that hold for every page."""
    page = Page(render_report(data))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)), "an id is used twice"
    for tag, attrs in page.tags:
        assert tag not in {"script", "img", "iframe", "object", "embed", "b"}
        assert not {"src", "srcset", "onload", "onclick"} & attrs.keys()
        target = attrs.get("href") or "#"
        assert target == "data:," or target[1:] in ["", *ids], target
    for svg in page.plots:
        assert svg.get("role") == "img"
        assert len(svg.get("aria-label") or "") > 20
    for keyword in ("@import", "http:", "https:"):
        assert keyword not in page.source
    assert set(re.findall(r"url\((.)", page.source)) <= {"#"}
    return page


@pytest.fixture(scope="module")
def page() -> Page:
    return read(make_data())


def test_the_sections_are_in_order(page: Page) -> None:
    assert page.sections == ["curves", "samples", "network", "configuration", "environment"]
    assert read(make_data(metrics=[], findings=[{"code": "non-finite"}])).sections[0] == "findings"


def test_the_tiles_say_the_main_numbers(page: Page) -> None:
    dev = {line["step"]: line["dev_loss"] for line in make_metrics() if "dev_loss" in line}
    best = min(dev, key=lambda step: dev[step])
    assert list(page.tiles) == ["Dev loss", "Bits per character", "Speed", "Time", "Parameters"]
    assert page.tiles["Dev loss"][:2] == [f"{dev[best]:.3f}", "nats per character"]
    assert f"kept from step {best:,}" in page.tiles["Dev loss"][2]
    assert "ln\u00a065\u00a0=\u00a04.174" in page.tiles["Dev loss"][2]
    assert page.tiles["Bits per character"][0] == f"{dev[best] / math.log(2):.3f}"
    assert page.tiles["Speed"][:2] == ["182,300", "characters per second"]
    assert page.tiles["Time"][:2] == ["3:02", "minutes"]
    assert "2,000 steps, 5.3 epochs" in page.tiles["Time"][2]
    assert page.tiles["Parameters"][0] == "717,505"


def test_the_summary_goes_before_the_metrics() -> None:
    summary = {"best_dev_loss": 1.25, "best_step": 40, "test_loss": 1.5, "seconds": 3_900, "tokens_per_second": 12.3e6}
    tiles = read(make_data(metrics=[], summary=summary, parameters=12_345_678)).tiles
    assert tiles["Dev loss"][0] == "1.250"
    assert "step 40." in tiles["Dev loss"][2]
    assert tiles["Bits per character"][0] == f"{1.25 / math.log(2):.3f}"
    assert tiles["Test loss"][:2] == ["1.500", f"nats per character · {1.5 / math.log(2):.3f} bits"]
    assert tiles["Time"][:2] == ["1:05", "hours"]
    assert tiles["Speed"][:2] == ["12.3", "million characters per second"]
    assert tiles["Parameters"] == ["12.3", "million", "The numbers that training adjusts: 12,345,678 exactly."]


def test_words_have_a_perplexity() -> None:
    page = read(
        make_data(metrics=FEW, unit="word", vocabulary_size=10_000, summary={"best_dev_loss": 4.5, "test_loss": 900.0})
    )
    assert page.tiles["Perplexity"][:2] == [f"{math.exp(4.5):.2f}", "words"]
    assert "Guessing evenly: 10,000." in page.tiles["Perplexity"][2]
    assert page.tiles["Test loss"][1].endswith("perplexity ∞")
    assert "perplexity" in "".join(page.plots[0].itertext())


def test_the_page_says_all_it_was_given(page: Page) -> None:
    data = make_data()
    for text in (data.title, data.name, *data.reproduce, *(part for pair in data.next_commands for part in pair)):
        assert text in page.words
    for name, what in data.network:
        assert f"{name}{what}" in "".join(page.text)
    for text in ("optimizer.weight_decay", "[0.9, 0.95]", "true", "AMD EPYC 7B13, AVX2", "carry_state", "25 values"):
        assert text in page.words
    assert "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)" in page.words
    assert "of the celldef step(self, x, state):\n    h, c = state\n" in "".join(page.text), "the code is dedented"


def test_samples_are_the_first_the_last_and_evenly_between(page: Page) -> None:
    assert re.findall(r"<h3>Step ([\d,]+)</h3>", page.source) == ["0", "250", "750", "1,000", "1,500", "2,000"]
    assert page.source.count('<span class="prompt">ROMEO:</span>') == 6
    texts = [sample["text"] for sample in make_samples()]
    assert texts[0] in "".join(page.text)
    assert texts[-1] in "".join(page.text)
    assert "Temperature 0.8:" in page.words


def test_samples_differ_in_prompt_and_temperature() -> None:
    samples = [{"text": "a b", "prompt": "a", "temperature": 0.5}, {"text": "", "prompt": "x", "temperature": 1.0}]
    words = read(make_data(metrics=[], samples=samples)).words
    assert "temperature 0.5 · prompt a" in words
    assert "temperature 1 · prompt x" in words
    assert "(empty)" in words


def test_hostile_text_stays_text() -> None:
    evil = '</pre></script><script>alert(1)</script><b>&amp; "q" \''
    strange = (
        "日本語 ελ\u0301 👩\u200d🔬 \x00\x07\x1b[31m\x7f\x85 \u202egnp.exe \ud800 \ufeff $title ${x} %s {y}\r\nnext"
    )
    text = evil + strange
    data = make_data(
        metrics=[],
        title=text,
        name=text,
        status=evil,
        message=text,
        unit="<i>",
        samples=[{"step": 1, "text": text, "prompt": evil}],
        findings=[{"code": text, "severity": text, "where": text, "evidence": {evil: [evil]}, "advice": text}],
        network=[(text, text)],
        equations=text,
        config={text: {text: text}, "top": text},
        environment={text: text},
        reproduce=[text],
        next_commands=[(text, text)],
    )
    page = read(data)
    assert "".join(page.text).count(evil) >= 12
    assert (
        "日本語 ελ\u0301 👩\u200d🔬 ␀␇␛[31m␡⟨U+0085⟩ ⟨U+202E⟩gnp.exe ⟨U+D800⟩ ⟨U+FEFF⟩ $title ${x} %s {y}\nnext"
        in "".join(page.text)
    )
    page.source.encode()


def test_findings_come_worst_first() -> None:
    findings = [
        {"code": "overfitting", "severity": "note", "evidence": "dev rose"},
        {"code": "non-finite", "severity": "error", "where": "layer 1", "advice": "Divide the rate by 3."},
        {"code": "lr-too-high", "severity": "warning", "evidence": "the loss rose"},
    ]
    page = read(make_data(metrics=[], findings=findings))
    codes = re.findall(r'<li class="finding (\w+)".*?<code>(.*?)</code>', page.source)
    assert codes == [("error", "non-finite"), ("warning", "lr-too-high"), ("note", "overfitting")]
    for text in ("Divide the rate by 3.", "layer 1", "the loss rose", "dev rose"):
        assert text in page.words


def test_every_figure_is_drawn_for_desktop_and_phone(page: Page) -> None:
    names = [svg.get("class") for svg in page.plots]
    assert names == ["plot plot-loss", "plot plot-loss-narrow", "plot plot-lr", "plot plot-gradient", "plot plot-speed"]
    for svg in page.plots:
        _, _, width, height = map(float, (svg.get("viewBox") or "").split())
        assert svg.get("width") is None
        texts = svg.findall(".//text")
        assert len(texts) > 6
        for text in texts:
            assert 0 <= float(text.get("x") or "nan") <= width
            assert 0 <= float(text.get("y") or "nan") <= height
            assert "font-family" not in (text.get("style") or "")


def test_figures_take_every_color_from_the_page(page: Page) -> None:
    for svg in page.plots:
        for element in svg.iter():
            for color in re.findall(r"(?:fill|stroke): ([^;]+)", element.get("style") or ""):
                assert color == "none" or color.startswith("var(--"), color


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_is_enough_to_read(dark: bool) -> None:
    css = files("carousel.report").joinpath("style.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    color = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[dark]))

    def luminance(code: str) -> float:
        parts = [int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ink in ("ink", "muted", "train", "dev", "bad", "good", "warn"):
        for ground in ("paper", "card", "sunk"):
            low, high = sorted([luminance(color[ink]), luminance(color[ground])])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
    if not dark:
        assert figures.COLORS.items() <= color.items(), "the figures fall back to the page's light colors"


def test_the_alternative_text_tells_the_journey(page: Page) -> None:
    label = page.plots[0].get("aria-label") or ""
    assert re.search(r"Train loss: from 4\.\d+ at step 1 to 1\.\d+ at step 2,000\.", label)
    assert re.search(r"Best dev loss: 1\.\d{3} at step [\d,]+\.", label)


def test_the_line_of_even_guessing_is_drawn_only_where_it_fits(page: Page) -> None:
    assert "guessing evenly: 4.174" in page.words
    assert "guessing evenly: 13.816" not in read(make_data(metrics=FEW, vocabulary_size=1_000_000)).words
    assert "guessing evenly" not in read(make_data(metrics=FEW, vocabulary_size=None)).words.lower()


def test_the_same_data_give_the_same_bytes(page: Page, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    write_report(make_data(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == page.source.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert dict(matplotlib.rcParams) == before


def test_a_folder_that_is_missing_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_report(make_data(metrics=[]), tmp_path / "none" / "report.html")


def test_a_long_run_stays_small() -> None:
    samples = [{"step": step, "text": "wide " * 20_000, "prompt": ""} for step in range(50)]
    config = {f"group{place}": {f"key{key}": "x" * 5_000 for key in range(100)} for place in range(100)}
    source = render_report(make_data(metrics=make_metrics(100_000, 500), samples=samples, config=config))
    assert len(source.encode()) < 1_000_000
    assert "9,400 more settings" in source
    assert "96,000 more)" in source


NAN, INF = math.nan, math.inf
ODD_METRICS = {
    "none": [],
    "one line": make_metrics(1),
    "two lines": make_metrics(2),
    "no evaluation": make_metrics(300, 1_000),
    "only evaluations": [{"step": step, "dev_loss": 2.0 - step / 100} for step in range(0, 100, 10)],
    "one evaluation": [{"step": 10, "dev_loss": 2.0}],
    "all NaN": [{"step": step, "train_loss": NAN, "dev_loss": NAN, "lr": NAN, "grad_norm": INF} for step in range(5)],
    "NaN inside": [{"step": step, "train_loss": NAN if step % 3 else 2.0, "grad_norm": -INF} for step in range(99)],
    "nothing known": [{}, {"something": 1}, {"step": 3}],
    "no steps": [{"train_loss": 3.0 - place / 50, "lr": 0.1} for place in range(60)],
    "wrong kinds": [{"step": "x", "train_loss": "soon", "lr": None, "grad_norm": True, "seconds": []}] * 3,
    "constant": [{"step": step, "train_loss": 0.5, "lr": 0.0, "grad_norm": 0.0} for step in range(50)],
    "zero": [{"step": step, "train_loss": 0.0, "dev_loss": 0.0, "tokens_per_second": 0} for step in range(50)],
    "negative": [{"step": step, "train_loss": -step / 7, "lr": -0.1} for step in range(50)],
    "huge": [{"step": 10**step, "train_loss": 10.0**step, "grad_norm": 10.0**-step} for step in range(60)],
    "tiny": [
        {"step": step, "train_loss": 1e-300, "dev_loss": 5e-324, "lr": 1e-12, "grad_norm": 1e-30} for step in (1, 2)
    ],
    "spike": [{"step": step, "train_loss": 1e25 if step == 50 else 2.0 - step / 100} for step in range(100)],
    "beyond a float": [
        {"step": 1, "train_loss": 10**400},
        {"step": NAN, "train_loss": 1.0},
        {"step": 2, "train_loss": 2},
    ],
    "unordered": list(reversed(make_metrics(50, 10))),
}


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *((name, "character") for name in ODD_METRICS),
        *((name, "word") for name in ("one line", "huge", "negative", "spike")),
    ],
)
def test_odd_metrics_make_a_page(name: str, unit: str) -> None:
    page = read(make_data(metrics=ODD_METRICS[name], summary={}, unit=unit))
    assert "curves" in page.sections
    if name == "none":
        assert "No step was logged yet" in page.words
        assert page.tiles["Loss" if "Loss" in page.tiles else "Train loss"][0] == "–"
    if name == "all NaN":
        assert "5 logged losses are NaN or infinite, first at step 0" in page.words
    if name == "no evaluation":
        assert page.tiles["Train loss"][1] == f"nats per {unit}"
        assert "Nothing was evaluated on held-out text." in page.tiles["Train loss"][2]
    if name == "spike":
        assert "log scale" not in page.source
    if name == "one line":
        assert "1 step, 5.3 epochs" in page.tiles["Time"][2]


def test_a_title_is_enough() -> None:
    page = read(ReportData(title="only a title"))
    assert page.sections == ["curves"]
    assert page.tiles["Speed"][0] == page.tiles["Parameters"][0] == "–"


def test_a_failed_run_says_why() -> None:
    metrics = make_metrics(400)
    for line in metrics[312:]:
        line["train_loss"] = line["grad_norm"] = NAN
    page = read(
        make_data(status="failed", message="NaN loss at step 313.", metrics=metrics, summary={"final_train_loss": NAN})
    )
    assert '<p class="message failed">NaN loss at step 313.</p>' in page.source
    assert "88 logged losses are NaN or infinite, first at step 313" in page.words
    assert page.source.count("NaN or infinite</span>") == 2


def test_smoothing_is_centered_and_deaf_to_spikes() -> None:
    steps = np.arange(10_000.0)
    values = 5.0 - steps / 4_000
    values[7_000] = 1e9
    smooth = figures.smoothed(figures.Series(steps, values))
    assert smooth is not None
    np.testing.assert_allclose(smooth.values[:-21], 5.0 - smooth.steps[:-21] / 4_000, atol=0.005)
    assert figures.smoothed(figures.Series(steps[:10], values[:10])) is None


def test_thinning_keeps_every_extreme() -> None:
    rng = np.random.default_rng(0)
    data = figures.Series(np.arange(50_000.0), rng.normal(size=50_000))
    steps, values = figures.thinned(data, 100)
    assert len(steps) <= 202
    assert np.all(np.diff(steps) > 0)
    assert (values.min(), values.max()) == (data.values.min(), data.values.max())
    assert (steps[0], steps[-1]) == (0, 49_999)


def test_the_upper_edge_is_flat_where_clipping_acts() -> None:
    norms = np.minimum(np.random.default_rng(0).lognormal(0, 1, 5_000), 1.0)
    edge = run_figures._upper_edge(figures.Series(np.arange(5_000.0), norms))
    assert len(edge) == 60
    assert np.all(edge.values == 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0"), (-0.0, "0"), (1.5321, "1.532"), (0.8, "0.8"), (717_505, "717,505"), (-2.5, "−2.5"),
        (3e-7, "3·10⁻⁷"), (-1.25e-9, "−1.25·10⁻⁹"), (2.5e15, "2.5·10¹⁵"), (1e-12, "10⁻¹²"),
        (-1e20, "−10²⁰"), (-1.1e20, "−1.1·10²⁰"), (NAN, "NaN"), (INF, "∞"), (-INF, "−∞"),
        (0.00012345, "0.0001234"), (99999.6, "100,000"), (5e-324, "4.94·10⁻³²⁴"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert figures.compact(value) == text


def test_ticks_on_a_logarithmic_axis_are_round_and_few() -> None:
    assert figures.ratio_ticks(0.04, 40) == pytest.approx([0.1, 0.3, 1, 3, 10, 30])
    assert figures.ratio_ticks(0.9, 60) == pytest.approx([1, 2, 5, 10, 20, 50])
    for low, high in [(1e-30, 1e30), (1e-5, 2e-5), (110, 190), (1, 4)]:
        ticks = figures.ratio_ticks(low, high)
        assert 2 <= len(ticks) <= 12
        assert low <= min(ticks) <= max(ticks) <= high


def test_the_report_loads_neither_torch_nor_pyplot() -> None:
    code = "import sys, carousel.report; print(sorted({'torch', 'matplotlib.pyplot'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
