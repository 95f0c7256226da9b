"""n-fold cross-validation: every example is tested once, by a network that was not trained on it."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import resume, train
from .cells.base import Cell
from .errors import UsageError
from .runs import RunFolder
from .settings import Settings
from .trained import Run, load
from .training import Callback

__all__ = ["CrossValidation", "cross_validate"]

Watched = Callable[[], contextlib.AbstractContextManager[Sequence[Callback]]]


@dataclass(frozen=True)
class CrossValidation:
    """The runs of all folds.

    Attributes:
        path: the folder that holds them.
        runs: one for each fold.
    """

    path: Path
    runs: list[Run]

    @property
    def scores(self) -> dict[str, list[float]]:
        """By the name of a metric, and for "loss", what each fold came to on its test part."""
        found = [run.status for run in self.runs]
        names = [key.removeprefix("test_") for key in found[0] if key.startswith("test_")]
        return {name: [status[f"test_{name}"] for status in found] for name in names}

    def table(self) -> str:
        """The scores of all folds, their mean and their standard deviation, in lines."""
        scores = self.scores
        rows = [["fold", *scores]]
        rows += [[str(n + 1), *(f"{values[n]:.4f}" for values in scores.values())] for n in range(len(self.runs))]
        rows.append(["mean", *(f"{statistics.fmean(values):.4f}" for values in scores.values())])
        rows.append(["deviation", *(f"{statistics.stdev(values):.4f}" for values in scores.values())])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)


def cross_validate(
    data: str | Path | Sequence[str | Path],
    folds: int = 5,
    *,
    cell: str | type[Cell] | None = None,
    out: str | Path | None = None,
    watched: Watched | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> CrossValidation:
    """Train once for each fold, with that fold as the test part.

    Folds have every class in its share, and hold groups and equal examples together. The dev part, by which weights are
    kept, is drawn from the rest. The standard deviation is that of the folds; since folds share most of their training
    examples, the mean is less sure than it and the number of folds suggest (Bengio & Grandvalet 2004).

    Args:
        data: as in `train`: labelled or tagged sequences, images, a table.
        folds: how many.
        cell: as in `train`.
        out: the folder to make, by default `runs/folds`; the same command with the same folder goes on where it was
            stopped, and what is finished is not repeated.
        watched: makes the callbacks of a fold.
        settings: all settings at once; or give single ones as `options`.
        options: as in `train`.

    Raises:
        UsageError: the folder holds folds of something else, or the data have no folds.

    Example:
        >>> import carousel
        >>> found = carousel.cross_validate("names.csv", 5, steps=200)   # doctest: +SKIP
        >>> found.scores["accuracy"]                                     # doctest: +SKIP
    """
    if folds < 2:
        raise UsageError(f"Cross-validation needs two folds or more; {folds} was given.")
    settings = Settings.of(**options) if settings is None else settings
    path = Path("runs/folds") if out is None else Path(out)
    sources = [data] if isinstance(data, str | Path) else list(data)
    asked = {"data": [str(Path(s).absolute()) for s in sources], "folds": folds, "settings": _plain(settings),
             "cell": cell if cell is None or isinstance(cell, str) else cell.__name__}  # fmt: skip
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    before = folder.read_json("folds.json")
    if before not in (None, asked) or (before is None and any(path.iterdir())):
        raise UsageError(f"{path} holds something else; give another --out, or the same options to go on.")
    folder.write_json("folds.json", asked)
    own = None if isinstance(cell, str) else cell
    runs = []
    for number in range(1, folds + 1):
        place = path / f"fold-{number}"
        with (watched or _unwatched)() as callbacks:
            if not place.exists():
                one = settings.changed(fold=f"{number}/{folds}")
                runs.append(train(data, cell=cell, out=place, callbacks=callbacks, settings=one))
                continue
            run = load(place, cell=own)
            done = run.status.get("status") == "finished"
            runs.append(run if done else resume(place, cell=own, data=data, callbacks=callbacks))
    return CrossValidation(path, runs)


@contextlib.contextmanager
def _unwatched() -> Iterator[Sequence[Callback]]:
    yield ()


def _plain(settings: Settings) -> dict[str, Any]:
    """As JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value
            for group in settings.to_dict().values() for name, value in group.items()}  # fmt: skip
