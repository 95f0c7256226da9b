"""Panels: plain data in, safe HTML out; odd data do not break the page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from carousel.report.page import ReportData, render_report
from carousel.report.panels import PANELS, render_panels
from carousel.tasks.scores import accuracy, balanced_accuracy, confusion, confusion_panel, f1

BAD = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "panel",
    [
        {"panel": "table", "columns": ["a", BAD], "rows": [[1, BAD], [0.123456, None], [float("nan"), True]]},
        {"panel": "confusion", "labels": [BAD, "b"], "counts": [[3, 1], [0, 0]]},
        {
            "panel": "forecast",
            "fans": [
                {
                    "label": BAD,
                    "history": [1.0, None, 2.0],
                    "times": ["a", "b", "c", BAD, "e"],
                    "median": [2.0, 3.0],
                    "lower": [1.0, 2.0],
                    "upper": [3.0, 4.0],
                    "truth": [2.5, None],
                },
                {
                    "label": "no truth",
                    "history": [],
                    "times": ["d"],
                    "median": [1.0],
                    "lower": [1.0],
                    "upper": [1.0],
                    "truth": None,
                },
                {"label": "empty", "median": []},
            ],
        },
        {"panel": "histogram", "values": [0.1, None, 0.3, 9.0], "x": BAD, "y": BAD},
        {"panel": "histogram", "values": [0.5]},
        {
            "panel": "map",
            "points": [[0.0, 1.0, None], [1.0, 2.0, 3.0]],
            "classes": [0, 1, 7],
            "names": [BAD, "b", "none"],
        },
        {"panel": "map", "points": [[0.0, 1.0], [1.0, 2.0]], "classes": [], "names": []},
        {
            "panel": "lines",
            "x": BAD,
            "y": BAD,
            "lines": [{"name": BAD, "values": [1.0, None, 3.0]}, {"name": "b", "values": []}],
        },
        {"panel": "calibration", "parts": [{"name": BAD, "nominal": [0.2, 0.8], "observed": [0.25, 0.7]}]},
        {"panel": "tags", "sentences": [[[BAD, "A", "A"], ["word", BAD, "B"]]]},
    ],
)
def test_panels_are_escaped_and_well_formed(panel: dict[str, Any]) -> None:
    page = render_panels([{**panel, "title": BAD, "note": BAD}])
    assert BAD not in page
    assert "&lt;script&gt;" in page
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert panel["panel"] in PANELS


def test_what_is_struck_through_is_the_wrong_answer() -> None:
    page = render_panels(
        [{"panel": "tags", "title": "t", "sentences": [[["dog", "NOUN", "VERB"], ["a", "DET", "DET"]]]}]
    )
    assert '<span class="wrong"><b>dog</b><i><s>VERB</s></i><i>NOUN</i></span>' in page
    assert "<span><b>a</b><i>DET</i></span>" in page


def test_a_histogram_is_told_in_words_and_a_map_names_the_largest_classes() -> None:
    classes = [*range(10)] * 2 + [10, 11]
    page = render_panels(
        [
            {"panel": "histogram", "title": "Errors", "values": [0.1, 0.2, 0.3, 0.4, 5.0]},
            {
                "panel": "map",
                "title": "Codes",
                "points": [[float(k) for k in range(22)], [float(-k) for k in range(22)]],
                "classes": classes,
                "names": [f"kind {number}." for number in range(12)],
            },
        ]
    )
    assert "Errors. From 0.1 to 5, half of them below 0.3." in page
    assert "22 points of 12 classes." in page
    assert [f"kind {number}." in page for number in range(12)] == [True] * 10 + [False] * 2


def test_unknown_and_empty_panels_are_left_out() -> None:
    assert render_panels([{"panel": "hologram"}, {"panel": "table"}, {}]) == ""
    assert "Results" not in render_report(ReportData(title="x", panels=[{"panel": "hologram"}]))


def test_a_page_of_classes() -> None:
    labels = {
        "accuracy": {"label": "Accuracy", "note": "Share of right ones.", "percent": True},
        "error": {"label": "Error"},
    }
    summary = {
        "best_dev_loss": 0.5,
        "best_dev_accuracy": 0.9125,
        "test_loss": 0.6,
        "test_accuracy": 0.9,
        "best_dev_error": 2.0,
    }
    data = ReportData(
        title="x", unit="sequence", measure="nats", choices=4, facts=["Four classes."], labels=labels, summary=summary
    )
    page = render_report(data)
    for words in ("91.2", "percent of the dev part", "Test accuracy", "90.0", "Error", "held-out data", "ln\u00a04"):
        assert words in page, words
    assert "Bits per" not in page


def test_scores() -> None:
    truth, answers = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 1, 0])
    counts = confusion(truth, answers, 5)
    assert counts[0].tolist() == [2, 1, 0, 0, 0]
    assert accuracy(counts) == pytest.approx(4 / 6)
    assert balanced_accuracy(counts) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert f1(counts)[:2] == pytest.approx([2 * 2 / 6, 2 * 2 / 5])
    assert np.isnan(f1(counts)[2])
    assert confusion_panel(counts, list("abcde"), "t")["labels"] == ["a", "b", "d"]


def test_many_classes_are_summed_up() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (50, 50))
    panel = confusion_panel(counts, [f"c{n}" for n in range(50)], "t")
    assert panel["labels"][-1] == "20 others"
    assert np.sum(panel["counts"]) == counts.sum()
    assert np.array(panel["counts"]).shape == (31, 31)
