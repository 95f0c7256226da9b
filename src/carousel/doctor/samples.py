"""What a record holds of the data: which rows were trained on and evaluated, and a few rows with their labels.

Only inputs of the outermost called module are data, and only where they need no gradient: what an encoder hands to a
head that the script calls itself is none. Rows are kept as hashes, so that a set of them is small.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Fed", "Pass", "Samples"]

MOST_ROWS = 20_000
"""Hashes kept of one module's training rows; of larger data, those whose hash ends in zeros, in training and evaluation
alike, so that a share of common rows stays what it is."""

MOST_MODULES = 32
"""Outermost modules looked at: an ensemble or a search makes many."""

WIDTH = 256
"""Elements of a row that are hashed: of an image these, spread over it by chance. It keeps the cost of a look small."""

LEAST_ROWS = 8
"""Rows of a call: with fewer, as when an agent acts, there is no telling a mixture."""

KEPT = 2_000_000
"""Numbers kept of rows with their labels (8 MB), at most `KEPT_ROWS` rows and `KEPT_OF_A_BATCH` of one batch."""

KEPT_ROWS, KEPT_OF_A_BATCH = 2000, 64

KEPT_SEQUENCES = 200
"""Rows of an evaluation that are kept."""

WAITING, WAITING_NUMBERS = 16, 2**18
"""Batches, and numbers in them, that are hashed in one go: of small ones that costs a fraction of one by one."""

RECENT, KNOWN, SELDOM = 10, 0.98, 8
"""Batches in which so large a share of the rows was known: the training has come round. From then on it is enough to
hash every so many batches."""

WHOLE, NONE = 0.9, 0.1
"""Share of a batch's rows that were trained on: from `WHOLE` on it is training data that are evaluated, up to `NONE`
other data; between them the two are mixed."""


@dataclass
class Pass:
    """The calls of a module without gradients between two updates; the same batch twice counts once.

    Attributes:
        step: updates before it.
        rows: hashes of its rows, but for those of batches that are training data as a whole.
        common: of these rows, how many were trained on.
        mixed: how many of those stand in batches that are partly of training rows and partly not.
        whole: rows of batches that are training data as a whole.
        covered: the training had come round: its last batches held hardly a row that was not trained on before.
        trained: how many different rows were trained on by then.
        again: the share of its rows that the pass before had too.
    """

    step: int
    rows: list[int] = field(default_factory=list)
    common: int = 0
    mixed: int = 0
    whole: int = 0
    covered: bool = False
    trained: int = 0
    again: float = 0.0
    batches: set[int] = field(default_factory=set)


@dataclass
class Fed:
    """What one module was given as the outermost one.

    Attributes:
        name: the class of the module.
        width: elements of a row.
        in_order: it has layers that go over time or space, so that a column is a place and no feature.
        trained: hashes of the rows of its calls with gradients wanted; batches that came last may still wait.
        pairs, twins: pairs of rows in one training batch, or in the first round through the training data, and of these
            the equal ones.
        passes: how many there were.
        judged: the last pass that a finding may rest on: `covered`, and of the rows of the pass before; of a script
            with a single pass, that one.
        per_row: no loss had another number of rows than it was given (as where only some nodes of a graph are judged).
        labelled: by kind of loss, rows with their targets.
        sequences: rows of the first pass that is `covered` and hashes of them, where rows may be pieces of a series.
    """

    name: str
    width: int
    in_order: bool
    trained: set[int] = field(default_factory=set)
    pairs: int = 0
    twins: int = 0
    passes: int = 0
    judged: Pass | None = None
    per_row: bool = True
    labelled: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    sequences: list[tuple[Tensor, list[int]]] = field(default_factory=list)
    _sequences_at: int | None = None
    _bits: int = 0
    _first: bool = True
    _recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RECENT))
    _pass: Pass | None = None
    _before: set[int] = field(default_factory=set)
    _calls: int = 0
    _round: bool = False
    _waiting: list[Tensor] = field(default_factory=list)
    _numbers: int = 0

    @property
    def covered(self) -> bool:
        """The training has come round."""
        seen, known = (sum(numbers) for numbers in zip(*self._recent, strict=True)) if self._recent else (1, 0)
        return known >= KNOWN * seen

    def close(self) -> None:
        """The present pass has ended, by an update or with the run."""
        done, self._pass = self._pass, None
        if done is None or not done.rows:
            return
        self.passes += 1
        done.again = sum(row in self._before for row in done.rows) / len(done.rows)
        self._before = set(done.rows)
        if self.judged is not None and self.judged.again == 0:  # it was the only one
            self.judged = None
        if done.covered and (self.passes == 1 or done.again >= 0.9):
            self.judged = done


@dataclass
class Samples:
    """Gathers what `Fed` holds, module by module."""

    fed: list[Fed] = field(default_factory=list)
    evaluates_training_data: bool = False
    """The last call without gradients was made with rows most of which had been trained on."""

    _of: dict[int, tuple[weakref.ref[nn.Module], Fed | None]] = field(default_factory=dict)
    _given: dict[int, tuple[Tensor, int, set[str]]] = field(default_factory=dict)
    _factors: dict[tuple[int, torch.device], tuple[Tensor | None, np.ndarray]] = field(default_factory=dict)

    def called(self, module: nn.Module, args: tuple[Any, ...], output: Any, step: int, counts: bool) -> None:
        """The outermost module was called."""
        x = next((a for a in args if isinstance(a, Tensor)), None)
        if x is None or x.ndim < 2 or x.requires_grad:
            return
        out = output if isinstance(output, Tensor) else next(_leaves(output), None)
        fed = self._fed(module, x)
        if fed is None or out is None:
            return
        if not out.requires_grad:
            if x.shape[0] >= LEAST_ROWS and (fed.trained or fed._waiting):
                self._evaluated(fed, x, step)
            return
        number = id(fed)
        _, calls, heard = self._given.get(number, (x, 0, {""}))
        self._given[number] = (x, 1 if heard else calls + 1, set())
        fed._calls += 1
        if counts and x.shape[0] >= 2 and (not fed._round or fed._calls % SELDOM == 0):
            self._wait(fed, x)

    def lost(self, kind: str, scores: Tensor, target: Tensor, looks: bool) -> None:
        """A loss with gradients wanted was made from the output of the last calls."""
        rows = scores.shape[0] if scores.ndim else 1
        for fed in self.fed:
            x, calls, heard = self._given.get(id(fed), (None, 0, set()))
            if x is None or kind in heard:
                continue
            heard.add(kind)
            given = x.shape[0]
            fed.per_row = fed.per_row and (given == 1 or rows % given == 0 or rows == 1)
            if not looks or calls != 1 or fed.in_order:
                continue
            plain = x.ndim == 2 and x.shape[1] >= 2 and x.is_floating_point()
            if plain and target.ndim and target.numel() == target.shape[0] == given:
                _keep(fed.labelled.setdefault(kind, []), x, target)

    def updated(self) -> None:
        """An update was made."""
        self._given.clear()
        for fed in self.fed:
            if fed._pass is not None:
                fed.close()

    def settle(self) -> None:
        """The run has ended, or is judged: nothing waits any more."""
        for fed in self.fed:
            self._hash(fed)
            fed.close()

    def others(self, fed: Fed, row: int) -> bool:
        """Whether another module was trained on a row."""
        return any(row in other.trained for other in self.fed if other is not fed)

    def _fed(self, module: nn.Module, x: Tensor) -> Fed | None:
        known = self._of.get(id(module))
        if known is not None and known[0]() is module:
            return known[1]
        if next(module.parameters(), None) is None:
            self._of[id(module)] = weakref.ref(module), None
            return None
        if len(self.fed) >= MOST_MODULES:
            return None
        ordered = (nn.RNNBase, nn.RNNCellBase, nn.modules.conv._ConvNd, nn.MultiheadAttention)
        fed = Fed(
            type(module).__name__, x[0].numel() if len(x) else 0, any(isinstance(m, ordered) for m in module.modules())
        )
        self.fed.append(fed)
        self._of[id(module)] = weakref.ref(module), fed
        return fed

    def _wait(self, fed: Fed, x: Tensor) -> None:
        rows = self._chosen(x)
        if fed._waiting and not _alike(rows, fed._waiting[0]):
            self._hash(fed)
        fed._waiting.append(rows)
        fed._numbers += rows.numel()
        if len(fed._waiting) >= WAITING or fed._numbers >= WAITING_NUMBERS:
            self._hash(fed)

    def _hash(self, fed: Fed) -> None:
        """Note the rows that wait."""
        if not fed._waiting:
            return
        waiting, fed._waiting, fed._numbers = fed._waiting, [], 0
        hashes, start = self._hashes(torch.cat(waiting)), 0
        for batch in waiting:
            self._trained(fed, hashes[start : start + len(batch)])
            start += len(batch)
        fed._round = fed.covered and len(fed._recent) == RECENT

    def _trained(self, fed: Fed, rows: list[int]) -> None:
        if fed._bits:
            rows = list(filter(_sampled(fed._bits), rows))
        old = sum(map(fed.trained.__contains__, rows))
        fed._recent.append((len(rows), old))
        fed._first = fed._first and old <= len(rows) / 2
        if fed._first:
            fed.pairs += len(rows) * len(fed.trained)
            fed.twins += old
        fed.pairs += len(rows) * (len(rows) - 1) // 2
        fed.twins += _twins(rows)
        fed.trained.update(rows)
        while len(fed.trained) > MOST_ROWS:
            fed._bits += 1
            sampled = _sampled(fed._bits)
            fed.trained = set(filter(sampled, fed.trained))
            fed._before = set(filter(sampled, fed._before))

    def _evaluated(self, fed: Fed, x: Tensor, step: int) -> None:
        self._hash(fed)
        rows = self._hashes(self._chosen(x))
        if fed._bits:
            rows = list(filter(_sampled(fed._bits), rows))
        if fed._pass is None:
            fed._pass = Pass(step, covered=fed.covered, trained=len(fed.trained))
        now, batch, common = fed._pass, hash(tuple(rows)), sum(row in fed.trained for row in rows)
        self.evaluates_training_data = bool(rows) and common > len(rows) / 2
        if batch in now.batches or len(rows) < LEAST_ROWS or len(now.rows) > MOST_ROWS:
            return
        now.batches.add(batch)
        if common >= WHOLE * len(rows):
            now.whole += len(rows)
            return
        _keep_sequences(fed, now, x, rows)
        now.rows += rows
        now.common += common
        now.mixed += common if common > NONE * len(rows) else 0

    def _chosen(self, x: Tensor) -> Tensor:
        """The elements of the rows that are hashed, as a copy."""
        x = x.detach().flatten(1)
        columns, _ = self._factors_of(x)
        return x.clone() if columns is None else x.index_select(1, columns)

    def _hashes(self, x: Tensor) -> list[int]:
        """One number a row, the same wherever the row stands in whichever batch: whole numbers add up exactly."""
        _, factors = self._factors_of(x)
        if x.is_complex():
            x = torch.view_as_real(x).flatten(1)
        if x.is_floating_point():
            x = x.contiguous().view(torch.int16 if x.element_size() == 2 else torch.int32)
        return (x.cpu().numpy().astype(np.int64) @ factors[: x.shape[1]]).tolist()

    def _factors_of(self, x: Tensor) -> tuple[Tensor | None, np.ndarray]:
        key = x.shape[1], x.device
        if key not in self._factors:
            own = torch.Generator().manual_seed(0)  # the script's random numbers stay as they are
            columns = torch.randperm(key[0], generator=own)[:WIDTH].to(x.device) if key[0] > WIDTH else None
            factors = torch.randint(-(2**62), 2**62, (4 * min(key[0], WIDTH),), generator=own) * 2 + 1
            if len(self._factors) > 64:  # every text has another length
                self._factors.clear()
            self._factors[key] = columns, factors.numpy()
        return self._factors[key]


def _leaves(value: Any) -> Any:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape[1] == b.shape[1] and a.dtype == b.dtype and a.device == b.device


def _sampled(bits: int) -> Callable[[int], bool]:
    mask = (1 << bits) - 1
    return lambda row: not (row >> 40) & mask  # the low bits of a row of round numbers are zero


def _twins(rows: list[int]) -> int:
    return sum(n * (n - 1) // 2 for n in Counter(rows).values()) if len(set(rows)) < len(rows) else 0


def _keep_sequences(fed: Fed, now: Pass, x: Tensor, hashes: list[int]) -> None:
    room = min(KEPT_SEQUENCES, KEPT // max(1, fed.width)) - sum(len(h) for _, h in fed.sequences)
    same = fed._sequences_at in (None, now.step) and len(hashes) == len(x)
    if now.covered and same and room > 0 and x.ndim in (2, 3) and x.is_floating_point():
        fed._sequences_at = now.step
        fed.sequences.append((x[:room].detach().clone().cpu(), hashes[:room]))


def _keep(pairs: list[tuple[Tensor, Tensor]], x: Tensor, target: Tensor) -> None:
    room = min(KEPT_ROWS, KEPT // x.shape[1]) - sum(y.shape[0] for _, y in pairs)
    if room > 0:
        n = min(room, KEPT_OF_A_BATCH)
        pairs.append((x[:n].detach().double().cpu(), target.detach().flatten()[:n].double().cpu()))
