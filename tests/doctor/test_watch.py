"""What a watch tells, and what it leaves alone to cost little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from carousel.doctor.record import ALWAYS, Record
from carousel.doctor.watch import Watch

from .planted import Run, blobs, mlp


class Told:
    """Names of modules, activations and losses; the insides of every second call are left out."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.calls = 0

    def enter(self, module: nn.Module, learning: bool) -> bool:
        self.names.append(type(module).__name__)
        self.calls += isinstance(module, nn.Sequential)
        return self.calls % 2 == 1

    def activation(self, kind: str, output: Tensor) -> None:
        self.names.append(kind)

    def forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.names.append(f"/{type(module).__name__}")

    def loss(self, kind: str, args: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> None:
        self.names.append(kind)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no")


def test_what_is_inside_is_left_out_where_nobody_wants_it() -> None:
    net, told = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), Told()
    with Watch(told):
        for _ in range(2):
            F.mse_loss(net(torch.randn(3, 2)), torch.zeros(3, 2))
    whole = ["Sequential", "Linear", "/Linear", "ReLU", "relu", "/ReLU", "/Sequential", "mse_loss"]
    assert told.names == [*whole, "Sequential", "/Sequential", "mse_loss"]


def test_a_call_that_failed_is_left_at_the_next_backward() -> None:
    net, told = nn.Sequential(Fails()), Told()
    told.calls = 1
    with Watch(told):
        with pytest.raises(ValueError, match="no"):
            net(torch.zeros(1))
        torch.zeros(1, requires_grad=True).sum().backward()
        nn.ReLU()(torch.zeros(1))
    assert told.names == ["Sequential", "ReLU", "/ReLU"]


def test_networks_trained_in_turns_are_both_looked_at() -> None:
    nets = nn.Linear(2, 1), nn.Linear(2, 1)
    rules = [torch.optim.SGD(net.parameters(), lr=0.1) for net in nets]
    record = Record()
    with Watch(record):
        for step in range(20 * ALWAYS):
            rules[step % 2].zero_grad()
            nets[step % 2](torch.randn(4, 2)).square().mean().backward()
            rules[step % 2].step()
    late = [[step for step, _, _ in layer.sizes if step >= 10 * ALWAYS] for layer in record.layers.values()]
    assert [len(steps) >= ALWAYS // 6 for steps in late] == [True, True]


def test_a_mode_of_the_script_does_not_see_the_looks() -> None:
    class Count(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            return func(*args, **(kwargs or {}))

    def calls() -> int:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        rule = torch.optim.SGD(net.parameters(), lr=0.1)
        with Count() as count:
            for _ in range(3):
                F.mse_loss(net(torch.ones(3, 2)), torch.zeros(3, 2)).backward()
                rule.step()
        return count.calls

    alone = calls()
    with Watch(Record()):
        assert calls() == alone


def test_it_changes_nothing(findings: Callable) -> None:
    def trained(watch: bool) -> list[Tensor]:
        torch.manual_seed(3)
        run = Run(mlp(nn.Dropout(0.5), nn.BatchNorm1d(32), nn.ReLU()), *blobs(), dev=blobs(100))
        if watch:
            with Watch(Record()):
                run()
        else:
            run()
        return [*run.net.state_dict().values(), torch.rand(3)]

    before = [getattr(owner, name) for owner, name in ((F, "relu"), (torch, "tanh"), (Tensor, "sigmoid"))]
    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))
    assert before == [getattr(owner, name) for owner, name in ((F, "relu"), (torch, "tanh"), (Tensor, "sigmoid"))]
    assert "relu" not in vars(Tensor)


@pytest.mark.parametrize("phi", [nn.ELU(), nn.GELU(), nn.LeakyReLU(), nn.SELU(), nn.SiLU(), nn.Softplus(), nn.Mish()])
def test_other_activations_are_seen_by_their_sizes(phi: nn.Module) -> None:
    record = Record()
    with Watch(record):
        Run(mlp(phi), *blobs(), epochs=1)()
    (seen,) = record.activations.values()
    assert seen.kind.replace("_", "") == type(phi).__name__.lower()
    assert seen.sizes
    assert seen.first
    assert (seen.alive, seen.limits, seen.idle) == ([], [], None)
    assert record.place_of(seen) == "Sequential.1"
