"""One layer of any network: found by name, and what it gives for an input. Nothing of the network is changed."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .system import evaluating

__all__ = ["Tap", "chosen_classes", "find_layer"]


class _Reached(BaseException):
    """Ends a forward pass at the layer that was asked for; no `except Exception` of a network stops it."""


def find_layer(model: nn.Module, layer: str | nn.Module | None) -> tuple[str, nn.Module]:
    """A layer and its name in a network.

    Args:
        model: the network.
        layer: the name as in `named_modules()`; or the module itself; or None for the whole network.

    Raises:
        UsageError: it is not in the network; the nearest name is suggested.

    Example:
        >>> find_layer(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "1")
        ('1', ReLU())
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"The network is a {type(model).__name__}; give a torch.nn.Module.")
    named = dict(model.named_modules())
    if layer is None:
        return "", model
    if isinstance(layer, str):
        if layer in named:
            return layer, named[layer]
        near = difflib.get_close_matches(layer, named, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(list(named)[1:8]) or 'none'} …"
        raise UsageError(f"The network has no layer {layer!r}; {hint}")
    for name, module in named.items():
        if module is layer:
            return name, module
    raise UsageError(f"The {type(layer).__name__} is no layer of this {type(model).__name__}; give one of its own.")


class Tap:
    """What a layer gives for an input, called as a function; a pass ends there and what lies behind does not run.

    Of a layer that runs several times in a pass, such as one ReLU that a block shares, it is the last time.

    Args:
        model: any network that takes one tensor (batch, …).
        layer: see `find_layer`.

    Example:
        >>> tap = Tap(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), "0")
        >>> with tap.looking():
        ...     tap(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module | None = None):
        self.model = model
        self.name, self.layer = find_layer(model, layer)
        self.calls: int | None = None
        own = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), None)
        self.device, self.dtype = (None, None) if own is None else (own.device, own.dtype)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Evaluation mode, and the caller's random numbers and gradients kept, as long as it is entered."""
        devices = [self.device] if self.device is not None and self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), evaluating(self.model):
            yield

    def on_device(self, inputs: Tensor) -> Tensor:
        """The inputs where the network is, and in its dtype where they are floating-point."""
        if not isinstance(inputs, Tensor):
            raise UsageError(f"The input is a {type(inputs).__name__}; give a tensor, (batch, …).")
        if self.device is None:
            return inputs
        return inputs.to(self.device, self.dtype if inputs.is_floating_point() else None)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The layer's output, in the graph of `inputs`.

        Raises:
            UsageError: the network does not take the input, the layer does not run, or it gives no tensor.
        """
        if self.layer is self.model:
            return self._tensor(self._run(inputs))
        if self.calls is None:
            with torch.no_grad():
                self.calls = len(self._outputs(inputs[:1], last=None))
            if not self.calls:
                raise UsageError(f"The layer {self.name!r} does not run when the network does; name another one.")
        outputs = self._outputs(inputs, last=self.calls)
        return self._tensor(outputs[-1])

    def scores(self, inputs: Tensor) -> Tensor:
        """The layer's output as scores of classes, (batch, classes), before any softmax.

        Raises:
            UsageError: it has another shape; or it comes out of a softmax, which with gradients on is seen.
        """
        output = self(inputs)
        output = output.unsqueeze(1) if output.ndim == 1 else output
        if output.ndim != 2:
            raise UsageError(f"The output has the shape {tuple(output.shape)}; expected scores, (batch, classes).")
        last = re.sub(r"Backward\d*$", "", type(output.grad_fn).__name__)
        if last in ("Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid"):
            raise UsageError(f"The network ends in a {last}; name the layer that gives the scores before, as layer=.")
        return output

    def _outputs(self, inputs: Tensor, last: int | None) -> list[Any]:
        seen: list[Any] = []

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            seen.append(output)
            if len(seen) == last:
                raise _Reached

        hook = self.layer.register_forward_hook(keep)
        try:
            self._run(inputs)
        except _Reached:
            pass
        finally:
            hook.remove()
        return seen

    def _run(self, inputs: Tensor) -> Any:
        try:
            return self.model(inputs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shape = tuple(inputs.shape)
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"The network does not take an input of the shape {shape}: {reason}") from error

    def _tensor(self, output: Any) -> Tensor:
        if isinstance(output, tuple | list) and output:
            output = output[0]
        if not isinstance(output, Tensor):
            of = f"The layer {self.name!r}" if self.name else "The network"
            raise UsageError(f"{of} gives a {type(output).__name__}; name a layer that gives one tensor.")
        return output


def chosen_classes(classes: int | Sequence[int] | Tensor | None, scores: Tensor) -> Tensor:
    """The class of each example, (batch,): the given one, or the one with the highest score.

    Raises:
        UsageError: there is no such class, or another number of them than examples.
    """
    if classes is None:
        return scores.detach().argmax(1)
    try:
        asked = torch.as_tensor(classes, device=scores.device)
    except (TypeError, ValueError):
        raise UsageError(f"The classes are {classes!r}; give their numbers, 0 to {scores.shape[1] - 1}.") from None
    if asked.is_floating_point() or asked.ndim > 1 or (asked.ndim and len(asked) != len(scores)):
        raise UsageError(f"The classes have the shape {tuple(asked.shape)}; give one, or {len(scores)} whole numbers.")
    if ((asked < 0) | (asked >= scores.shape[1])).any():
        raise UsageError(f"There are classes 0 to {scores.shape[1] - 1}; got {asked.tolist()}.")
    return asked.long().expand(len(scores))
