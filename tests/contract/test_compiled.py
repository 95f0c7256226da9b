"""The compiled backend is the plain loop: values and every gradient, for every cell, in every way to call it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils import deterministic

from carousel.engine import plan
from carousel.errors import CellError
from carousel.nn import Recurrent

from . import user_cells
from .cases import CASES, REGISTERED, Case, by_name, names, normal
from .helpers import (
    SUMMED,
    assert_equals_the_loop,
    assert_near,
    everything,
    gradients,
    random_state,
    tensors,
    weighted_sum,
)

SIZES = [  # dtype, time, batch, hidden: every value of each with both precisions
    (torch.float64, 257, 3, 7),
    (torch.float64, 31, 33, 64),
    (torch.float64, 2, 1, 130),
    (torch.float64, 1, 33, 1),
    (torch.float32, 31, 33, 130),
    (torch.float32, 1, 3, 64),
    (torch.float32, 257, 1, 7),
    (torch.float32, 2, 33, 1),
]

SOME = [
    by_name(name)
    for name in (
        "lstm-peephole", "gru", "layer-norm-peephole-lstm", "multi-tap", "two-states", "min-gru", "block-gru",
        "learned-start", "zoneout", "fast-weights",
    )
]  # fmt: skip
"""One of each kind, for what does not depend on the equations."""

DAILY = {case.name for case in [*REGISTERED, *SOME]}
"""These run at all sizes and in all ways by default, the others at one size and in two ways; the rest with `-m slow`.

