"""`carousel forecast RUN`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .outputs import check_outputs, write_csv, write_json
from .parse import With, parse

if TYPE_CHECKING:
    from ..tasks.forecasting import Forecast

__all__ = ["run"]

MOST_ROWS = 30


def run(arguments: list[str]) -> None:
    """Parse and forecast."""
    parse("forecast", _forecast, arguments)


def _forecast(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    with_: With = (),
    data: str | None = None,
    horizon: int | None = None,
    begin: str | None = None,
    out: str | None = None,
    plot: str | None = None,
    json: str | None = None,
    cell: str | None = None,
) -> None:
    """Forecast what comes after the data of a series, with intervals.

    Args:
        run: The run folder.
        with_: Other runs: the forecast is the mean of them all, quantile by quantile.
        data: A newer file with the same columns; by default the one that was trained on.
        horizon: Steps to forecast; by default as many as were trained. Later ones go on from the forecast itself.
        begin: The first time to forecast, as the data write it; by default right behind the last value.
        out: CSV file to write.
        plot: Picture to draw, .png, .svg or .pdf.
        json: JSON file to write.
        cell: FILE.py:Class again, if the run has your own cell: stored code is never executed.
    """
    from ..ensembles import forecaster_of
    from ..errors import UsageError

    check_outputs(out=out, json=json, plot=plot)
    if plot is not None and Path(plot).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {plot} is no picture; give a name that ends in .png, .svg or .pdf.")
    found = forecaster_of((run, *itertools.chain(*with_)), cell).forecasts(horizon, data=data, begin=begin)
    for note in dict.fromkeys(note for forecast in found for note in forecast.notes):
        print(note)
    for forecast in found:
        _show(forecast)
    if out is not None:
        write_csv([row for forecast in found for row in forecast.rows()], out)
        print(f"Table: {out}")
    if json is not None:
        write_json({"forecasts": [_document(forecast) for forecast in found]}, json)
        print(f"JSON: {json}")
    if plot is not None:
        _draw(found, Path(plot))
        print(f"Picture: {plot}")


def _show(forecast: Forecast) -> None:
    """A small table."""
    truth = forecast.has_truth
    head = ["time"]
    for name in forecast.targets:
        head += [name, "80 % interval", *(["truth"] if truth else [])]
    rows = []
    for row in forecast.rows()[:MOST_ROWS]:
        cells = [row["time"]]
        for name in forecast.targets:
            cells += [f"{row[name]:.5g}", f"{row[f'{name} lower']:.5g} to {row[f'{name} upper']:.5g}"]
            if truth:
                true = row[f"{name} truth"]
                cells.append("" if true is None else f"{true:.5g}")
        rows.append(cells)
    if forecast.series:
        print(f"\n{forecast.series}")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))
    if len(forecast.times) > MOST_ROWS:
        print(f"… {len(forecast.times) - MOST_ROWS:,} more steps (--out FILE.csv has all)")


def _document(forecast: Forecast) -> dict[str, Any]:
    """As plain data."""
    return {
        "series": forecast.series,
        "targets": list(forecast.targets),
        "levels": list(forecast.levels),
        "steps": [{**row, "quantiles": forecast.quantiles[step].tolist()} for step, row in enumerate(forecast.rows())],
        "rolled": forecast.rolled,
        "notes": forecast.notes,
    }


def _draw(found: list[Forecast], path: Path) -> None:
    from ..report.chart_panels import draw_forecasts

    fans = [
        {
            "label": name + (f" of {forecast.series}" if forecast.series else ""),
            "history": forecast.history[:, column].tolist(),
            "times": [*forecast.history_times, *forecast.times],
            "median": forecast.median[:, column].tolist(),
            "lower": forecast.lower[:, column].tolist(),
            "upper": forecast.upper[:, column].tolist(),
            "truth": forecast.truth[:, column].tolist() if forecast.has_truth else None,
        }
        for forecast in found
        for column, name in enumerate(forecast.targets)
    ]
    draw_forecasts(fans, path)
