"""One trial: the network is trained with its settings and measured on the dev part. Nothing else of it is kept.

There is no run folder, so that neither the end of a run, which evaluates the test part, nor its report take place.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..api import Prepared, prepared, steps_within
from ..cells.base import Cell
from ..errors import UsageError
from ..settings import Settings
from ..training import Callback, Evaluation, Trainer

if TYPE_CHECKING:
    import optuna

__all__ = ["run_trial"]


def run_trial(
    trial: optuna.Trial,
    sources: list[str],
    cell: type[Cell] | None,
    settings: Settings,
    folds: int | None,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Train with the trial's settings, once, or with each fold as the dev part, and return what is minimized.

    Args:
        trial: its attribute `settings` holds what is tried; it gets what was measured as attributes, and after each
            evaluation the mean over the folds so far.
        sources: of the data.
        cell: the user's own, as a class.
        settings: those that are not searched.
        folds: how many, or None for the one dev part.
        callbacks: told of the training, as in `train`; of notes on the data they are not told again.

    Raises:
        optuna.TrialPruned: it is worse than others were at the same evaluation.
        CarouselError: it can't be trained so, or its loss is no longer finite.
        Interrupted: Ctrl-C.
    """
    own = settings.changed(**trial.user_attrs["settings"])
    done: list[Evaluation] = []
    steps, seconds, parameters = [], 0.0, 0
    for number in range(folds or 1):
        one = own if folds is None else own.changed(dev_fold=f"{number + 1}/{folds}")
        ready = prepared(sources, cell, one)
        trainer = Trainer(ready.task, _limited(ready), None, [_Watch(trial, done), *callbacks])
        parameters = sum(p.numel() for p in trainer.parameters)
        try:
            trainer.fit()
        finally:
            seconds += trainer.seconds
            trial.set_user_attr("seconds", round(seconds, 2))
        if trainer.best is None:
            raise UsageError("There is no dev part to measure trials on; give --dev 0.1.")
        done.append(trainer.best)
        steps.append(trainer.steps)
        trial.set_user_attr("best_steps", [*trial.user_attrs.get("best_steps", []), trainer.best_step])
    names = done[0].metrics
    trial.set_user_attr("metrics", {name: statistics.fmean(of.metrics[name] for of in done) for name in names})
    trial.set_user_attr("loss", statistics.fmean(of.loss for of in done))
    trial.set_user_attr("folds", [of.rank[0] for of in done])
    trial.set_user_attr("steps", round(statistics.fmean(steps)))
    trial.set_user_attr("parameters", parameters)
    return statistics.fmean(of.rank[0] for of in done)


def _limited(ready: Prepared) -> Any:
    settings = ready.settings.resolved(batch=ready.task.batch)
    settings = ready.kind.timed(settings, ready.task.feed(0, 1).length)
    return dataclasses.replace(settings.training, steps=steps_within(ready.task, settings))


class _Watch(Callback):
    """Tells the study how the trial goes, and ends it where the study says so."""

    def __init__(self, trial: optuna.Trial, done: list[Evaluation]):
        self.trial, self.done, self.evaluations = trial, done, 0

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        """Report the best so far; of folds, the mean of those that are done and of this one."""
        import optuna

        self.evaluations += 1
        if trainer.best is None:
            return
        step = len(self.done) * trainer.settings.evaluations + self.evaluations
        self.trial.report(statistics.fmean(of.rank[0] for of in (*self.done, trainer.best)), step)
        self.trial.set_user_attr("reached", step)
        if self.trial.should_prune():
            raise optuna.TrialPruned
