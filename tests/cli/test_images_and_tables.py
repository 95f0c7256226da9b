"""`carousel train`, `resume`, `predict` and Python on images and tables, small but whole."""

from __future__ import annotations

import csv
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import carousel
from carousel.errors import DataError, UsageError
from carousel.training import Callback, Step, Trainer

OPTIONS = ["--threads", "1", "--device", "cpu", "--batch", "8", "--evaluations", "3"]
FEW: dict[str, Any] = {"threads": 1, "device": "cpu", "batch": 8, "evaluations": 2}
NET = "conv 4 3 pad half, batchnorm, relu, pool 2, dense"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rng = np.random.default_rng(0)
    for name in ("up", "down", "left"):
        Path("lines", name).mkdir(parents=True)
        for number in range(24):
            pixels = rng.integers(0, 90, (8, 8), dtype=np.uint8)
            place = rng.integers(1, 3)
            if name == "left":
                pixels[:, place] = 255
            else:
                pixels[place if name == "up" else 7 - place] = 255
            Image.fromarray(pixels).save(f"lines/{name}/{number}.png")
    draw = random.Random(0)
    rows = []
    for number in range(300):
        age, city, income = draw.randint(18, 80), draw.choice(["Graz", "Linz", "Wien"]), draw.uniform(10, 90)
        shown = "" if draw.random() < 0.1 else f"{income:.1f}"
        owns = "yes" if age > 45 and city != "Wien" else "no"
        rows.append(f"{number},{age},{city},{shown},{owns},{2 * age + (10 if city == 'Graz' else 0)}\n")
    Path("people.csv").write_text("id,age,city,income,owns,score\n" + "".join(rows))


def test_images_from_the_folder_to_the_answer(run: Callable[..., tuple[int, str]]) -> None:
    options = [*OPTIONS, "--network", NET, "--learning-rate", "0.02", "--test", "0.2", "--steps", "80", "--out", "run"]
    code, said = run("train", "lines", *options)
    assert code == 0, said
    assert "images: 3 classes, 72 images of 8 x 8, gray" in said
    assert "layers with " in said
    assert "carousel predict run" in said
    trained = carousel.load("run")
    assert trained.status["test_accuracy"] >= 0.8
    assert trained.config["network"]["network"] == NET
    page = Path("run/report.html").read_text()
    for words in (
        "Confusion on the test part",
        "Balanced accuracy",
        "data:image/png;base64,",
        "1 x 8 x 8",
        "lines · layers",
    ):
        assert words in page, words
    (answer,) = trained.predict(["lines/left/3.png"])
    assert answer["label"] == "left"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    code, said = run("predict", "run", "lines/up/1.png", "lines/down", "--out", "answers.csv")
    assert code == 0, said
    rows = list(csv.DictReader(Path("answers.csv").read_text().splitlines()))
    assert len(rows) == 25
    assert {row["label"] for row in rows} <= {"up", "down", "left"}
    code, said = run("predict", "run", "lines")
    assert "Right: " in said
    code, said = run("predict", "run", "--text", "hello")
    assert (code, "--text means nothing" in said) == (2, True)


@pytest.mark.parametrize("source", ["lines", "people.csv"])
def test_double_precision_from_training_to_prediction(source: str) -> None:
    trained = carousel.train(source, precision="float64", steps=3, network="dense 4, relu, dense", out="run", **FEW)
    assert {p.dtype for p in trained.model.parameters()} == {torch.float64}
    given, _ = trained.predictor.read(source, "utf-8")
    assert len(trained.predict(given)) == (72 if source == "lines" else 300)


def test_a_last_layer_that_the_loss_does_not_fit_is_remarked_on(run: Callable[..., tuple[int, str]]) -> None:
    for network, said in (("dense, softmax", True), ("dense", False)):
        out = run("train", "lines", *OPTIONS, "--network", network, "--steps", "2", "--out", f"run{said}")
        assert out[0] == 0, out
        assert ("softmax is applied twice" in out[1]) == said


class Stop(Callback):
    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == 17:
            signal.raise_signal(signal.SIGINT)


