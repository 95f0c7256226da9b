"""What a watched run did: counts, flags and a few numbers, gathered event by event.

Everything is gathered while it costs little: all steps are counted, and tensors are looked into at the first steps and
then ever more seldom (`Record.looks`).
"""

from __future__ import annotations

import math
import statistics
import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .answers import Answers
from .lab import Lab
from .lines import line
from .samples import Samples
from .seen import ActivationSeen, Labels, LayerGradient, LossCalls, ModuleSeen, NonFinite, ParameterSeen, Updates

__all__ = ["Record"]

CHANCE = ("cross_entropy", "nll_loss")
"""Losses whose value is ln K where nothing is known."""

ALWAYS = 50
"""Updates that are looked into one by one; behind them every second, then every fourth …"""


@dataclass
class Record:
    """A listener for `Watch` that gathers what the rules ask about.

    Attributes:
        steps: updates so far.
        backwards: backward passes so far.
        losses: (step, value) of the scalars that `backward` began from, where looked at.
        modules: called modules in the order of their first call.
        loss_calls: by kind.
        labels: by kind of loss.
        evaluations: by kind of loss: (step, mean of the values, samples) of the calls without gradients between two
            updates.
        updates: by optimizer, how many of its updates were made of fresh gradients, and how many of gradients that were
            added to those of its update before.
        dropped: how many times `zero_grad` was called.
        activations: by module, kind and number of the call in it.
        samples: the rows that were trained on and evaluated.
        answers: how answers and targets agree.
        layers: the gradients of weight matrices and kernels, in the order of their calls.
        non_finite: the first one.
        error: what ended the script.
        lab: for experiments, if they are wanted.
    """

    steps: int = 0
    backwards: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    modules: list[ModuleSeen] = field(default_factory=list)
    loss_calls: dict[str, LossCalls] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)
    evaluations: dict[str, list[tuple[int, float, int]]] = field(default_factory=dict)
    trained: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """By kind of loss: (step, value) of the counted calls with gradients wanted."""
    updates: dict[int, Updates] = field(default_factory=dict)
    dropped: int = 0
    activations: dict[tuple[int, str, int], ActivationSeen] = field(default_factory=dict)
    layers: dict[int, LayerGradient] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    answers: Answers = field(default_factory=Answers)
    non_finite: NonFinite | None = None
    error: BaseException | None = None
    lab: Lab | None = None
    counted: int = 20 * ALWAYS
    """Updates whose labels and losses are counted one by one."""
    prior_suffices: bool = False
    """A loss below what the frequencies of the classes alone give counts as learned: much of a text is chance."""
    looked: int = 0
    _modules: dict[int, ModuleSeen] = field(default_factory=dict)
    _named_of: int = 0
    _evaluated_on: int = 0
    _inside: list[tuple[nn.Module, Counter[str]]] = field(default_factory=list)
    _parameters: dict[int, ParameterSeen] = field(default_factory=dict)
    _before: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def looks(self) -> bool:
        """Whether the present step is looked into."""
        return self._falls_due(ALWAYS)

    @property
    def counts(self) -> bool:
        """Whether labels and losses are counted at the present step, which costs less."""
        return self._falls_due(self.counted)

    def _falls_due(self, always: int) -> bool:
        return self.steps % 2 ** (self.steps // always).bit_length() == 0

    # events

    def enter(self, module: nn.Module) -> None:
        """Remember that what follows is inside it."""
        seen = self._modules.get(id(module))
        if seen is None or seen.reference() is not module:
            kind = type(module).__name__
            seen = ModuleSeen(weakref.ref(module), kind, len(self.modules), kind, _noise(module))
            seen.outermost = not self._inside
            seen.trainable = all(p.requires_grad for p in module.parameters(recurse=False))
            self._modules[id(module)] = seen
            self.modules.append(seen)
        self._inside.append((module, Counter()))

    def activation(self, kind: str, output: Tensor) -> None:
        """Look at the output."""
        module, calls = self._inside[-1] if self._inside else (None, Counter())
        ordinal = calls[kind]
        calls[kind] += 1
        if not output.requires_grad or not self.looks or output.ndim < 2:
            return
        inside = None if module is None else self._modules[id(module)]
        key = (-1 if inside is None else inside.number, kind, ordinal)
        seen = self.activations.get(key)
        if seen is None:
            seen = self.activations[key] = ActivationSeen(kind, inside, ordinal)
        seen.see(self.steps, output.detach())

    def forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Count it, in its mode."""
        while self._inside and self._inside.pop()[0] is not module:  # a call that ended in an error was never left
            pass
        if not self._inside:
            self.samples.called(module, args, output, self.steps, self.counts)
        seen = self._modules.get(id(module))
        if seen is None:
            return
        wants = any(t.requires_grad for t in _tensors(output))
        if wants:
            seen.learning += 1
            seen.learning_in_eval += not module.training
            if self.looks and self.non_finite is None:
                self._check(module, args, output)
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
            self._evaluated(kind, keywords, value, len(given) if given.ndim else 1)
            if not self.samples.evaluates_training_data:
                self.answers.evaluated(kind, given, target, _plain_mean(args, keywords, value), self.steps)
            return
        self.samples.lost(kind, given, target, self.looks)
        if self.counts:
            self.answers.trained(kind, given, target, self.steps)
            self._labelled(kind, given.detach(), target, args, keywords)
            if isinstance(value, Tensor) and value.numel() == 1 and _reduction(keywords) == "mean":
                self.trained.setdefault(kind, []).append((self.steps, float(value.detach())))
        calls = self.loss_calls.get(kind)
        if calls is None:
            calls = self.loss_calls[kind] = LossCalls(kind, line=line())
        calls.count += 1
        if not self.looks or given.ndim < 2 or not given.is_floating_point():
            return
        rows = given.detach().movedim(1, -1).float()
        calls.classes = rows.shape[-1]
        calls.looked += 1
        calls.columns += calls.classes == 1
        if calls.classes > 1:
            calls.probabilities += bool((rows >= 0).all()) and _is_one(rows.sum(-1))
            calls.log_probabilities += _is_one(rows.exp().sum(-1))

    def _evaluated(self, kind: str, keywords: dict[str, Any], value: Any, samples: int) -> None:
        """Join the calls between two updates to one evaluation."""
        how = _reduction(keywords)
        if not isinstance(value, Tensor) or value.numel() != 1 or how == "none":
            return
        mean = float(value.detach()) / (samples if how == "sum" else 1)
        of = self.evaluations.setdefault(kind, [])
        if of and of[-1][0] == self.steps:
            _, before, count = of.pop()
            mean, samples = (before * count + mean * samples) / (count + samples), count + samples
        of.append((self.steps, mean, samples))

    def _labelled(
        self, kind: str, scores: Tensor, target: Tensor, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        """Count the classes and those that were recognized, where the targets are classes."""
        if kind in ("cross_entropy", "nll_loss") and not target.is_floating_point() and scores.ndim > 1:
            classes, guess = scores.shape[1], scores.argmax(1).flatten()
            weights = keywords.get("weight", args[2] if len(args) > 2 else None)
        elif kind.startswith("binary_cross_entropy") and scores.shape == target.shape and _is_binary(target):
            classes, guess = 2, (scores > (0.0 if kind.endswith("logits") else 0.5)).flatten().long()
            weights = keywords.get("pos_weight", keywords.get("weight"))
        else:
            return
        label = target.flatten().long()
        inside = (label >= 0) & (label < classes)
        label, guess = label[inside], guess[inside]
        of = self.labels.setdefault(kind, Labels())
        of.weighted = of.weighted or weights is not None
        seen = torch.bincount(label, minlength=classes).cpu()
        right = torch.bincount(label[label == guess], minlength=classes).cpu()
        of.batches.append((self.steps, seen, right))

    def before_backward(self, roots: tuple[Tensor, ...], how: str, retain: bool) -> None:
        """See whose gradients of the update before are gone."""
        for of in self.updates.values():
            if of.used and not any(
                p.grad is not None and bool((p.grad._values() if p.grad.is_sparse else p.grad).count_nonzero())
                for p in of.held
            ):
                of.used = False
        for root in roots:
            if self.counts and root.numel() == 1:
                value = float(root.detach())
                self.losses.append((self.steps, value))
                if not math.isfinite(value) and self.non_finite is None:
                    self.non_finite = NonFinite(self.steps, "the loss", f"is {value}")

    def after_backward(self, roots: tuple[Tensor, ...]) -> None:
        """Count it."""
        self.backwards += 1

    def zero_grad(self) -> None:
        """Count it."""
        self.dropped += 1

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """See which parameters have a gradient."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        of = self.updates.get(id(optimizer))
        if of is None:
            of = self.updates[id(optimizer)] = Updates(type(optimizer).__name__, line=line())
        of.held = held
        if of.used:
            of.carried += 1
        else:
            of.fresh += 1
        if not self.looks:
            return
        self.looked += 1
        self._name()
        for name, owner, module, p in self._named():
            seen = self._parameters.setdefault(id(p), ParameterSeen(name, owner, tuple(p.shape), p.requires_grad))
            seen.wanted = p.requires_grad
            inside = self._modules.get(id(module))
            seen.called = seen.called or (inside is not None and inside.learning + inside.evaluating > 0)
            seen.gradients += p.grad is not None
            if p.grad is not None and name.endswith(".weight") and p.ndim > 1 and seen.called:
                self._layer(p, name, owner, module)
            if p.grad is not None and self.non_finite is None and not _is_finite(p.grad):
                self.non_finite = NonFinite(self.steps, f"the gradient of {name}", _what(p.grad))
        for p in held:
            if id(p) in self._parameters:
                self._parameters[id(p)].held = True

    def _layer(self, p: Tensor, name: str, owner: str, module: nn.Module) -> None:
        """Note how large the gradient of a weight is."""
        assert p.grad is not None
        if p.grad.is_sparse or isinstance(module, nn.Embedding):
            return
        layer = self.layers.get(id(p))
        if layer is None:
            rows = p.detach().flatten(1)
            alike = self.steps == 0 and len(rows) > 1 and bool((rows == rows[0]).all()) and bool((rows != 0).any())
            number = self._modules[id(module)].number
            he = math.sqrt(2 / max(1, rows.shape[1]))
            scale = float(rows.square().mean().sqrt()) / he if self.steps == 0 else None
            layer = self.layers[id(p)] = LayerGradient(name, owner, number, len(rows), alike, scale)
        sizes = [float(t.detach().float().square().mean().sqrt()) for t in (p.grad, p)]
        layer.sizes.append((self.steps, sizes[0], sizes[1]))
        self._before[id(p)] = (p, p.detach().clone())

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Count it, and see how far the weights have moved."""
        for number, (p, before) in self._before.items():
            ratio = float((p.detach() - before).norm()) / max(float(before.norm()), 1e-12)
            self.layers[number].changes.append((self.steps, ratio))
        self._before.clear()
        self.steps += 1
        self.samples.updated()
        self.updates[id(optimizer)].used = True

    # views

    @property
    def parameters(self) -> list[ParameterSeen]:
        """Those of the modules that were called to learn."""
        return list(self._parameters.values())

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

    def has_learned(self) -> bool:
        """The loss is positive, and less than a twentieth of what it was in the first ten updates, or of chance."""
        if self.prior_suffices and any(0 <= self.last_loss() < of.entropy() for of in self.labels.values()):
            return True
        first = [value for _, value in self.course()[:10]]
        for kind, calls in self.loss_calls.items():
            if kind in CHANCE and calls.classes > 1:
                first.append(math.log(calls.classes))
            elif kind.startswith("binary_cross_entropy"):
                first.append(math.log(2))
        return bool(first) and 0 <= self.last_loss() < 0.05 * min(first)

    def depth_ratio(self, since: int, until: int) -> float | None:
        """The gradient of the first third of the layers over that of the last, both relative to their weights.

        Medians over the layers and over the steps `since` to `until`; None where there is no such number.
        """
        sizes = []
        for layer in self.layers_in_order():
            there = [g / max(w, 1e-12) for step, g, w in layer.sizes if since <= step <= until and math.isfinite(g)]
            sizes.append(statistics.median(there or [0.0]))
        if not sizes or sizes[-1] == 0:
            return None
        return statistics.median(sizes[: max(1, len(sizes) // 3)]) / sizes[-1]

    def place_of(self, seen: ActivationSeen) -> str:
        """In words."""
        if seen.module is None:
            return f"{seen.kind} number {seen.ordinal + 1}"
        own = seen.module.kind.lower() == seen.kind
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

    def _named(self) -> list[tuple[str, str, nn.Module, nn.Parameter]]:
        return [
            (".".join([type(root).__name__, *([path] if path else []), name]), type(root).__name__, module, p)
            for root in self.roots()
            for path, module in root.named_modules()
            for name, p in module.named_parameters(recurse=False)
        ]

    def _check(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The first module that makes what is no number out of numbers."""
        bad = next((t for t in _tensors(output) if t.is_floating_point() and not bool(t.isfinite().all())), None)
        if bad is None:
            return
        given = [t for t in _tensors(args) if t.is_floating_point()]
        own = [p for p in module.parameters(recurse=False) if not bool(p.isfinite().all())]
        self._name()
        where = self._modules[id(module)].name
        if any(not bool(t.isfinite().all()) for t in given):
            self.non_finite = NonFinite(self.steps, f"the input of {where}", _what(bad))
        elif own:
            self.non_finite = NonFinite(self.steps, f"the weights of {where}", _what(own[0]))
        else:
            self.non_finite = NonFinite(self.steps, f"the output of {where}", _what(bad))


def _noise(module: nn.Module) -> str | None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "batch norm"
    return "dropout" if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 else None


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


def _reduction(keywords: dict[str, Any]) -> str:
    return keywords.get("reduction", "mean")


def _plain_mean(args: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> float | None:
    """The value of a loss, if it is the mean over samples that all count the same."""
    changed = any(keywords.get(name) is not None for name in ("weight", "pos_weight")) or len(args) > 2
    same = not changed and not keywords.get("label_smoothing") and _reduction(keywords) == "mean"
    return float(value) if same and isinstance(value, Tensor) and value.numel() == 1 else None


def _is_finite(t: Tensor) -> bool:
    return bool((t._values() if t.is_sparse else t).isfinite().all())


def _is_binary(target: Tensor) -> bool:
    return bool(((target == 0) | (target == 1)).all())


def _is_one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() < 1e-3).all())


def _what(t: Tensor) -> str:
    nan, count = int(t.isnan().sum()), t.numel()
    infinite = int(t.isinf().sum())
    parts = [f"{n} of {count} are {word}" for n, word in ((nan, "NaN"), (infinite, "infinite")) if n]
    return " and ".join(parts)
