"""What a watched run did: counts, flags and a few numbers, gathered event by event.

Everything is gathered while it costs little: all steps are counted, and tensors are looked into at the first steps and
then ever more seldom (`Record.looks`).
"""

from __future__ import annotations

import functools
import math
import statistics
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .answers import Answers
from .by_hand import ByHand
from .compared import Compared
from .criteria import Criteria, is_mean, looked_at, plain_mean
from .finiteness import Finiteness, tensors_of
from .graphs import Graphs
from .lab import Lab
from .lines import line
from .samples import Samples
from .seen import (
    ActivationSeen,
    DropoutSeen,
    LayerGradient,
    ModuleSeen,
    ParameterSeen,
    Updates,
    see_all,
)
from .strays import Strays

__all__ = ["MOST_CALLS", "Record"]

ALWAYS, COUNTED = 24, 1000
"""Updates that are looked into, and counted, one by one; behind them half of them, then a quarter …"""

GOLDEN = (math.sqrt(5) - 1) / 2

MOST_CALLS = 64
"""Calls of an activation in one place that are told apart."""

SMALL = 2**14
"""Numbers of an output that is looked at together with others of the same step."""

RENAMED = 16
"""Looks after which the parameters are listed anew: one may have been replaced."""


@dataclass
class Record:
    """A listener for `Watch` that gathers what the rules ask about.

    Attributes:
        steps: updates so far, by an optimizer or by hand.
        backwards: backward passes so far.
        losses: (step, value) of the scalars that `backward` began from, where looked at.
        modules: called modules in the order of their first call.
        criteria: what the loss functions were given.
        updates: by optimizer, how many of its updates were made of fresh gradients, and how many of gradients that were
            added to those of its update before.
        dropped: how many times `zero_grad` was called.
        optimizers: how many were made.
        activations: by module, kind and number of the call in it.
        dropouts: by module and kind, those that no mode turns off.
        samples: the rows that were trained on and evaluated.
        answers: how answers and targets agree.
        comparisons: the same of evaluations that compare labels by `==`.
        graphs: whether graphs of backward passes grow into each other.
        strays: what is trained with and is no parameter of any module.
        by_hand: updates without an optimizer.
        layers: the gradients of weight matrices and kernels, in the order of their calls.
        finiteness: the first number that is none.
        error: what ended the script.
        lab: for experiments, if they are wanted.
    """

    steps: int = 0
    backwards: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    modules: list[ModuleSeen] = field(default_factory=list)
    criteria: Criteria = field(default_factory=Criteria)
    updates: dict[int, Updates] = field(default_factory=dict)
    dropped: int = 0
    optimizers: int = 0
    emptied: int = 0
    """Of the looked-into updates, how many came when `zero_grad` had dropped the gradients that were just made."""
    activations: dict[tuple[int, str, int], ActivationSeen] = field(default_factory=dict)
    dropouts: dict[tuple[int, str], DropoutSeen] = field(default_factory=dict)
    layers: dict[int, LayerGradient] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    answers: Answers = field(default_factory=Answers)
    comparisons: Compared = field(default_factory=Compared)
    graphs: Graphs = field(default_factory=Graphs)
    strays: Strays = field(default_factory=Strays)
    by_hand: ByHand = field(default_factory=ByHand)
    finiteness: Finiteness = field(default_factory=Finiteness)
    error: BaseException | None = None
    lab: Lab | None = None
    counted: int = COUNTED
    """Updates whose labels and losses are counted one by one."""
    prior_suffices: bool = False
    """A loss below what the frequencies of the classes alone give counts as learned: much of a text is chance."""
    looked: int = 0
    _modules: dict[int, ModuleSeen] = field(default_factory=dict)
    _named_of: int = 0
    _evaluated_on: int = 0
    _inside: list[tuple[nn.Module, dict[str, int]]] = field(default_factory=list)
    _outside: dict[str, int] = field(default_factory=dict)
    _parameters: dict[int, ParameterSeen] = field(default_factory=dict)
    _loaded: dict[int, weakref.ref[Tensor]] = field(default_factory=dict)
    _before: tuple[list[Tensor], list[Tensor]] = field(default_factory=lambda: ([], []))
    _owned: list[tuple[str, str, nn.Module, nn.Parameter, ParameterSeen]] = field(default_factory=list)
    _owned_at: tuple[int, int] = (0, 0)
    _small: dict[Any, list[tuple[ActivationSeen, Tensor]]] = field(default_factory=dict)
    _in_backward: bool = False
    _fresh: bool = False
    _late: bool = False

    def __post_init__(self) -> None:
        self.looks = self.counts = True
        """Whether the present step is looked into, and whether labels and losses are counted, which costs less."""

    def _falls_due(self, always: int) -> bool:
        """The multiples of the golden ratio lie evenly between whole numbers, and beat in time with nothing.

        Every second step would always be that of the same of two networks that are trained in turns.
        """
        half = (self.steps // always).bit_length()
        return self.steps * GOLDEN % 1 < 0.5**half

    # events

    def enter(self, module: nn.Module, learning: bool) -> bool:
        """Remember that what follows is inside it."""
        if not self._inside and self.by_hand.moved():
            self._updated()
        seen = self._modules.get(id(module))
        if seen is None or seen.reference() is not module:
            kind = type(module).__name__
            seen = ModuleSeen(weakref.ref(module), kind, len(self.modules), kind, _noise(module))
            seen.outermost = not self._inside
            seen.trainable = all(p.requires_grad for p in module.parameters(recurse=False))
            seen.bare = next(module.parameters(), None) is None
            seen.own = type(module).__module__.startswith("torch.nn")
            self._modules[id(module)] = seen
            self.modules.append(seen)
        self._inside.append((module, {}))
        return self.looks or not learning

    def activation(self, kind: str, output: Tensor) -> None:
        """Look at the output."""
        if not self._inside:
            if self.by_hand.moved():
                self._updated()
            if not output.requires_grad:
                return
        module, calls = self._inside[-1] if self._inside else (None, self._outside)
        before = calls.get(kind, 0)
        ordinal, calls[kind] = min(before, MOST_CALLS), before + 1
        if not output.requires_grad or not self.looks or output.ndim < 2:
            return
        inside = None if module is None else self._modules[id(module)]
        key = (-1 if inside is None else inside.number, kind, ordinal)
        seen = self.activations.get(key)
        if seen is None:
            seen = self.activations[key] = ActivationSeen(kind, inside, ordinal)
        if output.numel() > SMALL:
            seen.see(self.steps, output.detach())
        else:  # as a copy: the script may write to it
            self._small.setdefault((kind, output.shape), []).append((seen, output.detach().clone()))

    def dropout(self, kind: str, drops: bool, told: bool, learning: bool) -> None:
        """See whether it follows the mode of the module around it.

        A layer does; if it is made in the call, it is always in training mode. PyTorch's own modules tell by the share.
        """
        around = [module for module, _ in self._inside[-2:]]
        if around and isinstance(around[-1], nn.modules.dropout._DropoutNd):
            layer = self._modules[id(around.pop())]
            if not around or not drops or around[-1].training or layer.learning + layer.evaluating:
                return
            kind, told = "made", False
        if not around:
            return
        seen = self._modules[id(around[-1])]
        if told or seen.own:
            seen.noisy = seen.noisy or ("dropout" if drops == around[-1].training else None)
        elif not learning or (not around[-1].training and seen.last_in_training >= 0):
            key = seen.number, kind
            if key not in self.dropouts:
                self.dropouts[key] = DropoutSeen(kind, seen, line())
            self.dropouts[key].evaluating += 1

    def forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Count it, in its mode."""
        while self._inside and self._inside.pop()[0] is not module:  # a call that ended in an error was never left
            pass
        if not self._inside:
            self.samples.called(module, args, output, self.steps, self.counts)
            self.comparisons.answered(output)
        seen = self._modules.get(id(module))
        if seen is None:
            return
        wants = output.requires_grad if isinstance(output, Tensor) else any(t.requires_grad for t in tensors_of(output))
        if wants:
            seen.learning += 1
            seen.learning_in_eval += not module.training
            if module.training:
                seen.last_in_training = self.steps
            if self.looks and not self._in_backward:
                self.finiteness.outputs.append((module, args, output))
        else:
            seen.evaluating += 1
            if seen.outermost and args:
                seen.repeated += id(args[0]) == self._evaluated_on and seen.evaluating > 1
                self._evaluated_on = id(args[0])
            seen.evaluating_in_training += module.training

    def loss(self, kind: str, args: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> None:
        """Look at its input."""
        given = args[0] if args else keywords.get("input")
        target = args[1] if len(args) > 1 else keywords.get("target")
        if not isinstance(given, Tensor) or not isinstance(target, Tensor):
            return
        if not given.requires_grad:
            self.criteria.evaluated(kind, keywords, value, given.shape[0] if given.ndim else 1, self.steps)
            if not self.samples.evaluates_training_data:
                self.answers.evaluated(kind, given, target, plain_mean(args, keywords, value), self.steps)
            return
        self.samples.lost(kind, given, target, self.looks)
        if self.counts:
            self.answers.trained(kind, given, target, self.steps)
            self.criteria.counted(kind, given, target, args, keywords, self.steps)
            if is_mean(value, keywords):
                self.criteria.trained.setdefault(kind, []).append((self.steps, float(value.detach())))
        calls = self.criteria.called(kind, given, target)
        if self.looks:
            looked_at(calls, given, target, args, keywords, value)

    def compared(self, one: Tensor, other: Tensor) -> None:
        """It may be an evaluation."""
        if not self.samples.evaluates_training_data:
            self.comparisons.compared(one, other, self.steps)

    def before_backward(self, roots: tuple[Tensor, ...], how: str, retain: bool) -> None:
        """See whose gradients of the update before are gone."""
        if self.by_hand.moved():
            self._updated()
        self._outside.clear()
        self.graphs.before_backward(roots, retain, how == "plain")
        if self.looked and how == "plain":  # the parameters are known
            inputs = (t for _, args, _ in self.finiteness.outputs for t in tensors_of(args))
            self.strays.before_backward(roots, self._parameters, inputs, self._alive)
        for of in self.updates.values():
            if of.used and not any(map(_has_gradient, of.held)):
                of.used = False
        for root in roots:
            if self.counts and root.numel() == 1:
                value = float(root.detach())
                self.losses.append((self.steps, value))
                if not math.isfinite(value) and self.finiteness.first is None:
                    self.finiteness.loss(value, self.steps, self._name_of)
        self.finiteness.outputs.clear()
        self._in_backward = True

    def after_backward(self, roots: tuple[Tensor, ...]) -> None:
        """Count it."""
        self._in_backward, self._fresh, self._late = False, True, False
        self.backwards += 1
        self.by_hand.after_backward(roots)

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        """Count it."""
        self.optimizers += 1

    def loaded(self, module: nn.Module) -> None:
        """Its parameters may be meant to stay."""
        self._loaded |= {id(p): weakref.ref(p) for p in module.parameters()}

    def asked(self, inputs: tuple[Tensor, ...]) -> None:
        """They are no parameters."""
        self.strays.asked(inputs)

    def zero_grad(self) -> None:
        """Count it."""
        self.dropped += 1
        self._late = self._fresh

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """See which parameters have a gradient, and how large it is."""
        if not self.by_hand.off:
            self.by_hand = ByHand(off=True)
        held = [p for group in optimizer.param_groups for p in group["params"]]
        of = self.updates.get(id(optimizer))
        if of is None:
            of = self.updates[id(optimizer)] = Updates(type(optimizer).__name__, line=line())
        of.held = held
        if of.used and self.backwards > of.backwards:
            of.carried += 1
        elif not of.used:
            of.fresh += 1
        of.backwards = self.backwards
        if not self.looks:
            return
        self.looked += 1
        self.emptied += self._late and not any(map(_has_gradient, held))
        self._name()
        of.pushed = of.pushed or any(p.grad is not None for p in held)
        weights, others = list[Tensor](), list[tuple[str, Tensor]]()
        for name, owner, module, p, seen in self._named():
            seen.wanted = p.requires_grad
            inside = self._modules.get(id(module))
            seen.called = seen.called or (inside is not None and inside.learning + inside.evaluating > 0)
            seen.gradients += p.grad is not None
            if not seen.pushed and p.grad is not None:
                seen.pushed = p.grad.is_sparse or bool(p.grad.any())
            if p.grad is None or not seen.called or p.grad.is_sparse:
                continue
            if p.ndim > 1 and name.endswith(".weight") and not isinstance(module, nn.Embedding):
                if id(p) not in self.layers:
                    self.layers[id(p)] = self._layer(p, name, owner, module)
                weights.append(p)
            else:
                others.append((name, p.grad))
        self._measure(weights)
        for (name, gradient), length in zip(others, _norms([g for _, g in others]), strict=True):
            if not math.isfinite(length) and self.finiteness.first is None:
                self.finiteness.gradient(gradient, self.steps, name)
        for p in held:
            if id(p) in self._parameters:
                self._parameters[id(p)].held = True

    def _layer(self, p: Tensor, name: str, owner: str, module: nn.Module) -> LayerGradient:
        """A weight that is seen for the first time."""
        rows = p.detach().flatten(1)
        alike = self.steps == 0 and len(rows) > 1 and bool((rows == rows[0]).all()) and bool((rows != 0).any())
        number = self._modules[id(module)].number
        he = math.sqrt(2 / max(1, rows.shape[1]))
        scale = float(rows.square().mean().sqrt()) / he if self.steps == 0 else None
        return LayerGradient(name, owner, number, len(rows), alike, scale)

    def _measure(self, weights: list[Tensor]) -> None:
        """Note how large gradients are, and keep the weights until they have moved."""
        self._before = weights, [p.detach().clone() for p in weights]
        gradients = [p.grad for p in weights if p.grad is not None]
        for p, g, w in zip(weights, _norms(gradients), _norms(weights), strict=True):
            layer, root = self.layers[id(p)], math.sqrt(max(1, p.numel()))
            layer.sizes.append((self.steps, g / root, w / root))
            if not math.isfinite(g) and self.finiteness.first is None and p.grad is not None:
                self.finiteness.gradient(p.grad, self.steps, layer.name)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Count it, and see how far the weights have moved."""
        weights, before = self._before
        if weights:
            moved = _norms([p.detach() - old for p, old in zip(weights, before, strict=True)])
            for p, change in zip(weights, moved, strict=True):
                layer = self.layers[id(p)]
                step, _, size = layer.sizes[-1]
                layer.changes.append((step, change / max(size * math.sqrt(max(1, p.numel())), 1e-12)))
            self._before = [], []
        self._updated()
        self._fresh = self._late = False
        self.updates[id(optimizer)].used = True

    def _updated(self) -> None:
        for of in self._small.values():
            see_all(self.steps, of)
        self._small.clear()
        self.finiteness.outputs.clear()
        self._evaluated_on = 0
        self.steps += 1
        self.looks, self.counts = self._falls_due(ALWAYS), self._falls_due(self.counted)
        self.samples.updated()

    # views

    @property
    def parameters(self) -> list[ParameterSeen]:
        """Those of the modules that were called to learn."""
        return list(self._parameters.values())

    def named(self) -> list[tuple[Tensor, ParameterSeen]]:
        """The parameters that there are still, with what was seen of them."""
        return [(p, seen) for _, _, _, p, seen in self._owned]

    def _alive(self) -> list[nn.Module]:
        return [m for seen in self.modules if (m := seen.reference()) is not None]

    def roots(self) -> list[nn.Module]:
        """The called modules that no other called module contains."""
        alive = [m for seen in self._modules.values() if seen.learning and (m := seen.reference()) is not None]
        inner = {id(child) for m in alive for child in m.modules() if child is not m}
        return [m for m in alive if id(m) not in inner]

    def layers_in_order(self) -> list[LayerGradient]:
        """Of the outermost module with most layers, in the order in which their modules were first called."""
        by_owner: dict[str, list[LayerGradient]] = {}
        for layer in self.layers.values():
            by_owner.setdefault(layer.owner, []).append(layer)
        return sorted(max(by_owner.values(), key=len, default=[]), key=lambda layer: layer.order)

    def course(self) -> list[tuple[int, float]]:
        """(step, loss): the mean of the scalars from which the gradients of an update were made."""
        by_step: dict[int, list[float]] = {}
        for step, value in self.losses:
            by_step.setdefault(step, []).append(value)
        return [(step, statistics.fmean(values)) for step, values in by_step.items()]

    def last_loss(self) -> float:
        """The median of the last tenth of the run, infinite where that is no number."""
        values = [value for _, value in self.course()]
        last = statistics.median(values[-max(5, len(values) // 10) :]) if values else math.inf
        return last if math.isfinite(last) else math.inf

    def lowest_loss(self) -> float:
        """The lowest median of a tenth of the run, infinite where there is none."""
        values = [value for _, value in self.course()]
        size = max(5, len(values) // 10)
        medians = [statistics.median(values[i : i + size]) for i in range(0, len(values) - size + 1, size)]
        return min([m for m in medians if math.isfinite(m)], default=math.inf)

    def has_learned(self) -> bool:
        """The loss is positive, and less than a twentieth of what it was in the first ten updates, or of chance."""
        if self.prior_suffices and any(0 <= self.last_loss() < of.entropy() for of in self.criteria.labels.values()):
            return True
        first = [value for _, value in self.course()[:10]]
        first += self.criteria.chance()
        return bool(first) and 0 <= self.last_loss() < 0.05 * min(first)

    def gradients_in_order(self, since: int, until: int) -> list[float]:
        """The gradient of each layer relative to its weights, median over the steps `since` to `until`."""
        sizes = []
        for layer in self.layers_in_order():
            there = [g / max(w, 1e-12) for step, g, w in layer.sizes if since <= step <= until and math.isfinite(g)]
            sizes.append(statistics.median(there or [0.0]))
        return sizes

    def depth_ratio(self, since: int, until: int) -> float | None:
        """The median gradient of the first third of the layers over that of the last; None where there is none."""
        sizes = self.gradients_in_order(since, until)
        return statistics.median(sizes[: max(1, len(sizes) // 3)]) / sizes[-1] if sizes and sizes[-1] else None

    def place_of(self, seen: ActivationSeen) -> str:
        """In words."""
        if seen.module is None:
            return f"{seen.kind} number {seen.ordinal + 1}"
        own = seen.module.kind.lower() == seen.kind.replace("_", "")
        return seen.module.name if own else f"{seen.kind} number {seen.ordinal + 1} in {seen.module.name}"

    def _name(self) -> None:
        """Give the called modules their paths."""
        if self._named_of == len(self.modules):
            return
        self._named_of = len(self.modules)
        for root in self.roots():
            for path, module in root.named_modules():
                seen = self._modules.get(id(module))
                if seen is not None and seen.reference() is module:
                    seen.name = f"{type(root).__name__}.{path}" if path else type(root).__name__

    def _named(self) -> list[tuple[str, str, nn.Module, nn.Parameter, ParameterSeen]]:
        """(name, class of the outermost module, module, parameter, what is seen of it), made anew now and then."""
        at = len(self.modules), self.looked // RENAMED
        if at != self._owned_at:
            self._owned_at = at
            self._owned = []
            for root in self.roots():
                owner = type(root).__name__
                for path, module in root.named_modules():
                    for own, p in module.named_parameters(recurse=False):
                        name = ".".join([owner, *([path] if path else []), own])
                        seen = ParameterSeen(name, owner, tuple(p.shape), p.requires_grad)
                        seen.loaded = id(p) in self._loaded and self._loaded[id(p)]() is p
                        self._owned.append((name, owner, module, p, self._parameters.setdefault(id(p), seen)))
        return self._owned

    def _name_of(self, module: nn.Module) -> str:
        self._name()
        return self._modules[id(module)].name


def _noise(module: nn.Module) -> str | None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "batch norm"
    between = isinstance(module, nn.RNNBase) and module.num_layers > 1 and module.dropout > 0
    return "dropout" if between or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0) else None


def _has_gradient(p: Tensor) -> bool:
    g = p.grad
    return g is not None and bool((g._values() if g.is_sparse else g).count_nonzero())


def _norms(of: list[Tensor]) -> list[float]:
    """The length of each, in one go."""
    if not of:
        return []
    dtype = functools.reduce(torch.promote_types, {t.dtype for t in of}, torch.float32)
    norms = torch._foreach_norm(of, dtype=dtype)  # pyright: ignore[reportPrivateImportUsage]
    if len({n.device for n in norms}) > 1:
        norms = [n.cpu() for n in norms]
    return torch.stack(norms).tolist()
