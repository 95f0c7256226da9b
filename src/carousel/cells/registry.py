"""Cells by name. A new cell is one file beside this one and one row here; the contract tests then cover it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from .base import Cell
from .constant_error_carousel import ConstantErrorCarousel
from .gru import GRU
from .leaky import LeakyRNN
from .lstm import LSTM
from .min_gru import MinGRU
from .multi_tap import MultiTapRNN
from .rnn import RNN, PreActivationRNN

__all__ = ["REGISTRY", "Entry", "find"]


@dataclass(frozen=True)
class Entry:
    """A named cell: its class, the options that the name stands for, and one line about it."""

    cell_class: type[Cell]
    about: str
    options: dict[str, Any] = field(default_factory=dict)


REGISTRY: dict[str, Entry] = {
    "rnn": Entry(RNN, "vanilla: h = tanh(Wx + Uh + b)"),
    "rnn-relu": Entry(RNN, "vanilla with rectified linear units", {"activation": "relu"}),
    "rnn-preactivation": Entry(PreActivationRNN, "vanilla, h = U tanh(h) + Wx + b"),
    "lstm": Entry(LSTM, "long short-term memory with forget gate"),
    "lstm-peephole": Entry(LSTM, "LSTM whose gates see the memory (Graves 2013)", {"peephole": True}),
    "lstm-coupled": Entry(LSTM, "LSTM with i = 1 - f", {"coupled": True}),
    "lstm-layernorm": Entry(LSTM, "LSTM with layer norm (Ba et al. 2016)", {"layer_norm": True}),
    "lstm-coupled-layernorm": Entry(
        LSTM, "both of these: what `carousel train` takes by default", {"coupled": True, "layer_norm": True}
    ),
    "cec": Entry(ConstantErrorCarousel, "the bare memory of the LSTM, only gates scale it"),
    "gru": Entry(GRU, "gated recurrent unit, reset after the product (PyTorch's)"),
    "gru-reset-before": Entry(GRU, "gated recurrent unit of Cho et al. 2014", {"reset": "before"}),
    "multi-tap": Entry(MultiTapRNN, "vanilla that sees h[t-1], h[t-5] and h[t-8]"),
    "leaky": Entry(LeakyRNN, "leaky integrators with learned time constants (continuous time)"),
    "min-gru": Entry(MinGRU, "linear diagonal recurrence, gate sees the input only"),
}


def find(name: str) -> Entry:
    """The registered cell of that name.

    Raises:
        UsageError: there is none; the message names the nearest and all others.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    near = difflib.get_close_matches(name, REGISTRY, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"There is no cell {name!r}.{hint} The cells are {', '.join(REGISTRY)}; your own is FILE.py:Class."
    )
