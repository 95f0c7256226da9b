"""`train`, `resume`, `load` and `Run`: the whole of Carousel from a Python program or a notebook.

The command line is a thin layer over these.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .cells.base import Cell
from .cells.loading import CellSource, load_cell
from .data.text import STDLIB, TextCorpus, describe, load_text
from .data.tokenizers import Tokenizer, tokenizer_from_dict
from .errors import DataError, RunFolderError, TrainingError, UsageError
from .nn import LanguageModel
from .report import next_commands, resume_command, write_run_report
from .runs import RunFolder, environment
from .settings import Settings
from .tasks.language_model import LanguageModelTask, build_network, describe_network
from .tasks.sampling import Sampler
from .training import Callback, Interrupted, Restart, Trainer, calibrate, check_device
from .training.processes import is_main, same_for_all, wait

__all__ = ["Run", "load", "resume", "train"]

DEFAULT_MINUTES = 5.0


def train(
    data: str | Path | Sequence[str | Path],
    *,
    cell: str | type[Cell] | None = None,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Settings | None = None,
    **options: Any,
) -> Run:
    """Train a recurrent network on a text and return the run.

    Args:
        data: a file, several files, a glob, a folder, or "python-stdlib".
        cell: a registered name ("lstm", "gru" …; lstm if not given), "FILE.py:Class", or a subclass of `carousel.Cell`.
        out: the run folder to make; by default a new one under `runs/`.
        callbacks: told about every step, evaluation and sample.
        settings: all settings at once; or give single ones as `options`.
        options: the fields of `carousel.settings`: minutes, steps, hidden_size, layers, learning_rate, level, seed …

    Returns:
        The finished `Run`.

    Raises:
        UsageError: an option or the path is wrong, or the run folder exists.
        DataError: the text can't be used.
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
    check_device(settings.training.device)
    source = load_cell(cell if cell is not None else settings.network.cell)
    settings = replace(settings, network=replace(settings.network, cell=source.name))
    sources = [data] if isinstance(data, str | Path) else list(data)
    corpus = _read(sources, settings)
    _set_threads(settings)
    task = LanguageModelTask(corpus.tokenizer, corpus.tokens, corpus.documents, settings, source)
    network = task.check()
    inferred = f"{describe(corpus)}: a language model of its {task.unit}s (--level says otherwise)"
    _note(callbacks, *corpus.notes, inferred)
    folder = _new_folder(out, f"{corpus.name}-{source.short_name}")
    settings = settings.resolved(batch=task.batch, threads=torch.get_num_threads())
    origin = {
        "corpus": {
            "name": corpus.name,
            "source": [s if s == STDLIB else str(Path(s).absolute()) for s in map(str, sources)],
            "digest": corpus.digest,
            "files": len(corpus.files),
            "begins": _beginning(corpus),
            "tokens": {split: part.tokens for split, part in task.parts.items()},
        },
        "own_cell": {"sha256": source.digest} if source.is_own else None,
    }
    with folder.locked():
        folder.write_json("tokenizer.json", corpus.tokenizer.to_dict())
        about = describe_network(network, source)
        folder.write_json("network.json", about)
        folder.write_json("env.json", environment())
        folder.write_findings([])
        if source.is_own:
            folder.write_text("cell.py.txt", source.text or "")
        _note(callbacks, f"{settings.network.cell} with {about['parameters']:,} parameters, run folder {folder.path}")
        settings = _with_steps(task, settings, folder, origin, callbacks)
        return _fit(task, settings, folder, origin, callbacks)


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
        data: where the text is now, if it was moved; its content must be the same.
        callbacks: as in `train`.

    Raises:
        RunFolderError: no such run, or no good checkpoint.
        UsageError: the run needs its cell.
        DataError: the text has changed.
    """
    folder = RunFolder.open(run, silent=not is_main())
    config = folder.config
    settings = Settings.from_dict(config)
    source = _cell_of(config, cell, folder)
    with folder.locked():
        checkpoint, notes = folder.load_checkpoint()
        if checkpoint is not None and notes:
            notes.append(f"Going on from the checkpoint before it, step {checkpoint['step']:,}.")
        _note(callbacks, *notes)
        origin = {key: config[key] for key in ("corpus", "own_cell", "fixes") if key in config}
        sources = config["corpus"]["source"] if data is None else [data] if isinstance(data, str | Path) else list(data)
        corpus = _read(sources, settings)
        if corpus.digest != config["corpus"]["digest"]:
            raise DataError(
                f"The text {', '.join(map(str, sources))} has changed since {run} was begun, so the run can't go "
                "on as it was. Restore it, or start a new run."
            )
        _set_threads(settings)
        task = LanguageModelTask(corpus.tokenizer, corpus.tokens, corpus.documents, settings, source)
        settings = _with_steps(task, settings, folder, origin, callbacks)
        folder.cut_lines_after(0 if checkpoint is None else checkpoint["step"])
        return _fit(task, settings, folder, origin, callbacks, checkpoint)


def load(run: str | Path, *, cell: str | type[Cell] | None = None) -> Run:
    """An existing run, to look at and to sample from.

    Args:
        run: the run folder.
        cell: your own cell again, if the run has one: stored code is never executed.

    Raises:
        RunFolderError: there is no such run, or it is damaged or from a newer version.
    """
    return Run(RunFolder.open(run), cell)


class Run:
    """A run folder as an object: `.config`, `.metrics`, `.findings`, `.samples`, `.status`, `.model`, `.sample()`.

    Everything is read when it is asked for, so that a run can be looked at while it is trained.
    """

    def __init__(self, folder: RunFolder, cell: str | type[Cell] | None = None):
        self._folder, self._cell = folder, cell
        self._model: LanguageModel | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings, and where the text came from."""
        return self._folder.config

    @property
    def status(self) -> dict[str, Any]:
        """How far it got: `status`, `step`, `steps`, `seconds`, `best_dev_loss`, `best_step`, `test_loss`."""
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
        stored = self._folder.read_json("tokenizer.json")
        if stored is None:
            raise RunFolderError(f"{self.path} was stopped before it began (no tokenizer.json); train again.")
        return tokenizer_from_dict(stored)

    @property
    def model(self) -> LanguageModel:
        """The network with the weights of the best dev loss, in evaluation mode.

        Raises:
            UsageError: the run was trained with the user's own cell, which must be given to `load`.
            RunFolderError: there are no weights yet, or they are damaged.
        """
        if self._model is None:
            config = self.config
            source = _cell_of(config, self._cell, self._folder)
            network = build_network(Settings.from_dict(config).network, source, self.tokenizer.size)
            tensors = self._folder.load_model()
            try:
                network.load_state_dict(tensors)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise RunFolderError(
                    f"The weights in {self.path} don't fit the cell {source.name}: {reason} Give the cell as it was "
                    "when the run was trained."
                ) from error
            self._model = network.to(next(iter(tensors.values())).dtype).eval()
        return self._model

    def stream(self, count: int, **options: Any) -> Iterator[str]:
        """Pieces of new text as they are generated; the arguments are those of `sample`."""
        return Sampler(self.model, self.tokenizer).stream(count, **options)

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

    def report(self) -> Path:
        """Write `report.html` anew and return where it is."""
        return write_run_report(self._folder)

    def next_commands(self) -> list[tuple[str, str]]:
        """What to type next on the command line, and what it does."""
        return next_commands(self._folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


# -- the steps of train and resume ------------------------------------------------------------------------------------


def _read(sources: Sequence[Any], settings: Settings) -> TextCorpus:
    data = settings.data
    # words are chosen by what is trained on, so that the dev and test parts do not leak into the vocabulary
    share: dict[str, Any] = {"count_share": 1 - data.dev - data.test} if data.level == "word" else {}
    return load_text(
        sources, level=data.level, encoding=data.encoding, vocabulary_size=data.vocabulary_size,
        min_count=data.min_count, split=data.words, **share,
    )  # fmt: skip


def _beginning(corpus: TextCorpus) -> str:
    """A few words of the text, as a prompt that the model surely knows."""
    return " ".join(corpus.tokenizer.decode(corpus.tokens[:40]).split()[:2])


def _set_threads(settings: Settings) -> None:
    if settings.training.threads is not None:
        torch.set_num_threads(settings.training.threads)


def _note(callbacks: Sequence[Callback], *sentences: str) -> None:
    for sentence in sentences if is_main() else ():
        for callback in callbacks:
            callback.on_note(sentence)


def _with_steps(
    task: LanguageModelTask,
    settings: Settings,
    folder: RunFolder,
    origin: dict[str, Any],
    callbacks: Sequence[Callback],
) -> Settings:
    """Settings with the number of steps; written before and after, so that a kill in between loses nothing."""
    if settings.training.steps is None:
        settings = settings.resolved(minutes=settings.training.minutes or DEFAULT_MINUTES)
        folder.write_config({**settings.to_dict(), **origin})
        _note(callbacks, f"Measuring how many steps fit into {settings.training.minutes:g} minutes ...")
        settings = settings.resolved(steps=calibrate(task, settings.training))
    folder.write_config({**settings.to_dict(), **origin})
    return settings


def _fit(
    task: LanguageModelTask,
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
            task = LanguageModelTask(task.tokenizer, task.tokens, task.documents, settings, task.cell)


def _finish(trainer: Trainer, task: LanguageModelTask, folder: RunFolder) -> Run:
    run = Run(folder, task.cell.cell_class if task.cell.is_own else None)
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
    test_loss = task.evaluate(run.model, "test")
    _write_status(trainer, folder, "finished", test_loss=test_loss)
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
    trainer: Trainer, folder: RunFolder, status: str, message: str | None = None, test_loss: float | None = None
) -> None:
    folder.write_json(
        "status.json",
        {
            "status": status,
            "message": message,
            "step": trainer.step,
            "steps": trainer.steps,
            "epoch": round(trainer.epoch, 3),
            "seconds": round(trainer.seconds, 2),
            "best_dev_loss": trainer.best_loss if math.isfinite(trainer.best_loss) else None,
            "best_step": trainer.best_step,
            "test_loss": test_loss,
        },
    )


def _cell_of(config: dict[str, Any], cell: str | type[Cell] | None, folder: RunFolder) -> CellSource:
    """The cell of a run: a registered one by its name, the user's own only if it is given again."""
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
