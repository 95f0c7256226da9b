"""A recurrent state that is carried to the next batch with its graph: backward() goes through what it has freed."""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "state-not-detached"
EXPLAINS = ()

WORDS = ("backward through the graph a second time", "has been modified by an inplace operation")
"""PyTorch's, of a graph whose values are freed, and of a retained one whose weights an update has changed."""


def findings(record: Record) -> list[Finding]:
    """Where the script ended with PyTorch's error for it after the first update."""
    if not any(words in str(record.error) for words in WORDS) or record.steps < 1:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"backward() number {record.backwards + 1}",
            "The graph of this backward pass reaches back into one that was used before: something that was made "
            "before the last update, such as the state of a recurrent network, is used again with its history.",
            "Detach the state before the next batch: state = state.detach(); of an LSTM "
            "state = tuple(s.detach() for s in state).",
            step=record.steps,
        )
    ]
