"""A recurrent state that is carried to the next batch with its graph: backward() goes through what it has freed.

With `retain_graph=True` there is no error where the updates are written by hand (`p.data -= …`): each graph then holds
all graphs before it. And there is none where the gradients of many windows are added up to one update: they are right,
but each pass goes through all windows before its own again.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "state-not-detached"
EXPLAINS = ()

WORDS = ("backward through the graph a second time", "has been modified by an inplace operation")
"""PyTorch's, of a graph whose values are freed, and of a retained one whose weights an update has changed."""

PASSES = 10
"""In one update, each of which goes through all before it again: five times the work of a single one, and more."""

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
    again = record.graphs.again
    if len(again) >= PASSES and record.steps > 1:
        return [
            Finding(
                CODE,
                "warning",
                "the graphs that backward() goes through",
                f"In {len(again)} successive backward passes of one update the graph held that of the pass before, and "
                f"grew from {again[0]} to {again[-1]} operations; together they went through {sum(again)}. So each "
                "window of the sequence is gone through again with all that follow, and takes longer than the one "
                "before.",
                ADVICE + " If the gradient is to go through the whole sequence, add up the losses and call backward() "
                "once. Neither needs retain_graph=True.",
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