Every cell, precision and combination of lengths and resets is a program of its own, and half of the time of this file
goes into compiling them.
"""


def _tier(case: Case, default: bool = False) -> tuple[pytest.MarkDecorator, ...]:
    return () if default or case.name in DAILY else (pytest.mark.slow,)


all_cases = pytest.mark.parametrize("case", CASES, ids=names(CASES))
daily_cases = pytest.mark.parametrize("case", [pytest.param(c, id=c.name, marks=_tier(c)) for c in CASES])
some_cases = pytest.mark.parametrize("case", SOME, ids=names(SOME))


@pytest.fixture(autouse=True)
def _nan_in_new_memory() -> Iterator[None]:
    """Fill what `torch.empty` returns with NaN, so that a number that was never written shows."""
    assert deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _problem(
    case: Case,
    time: int = 9,
    batch: int = 4,
    hidden: int = 5,
    layers: int = 1,
    *,
    inputs: int = 2,
    dtype: torch.dtype = torch.float64,
    **keywords: Any,
) -> tuple[Recurrent, Tensor, tuple[Tensor, ...]]:
    """A compiled layer, an input and an initial state, all of which ask for a gradient."""
    layer = case.layer(inputs, hidden, layers, dtype=dtype, backend="cpu", **keywords)
    x = normal(time, batch, case.features(inputs), seed=1, dtype=dtype).requires_grad_()
    return layer, x, random_state(layer, batch, seed=2, dtype=dtype)


def _run(layer: Recurrent, x: Tensor, state: Any = None, **keywords: Any) -> Any:
    return layer(x, state, generator=torch.Generator().manual_seed(1), **keywords)


def _loop(layer: Recurrent) -> Recurrent:
    """The same parameters, in the plain loop."""
    other = copy.copy(layer)
    other.backend = "reference"
    return other


SIZED = [
    pytest.param(
        case,
        *size,
        id=f"{case.name}-{str(size[0])[6:]}-time{size[1]}-batch{size[2]}-hidden{size[3]}",
        marks=_tier(case, size == SIZES[0]),
    )
    for case in CASES
    for size in SIZES
]


@pytest.mark.parametrize(("case", "dtype", "time", "batch", "hidden"), SIZED)
def test_sizes(case: Case, dtype: torch.dtype, time: int, batch: int, hidden: int) -> None:
    layer, x, state = _problem(case, time, batch, hidden, inputs=5, dtype=dtype)
    assert_equals_the_loop(layer, x, state)


LENGTHS = torch.tensor([9, 4, 0, 1])
RESET = torch.rand(9, 4, generator=torch.Generator().manual_seed(5)) < 0.3
RESET[0, 0] = True
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "own-start": ({}, {}),
    "lengths": ({}, {"lengths": LENGTHS}),
    "reset": ({}, {"reset": RESET}),
    "lengths-and-reset": ({}, {"lengths": LENGTHS, "reset": RESET}),
    "both-directions": ({"bidirectional": True}, {}),
    "two-layers": ({"layers": 2, "dropout": 0.0}, {}),
    "all-of-it": ({"layers": 2, "bidirectional": True, "skip": True}, {"lengths": LENGTHS, "reset": RESET}),
}


ALONE = [("lengths", case) for case in SOME] + [("reset", case) for case in SOME]
RUNS = ALONE + [(way, case) for way in WAYS if way not in ("lengths", "reset") for case in CASES]


@pytest.mark.parametrize(
    ("way", "case"),
    [
        pytest.param(way, case, id=f"{case.name}-{way}", marks=_tier(case, way in ("own-start", "all-of-it")))
        for way, case in RUNS
    ],
)
def test_ways_to_run(way: str, case: Case) -> None:
    options, keywords = WAYS[way]
    layer, x, state = _problem(case, **options)
    assert_equals_the_loop(layer, x, None if way == "own-start" else state, **keywords)


@some_cases
def test_batch_first_and_a_single_sequence(case: Case) -> None:
    layer, x, state = _problem(case, batch_first=True, bidirectional=True)
    assert_equals_the_loop(layer, x.detach().transpose(0, 1).requires_grad_(), state, lengths=LENGTHS, reset=RESET.T)
    assert_equals_the_loop(layer, x.detach()[:, :1].transpose(0, 1).contiguous().requires_grad_())
    assert_near(_run(layer, x[:, 0])[0], _run(_loop(layer), x[:, 0])[0], SUMMED)


def test_another_step_in_evaluation() -> None:
    for case in (by_name("mode-dependent"), by_name("lstm"), by_name("built-ins")):
        layer, x, state = _problem(case)
        in_training, _ = _run(layer, x, state)
        layer.eval()
        assert_equals_the_loop(layer, x, state)
        assert torch.equal(_run(layer, x, state)[0], in_training) == (case.name != "mode-dependent")
        layer.train()
        assert torch.equal(_run(layer, x, state)[0], in_training)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@daily_cases
def test_inference(case: Case, mode: Callable[[], Any]) -> None:
    layer, x, state = _problem(case)
    keywords = {"lengths": LENGTHS, "reset": RESET}
    with mode():
        got = _run(layer, x, state, **keywords)
    assert not any(t.requires_grad for t in tensors(got))
    assert_near(got, _run(_loop(layer), x, state, **keywords), SUMMED)


@daily_cases
def test_inference_in_pieces(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK", 1)
    layer, x, state = _problem(case)
    keywords = {"lengths": LENGTHS, "reset": RESET}
    with torch.no_grad():
        got = _run(layer, x, state, **keywords)
    assert_near(got, _run(_loop(layer), x, state, **keywords), SUMMED)


@pytest.mark.parametrize("part", ["output", "one-step", "state"])
@all_cases
def test_a_loss_of_a_part(case: Case, part: str) -> None:
    layer, x, state = _problem(case)
    found = []
    for one in (layer, _loop(layer)):
        output, final = _run(one, x, state)
        used = {"output": output, "one-step": output[3], "state": final[-1]}[part]
        found.append(gradients(weighted_sum(used), one, x, state))
    assert_near(found[0], found[1], SUMMED)


def _only(layer: Recurrent, kept: Callable[[str], bool]) -> None:
    for name, p in layer.named_parameters():
        p.requires_grad_(p.requires_grad and kept(name))


@pytest.mark.parametrize(
    "asking", ["x", "weights", "state", "matrices", "vectors", "first-weight", "last-weight", "weights-and-x"]
)
@some_cases
def test_gradients_of_some_inputs(case: Case, asking: str) -> None:
    layer, x, state = _problem(case)
    learned = [name for name, p in layer.named_parameters() if p.requires_grad]
    shapes = {name: p.ndim for name, p in layer.named_parameters()}
    kept: Callable[[str], bool] = {
        "weights": lambda name: True,
        "weights-and-x": lambda name: True,
        "matrices": lambda name: shapes[name] > 1,
        "vectors": lambda name: shapes[name] < 2,
        "first-weight": lambda name: name == learned[0],
        "last-weight": lambda name: name == learned[-1],
    }.get(asking, lambda name: False)
    _only(layer, kept)
    x.requires_grad_(asking in ("x", "weights-and-x"))
    for s in state:
        s.requires_grad_(asking == "state")
    if asking == "vectors" and not any(p.requires_grad for p in layer.parameters()):
        pytest.skip("this cell has no vector to learn")
    assert_equals_the_loop(layer, x, state, reset=RESET)


@some_cases
def test_gradients_of_one_state_of_several(case: Case) -> None:
    layer, x, state = _problem(case)
    _only(layer, lambda name: False)
    x.requires_grad_(False)
    for n in range(len(state)):
        assert_equals_the_loop(layer, x, tuple(s.detach().requires_grad_(m == n) for m, s in enumerate(state)))


@all_cases
def test_runs_of_other_sizes_in_between(case: Case) -> None:
    layer, *_ = _problem(case)
    runs = []
    for n, (time, batch) in enumerate([(6, 3), (11, 2), (6, 3)]):
        x = normal(time, batch, layer.input_size, seed=10 + n).requires_grad_()
        runs.append((x, _run(layer, x), _run(_loop(layer), x)))
    with torch.no_grad():  # in the memory that those above may have left
        _run(layer, runs[0][0])
    for x, got, expected in (runs[1], runs[0], runs[2]):
        assert_near(got, expected, SUMMED, "values")
        got_loss, expected_loss = weighted_sum(got), weighted_sum(expected)
        once = gradients_kept(got_loss, layer, x)
        assert_near(once, gradients(expected_loss, layer, x), SUMMED, "gradient")
        again = gradients(got_loss, layer, x)
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True)), "another gradient the second time"


def gradients_kept(loss: Tensor, layer: Recurrent, x: Tensor) -> list[Tensor]:
    """`gradients`, with the graph kept for another time."""
    wanted = [p for p in layer.parameters() if p.requires_grad] + [x]
    keep = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    return list(torch.autograd.grad(loss, wanted, **keep))


@all_cases
def test_second_derivatives(case: Case) -> None:
    layer, x, state = _problem(case, 4, 2, 3)
    found = []
    for one in (layer, _loop(layer)):
        wanted = [p for p in one.parameters() if p.requires_grad] + [x, *state]
        options = {"create_graph": True, "allow_unused": True, "materialize_grads": True}
        first = torch.autograd.grad(weighted_sum(_run(one, x, state)), wanted, **options)
        found.append([*first, *gradients(weighted_sum(first), one, x, state)])
    assert_near(found[0], found[1], SUMMED)


@all_cases
def test_what_stands_in_the_padding_does_not_matter(case: Case) -> None:
    layer, x, state = _problem(case, bidirectional=True)
    beyond = torch.arange(9)[:, None, None] >= LENGTHS[:, None]
    results = []
    for filling in (0.0, float("nan"), float("inf")):
        padded = x.detach().masked_fill(beyond, filling).requires_grad_()
        results.append(everything(layer, padded, state, lengths=LENGTHS, reset=RESET))
    assert not results[0]["output"][beyond.squeeze(2)].any()
    for other in results[1:]:
        for name, expected in results[0].items():
            assert torch.equal(other[name], expected), name


CHANGES: dict[str, Callable[[Recurrent, Tensor, Any, Tensor], Tensor]] = {
    "output": lambda layer, x, state, output: output,
    "x": lambda layer, x, state, output: x,
    "first-weight": lambda layer, x, state, output: next(iter(layer.parameters())),
    "last-weight": lambda layer, x, state, output: list(layer.parameters())[-1],
    "state": lambda layer, x, state, output: state[0],
}


@pytest.mark.parametrize("what", CHANGES)
@some_cases
def test_a_change_in_place_is_no_wrong_gradient(case: Case, what: str) -> None:
    """After the forward pass a tensor is changed: the gradient is still right or, as in PyTorch's layers, refused."""
    layer, x, state = _problem(case, bidirectional=True)
    expected = None
    for change in (False, True):
        output, final = _run(layer, x, state)
        if change:
            with torch.no_grad():
                CHANGES[what](layer, x, state, output).mul_(2.0)
        try:
            found = gradients(weighted_sum([1 * output, final]), layer, x, state)
        except RuntimeError as error:
            assert change
            assert "in-place" in str(error) or "inplace" in str(error)  # noqa: PT017
            return
        expected = found if expected is None else expected
    assert_near(found, expected, SUMMED)