def test_augmented_images_resume_to_the_same_bits() -> None:
    """Draws of flips, crops, erased parts and mixed pairs come from what the checkpoint holds."""
    options = {**FEW, "network": NET, "flip": True, "crop": 1, "erase": 0.5, "mixup": 0.3, "steps": 30}
    carousel.train("lines", out="whole", **options)
    with pytest.raises(KeyboardInterrupt):
        carousel.train("lines", out="cut", callbacks=[Stop()], **options)
    carousel.resume("cut")
    one, other = (torch.load(f"{name}/last.ckpt", weights_only=True)["network"] for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_rule_start_and_loss_trains() -> None:
    tried = (("momentum", "he", "hinge"), ("nesterov", "lsuv", "hinge-worst"), ("rmsprop", "xavier", "squared-error"))
    for rule, start, loss in tried:
        options = {"optimizer": rule, "init": start, "loss": loss, "learning_rate": 1e-3, "steps": 6, "network": NET}
        trained = carousel.train("lines", out=f"{rule}", **FEW, **options)
        assert trained.status["status"] == "finished"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"network": "resnet21"}, "There is no network 'resnet21'. Did you mean 'resnet"),
        ({"network": "conv 4 9, dense"}, "conv"),
        ({"mixup": 0.2, "class_weights": "balanced"}, "--mixup mixes labels"),
        ({"loss": "hinge", "class_weights": "balanced"}, "--class-weights balanced weighs cross-entropy"),
        ({"loss": "hinges"}, "--loss is 'hinges'"),
        ({"cell": "lstm"}, "A cell means nothing for images"),
        ({"hidden_size": 7}, "--hidden-size means nothing for images"),
        ({"target": ("x",)}, "--target means nothing for images"),
        ({"init": "magic"}, "magic"),
        ({"network": "resnet20", "network_options": {"filter": 8}}, "no option 'filter'"),
        ({"size": 2, "network": "conv 4 5, dense"}, "conv"),
    ],
)
def test_bad_requests_for_images(options: dict[str, Any], shown: str) -> None:
    with pytest.raises((UsageError, DataError)) as error:
        carousel.train("lines", **{**FEW, "steps": 2, **options})
    assert shown in str(error.value)
    assert not Path("runs").exists()


def test_tables_from_the_file_to_the_answer(run: Callable[..., tuple[int, str]]) -> None:
    options = [
        *OPTIONS,
        "--drop",
        "score",
        "--test",
        "0.2",
        "--steps",
        "200",
        "--learning-rate",
        "0.005",
        "--out",
        "run",
    ]
    code, said = run("train", "people.csv", "--target", "owns", *options)
    assert code == 0, said
    assert "table: 300 rows of people.csv" in said
    assert "'id'" in said  # a running number is left out, and it is said
    trained = carousel.load("run")
    assert trained.status["test_accuracy"] >= 0.9
    assert trained.config["table"]["problem"] == "classify"
    answers = trained.predict([{"age": 70, "city": "Graz", "income": None}, {"age": 70, "city": "Rom", "income": 3}])
    assert answers[0]["label"] == "yes"
    predictor = trained.predictor
    predictor.predict([{"age": 70, "city": "Rom", "income": 3}])
    assert "'Rom'" in " ".join(predictor.notes)
    code, said = run("predict", "run", "people.csv", "--out", "answers.csv")
    assert "Right: " in said
    assert pl.read_csv("answers.csv").columns == ["row", "label", "probability"]
    Path("short.csv").write_text("age,income\n3,4\n")
    code, said = run("predict", "run", "short.csv")
    assert code != 0
    assert "city" in said


