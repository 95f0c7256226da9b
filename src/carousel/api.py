"""`train` and `resume`: from the user's data to a run folder; the command line is a thin layer over them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from .cells.base import Cell
from .cells.loading import CellSource, load_cell
from .data.text_files import STDLIB
from .errors import TrainingError, UsageError
from .nn.summary import Summary
from .report import resume_command, write_run_report
from .runs import RunFolder, environment
from .settings import Settings
from .tasks.kind import Kind, KindTask, equations
from .tasks.kinds import of_run, resolve
from .trained import Run, cell_of, read_again, summary_of
from .training import Callback, Evaluation, Interrupted, Restart, Trainer, calibrate, check_device
from .training.processes import is_main, same_for_all, wait

__all__ = ["Prepared", "prepared", "preview", "resume", "steps_within", "train"]


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
    return read.about(), summary_of(kind, task.documents().get, settings, network)


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
    source = cell_of(kind, config, cell, folder)
    with folder.locked():
        checkpoint, notes = folder.load_checkpoint()
        if checkpoint is not None and notes:
            notes.append(f"Going on from the checkpoint before it, step {checkpoint['step']:,}.")
        _note(callbacks, *notes)
        origin = {key: config[key] for key in ("corpus", "own_cell", "fixes") if key in config}
        read = read_again(folder, kind, settings, data)
        _set_threads(settings)
        task = kind.task(read, settings, source)
        settings = _with_steps(task, settings, folder, origin, callbacks)
        folder.cut_lines_after(0 if checkpoint is None else checkpoint["step"])
        return _fit(kind, read, task, settings, folder, origin, callbacks, checkpoint)


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
    if settings.training.steps is None:
        folder.write_config({**settings.to_dict(), **origin})
        settings = settings.resolved(steps=steps_within(task, settings, callbacks))
    folder.write_config({**settings.to_dict(), **origin})
    return settings


def steps_within(task: KindTask, settings: Settings, callbacks: Sequence[Callback] = ()) -> int:
    """How many updates the limits allow, those of epochs and of time."""
    training = settings.training
    if training.steps is not None:
        return training.steps
    limits = []
    if training.epochs is not None:
        per_epoch = task.feed(0, 1).length / training.accumulate
        limits.append(max(1, round(training.epochs * per_epoch)))
    if training.minutes is not None:
        _note(callbacks, f"Measuring how many steps fit into {training.minutes:g} minutes ...")
        limits.append(calibrate(task, training))
    return min(limits)


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
