"""`train`, `resume`, `load` and `Run`: the whole of Carousel from a Python program or a notebook.

The command line is a thin layer over these.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .cells.base import Cell
from .cells.loading import CellSource, load_cell
from .data.text_files import STDLIB
from .data.tokenizers import Tokenizer
from .errors import DataError, RunFolderError, TrainingError, UsageError
from .nn.summary import Summary, summary
from .report import next_commands, resume_command, write_run_report
from .runs import RunFolder, environment
from .settings import Settings
from .tasks.averaging import Averaging
from .tasks.forecasting import Forecast
from .tasks.kind import Kind, KindTask, Stored, equations
from .tasks.kinds import of_run, resolve
from .tasks.language_model import stored_tokenizer
from .training import Callback, Evaluation, Interrupted, Restart, Trainer, calibrate, check_device
from .training.processes import is_main, same_for_all, wait

__all__ = ["Forecast", "Run", "load", "preview", "resume", "train"]


def train(
    data: str | Path | Sequence[str | Path],
    *,
    cell: str | type[Cell] | None = None,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Settings | None = None,
    **options: Any,
) -> Run:
    """Train a recurrent network on your data and return the run.

    Args:
        data: a file, several files, a glob, a folder, or "python-stdlib". What it is, is inferred (the option `kind`
            says otherwise): a text, or labelled or tagged sequences.
        cell: a registered name ("lstm", "gru" …), "FILE.py:Class", or a subclass of `carousel.Cell`.
        out: the run folder to make; by default a new one under `runs/`.
        callbacks: told about every step, evaluation and sample.
        settings: all settings at once; or give single ones as `options`.
        options: the fields of `carousel.settings`: minutes, steps, hidden_size, layers, learning_rate, level, seed …

    Returns:
        The finished `Run`.

    Raises:
        UsageError: an option or the path is wrong, or the run folder exists.
        DataError: the data can't be used.
        CellError: the cell breaks its contract.
        TrainingError: the loss is no longer finite; the last good checkpoint is kept.
        Interrupted: Ctrl-C, a `KeyboardInterrupt`; everything is saved, `resume` continues.

    Example:
        >>> import carousel
        >>> run = carousel.train("corpus.txt", cell="gru", hidden_size=64, steps=20)   # doctest: +SKIP
        >>> print(run.sample(100))                                                    # doctest: +SKIP
    """
    if settings is None:
        settings = Settings.of(**options)
    elif options:
        raise UsageError(f"train() got settings and also {', '.join(options)}; put all into the settings.")
    sources = [data] if isinstance(data, str | Path) else list(data)
    kind, settings, source, read, task, network = prepared(sources, cell, settings, callbacks)
    about = {"parameters": sum(p.numel() for p in network.parameters() if p.requires_grad), **task.layers(network)}
    if source is not None:
        about |= {"title": f"{source.name} {settings.network.hidden_size}", "equations": equations(source)}
    folder = _new_folder(out, f"{read.name}-{source.short_name if source else about['title']}")
    settings = settings.resolved(batch=task.batch, threads=torch.get_num_threads())
    settings = kind.timed(settings, task.feed(0, 1).length)
    origin = {
        "corpus": {
            "name": read.name,
            "source": [s if s == STDLIB else str(Path(s).absolute()) for s in map(str, sources)],
            "digest": read.digest,
            **read.origin(),
        },
        "own_cell": {"sha256": source.digest} if source and source.is_own else None,
    }
    with folder.locked():
        for name, document in task.documents().items():
            folder.write_json(name, document)
        folder.write_json("network.json", about | {"shown": task.shown.to_dict()})
        folder.write_json("env.json", environment())
        folder.write_findings([])
        if source and source.is_own:
            folder.write_text("cell.py.txt", source.text or "")
        name = source.name if source else about["title"]
        _note(callbacks, f"{name} with {about['parameters']:,} parameters, run folder {folder.path}")
        settings = _with_steps(task, settings, folder, origin, callbacks)
        return _fit(kind, read, task, settings, folder, origin, callbacks)


def preview(
    data: str | Path | Sequence[str | Path], *, cell: str | type[Cell] | None = None, settings: Settings | None = None,
    **options: Any,
) -> tuple[str, Summary]:  # fmt: skip
    """What the data are taken for, and the layers of the network that `train` would make; the arguments are its own."""
    sources = [data] if isinstance(data, str | Path) else list(data)
    kind, settings, _, read, task, network = prepared(sources, cell, settings or Settings.of(**options))
    return read.about(), _summary(kind, task.documents().get, settings, network)


def resume(
    run: str | Path,
    *,
    cell: str | type[Cell] | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Continue a run that was stopped or killed, to the same weights that it would have reached without.

    Args:
        run: the run folder.
        cell: your own cell again, if the run has one: stored code is never executed.
        data: where the data are now, if they were moved; their content must be the same.
        callbacks: as in `train`.

    Raises:
        RunFolderError: no such run, or no good checkpoint.
        UsageError: the run needs its cell.
        DataError: the data have changed.
    """
    folder = RunFolder.open(run, silent=not is_main())
    config = folder.config
    kind = of_run(config)
    settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
    source = _cell_of(kind, config, cell, folder)
    with folder.locked():
        checkpoint, notes = folder.load_checkpoint()
        if checkpoint is not None and notes:
            notes.append(f"Going on from the checkpoint before it, step {checkpoint['step']:,}.")
        _note(callbacks, *notes)
        origin = {key: config[key] for key in ("corpus", "own_cell", "fixes") if key in config}
        read = _read_again(folder, kind, settings, data)
        _set_threads(settings)
        task = kind.task(read, settings, source)
        settings = _with_steps(task, settings, folder, origin, callbacks)
        folder.cut_lines_after(0 if checkpoint is None else checkpoint["step"])
        return _fit(kind, read, task, settings, folder, origin, callbacks, checkpoint)


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
            config = self.config
            kind = of_run(config)
            source = _cell_of(kind, config, self._cell, self._folder)
            settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
            network = kind.network(self._folder.read_json, settings, source)
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
        source = _cell_of(kind, config, self._cell, self._folder)
        return kind.task(_read_again(self._folder, kind, settings, data), settings, source)

    def summary(self) -> Summary:
        """The layers: shapes of their outputs, parameters, activations, multiply-adds, for one example."""
        config = self.config
        kind = of_run(config)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        return _summary(kind, self._folder.read_json, settings, self.model)

    def report(self) -> Path:
        """Write `report.html` anew and return where it is."""
        return write_run_report(self._folder)

    def next_commands(self) -> list[tuple[str, str]]:
        """What to type next on the command line, and what it does."""
        return next_commands(self._folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


# -- the steps of train and resume ------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """What is trained, before there is a run folder."""

    kind: Kind
    settings: Settings
    """With the kind's defaults, and what was inferred from the data."""
    cell: CellSource | None
    read: Any
    """The data."""
    task: KindTask
    network: nn.Module
    """A network of the task that ran for a step."""


def prepared(
    sources: Sequence[str | Path], cell: str | type[Cell] | None, settings: Settings, callbacks: Sequence[Callback] = ()
) -> Prepared:
    """Read the data and make the task; nothing is written."""
    check_device(settings.training.device)
    kind, settings = resolve(sources, settings)
    source = _cell_for(kind, cell, settings)
    settings = settings.resolved(cell=source.name if source else None)
    read = kind.read(sources, settings)
    settings = settings.resolved(**read.found)
    _set_threads(settings)
    task: KindTask = kind.task(read, settings, source)
    network = task.check()
    _note(callbacks, *read.notes, *task.remarks, read.about())
    return Prepared(kind, settings, source, read, task, network)


def _summary(kind: Kind, stored: Stored, settings: Settings, network: nn.Module) -> Summary:
    dtype = next(p.dtype for p in network.parameters())
    example: list[Any] = [*kind.example(stored, settings)]
    cast = (x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in example)
    found = summary(network, tuple(cast))
    if isinstance(example[0], Tensor) and not example[0].is_floating_point():
        found.notes.append("Counted for one step of one sequence.")
    return found


def _read_again(
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


def _set_threads(settings: Settings) -> None:
    if settings.training.threads is not None:
        torch.set_num_threads(settings.training.threads)


def _note(callbacks: Sequence[Callback], *sentences: str) -> None:
    for sentence in sentences if is_main() else ():
        for callback in callbacks:
            callback.on_note(sentence)


def _with_steps(
    task: KindTask,
    settings: Settings,
    folder: RunFolder,
    origin: dict[str, Any],
    callbacks: Sequence[Callback],
) -> Settings:
    """Settings with the number of steps; written before and after, so that a kill in between loses nothing."""
    training = settings.training
    if training.steps is None:
        folder.write_config({**settings.to_dict(), **origin})
        limits = []
        if training.epochs is not None:
            per_epoch = task.feed(0, 1).length / training.accumulate
            limits.append(max(1, round(training.epochs * per_epoch)))
        if training.minutes is not None:
            _note(callbacks, f"Measuring how many steps fit into {training.minutes:g} minutes ...")
            limits.append(calibrate(task, training))
        settings = settings.resolved(steps=min(limits))
    folder.write_config({**settings.to_dict(), **origin})
    return settings


def _fit(
    kind: Kind,
    read: Any,
    task: KindTask,
    settings: Settings,
    folder: RunFolder,
    origin: dict[str, Any],
    callbacks: Sequence[Callback],
    checkpoint: dict[str, Any] | None = None,
) -> Run:
    """Train to the end, from the checkpoint if there is one; anew with other settings where a callback asks for it."""
    while True:
        trainer = Trainer(task, settings.training, folder, callbacks)
        if checkpoint is not None:
            trainer.load_checkpoint(checkpoint)
        try:
            return _finish(trainer, task, folder)
        except Restart as restart:
            before = {name: value for group in settings.to_dict().values() for name, value in group.items()}
            changes = {name: [before[name], value] for name, value in restart.changes.items()}
            origin = {**origin, "fixes": [*origin.get("fixes", []), {**restart.about, "changes": changes}]}
            settings, checkpoint = settings.changed(**restart.changes), None
            folder.forget_training()  # first: killed in between, the run begins anew as it was
            folder.write_config({**settings.to_dict(), **origin})
            task = kind.task(read, settings, task.cell)


def _finish(trainer: Trainer, task: KindTask, folder: RunFolder) -> Run:
    run = Run(folder, task.cell.cell_class if task.cell and task.cell.is_own else None)
    _write_status(trainer, folder, "running")
    try:
        trainer.fit()
    except Interrupted as stop:
        message = f"{stop} Continue with `{resume_command(folder)}`."
        _write_status(trainer, folder, "stopped", message)
        _report(folder)
        raise Interrupted(message) from None
    except TrainingError as error:
        _write_status(trainer, folder, "failed", str(error))
        _add_finding(folder, error, trainer.step)
        _report(folder)
        raise
    wait()  # for the main process to have written the weights
    _write_status(trainer, folder, "finished", test=task.evaluate(run.model, "test"))
    panels = task.describe(run.model)
    if panels:
        folder.write_json("evaluation.json", {"panels": panels})
    _report(folder)
    wait()
    return run


def _add_finding(folder: RunFolder, error: TrainingError, step: int) -> None:
    """What ended the training, unless the doctor has said it."""
    seen = folder.findings
    if not any("non-finite" in (f["code"], *f.get("consequences", [])) for f in seen["findings"]):
        finding = {
            "code": "non-finite",
            "severity": "error",
            "where": f"step {step + 1}",
            "evidence": error.evidence,
            "advice": error.advice,
            "step": step,
            "consequences": [],
        }
        folder.write_findings([finding, *seen["findings"]], seen["steps"], seen["signals"])


def _report(folder: RunFolder) -> None:
    if not folder.silent:
        write_run_report(folder)


def _write_status(
    trainer: Trainer, folder: RunFolder, status: str, message: str | None = None, test: Evaluation | None = None
) -> None:
    kept = trainer.best
    best = {} if kept is None else {f"best_dev_{name}": value for name, value in kept.metrics.items()}
    tested = {} if test is None else {f"test_{name}": value for name, value in test.metrics.items()}
    folder.write_json(
        "status.json",
        {
            "status": status,
            "message": message,
            "step": trainer.step,
            "steps": trainer.steps,
            "epoch": round(trainer.epoch, 3),
            "seconds": round(trainer.seconds, 2),
            "best_dev_loss": None if kept is None else kept.loss,
            "best_step": trainer.best_step,
            **best,
            "test_loss": None if test is None else test.loss,
            **tested,
        },
    )


def _cell_for(kind: Kind, cell: str | type[Cell] | None, settings: Settings) -> CellSource | None:
    """The cell to train; None where the network is made of none."""
    if kind.recurrent:
        return load_cell(cell if cell is not None else settings.network.cell or "")
    if cell is not None:
        raise UsageError(f"A cell means nothing for {kind.with_network}, which is what is trained; leave it out.")
    return None


def _cell_of(kind: Kind, config: dict[str, Any], cell: str | type[Cell] | None, folder: RunFolder) -> CellSource | None:
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


def _new_folder(out: str | Path | None, name: str) -> RunFolder:
    """The folder `out`, or `runs/NAME`, `runs/NAME-2` and so on, made by the main process and shared by all."""
    if not is_main():
        return RunFolder(same_for_all(Path()), silent=True)
    if out is None:
        paths = (Path("runs") / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
        out = next(path for path in paths if not path.exists())
    folder = RunFolder.create(out)
    same_for_all(folder.path)
    return folder
