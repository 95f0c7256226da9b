r"""Stacked LSTMs that learn a text character by character, with and without feed-forward layers between.

.. math:: P(x_{t+1} \mid x_1 \dots x_t) = \mathrm{softmax}(V y_t^L + d), \qquad y_t^l = \mathrm{LSTM}^l(y_t^{l-1})

Four networks get the same few minutes; the one with the best dev loss is trained anew for longer, and once more on
source code. All training is `carousel.train`. Sources: Graves, "Generating sequences with recurrent neural networks",
2013; Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015; Pascanu et al., "How to construct
deep recurrent neural networks", 2014, for what stands between recurrent layers.
"""

from __future__ import annotations

import math
import shutil
from typing import Any

from matplotlib.figure import Figure

import carousel

from .stacked import LSTMAndLayer

NETWORKS = {
    f"{layers} LSTM layers{between}": {"layers": layers, "cell": cell}
    for layers in (2, 3)
    for between, cell in ((" with feed-forward layers", LSTMAndLayer), ("", "lstm-coupled-layernorm"))
}
SETTINGS = {"hidden_size": 384, "embedding_size": 64, "batch": 16, "window": 64, "learning_rate": 5e-3, "dropout": 0.25,
            "threads": 1, "seed": 0}  # fmt: skip
SHORT, LONG, CODE = {"minutes": 2.5}, {"epochs": 8, "hidden_size": 512, "dropout": 0.3}, {"minutes": 4.0}
BAR = 1.39
TINY = {**SETTINGS, "hidden_size": 12, "embedding_size": 8, "batch": 4, "window": 16, "steps": 24, "evaluations": 2}


def trained(recipe: carousel.recipes.Recipe, name: str, data: Any, network: dict[str, Any], **options: Any) -> Any:
    """The run of that name: finished before, gone on with, or new."""
    folder, cell = recipe.state(name), network["cell"]
    own = cell if isinstance(cell, type) else None
    if (folder / "last.ckpt").exists():
        run = carousel.load(folder, cell=own)
        if run.status["status"] != "finished":
            run = carousel.resume(folder, cell=own)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        run = carousel.train(data, out=folder, **network, **{**SETTINGS, **options})
    recipe.say(f"{name}: dev {run.status['best_dev_loss']:.4f} nats, {run.status['seconds']:,.0f} s")
    return run


def row(name: str, run: Any) -> str:
    """A line of the table."""
    status, size = run.status, sum(p.numel() for p in run.model.parameters())
    return (
        f"{name:52}{size:12,}{status['seconds'] / 60:9.1f}{status['step']:9,}{status['epoch']:8.1f}"
        f"{status['best_dev_loss']:10.4f}{status['best_dev_loss'] / math.log(2):8.3f}"
    )


def samples(title: str, run: Any) -> str:
    """What it wrote early, in the middle and late."""
    seen = run.samples
    parts = [title, "=" * len(title)]
    for place, sample in zip(
        ("early", "in the middle", "late"), (seen[0], seen[len(seen) // 2], seen[-1]), strict=True
    ):
        loss = "" if sample["dev_loss"] is None else f", dev loss {sample['dev_loss']:.3f}"
        parts += [
            f"\n--- {place}: step {sample['step']:,}, {sample['seconds'] / 60:.1f} minutes{loss}\n",
            sample["text"],
        ]
    return "\n".join(parts) + "\n\n"


def draw(runs: dict[str, Any]) -> Figure:
    """Dev loss over minutes."""
    figure = Figure((7, 4))
    axis = figure.add_subplot()
    for name, run in runs.items():
        points = [(line["seconds"] / 60, line["dev_loss"]) for line in run.metrics if "dev_loss" in line]
        axis.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
    axis.axhline(BAR, color="k", linestyle=":", linewidth=1, label=f"{BAR} nats")
    axis.set(xlabel="minutes of training, one thread", ylabel="dev loss, nats per character", title="tinyshakespeare")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Four networks for a few minutes, the best for longer, and on source code; a stopped run goes on."""
    shakespeare = recipe.data("text/tinyshakespeare.txt")
    code = recipe.source / "run.py" if recipe.smoke else "python-stdlib"
    if recipe.load("begun") is None:  # what is there is of other code or data
        shutil.rmtree(recipe.state(""), ignore_errors=True)
        recipe.save("begun", {})
    short, long_, for_code = [TINY] * 3 if recipe.smoke else (SHORT, LONG, CODE)
    runs = {name: trained(recipe, name, shakespeare, net, **short) for name, net in NETWORKS.items()}
    best = min(runs, key=lambda name: runs[name].status["best_dev_loss"])
    long = trained(recipe, "longer", shakespeare, NETWORKS[best], **long_)
    source = trained(recipe, "source code", code, NETWORKS[best], **for_code)
    shown = {**runs, f"{best}, longer": long}
    head = f"{'':52}{'parameters':>12}{'minutes':>9}{'updates':>9}{'epochs':>8}{'dev nats':>10}{'bits':>8}"
    lines = [head, *(row(name, one) for name, one in {**shown, f"{best}, source code": source}.items())]
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.text(samples(f"tinyshakespeare, {best}", long) + samples(f"source code, {best}", source), "samples.txt")
    recipe.figure(draw(shown), "loss.svg")
    recipe.say("\n".join(lines))
    worst = max(one.status["best_dev_loss"] for one in shown.values())
    even = math.log(long.tokenizer.size)
    recipe.claim("tinyshakespeare: worst dev loss of all networks, nats per character", f"< {even:.4f}", worst,
                 worst < even, f"ln {long.tokenizer.size}, the cost of guessing evenly")  # fmt: skip
    if recipe.smoke:
        return
    loss, minutes = long.status["best_dev_loss"], long.status["seconds"] / 60
    what = f"tinyshakespeare: dev loss of {best} after {minutes:.1f} minutes on one thread, nats per character"
    recipe.claim(what, f"<= {BAR} within 60 minutes", loss, loss <= BAR and minutes <= 60,
                 "set for this recipe; `carousel train` as it is reaches 1.42 in 3 minutes on 2 threads")  # fmt: skip
