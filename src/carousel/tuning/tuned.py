"""The trials of a study as plain data: the best one, the command that trains with it, importance, a table, a page."""

from __future__ import annotations

import csv
import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import TrainingError, UsageError
from ..report import write_tuning_report
from ..settings import as_options

if TYPE_CHECKING:
    import optuna

__all__ = ["Trial", "Tuning", "read_trials", "was_stopped", "with_importance", "write_results"]

LEAST = 10
"""Finished trials, for importance."""

IMPORTANT = 0.25
"""The best share of the trials, whose settings are compared with those of all."""


State = Literal["finished", "pruned", "failed", "running"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0, in the order in which they began.
        state: finished; pruned, since it was worse than others were at the same point; failed; running.
        value: the dev measure, as people read it (an accuracy the higher the better); of a pruned one where it ended.
        settings: those that were searched.
        metrics: all that was measured on the dev part.
        loss: there.
        steps: updates.
        seconds: of training and evaluation.
        reason: why it failed, or where it was pruned.
        folds: the dev measure of each fold.
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None
    steps: int | None = None
    seconds: float = 0.0
    reason: str = ""
    folds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Tuning:
    """A study, as far as it got.

    Attributes:
        path: its folder: `trials.csv`, `report.html`, `study.json`, and Optuna's `journal.log`.
        asked: what was asked, as plain data.
        trials: in the order in which they began.
        notes: what a person should know: of the test part, of what was left out.
    """

    path: Path
    asked: Mapping[str, Any]
    trials: list[Trial]
    notes: tuple[str, ...] = ()
    _importance: Mapping[str, float] | str = ""

    @property
    def best(self) -> Trial:
        """The finished trial with the best dev measure; of equal ones, with the lowest loss.

        Raises:
            TrainingError: none has finished.
        """
        finished = [trial for trial in self.trials if trial.state == "finished" and trial.value is not None]
        if not finished:
            failed = [trial.reason for trial in self.trials if trial.state == "failed"]
            why = f" The last one failed: {failed[-1]}" if failed else ""
            raise TrainingError(f"No trial in {self.path} has finished.{why}", "Try more trials or other ranges.")
        sign = -1 if self.asked["measure"]["higher"] else 1
        return min(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.loss or 0.0))

    @property
    def settings(self) -> dict[str, Any]:
        """Of the best trial, as `train` takes them; with them it trains as the trial did, and evaluates the test part.

        Its steps are given instead of a time, so that it is the same run. Of folds the steps are their mean.
        """
        best = self.best
        fixed = {n: v for n, v in self.asked["settings"].items() if n not in ("minutes", "epochs", "steps")}
        return {**fixed, **best.settings, "steps": best.steps}

    @property
    def command(self) -> str:
        """The same as a command."""
        return shlex.join(["carousel", "train", *self.asked["data"], *as_options(self.settings)])

    def text(self, value: float | None) -> str:
        """A value of the dev measure as it is written."""
        if value is None:
            return "–"
        return f"{100 * value:.2f} %" if self.asked["measure"]["percent"] else f"{value:.4g}"

    def importance(self) -> dict[str, float]:
        """How much each searched setting matters for being among the best quarter, together 1: PED-ANOVA.

        Watanabe, Bansal & Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
        subspaces", IJCAI 2023. It looks at finished trials, which the study draws ever more from good regions: a
        setting that was soon decided can look less important than it is.

        Raises:
            UsageError: fewer than 10 trials have finished, or only one setting is searched.
        """
        if isinstance(self._importance, str):
            raise UsageError(self._importance)
        return dict(self._importance)


def read_trials(study: optuna.Study, folder: Path, asked: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Tuning:
    """The study as plain data."""
    from optuna.trial import TrialState

    states: dict[Any, State] = {
        TrialState.COMPLETE: "finished",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
    }
    sign = -1 if asked["measure"]["higher"] else 1
    trials = []
    for one in study.get_trials(deepcopy=False):
        about = one.user_attrs
        if one.state not in states or was_stopped(one):
            continue
        last = one.intermediate_values.get(max(one.intermediate_values, default=0))
        value = one.value if one.state == TrialState.COMPLETE else last
        reason = about.get("reason", "")
        if one.state == TrialState.PRUNED:
            reason = f"after {about.get('reached', 0)} of {about.get('evaluations', '?')} evaluations"
        trials.append(
            Trial(
                one.number,
                states[one.state],
                None if value is None else sign * value,
                dict(about.get("settings", one.params)),
                about.get("metrics", {}),
                about.get("loss"),
                about.get("steps"),
                about.get("seconds", 0.0),
                reason,
                tuple(sign * value for value in about.get("folds", ())),
            )
        )
    return Tuning(folder, asked, trials, notes)


def was_stopped(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether it failed for no reason of its own: it is tried again under another number."""
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def with_importance(found: Tuning, study: optuna.Study) -> Tuning:
    """The same, with what `importance` tells."""
    return dataclasses.replace(found, _importance=_importance_of(study))


def _importance_of(study: optuna.Study) -> Mapping[str, float] | str:
    """By name, or why there is none."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    finished = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(finished) < LEAST:
        return f"Importance needs {LEAST} finished trials; there are {len(finished)}. Go on with more --trials."
    varied = [name for name in finished[0].params if len({str(trial.params[name]) for trial in finished}) > 1]
    if len(varied) < 2:
        return "Importance compares searched settings, and only one was searched."
    evaluator = PedAnovaImportanceEvaluator(target_quantile=IMPORTANT)
    try:
        return get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError) as error:
        return f"Importance can't be told from these trials: {str(error).splitlines()[0]}"


def write_results(found: Tuning) -> None:
    """`trials.csv` and `report.html`."""
    names = list(found.asked["search"])
    metrics = list(dict.fromkeys(name for trial in found.trials for name in trial.metrics))
    head = ["trial", "state", found.asked["measure"]["name"], *names, "loss", *(f"dev_{name}" for name in metrics),
            "steps", "seconds", "reason", *(f"fold_{n + 1}" for n in range(found.asked["folds"] or 0))]  # fmt: skip
    rows = [
        [trial.number, trial.state, trial.value, *(trial.settings.get(name) for name in names), trial.loss,
         *(trial.metrics.get(name) for name in metrics), trial.steps, trial.seconds, trial.reason, *trial.folds]
        for trial in found.trials
    ]  # fmt: skip
    part = found.path / "trials.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    part.replace(found.path / "trials.csv")
    done = any(trial.state == "finished" for trial in found.trials)
    write_tuning_report(
        {
            "title": found.asked["name"],
            "measure": found.asked["measure"],
            "search": found.asked["search"],
            "trials": [vars(trial) for trial in found.trials],
            "best": found.best.number if done else None,
            "command": found.command if done else None,
            "importance": found._importance,
            "notes": found.notes,
        },
        found.path / "report.html",
    )
