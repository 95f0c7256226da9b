"""Labelled sequences by the sentence CNN, and word vectors: made, given, kept with the run."""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import carousel
from carousel.data.word_vectors import WordVectors, read_vectors
from carousel.nn import SentenceCNN
from carousel.training import Callback, Step, Trainer

SMALL: dict[str, Any] = {"network": "sentence-cnn", "batch": 8, "threads": 1, "evaluations": 3, "device": "cpu"}
GOOD, BAD, OTHER = "good fine lovely bright".split(), "bad dull grim flat".split(), "the film is a story of it".split()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rng, rows = random.Random(0), []
    for place in range(160):
        words = rng.choices(OTHER, k=rng.randint(3, 9))
        words.insert(rng.randint(0, len(words)), rng.choice(GOOD if place % 2 else BAD))
        rows.append(f"{' '.join(words)},{'good' if place % 2 else 'bad'}\n")
    Path("films.csv").write_text("text,label\n" + "".join(rows))
    words = (*GOOD, *BAD, "film", "elsewhere")
    matrix = np.random.default_rng(0).normal(size=(len(words), 6)).astype(np.float32)
    WordVectors(words, matrix).save("vectors.txt")


def small(**options: Any) -> dict[str, Any]:
    return {**SMALL, "network_options": {"maps": 5, **options}}


def test_from_the_file_to_the_answer(run: Callable[..., tuple[int, str]]) -> None:
    options = ["--network", "sentence-cnn", "--network-options", "maps", "8", "widths", "2,3", "--embedding-size", "8"]
    code, said = run("train", "films.csv", *options, "--steps", "120", "--learning-rate", "0.02", "--threads", "1")
    assert code == 0, said
    assert "sentence-cnn with" in said
    trained = carousel.load("runs/films-sentence-cnn")
    assert isinstance(trained.model, SentenceCNN)
    assert trained.status["best_dev_accuracy"] == 1.0
    assert trained.config["network"]["cell"] is None
    assert run("predict", str(trained.path), "--text", "the film is grim")[1].startswith("the film is grim bad ")
    assert "Right: 160 of 160" in run("predict", str(trained.path), "films.csv", "--out", "a.csv")[1]
    page = Path(trained.path, "report.html").read_text()
    for words in ("8 maps of 2", "8 maps of 3", "16 → 2, softmax", "Confusion on the dev part"):
        assert words in page


