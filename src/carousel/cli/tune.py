"""`carousel tune DATA`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ..settings import Settings
from .outputs import check_outputs, write_json
from .parse import AllSettings, parse, with_literals

if TYPE_CHECKING:
    from ..tuning import Tuning

__all__ = ["run"]

BEST = 5


def run(arguments: list[str]) -> None:
    """Parse and tune."""
    parse("tune", _tune, arguments)


def _tune(
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    settings: AllSettings = Settings(),
    search: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUES")] = (),
    trials: int = 20,
    folds: int | None = None,
    processes: int = 1,
    pruning: Literal["median", "hyperband", "none"] = "median",
    out: str | None = None,
    json: str | None = None,
) -> None:
    """Find settings for `carousel train` by trials, compared on the dev part; the test part is never looked at.

    The same command goes on where it was stopped; started twice, two processes share the work.

    Args:
        data: As in `carousel train`.
        settings: As in `carousel train`: what all trials have in common. --minutes is the time of all of them together,
            of which each takes its share at most; --steps and --epochs are of each.
        search: What is tried, by the names of the options: learning_rate=1e-4..1e-1:log dropout=0..0.5
            hidden_size=32,64,128 layers=1..3. If not given the learning rate, and of recurrent networks units and
            dropout, of others batch and weight decay.
        trials: How many, those of before included.
        folds: Train each so many times, each time with another part of what is not test as dev part; the mean counts.
        processes: Trials at the same time.
        pruning: End a trial that is worse than the median of others at the same evaluation; by successive halving; or
            none.
        out: Folder of the study; by default runs/tune-NAME.
        json: JSON file to write.
    """
    from ..errors import UsageError

    swallowed = [word for word in search if "=" not in word]
    if not data and swallowed:
        raise UsageError(f"{swallowed[0]!r} stands behind --search, and was taken for one; write the data first.")
    if not data:
        raise UsageError("No data was given. Write `carousel tune FILE_OR_FOLDER --search NAME=LOW..HIGH`.")
    check_outputs(json=json)
    settings = with_literals(settings)
    minutes = settings.training.minutes
    settings = dataclasses.replace(settings, training=dataclasses.replace(settings.training, minutes=None))
    from ..tuning import tune
    from .tune_progress import TrialsProgress

    with TrialsProgress() as progress:
        found = tune(data, search=search, trials=trials, minutes=minutes, folds=folds, processes=processes,
                     pruning=pruning, out=out, callbacks=[progress], settings=settings)  # fmt: skip
    _show(found)
    if json is not None:
        rows = [dataclasses.asdict(trial) for trial in found.trials]
        document = {"best": found.best.number, "settings": found.settings, "command": found.command, "trials": rows}
        write_json(document, json)
        print(f"JSON: {json}")


def _show(found: Tuning) -> None:
    """The best trials, what matters, and what to type next."""
    from ..errors import UsageError

    states = [trial.state for trial in found.trials]
    counts = {state: states.count(state) for state in ("finished", "pruned", "failed", "running")}
    print(f"\n{len(states)} trials: {', '.join(f'{n} {state}' for state, n in counts.items() if n)}")
    names, measure = list(found.asked["search"]), found.asked["measure"]
    finished = [trial for trial in found.trials if trial.state == "finished" and trial.value is not None]
    sign = -1 if measure["higher"] else 1
    finished.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.loss or 0.0))
    rows = [["trial", measure["label"], *names]]
    rows += [
        [str(trial.number), found.text(trial.value), *(_short(trial.settings[name]) for name in names)]
        for trial in finished[:BEST]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print("\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows))
    try:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.importance().items())
        print(f"\nImportance: {shares}")
    except UsageError as error:
        print(f"\n{error}")
    print(f"\nReport: {found.path / 'report.html'}\nTable: {found.path / 'trials.csv'}")
    behind = ", and evaluate the test part, once" if found.asked["test"] else ""
    print(f"\nNext:\n  {found.command}\n      train with the settings of the best trial{behind}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
