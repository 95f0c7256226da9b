"""How training data reach the loop: as parallel streams, read forward, or as batches of independent examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UsageError
from .tbptt import TruncatedBPTT

__all__ = ["ExampleFeed", "Examples", "Stream", "StreamFeed"]

POOL = 50
"""Batches within which examples are sorted by length: their lengths are nearly equal, and the order is still random."""


class Stream(Protocol):
    """Parallel sequences that are read forward."""

    length: int
    batch: int

    def window(self, begin: int, end: int) -> Any:
        """`inputs`, `targets` and `reset` (or None) of these steps, time first."""
        ...


class StreamFeed:
    """Truncated backpropagation through time over parallel streams; the state is carried from window to window.

    Args:
        stream: what is read.
        bptt: how far it is read for an update, and how far back the gradient goes.
        loss: of the scored outputs and their targets, the mean.
        unit: what a step of a stream is, in words.
    """

    def __init__(self, stream: Stream, bptt: TruncatedBPTT, loss: Callable[[Tensor, Tensor], Tensor], unit: str):
        self.stream, self.bptt, self._loss = stream, bptt, loss
        self.length = bptt.updates(stream.length)
        self.about = f"{stream.batch} x {bptt.k1} {unit}s"
        self.carried: Any = None

    def loss(self, network: Callable[..., Any], number: int, device: torch.device) -> tuple[Tensor, int]:
        """The loss of window `number`, which counts on from epoch to epoch, and its number of targets."""
        update = number % self.length
        if update == 0:
            self.carried = None
        span = self.bptt.span(update)
        window = self.stream.window(span.begin, span.end)
        inputs, targets = window.inputs.to(device), window.targets[span.score - span.begin :].to(device)
        reset = None if window.reset is None else window.reset.to(device)
        output, self.carried = self.bptt.run(network, span, inputs, self.carried, reset=reset)
        return self._loss(output, targets), targets.numel()

    def state_dict(self) -> Any:
        """The carried state."""
        return self.carried

    def load_state_dict(self, state: Any, device: torch.device) -> None:
        """Continue with a carried state."""
        self.carried = _to(state, device)


class Examples(Protocol):
    """Independent examples, and the loss of a network on some of them."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def units(self, chosen: NDArray[np.int64]) -> int:
        """How many units their loss counts: sequences, or words."""
        ...

    def weights(self, chosen: NDArray[np.int64]) -> float:
        """What the mean of their losses divides by: their number, or that of their words."""
        ...

    def loss(self, network: Callable[..., Any], chosen: NDArray[np.int64], device: torch.device) -> Tensor:
        """The mean loss of these examples, padded to a common length."""
        ...


class ExampleFeed:
    """Batches of independent examples, in a new order in every epoch.

    The order of an epoch depends on the seed and the epoch's number alone, so that a resumed run goes on where it was,
    with nothing stored. What does not fill a last batch is left out of that epoch. Several processes read disjoint
    shares of each batch, and their mean gradient is that of the whole batch.

    Args:
        examples: what is read.
        batch: examples per part of an update, in all processes together; it is lowered to the number of examples.
        seed: of the order.
        unit: what an example is, in words.
        lengths: (examples,) how long each is; examples of similar length then share a batch.
        part: this process's number.
        parts: how many processes there are.

    Raises:
        UsageError: the batch can't be shared evenly.
    """

    def __init__(
        self,
        examples: Examples,
        batch: int,
        *,
        seed: int,
        unit: str,
        lengths: NDArray[Any] | None = None,
        part: int = 0,
        parts: int = 1,
    ):
        self.batch = min(batch, len(examples))
        if self.batch % parts:
            raise UsageError(f"--batch {self.batch} can't be shared evenly by {parts} processes; give a multiple.")
        self.examples, self.seed, self.part, self.parts = examples, seed, part, parts
        self.lengths = lengths
        self.length = len(examples) // self.batch
        self.about = f"{self.batch} {unit}s"
        self._epoch, self._order = -1, np.empty((0, 0), np.int64)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(batches, batch) examples of an epoch, as they are read."""
        if epoch != self._epoch:
            draw = np.random.default_rng([self.seed, epoch])
            order = draw.permutation(len(self.examples))[: self.length * self.batch]
            if self.lengths is not None:
                pools = np.arange(len(order)) // (POOL * self.batch)
                order = order[np.lexsort((self.lengths[order], pools))]
            order = order.reshape(self.length, self.batch)
            self._epoch, self._order = epoch, order if self.lengths is None else draw.permutation(order)
        return self._order

    def loss(self, network: Callable[..., Any], number: int, device: torch.device) -> tuple[Tensor, int]:
        """The loss of batch `number`, which counts on from epoch to epoch, and its number of units."""
        epoch, place = divmod(number, self.length)
        chosen = self.order(epoch)[place]
        mine = chosen[self.part :: self.parts]
        loss = self.examples.loss(network, mine, device)
        if self.parts > 1:  # gradients are averaged over processes, losses over what they are the mean of
            loss = loss * (self.parts * self.examples.weights(mine) / self.examples.weights(chosen))
        return loss, self.examples.units(mine)

    def state_dict(self) -> None:
        """Nothing is carried."""

    def load_state_dict(self, state: Any, device: torch.device) -> None:
        """Nothing is carried."""


def _to(state: Any, device: torch.device) -> Any:
    if isinstance(state, Tensor):
        return state.to(device)
    return None if state is None else tuple(_to(s, device) for s in state)
