"""`carousel train`, `resume`, `predict` and Python on labelled and tagged sequences, small but whole."""

from __future__ import annotations

import csv
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import carousel
from carousel.training import Callback, Step, Trainer

SMALL: dict[str, Any] = {
    "hidden_size": 12, "embedding_size": 8, "batch": 8, "threads": 1, "evaluations": 3, "device": "cpu",
}  # fmt: skip
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
WORDS = {"DET": "the a this".split(), "NOUN": "cat dog house tree".split(), "VERB": "sees likes finds".split()}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rng = random.Random(0)
    rows = []
    for place in range(160):
        label = ("round", "edgy", "mixed")[place % 3]
        letters = {"round": "oacde", "edgy": "kxzvw", "mixed": "oakxz"}[label]
        rows.append(f"{''.join(rng.choices(letters, k=rng.randint(3, 9)))},{label},{place}\n")
    Path("shapes.csv").write_text("word,shape,row\n" + "".join(rows))
    sentences = []
    for _ in range(60):
        tags = ["DET", "NOUN", "VERB", "DET", "NOUN"][: rng.randint(2, 5)]
        sentences.append("".join(f"{rng.choice(WORDS[tag])}\t{tag}\n" for tag in tags) + "\n")
    Path("tagged.txt").write_text("".join(sentences))


