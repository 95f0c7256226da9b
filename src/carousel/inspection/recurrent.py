"""Recurrent layers along sequences that reach them: gradients through time, gates, memory, dynamics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import inspect
from ..nn import Recurrent

__all__ = [
    "Reached",
    "is_one_map",
    "look_at_dynamics",
    "look_at_gates",
    "look_at_memory",
    "look_through_time",
    "reached",
]

Sections = list[tuple[str, str, str]]

SETTLED = 100
"""Steps at most before Lyapunov exponents are measured."""
FEWEST = 120
"""Steps without which they mean nothing."""


def is_one_map(layer: Recurrent) -> bool:
    """Whether its next state follows from the last one and the input, as what `carousel.inspect` follows must."""
    return layer.directions == 1 and not (layer.skip and layer.num_layers > 1)


class Reached(NamedTuple):
    """A recurrent layer that is one map of states, and what came to it.

    Attributes:
        name: in its network.
        layer: the layer.
        inputs: (time, batch, features).
        lengths: (batch,) steps of each sequence.
    """

    name: str
    layer: Recurrent
    inputs: Tensor
    lengths: Tensor

    def longest(self) -> Tensor:
        """(time, 1, features) of the longest sequence."""
        row = int(self.lengths.argmax())
        return self.inputs[: int(self.lengths[row]), row : row + 1]

    def even(self) -> Tensor:
        """(time, sequences, features): the longer half of the sequences, cut to the same length."""
        time = int(self.lengths.median())
        return self.inputs[:time, self.lengths >= time]


def reached(model: nn.Module, run: Callable[[], Any]) -> list[Reached]:
    """What comes to each recurrent layer that is one map, while the network runs, at its first call."""
    with _caught(model) as calls, torch.no_grad():
        run()
    return calls


@contextlib.contextmanager
def _caught(model: nn.Module) -> Iterator[list[Reached]]:
    calls: list[Reached] = []
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, Recurrent) and is_one_map(m)]

    def hook(name: str, layer: Recurrent, args: Any, keywords: dict[str, Any]) -> None:
        if all(one.layer is not layer for one in calls):
            x = args[0].detach()
            x = x.transpose(0, 1) if layer.batch_first else x
            lengths = keywords.get("lengths")
            calls.append(Reached(name, layer, x, torch.full((x.shape[1],), len(x)) if lengths is None else lengths))

    with contextlib.ExitStack() as stack:
        for name, layer in layers:
            handle = layer.register_forward_pre_hook(
                lambda m, args, keywords, name=name, layer=layer: hook(name, layer, args, keywords), with_kwargs=True
            )
            stack.callback(handle.remove)
        yield calls


def look_through_time(model: nn.Module, loss: Callable[[], Tensor], of: str, sections: Sections) -> dict[str, Any]:
    """The gradient of a loss at each step of every recurrent layer, in both directions too."""
    found = inspect.gradients_through_time(model, loss)
    rates = {name: found.rate(name) for name in found.norms}
    said = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    sections.append(("Gradient through time", f"{of} Factor per step backward: {said}.",
                     inspect.svg_text(inspect.draw(found), "Norm of the gradient at each step")))  # fmt: skip
    return {"rates": rates, "norms": {name: norms.tolist() for name, norms in found.norms.items()}}


def look_at_gates(layer: Recurrent, inputs: Tensor, sections: Sections) -> list[dict[str, Any]]:
    """The gates of a layer along (time, 1, features), and beside them its states."""
    found = inspect.quantities(layer, inputs)
    gates = [one for one in found if one.is_gate]
    shown = [one for one in found if one.is_gate or one.is_state]
    if shown:
        figure = inspect.svg_text(inspect.draw(shown), "Openness of each gate of each unit, and states, step by step")
        sections.append(("Gates and states" if gates else "States", f"Along {len(inputs)} steps. Of a gate each row is "
                         "a unit, in the order of their means, and white is open; of a state the units that vary most.",
                         figure))  # fmt: skip
    return [{"name": g.name, "layer": g.layer, "mean": float(g.values.mean()), "open": g.open, "closed": g.closed}
            for g in gates]  # fmt: skip


def look_at_memory(
    network: Callable[[Tensor], Any], inputs: Tensor, what: str, by: str, sections: Sections
) -> dict[str, Any]:
    """How long inputs (time, batch, features) show in the last output.

    Args:
        network: gives outputs (time, batch, …) for them.
        inputs: sequences.
        what: what happens to what, in words.
        by: the name of an intervention: "another token".
        sections: of the page; grown by one.
    """
    found = {"by gradient": inspect.memory_by_gradient(network, inputs)}
    if inputs.shape[1] > 1:
        found[f"by {by}"] = inspect.memory_by_intervention(network, inputs)
    sections.append(("Memory", f"{what} The number is the last step whose influence is at least 1/e of the largest.",
                     inspect.svg_text(inspect.draw(found), "Influence against steps ago")))  # fmt: skip
    return {"length": {name: memory.length() for name, memory in found.items()}}


def look_at_dynamics(layer: Recurrent, inputs: Tensor, of: str, sections: Sections) -> dict[str, Any] | None:
    """Lyapunov exponents along (time, features) and eigenvalues at its end; None where it is too short."""
    system = inspect.recurrence(layer)
    if len(inputs) < FEWEST:
        return None
    found = inspect.lyapunov(system, inputs, count=min(8, system.size), discard=min(SETTLED, len(inputs) // 3))
    largest = float(found.exponents[0])
    states = system.run(inputs)[0].detach()
    values = inspect.eigenvalues(system, states[-2:-1], inputs[-1:]) if system.size <= 1024 else None
    said = (
        f"Along {of}, a small change of the state {'grows' if largest > 0 else 'shrinks'} by "
        f"{100 * abs(np.exp(largest) - 1):.2f} % a step (largest Lyapunov exponent {largest:+.4f} ± "
        f"{2 * float(found.errors[0]):.4f} nats a step)."
    )
    figures = inspect.svg_text(inspect.draw(found), "The largest Lyapunov exponents")
    if values is not None:
        figures += inspect.svg_text(inspect.draw(values), "Eigenvalues of a step's Jacobian, and the unit circle")
    sections.append(("Dynamics", said, figures))
    return {"lyapunov": found.exponents.tolist()}
