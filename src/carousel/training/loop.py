"""The training loop. It knows updates and the run folder, and nothing of the data's kind."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import TrainingError, UsageError
from ..runs import RunFolder
from ..settings import TrainingSettings
from .callbacks import Callback, Step
from .interrupt import Interrupted, interruptible
from .optim import Schedule, add_l1, optimizer
from .processes import any_of, gathered, is_main, same_for_all, several
from .task import Evaluation, Task

__all__ = ["Trainer", "calibrate", "check_device"]

BESIDE_UPDATES = 1.04
"""Time of an iteration of the loop over that of its update: see "overhead" in benchmarks/results/main_job.json."""

LOGGED_LINES = 2000
"""A run writes at most about this many lines of metrics."""


class Trainer:
    """Train a task's network into a run folder, from the start or from its last checkpoint.

    Equal settings, steps, threads and processor flags give bit-identical weights, however often the run was killed and
    resumed in between: everything that later steps depend on is in the checkpoint, and nothing depends on the clock.
    """

    def __init__(
        self, task: Task, settings: TrainingSettings, folder: RunFolder | None, callbacks: Sequence[Callback] = ()
    ):
        assert settings.steps is not None
        self.task, self.settings, self.folder = task, settings, folder
        self.callbacks = callbacks if is_main() else ()
        self.steps = settings.steps
        self.accelerator = _accelerator(settings)
        torch.manual_seed(settings.seed)
        network = task.network()
        if settings.precision == "float64":
            network = network.double()
        self.schedule = Schedule(settings)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer(network.parameters(), settings))
        self.parameters = list(self.network.parameters())
        self.feed = task.feed(self.accelerator.process_index, self.accelerator.num_processes)
        self.step = 0
        self.seconds = 0.0
        self.best: Evaluation | None = None
        """That of the weights which are kept."""
        self.best_step, self.stalled = 0, 0
        self.evaluation: Evaluation | None = None
        """The last one."""
        self._interval = {"loss": 0.0, "steps": 0, "tokens": 0, "seconds": 0.0}  # since the last line of metrics
        every = max(1, self.steps // settings.evaluations)
        self.evaluate_at = {self.steps - k * every for k in range(settings.evaluations)} - {0}
        self.first_look = max(1, self.steps // 100)
        """The step of a sample of the nearly untrained network."""
        self.log_every = max(1, self.steps // LOGGED_LINES)

    @property
    def bare_network(self) -> nn.Module:
        """The network without the wrapper of several processes."""
        return self.accelerator.unwrap_model(self.network)

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.step * self.settings.accumulate / self.feed.length

    # -- the loop -----------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end.

        Raises:
            TrainingError: the loss or the gradient is no longer finite.
            Interrupted: Ctrl-C; a checkpoint was written.
            Restart: a callback asks for other settings.
        """
        if self.step == 0:
            self.save_checkpoint()
        self._tell("on_begin", self)
        try:
            self._go_on()
        except (TrainingError, Interrupted) as error:
            self._tell("on_error", self, error)
            raise

    def _go_on(self) -> None:
        saved = time.monotonic()
        with interruptible() as interruption:
            while self.step < self.steps and not self._exhausted():
                begun = time.monotonic()
                self.network.train()
                step = self.update()
                self._clock(begun)
                self._log(step)
                self._tell("on_step", self, step._replace(seconds=self.seconds))
                if self.step in self.evaluate_at:
                    self._evaluate()
                elif self.step == self.first_look:
                    self._sample(None)
                stop = any_of(interruption.asked)
                due = any_of(time.monotonic() - saved >= self.settings.checkpoint_seconds)
                if stop or due or self.step in self.evaluate_at:
                    self.save_checkpoint()
                    saved = time.monotonic()
                if stop:
                    raise Interrupted(f"Stopped at step {self.step:,} of {self.steps:,}; everything is saved.")
            self._tell("on_end", self)

    def update(self) -> Step:
        """One update: the gradient of `accumulate` parts, clipped, and the optimizer's step."""
        settings = self.settings
        rate = self.schedule.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if (momentum := self.schedule.momentum(self.step)) is not None and "momentum" in group:
                group["momentum"] = momentum
        self.optimizer.zero_grad(set_to_none=True)
        total, tokens = 0.0, 0
        for number in range(settings.accumulate):
            with self.accelerator.autocast():
                part = self.step * settings.accumulate + number
                loss, count = self.feed.loss(self.network, part, self.accelerator.device)
            self.accelerator.backward(loss / settings.accumulate)
            total += loss.item() / settings.accumulate
            tokens += count * self.accelerator.num_processes
        norm = float(self.accelerator.clip_grad_norm_(self.parameters, settings.clip or math.inf))  # pyright: ignore
        for what, value in (("training loss", total), ("gradient", norm)):
            self._check_finite(what, value, self.step + 1)
        if settings.l1:
            add_l1(self.parameters, settings.l1)
        self.optimizer.step()
        self.step += 1
        return Step(self.step, total, rate, norm, tokens, self.seconds)

    def _check_finite(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        rate = self.optimizer.param_groups[0]["lr"]
        kept = f" The last good checkpoint is kept in {self.folder.path}." if self.folder else ""
        raise TrainingError(
            f"The {what} is not a finite number at step {step:,} of {self.steps:,} (learning rate {rate:.2g}).",
            f"Try --learning-rate {rate / 10:.2g}, a smaller --clip, or --warmup 200.{kept}",
        )

    def _exhausted(self) -> bool:
        return self.settings.patience is not None and self.stalled >= self.settings.patience

    # -- measuring and remembering ------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        begun = time.monotonic()
        self.evaluation = self.task.evaluate(self.bare_network, "dev")
        dev_loss, metrics = (None, {}) if self.evaluation is None else (self.evaluation.loss, self.evaluation.metrics)
        self._interval["seconds"] += self._clock(begun)
        is_best = self.evaluation is None or self.best is None or self.evaluation.rank < self.best.rank
        if dev_loss is not None:
            self._check_finite("dev loss", dev_loss, self.step)
            self.schedule.evaluated(dev_loss)
            self.stalled = 0 if is_best else self.stalled + 1
        if is_best:
            self.best, self.best_step = self.evaluation, self.step
            self._save_model(dev_loss)
        if self.folder and dev_loss is not None:
            record = {"step": self.step, "seconds": self.seconds, "dev_loss": dev_loss}
            record |= {f"dev_{name}": value for name, value in metrics.items()}
            self.folder.append("metrics.jsonl", record)
        self._tell("on_evaluation", self, dev_loss, is_best)
        self._sample(dev_loss)

    def _sample(self, dev_loss: float | None) -> None:
        sample = self.task.sample(self.bare_network, self.settings.seed + self.step)
        if sample is None:
            return
        sample = {"step": self.step, "seconds": self.seconds, "dev_loss": dev_loss, **sample}
        if self.folder:
            self.folder.append("samples.jsonl", sample)
        self._tell("on_sample", self, sample)

    def _log(self, step: Step) -> None:
        interval = self._interval
        interval["loss"] += step.loss
        interval["steps"] += 1
        interval["tokens"] += step.tokens
        if self.step % self.log_every:
            return
        elapsed = max(self.seconds - interval["seconds"], 1e-9)
        record = {
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "epoch": round(self.epoch, 5),
            "train_loss": interval["loss"] / interval["steps"],
            "lr": step.learning_rate,
            "grad_norm": step.grad_norm,
            "grad_norm_clipped": min(step.grad_norm, self.settings.clip or math.inf),
            "tokens_per_second": round(interval["tokens"] / elapsed, 1),
        }
        self._interval = {"loss": 0.0, "steps": 0, "tokens": 0, "seconds": self.seconds}
        if self.folder:
            self.folder.append("metrics.jsonl", record)

    def _clock(self, begun: float) -> float:
        """Count the time since `begun`, and return it."""
        passed = time.monotonic() - begun
        self.seconds += passed
        return passed

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    def _save_model(self, dev_loss: float | None) -> None:
        if self.folder:
            about = {"step": str(self.step), "dev_loss": str(dev_loss)}
            self.folder.save_model(self.bare_network.state_dict(), about)

    def save_checkpoint(self) -> None:
        """Write everything that the rest of the run depends on."""
        if self.folder is None:
            return
        mine = {
            "carried": self.feed.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        self.folder.save_checkpoint(
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self.bare_network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "interval": self._interval,
                "best": None if self.best is None else [self.best.loss, dict(self.best.metrics), self.best.kept_by],
                "best_step": self.best_step,
                "stalled": self.stalled,
                "processes": gathered(mine),
            }
        )

    def load_checkpoint(self, state: dict[str, Any]) -> None:
        """Continue where a checkpoint was written."""
        device = self.accelerator.device
        self.step, self.seconds = state["step"], state["seconds"]
        self.bare_network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._interval = state["interval"]
        self.best = None if state["best"] is None else Evaluation(*state["best"])
        self.best_step, self.stalled = state["best_step"], state["stalled"]
        if len(state["processes"]) != self.accelerator.num_processes:
            raise UsageError(
                f"The run was trained by {len(state['processes'])} process(es), now there are "
                f"{self.accelerator.num_processes}; start as many as before."
            )
        mine = state["processes"][self.accelerator.process_index]
        self.feed.load_state_dict(mine["carried"], device)
        torch.set_rng_state(mine["random"])
        if mine["random_cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(mine["random_cuda"])


def calibrate(task: Task, settings: TrainingSettings) -> int:
    """How many steps fit into `settings.minutes`, evaluations included; measured on a network that is thrown away.

    The median of the updates counts, so that what else the machine does for a moment does not; and the shorter of two
    evaluations, since the first may compile.
    """
    assert settings.minutes is not None
    trainer = Trainer(task, dataclasses.replace(settings, steps=10**9), None)
    budget = settings.minutes * 60
    trainer.network.train()
    for _ in range(3):
        trainer.update()
    end, seconds = time.monotonic() + min(4.0, budget / 20), []
    while any_of(len(seconds) < 5 or time.monotonic() < end):
        seconds.append(_seconds(trainer.update))
    per_step = BESIDE_UPDATES * statistics.median(seconds)
    per_evaluation = min(_seconds(lambda: task.evaluate(trainer.bare_network, "dev")) for _ in range(2))
    return same_for_all(max(1, int((budget - settings.evaluations * per_evaluation) / per_step)))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _accelerator(settings: TrainingSettings) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # the precision and the device of an earlier run in the same process must not bind this one
    AcceleratorState._reset_state(reset_partial_state=not several())
    precision = "bf16" if settings.precision == "bfloat16" else "no"
    return Accelerator(mixed_precision=precision, cpu=settings.device == "cpu")


def check_device(name: str) -> None:
    """Raise a UsageError unless `name` is "auto" or a device of this machine."""
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
    if name not in ("auto", *there):
        raise UsageError(f"--device {name} is not there; this machine has {', '.join(there)}.")
