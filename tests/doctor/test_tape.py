"""A recorded step, done again from the same weights, gives the same loss and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor.recorder import Recorder
from carousel.doctor.tape import Call, Tape
from carousel.doctor.through_time import LAYERS, _packed, is_packed, of_tape
from carousel.doctor.watch import Watch


class Keep:
    """Weights and gradients before each update."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []
        self.gradients: list[list[Tensor | None]] = []

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        self.weights.append([p.detach().clone() for p in held])
        self.gradients.append([None if p.grad is None else p.grad.clone() for p in held])


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 2 * grad * ctx.saved_tensors[0]


class Loop(nn.Module):
    """Steps written by hand, into a tensor made before them."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, out = torch.zeros(len(x), 5), torch.zeros(len(x), x.shape[1], 5)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out[:, t] = h
        return self.head(out).mean(1)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y += 1.0
        half = y[:, :2]
        half *= 3.0
        y.mul_(2.0).relu_()
        return self.b(y) - y.max().detach()


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(Square.apply(self.a(x)))  # pyright: ignore[reportArgumentType]


def layered(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    class Layered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = kind(3, 4, num_layers=2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    return Layered


def rows() -> Tensor:
    return torch.randn(6, 3)


def sequences() -> Tensor:
    return torch.randn(6, 5, 3)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "plain": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), rows),
    "batch norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)), rows),
    "convolution": (
        lambda: nn.Sequential(nn.Conv1d(5, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)),
        sequences,
    ),
    "attention": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(3, 1, 8, 0.0, batch_first=True), nn.Flatten(), nn.Linear(15, 2)
        ),
        sequences,
    ),
    "in place": (InPlace, rows),
    "own function": (Own, rows),
    "loop": (Loop, sequences),
    "LSTM": (layered(nn.LSTM), sequences),
    "GRU": (layered(nn.GRU), sequences),
    "RNN": (layered(nn.RNN), sequences),
}


def record(train: Callable[[], None], tapes: int = 4) -> tuple[Recorder, Keep]:
    recorder, keep = Recorder(tapes), Keep()
    try:
        with Watch(recorder, keep):
            train()
    finally:
        recorder.close()
    assert torch._C._len_torch_function_stack() == 0
    return recorder, keep


def assert_replays(recorder: Recorder, keep: Keep, held: list[Tensor]) -> None:
    for tape in recorder.tapes:
        assert_is(tape, keep.weights[tape.step], keep.gradients[tape.step], held)


def assert_is(tape: Tape, weights: list[Tensor], gradients: list[Tensor | None], held: list[Tensor]) -> None:
    with torch.no_grad():
        for p, before in zip(held, weights, strict=True):
            p.copy_(before)
            p.grad = None
    roots = tape.replay()
    assert [float(root.detach()) for root in roots] == tape.values
    for p, gradient in zip(held, gradients, strict=True):
        assert (p.grad is None) == (gradient is None)
        assert p.grad is None or torch.equal(p.grad, gradient)  # pyright: ignore[reportArgumentType]
    assert [float(root.detach()) for root in tape.replay(backward=False)] == tape.values


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_step_is_done_again_to_the_bit(kind: str) -> None:
    torch.manual_seed(0)
    make, data = NETWORKS[kind]
    net = make()
    held: list[Tensor] = list(net.parameters())
    rule = torch.optim.Adam(held, lr=0.01)

    def train() -> None:
        for _ in range(6):
            x, y = data(), torch.randint(2, (6,))
            loss = F.cross_entropy(net(x), y)
            rule.zero_grad()
            loss.backward()
            rule.step()

    recorder, keep = record(train)
    assert recorder.why_not is None
    assert [tape.step for tape in recorder.tapes] == [0, 1, 2, 3]
    assert_replays(recorder, keep, held)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_step_by_step(kind: str) -> None:
    torch.manual_seed(0)
    rnn: nn.RNNBase = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    rule = torch.optim.SGD(rnn.parameters(), lr=0.1)
    given = nn.utils.rnn.pack_padded_sequence(torch.randn(6, 7, 3), torch.tensor([7, 5, 5, 2, 1, 1]), batch_first=True)

    def train() -> None:
        for _ in range(2):
            rule.zero_grad()
            rnn(given)[0].data.square().mean().backward()
            rule.step()

    tape = record(train)[0].tapes[-1]
    (call,) = (call for call in tape.calls if call.name in LAYERS)

    def change(at: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if at is call:
            assert is_packed(args)
            for ours, theirs in zip(_packed(at.name, *args)[0], at.function(*args, **keywords), strict=True):
                assert torch.allclose(ours, theirs, atol=1e-6)

    tape.replay(backward=False, change=change)
    found = of_tape(tape)
    assert found is not None
    assert len(found.last) == 7


def test_accumulation_clipping_and_metrics() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    held: list[Tensor] = list(net.parameters())
    rule = torch.optim.SGD(held, lr=0.1, momentum=0.9)
    right, total = torch.zeros(()), 0.0

    def train() -> None:
        nonlocal total
        for _ in range(3):
            rule.zero_grad()
            for _ in range(2):
                x, y = rows(), torch.randint(2, (6,))
                scores = net(x)
                loss = F.cross_entropy(scores, y)
                (loss / 2).backward()
                total += loss.item()
                right.add_((scores.argmax(1) == y).sum())
            nn.utils.clip_grad_norm_(held, 0.01)
            rule.step()
            with torch.no_grad():
                net(rows())

    recorder, keep = record(train)
    assert len(recorder.tapes) == 3
    assert all(len(tape.values) == 2 and tape.clips for tape in recorder.tapes)
    assert {call.name for call in recorder.tapes[0].calls}.isdisjoint({"argmax", "item", "eq", "add_"})
    assert_replays(recorder, keep, held)
    assert float(right) > 0


def test_a_state_that_is_carried_and_detached() -> None:
    torch.manual_seed(0)
    cell, head = nn.LSTMCell(3, 4), nn.Linear(4, 2)
    held: list[Tensor] = [*cell.parameters(), *head.parameters()]
    rule = torch.optim.Adam(held)

    def train() -> None:
        state = (torch.zeros(6, 4), torch.zeros(6, 4))
        for _ in range(5):
            rule.zero_grad()
            state = tuple(s.detach() for s in state)
            for _ in range(3):
                state = cell(rows(), state)
            head(state[0]).square().mean().backward()
            rule.step()

    recorder, keep = record(train)
    assert len(recorder.tapes) == 4
    assert_replays(recorder, keep, held)


def test_something_else_in_its_place() -> None:
    net = nn.Linear(3, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    x = rows()

    def train() -> None:
        rule.zero_grad()
        net(x).square().mean().backward()
        rule.step()

    recorder, _ = record(train)
    (tape,) = recorder.tapes
    (number,) = [n for n, t in tape.given.items() if not t.requires_grad]
    expected = F.linear(2 * x, net.weight, net.bias).square().mean()
    assert torch.equal(tape.replay(backward=False, given={number: 2 * x})[0], expected)
    doubled = tape.replay(
        backward=False, change=lambda call, args, keywords: F.linear(2 * args[0], *args[1:]) if call.weighs else None
    )
    assert torch.equal(doubled[0], expected)
    assert tape.fresh
    x.mul_(2.0)
    assert not tape.fresh


def penalty() -> None:
    net = nn.Linear(3, 1)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        x = rows().requires_grad_()
        out = net(x).sum()
        (grad,) = torch.autograd.grad(out, x, create_graph=True)
        rule.zero_grad()
        (out + grad.square().sum()).backward()
        rule.step()


def under_autocast() -> None:
    net = nn.Linear(3, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        rule.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(rows()).square().mean()
        loss.backward()
        rule.step()


@pytest.mark.parametrize(
    ("train", "words"),
    [(penalty, "gives its gradients"), (under_autocast, "autocast")],
)
def test_what_cannot_be_recorded_says_why(train: Callable[[], None], words: str) -> None:
    recorder, _ = record(train)
    assert recorder.why_not is not None
    assert words in recorder.why_not


def test_memory_is_bounded() -> None:
    net = nn.Linear(1000, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)

    def train() -> None:
        for _ in range(10):
            rule.zero_grad()
            net(torch.randn(50, 1000)).square().mean().backward()
            rule.step()

    recorder = Recorder(10, memory=500_000)
    with Watch(recorder):
        train()
    recorder.close()
    assert len(recorder.tapes) == 3
    assert "batches take more than" in str(recorder.why_not)


def test_a_mode_of_the_script_is_left_alone() -> None:
    net = nn.Linear(3, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)

    def train() -> None:
        for _ in range(3):
            rule.zero_grad()
            net(rows()).square().mean().backward()
            rule.step()

    def in_a_mode() -> None:
        with torch.device("cpu"):
            train()

    recorder, _ = record(in_a_mode)
    assert "function mode" in str(recorder.why_not)
    recorder, _ = record(train)
    assert len(recorder.tapes) == 3


def test_an_evaluation_with_gradients_holds_no_memory() -> None:
    net = nn.Linear(1000, 1000)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)

    def train() -> None:
        for _ in range(3):
            rule.zero_grad()
            net(torch.randn(2, 1000)).square().mean().backward()
            rule.step()
            for _ in range(20):
                net(torch.randn(100, 1000))

    recorder = Recorder(10, memory=500_000)
    with Watch(recorder):
        train()
    recorder.close()
    assert len(recorder.tapes) == 1
    assert "too large tensors" in str(recorder.why_not)


@pytest.mark.parametrize("part", ["_marked", "_note"])
def test_an_error_of_ours_does_not_reach_the_script(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(3, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)

    def wrong(*_: object) -> None:
        raise KeyError("no")

    def train() -> None:
        for _ in range(3):
            rule.zero_grad()
            net(rows()).square().mean().backward()
            rule.step()

    monkeypatch.setattr(Recorder, part, wrong)
    recorder, _ = record(train)
    assert recorder.tapes == []
    assert "could not be noted" in str(recorder.why_not)
