"""`tune`: trials with settings that Optuna proposes, in a folder that any number of processes may work on.

Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019. Proposals are those of TPE
(Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; the first ten are drawn at random), but
for the first trial, which takes the settings as they are where they lie in the space. All that is known is in Optuna's
journal; a proposal depends on the seed, the trial's number and the journal only, so that a study of one process that
was stopped goes on as it would have.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..api import Prepared, prepared
from ..cells.base import Cell
from ..errors import CarouselError, DataError, TrainingError, UsageError
from ..runs import RunFolder
from ..settings import Settings
from ..tasks.kinds import resolve
from ..training import Callback, Interrupted
from .processes import Locks, in_processes
from .space import Dimension, checked, default_space, parse_space
from .trial import run_trial
from .tuned import Trial, Tuning, read_trials, was_stopped, with_importance, write_results

if TYPE_CHECKING:
    import optuna

__all__ = ["TRIALS", "Worker", "tune"]

TRIALS = 20
HOPELESS = 5
"""Trials that fail, with none that does not, after which the study ends."""

Pruning = Literal["median", "hyperband", "none"]


def tune(
    data: str | Path | Sequence[str | Path],
    *,
    search: Sequence[str] | Mapping[str, Any] = (),
    trials: int = TRIALS,
    minutes: float | None = None,
    folds: int | None = None,
    processes: int = 1,
    pruning: Pruning = "median",
    out: str | Path | None = None,
    cell: str | type[Cell] | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Settings | None = None,
    **options: Any,
) -> Tuning:
    """Find settings for `train` by trials; what is compared is the dev part's measure, and test is never looked at.

    The measure is that by which a run keeps its best weights: accuracy, or the loss. The test part, if there is one, is
    held out of every trial before anything is drawn, and is evaluated by the run with the best settings, once. The same
    call with the same folder goes on, with more trials if it is given more.

    Args:
        data: as in `train`.
        search: what is searched, as `["learning_rate=1e-4..1e-1:log", "hidden_size=32,64"]` or as a dict of the same
            texts or of lists; see `carousel.tuning.space`. A few that matter most if not given.
        trials: how many, those of before included.
        minutes: of the whole study; none begins after, and each takes its share at most.
        folds: a trial is trained so many times, each time with another part of what is not test as dev, and the mean
            counts.
        processes: how many trials at a time.
        pruning: end a trial that is worse than the median of the others at the same evaluation ("median"), by
            successive halving ("hyperband": Li et al. 2018), or never ("none").
        out: the folder; by default `runs/tune-NAME`.
        cell: as in `train`; of several processes by name or as "FILE.py:Class". A class must be given to `train` again.
        callbacks: told, as notes, about the data and every trial that ended; with one process also of each training, as
            in `train`.
        settings: those that are not searched, all at once; or give single ones as `options`.
        options: as in `train`; steps or epochs are of a trial.

    Returns:
        The trials, `.best`, `.settings` for `train`, `.command`, `.importance()`.

    Raises:
        UsageError: a setting can't be searched or means nothing for the data; the folder holds another study; Optuna
            is not installed.
        DataError: the data can't be used, or have changed since the study began.
        TrainingError: no trial could be trained.
        Interrupted: Ctrl-C; finished trials are kept, those that ran are tried again.

    Example:
        >>> import carousel
        >>> found = carousel.tune("data.csv", search={"learning_rate": "1e-4..1e-1:log"})   # doctest: +SKIP
        >>> run = carousel.train("data.csv", **found.settings)                              # doctest: +SKIP
    """
    _check_optuna()
    if settings is None:
        settings = Settings.of(**options)
    elif options:
        raise UsageError(f"tune() got settings and also {', '.join(options)}; put all into the settings.")
    if isinstance(cell, str):
        settings, cell = settings.changed(cell=cell), None
    _check_numbers(trials, minutes, folds, processes, pruning)
    if settings.data.fold or settings.data.dev_fold:
        raise UsageError("--fold and --dev-fold are of single runs; --folds 5 tries every setting on each of five.")
    if processes > 1 and isinstance(cell, type):
        raise UsageError("Several processes need the cell by its name or as 'FILE.py:Class'; or take one process.")
    sources = [str(source) for source in ([data] if isinstance(data, str | Path) else data)]
    notes = _Notes(callbacks)
    space = parse_space(search)
    kind, defaults = resolve(sources, settings)
    if folds is not None and "dev_fold" in kind.without:
        raise UsageError(f"There are no folds of {kind.about}: what comes later is measured; leave out --folds.")
    checked(space, sources, settings)
    if not space:
        given = settings.given()
        space = {name: one for name, one in default_space(kind, defaults).items() if name not in given}
    if not space:
        raise UsageError("What is searched by default is given; say with --search what else to try.")
    space = parse_space({name: str(one) for name, one in space.items()})  # as the folder keeps it
    if "cell" in space and cell is not None:
        raise UsageError("--cell is given and searched; leave out one of the two.")
    first = settings if folds is None else settings.changed(dev_fold=f"1/{folds}")
    ready = prepared(sources, cell, first, [notes])
    measure = _measure(ready)
    share = None if minutes is None else minutes * processes / trials / (folds or 1)
    asked = {
        "data": sources,
        "name": ready.read.name,
        "digest": ready.read.digest,
        "settings": {name: settings.value(name) for name in settings.given()},
        "cell": None if cell is None else cell.__name__,
        "search": {name: str(one) for name, one in space.items()},
        "folds": folds,
        "pruning": pruning,
        "measure": measure,
        "test": _has_test(ready),
        "begin": _begin(space, ready.settings),
        "minutes": share,
        "longest": _longest(ready, share),
    }
    path = Path("runs") / f"tune-{ready.read.name}" if out is None else Path(out)
    asked = _agreed(path, json.loads(json.dumps(asked)))
    about = _about(asked)
    for sentence in about:
        notes.on_note(sentence)
    deadline = None if minutes is None else time.time() + 60 * minutes
    worker = Worker(path, asked, space, cell, trials, deadline, callbacks)
    show = _Shown(notes, worker)
    try:
        if processes > 1:
            in_processes(path, processes, trials, deadline, settings.training.threads, show)
        else:
            worker.work(show)
    finally:
        found = with_importance(read_trials(worker.study, path, asked, about), worker.study)
        write_results(found)
    hopeless = _hopeless(found, 1)
    if hopeless is not None:
        raise hopeless
    return found


class Worker:
    """One process's part of the study.

    Args:
        path: the folder.
        asked: its `study.json`.
        space: what is searched.
        cell: a class, which the folder can't hold.
        trials: how many the study shall have.
        deadline: time of the clock after which none begins.
        callbacks: told of every training.
    """

    def __init__(
        self,
        path: Path,
        asked: Mapping[str, Any],
        space: Mapping[str, Dimension],
        cell: type[Cell] | None,
        trials: int,
        deadline: float | None,
        callbacks: Sequence[Callback] = (),
    ):
        import optuna
        from optuna.storages.journal import JournalFileBackend

        self.path, self.asked, self.space, self.cell = path, asked, space, cell
        self.trials, self.deadline, self.callbacks = trials, deadline, callbacks
        self.settings = Settings.of(**_tuples(asked["settings"]))
        if asked["minutes"] is not None:
            self.settings = self.settings.changed(minutes=asked["minutes"])
        self.distributions = {name: one.distribution() for name, one in space.items()}
        self.locks = Locks(path)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with _quiet():
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path / "journal.log")))
            self.study = optuna.create_study(
                storage=storage, study_name="carousel", load_if_exists=True, pruner=self._pruner()
            )
        with self.locks.study():
            if asked["begin"] and not self.study.get_trials(deepcopy=False):
                self.study.enqueue_trial(asked["begin"])

    def _pruner(self) -> optuna.pruners.BasePruner:
        from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

        if self.asked["pruning"] == "median":
            return MedianPruner(n_startup_trials=5, n_warmup_steps=1 + self.settings.training.evaluations // 4)
        if self.asked["pruning"] == "hyperband":
            return HyperbandPruner(max_resource=self.evaluations)
        return NopPruner()

    @property
    def evaluations(self) -> int:
        """Of a whole trial."""
        return self.settings.training.evaluations * (self.asked["folds"] or 1)

    def work(self, ended: Callable[[], None] = lambda: None, go_on: Callable[[], bool] = lambda: True) -> None:
        """Trials until there are enough, or until the deadline; `ended` is called behind each.

        Raises:
            Interrupted: Ctrl-C; the trial that ran is tried again by whoever goes on.
        """
        with self.locks.worker() as name:
            while go_on():
                trial = self._next(name)
                if trial is None:
                    return
                try:
                    self._try(trial)
                finally:
                    ended()
                if _hopeless(read_trials(self.study, self.path, self.asked), HOPELESS) is not None:
                    return

    def _next(self, worker: str) -> optuna.Trial | None:
        """The next trial, of which no other process has one; None for none."""
        import optuna
        from optuna.trial import TrialState as State

        with self.locks.study():
            self._reclaim()
            there = self.study.get_trials(deepcopy=False)
            counted = [t for t in there if t.state != State.WAITING and not was_stopped(t)]
            late = self.deadline is not None and time.time() >= self.deadline
            if len(counted) >= self.trials or late:
                return None
            begun = sum(t.state != State.WAITING for t in there)
            with _quiet():
                seed = self.settings.training.seed * 100_003 + begun
                self.study.sampler = optuna.samplers.TPESampler(seed=seed)
                trial = self.study.ask(self.distributions)
            trial.set_user_attr("worker", worker)
            trial.set_user_attr("settings", {n: self.space[n].rounded(value) for n, value in trial.params.items()})
            trial.set_user_attr("evaluations", self.evaluations)
            return trial

    def _reclaim(self) -> None:
        """Trials of processes that were killed are tried again."""
        from optuna.trial import TrialState as State

        for one in self.study.get_trials(deepcopy=False, states=[State.RUNNING]):
            worker = one.user_attrs.get("worker")
            if worker is None or not self.locks.is_alive(worker):
                self._again(one.number, one.params)

    def _again(self, number: int, params: Mapping[str, Any]) -> None:
        """End a trial that was stopped, as one that failed for no reason, and have it tried again."""
        from optuna.trial import TrialState as State

        self.study.tell(number, state=State.FAIL)
        if params:
            self.study.enqueue_trial(dict(params))

    def _try(self, trial: optuna.Trial) -> None:
        import optuna
        from optuna.trial import TrialState as State

        try:
            asked = self.asked
            value = run_trial(trial, asked["data"], self.cell, self.settings, asked["folds"], self.callbacks)
        except optuna.TrialPruned:
            self.study.tell(trial, state=State.PRUNED)
        except KeyboardInterrupt:
            with self.locks.study():
                self._again(trial.number, trial.params)
            raise Interrupted(
                f"Stopped; finished trials are kept in {self.path}, and the same command goes on."
            ) from None
        except TrainingError as error:
            self._failed(trial, f"diverged: {error.evidence}")
        except CarouselError as error:
            self._failed(trial, str(error))
        except (RuntimeError, MemoryError) as error:  # memory, and what a network can't be made of
            self._failed(trial, f"{type(error).__name__}: {error}".splitlines()[0][:300])
        else:
            if math.isfinite(value):
                self.study.tell(trial, value)
            else:
                self._failed(trial, "diverged: the dev measure is not finite.")

    def _failed(self, trial: optuna.Trial, reason: str) -> None:
        from optuna.trial import TrialState as State

        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=State.FAIL)


# -- what is asked ----------------------------------------------------------------------------------------------------


def _check_optuna() -> None:
    try:
        with _quiet():
            import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError("Tuning needs Optuna, which is not installed: pip install 'carousel-nn[tune]'.") from error


def _check_numbers(trials: int, minutes: float | None, folds: int | None, processes: int, pruning: str) -> None:
    for name, value, least in (("trials", trials, 1), ("processes", processes, 1), ("folds", folds, 2)):
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; it must be {least} or more.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(f"--minutes is {minutes:g}; it must be above 0.")
    if pruning not in ("median", "hyperband", "none"):
        raise UsageError(f"--pruning is {pruning!r}; it is one of median, hyperband, none.")


def _measure(ready: Prepared) -> dict[str, Any]:
    """By what weights are kept, from a look at the network as it begins."""
    evaluation = ready.task.evaluate(ready.network, "dev")
    if evaluation is None:
        raise UsageError("There is no dev part to measure trials on; give --dev 0.1, or --folds 5.")
    name = evaluation.kept_by
    if name is None:
        return {"name": "dev_loss", "label": "dev loss", "percent": False, "higher": False}
    metric = ready.task.shown.metrics.get(name)
    label = name if metric is None else metric.within()
    return {"name": f"dev_{name}", "label": f"dev {label}", "percent": bool(metric and metric.percent), "higher": True}


def _begin(space: Mapping[str, Dimension], settings: Settings) -> dict[str, Any]:
    """The settings as they are, where they lie in the space; none at all tells nothing."""
    return {name: value for name, one in space.items() if one.holds(value := settings.value(name))}


def _agreed(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What the folder holds, after it was compared.

    Raises:
        UsageError: it is another study, or something else.
        DataError: the data have changed.
    """
    folder = RunFolder(path)
    before = folder.read_json("study.json") if path.is_dir() else None
    if before is None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} holds something else; choose another --out.")
        path.mkdir(parents=True, exist_ok=True)
        with Locks(path).study():  # the same command started twice
            before = folder.read_json("study.json")
            if before is None:
                folder.write_json("study.json", asked)
                return asked
    for name, what in (("search", "search space"), ("settings", "settings"), ("folds", "folds"), ("cell", "cell"),
                       ("pruning", "pruning"), ("data", "data")):  # fmt: skip
        if before.get(name) != asked[name]:
            had, has = (json.dumps(of.get(name), ensure_ascii=False) for of in (before, asked))
            raise UsageError(
                f"{path} holds a study with other {what}: {had} there, {has} now. Give the same to go on, or another "
                "--out."
            )
    if before["digest"] != asked["digest"]:
        raise DataError(f"The data have changed since the study in {path} was begun; choose another --out.")
    return before


