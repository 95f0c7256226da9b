"""`carousel train IMAGES --network autoencoder`, `predict` and Python, small but whole."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import carousel
from carousel.errors import UsageError
from carousel.training import Callback, Step, Trainer

FEW: dict[str, Any] = {"threads": 1, "device": "cpu", "batch": 8, "evaluations": 2, "network": "autoencoder",
                       "network_options": {"hidden_sizes": (16,)}, "code_size": 2}  # fmt: skip


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for number in range(80):
        across, place = number % 2, number // 2 % 6
        pixels = np.random.default_rng(number).integers(0, 40, (7, 6), dtype=np.uint8)
        pixels[(place, slice(None)) if across else (slice(None), place)] = 250
        for name in (f"flat/{number}.png", f"{'across' if across else 'down'}/{number}.png"):
            Path("lines", name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(f"lines/{name}")
    Path("lines/flat").rename("flat")


def test_a_flat_folder_to_codes_and_errors(run: Callable[..., tuple[int, str]]) -> None:
    options = "--network autoencoder --network-options hidden_sizes 32, --code-size 3 --test 0.2 --batch 16"
    options += " --steps 200 --learning-rate 0.01"
    code, said = run("train", "flat", *options.split(), "--threads", "1", "--device", "cpu", "--out", "run")
    assert code == 0, said
    assert "images: no classes, 80 images of 6 x 7, gray" in said
    assert "of the variance lost, PCA 0." in said
    assert "Reconstruction through 3 numbers, test part:" in said
    assert "3 principal components 0." in said
    trained = carousel.load("run")
    assert trained.status["test_loss"] < 1
    assert 0 < trained.status["test_pca"] < 1
    assert trained.config["training"]["loss"] == "squared-error"
    page = Path("run/report.html").read_text()
    for words in ("Images given back, test part", "Least like the others", "Errors on the test part",
                  "Map of the codes", "42 numbers", "data:image/png;base64,"):  # fmt: skip
        assert words in page, words
    Image.fromarray(np.full((7, 6), 255, np.uint8)).save("white.png")
    code, said = run("predict", "run", "white.png", "flat", "--out", "codes.csv")
    assert code == 0, said
    assert "more than of 100 % of the held-out images" in said
    rows = list(csv.DictReader(Path("codes.csv").read_text().splitlines()))
    assert len(rows) == 81
    assert list(rows[0]) == ["name", "error", "above", "code_1", "code_2", "code_3"]
    assert float(rows[0]["error"]) > max(float(row["error"]) for row in rows[1:])
    code, said = run("predict", "run", "lines")
    assert code == 0, said
    assert "Right" not in said


def test_what_predict_says_is_what_the_model_does() -> None:
    trained = carousel.train("lines", steps=20, test=0.2, out="run", **FEW)
    assert trained.config["corpus"]["classes"] == 2
    (answer,) = trained.predict(["lines/across/3.png"])
    pixels = torch.from_numpy(np.array(Image.open("lines/across/3.png"))).float()[None, None] / 255
    with torch.no_grad():
        assert trained.model.encode(pixels)[0].tolist() == pytest.approx(answer["code"], rel=1e-5)
        away = float((trained.model(pixels) - pixels).square().sum())
    assert answer["error"] == pytest.approx(away / trained.predictor.plan.variance, rel=1e-4)
    (odd,) = [panel for panel in trained.evaluation["panels"] if panel["title"].startswith("Least like")]
    assert len(odd["rows"]) == 16
    errors = [error for *_, error in odd["rows"]]
    assert errors == sorted(errors, reverse=True)
    assert np.mean(errors) == pytest.approx(trained.status["test_loss"], rel=1e-4)
    names = [f"lines/{cell['text']}" for cell, *_ in odd["rows"]]
    assert [a["error"] for a in trained.predict(names)] == pytest.approx(errors, rel=1e-4)
    (drawn,) = [panel for panel in trained.evaluation["panels"] if panel["panel"] == "map"]
    assert drawn["names"] == ["across", "down"]
    assert len(drawn["points"][0]) == len(drawn["classes"]) == 16


def test_noise_is_on_the_input_only_and_the_convolutional_one_learns_too() -> None:
    noisy = carousel.train("flat", steps=4, out="noisy", **FEW, noise=0.3)
    plain = carousel.train("flat", steps=4, out="plain", **FEW)
    assert noisy.status["best_dev_pca"] == plain.status["best_dev_pca"]
    assert noisy.status["best_dev_loss"] != plain.status["best_dev_loss"]
    options = FEW | {"network": "autoencoder-conv", "network_options": {"filters": 4}}
    found = carousel.train("flat", steps=120, learning_rate=0.02, flip=True, out="conv", **options)
    assert found.model(torch.rand(1, 1, 7, 6)).shape == (1, 1, 7, 6)
    assert found.status["best_dev_loss"] < 1


def test_other_precisions_and_color() -> None:
    for number, file in enumerate(Path("flat").iterdir()):
        image = np.array(Image.open(file))
        Path("color").mkdir(exist_ok=True)
        Image.fromarray(np.stack([image, image // 2, 255 - image], 2)).save(f"color/{number}.png")
    runs = [carousel.train("color", steps=3, out=p, precision=p, **FEW) for p in ("float32", "float64", "bfloat16")]
    losses = [run.status["best_dev_loss"] for run in runs]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.05)
    assert runs[0].model(torch.rand(2, 3, 7, 6)).shape == (2, 3, 7, 6)


def test_a_stopped_run_goes_on_to_the_same_bits() -> None:
    class Stop(Callback):
        def on_step(self, trainer: Trainer, step: Step) -> None:
            if step.step == 7:
                signal.raise_signal(signal.SIGINT)

    whole = carousel.train("flat", steps=12, out="whole", **FEW, noise=0.1)
    with pytest.raises(KeyboardInterrupt):
        carousel.train("flat", steps=12, out="stopped", **FEW, noise=0.1, callbacks=[Stop()])
    again = carousel.resume("stopped")
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.status["best_dev_loss"] == whole.status["best_dev_loss"]


def test_parts_of_folders_without_classes() -> None:
    for number, file in enumerate(sorted(Path("flat").iterdir())):
        folder = Path("parts", "test" if number % 4 == 0 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)
    trained = carousel.train("parts", steps=2, dev=0.2, out="run", **FEW)
    assert trained.config["corpus"]["images"] == {"train": 48, "dev": 12, "test": 20}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mixup": 0.2}, "--mixup is about classes"),
        ({"class_weights": "balanced"}, "--class-weights is about classes"),
        ({"loss": "hinge"}, "--loss hinge is about classes; an autoencoder takes squared-error"),
        ({"network": "autoencoder-sequence"}, "Only --network autoencoder needs no classes"),
        ({"code_size": 0}, "--code-size is 0"),
        ({"noise": -1.0}, "--noise is -1.0"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(carousel.CarouselError, match=words):
        carousel.train("flat", steps=2, out="run", **(FEW | options))
    assert not Path("run").exists()


def test_an_autoencoder_tells_no_target_of_a_table() -> None:
    Path("rows.csv").write_text("a,b,y\n" + "".join(f"{k % 7},{k % 5},{k % 3}.5\n" for k in range(60)))
    with pytest.raises(UsageError, match="--network autoencoder gives back its input and is for images"):
        carousel.train("rows.csv", network="autoencoder", steps=2, out="run")


@pytest.mark.parametrize("option", ["code_size", "noise"])
def test_a_classifier_has_no_code(option: str) -> None:
    with pytest.raises(UsageError, match="is about autoencoders; leave it out, or say --network autoencoder"):
        carousel.train("lines", network="dense", steps=2, out="run", **{option: 3})


def test_a_wide_code_is_remarked_on(run: Callable[..., tuple[int, str]]) -> None:
    options = "--network autoencoder --code-size 42 --steps 1 --threads 1 --device cpu --no-doctor --out run"
    code, said = run("train", "flat", *options.split())
    assert code == 0, said
    assert "A code of 42 numbers is no bottleneck for images of 42" in said
