"""The loop, through the public interface, on a real little text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

import carousel
from carousel.cells.loading import load_cell
from carousel.data.streams import Part, TokenStreams
from carousel.data.text import load_text
from carousel.settings import Settings
from carousel.tasks.labelled import LabelledTask
from carousel.tasks.language_model import build_network
from carousel.training import Callback, Evaluation, Interrupted, Step, Trainer

SMALL: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 12,
    "embedding_size": 6,
    "batch": 4,
    "window": 10,
    "threads": 1,
    "evaluations": 3,
    "device": "cpu",
}


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text("Round and round the error goes, and where it stops nobody knows.\n" * 40)
    return path


def weights(run: carousel.Run) -> dict[str, torch.Tensor]:
    return torch.load(run.path / "last.ckpt", weights_only=True)["network"]


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_loop_equals_a_plain_one(text: Path, accumulate: int) -> None:
    """Weights after 12 updates equal those of a loop written out by hand, bit for bit."""
    options = {"warmup": 5, "clip": 0.3, "accumulate": accumulate, "dropout": 0.0, "learning_rate": 4e-3, **SMALL}
    run = carousel.train(text, steps=12, seed=3, out="run", **options)
    corpus = load_text([text])
    train = Part(0, run.config["corpus"]["tokens"]["train"])
    stream = TokenStreams(corpus.tokens, corpus.documents, train, 4)

    torch.manual_seed(3)
    settings = Settings.of(hidden_size=12, embedding_size=6, dropout=0.0).network
    network = build_network(settings, load_cell("lstm"), corpus.tokenizer.size)
    rule = torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=0.1, betas=(0.9, 0.99), fused=True)
    state, windows = None, iter(range(0, stream.length - 9, 10))
    for step in range(12):
        rule.param_groups[0]["lr"] = 4e-3 * ((step + 1) / 5 if step < 5 else 1 - (step - 5) / 7)
        rule.zero_grad()
        for _ in range(accumulate):
            begin = next(windows)
            window = stream.window(begin, begin + 10)
            output, state = network(window.inputs, state)
            state = tuple(s.detach() for s in state)
            (F.cross_entropy(output.flatten(0, 1), window.targets.flatten()) / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)
        rule.step()
    assert largest_difference(weights(run), network.state_dict()) == 0.0


def test_same_seed_same_run_other_seed_another(text: Path) -> None:
    one, same, other = (
        carousel.train(text, steps=8, seed=s, dropout=0.3, out=f"run{n}", **SMALL) for n, s in enumerate((1, 1, 2))
    )
    assert largest_difference(weights(one), weights(same)) == 0.0
    assert largest_difference(weights(one), weights(other)) > 1e-3


def test_metrics_say_what_the_contract_says(text: Path) -> None:
    run = carousel.train(text, steps=20, clip=0.5, out="run", **SMALL)
    steps = [line for line in run.metrics if "train_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    for line in steps:
        assert set(line) == {
            "step", "seconds", "epoch", "train_loss", "lr", "grad_norm", "grad_norm_clipped", "tokens_per_second",
        }  # fmt: skip
        assert line["grad_norm_clipped"] == min(line["grad_norm"], 0.5)
    assert steps[0]["train_loss"] == pytest.approx(math.log(run.tokenizer.size), rel=0.1)
    assert steps[-1]["train_loss"] < steps[0]["train_loss"]
    dev = [line for line in run.metrics if "dev_loss" in line]
    assert [line["step"] for line in dev] == [8, 14, 20]
    assert run.status["best_dev_loss"] == min(line["dev_loss"] for line in dev)
    assert run.config["training"]["steps"] == 20
    assert [s["step"] for s in run.samples] == [1, 8, 14, 20]


def test_dev_loss_is_the_loss_of_the_whole_dev_part(text: Path) -> None:
    """Against one pass over each of the parallel streams, token by token."""
    run = carousel.train(text, steps=6, out="run", **SMALL)
    corpus = load_text([text])
    dev = corpus.tokens[run.config["corpus"]["tokens"]["train"] :].astype("int64")
    assert len(dev) == run.config["corpus"]["tokens"]["dev"]
    length = -(-(len(dev) - 1) // 16)
    total = 0.0
    with torch.no_grad():
        for begin in range(0, len(dev) - 1, length):
            piece = torch.from_numpy(dev[begin : begin + length + 1])
            output, _ = run.model(piece[:-1].unsqueeze(1))
            total += F.cross_entropy(output[:, 0], piece[1:], reduction="sum").item()
    assert run.status["best_dev_loss"] == pytest.approx(total / (len(dev) - 1), rel=1e-5)  # float32 sums


def test_test_split_is_evaluated_once_at_the_end(text: Path) -> None:
    run = carousel.train(text, steps=6, test=0.1, out="run", **SMALL)
    assert all("test_loss" not in line for line in run.metrics)
    assert 0 < run.status["test_loss"] < 5
    tokens = run.config["corpus"]["tokens"]
    assert tokens["test"] == 260
    assert sum(tokens.values()) == 2600


def test_early_stopping(text: Path) -> None:
    """With a step size that only harms, training ends after `patience` evaluations without progress."""
    options = {**SMALL, "evaluations": 10}
    run = carousel.train(text, steps=40, patience=2, learning_rate=30.0, schedule="constant", out="run", **options)
    dev = [line["dev_loss"] for line in run.metrics if "dev_loss" in line]
    best = dev.index(min(dev))
    assert len(dev) == best + 3 < 10
    assert run.status["step"] < 40
    assert run.status["best_step"] == [line["step"] for line in run.metrics if "dev_loss" in line][best]


@pytest.mark.parametrize(("weights_of_classes", "kept"), [("none", 3), ("balanced", 5)])
def test_labelled_weights_are_kept_by_what_is_asked_for(
    text: Path, monkeypatch: pytest.MonkeyPatch, weights_of_classes: str, kept: int
) -> None:
    """The best (balanced) accuracy, of equal ones the lower loss; the lowest loss, at step 2, decides nothing."""
    done = iter([(0.5, 0.7, 0.5), (0.3, 0.8, 0.4), (0.4, 0.9, 0.3), (0.5, 0.9, 0.5), (0.6, 0.6, 0.6), (0.7, 0.6, 0.6)])
    measured = LabelledTask.evaluate

    def scripted(task: LabelledTask, network: torch.nn.Module, split: str) -> Evaluation | None:
        found = measured(task, network, split)
        if found is None:
            return None
        loss, accuracy, balanced = next(done)
        return found._replace(loss=loss, metrics={"accuracy": accuracy, "balanced_accuracy": balanced})

    monkeypatch.setattr(LabelledTask, "evaluate", scripted)
    Path("rows.csv").write_text("text,label\n" + "".join(f"{'ab'[k % 2] * (2 + k % 3)},{k % 2}\n" for k in range(40)))
    recorder = Recorder()
    options = {"hidden_size": 4, "batch": 4, "threads": 1, "class_weights": weights_of_classes}
    run = carousel.train("rows.csv", steps=6, evaluations=6, out="run", callbacks=[recorder], **options)
    assert run.status["best_step"] == kept
    assert run.status["best_dev_loss"] == {3: 0.4, 5: 0.6}[kept]
    assert run.status["best_dev_accuracy"] == {3: 0.9, 5: 0.6}[kept]
    heard = [event for event in recorder.events if event[0] == "evaluation"]
    better = [place for place, (_, is_best) in enumerate(heard, 1) if is_best]
    assert better == {3: [1, 2, 3], 5: [1, 5]}[kept]


def test_minutes_become_steps_before_training(text: Path) -> None:
    run = carousel.train(text, minutes=0.03, out="run", **SMALL)
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["training"]["minutes"] == 0.03
    assert config["training"]["steps"] == run.status["step"] >= 1


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precision(text: Path, precision: str) -> None:
    run = carousel.train(text, steps=12, precision=precision, out=precision, **SMALL)
    plain = carousel.train(text, steps=12, out="float32", **SMALL)
    expected = torch.float64 if precision == "float64" else torch.float32
    assert all(w.dtype == expected for w in weights(run).values())
    # bfloat16 has 8 bits: the loss of a dozen steps agrees to about one part in 2^8
    assert run.status["best_dev_loss"] == pytest.approx(plain.status["best_dev_loss"], rel=4e-3)
    assert run.sample(5, seed=0)


@pytest.mark.parametrize("level", ["byte", "word"])
def test_other_levels(text: Path, level: str) -> None:
    run = carousel.train(text, steps=6, level=level, out=level, **{**SMALL, "batch": 2})
    assert run.sample(8, seed=1)
    assert level in (run.path / "report.html").read_text()


@pytest.mark.parametrize("cell", sorted(carousel.cells.REGISTRY))
def test_every_registered_cell_trains(text: Path, cell: str) -> None:
    options = {**SMALL, "cell": cell, "learning_rate": 0.02, "evaluations": 1}
    run = carousel.train(text, steps=40, layers=2, skip=True, out="run", **options)
    untrained = run.metrics[0]["train_loss"]
    assert run.status["best_dev_loss"] < untrained - 0.3  # the frequencies of the letters alone give more than that
    assert carousel.load("run").sample(3, seed=0)


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_begin(self, trainer: Trainer) -> None:
        self.events.append(("begin", trainer.step))

    def on_step(self, trainer: Trainer, step: Step) -> None:
        self.events.append(("step", step.step))

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        self.events.append(("evaluation", is_best))

    def on_end(self, trainer: Trainer) -> None:
        self.events.append(("end", trainer.step))


def test_callbacks_hear_everything_in_order(text: Path) -> None:
    recorder = Recorder()
    carousel.train(text, steps=3, callbacks=[recorder], out="run", **SMALL)
    assert recorder.events == [
        ("begin", 0),
        ("step", 1),
        ("evaluation", True),
        ("step", 2),
        ("evaluation", True),
        ("step", 3),
        ("evaluation", True),
        ("end", 3),
    ]


class StopAt(Callback):
    """Ctrl-C at a step, as a person would press it."""

    def __init__(self, step: int):
        self.step = step

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == self.step:
            import signal

            signal.raise_signal(signal.SIGINT)


def test_interrupt_is_a_keyboard_interrupt_that_resumes(text: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="step 5 of 9; everything is saved") as stop:
        carousel.train(text, steps=9, callbacks=[StopAt(5)], dropout=0.2, out="run", **SMALL)
    assert isinstance(stop.value, Interrupted)
    assert carousel.load("run").status["status"] == "stopped"
    resumed = carousel.resume("run")
    whole = carousel.train(text, steps=9, dropout=0.2, out="whole", **SMALL)
    assert largest_difference(weights(resumed), weights(whole)) == 0.0
    assert resumed.status["status"] == "finished"


def test_resume_with_moved_text(text: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carousel.train(text, steps=9, callbacks=[StopAt(5)], out="run", **SMALL)
    moved = text.rename(tmp_path / "elsewhere.txt")
    with pytest.raises(carousel.CarouselError, match=r"text\.txt"):
        carousel.resume("run")
    assert carousel.resume("run", data=moved).status["step"] == 9


def test_two_processes_do_not_share_a_folder(text: Path) -> None:
    run = carousel.train(text, steps=2, out="run", **SMALL)
    with run._folder.locked(), pytest.raises(carousel.CarouselError, match="another process"), run._folder.locked():
        pass


def test_default_folders_are_numbered(text: Path) -> None:
    paths = [carousel.train(text, steps=1, **SMALL).path for _ in range(3)]
    assert [str(p) for p in paths] == ["runs/text-lstm", "runs/text-lstm-2", "runs/text-lstm-3"]


def test_without_a_dev_part_the_last_weights_are_kept(text: Path) -> None:
    run = carousel.train(text, steps=5, dev=0, out="run", **SMALL)
    assert all("dev_loss" not in line for line in run.metrics)
    assert run.status["best_dev_loss"] is None
    assert run.status["best_step"] == 5
    assert largest_difference(run.model.state_dict(), weights(run)) == 0.0
    assert (run.path / "report.html").is_file()


def test_documents_are_not_mixed(text: Path, tmp_path: Path) -> None:
    """The state is put back where a file begins: what stands in the file before does not matter."""
    folder = tmp_path / "many"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"{name} " + text.read_text()[:500])
    run = carousel.train(folder, steps=3, out="run", **SMALL)
    assert run.config["corpus"]["files"] == 3
    ids = torch.from_numpy(run.tokenizer.encode("error goes")).unsqueeze(1)
    reset = torch.zeros(len(ids), 1, dtype=torch.bool)
    reset[6] = True
    whole, _ = run.model(ids, reset=reset)
    alone, _ = run.model(ids[6:])
    torch.testing.assert_close(whole[6:], alone)


def test_the_vocabulary_is_chosen_by_the_training_part_alone(text: Path) -> None:
    Path("words.txt").write_text("one two three four five . " * 60 + "six seven eight nine ten . " * 60)
    options = {**SMALL, "level": "word", "steps": 1}
    half = carousel.train("words.txt", dev=0.5, out="half", **options)
    assert half.tokenizer.unknown("five six ten") == ["six", "ten"]
    whole = carousel.train("words.txt", dev=0, out="whole", **options)
    assert whole.tokenizer.unknown("five six ten") == []
