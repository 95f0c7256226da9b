r"""Truncated backpropagation through time.

Williams & Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories", Neural
Computation 2 (1990): BPTT(k2; k1). Sutskever, "Training recurrent neural networks", thesis, 2013, section 2.8.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UsageError

__all__ = ["Span", "TruncatedBPTT", "detach"]


class Span(NamedTuple):
    """The steps of one update, as positions in the stream."""

    begin: int
    """The gradient goes back to here; the state before this step is a constant."""
    keep: int
    """The state before this step is what the next update begins with."""
    score: int
    """The loss counts the outputs from here on, each step of the stream exactly once over all updates."""
    end: int
    """One past the last step."""


class TruncatedBPTT:
    r"""Every k1 steps, one update with the gradient of the last k1 losses, k2 ≥ k1 steps back.

    Update u ends at step e = (u+1)·k1. Its gradient is

    .. math:: \frac{∂}{∂θ} \sum_{t=e-k_1+1}^{e} L_t

    with the state before step max(0, e-k2) held constant. With k2 at least the length of the stream this is full
    backpropagation through time, one piece of the loss at a time. The state is carried from update to update and
    detached. With k2 > k1 the steps before the scored ones are run again, with the present weights, from the state that
    was carried there; the cost is k2/k1 times that of k1 = k2.

    Args:
        k1: steps between two updates.
        k2: steps the gradient goes back; k1 if not given.

    Raises:
        UsageError: k1 < 1 or k2 < k1.

    Example:
        >>> import carousel, torch
        >>> layer, data = carousel.nn.LSTM(3, 4), torch.randn(100, 2, 3)
        >>> bptt, state = carousel.TruncatedBPTT(k1=10, k2=30), None
        >>> for span in bptt.spans(len(data)):
        ...     output, state = bptt.run(layer, span, data[span.begin : span.end], state)
        ...     loss = (output - data.mean()).square().mean()      # of the k1 steps from span.score on
        ...     loss.backward()
        >>> len(bptt.spans(len(data))), output.shape
        (10, torch.Size([10, 2, 4]))
    """

    def __init__(self, k1: int, k2: int | None = None):
        k2 = k1 if k2 is None else k2
        if k1 < 1 or k2 < k1:
            raise UsageError(f"TruncatedBPTT got k1={k1}, k2={k2}; it needs 1 <= k1 <= k2.")
        self.k1, self.k2 = k1, k2

    def updates(self, length: int) -> int:
        """How many updates a stream of `length` steps gives; what is left beyond them is not used."""
        return length // self.k1

    def span(self, update: int) -> Span:
        """Where update number `update` (from 0) reads the stream."""
        end = (update + 1) * self.k1
        return Span(max(0, end - self.k2), max(0, end + self.k1 - self.k2), end - self.k1, end)

    def spans(self, length: int) -> list[Span]:
        """The spans of all updates of a stream of `length` steps."""
        return [self.span(u) for u in range(self.updates(length))]

    def run(
        self,
        network: Callable[..., tuple[Tensor, Any]],
        span: Span,
        inputs: Tensor,
        state: Any,
        *,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Run `network` over a span.

        Args:
            network: called as `network(inputs, state)`, or with `reset=` too where one is given; time first; returns
                `(output, state)`.
            span: from `spans`, in order.
            inputs: the stream's steps from `span.begin` to `span.end`.
            state: what the call for the span before returned; None at the start of a stream.
            reset: (time, batch) bool for the same steps: a new sequence begins there.

        Returns:
            The outputs of the k1 scored steps, and the state to give to the next call, detached.
        """
        outputs, kept = [], state
        for begin, end in ((span.begin, span.keep), (span.keep, span.end)):
            if begin == end:
                continue
            part = slice(begin - span.begin, end - span.begin)
            keywords = {} if reset is None else {"reset": reset[part]}
            output, state = network(inputs[part], state, **keywords)
            outputs.append(output)
            kept = state if end == span.keep else kept
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return output[span.score - span.begin :], detach(kept)


def detach(state: Any) -> Any:
    """The same state, however nested, cut from the graph that made it."""
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else tuple(detach(s) for s in state)
