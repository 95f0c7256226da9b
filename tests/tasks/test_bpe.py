"""Byte pairs from the text to the sample: losses that compare with those of characters, resuming, the command line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import carousel
from carousel.cli.main import main
from carousel.training import Callback

TEXT = "Die Rosen blühen schön, sagt das Mädchen.\nUnd “wer” hört zu? Die Bäume hören zu.\n" * 60
SMALL = {"batch": 2, "window": 8, "hidden_size": 8, "embedding_size": 8, "threads": 1, "evaluations": 2, "steps": 8}


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> str:
    monkeypatch.chdir(tmp_path)
    Path("roses.txt").write_text(TEXT, encoding="utf-8")
    return "roses.txt"


def test_losses_are_stated_per_token_character_and_byte(text: str) -> None:
    run = carousel.train(text, level="bpe", vocabulary_size=300, out="run", **SMALL)
    tokens, dev = run.tokenizer.encode(TEXT), run.config["corpus"]["tokens"]["dev"]
    predicted = run.tokenizer.decode(tokens[-dev + 1 :])
    status = run.status
    total = status["best_dev_loss"] * (dev - 1)
    assert status["best_dev_nats_per_character"] == pytest.approx(total / len(predicted), rel=1e-12)
    assert status["best_dev_bits_per_byte"] == pytest.approx(total / math.log(2) / len(predicted.encode()), rel=1e-12)
    assert [line["dev_bits_per_byte"] for line in run.metrics if "dev_bits_per_byte" in line][-1] > 0
    page = run.report().read_text(encoding="utf-8")
    for words in ("Nats per character", "Bits per byte", "300 tokens"):
        assert words in page


def test_samples_go_on_from_any_prompt(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = carousel.train(text, level="bpe", vocabulary_size=280, out="run", **SMALL)
    assert run.sample(20, prompt="Größe 日本", seed=1)
    assert run.sample(20, prompt="Die ", seed=1) == run.sample(20, prompt="Die ", seed=1)
    capsys.readouterr()
    assert main(["sample", "run", "--chars", "20", "--prompt", "Die ", "--temperature", "1", "--seed", "1"]) == 0
    assert capsys.readouterr().out == "Die " + run.sample(20, prompt="Die ", seed=1) + "\n"


class StopAt(Callback):
    def on_step(self, trainer, step) -> None:
        if step.step == 4:
            raise KeyboardInterrupt


def test_a_stopped_run_goes_on_to_the_same_weights(text: str) -> None:
    whole = carousel.train(text, level="bpe", out="whole", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        carousel.train(text, level="bpe", out="stopped", callbacks=[StopAt()], **SMALL)
    resumed = carousel.resume("stopped")
    assert resumed.tokenizer == whole.tokenizer
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_errors_name_the_way_out(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(code: int, words: str, *options: str) -> None:
        assert main(["train", text, "--out", "new", *options]) == code
        assert words in " ".join(capsys.readouterr().err.split())
        assert not Path("new").exists()

    refused(1, "too short for a vocabulary of 5,000 byte pairs", "--level", "bpe", "--vocabulary-size", "5000")
    refused(2, "at least 257", "--level", "bpe", "--vocabulary-size", "200")
    refused(2, "byte pairs, but the level is", "--vocabulary-size", "500")
    refused(2, "about words", "--level", "bpe", "--min-count", "3")
    Path("names.csv").write_text("name,label\n" + "Anna,f\nOtto,m\n" * 20)
    assert main(["train", "names.csv", "--level", "bpe"]) == 2
    assert "--level bpe means nothing for labelled sequences" in capsys.readouterr().err
