"""Runs as one: what is averaged, how good it is, which parts may judge it, and dropout's masks."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import carousel
from carousel.cli.main import main
from carousel.ensembles import _gains
from carousel.errors import DataError, UsageError
from carousel.nn import monte_carlo

FEW: dict[str, Any] = {"threads": 1, "device": "cpu", "batch": 16, "evaluations": 2, "steps": 25}
DROPPING = "dense 8, relu, dropout 0.4, dense"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache_in: Callable[[Path], Path]) -> Path:
    """Small runs, once for all tests: `a`, `b` on the same parts, `c` on others, `n…` of numbers, images, texts."""
    home = tmp_path_factory.mktemp("ensembles")
    draw = random.Random(0)
    rows = []
    for _ in range(240):
        age, city = draw.randint(18, 80), draw.choice(["Graz", "Linz", "Wien"])
        owns = "yes" if age + draw.gauss(0, 15) > 45 and city != "Wien" else "no"
        rows.append(f"{age},{city},{owns},{2 * age + draw.gauss(0, 5):.2f}\n")
    (home / "people.csv").write_text("age,city,owns,score\n" + "".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAROUSEL_CACHE", str(cache_in(home)))
        patch.chdir(home)
        for name, seed, options in (
            ("a", 1, {"network": DROPPING}), ("b", 2, {"network": "dense 4, tanh, dense"}), ("c", 3, {"split_seed": 3}),
        ):  # fmt: skip
            split = {"split_seed": 0, "network": "dense", **options}
            carousel.train(
                "people.csv", target=("owns",), drop=("score",), test=0.3, seed=seed, out=name, **split, **FEW
            )
        for seed in (1, 2):
            options = {"target": ("score",), "drop": ("owns",), "test": 0.3, "split_seed": 0, "network": DROPPING}
            carousel.train("people.csv", seed=seed, out=f"n{seed}", **options, **FEW)
    return home


@pytest.fixture(autouse=True)
def there(trained: Path, monkeypatch: pytest.MonkeyPatch, cache_in: Callable[[Path], Path]) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CAROUSEL_CACHE", str(cache_in(trained)))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, " ".join((printed.err if code else printed.out).split())

    return run


def test_scores_are_those_of_the_runs_and_of_the_answers() -> None:
    runs = [carousel.load(name) for name in "ab"]
    both = carousel.ensemble(runs)
    scores = both.scores()
    assert set(scores) == {"dev", "test"}
    test = scores["test"]
    assert test.examples == len(runs[0].task().parts["test"])
    for run in runs:
        assert test.members[run.path.name]["accuracy"] == pytest.approx(run.status["test_accuracy"])
        assert test.members[run.path.name]["loss"] == pytest.approx(run.status["test_loss"], abs=1e-5)
    assert test.ensemble["loss"] <= test.mean["loss"]
    given, truth = both.predictor.read("people.csv", "utf-8")
    assert truth is not None
    answers = both.predict(given)
    rows = runs[0].task().parts["test"].tolist()
    assert test.ensemble["accuracy"] == pytest.approx(np.mean([answers[row]["label"] == truth[row] for row in rows]))
    alone = [run.predict(run.predictor.read("people.csv", "utf-8")[0]) for run in runs]
    assert answers[5]["probabilities"]["yes"] == pytest.approx(
        np.mean([found[5]["probabilities"]["yes"] for found in alone])
    )
    assert (test.gains[0].over, test.gains[0].value) == (
        "the mean of the members", pytest.approx(test.ensemble["accuracy"] - test.mean["accuracy"]),
    )  # fmt: skip


def test_numbers_are_averaged_in_their_units() -> None:
    both = carousel.ensemble(["n1", "n2"])
    test = both.scores("test")["test"]
    given, truth = both.predictor.read("people.csv", "utf-8")
    rows = both.runs[0].task().parts["test"].tolist()
    told = np.array([answer["value"] for answer in both.predict(given)])
    away = told[rows] - np.array(truth, float)[rows]
    assert test.ensemble["rmse"] == pytest.approx(np.sqrt((away**2).mean()), rel=1e-5)
    assert test.gains[0].value == pytest.approx(test.mean["rmse"] - test.ensemble["rmse"])
    assert test.gains[0].value >= 0  # of a mean, the root mean square being convex
    assert "lower RMSE" in str(test)


def test_parts_that_a_member_was_trained_on_judge_nothing() -> None:
    with pytest.raises(UsageError, match=r"(a|c) was trained on .* same --split-seed"):
        carousel.ensemble(["a", "c"]).scores()
    with pytest.raises(UsageError, match="tells 'owns' and n1 tells 'score'"):
        carousel.ensemble(["a", "n1"])
    with pytest.raises(UsageError, match="two are the same run"):
        carousel.ensemble(["a", "./a"])
    with pytest.raises(UsageError, match="takes two runs or more; a was given"):
        carousel.ensemble("a")


def test_a_shared_test_part_counts_where_dev_parts_differ() -> None:
    lines = Path("people.csv").read_text().splitlines()
    Path("parts.csv").write_text(
        "\n".join(
            [lines[0] + ",split", *(f"{line},{'test' if n % 4 == 0 else 'train'}" for n, line in enumerate(lines[1:]))]
        )
    )
    for seed in (1, 2):
        options = {"target": ("owns",), "split_column": "split", "network": "dense", "seed": seed}
        carousel.train("parts.csv", out=f"parts-{seed}", **options, **FEW)
    assert set(carousel.ensemble(["parts-1", "parts-2"]).scores()) == {"test"}
    with pytest.raises(UsageError, match="examples of the dev part"):
        carousel.ensemble(["parts-1", "parts-2"]).scores("dev")
    with pytest.raises(UsageError, match="a and parts-1 were trained on different data"):
        carousel.ensemble(["a", "parts-1"]).scores()


def test_folds_predict_and_do_not_score(run: Callable[..., tuple[int, str]]) -> None:
    carousel.cross_validate("people.csv", 2, target=("owns",), out="folds", network="dense", **FEW)
    assert len(carousel.ensemble("folds").runs) == 2
    code, said = run("predict", "folds", "people.csv", "--json", "answers.json")
    assert code == 0, said
    assert "mutual information" in said
    code, said = run("ensemble", "folds")
    assert (code, "predict new files with it" in said) == (2, True), said
    shutil.rmtree("folds/fold-2")
    code, said = run("predict", "folds", "people.csv")
    assert (code, "fold-2 is not trained yet" in said) == (2, True), said


def test_data_that_have_changed_are_refused() -> None:
    before = Path("people.csv").read_text()
    try:
        Path("people.csv").write_text(before.replace("Graz", "Enns"))
        with pytest.raises(DataError, match=r"people\.csv have changed since a was begun"):
            carousel.ensemble(["a", "b"]).scores()
    finally:
        Path("people.csv").write_text(before)


def test_interval_of_the_paired_bootstrap() -> None:
    """Of a mean it is near mean ± 1.96 s/√n; equal answers have no gain, whatever their quality."""
    rng = np.random.default_rng(1)
    single = (rng.random((3, 900)) < np.array([[0.6], [0.7], [0.8]])).astype(float)
    over_mean, over_best = _gains(single, ["one", "two"], lambda means: means)
    for gain, away in ((over_mean, single[2] - single[:2].mean(0)), (over_best, single[2] - single[1])):
        half = 1.96 * away.std() / 30
        assert gain.value == pytest.approx(away.mean())
        assert (gain.low, gain.high) == pytest.approx((away.mean() - half, away.mean() + half), abs=0.15 * half)
        assert gain.sure
    assert over_best.over == "the best of them, two"
    same = _gains(np.stack([single[0]] * 3), ["one", "two"], lambda means: means)
    assert all((gain.value, gain.low, gain.high, gain.sure) == (0, 0, 0, False) for gain in same)


def test_samples_of_dropout_are_its_masks_and_leave_the_run_as_it_was() -> None:
    one = carousel.load("a")
    given, _ = one.predictor.read("people.csv", "utf-8")
    given = given.head(50)
    before = one.predict(given)
    first, again, other = (one.predict(given, samples=20, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert one.predict(given) == before
    numbers, categories, _ = one.predictor.encoding.inputs(given)
    inputs = torch.from_numpy(numbers), torch.from_numpy(categories)
    expected = monte_carlo(one.model, *inputs, samples=20, link="softmax", seed=1)
    names = one.predictor.classes
    for name, values in (("probabilities", expected.mean), ("deviations", expected.deviation)):
        found = torch.tensor([[answer[name][n] for n in names] for answer in first])
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match="b has no dropout"):
        carousel.load("b").predict(given, samples=20)


def test_texts_and_images(tmp_path: Path) -> None:
    letters = random.Random(1)
    words = [("".join(letters.choices("abc" if n % 2 else "xyz", k=5)), n % 2) for n in range(80)]
    Path("words.csv").write_text("word,kind\n" + "".join(f"{word},{'no'[kind]}\n" for word, kind in words))
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 100, (6, 6), dtype=np.uint8) + (150 if name == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "shades" / name / f"{number}.png")
    small: dict[str, Any] = {"hidden_size": 6, "embedding_size": 4, "dropout": 0.5, "kind": "labelled", "level": "char"}
    for source, options, given in (
        ("words.csv", small, ["abcab", "zzy"]),
        (tmp_path / "shades", {"network": "batchnorm, flatten, dropout 0.5, dense"}, [tmp_path / "shades/dark/3.png"]),
    ):
        runs = [
            carousel.train(source, out=tmp_path / f"{len(given)}-{seed}", seed=seed, split_seed=0, **options, **FEW)
            for seed in (1, 2)
        ]
        both = carousel.ensemble(runs)
        (answer, *_) = both.predict(given)
        alone = [one.predict(given)[0]["probabilities"] for one in runs]
        for label, share in answer["probabilities"].items():
            assert share == pytest.approx(np.mean([found[label] for found in alone]))
        assert set(both.scores()) == {"dev"}
        first, again = (both.predict(given, samples=4, seed=3) for _ in range(2))
        assert first == again
        assert first[0]["deviation"] > 0


def test_forecasts_are_averaged_quantile_by_quantile(run: Callable[..., tuple[int, str]]) -> None:
    draw = random.Random(2)
    rows = [f"{n},{10 + n % 7 + draw.random():.3f}\n" for n in range(300)]
    Path("series.csv").write_text("t,y\n" + "".join(rows))
    for seed, horizon in ((1, 5), (2, 5), (3, 4)):
        options = {"target": ("y",), "time_column": "t", "kind": "series", "horizon": horizon, "hidden_size": 4}
        carousel.train("series.csv", seed=seed, out=f"s{seed}", **options, **{**FEW, "steps": 5})
    runs = [carousel.load(f"s{seed}") for seed in (1, 2)]
    (found,) = carousel.ensemble(runs).forecasts()
    alone = [one.forecast() for one in runs]
    np.testing.assert_allclose(found.quantiles, np.mean([one.quantiles for one in alone], 0))
    for name, level in (("lower", 0), ("median", 4), ("upper", -1)):
        np.testing.assert_array_equal(getattr(found, name), found.quantiles[..., level])
    assert found.times == alone[0].times
    code, said = run("forecast", "s1", "--with", "s2", "--out", "next.csv")
    assert code == 0, said
    assert len(Path("next.csv").read_text().splitlines()) == 6
    assert run("forecast", "s1", "--with", "s3", "--horizon", "4")[0] == 0
    for words, wrong in (
        (["forecast", "s1", "--with", "s3"], "s1 and s3 forecast different series, columns or times"),
        (["ensemble", "s1", "s2"], "Runs that forecast are not scored together"),
        (
            ["predict", "s1", "people.csv", "--with", "s2"],
            "s1, s2 forecast, and do not predict; use `carousel forecast`",
        ),
        (["forecast", "a", "--with", "b"], "a, b predict, and do not forecast"),
        (["forecast", "s1", "--with", "a"], "s1 was trained on a series"),
    ):
        code, said = run(*words)
        assert (code, wrong in said) == (2, True), said


def test_networks_of_another_make_answer_together() -> None:
    letters = random.Random(3)
    words = [("".join(letters.choices("abc" if n % 2 else "xyz", k=5)), "no"[n % 2]) for n in range(80)]
    Path("letters.csv").write_text("word,kind\n" + "".join(f"{word},{kind}\n" for word, kind in words))
    options: dict[str, Any] = {"kind": "labelled", "level": "char", "split_seed": 0, "embedding_size": 4, **FEW}
    recurrent = carousel.train("letters.csv", out="recurrent", hidden_size=5, **options)
    windows = carousel.train("letters.csv", out="windows", network="sentence-cnn", seed=1, **options)
    both = carousel.ensemble([recurrent, windows])
    assert set(both.scores()["dev"].members) == {"recurrent", "windows"}
    assert both.predict(["abcab"], samples=3)[0]["deviation"] > 0


def test_the_commands(run: Callable[..., tuple[int, str]]) -> None:
    code, said = run("ensemble", "a", "b", "--json", "scores.json")
    assert code == 0, said
    assert "mean of them" in said
    assert "points of accuracy (95 % interval" in said
    assert '"gains"' in Path("scores.json").read_text()
    said = [
        run("predict", "a", "people.csv", *words, "--out", "answers.csv")
        for words in (["--with", "b", "c"], ["--with", "b", "--with", "c"])
    ]
    assert said[0][0] == 0, said
    assert said[0] == said[1]
    assert Path("answers.csv").read_text().startswith("row,label,probability,deviation,entropy,mutual_information\n")
    code, text = run("predict", "n1", "people.csv", "--samples", "5", "--out", "answers.csv")
    assert (code, " ± " in text) == (0, True), text
    assert Path("answers.csv").read_text().startswith("row,value,deviation\n")
    for words, wrong in (
        (["predict", "a", "people.csv", "--with", "none"], "There is no run folder none"),
        (["predict", "people.csv", "a"], "There is no run folder people.csv"),
        (["predict", "b", "people.csv", "--samples", "5"], "b has no dropout, so that all samples would be alike"),
        (["ensemble", "a"], "takes two runs or more"),
        (["ensemble", "a", "c"], "--split-seed"),
    ):
        code, text = run(*words)
        assert code, words
        assert wrong in text
