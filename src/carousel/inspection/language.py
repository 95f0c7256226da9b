"""A language model seen from within: units, gates, gradients through time, memory, dynamics, depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import inspect
from ..data.text_files import find_files
from ..errors import DataError
from ..nn import LanguageModel
from ..settings import Settings
from ..tasks.kinds import of_run
from ..trained import Run

__all__ = ["inspect_language_model"]

Sections = list[tuple[str, str, str]]

TOKENS = 20_000
SHOWN = 1_500
"""Tokens of colored text."""
WINDOW = 256
"""Steps of what is looked at through time."""


def inspect_language_model(
    run: Run, text: str | Path | None, tokens: int, progress: Callable[[str], object]
) -> tuple[Sections, dict[str, Any]]:
    """The sections of the page, and the numbers in them.

    Raises:
        DataError: the text has nothing that the network knows, or is too short.
    """
    model = run.model
    assert isinstance(model, LanguageModel)
    ids = _tokens(run, text)[:tokens]
    if len(ids) < 2 * WINDOW:
        raise DataError(f"The text has {len(ids):,} tokens; to look at a network takes {2 * WINDOW} or more.")
    symbols = [run.tokenizer.decode(ids[i : i + 1].tolist()) for i in range(len(ids))]
    sections: Sections = []
    progress("units")
    numbers: dict[str, Any] = {
        "tokens": len(ids),
        "units": [vars(one) for one in _units(model, ids, symbols, sections)],
    }
    looks = {"gates": _gates, "time": _time, "memory": _memory, "dynamics": _dynamics, "depth": _depth}
    for name, look in looks.items():
        progress(name)
        numbers[name] = look(model, ids, sections)
    return sections, numbers


def _tokens(run: Run, text: str | Path | None) -> Tensor:
    """The ids of a text, or of the run's dev part."""
    tokenizer = run.tokenizer
    if text is None:
        config = run.config
        kind = of_run(config)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        corpus = kind.read(config["corpus"]["source"], settings).corpus  # pyright: ignore[reportAttributeAccessIssue]
        count, data = len(corpus.tokens), settings.data
        begin = int(count * (1 - data.dev - data.test))
        return torch.from_numpy(np.asarray(corpus.tokens[begin : begin + int(count * data.dev)], np.int64))
    ((file, _),) = find_files([text])[:1] or [(Path(text), None)]
    content = file.read_text("utf-8", "replace")
    unknown = tokenizer.unknown(content)
    if unknown and tokenizer.level == "char":
        shown = ", ".join(repr(one) for one in unknown[:10])
        content = "".join(c for c in content if c not in set(unknown))
        if not content:
            raise DataError(f"The network knows none of the characters of {file}, such as {shown}.")
    return torch.as_tensor(np.asarray(tokenizer.encode(content)), dtype=torch.int64)


def _units(model: LanguageModel, ids: Tensor, symbols: Sequence[str], sections: Sections) -> list[inspect.UnitFound]:
    ends = np.cumsum([len(symbol) for symbol in symbols]) - 1
    truths = {name: on[np.maximum(ends, 0)] for name, on in inspect.text_properties("".join(symbols)).items()}
    values = inspect.unit_values(model, ids)
    found = inspect.search_units(values, truths)
    rows = "".join(
        f"<tr><td>{escape(one.property)}</td><td>{escape(one.name)}</td><td class=number>{one.score:.3f}</td>"
        f"<td class=number>{one.control:.2f} (up to {one.highest_control:.2f})</td>"
        f"<td class=number>{100 * one.share:.0f} %</td></tr>"
        for one in found
    )  # fmt: skip
    sections.append((
        "What single units track",
        f"For each property of the text the unit that tells it best, of {len(values.names):,}: chosen on the first "
        "half of the text, scored on the second by the area under the ROC curve (0.5 is chance, 1 is always right). "
        "Control: the same search with the property moved along the text.",
        "<div class=wide><table><tr><th>property<th>unit<th class=number>score<th class=number>control"
        f"<th class=number>true in</tr>{rows}</table></div>",
    ))  # fmt: skip
    for one in _different(found)[:4]:
        without = inspect.ablation(model, ids, values, one.unit, {one.property: truths[one.property]})
        on, off = without.by_property.get(one.property, (0.0, 0.0))
        sections.append((
            f"{one.name}: {one.property}",
            f"{'High' if one.sign > 0 else 'Low'} where it is true. Held at its mean, the text costs "
            f"{without.after - without.before:+.4f} nats per token ({without.before:.3f} to {without.after:.3f}): "
            f"{on:+.4f} where it is true, {off:+.4f} elsewhere. Blue is above zero, orange and underlined below.",
            inspect.colored_text(symbols[:SHOWN], values[one.name][:SHOWN], f"{one.name} over a text"),
        ))  # fmt: skip
    return found


