"""From the trials of `carousel tune`, as plain data, to one HTML page: the best settings, and what the trials tell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from .figures import COLORS, PHONE, ROUND, WIDE, Canvas, Chart, draw_chart, ratio_ticks, tick_text
from .frame import framed, heading, navigation, sections
from .words import figure, shown, write_whole

__all__ = ["render_tuning_report", "write_tuning_report"]

HALF = Canvas(470, 270, 12, 200, 6)
MOST_ROWS = 500
Trial = Mapping[str, Any]


def write_tuning_report(content: Mapping[str, Any], path: Path) -> None:
    """Write the page to `path`, whole or not at all; the same data give the same bytes.

    Args:
        content: `title`; `measure` with its `name`, `label`, and whether it is `percent` and `higher` is better;
            `search`; `trials`, dicts with `number`, `state`, `value`, `settings`, `reason`, `steps`, `seconds`; the
            number of the `best` and its `command`, or None; `importance` by name, or why there is none; `notes`.
        path: of the page.

    Raises:
        RunFolderError: the file cannot be written.
    """
    write_whole(render_tuning_report(content), path)


def render_tuning_report(content: Mapping[str, Any]) -> str:
    """The page as a string."""
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        return _page(content)


def _page(content: Mapping[str, Any]) -> str:
    trials, measure = content["trials"], content["measure"]
    finished = [t for t in trials if t["state"] == "finished" and t["value"] is not None]
    best = next((t for t in finished if t["number"] == content["best"]), None)
    parts = [
        ("best", "The best settings", _best(content, best)),
        ("history", "Trials in their order", _history(trials, finished, measure)),
        ("importance", "What matters", _importance(content["importance"])),
        ("settings", "Each setting", _settings(finished, measure, content["search"])),
        ("trials", "All trials", _table(trials, measure, list(content["search"]))),
    ]
    present = [(anchor, head, body) for anchor, head, body in parts if body]
    states = [t["state"] for t in trials]
    counts = [f"{states.count(s)} {s}" for s in ("finished", "pruned", "failed", "running") if s in states]
    summary = f'<span class="quiet">{shown(", ".join(counts))}</span>'
    top = heading(content["title"], f"{len(trials)} trials", "finished" if best else "stopped", summary)
    return framed(
        content["title"],
        program="Carousel tune",
        kind="tuning",
        styles=["doctor.css"],
        header=f"{top}\n{navigation(present)}",
        main=sections(present),
    )


def _text(value: float | None, measure: Mapping[str, Any]) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if measure["percent"] else f"{value:.4g}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _best(content: Mapping[str, Any], best: Trial | None) -> str:
    notes = "".join(f"<p>{shown(note)}</p>" for note in content["notes"])
    if best is None:
        return f'<div class="card"><p>No trial has finished.</p>{notes}</div>'
    measure = content["measure"]
    what = ", ".join(f"{name} <strong>{shown(_value(v))}</strong>" for name, v in best["settings"].items())
    lead = f'<p class="lead">Trial {best["number"]}: {shown(measure["label"])} '
    lead += f"<strong>{_text(best['value'], measure)}</strong>, with {what}.</p>"
    command = f'<ul class="commands"><li><code>{shown(content["command"])}</code></li></ul>'
    return f'{lead}<div class="card"><h3>Train with them</h3>{command}{notes}</div>'


def _limits(values: Sequence[float], measure: Mapping[str, Any]) -> tuple[float, float]:
    """Of the axis of the measure; the worst few may leave it where they would press all others together."""
    low, high = min(values), max(values)
    best, worst, tail = (high, low, 0.15) if measure["higher"] else (low, high, 0.85)
    most = float(np.quantile(values, tail))
    if 0 < 5 * abs(best - most) < abs(best - worst):
        low, high = min(best, most), max(best, most)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _axes(ax: Axes, canvas: Canvas, limits: tuple[float, float], measure: Mapping[str, Any]) -> None:
    ax.set_ylim(*limits)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    percent = measure["percent"]
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g} %" if percent else tick_text(v)))
    ax.set_title(str(measure["label"]), loc="left")
    ax.grid(axis="y")


def _history(trials: Sequence[Trial], finished: Sequence[Trial], measure: Mapping[str, Any]) -> str:
    if not finished:
        return ""
    limits = _limits([t["value"] for t in finished], measure)
    better = np.maximum if measure["higher"] else np.minimum
    places, values = [t["number"] for t in finished], [t["value"] for t in finished]
    best = better.accumulate(values)
    pruned = [t for t in trials if t["state"] == "pruned" and t["value"] is not None]
    failed = [t["number"] for t in trials if t["state"] == "failed"]

    def draw(ax: Axes, canvas: Canvas) -> None:
        _axes(ax, canvas, limits, measure)
        ax.plot(places, best, color=COLORS["dev"], linewidth=1.6, drawstyle="steps-post")
        ax.plot(places, values, "o", color=COLORS["train"], markersize=6)
        ax.plot(
            [t["number"] for t in pruned],
            [min(max(t["value"], limits[0]), limits[1]) for t in pruned],
            "x", color=COLORS["muted"], markersize=6, markeredgewidth=1.4, clip_on=False,
        )  # fmt: skip
        for place in failed:
            ax.axvline(place, color=COLORS["bad"], linewidth=1.2, dashes=(2, 2))
        ax.xaxis.set_major_locator(MaxNLocator(canvas.ticks, integer=True, steps=ROUND))
        ax.set_xlabel("trial", loc="right")

    keys = [("train", "finished"), ("dev", "the best so far")]
    keys += [("ink", "a cross: pruned, where it ended")] if pruned else []
    keys += [("lost", "failed")] if failed else []
    alt = f"The {measure['label']} of {len(finished)} finished trials; the best is {_text(float(best[-1]), measure)}."
    return figure(draw_chart("history", "", alt, keys, draw, WIDE, PHONE))


def _importance(importance: Mapping[str, float] | str) -> str:
    if isinstance(importance, str):
        return f'<p class="card nothing">{shown(importance)}</p>' if importance else ""
    names, shares = list(importance), list(importance.values())

    def draw(ax: Axes, canvas: Canvas) -> None:
        ax.barh(names[::-1], shares[::-1], color=COLORS["train"], height=0.6)
        for place, share in enumerate(shares[::-1]):
            ax.annotate(f"{100 * share:.0f} %", (share, place), xytext=(4, 0), textcoords="offset points", va="center")
        ax.set_xlim(0, 1.15 * max(shares))
        ax.xaxis.set_visible(False)

    high = Canvas(760, 60 + 38 * len(names), 13, 200, 5)
    alt = ", ".join(f"{name} {100 * share:.0f} %" for name, share in importance.items())
    lead = '<p class="lead">How far the settings of the best quarter of the finished trials differ from those of all, '
    lead += "by PED-ANOVA; together 100 %.</p>"
    return lead + figure(draw_chart("importance", "", alt, [], draw, high, Canvas(350, high.height, 12, 200, 5)))


def _settings(finished: Sequence[Trial], measure: Mapping[str, Any], search: Mapping[str, str]) -> str:
    if len(finished) < 2:
        return ""
    limits = _limits([t["value"] for t in finished], measure)
    charts = [_setting(number, name, str(how), finished, measure, limits)
              for number, (name, how) in enumerate(search.items())]  # fmt: skip
    body = "".join(figure(chart) for chart in charts)
    lead = '<p class="lead">Each point is a finished trial; its other settings differ too.</p>'
    return f'{lead}\n<div class="pair">{body}</div>'


def _setting(
    number: int, name: str, how: str, finished: Sequence[Trial], measure: Mapping[str, Any], limits: tuple[float, float]
) -> Chart:
    points = [(t["settings"][name], t["value"]) for t in finished if name in t["settings"]]
    values = [value for _, value in points]
    if ".." not in how or "," in how:
        choices = list(dict.fromkeys(how.split("|" if "|" in how else ",")))
        across = [float(choices.index(str(v))) if str(v) in choices else 0.0 for v, _ in points]
        log = False
    else:
        choices, across, log = [], [float(v) for v, _ in points], how.endswith(":log")

    def draw(ax: Axes, canvas: Canvas) -> None:
        _axes(ax, canvas, limits, measure)
        if log:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(ratio_ticks(min(across), max(across), canvas.ticks)))
            ax.xaxis.set_minor_locator(NullLocator())
        if choices:
            ax.set_xticks(range(len(choices)), [c if len(c) <= 20 else f"{c[:19]}…" for c in choices])
            ax.set_xlim(-0.5, len(choices) - 0.5)
        else:
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: tick_text(v)))
        ax.plot(across, values, "o", color=COLORS["train"], markersize=6, alpha=0.75)
        ax.set_xlabel(name.replace("_", " ") + (", log scale" if log else ""), loc="right")

    top = (np.argmax if measure["higher"] else np.argmin)(values)
    alt = f"The best of {len(points)} trials has {name} {_value(points[int(top)][0])}."
    return draw_chart(f"setting-{number}", name.replace("_", " "), alt, [], draw, HALF)


def _table(trials: Sequence[Trial], measure: Mapping[str, Any], names: list[str]) -> str:
    head = ["trial", "", str(measure["label"]), *names, "steps", "seconds"]
    sign = -1 if measure["higher"] else 1

    def rank(t: Trial) -> tuple[int, float]:
        order = ["finished", "pruned", "running", "failed"].index(t["state"])
        return order, sign * t["value"] if t["value"] is not None else math.inf

    rows = []
    for t in sorted(trials, key=rank)[:MOST_ROWS]:
        state = t["state"] + (f": {t['reason']}" if t["reason"] else "")
        cells = [t["number"], state, _text(t["value"], measure), *(_value(t["settings"].get(n, "–")) for n in names),
                 "–" if t["steps"] is None else f"{t['steps']:,}", f"{t['seconds']:.1f}"]  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{shown(cell, 300)}</td>" for cell in cells) + "</tr>")
    top = "".join(f'<th scope="col">{shown(cell)}</th>' for cell in head)
    rest = f'<p class="lead">{len(trials) - MOST_ROWS:,} more are in trials.csv.</p>' if len(trials) > MOST_ROWS else ""
    body = "".join(rows)
    return f'<div class="card wide-table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>{rest}'