def _has_test(ready: Prepared) -> bool:
    """Whether there is a test part; it is not evaluated to find out."""
    parts = getattr(ready.task, "parts", None)
    part = parts.get("test") if isinstance(parts, Mapping) else None
    said = part is not None and (part.tokens if hasattr(part, "tokens") else len(part)) > 0
    return said or ready.settings.data.test > 0


def _longest(ready: Prepared, share: float | None) -> float | None:
    """Minutes of a training at most; None where its steps are given."""
    if share is not None:
        return share
    training = ready.kind.timed(ready.settings, ready.task.feed(0, 1).length).training
    return None if training.steps is not None else training.minutes


def _about(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the measure, the test part, and the time, in sentences."""
    measured = f"the {asked['measure']['label']}" + (
        f", its mean over {asked['folds']} folds" if asked["folds"] else ""
    )
    found = [f"Trials are compared by {measured}."]
    if asked["test"]:
        found.append("The test part is held out of every trial and not evaluated; the run behind them does so, once.")
    else:
        found.append(
            "There is no test part: how good the best settings are on new data stays open, since a dev part that chose "
            "them flatters them; --test 0.1 holds one out."
        )
    if asked["longest"] is not None:
        others = "" if asked["minutes"] is not None else "; --minutes limits all trials together, --steps each"
        found.append(f"A training takes {asked['longest']:.2g} minutes at most{others}.")
    return tuple(found)


def _hopeless(found: Tuning, least: int) -> TrainingError | None:
    """Where nothing but failures came of at least so many trials."""
    ended = [trial for trial in found.trials if trial.state != "running"]
    if len(ended) < least or any(trial.state != "failed" for trial in ended):
        return None
    return TrainingError(f"All {len(ended)} trials failed; the last one: {ended[-1].reason}", "Search other ranges.")


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gave them back."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of parts that it may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- what is told -----------------------------------------------------------------------------------------------------


class _Notes(Callback):
    """Hands sentences on."""

    def __init__(self, callbacks: Sequence[Callback]):
        self.callbacks = callbacks

    def on_note(self, text: str) -> None:
        for callback in self.callbacks:
            callback.on_note(text)


class _Shown:
    """Says of every trial that ended how it went, once."""

    def __init__(self, notes: _Notes, worker: Worker):
        self.notes, self.worker = notes, worker
        self.told = {trial.number for trial in self._ended()}
        if self.told:
            notes.on_note(f"{len(self.told)} trials are there already; going on.")

    def _ended(self) -> list[Trial]:
        self.found = read_trials(self.worker.study, self.worker.path, self.worker.asked)
        return [trial for trial in self.found.trials if trial.state != "running"]

    def __call__(self) -> None:
        for trial in self._ended():
            if trial.number in self.told:
                continue
            self.told.add(trial.number)
            what = ", ".join(f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in trial.settings.items())
            how = self.found.text(trial.value) if trial.state == "finished" else f"{trial.state}, {trial.reason}"
            best = trial.state == "finished" and self.found.best.number == trial.number
            self.notes.on_note(f"trial {trial.number}: {how}{' (best so far)' if best else ''} · {what}")
