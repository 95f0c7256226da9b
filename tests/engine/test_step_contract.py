"""What a cell's `step`, `initial_state` and `begin` may return, and what they may not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carousel import Cell, weight
from carousel.cells import LSTM, MultiTapRNN
from carousel.errors import CellError
from carousel.nn import Recurrent


class Base(Cell):
    """Two states, h (4) and m (2, 3)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": hidden_size, "m": (2, 3)}
        self.w = weight(hidden_size, input_size)
        self.count = 0

    def result(self, y: Tensor, h: Tensor, m: Tensor) -> Any:
        return y, (h, m)

    def step(self, x, state):
        h, m = state
        y = torch.tanh(x @ self.w.T + h)
        return self.result(y, y, m + 1)


def run(cell: type[Cell] | Cell, time: int = 3, batch: int = 2) -> Any:
    layer = Recurrent([cell]) if isinstance(cell, Cell) else Recurrent(cell, 3, 4)
    return layer(torch.zeros(time, batch, 3))


def returning(function: Any) -> type[Cell]:
    """A cell class whose step returns what `function(y, h, m)` makes."""
    return type("Odd", (Base,), {"result": lambda self, *parts: function(*parts)})


def test_the_base_is_fine() -> None:
    output, (h, m) = run(Base)
    assert output.shape == (3, 2, 4)
    assert h.shape == (1, 2, 4)
    assert torch.equal(m, torch.full((1, 2, 2, 3), 3.0))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y, h, m: y, r"Odd.step\(\) must return \(output, new_state\); it returned a Tensor"),
        (lambda y, h, m: None, r"must return \(output, new_state\); it returned a NoneType"),
        (lambda y, h, m: (y, h, m), r"must return \(output, new_state\); it returned a tuple"),
        (lambda y, h, m: (y, h), r"Odd.step\(\) must give a tuple of 2 state\(s\), h, m; it gave a Tensor"),
        (lambda y, h, m: (y, (h,)), r"a tuple of 2 state\(s\), h, m; it gave 1 of them"),
        (lambda y, h, m: (y, (h, m, m)), r"2 state\(s\), h, m; it gave 3 of them"),
        (
            lambda y, h, m: (y, (h, m[:, :1])),
            r"state 'm' with shape \(2, 1, 3\); state_sizes declares \(2, 2, 3\), that is \(batch, 2, 3\)",
        ),
        (lambda y, h, m: (y, (h[0], m)), r"state 'h' with shape \(4,\); state_sizes declares \(2, 4\)"),
        (lambda y, h, m: (y, (m, h)), r"state 'h' with shape \(2, 2, 3\); state_sizes declares \(2, 4\)"),
        (lambda y, h, m: (y, (h, 1.0)), r"state 'm' with a float; state_sizes declares \(2, 2, 3\)"),
        (lambda y, h, m: (y[:, :3], (h, m)), r"output of shape \(2, 3\); expected \(2, 4\), .*Set self.output_size"),
        (lambda y, h, m: (y.T, (h, m)), r"output of shape \(4, 2\); expected \(2, 4\)"),
        (lambda y, h, m: (1, (h, m)), r"output of a int; expected \(2, 4\)"),
    ],
)
def test_what_step_returns(function: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        run(returning(function))


def test_lists_instead_of_tuples_are_fine() -> None:
    output, (h, m) = run(returning(lambda y, h, m: [y, [h, m]]))
    expected, (h_expected, m_expected) = run(Base)
    assert output.shape == expected.shape
    assert h.shape == h_expected.shape
    assert torch.equal(m, m_expected)


def test_states_with_delays_return_one_new_state() -> None:
    class Both(MultiTapRNN):
        def step(self, x, state):
            output, (h,) = super().step(x, state)
            return output, ((h, h, h),)

    with pytest.raises(CellError, match=r"Both.step\(\) gave state 'h' with a tuple; state_sizes declares \(2, 4\)"):
        run(Both)


def _adds_to_state(self, x, state):
    h, m = state
    h += 1
    return h, (h, m)


def _adds_to_shaped_state(self, x, state):
    h, m = state
    m.mul_(2)
    return h, (h, m)


def _adds_to_input(self, x, state):
    h, m = state
    x[:, 0] = 1
    return h, (h, m)


@pytest.mark.parametrize("step", [_adds_to_state, _adds_to_shaped_state, _adds_to_input])
def test_in_place_changes(step: Any) -> None:
    with pytest.raises(
        CellError, match=r"Bad.step\(\) changes its input or state in place; make new tensors, as `h = h \+ 1`"
    ):
        run(type("Bad", (Base,), {"step": step}))


def test_in_place_change_of_a_delay_line() -> None:
    class Bad(MultiTapRNN):
        def step(self, x, state):
            state[0][2].zero_()
            return super().step(x, state)

    layer = Recurrent(Bad, 3, 4)
    with pytest.raises(CellError, match=r"Bad.step\(\) changes its input or state in place"):
        layer(torch.zeros(3, 2, 3), (torch.ones(1, 8, 2, 4),))


def test_in_place_on_tensors_of_its_own_is_fine() -> None:
    class Fine(Base):
        def step(self, x, state):
            h, m = state
            y = x @ self.w.T
            y += h
            y.tanh_()
            return y, (y, m + 1)

    assert torch.equal(run(Fine)[0], torch.zeros(3, 2, 4))


def _counts(self, x, state):
    self.count += 1
    return Base.step(self, x, state)


def _new_attribute(self, x, state):
    self.last = state[0]
    return Base.step(self, x, state)


def _new_parameter(self, x, state):
    self.extra = nn.Parameter(torch.zeros(1))
    return Base.step(self, x, state)


@pytest.mark.parametrize(("step", "name"), [(_counts, "count"), (_new_attribute, "last"), (_new_parameter, "extra")])
def test_assignment_to_self(step: Any, name: str) -> None:
    cell = type("Bad", (Base,), {"step": step})(3, 4)
    with pytest.raises(CellError, match=rf"Bad.step\(\) sets self.{name}. A step must be pure: .*declare '{name}' in"):
        run(cell)
    assert cell.count == 0
    cell.count = 5  # outside of a step it is allowed, also after the error
    assert cell.count == 5


def test_a_step_that_fails_fails_with_its_own_error() -> None:
    class Broken(Base):
        def step(self, x, state):
            raise ZeroDivisionError("mine")

    cell = Broken(3, 4)
    with pytest.raises(ZeroDivisionError, match="mine"):
        run(cell)
    cell.count = 1


class Starting(Base):
    """With whatever start it is given."""

    def __init__(self, start: Any):
        super().__init__(3, 4)
        self.start = start

    def initial_state(self, batch, *, dtype, device):
        return self.start(batch)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda b: None, r"Starting.initial_state\(\) must give a tuple of 2 state\(s\), h, m; it gave a NoneType"),
        (lambda b: torch.zeros(b, 4), r"a tuple of 2 state\(s\), h, m; it gave a Tensor"),
        (lambda b: (torch.zeros(b, 4),), r"it gave 1 of them"),
        (
            lambda b: (torch.zeros(b, 5), torch.zeros(b, 2, 3)),
            r"initial_state\(\) gave state 'h' with shape \(2, 5\); state_sizes declares \(2, 4\)",
        ),
        (lambda b: (torch.zeros(4), torch.zeros(b, 2, 3)), r"state 'h' with shape \(4,\)"),
        (lambda b: (0.0, torch.zeros(b, 2, 3)), r"state 'h' with a float"),
    ],
)
def test_wrong_initial_state(start: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        run(Starting(start))
    layer = Recurrent([Starting(start)])
    state = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 2, 3))
    with pytest.raises(CellError, match=words):  # asked for by a reset only
        layer(torch.zeros(3, 2, 3), state, reset=torch.zeros(3, 2, dtype=torch.bool))