def _different(found: Sequence[inspect.UnitFound]) -> list[inspect.UnitFound]:
    """Each unit once, for what it tracks best."""
    seen: set[int] = set()
    return [one for one in found if one.unit not in seen and not seen.add(one.unit)]


def _windows(ids: Tensor, count: int, length: int = WINDOW) -> Tensor:
    """(length, windows) from all over the text."""
    starts = torch.linspace(0, len(ids) - length - 1, min(count, max(1, len(ids) // length))).long()
    return torch.stack([ids[s : s + length] for s in starts.tolist()], 1)


def _gates(model: LanguageModel, ids: Tensor, sections: Sections) -> list[dict[str, Any]]:
    inputs = model.embed(_windows(ids, 1)).detach()
    gates = [q for q in inspect.quantities(model.recurrent, inputs) if q.is_gate]
    if gates:
        figure = inspect.svg_text(inspect.draw(gates), "Openness of each gate of each unit, step by step")
        sections.append(("Gates", f"Along {len(inputs)} tokens, each row a unit, white is open; units in the order of "
                         "their mean.", figure))  # fmt: skip
    return [{"name": g.name, "layer": g.layer, "mean": float(g.values.mean()), "open": g.open, "closed": g.closed}
            for g in gates]  # fmt: skip


def _time(model: LanguageModel, ids: Tensor, sections: Sections) -> dict[str, Any]:
    windows = _windows(ids, 16, WINDOW + 1)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(windows[:-1])[0][-1], windows[-1])

    found = inspect.gradients_through_time(model, loss)
    rates = {name: found.rate(name) for name in found.norms}
    said = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    sections.append(("Gradient through time", f"The loss of the last token alone, and what of it reaches the states of "
                     f"the {WINDOW} steps before. Factor per step backward: {said}.",
                     inspect.svg_text(inspect.draw(found), "Norm of the gradient at each step")))  # fmt: skip
    return {"rates": rates, "norms": {name: norms.tolist() for name, norms in found.norms.items()}}


def _memory(model: LanguageModel, ids: Tensor, sections: Sections) -> dict[str, Any]:
    inputs = model.embed(_windows(ids, 16)).detach()

    def network(x: Tensor) -> Tensor:
        return torch.log_softmax(model.scores(model.recurrent(x)[0]), -1)

    found = {"by gradient": inspect.memory_by_gradient(network, inputs),
             "by another token": inspect.memory_by_intervention(network, inputs)}  # fmt: skip
    lengths = {name: memory.length() for name, memory in found.items()}
    sections.append(("Memory", "What the token k steps ago does to the probabilities of the next: by gradient, and by "
                     "putting another one in its place. The number is the last step whose influence is at least 1/e of "
                     "the largest.", inspect.svg_text(inspect.draw(found), "Influence against steps ago")))  # fmt: skip
    return {"length": lengths}


def _dynamics(model: LanguageModel, ids: Tensor, sections: Sections) -> dict[str, Any]:
    system = inspect.recurrence(model.recurrent)
    inputs = model.embed(ids[: WINDOW + 100]).detach()
    found = inspect.lyapunov(system, inputs, count=min(8, system.size), discard=100)
    largest = float(found.exponents[0])
    states = system.run(inputs)[0].detach()
    values = inspect.eigenvalues(system, states[-2:-1], inputs[-1:]) if system.size <= 1024 else None
    said = (
        f"Along the text, a small change of the state {'grows' if largest > 0 else 'shrinks'} by "
        f"{100 * abs(np.exp(largest) - 1):.2f} % a step (largest Lyapunov exponent {largest:+.4f} ± "
        f"{2 * float(found.errors[0]):.4f} nats a step)."
    )
    figures = inspect.svg_text(inspect.draw(found), "The largest Lyapunov exponents")
    if values is not None:
        figures += inspect.svg_text(inspect.draw(values), "Eigenvalues of a step's Jacobian, and the unit circle")
    sections.append(("Dynamics", said, figures))
    return {"lyapunov": found.exponents.tolist()}


def _depth(model: LanguageModel, ids: Tensor, sections: Sections) -> list[dict[str, Any]]:
    windows = _windows(ids, 16, WINDOW + 1)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(windows[:-1])[0].flatten(0, 1), windows[1:].flatten())

    layers = inspect.through_depth(model, loss)
    sections.append(("Through depth", "Each layer's activations, and the gradient that reaches them.",
                     inspect.svg_text(inspect.draw(layers), "Activations and gradients by layer")))  # fmt: skip
    return [{"name": one.name, "kind": one.kind, "mean": one.mean, "deviation": one.deviation,
             "gradient": one.gradient} for one in layers]  # fmt: skip
