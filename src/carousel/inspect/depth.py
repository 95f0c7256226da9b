r"""What goes forward and what comes back through the depth of a network: per layer and per unit, once or in training.

A unit is dead if it is zero for every example, so that no gradient passes; saturated where it stands at a limit of its
function, so that hardly any does. Healthy updates change weights by about a thousandth of their size a step
(Karpathy's rule of thumb, cs231n).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import UsageError
from ..nn import Recurrent

__all__ = ["DepthHistory", "Layer", "through_depth", "watch_depth"]

WHOLE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, Recurrent)
"""One layer each, whatever they are made of."""
LIMITS: dict[str, tuple[float, float]] = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "hardtanh": (-1.0, 1.0),
                                          "hardsigmoid": (0.0, 1.0), "softsign": (-1.0, 1.0)}  # fmt: skip
"""Between which these functions lie."""
NEAR = 0.05
"""Share of that width that counts as at the limit."""
OTHERS = ("relu", "relu6", "elu", "gelu", "silu", "leaky_relu", "celu", "selu", "softplus", "prelu",
          "hardswish", "mish")  # fmt: skip
"""Activation functions without two limits."""
CONVOLUTIONS = (nn.modules.conv._ConvNd,)


@dataclass(frozen=True)
class Layer:
    r"""One layer at one moment. A unit is a channel of a convolution, a feature elsewhere.

    Attributes:
        name: of the module; "tanh 2" of the second call of a function outside of modules.
        kind: the module's class, or the function.
        mean, deviation: of all activations.
        gradient: root mean square of ∂L/∂(activation); None where none arrived.
        unit_means, unit_deviations, unit_gradients: (units,) the same for each.
        dead: (units,) bool: zero for every example and place.
        saturated: (units,) share of activations within a twentieth of a limit; zeros where the function has no limits.
        weights: name of a parameter → root mean squares of it and of its gradient.
    """

    name: str
    kind: str
    mean: float
    deviation: float
    gradient: float | None
    unit_means: Tensor
    unit_deviations: Tensor
    unit_gradients: Tensor | None
    dead: Tensor
    saturated: Tensor
    weights: dict[str, tuple[float, float | None]]


def through_depth(network: nn.Module, loss: Callable[[], Tensor]) -> list[Layer]:
    """Statistics of every layer for one evaluation of a loss and its gradient.

    Args:
        network: any module.
        loss: runs the network and gives the loss, as `lambda: criterion(net(x), y)`.

    Returns:
        The layers in the order in which they ran: modules without modules inside, recurrent layers as one, and
        activation functions that the code calls outside of these.

    Raises:
        UsageError: nothing ran, or the loss is no number that depends on the network.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)), torch.rand(50, 4)
        >>> with torch.no_grad():
        ...     _ = net[0].bias.copy_(torch.tensor([1.0, -9.0, 1.0]))
        >>> [(layer.name, layer.dead.tolist()) for layer in through_depth(net, lambda: net(x).mean())][1]
        ('1', [False, True, False])
    """
    watch = _Watch(network)
    kept = {name: p.grad for name, p in network.named_parameters()}
    try:
        network.zero_grad(set_to_none=True)
        with torch.enable_grad(), watch:
            value = loss()
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise UsageError("loss() must give one number that depends on the network's parameters.")
        value.backward()
        return watch.layers()
    finally:
        for name, p in network.named_parameters():
            p.grad = kept[name]


# -- in training ------------------------------------------------------------------------------------------------------


@dataclass
class DepthHistory:
    """What `watch_depth` gathers.

    Attributes:
        steps: the updates that were looked at, from 1.
        layers: for each of them, the layers of the last evaluation before it.
        updates: name of a parameter → for each of them, ‖change‖ / ‖weights‖.
    """

    steps: list[int] = field(default_factory=list)
    layers: list[list[Layer]] = field(default_factory=list)
    updates: dict[str, list[float]] = field(default_factory=dict)


@contextlib.contextmanager
def watch_depth(network: nn.Module, optimizer: torch.optim.Optimizer, every: int = 50) -> Iterator[DepthHistory]:
    """While it is entered, look at every n-th update of a training loop, whoever wrote it; the first one always.

    Args:
        network: in training.
        optimizer: of its parameters.
        every: updates from one look to the next.

    Returns:
        `DepthHistory`, which grows.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net, x = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)), torch.randn(20, 2)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with watch_depth(net, optimizer, every=2) as history:
        ...     for _ in range(5):
        ...         optimizer.zero_grad()
        ...         net(x).square().mean().backward()
        ...         optimizer.step()
        >>> history.steps, [layer.kind for layer in history.layers[0]], len(history.updates["0.weight"])
        ([1, 3, 5], ['Linear', 'Tanh', 'Linear'], 3)
    """
    if every < 1:
        raise UsageError(f"watch_depth got every={every}; give a whole number of at least 1.")
    history, names = DepthHistory(), {p: name for name, p in network.named_parameters()}
    before: dict[nn.Parameter, Tensor] = {}
    done, watch = 0, _Watch(network)

    def look(*_: Any) -> None:
        if done % every == 0:
            history.steps.append(done + 1)
            history.layers.append(watch.layers())
            before.update({p: p.detach().clone() for p in names})

    def measure(*_: Any) -> None:
        nonlocal done
        for p, old in before.items():
            size = float(old.norm()) or 1e-30
            history.updates.setdefault(names[p], []).append(float((p.detach() - old).norm()) / size)
        before.clear()
        done += 1
        watch.wanted = done % every == 0
        watch.forget()

    hooks = [optimizer.register_step_pre_hook(look), optimizer.register_step_post_hook(measure)]
    try:
        with watch:
            yield history
    finally:
        for hook in hooks:
            hook.remove()


# -- watching ---------------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    name: str
    kind: str
    module: nn.Module | None
    output: Tensor
    channels: bool
    """Units are the second dimension."""
    gradient: Tensor | None = None

    def receive(self, gradient: Tensor) -> None:
        """Called by autograd."""
        self.gradient = gradient


class _Watch(TorchFunctionMode):
    """While it is entered, the outputs of layers and activation functions are kept, with their gradients."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.wanted = True
        self._names = {module: name or type(module).__name__ for name, module in network.named_modules()}
        self._seen: list[_Seen] = []
        self._counts: dict[str, int] = {}
        self._inside = 0
        self._convolved = False
        self._hooks: list[Any] = []

    def __enter__(self) -> Any:
        hidden = {part for m in self._names if isinstance(m, WHOLE) for part in m.modules() if part is not m}
        for module in self._names:
            if module not in hidden and (isinstance(module, WHOLE) or next(module.children(), None) is None):
                self._hooks.append(module.register_forward_pre_hook(self._begin))
                self._hooks.append(module.register_forward_hook(self._end, always_call=True))
        self._hooks.append(next(iter(self._names)).register_forward_pre_hook(self._start, prepend=True))
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        for hook in self._hooks:
            hook.remove()
        return super().__exit__(*error)

    def forget(self) -> None:
        """Drop what was kept."""
        self._seen, self._counts, self._inside = [], {}, 0

    def _start(self, *_: Any) -> None:
        """A pass of the whole network begins: what an earlier one left is no longer of use."""
        self.forget()

    def _begin(self, *_: Any) -> None:
        self._inside += 1

    def _end(self, module: nn.Module, _: Any, output: Any) -> None:
        self._inside -= 1
        output = output[0] if isinstance(output, tuple) and output else output
        if self.wanted and isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 0:
            if isinstance(module, CONVOLUTIONS) or any(p.ndim > 2 for p in module.parameters(recurse=False)):
                self._convolved = True
            elif isinstance(module, (nn.Linear, nn.Flatten, *WHOLE)):
                self._convolved = False
            self._keep(self._names[module], type(module).__name__, module, output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if self.wanted and not self._inside and (name in LIMITS or name in OTHERS) and isinstance(made, Tensor):
            self._counts[name] = self._counts.get(name, 0) + 1
            self._keep(f"{name} {self._counts[name]}", name, None, made)
        return made

    def _keep(self, name: str, kind: str, module: nn.Module | None, output: Tensor) -> None:
        # copied, and the gradient caught by a hook: the next layer may write over it in place
        seen = _Seen(name, kind, module, output.detach().clone(), self._convolved and output.ndim > 2)
        if output.requires_grad:
            output.register_hook(seen.receive)
        self._seen.append(seen)

    def layers(self) -> list[Layer]:
        """Statistics of what was kept.

        Raises:
            UsageError: nothing was.
        """
        if not self._seen:
            raise UsageError("No layer of the network ran; call the network itself, not parts of its code.")
        with torch.no_grad():
            return [_layer(seen) for seen in self._seen]


def _layer(seen: _Seen) -> Layer:
    values = _by_unit(seen.output, seen.channels)
    gradient = None if seen.gradient is None else _by_unit(seen.gradient, seen.channels)
    low, high = LIMITS.get(seen.kind.lower(), (None, None))
    saturated = torch.zeros(values.shape[1])
    if low is not None and high is not None:
        margin = NEAR * (high - low)
        saturated = ((values < low + margin) | (values > high - margin)).float().mean(0).cpu()
    weights = {}
    if seen.module is not None:
        for name, p in seen.module.named_parameters():
            weights[name] = (_size(p), None if p.grad is None else _size(p.grad))
    return Layer(
        seen.name, seen.kind, float(values.mean()), float(values.std(unbiased=False)),
        None if gradient is None else _size(gradient),
        values.mean(0).cpu(), values.std(0, unbiased=False).cpu(),
        None if gradient is None else gradient.square().mean(0).sqrt().cpu(),
        (values == 0).all(0).cpu(), saturated, weights,
    )  # fmt: skip


def _by_unit(values: Tensor, channels: bool) -> Tensor:
    """(examples and places, units)."""
    if values.ndim == 1:
        return values.unsqueeze(1)
    return (values.movedim(1, -1) if channels else values).flatten(0, -2)


def _size(values: Tensor) -> float:
    return float(values.detach().double().square().mean().sqrt())
