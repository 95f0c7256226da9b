"""`load` and `Run`: a run that was trained, to look at and to use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .cells.base import Cell
from .cells.loading import CellSource, load_cell
from .data.tokenizers import Tokenizer
from .errors import DataError, RunFolderError, UsageError
from .nn.summary import Summary, summary
from .report import next_commands, write_run_report
from .runs import RunFolder
from .settings import Settings
from .tasks.averaging import Averaging
from .tasks.forecasting import Forecast
from .tasks.kind import Kind, KindTask, Stored
from .tasks.kinds import of_run
from .tasks.language_model import stored_tokenizer

__all__ = ["Run", "cell_of", "load", "read_again", "summary_of"]


def load(run: str | Path, *, cell: str | type[Cell] | None = None) -> Run:
    """An existing run, to look at and to use.

    Args:
        run: the run folder.
        cell: your own cell again, if the run has one: stored code is never executed.

    Raises:
        RunFolderError: there is no such run, or it is damaged or from a newer version.
    """
    return Run(RunFolder.open(run), cell)


class Run:
    """A run folder as an object: `.config`, `.metrics`, `.findings`, `.status`, `.model`, `.sample()`, `.predict()`.

    Everything is read when it is asked for, so that a run can be looked at while it is trained.
    """

    def __init__(self, folder: RunFolder, cell: str | type[Cell] | None = None):
        self._folder, self._cell = folder, cell
        self._model: nn.Module | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings, and where the data came from."""
        return self._folder.config

    @property
    def status(self) -> dict[str, Any]:
        """How far it got: `status`, `step`, `steps`, `seconds`, `best_dev_loss`, `best_step`, `test_loss` …"""
        return self._folder.read_json("status.json", {})

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, losses in nats per token."""
        return self._folder.lines("metrics.jsonl")

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What the network wrote while it was trained."""
        return self._folder.lines("samples.jsonl")

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What is wrong with the run: dicts of code, severity, where, evidence, advice."""
        return self._folder.findings["findings"]

    @property
    def tokenizer(self) -> Tokenizer:
        """Text <-> token ids."""
        return stored_tokenizer(self._folder.read_json)

    @property
    def evaluation(self) -> dict[str, Any]:
        """What the report shows of the trained network, as plain data: `panels`."""
        return self._folder.read_json("evaluation.json", {})

    @property
    def model(self) -> nn.Module:
        """The network with the weights that were the best on the dev part, in evaluation mode.

        Raises:
            UsageError: the run was trained with the user's own cell, which must be given to `load`.
            RunFolderError: there are no weights yet, or they are damaged.
        """
        if self._model is None:
            network, source = self._network()
            tensors = self._folder.load_model()
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                what = f"the cell {source.name}" if source else "the network"
                raise RunFolderError(
                    f"The weights in {self.path} don't fit {what}: {reason} Give it as it was when the run was trained."
                ) from error
            self._model = network.to(next(t.dtype for t in tensors.values() if t.is_floating_point())).eval()
        return self._model

    def untrained(self) -> nn.Module:
        """The same network with new random weights, drawn from PyTorch's global generator."""
        return self._network()[0].to(next(self.model.parameters()).dtype)

    def _network(self) -> tuple[nn.Module, CellSource | None]:
        config = self.config
        kind = of_run(config)
        source = cell_of(kind, config, self._cell, self._folder)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        return kind.network(self._folder.read_json, settings, source), source

    def stream(self, count: int, **options: Any) -> Iterator[str]:
        """Pieces of new text as they are generated; the arguments are those of `sample`."""
        return self._user("sample").stream(count, **options)

    def sample(
        self,
        count: int,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """New text.

        Args:
            count: tokens (characters, bytes, words) to generate.
            prompt: text to go on from; it is not repeated.
            temperature: below one is more careful, above one more daring, 0 takes the likeliest.
            top_k: draw only from the k likeliest tokens.
            top_p: draw only from the smallest set of likeliest tokens whose probability reaches p.
            seed: for the same text again.

        Raises:
            DataError: the prompt has characters that the model does not know.
        """
        return "".join(self.stream(count, prompt=prompt, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed))

    def predict(self, given: Sequence[Any], *, samples: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
        """What the trained network says of new data.

        Args:
            given: labelled sequences: texts; tagged ones: sentences, as texts or as lists of words.
            samples: average over so many dropout masks; None leaves dropout out. Not of tagged sequences.
            seed: of the masks.

        Returns:
            A dict each, of labelled sequences `label`, `probability` and `probabilities`, of tagged ones `words` and
            `tags`, of images through an autoencoder `error` and `code`. With `samples` also `deviation` over the masks,
            and of classes `deviations`, `entropy` and `mutual_information`.

        Raises:
            UsageError: the run is of a kind of data that nothing is predicted for, or there is no dropout to sample.
            DataError: a sequence is empty.
        """
        if samples is None:
            return self.predictor.predict(given)
        return self.averaging(samples, seed).predict(given)

    def averaging(self, samples: int, seed: int = 0) -> Averaging:
        """The predictor with its dropout left on."""
        return Averaging([self.predictor], [str(self.path)], samples=samples, seed=seed)

    @property
    def predictor(self) -> Any:
        """The trained network with its vocabulary and classes: `predict`, and `read` for files."""
        return self._user("predict")

    def forecast(
        self,
        horizon: int | None = None,
        *,
        data: str | Path | None = None,
        begin: str | None = None,
        series: str | None = None,
    ) -> Forecast:
        """What comes next in a series, with intervals.

        Args:
            horizon: steps; as many as were trained if not given.
            data: a newer file with the same columns; the data that were trained on if not given.
            begin: the first time to forecast; right behind the last value if not given.
            series: which one, where the data have several.

        Raises:
            UsageError: the run is of another kind of data, or the horizon is longer than the data.
            DataError: the file does not fit the run, or lacks what must be known ahead.
        """
        found = self.forecasts(horizon, data=data, begin=begin)
        names = [one.series for one in found]
        if series is None and len(found) > 1:
            raise UsageError(
                f"The data have {len(found)} series ({', '.join(names[:10])}); say which, or take forecasts()."
            )
        if series is not None and series not in names:
            raise UsageError(f"There is no series {series!r}; there are {', '.join(map(repr, names[:20]))}.")
        return found[0 if series is None else names.index(series)]

    def forecasts(
        self, horizon: int | None = None, *, data: str | Path | None = None, begin: str | None = None
    ) -> list[Forecast]:
        """The same for every series of the data."""
        return self._user("forecast").forecasts(horizon, data=data, begin=begin)

    def shows(self) -> tuple[str, str] | None:
        """A heading and lines that show a person what the network does now."""
        kind = of_run(self.config)
        return kind.shows(self._user(kind.verb), self._folder.read_json)

    def _user(self, verb: str) -> Any:
        """What the trained network is used through."""
        config = self.config
        kind = of_run(config)
        if kind.verb != verb:
            raise UsageError(
                f"{self.path} was trained on {kind.about}, so there is nothing to {verb}; "
                f"`carousel {kind.verb} {self.path}` is what it can do."
            )
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        return kind.user(self._folder.read_json, settings, self.model)

    def task(self, data: str | Path | Sequence[str | Path] | None = None) -> KindTask:
        """The problem as the training loop had it: the data read again, and split as they were.

        Args:
            data: where the data are now, if they were moved.

        Raises:
            DataError: the data have changed since.
        """
        config = self.config
        kind = of_run(config)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        source = cell_of(kind, config, self._cell, self._folder)
        return kind.task(read_again(self._folder, kind, settings, data), settings, source)

    def summary(self) -> Summary:
        """The layers: shapes of their outputs, parameters, activations, multiply-adds, for one example."""
        config = self.config
        kind = of_run(config)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        return summary_of(kind, self._folder.read_json, settings, self.model)

    def report(self) -> Path:
        """Write `report.html` anew and return where it is."""
        return write_run_report(self._folder)

    def next_commands(self) -> list[tuple[str, str]]:
        """What to type next on the command line, and what it does."""
        return next_commands(self._folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def summary_of(kind: Kind, stored: Stored, settings: Settings, network: nn.Module) -> Summary:
    dtype = next(p.dtype for p in network.parameters())
    example: list[Any] = [*kind.example(stored, settings)]
    cast = (x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in example)
    found = summary(network, tuple(cast))
    if isinstance(example[0], Tensor) and not example[0].is_floating_point():
        found.notes.append("Counted for one step of one sequence.")
    return found


def read_again(
    folder: RunFolder, kind: Kind, settings: Settings, data: str | Path | Sequence[str | Path] | None = None
) -> Any:
    """The data of a run, from where they were or where they are now."""
    corpus = folder.config["corpus"]
    sources = corpus["source"] if data is None else [data] if isinstance(data, str | Path) else list(data)
    read = kind.read(sources, settings)
    if read.digest != corpus["digest"]:
        raise DataError(
            f"The data {', '.join(map(str, sources))} have changed since {folder.path} was begun. Restore them, or "
            "start a new run."
        )
    return read


def cell_of(kind: Kind, config: dict[str, Any], cell: str | type[Cell] | None, folder: RunFolder) -> CellSource | None:
    """The cell of a run: a registered one by its name, the user's own only if it is given again."""
    if not kind.recurrent:
        return None
    name, own = config["network"]["cell"], config.get("own_cell")
    if cell is None and own is not None:
        raise UsageError(
            f"{folder.path} was trained with your own cell; give it again, as --cell {name} (stored code is never "
            "executed)."
        )
    source = load_cell(name if cell is None else cell)
    if own is None and source.name != name:
        raise UsageError(f"{folder.path} was trained with the cell {name}, not {source.name}; leave out --cell.")
    if own is not None and own["sha256"] != source.digest:
        warnings.warn(
            f"The source of {source.name} is not what it was when {folder.path} was begun (cell.py.txt there); "
            "it is used as it is now.",
            stacklevel=3,
        )
    return source
