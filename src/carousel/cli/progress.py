"""What a person sees while a network is trained: a bar that moves, the loss that falls, samples that improve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ..doctor.shown import STYLES
from ..training import Callback, Shown, Step, Trainer
from ..training.processes import is_main

if TYPE_CHECKING:
    from ..doctor import Finding
    from ..trained import Run

__all__ = ["Progress"]


class Progress(Callback):
    """A context manager: the bar is shown inside it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.bars = Bars(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("[bold]{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            refresh_per_second=5,
        )
        self.loss, self.seen = 0.0, 0
        self.tokens, self.since, self.shown = 0, 0.0, Shown("token")

    def __enter__(self) -> Progress:
        self.bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.__exit__(kind, error, trace)

    def on_note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(text, markup=False)

    def on_finding(self, finding: Finding) -> None:
        """What the doctor found."""
        self.console.print(
            Text.assemble((finding.severity, STYLES[finding.severity]), ": ", (finding.code, "bold")), end=""
        )
        self.console.print(f", {finding.where}: {finding.evidence} {finding.advice}", markup=False)

    def on_begin(self, trainer: Trainer) -> None:
        """Show the bar."""
        for old in self.bars.task_ids:  # of a run that began anew
            self.bars.remove_task(old)
        self.loss, self.seen, self.tokens = 0.0, 0, 0
        self.shown = trainer.task.shown
        self.bar = self.bars.add_task("", total=trainer.steps, completed=trainer.step, loss="", speed="")
        self.since = trainer.seconds
        settings = trainer.settings
        self.on_note(
            f"{trainer.steps:,} steps of {trainer.feed.about}, "
            f"{settings.optimizer} {settings.learning_rate:g} {settings.schedule}"
            + (f", from step {trainer.step:,}" if trainer.step else "")
        )

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """Move the bar; the loss shown is a running mean over about 50 steps."""
        self.seen += 1
        self.loss += (step.loss - self.loss) / min(self.seen, 50)
        self.tokens += step.tokens
        speed = self.tokens / max(step.seconds - self.since, 1e-9)
        self.bars.update(
            self.bar,
            completed=step.step,
            loss=in_brief(self.loss, self.shown),
            speed=f"{speed:,.0f} {short(self.shown.unit)}/s",
        )

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        """A line with the dev loss, and what else was measured."""
        if dev_loss is not None:
            line = f"step {trainer.step:,}: dev loss {in_words(dev_loss, self.shown)}"
            line += self._others("", {} if trainer.evaluation is None else trainer.evaluation.metrics)
            self.console.print(f"[bold]{line}[/bold]" + ("" if is_best else "  (not better)"))

    def on_sample(self, trainer: Trainer, sample: dict[str, Any]) -> None:
        """A few lines of what the network writes now."""
        if trainer.step == trainer.first_look:
            self.console.print(f"[bold]step {trainer.step:,}[/bold]: it begins like this")
        lines = _printable(sample["text"]).split("\n")
        shown = [line[: self.console.width - 5] for line in lines if line.strip()][:5]
        self.console.print("\n".join(f"  [dim]│[/dim] {escape(line)}" for line in shown))

    def close(self, run: Run) -> None:
        """After training: the result, one more sample, the page, and what to type next."""
        if not is_main():
            return
        status = run.status
        best = status["best_dev_loss"]
        self.console.print()
        if best is not None:
            self.console.print(
                f"[bold]Kept: dev loss {in_words(best, self.shown)}{self._others('best_dev_', status)}[/bold] at step "
                f"{status['best_step']:,} of {status['steps']:,}, {_duration(status['seconds'])}.",
                soft_wrap=True,
            )
        if status["test_loss"] is not None:
            tested = f"Test loss {in_words(status['test_loss'], self.shown)}{self._others('test_', status)}."
            self.console.print(tested, soft_wrap=True)
        now = run.shows()
        if now is not None:
            heading, lines = now
            self.console.print(f"\n{heading}\n")
            self.console.print(_printable(lines), style="green", markup=False)
        self.console.print(f"\nReport: {run.path / 'report.html'}", soft_wrap=True)
        self.console.print("\nNext:")
        for command, about in run.next_commands():
            self.console.print(f"  {command}", style="cyan", soft_wrap=True, markup=False)
            self.console.print(f"      {about}", style="dim", markup=False)

    def _others(self, prefix: str, values: Mapping[str, Any]) -> str:
        """What was measured beside the loss."""
        found = ((metric, values.get(prefix + name)) for name, metric in self.shown.metrics.items())
        return "".join(f", {m.within()} {m.text(v)}" for m, v in found if v is not None)


def in_words(loss: float, shown: Shown) -> str:
    """A loss in nats with the unit that people compare: bits per character, or perplexity for words."""
    if shown.measure == "perplexity":
        return f"{loss:.3f} nats (perplexity {math.exp(min(loss, 700)):,.1f})"
    if shown.measure == "bits":
        return f"{loss:.3f} nats ({loss / math.log(2):.2f} bits per {shown.unit})"
    return f"{loss:.3f} {shown.loss_in or 'nats'}"


def in_brief(loss: float, shown: Shown) -> str:
    """The same for the narrow bar."""
    if shown.measure == "perplexity":
        return f"{loss:.3f} nats, perplexity {math.exp(min(loss, 700)):,.0f}"
    if shown.measure == "bits":
        return f"{loss:.3f} nats, {loss / math.log(2):.2f} bits/{'char' if shown.unit == 'character' else shown.unit}"
    return f"{loss:.3f} {shown.loss_in or 'nats'}"


def _printable(text: str) -> str:
    """Control characters, which could disturb the terminal, as dots."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def short(unit: str) -> str:
    """A token's unit as it is written before `/s`."""
    return {"character": "chars", "byte": "bytes", "word": "words"}.get(unit, f"{unit}s")