def test_a_change_of_the_output_that_autograd_sees() -> None:
    for case in SOME:
        layer, x, state = _problem(case)
        found = []
        for one in (layer, _loop(layer)):
            output, final = _run(one, x, state)
            try:
                output.mul_(2.0)
                found.append(gradients(weighted_sum([output, final]), one, x, state))
            except RuntimeError as error:
                assert one is layer
                assert "in-place" in str(error) or "inplace" in str(error)  # noqa: PT017
        assert_near(found[0], found[-1], SUMMED)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "features-first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "every-other-step": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "every-other-feature": lambda x: x.repeat_interleave(2, dim=2)[..., ::2],
    "one-row-for-all": lambda x: x[:, :1].expand_as(x),
    "one-step-for-all": lambda x: x[:1].expand_as(x),
    "offset": lambda x: torch.cat([x[:1], x])[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@some_cases
def test_layouts_of_the_input(case: Case, layout: str) -> None:
    layer, x, state = _problem(case)
    x = LAYOUTS[layout](x.detach())
    state = tuple(torch.stack([s, s], dim=-1)[..., 0].detach().requires_grad_() for s in state)
    assert_equals_the_loop(layer, x, state)
    assert_equals_the_loop(layer, x.detach().requires_grad_(), state)


@some_cases
def test_layouts_of_the_weights(case: Case) -> None:
    layer, x, state = _problem(case)
    turned = {
        name: p.detach().t().contiguous().t().requires_grad_() for name, p in layer.named_parameters() if p.ndim == 2
    }
    found = []
    for one in (layer, _loop(layer)):
        keywords = {"generator": torch.Generator().manual_seed(1)}
        loss = weighted_sum(functional_call(one, turned, (x, state), keywords))
        found.append(torch.autograd.grad(loss, [*turned.values(), x, *state], allow_unused=True))
    assert_near([g for g in found[0] if g is not None], [g for g in found[1] if g is not None], SUMMED)


@pytest.mark.parametrize("threads", [2, 3])
@some_cases
def test_threads(case: Case, threads: int) -> None:
    for time, batch, hidden in ((7, 33, 20), (7, 2, 20), (7, 1, 65), (40, 1, 1)):
        layer, x, state = _problem(case, time, batch, hidden)
        torch.set_num_threads(1)
        alone = everything(layer, x, state)
        torch.set_num_threads(threads)  # conftest.py has one again before the next test
        for name, together in everything(layer, x, state).items():
            assert_near(together, alone[name], SUMMED, name)


def test_the_same_numbers_every_time() -> None:
    for case in SOME:
        layer, x, state = _problem(case, 20, 9, 17)
        first, second = (everything(layer, x, state) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


@all_cases
def test_large_numbers(case: Case) -> None:
    layer, x, _ = _problem(case, 3, 2)
    x = (500 * x.detach()).requires_grad_()
    got, expected = everything(layer, x), everything(_loop(layer), x)
    for name, e in expected.items():
        clean = e.isfinite()
        # Where a unit is saturated, 1 - tanh² is nothing but rounding, and stands before an x of some thousand.
        assert_near(got[name][clean], e[clean], 1000 * SUMMED, name)


@all_cases
def test_not_a_number_stays_in_its_row(case: Case) -> None:
    layer, x, _ = _problem(case)
    if not layer.input_size:
        return
    with torch.no_grad():
        x[4, 1, 0] = float("nan")
        (got, _), (expected, _) = _run(layer, x), _run(_loop(layer), x)
    assert torch.equal(got.isnan(), expected.isnan())
    assert not got[:, [0, 2, 3]].isnan().any()
    assert_near(got.nan_to_num(), expected.nan_to_num(), SUMMED)


@pytest.mark.parametrize(
    "name", ["lstm", "lstm-peephole", "gru", "rnn", "leaky", "multi-tap", "layer-norm-peephole-lstm"]
)
def test_infinity(name: str) -> None:
    layer, x, _ = _problem(by_name(name))
    with torch.no_grad():
        x[4, 1, 0], x[5, 2, 1] = float("inf"), -float("inf")
        (got, _), (expected, _) = _run(layer, x), _run(_loop(layer), x)
    assert torch.equal(got.isnan(), expected.isnan())
    assert_near(got.nan_to_num(), expected.nan_to_num(), SUMMED)


@pytest.mark.parametrize("way", ["own-start", "lengths-and-reset", "two-layers"])
def test_a_part_without_gradient(way: str) -> None:
    options, keywords = WAYS[way]
    layer, x, state = _problem(Case("straight-through", user_cells.StraightThrough, {}), **options)
    assert_equals_the_loop(layer, x, state, **keywords)


def test_another_precision_is_refused() -> None:
    for case in SOME:
        layer, x, state = _problem(case)
        with pytest.raises(CellError, match=r"float32.*float64"):
            layer(x.float())
        with pytest.raises(CellError, match="float32"):
            layer(x, tuple(s.float() for s in state))
