"""Studies: what they measure, that they go on, and that the test part stays closed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carousel
from carousel.api import prepared
from carousel.errors import DataError, TrainingError, UsageError
from carousel.settings import Settings
from carousel.tasks.examples import ExampleTask
from carousel.training import Callback, Interrupted
from carousel.tuning import study as home
from carousel.tuning.space import parse_space
from carousel.tuning.study import Worker

pytest.importorskip("optuna", reason="the extra `tune` is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = {"steps": 4, "evaluations": 2, "threads": 1, "batch": 32}
RATE = {"learning_rate": "1e-4..1e-1:log"}


def written(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Notes(Callback):
    def __init__(self) -> None:
        self.said: list[str] = []

    def on_note(self, text: str) -> None:
        self.said.append(text)


def formula(trial: Any, *_: Any) -> float:
    """In place of a training: an accuracy that is best at 0.01."""
    import optuna

    rate = trial.user_attrs["settings"]["learning_rate"]
    value = -1 / (1 + abs(np.log10(rate) + 2))
    for step in (1, 2, 3, 4):
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    trial.set_user_attr("loss", 1.0)
    trial.set_user_attr("steps", 4)
    return value


def test_the_test_part_is_never_looked_at(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, trained = [], set()
    answers = ExampleTask.answers
    test = set(prepared([table], None, Settings.of(test=0.2, **SMALL)).task.parts["test"].tolist())
    assert len(test) == 30

    def watched(task: Any, network: Any, split: str) -> Any:
        looked.append(split)
        trained.update(task.parts["train"].tolist(), task.parts["dev"].tolist())
        return answers(task, network, split)

    monkeypatch.setattr(ExampleTask, "answers", watched)
    notes = Notes()
    for folds in (None, 3):
        found = carousel.tune(
            table, search=RATE, trials=2, test=0.2, folds=folds, out=f"study-{folds}", callbacks=[notes], **SMALL
        )
        assert len(found.trials) == 2
    assert set(looked) == {"dev"}
    assert not trained & test
    assert any("test part is held out of every trial and not evaluated" in said for said in notes.said)
    run = carousel.train(table, out="run", **found.settings)
    assert "test" in looked
    assert run.status["test_accuracy"] is not None


def test_the_best_settings_train_to_what_was_measured(table: str) -> None:
    found = carousel.tune(table, search=RATE | {"weight_decay": "1e-3..1:log"}, trials=3, out="study", **SMALL)
    run = carousel.train(table, out="run", **found.settings)
    assert run.status["best_dev_accuracy"] == found.best.value
    assert run.status["best_dev_loss"] == found.best.loss
    words = found.command.split()
    assert words[:3] == ["carousel", "train", table]
    assert words[words.index("--learning-rate") + 1] == str(found.best.settings["learning_rate"])


def test_the_first_trial_is_the_default(table: str) -> None:
    found = carousel.tune(table, trials=1, out="study", **SMALL)
    assert found.trials[0].settings == {"learning_rate": 0.002, "weight_decay": 0.1}  # the batch is given
    with pytest.raises(UsageError, match="say with --search what else"):
        carousel.tune(table, trials=1, learning_rate=0.01, weight_decay=0.0, out="other", **SMALL)


@pytest.mark.usefixtures("table")
def test_dev_folds_share_out_all_but_the_test_part() -> None:
    whole = prepared(["rows.csv"], None, Settings.of(test=0.2, **SMALL)).task.parts
    parts = [
        prepared(["rows.csv"], None, Settings.of(test=0.2, dev_fold=f"{n}/4", **SMALL)).task.parts for n in (1, 2, 3, 4)
    ]
    for part in parts:
        np.testing.assert_array_equal(part["test"], whole["test"])
        assert len(np.intersect1d(part["train"], part["dev"])) == 0
        assert len(part["train"]) + len(part["dev"]) == 120
    dealt = np.concatenate([part["dev"] for part in parts])
    np.testing.assert_array_equal(np.sort(dealt), np.sort(np.concatenate([whole["train"], whole["dev"]])))


def test_folds_are_averaged(table: str) -> None:
    found = carousel.tune(table, search=RATE, trials=2, folds=3, out="study", **SMALL)
    for trial in found.trials:
        assert len(trial.folds) == 3
        assert trial.value == pytest.approx(np.mean(trial.folds), abs=1e-15)
    one = carousel.train(table, out="fold", dev_fold="2/3", **SMALL, **found.trials[0].settings)
    assert one.status["best_dev_accuracy"] == found.trials[0].folds[1]


def test_goes_on_as_it_would_have(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "run_trial", formula)
    options = {"search": RATE, "pruning": "none", **SMALL}
    whole = carousel.tune(table, trials=14, out="whole", **options)
    carousel.tune(table, trials=5, out="parts", **options)
    parts = carousel.tune(table, trials=14, out="parts", **options)
    assert [trial.settings for trial in parts.trials] == [trial.settings for trial in whole.trials]
    assert [trial.value for trial in parts.trials] == [trial.value for trial in whole.trials]
    assert len({trial.settings["learning_rate"] for trial in whole.trials}) == 14
    again = carousel.tune(table, trials=14, out="parts", **options)
    assert len(again.trials) == 14


def test_an_interrupted_trial_is_tried_again(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[dict[str, Any]] = []

    def interrupted(trial: Any, *rest: Any) -> float:
        if trial.number == 2:
            stopped.append(trial.user_attrs["settings"])
            raise KeyboardInterrupt
        return formula(trial, *rest)

    monkeypatch.setattr(home, "run_trial", interrupted)
    with pytest.raises(Interrupted, match="the same command goes on"):
        carousel.tune(table, search=RATE, trials=5, out="study", **SMALL)
    assert len(written("study/trials.csv")) == 2
    found = carousel.tune(table, search=RATE, trials=5, out="study", **SMALL)
    assert len(found.trials) == 5
    assert stopped[0] in [trial.settings for trial in found.trials]


def test_a_killed_process_leaves_no_trial_behind(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "run_trial", formula)
    carousel.tune(table, search=RATE, trials=1, out="study", **SMALL)
    asked = json.loads(Path("study/study.json").read_text())
    worker = Worker(Path("study"), asked, parse_space(asked["search"]), None, 9, None)
    left = worker._next("someone who is gone")
    assert left is not None
    with worker.locks.worker() as name:
        held = worker._next(name)
        assert held is not None
        found = carousel.tune(table, search=RATE, trials=5, out="study", **SMALL)
    states = [trial.state for trial in found.trials]
    assert len(states) == 5
    assert states.count("running") == 1  # of the process that lives
    values = [trial.settings["learning_rate"] for trial in found.trials]
    assert pytest.approx(left.params["learning_rate"], rel=1e-3) in values


def test_two_processes_share_the_trials(table: str) -> None:
    found = carousel.tune(table, search=RATE, trials=4, processes=2, out="study", **SMALL)
    assert [trial.state for trial in found.trials] == ["finished"] * 4
    assert len({trial.settings["learning_rate"] for trial in found.trials}) == 4


def test_what_fails_is_kept_and_said(table: str) -> None:
    notes = Notes()
    search = {"optimizer": ["adamw", "sgd"], "momentum": [0.5, 0.9]}
    found = carousel.tune(table, search=search, trials=6, out="study", callbacks=[notes], **SMALL)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert all(trial.settings["optimizer"] == "adamw" and "momentum" in trial.reason for trial in failed)
    assert found.best.settings["optimizer"] == "sgd"
    assert any("failed, --momentum means nothing" in said for said in notes.said)
    rows = written("study/trials.csv")
    assert [row["state"] for row in rows].count("failed") == len(failed)


def test_divergence_is_a_failure(table: str) -> None:
    with pytest.raises(
        TrainingError, match=r"All 2 trials failed; the last one: diverged: The .* is not a finite number"
    ):
        carousel.tune(table, search={"learning_rate": "1e30..1e35:log"}, trials=2, clip=0.0, optimizer="sgd",
                      out="study", **(SMALL | {"steps": 30}))  # fmt: skip


def test_hopeless_trials_end_the_study(table: str) -> None:
    with pytest.raises(TrainingError, match="All 5 trials failed"):
        carousel.tune(table, search={"momentum": "0.1..0.9"}, trials=50, out="study", **SMALL)


def test_pruning(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse_and_worse(trial: Any, *rest: Any) -> float:
        import optuna

        for step in (1, 2, 3, 4):
            trial.report(float(trial.number), step)
            trial.set_user_attr("reached", step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial.number)

    monkeypatch.setattr(home, "run_trial", worse_and_worse)
    median = carousel.tune(table, search=RATE, trials=9, out="median", **(SMALL | {"evaluations": 4}))
    assert [trial.state for trial in median.trials] == ["finished"] * 5 + ["pruned"] * 4
    assert median.trials[-1].reason == "after 2 of 4 evaluations"
    none = carousel.tune(table, search=RATE, trials=9, out="none", pruning="none", **SMALL)
    assert [trial.state for trial in none.trials] == ["finished"] * 9
    hyperband = carousel.tune(table, search=RATE, trials=9, out="hyper", pruning="hyperband", **SMALL)
    assert len(hyperband.trials) == 9


def test_importance_finds_what_matters(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "run_trial", formula)
    search = RATE | {"weight_decay": "1e-3..1:log"}
    found = carousel.tune(table, search=search, trials=9, out="study", pruning="none", **SMALL)
    with pytest.raises(UsageError, match="needs 10 finished trials; there are 9"):
        found.importance()
    found = carousel.tune(table, search=search, trials=40, out="study", pruning="none", **SMALL)
    shares = found.importance()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["learning_rate"] > 2 * shares["weight_decay"]
    page = Path("study/report.html").read_text()
    assert "What matters" in page
    assert found.command in page
    single = carousel.tune(table, search=RATE, trials=10, out="single", pruning="none", **SMALL)
    with pytest.raises(UsageError, match="only one was searched"):
        single.importance()


def test_another_study_in_the_folder(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "run_trial", formula)
    carousel.tune(table, search=RATE, trials=1, out="study", **SMALL)
    for words, says in (
        ({"search": {"learning_rate": "1e-4..1:log"}}, "other search space"),
        ({"search": RATE, "clip": 2.0}, "other settings"),
        ({"search": RATE, "folds": 3}, "other folds"),
        ({"search": RATE, "pruning": "none"}, "other pruning"),
    ):
        with pytest.raises(UsageError, match=says):
            carousel.tune(table, trials=1, out="study", **words, **SMALL)
    Path(table).write_text(Path(table).read_text() + "0.1,0.2,yes\n")
    with pytest.raises(DataError, match="data have changed"):
        carousel.tune(table, search=RATE, trials=1, out="study", **SMALL)
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        carousel.tune(table, search=RATE, trials=1, out="full", **SMALL)
    assert [path.name for path in Path("full").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"trials": 0}, "--trials is 0"),
        ({"processes": 0}, "--processes is 0"),
        ({"folds": 1}, "--folds is 1"),
        ({"minutes": -1}, "--minutes is -1"),
        ({"pruning": "hard"}, "--pruning is 'hard'"),
        ({"dev": 0.0}, "no dev part"),
        ({"fold": "1/3"}, "--folds 5 tries"),
        ({"search": ["hidden_size=3,4"]}, "means nothing for"),
        ({"processes": 2, "cell": carousel.Cell}, "cell by its name"),
    ],
)
def test_bad_input(table: str, words: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        carousel.tune(table, **({"search": RATE, "out": "study"} | words))
    assert not Path("study").exists()


def test_minutes_are_of_the_whole_study(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def noted(trial: Any, sources: Any, cell: Any, settings: Settings, *_: Any) -> float:
        given.append(settings.training.minutes)
        return formula(trial)

    monkeypatch.setattr(home, "run_trial", noted)
    carousel.tune(table, search=RATE, trials=4, minutes=6, folds=3, out="study", threads=1)
    assert given == [0.5] * 4
    clock = iter([1000.0, *[1e9] * 99])
    monkeypatch.setattr(home.time, "time", lambda: next(clock))
    found = carousel.tune(table, search=RATE, trials=9, minutes=6, folds=3, out="study", threads=1)
    assert len(found.trials) == 4


def test_without_optuna() -> None:
    code = "import sys; sys.modules['optuna'] = None; import carousel; carousel.tune('x.csv')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert "pip install 'carousel-nn[tune]'" in found.stderr.splitlines()[-1]
