"""`carousel rate DATA`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..settings import Settings
from .outputs import check_outputs, write_json
from .parse import AllSettings, parse, with_literals

if TYPE_CHECKING:
    from ..training import RangeTest

__all__ = ["run"]

ROWS = 15
PICTURES = (".png", ".svg", ".pdf")


def run(arguments: list[str]) -> None:
    """Parse and test."""
    parse("rate", _rate, arguments)


def _rate(
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    settings: AllSettings = Settings(),
    low: float = 1e-6,
    high: float = 10.0,
    updates: int = 200,
    out: str | None = None,
    json: str | None = None,
) -> None:
    """Suggest a learning rate for `carousel train` with the same data and options: a range test.

    The rate rises from update to update, and the loss is watched. No run folder is made.

    Args:
        data: As in `carousel train`.
        settings: As in `carousel train`.
        low: The first rate.
        high: The last one, if the loss does not diverge before.
        updates: How many.
        out: Picture to draw, .png, .svg or .pdf.
        json: JSON file to write.
    """
    from ..errors import UsageError

    if not data:
        raise UsageError("No data was given. Write `carousel rate FILE_OR_FOLDER`, with the options of carousel train.")
    check_outputs(out=out, json=json)
    if out is not None and Path(out).suffix.lower() not in PICTURES:
        raise UsageError(f"--out {out} is no picture; give a name that ends in .png, .svg or .pdf.")
    settings = with_literals(settings)
    from ..training import Callback
    from ..tuning import find_rate

    class Notes(Callback):
        def on_note(self, text: str) -> None:
            print(text)

    found = find_rate(data, low=low, high=high, updates=updates, callbacks=[Notes()], settings=settings)
    _show(found)
    print(f"\n{found.reason}")
    command = None
    if found.suggestion is not None:
        command = train_command(data, _given(settings) | {"learning_rate": float(f"{found.suggestion:.2g}")})
        print(f"\nNext:\n  {command}")
    if out is not None:
        found.figure().savefig(out)
        print(f"\nPicture: {out}")
    if json is not None:
        names = ("suggestion", "steepest", "lowest", "reason", "ended")
        curves = {name: getattr(found, name).tolist() for name in ("rates", "losses", "smoothed")}
        write_json({**{name: getattr(found, name) for name in names}, "command": command, **curves}, json)
        print(f"JSON: {json}")


def train_command(data: tuple[str, ...], changes: dict[str, Any]) -> str:
    """The command that trains with these settings, as it can be typed."""
    from ..settings import as_options

    return shlex.join(["carousel", "train", *data, *as_options(changes)])


def _given(settings: Settings) -> dict[str, Any]:
    return {name: settings.value(name) for name in settings.given()}


def _show(found: RangeTest) -> None:
    """A small table: some rates, and the loss there."""
    count = len(found.rates)
    if not count:
        return
    places = sorted({round(k * (count - 1) / (ROWS - 1)) for k in range(ROWS)})
    marks = {"fastest fall": found.steepest, "lowest": found.lowest, "suggestion": found.suggestion}
    rows = [
        (rate, f"{found.losses[k]:.4g}", f"{found.smoothed[k]:.4g}", "") for k in places if (rate := found.rates[k])
    ]
    for name, rate in marks.items():
        if rate is not None:
            near = int(abs(found.rates - rate).argmin())
            rows.append((rate, f"{found.losses[near]:.4g}", f"{found.smoothed[near]:.4g}", f"← {name}"))
    print(f"\n{'rate':>9}  {'loss':>9}  {'smoothed':>9}")
    for rate, loss, smoothed, mark in sorted(rows):
        print(f"{rate:9.2g}  {loss:>9}  {smoothed:>9}  {mark}".rstrip())
    if found.ended != "highest rate":
        print(f"ended there: {found.ended}")