def test_numbers_are_told_in_their_units(run: Callable[..., tuple[int, str]]) -> None:
    options = [*OPTIONS, "--drop", "owns", "--test", "0.2", "--steps", "400", "--learning-rate", "0.01", "--out", "run"]
    code, said = run("train", "people.csv", "--target", "score", *options)
    assert code == 0, said
    trained = carousel.load("run")
    assert trained.config["table"]["problem"] == "regress"
    assert trained.status["test_r2"] > 0.95
    assert trained.status["test_rmse"] < 8
    (answer,) = trained.predict([{"age": 50, "city": "Graz", "income": 20.0}])
    assert answer["value"] == pytest.approx(110, abs=12)
    page = Path("run/report.html").read_text()
    for words in ("Answers and truth on the test part", "mean of the training part", "Explained variance"):
        assert words in page
    code, said = run("predict", "run", "people.csv")
    assert "Over 300 rows: RMSE " in said


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"target": ("nope",)}, "nope"),
        ({"target": ("owns", "score")}, "a table has one target"),
        ({"target": ("score",), "class_weights": "balanced"}, "--class-weights means nothing"),
        ({"label_column": "owns"}, "--label-column means nothing for a table"),
        ({"flip": True}, "--flip means nothing for a table"),
        ({"target": ("owns",), "categories": ("agee",)}, "agee"),
        ({"network": "conv 3 3, dense", "target": ("owns",)}, "conv"),
    ],
)
def test_bad_requests_for_tables(options: dict[str, Any], shown: str) -> None:
    with pytest.raises((UsageError, DataError)) as error:
        carousel.train("people.csv", **{**FEW, "steps": 2, **options})
    assert shown in str(error.value)


def test_every_example_is_tested_in_one_fold(run: Callable[..., tuple[int, str]]) -> None:
    wide = ["--network", "mlp", "--network-options", "hidden_size", "7", "layers", "1"]
    options = ["--target", "owns", "--drop", "score", *OPTIONS, "--steps", "10", "--no-doctor", "--out", "cv", *wide]
    code, said = run("train", "people.csv", *options, "--folds", "3")
    assert code == 0, said
    for words in ("Fold 3 of 3", "On the test part of each fold", "deviation", "balanced_accuracy"):
        assert words in said
    runs = [carousel.load(f"cv/fold-{number}") for number in (1, 2, 3)]
    sizes = [one.config["corpus"]["rows"] for one in runs]
    assert sum(size["test"] for size in sizes) == 300
    assert all(96 <= size["test"] <= 104 and 18 <= size["dev"] <= 22 for size in sizes)  # equal rows stay together
    assert runs[0].model.layers.dense1.out_features == 7
    assert [one.config["data"]["fold"] for one in runs] == ["1/3", "2/3", "3/3"]
    finished = [one.status for one in runs]
    code, said = run("train", "people.csv", *options, "--folds", "3")  # nothing is left to do
    assert code == 0, said
    assert [one.status for one in runs] == finished
    code, said = run("train", "people.csv", *options, "--folds", "4")
    assert (code, "cv holds something else" in said) == (2, True)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"fold": "6/5"}, "--fold is '6/5'"),
        ({"fold": "1/5", "test": 0.1}, "leave out --test"),
        ({"fold": "1/400"}, "400"),
    ],
)
def test_folds_that_can_not_be(options: dict[str, Any], shown: str) -> None:
    with pytest.raises((UsageError, DataError)) as error:
        carousel.train("people.csv", target=("owns",), **{**FEW, "steps": 2, **options})
    assert shown in str(error.value)
    with pytest.raises(UsageError, match="two folds or more"):
        carousel.cross_validate("people.csv", 1)


def test_rows_that_two_groups_share_are_told(run: Callable[..., tuple[int, str]]) -> None:
    rows = [f"p{number % 12},{number % 40 / 7:.3f},{number % 40 % 3},{'ab'[number % 40 % 2]}" for number in range(60)]
    Path("visits.csv").write_text("\n".join(["patient,dose,ward,answer", *rows]) + "\n")
    options = [*OPTIONS, "--target", "answer", "--steps", "2", "--test", "0.25"]
    code, said = run("train", "visits.csv", *options, "--group-column", "patient", "--out", "grouped")
    assert code == 0, said
    assert "Leakage: " in said
    assert "rows of the test part" in said
    code, said = run("train", "visits.csv", *options, "--drop", "patient", "--out", "drawn")
    assert code == 0, said
    assert "Leakage: " not in said