def weights(folder: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{folder}/last.ckpt", weights_only=True)["network"]


def same(one: str, other: str) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_labelled_from_the_file_to_the_answer(run: Callable[..., tuple[int, str]]) -> None:
    code, said = run("train", "shapes.csv", *OPTIONS, "--steps", "120", "--learning-rate", "0.02", "--out", "run")
    assert code == 0, said
    assert (
        "labelled sequences: 3 classes, 160 sequences of characters, shapes.csv, text in column 'word', label in "
        "'shape' (--kind, --level, --text-column, --label-column say otherwise)"
    ) in said
    assert "120 steps of 8 sequences" in said
    assert "carousel predict run --text" in said
    trained = carousel.load("run")
    assert trained.status["best_dev_accuracy"] >= 0.7
    assert {"dev_accuracy", "dev_balanced_accuracy"} <= set(trained.metrics[-1])
    assert trained.config["labelled"] == {"text_column": "word", "pooling": "max"}
    assert trained.config["data"]["label_column"] == "shape"
    assert trained.config["data"]["level"] == "char"
    assert "tagged" not in trained.config
    (answer,) = trained.predict(["kvwkvw"])
    assert answer["label"] == "edgy"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    page = Path("run/report.html").read_text()
    for words in ("Confusion on the dev part", "Balanced accuracy", "nats per sequence", "3 classes.", "Recall"):
        assert words in page
    assert "Bits per" not in page
    code, said = run("predict", "run", "--text", "oaoaoa")
    assert said.startswith("oaoaoa round ")
    code, said = run("predict", "run", "shapes.csv", "--out", "answers.csv", "--json", "answers.json")
    assert "… and 140 more. Right: " in said
    with Path("answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == len(json.loads(Path("answers.json").read_text())) == 160
    assert set(answers[0]) == {"text", "label", "probability"}
    # labels that were not there in training are told, not fatal
    Path("new.csv").write_text("word,shape\nkvwkwv,edgy\noao,spiral\n")
    assert (
        "Right: 1 of 1, 100.0 %. Not counted: 1 with labels that were not in training: 'spiral'."
        in run("predict", "run", "new.csv")[1]
    )
    Path("lines.txt").write_text("kvwkvw\n\noao漢\n")
    assert run("predict", "run", "lines.txt")[1].startswith("kvwkvw edgy")


def test_tagged_from_the_file_to_the_answer(run: Callable[..., tuple[int, str]]) -> None:
    options = [*OPTIONS, "--steps", "60", "--learning-rate", "0.02", "--spelling-size", "4", "--test", "0.1"]
    code, said = run("train", "tagged.txt", *options, "--out", "run")
    assert code == 0, said
    assert "tagged sequences: 60 sentences" in said
    assert "3 tags, tagged.txt, word in column 1, tag in 2" in said
    trained = carousel.load("run")
    assert trained.status["test_accuracy"] == 1.0
    assert trained.predict(["the cat sees"]) == trained.predict([["the", "cat", "sees"]])
    assert trained.predict(["a tree finds this"])[0]["tags"] == ["DET", "NOUN", "VERB", "DET"]
    page = Path("run/report.html").read_text()
    for words in ("Sentences of the test part", "Mean F1", "Confusion on the test part", 'class="tagged"'):
        assert words in page
    assert run("predict", "run", "--text", "the dog")[1] == "the/DET dog/NOUN"
    assert "Right: " in run("predict", "run", "tagged.txt", "--out", "tags.csv")[1]
    rows = list(csv.DictReader(Path("tags.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["sentence", "word", "tag", "probability"]
    assert rows[-1]["sentence"] == "60"
    Path("new.txt").write_text("the\tDET\nsky\tSKY\n\na\tDET\ndog\tNOUN\nsees\tVERB\nthis\tDET\n" * 3)
    assert "with tags that were not in training: 'SKY'." in run("predict", "run", "new.txt", "--label-column", "2")[1]


class StopAt(Callback):
    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == 17:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("file", ["shapes.csv", "tagged.txt"])
def test_resumed_to_the_same_bits(file: str) -> None:
    """In the second epoch, with dropout, accumulated batches and a schedule that listens to the dev loss."""
    options = {**SMALL, "steps": 30, "accumulate": 2, "schedule": "plateau", "dropout": 0.4}
    with pytest.raises(KeyboardInterrupt, match="step 17 of 30"):
        carousel.train(file, callbacks=[StopAt()], out="run", **options)
    resumed = carousel.resume("run")
    whole = carousel.train(file, out="whole", **options)
    assert same("run", "whole")
    assert resumed.status["best_dev_accuracy"] == whole.status["best_dev_accuracy"]
    losses = [[line["train_loss"] for line in r.metrics if "train_loss" in line] for r in (resumed, whole)]
    assert losses[0] == losses[1]
    Path(file).write_text(Path(file).read_text() + Path(file).read_text().split("\n", 1)[1][:40].split("\n")[0] + "\n")
    with pytest.raises(carousel.CarouselError, match="changed"):
        carousel.resume("run")


def test_epochs_and_settings_of_the_kind(run: Callable[..., tuple[int, str]]) -> None:
    trained = carousel.train("shapes.csv", epochs=2, class_weights="balanced", pooling="last", out="a", **SMALL)
    sequences = trained.config["corpus"]["sequences"]
    assert sum(sequences.values()) == 160
    assert trained.config["training"]["steps"] == 2 * (sequences["train"] // 8)
    assert carousel.train("shapes.csv", kind="text", steps=2, out="b", **SMALL).sample(3, seed=0)
    options = {**SMALL, "cell": "rnn", "directions": 1, "embedding_size": 0, "layers": 2, "skip": True, "steps": 2}
    own = carousel.train("shapes.csv", out="c", **options)
    assert own.predict(["ok"])[0]["label"] in ("round", "edgy", "mixed")


def test_fix_and_several_looks(run: Callable[..., tuple[int, str]]) -> None:
    options = [*OPTIONS, "--steps", "20", "--optimizer", "sgd", "--learning-rate", "1e30", "--clip", "0"]
    code, said = run("train", "shapes.csv", *options, "--schedule", "constant", "--fix", "--out", "run")
    assert code == 1
    assert "not a finite number" in said
    assert carousel.load("run").config["fixes"][0]["changes"] == {"clip": [0.0, 1.0]}


def test_bad_input(run: Callable[..., tuple[int, str]]) -> None:
    def refused(code: int, words: str, *arguments: str) -> None:
        found, said = run(*arguments)
        assert found == code, said
        assert words in said

    train = ["train", "shapes.csv", *OPTIONS, "--steps", "2"]
    refused(2, "--window means nothing for labelled sequences", *train, "--window", "8")
    refused(2, "--level byte means nothing for labelled sequences", *train, "--level", "byte")
    refused(1, "Did you mean 'shape'?", *train, "--label-column", "shap")
    refused(2, "--kind", *train, "--kind", "pictures")
    refused(1, "No character comes 9999 times or more", *train, "--min-count", "9999")
    assert run(*train, "--out", "run")[0] == 0
    refused(2, "trained on labelled sequences, so there is nothing to sample; `carousel predict run`", "sample", "run")
    refused(2, "Give a file, or a text", "predict", "run")
    refused(1, "Sequence 1 of 1 is empty", "predict", "run", "--text", "")
    refused(2, "no file or folder", "predict", "run", "nothing.csv")
    refused(1, "no column 'shapes' (--label-column)", "predict", "run", "shapes.csv", "--label-column", "shapes")
    refused(2, "there is no folder", "predict", "run", "--text", "oak", "--out", "no/such.csv")
    assert "predict run --text" in run("resume", "run")[1]
    with pytest.raises(carousel.CarouselError, match="list of texts"):
        carousel.load("run").predict("oak")


def test_a_class_with_one_sequence_is_told(run: Callable[..., tuple[int, str]]) -> None:
    Path("shapes.csv").write_text(Path("shapes.csv").read_text() + "unique,lonely,160\n")
    code, said = run("train", "shapes.csv", *OPTIONS, "--steps", "2", "--out", "run")
    assert code == 0
    assert "A single sequence to learn from: 'lonely'" in said
    assert "--class-weights balanced" in said