def test_lengths_and_padding_change_nothing() -> None:
    trained = carousel.train("films.csv", steps=30, precision="float64", out="run", **small())
    texts = ["good", "the film is bad", " ".join(OTHER * 3), "a story of it is fine"]
    together = trained.predict(texts)
    for text, answer in zip(texts, together, strict=True):
        assert trained.predict([text])[0]["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-12)


class StopAt(Callback):
    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == 7:
            signal.raise_signal(signal.SIGINT)


def test_resumed_to_the_same_bits_with_vectors() -> None:
    options = {**small(variant="multichannel"), "steps": 12, "vectors": "vectors.txt"}
    with pytest.raises(KeyboardInterrupt, match="step 7 of 12"):
        carousel.train("films.csv", callbacks=[StopAt()], out="run", **options)
    carousel.resume("run")
    carousel.train("films.csv", out="whole", **options)
    one, other = (torch.load(f"{name}/last.ckpt", weights_only=True)["network"] for name in ("run", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("variant", [None, "static", "multichannel"])
def test_given_vectors_are_kept_or_trained_and_stay_with_the_run(variant: str | None) -> None:
    options = small() if variant is None else small(variant=variant)
    trained = carousel.train("films.csv", steps=8, vectors="vectors.txt", out="run", **options)
    kept = {None: [False], "static": [True], "multichannel": [True, False]}[variant]
    given = read_vectors("vectors.txt")
    Path("vectors.txt").unlink()
    again = carousel.load("run")
    assert again.predict(["the film"]) == trained.predict(["the film"])
    assert again.config["network"]["embedding_size"] == 6
    assert isinstance(again.model, SentenceCNN)
    symbols = trained.predictor.vocabulary.symbols
    known = [place for place, word in enumerate(symbols) if word in given]
    expected = torch.from_numpy(np.stack([given[symbols[place]] for place in known]))
    assert len(known) == 9
    for embedding, same in zip(again.model.embeddings, kept, strict=True):
        assert torch.equal(embedding.weight[known].detach(), expected) == same
    learned = sum(p.numel() for p in again.model.parameters()) - sum(kept) * 6 * len(symbols)
    assert json.loads(Path("run/network.json").read_text())["parameters"] == learned


def test_words_without_a_vector_spread_as_those_with() -> None:
    from carousel.data.ragged import Vocabulary
    from carousel.tasks.vectors import Given

    words = tuple(f"w{n}" for n in range(400))
    vectors = WordVectors(words[:200], np.random.default_rng(0).normal(0, 0.3, (200, 50)).astype(np.float32))
    torch.manual_seed(0)
    given = Given(Path("v.txt"), vectors, Vocabulary(("<unk>", *words), "word"))
    start = given.start()
    torch.testing.assert_close(start[1:201], torch.from_numpy(vectors.matrix))
    rest = torch.cat([start[:1], start[201:]])
    assert rest.square().mean().item() == pytest.approx(0.09, rel=0.05)  # 10,050 draws; five deviations are 0.045
    assert rest.abs().max().item() <= 3**0.5 * 0.31
    assert given.note == "200 of the 400 words have a vector of 50 numbers in v.txt; the others begin with random ones."


@pytest.mark.parametrize("file", ["films.csv", "tagged.txt"])
def test_recurrent_networks_begin_with_vectors_too(file: str, run: Callable[..., tuple[int, str]]) -> None:
    Path("tagged.txt").write_text("the\tD\nfilm\tN\n\na\tD\nstory\tN\nis\tV\nbad\tA\n\n" * 20)
    options = ["--hidden-size", "4", "--steps", "1", "--learning-rate", "1e-9", "--threads", "1", "--batch", "4"]
    code, said = run("train", file, "--vectors", "vectors.txt", *options, "--weight-decay", "0", "--out", "run")
    assert code == 0, said
    assert re.search(r"\d of the \d+ words have a vector of 6 numbers in vectors.txt; the others", said)
    given, trained = read_vectors("vectors.txt"), carousel.load("run")
    place = trained.predictor.vocabulary.symbols.index("film")
    torch.testing.assert_close(trained.model.embedding.weight[place].detach(), torch.from_numpy(given["film"]))


def test_fix_begins_anew(run: Callable[..., tuple[int, str]]) -> None:
    options = ["--network", "sentence-cnn", "--optimizer", "sgd", "--learning-rate", "1e30", "--clip", "0"]
    small = ["--schedule", "constant", "--steps", "20", "--batch", "8", "--threads", "1", "--fix", "--out", "run"]
    code, said = run("train", "films.csv", *options, *small)
    assert code == 1
    assert "not a finite number" in said
    assert carousel.load("run").config["fixes"][0]["changes"] == {"clip": [0.0, 1.0]}


def test_bad_input(run: Callable[..., tuple[int, str]]) -> None:
    def refused(code: int, words: str, *arguments: str) -> None:
        found, said = run(*arguments)
        assert found == code, said
        assert words in said

    Path("ragged.txt").write_text("film 1 2\ngood 1\n")
    Path("french.txt").write_text("chat 1 2\nchien 1 3\n<unk> 0 0\n")
    train = ["train", "films.csv", "--network", "sentence-cnn", "--steps", "1"]
    option = [*train, "--network-options"]
    refused(2, "it has vocabulary, embedding_size", *option, "filters", "3")
    refused(2, "embedding_size: for labelled sequences it is --embedding-size", *option, "embedding_size", "3")
    refused(2, "vocabulary: for labelled sequences it follows the data", *option, "vocabulary", "3")
    refused(2, "got widths='3,x'; give whole numbers", *option, "widths", "3,x")
    refused(2, "got variant='still'; give one of random, static", *option, "variant", "still")
    refused(2, "variant static takes word vectors; give --vectors FILE", *option, "variant", "static")
    refused(2, "takes no --vectors; leave one of them out", *option, "variant", "random", "--vectors", "vectors.txt")
    refused(2, "which sentence-cnn does not take; give 1 or more", *train, "--embedding-size", "0")
    refused(2, "nothing.txt", *train, "--vectors", "nothing.txt")
    refused(1, "line 2: 1 numbers; the lines before have 2", *train, "--vectors", "ragged.txt")
    refused(1, "french.txt has none of the 15 words of the data", *train, "--vectors", "french.txt")
    refused(2, "--vectors are of words", *train, "--vectors", "vectors.txt", "--level", "char")
    with pytest.raises(carousel.CarouselError, match="A cell means nothing for labelled sequences with the network se"):
        carousel.train("films.csv", cell="gru", **SMALL)
    assert not Path("runs").exists()


def test_files_of_a_folder_that_are_no_text_are_left_out_and_told() -> None:
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("one two\n" * 9)
    Path("texts/b.txt").write_bytes(b"one \xff two\n" * 9)
    with pytest.warns(UserWarning, match=r"Left out: 1 file that is no text in utf-8 \(texts/b.txt\)"):
        assert carousel.word_vectors("texts", size=2).words == ("one", "two")
    with pytest.raises(carousel.CarouselError, match="not valid utf-8"):
        carousel.word_vectors(["texts/b.txt", "texts/a.txt"], size=2)


def test_vectors_are_made_saved_and_shown(run: Callable[..., tuple[int, str]]) -> None:
    rng, lines = random.Random(0), []
    for _ in range(400):  # two topics: words of one are never near those of the other
        topic = rng.choice([GOOD, BAD])
        lines.append(" ".join(rng.choices(topic, k=12)))
    Path("texts.txt").write_text("\n".join(lines) + "\nonce\n")
    options = ["--size", "8", "--window", "3", "--epochs", "30", "--threads", "1"]
    code, said = run("vectors", "texts.txt", "--out", "v.txt", *options, "--show", "good", "grim", "once")
    assert code == 0, said
    assert "8 words, vectors of 8 numbers" in said
    assert "Without a vector: 'once'." in said
    assert "carousel train DATA --vectors v.txt" in said
    found = read_vectors("v.txt")
    for topic in (GOOD, BAD):
        assert {word for word, _ in found.nearest(topic[0], 3)} == set(topic[1:])
    again = carousel.word_vectors("texts.txt", size=8, window=3, epochs=30)
    assert again.words == found.words
    np.testing.assert_allclose(again.matrix, found.matrix, rtol=1e-5, atol=1e-6)
    for code, words, *arguments in (
        (2, "--out vectors.txt", "texts.txt"),
        (2, "No text was given", "--out", "v.txt"),
        (2, "--size is 0; it must be a whole number of at least 1", "texts.txt", "--out", "v.txt", "--size", "0"),
        (1, "Fewer than two words come 9000 times", "texts.txt", "--out", "v.txt", "--min-count", "9000"),
        (2, "there is no folder", "texts.txt", "--out", "no/v.txt"),
        (2, "nothing.txt", "nothing.txt", "--out", "v.txt"),
    ):
        answer, said = run("vectors", *map(str, arguments))
        assert answer == code, said
        assert str(words) in said
