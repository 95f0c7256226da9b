r"""Which recurrent networks remember over 50, 100, 200, 400 steps: the adding problem and the copy task.

.. math:: ‖\partial h_t / \partial h_k‖ \le (γ_W γ_φ)^{t-k}

with :math:`γ_W` the largest singular value of the recurrent matrix and :math:`γ_φ` the largest slope of the activation;
with several taps :math:`g_k = \sum_d γ_d\, g_{k+d}`. The cells and tasks are in `parts.py`. Sources: Hochreiter &
Schmidhuber 1997 (both tasks); Pascanu, Mikolov & Bengio 2013 (the bound); Lin, Horne, Tiňo & Giles 1996 (taps, NARX).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

import carousel

from .parts import CELLS, SOLVED, TASKS, Network, bound

UPDATES = {50: 12_000, 100: 8_000, 200: 4_000, 400: 2_500}
BATCH, RATE, CHECK_EVERY, TESTED, SHOWN = 32, 0.005, 50, 500, 100
PASCANU = "Pascanu, Mikolov & Bengio 2013, eq. 7; derived on this page for several taps"


def train(cell: str, task: str, lag: int, updates: int) -> dict[str, Any]:
    """Train until it is solved, at most `updates` updates; the gradients through time before and afterwards."""
    torch.manual_seed(0)
    network, generator = Network(cell, task), torch.Generator().manual_seed(0)
    test = TASKS[task](lag, TESTED, torch.Generator().manual_seed(10**6))
    few = tuple(part[..., :BATCH, :] if part.ndim == 3 else part[..., :BATCH] for part in test)
    rule = torch.optim.Adam(network.parameters(), lr=RATE)
    inside = network.recurrent.cells[0]
    found: dict[str, Any] = {"start": network.gradient_norms(*few), "start bound": bound(inside, len(few[0]))}
    scores, solved = [network.score(*test)], False
    for update in range(updates):
        x, target = TASKS[task](lag, BATCH, generator)
        rule.zero_grad()
        network.loss(network.recurrent(x)[0], target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        rule.step()
        if (update + 1) % CHECK_EVERY == 0 or update + 1 == updates:
            scores.append(network.score(*test))
            if solved := network.solves(scores[-1]):
                break
    found |= {"end": network.gradient_norms(*few), "end bound": bound(inside, len(few[0]))}
    best = min(scores) if task == "adding" else max(scores)
    return found | {"solved": solved, "updates": update + 1, "best": best}


def above_bound(found: dict[str, Any]) -> float:
    """The largest ratio of ‖∂L/∂s_t‖ / ‖∂L/∂s_T‖ to its bound, over all steps, before and after training."""
    worst = 0.0
    for when in ("start", "end"):
        norms, limits = found[when], found[f"{when} bound"]
        worst = max([worst, *(n / norms[-1] / b for n, b in zip(norms, limits, strict=False) if norms[-1] * b > 0)])
    return worst


def table(results: dict[str, Any], lags: list[int]) -> str:
    """A row for each task, cell and lag."""
    lines = ["task    cell                   lag  solved after       best   first/last gradient norm at start, at end"]
    for task, cell, lag in itertools.product(TASKS, CELLS, lags):
        found = results[f"{task}, {cell}, {lag}"]
        when = f"{found['updates']:,}" if found["solved"] else f"not in {found['updates']:,}"
        ratios = "".join(f"{found[w][0] / found[w][-1] if found[w][-1] else math.nan:12.1e}" for w in ("start", "end"))
        lines.append(f"{task:8}{cell:20}{lag:6}{when:>14}{found['best']:11.4f}{ratios}")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], lag: int) -> Figure:
    """The gradient through time of every cell, on the adding problem."""
    figure = Figure((9.5, 4.2))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (when, title) in zip(axes, {"start": "before training", "end": "after it"}.items(), strict=True):
        for number, cell in enumerate(CELLS):
            found = results[f"adding, {cell}, {lag}"]
            norms, color = found[when], f"C{number}"
            axis.semilogy([n / norms[-1] for n in norms], color=color, label=cell)
            if cell == "vanilla":
                axis.semilogy(found[f"{when} bound"], ":", color=color, label="vanilla: its bound")
        axis.set(xlabel="step t", title=f"adding problem, lag {lag}, {title}", ylim=(1e-12, 1e4))
    axes[0].set_ylabel("‖∂L/∂s_t‖ / ‖∂L/∂s_T‖")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Every cell on every task at every lag; a stopped run goes on with the next of them."""
    plan = {24: 2} if recipe.smoke else UPDATES
    lags, results = list(plan), recipe.load("results") or {}
    for lag, task, cell in itertools.product(lags, TASKS, CELLS):
        name = f"{task}, {cell}, {lag}"
        if name not in results:
            found = results[name] = train(cell, task, lag, plan[lag])
            recipe.save("results", results)
            what = f"solved after {found['updates']:,}" if found["solved"] else f"not solved in {found['updates']:,}"
            recipe.say(f"{name}: {what} updates, best {found['best']:.4f}")
    recipe.text(table(results, lags), "table.txt")
    recipe.figure(draw(results, lags[0] if recipe.smoke else SHOWN), "gradients.svg")
    worst = max(above_bound(results[f"adding, {cell}, {lag}"]) for cell in CELLS for lag in lags)
    recipe.claim("adding, vanilla, leaky, multi-tap, NARX, every lag and step: gradient norm over its bound, at most",
                 "<= 1", worst, worst <= 1, PASCANU)  # fmt: skip
    if recipe.smoke:
        return

    def solved(task: str, *names: str) -> str:
        return ", ".join(str(g) for g in lags if any(results[f"{task}, {n}, {g}"]["solved"] for n in names)) or "none"

    def faded(cell: str) -> float:
        norms = results[f"adding, {cell}, {SHOWN}"]["start"]
        return norms[0] / norms[-1]

    vanilla, gated, copied = solved("adding", "vanilla"), solved("adding", "GRU", "LSTM, forget bias 1"), solved(
        "copy", "GRU", "LSTM, forget bias 1")  # fmt: skip
    small = f"mean square error < {SOLVED['adding']:.5f}"
    recipe.claim(f"adding ({small}): lags solved by the vanilla network", "none", vanilla, vanilla == "none",
                 "Hochreiter & Schmidhuber 1997: gradients vanish before the lag")  # fmt: skip
    every = ", ".join(map(str, lags))
    recipe.claim(f"adding ({small}): lags solved by GRU or LSTM", every, gated, gated == every,
                 "Hochreiter & Schmidhuber 1997, experiment 4, there with 74,000 to 853,000 examples")  # fmt: skip
    recipe.claim("copy (more than 99 % of symbols): lags solved by GRU or LSTM", every, copied, copied == every,
                 "an LSTM can hold three symbols; no published number for this budget")  # fmt: skip
    ratio = faded("vanilla")
    recipe.claim(f"vanilla before training, lag {SHOWN}: gradient norm of the first step over that of the last",
                 "< 1e-6", ratio, ratio < 1e-6, "γ_W is about 1.15 at start, but most directions shrink")  # fmt: skip
    less = faded("LSTM, forget bias 0")
    more = faded("LSTM, forget bias 1") / less if less else math.inf
    recipe.claim(f"before training, lag {SHOWN}: the same of the LSTM, forget bias 1 over forget bias 0", "> 1e6", more,
                 more > 1e6, "σ(1)/σ(0) = 1.46 a step along c: 1.46^99 = 2e16 if nothing else counted")  # fmt: skip
