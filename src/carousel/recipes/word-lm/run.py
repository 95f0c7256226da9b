r"""Four models of the words of the Penn Treebank: a time-delay network, a recurrent network, CBOW and skip-gram.

The neural probabilistic language model sees the last five words through one shared projection; the recurrent one (an
LSTM) all words before. Both are measured by perplexity, exp of the mean of -ln P. CBOW and skip-gram with negative
sampling give vectors only; they are measured beside gensim's, in speed and in analogies. The models are in `models.py`
and `word2vec.py`, training in `fit.py`. Sources: Bengio, Ducharme, Vincent & Jauvin 2003; Mikolov et al. 2010, 2013.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

import carousel

from .fit import Positions, Streams, Text, fit, perplexity
from .models import NPLM, RecurrentLM
from .vectors import PAIRS, analogies, beside_gensim, gradient_error, neighbors

ORDER, RATE, PASSES, BARS = 6, 4e-3, 10, {"NPLM": 155.0, "LSTM": 130.0}


class Plan(NamedTuple):
    """A language model and how it is trained."""

    make: Callable[[], Any]
    feed: Any
    epochs: int


def plans(text: Text, smoke: bool) -> dict[str, Plan]:
    """The two language models, in the full size or a tiny one."""
    count = len(text.words)
    if smoke:
        return {
            "NPLM": Plan(lambda: NPLM(count, ORDER, 16, 16, 0.1, (3, 6)), Positions(text, ORDER - 1, 16), 1),
            "LSTM": Plan(lambda: RecurrentLM(count, carousel.nn.LSTM, 16, 16, 0.1, (3, 6)), Streams(text, 2, 8), 1),
        }
    cuts = (500, 2000, 5000)
    return {
        "LSTM": Plan(lambda: RecurrentLM(count, carousel.nn.LSTM, 200, 300, 0.3, cuts), Streams(text, 16, 32), 4),
        "NPLM": Plan(lambda: NPLM(count, ORDER, 200, 256, 0.3, cuts), Positions(text, ORDER - 1, 512), 5),
    }


def total_probability(model: Any, size: int) -> float:
    """The sum of P over all words, for some guess."""
    with torch.no_grad():
        guess = torch.randn(1, size)
        return sum(
            float(torch.exp(-model.words.nats(guess, word[None]))) for word in torch.arange(len(model.words.bias))
        )


def draw(curves: dict[str, list[float]]) -> Figure:
    """Dev perplexity after every epoch."""
    figure = Figure((6, 3.6))
    axis = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        axis.plot(range(1, len(curve) + 1), curve, "o-", color=f"C{number}", markersize=3, label=name)
        axis.axhline(BARS[name], color=f"C{number}", linestyle=":", linewidth=1, label="the bar, on test")
    axis.set(xlabel="epoch", ylabel="perplexity on the dev part", yscale="log", title="Penn Treebank, words")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Vectors, then both language models; a stopped run goes on with the last update of the one it was at."""
    torch.set_num_threads(1)
    files = {part: recipe.data(f"ptb/ptb.{part}.txt") for part in ("train", "valid", "test")}
    text = Text(files, 200 if recipe.smoke else None)
    results: dict[str, Any] = recipe.load("results") or {}
    vectors, curves, off = {}, {}, 0.0
    for name in ("skip-gram", "CBOW"):
        if name not in results:
            results[name] = beside_gensim(text, name == "skip-gram", 1 if recipe.smoke else PASSES)
            recipe.save("results", results)
        ours, theirs, speeds = results[name]
        vectors |= {name: ours, f"{name}, gensim": theirs}
        speed, other = (statistics.median(column) for column in zip(*speeds, strict=True))
        recipe.say(f"{name}: {speed:,.0f} words a second, gensim {other:,.0f}")
    lines = [f"{'':8}{'parameters':>12}{'epochs':>8}{'minutes':>9}{'dev':>9}{'test':>9}"]
    for name, plan in plans(text, recipe.smoke).items():
        model, curves[name], seconds = fit(recipe, name, plan.make, plan.feed, plan.epochs, RATE)
        if name not in results:
            results[name] = perplexity(model, plan.feed, "test")  # once, at the end
            recipe.save("results", results)
        vectors[name] = model.words.vectors.detach()
        off = max(off, abs(total_probability(model, vectors[name].shape[1]) - 1))
        size = sum(p.numel() for p in model.parameters())
        lines.append(f"{name:8}{size:12,}{plan.epochs:8}{seconds / 60:9.1f}{curves[name][-1]:9.2f}{results[name]:9.2f}")
    lines += ["", "analogies answered, of 100", f"{'':20}{''.join(f'{kind:>13}' for kind in PAIRS)}"]
    for name, found in vectors.items():
        shares = analogies(found, text.index).values()
        lines.append(f"{name:20}{''.join(f'{100 * share:13.1f}' for share in shares)}")
    for name, found in vectors.items():
        lines += ["", f"nearest neighbors, {name}", *neighbors(found, text)]
    recipe.text("\n".join(lines) + "\n", "words.txt")
    recipe.say("\n".join(lines))
    recipe.figure(draw(curves), "perplexity.svg")
    error = gradient_error()
    recipe.claim("skip-gram and CBOW: a step against autograd's gradient of the loss as written, relative", "< 1e-4",
                 error, error < 1e-4, "the equations at the top of word2vec.py, single precision")  # fmt: skip
    recipe.claim("sum of the probabilities of all words, away from 1", "< 1e-4", off, off < 1e-4, "a distribution")
    if recipe.smoke:
        return
    for name, bar in BARS.items():
        recipe.claim(f"{name}: test perplexity", f"<= {bar:.0f}", results[name], results[name] <= bar,
                     "set for this recipe, for a few minutes on one thread")  # fmt: skip
    speeds = results["skip-gram"][2]
    ratio = statistics.median(ours / theirs for ours, theirs in speeds)
    speed, other = (statistics.median(column) for column in zip(*speeds, strict=True))
    recipe.claim(f"skip-gram: words per second, {speed:,.0f}, over gensim's, {other:,.0f}; one thread, median of "
                 f"{PASSES} passes in turn", "> 1", ratio, ratio > 1, "matrix products in place of pairs")  # fmt: skip