def test_initial_state_may_be_a_list() -> None:
    output, _ = run(Starting(lambda b: [torch.ones(b, 4), torch.zeros(b, 2, 3)]))
    torch.testing.assert_close(output[0], torch.tanh(torch.ones(2, 4)))


def test_branches_on_training_and_on_attributes() -> None:
    class Branching(Base):
        flip = False

        def step(self, x, state):
            y, new = super().step(x + 1, state)
            y = 2 * y if self.training else y
            return (-y if self.flip else y), new

    layer = Recurrent(Branching, 3, 4)
    x = torch.zeros(3, 2, 3)
    training, _ = layer(x)
    layer.eval()
    evaluating, _ = layer(x)
    assert torch.equal(training, 2 * evaluating)
    layer.cells[0].flip = True
    assert torch.equal(layer(x)[0], -evaluating)
    assert evaluating.any()


class Begun(Base):
    """Records what it is given."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "seen", [])

    def begin(self, time, batch, generator):
        self.calls.append((time, batch, generator))
        steps = torch.arange(time).view(time, 1, 1).expand(time, batch, self.hidden_size)
        return {"gain": torch.tensor(3.0)}, {"step": steps}

    def step(self, x, state, extra):
        self.seen.append(extra)
        h, m = state
        return extra["gain"] + extra["step"], (h, m)


def test_begin_is_called_once_and_its_values_reach_their_step() -> None:
    layer = Recurrent(Begun, 3, 4, backend="reference")
    (cell,) = layer.cells
    generator = torch.Generator()
    output, _ = layer(torch.zeros(5, 2, 3), generator=generator)
    assert cell.calls == [(5, 2, generator)]
    assert [sorted(extra) for extra in cell.seen] == [["gain", "step"]] * 5
    assert torch.equal(output, 3 + torch.arange(5.0).view(5, 1, 1).expand(5, 2, 4))


def test_begin_goes_with_the_direction() -> None:
    layer = Recurrent(Begun, 3, 4, bidirectional=True)
    output, _ = layer(torch.zeros(5, 2, 3), lengths=torch.tensor([5, 2]))
    backward = output[..., 4:]
    assert torch.equal(backward[:, 0, 0], 3 + torch.arange(4.0, -1, -1))
    assert torch.equal(backward[:, 1, 0], torch.tensor([4.0, 3.0, 0.0, 0.0, 0.0]))


def test_begin_without_anything() -> None:
    class Empty(Base):
        def begin(self, time, batch, generator):
            return {}, {}

        def step(self, x, state, extra):
            assert extra == {}
            return super().step(x, state)

    assert torch.equal(run(Empty)[0], torch.zeros(3, 2, 4))


def test_begin_with_a_wrong_time() -> None:
    class Short(Begun):
        def begin(self, time, batch, generator):
            return {}, {"noise": torch.zeros(time - 1, batch)}

    with pytest.raises(CellError, match=r"Short.begin\(\) gave per-step 'noise' of shape \(2, 2\); .* must be 3"):
        run(Short)


def test_random_numbers_come_from_the_generator() -> None:
    class Masked(Cell):
        def begin(self, time, batch, generator):
            return {"mask": torch.rand(batch, self.hidden_size, generator=generator) < 0.5}, {}

        def step(self, x, state, extra):
            (h,) = state
            h = h + x * extra["mask"]
            return h, (h,)

    layer = Recurrent(Masked, 4, 4)
    x = torch.ones(6, 3, 4)
    first = layer(x, generator=torch.Generator().manual_seed(1))[0]
    torch.rand(7)
    assert torch.equal(layer(x, generator=torch.Generator().manual_seed(1))[0], first)
    assert not torch.equal(layer(x, generator=torch.Generator().manual_seed(2))[0], first)
    mask = first[0] > 0
    assert torch.equal(first[-1], 6.0 * mask), "the mask must be the same at every step"
    assert not mask.all()
    assert mask.any()


def test_a_cell_inside_a_cell() -> None:
    class Outer(Cell):
        def __init__(self, input_size: int, hidden_size: int):
            super().__init__(input_size, hidden_size)
            self.inner = LSTM(input_size, hidden_size)
            self.state_sizes = self.inner.state_sizes

        def step(self, x, state):
            return self.inner.step(x, state)

    layer = Recurrent(Outer, 3, 4)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(layer(x)[0], Recurrent([layer.cells[0].inner], backend="reference")(x)[0])
