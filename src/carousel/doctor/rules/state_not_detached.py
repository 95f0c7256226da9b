"""A recurrent state that is carried to the next batch with its graph: backward() goes through what it has freed.

With `retain_graph=True` there is no error where the updates are written by hand (`p.data -= …`): each graph then holds
all graphs before it.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "state-not-detached"
EXPLAINS = ()

WORDS = ("backward through the graph a second time", "has been modified by an inplace operation")
"""PyTorch's, of a graph whose values are freed, and of a retained one whose weights an update has changed."""

ADVICE = (
    "Detach the state before the next batch: state = state.detach(); of an LSTM state = tuple(s.detach() for s in "
    "state)."
)


def findings(record: Record) -> list[Finding]:
    """Where graphs grow, or the script ended with PyTorch's error for it after the first update."""
    sizes = record.graphs.sizes
    if record.graphs.grow:
        return [
            Finding(
                CODE,
                "error",
                "the graphs that backward() goes through",
                f"In {len(sizes)} successive backward passes the graph held most of the one before, though the "
                f"parameters had changed, and grew from {sizes[0]} to {sizes[-1]} operations: something that was made "
                "before the last update, such as the state of a recurrent network, is used again with its history, "
                "which retain_graph=True keeps.",
                ADVICE,
            )
        ]
    if not any(words in str(record.error) for words in WORDS) or record.steps < 1:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"backward() number {record.backwards + 1}",
            "The graph of this backward pass reaches back into one that was used before: something that was made "
            "before the last update, such as the state of a recurrent network, is used again with its history.",
            ADVICE,
            step=record.steps,
        )
    ]
