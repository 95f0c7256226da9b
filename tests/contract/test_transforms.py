"""What people do with modules: function transforms, several backward passes, copies, precision."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacfwd, jacrev, stack_module_state, vmap

import carousel
from carousel.cells import GRU, LSTM, MinGRU
from carousel.errors import CellError
from carousel.nn import Recurrent

from .cases import CASES, Case, by_name, fill, names, normal
from .helpers import SUMMED, assert_near, gradients, random_state, tensors, weighted_sum

SOME = [
    by_name(n) for n in ("lstm", "lstm-peephole", "gru", "multi-tap", "cec", "matrix-state", "learned-start", "leaky")
]

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "recurrent-lstm": lambda: Recurrent(LSTM, 2, 3, 2, bidirectional=True, backend="reference"),
    "recurrent-gru": lambda: Recurrent(GRU, 2, 3),
    "lstm": lambda: carousel.nn.LSTM(2, 3, 2, bidirectional=True, backend="reference"),
    "lstm-kernel": lambda: carousel.nn.LSTM(2, 3, 2),
    "lstm-peephole": lambda: carousel.nn.LSTM(2, 3, peephole=True),
    "lstm-projection": lambda: carousel.nn.LSTM(2, 3, proj_size=1),
    "gru": lambda: carousel.nn.GRU(2, 3, 2),
    "rnn": lambda: carousel.nn.RNN(2, 3, nonlinearity="softsign"),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", SOME, ids=names(SOME))
def test_vmap_over_the_batch(case: Case, dtype: torch.dtype) -> None:
    layer = case.layer(2, 3, backend="auto", dtype=dtype)
    x = normal(10, 4, 2, seed=1, dtype=dtype)
    expected, _ = layer(x)
    got = vmap(lambda one: layer(one.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(x)
    # The same sums in another order: some hundred float64 roundings, or for ten steps of five products float32 ones.
    assert_near(got, expected, SUMMED if dtype == torch.float64 else 50 * 1.2e-7)


def test_a_kernel_asked_for_by_name_does_not_go_through_transforms() -> None:
    layer = Recurrent(GRU, 2, 3, backend="torch")
    x = normal(10, 4, 2, seed=1, dtype=torch.float32)
    with pytest.raises(CellError, match=r"do not go through torch\.func's transforms\. Use backend=\"auto\""):
        vmap(lambda one: layer(one.unsqueeze(1))[0], in_dims=1)(x)
    with pytest.raises(CellError, match=r"torch\.func's transforms"):
        grad(lambda one: layer(one)[0].sum())(x)


@pytest.mark.parametrize("case", SOME, ids=names(SOME))
def test_gradients_of_every_sample(case: Case) -> None:
    layer = case.layer(2, 3, backend="auto")
    parameters = dict(layer.named_parameters())
    x = normal(10, 4, 2, seed=1)
    reset = torch.zeros(10, 1, dtype=torch.bool)
    reset[3] = True

    def loss(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        output, _ = functional_call(layer, parameters, (one.unsqueeze(1),), {"reset": reset})
        return output.square().sum()

    each = vmap(grad(loss), in_dims=(None, 1))(parameters, x)
    for b in range(4):
        expected = gradients(loss(parameters, x[:, b]), layer)
        learned = [name for name, p in parameters.items() if p.requires_grad]
        assert_near([each[name][b] for name in learned], expected, SUMMED)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # in torch.func.jacfwd itself
@pytest.mark.parametrize("case", SOME, ids=names(SOME))
def test_jacobian_of_the_state(case: Case) -> None:
    layer = case.layer(2, 3)
    x, state = normal(4, 1, 2, seed=1), tuple(s.detach() for s in random_state(layer, 1, seed=2))

    def last(state: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([s.flatten() for s in layer(x, state)[1]])

    reverse, forward = jacrev(last)(state), jacfwd(last)(state)
    assert_near(reverse, forward, SUMMED)
    rows = []
    for index in range(last(state).numel()):
        inputs = tuple(s.clone().requires_grad_() for s in state)
        rows.append(torch.autograd.grad(last(inputs)[index], inputs, allow_unused=True, materialize_grads=True))
    assert_near(reverse, [torch.stack(r) for r in zip(*rows, strict=True)], SUMMED)


@layers
def test_an_ensemble_by_vmap(make: Callable[[], nn.Module]) -> None:
    members = []
    for seed in range(3):
        member = make().double()
        member.backend = "reference"
        fill(member, seed)
        members.append(member)
    x = normal(5, 2, 2, seed=1)
    expected = [member(x)[0] for member in members]
    parameters, buffers = stack_module_state(members)
    got = vmap(lambda p, b: functional_call(members[0], (p, b), (x,))[0])(parameters, buffers)
    assert_near(list(got), expected, SUMMED)


@layers
def test_functional_call(make: Callable[[], nn.Module]) -> None:
    layer = make().double()
    x = normal(5, 2, 2, seed=1)
    own, _ = layer(x)
    other = {name: (2 * p).detach().requires_grad_() for name, p in layer.named_parameters()}
    doubled = functional_call(layer, other, (x,))
    assert not torch.equal(doubled[0], own)
    found = torch.autograd.grad(weighted_sum(doubled), list(other.values()))
    assert all(g.any() for g in found)
    assert torch.equal(layer(x)[0], own), "the layer kept the parameters that it was lent"
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(2)
    assert torch.equal(layer(x)[0], doubled[0])


@layers
def test_deepcopy_before_and_after_use(make: Callable[[], nn.Module]) -> None:
    layer = make().double()
    x = normal(5, 2, 2, seed=1)
    fresh = copy.deepcopy(layer)
    expected, _ = layer(x)
    functional_call(layer, {name: 2 * p for name, p in layer.named_parameters()}, (x,))
    used = copy.deepcopy(layer)
    assert torch.equal(layer(x)[0], expected)
    for other in (fresh, used):
        assert torch.equal(other(x)[0], expected)
        with torch.no_grad():
            next(other.parameters()).add_(1.0)
        assert not torch.equal(other(x)[0], expected)
    assert torch.equal(layer(x)[0], expected), "a copy shares a parameter with its original"


@layers
def test_pickle_and_torch_save(make: Callable[[], nn.Module]) -> None:
    layer = make().double()
    x = normal(5, 2, 2, seed=1)
    expected, _ = layer(x)
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    for loaded in (pickle.loads(pickle.dumps(layer)), torch.load(saved, weights_only=False)):
        assert torch.equal(loaded(x)[0], expected)
        assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in layer.named_parameters()]
        loss = weighted_sum(loaded(x))
        assert all(g.any() for g in gradients(loss, loaded))


@layers
def test_changing_the_precision(make: Callable[[], nn.Module]) -> None:
    layer = make()
    x = normal(5, 2, 2, seed=1)
    single, state = layer(x.float())
    assert {t.dtype for t in [single, *tensors(state)]} == {torch.float32}
    layer.to(torch.float64)
    double, state = layer(x)
    assert {t.dtype for t in [double, *tensors(state)]} == {torch.float64}
    assert_near(single, double, 5 * 10 * 1.2e-7)  # five steps of about ten float32 roundings each


@layers
def test_an_optimizer_step_changes_the_output(make: Callable[[], nn.Module]) -> None:
    layer = make().double()
    x = normal(5, 2, 2, seed=1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = layer(x)[0].square().sum()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_two_forward_passes_before_one_backward(case: Case) -> None:
    layer = case.layer(2, 3, backend="auto")
    xs = [normal(5, 2, case.features(2), seed=s).requires_grad_() for s in (1, 2)]

    def loss(x: Tensor) -> Tensor:
        return weighted_sum(layer(x, generator=torch.Generator().manual_seed(1)))

    apart = [gradients(loss(x), layer) for x in xs]
    together = gradients(loss(xs[0]) + loss(xs[1]), layer)
    assert_near(together, [a + b for a, b in zip(*apart, strict=True)], SUMMED)


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_one_graph_twice(case: Case) -> None:
    layer = case.layer(2, 3, backend="auto")
    got = layer(normal(5, 2, case.features(2), seed=1).requires_grad_())
    loss = weighted_sum(got)
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    loss.backward()
    twice = [p.grad for p in layer.parameters() if p.grad is not None]
    assert once
    assert all(torch.equal(2 * a, b) for a, b in zip(once, twice, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_without_gradient(case: Case, mode: Callable[[], Any]) -> None:
    layer = case.layer(2, 3, 2, bidirectional=True)
    x = normal(5, 2, case.features(2), seed=1)
    lengths, reset = torch.tensor([5, 2]), torch.zeros(5, 2, dtype=torch.bool)
    reset[2, 0] = True

    def run(state: Any) -> Any:
        return layer(x, state, lengths=lengths, reset=reset, generator=torch.Generator().manual_seed(1))

    expected = run(None)
    with mode():
        got = run(None)
        assert not any(t.requires_grad for t in tensors(got))
        further = run(got[1])
    assert all(torch.equal(g, e) for g, e in zip(tensors(got), tensors(expected), strict=True))
    assert all(torch.equal(g, e) for g, e in zip(tensors(further), tensors(run(expected[1])), strict=True))


AUTOCAST = [(case, "reference") for case in CASES] + [(case, "auto") for case in SOME]


@pytest.mark.parametrize(("case", "backend"), AUTOCAST, ids=[f"{case.name}-{name}" for case, name in AUTOCAST])
def test_autocast_to_bfloat16(case: Case, backend: str) -> None:
    layer = case.layer(2, 3, 2, dtype=torch.float32, backend=backend)
    x = normal(6, 2, case.features(2), seed=1, dtype=torch.float32).requires_grad_()
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[2, 0] = True

    def run(**keywords: Any) -> tuple[Any, Any]:
        first = layer(x, generator=torch.Generator().manual_seed(1), **keywords)
        return first, layer(x, first[1], generator=torch.Generator().manual_seed(2), **keywords)

    for keywords in ({}, {"reset": reset, "lengths": torch.tensor([6, 3])}):
        expected = [t for t in tensors(run(**keywords)) if t.numel()]
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = [t for t in tensors(run(**keywords)) if t.numel()]
        # bfloat16 rounds relatively by up to 2⁻⁹: two products, their sum and the gate's value in each of two layers;
        # older errors shrink, as the recurrent matrices are contractions.
        for g, e in zip(got, expected, strict=True):
            assert (g.float() - e).abs().max() <= 2 * 4 * 2**-9 * max(1.0, e.abs().max().item())
        assert any(not torch.equal(g.float(), e) for g, e in zip(got, expected, strict=True)), "not in bfloat16 at all"
        sum(g.float().square().sum() for g in got).backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in layer.parameters())


def test_parametrized_cells() -> None:
    layer = Recurrent(MinGRU, 2, 3).double()
    fill(layer)
    (cell,) = layer.cells
    x = normal(4, 2, 2, seed=1)
    expected, _ = layer(x)
    nn.utils.parametrizations.weight_norm(cell, "wh")
    assert_near(layer(x)[0], expected, SUMMED)
    with torch.no_grad():
        cell.parametrizations.wh.original0.mul_(2)
    assert not torch.equal(layer(x)[0], expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo looks at each .grad
def test_torch_compile_leaves_its_graph_for_a_layer_and_goes_on_behind_it() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = carousel.nn.LSTM(4, 8, 2), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.rnn(2 * x)[0]))

    torch.manual_seed(0)
    model, x = Model(), normal(7, 3, 4, seed=1, dtype=torch.float32)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(model, backend="aot_eager")
    got = torch.autograd.grad(compiled(x).square().sum(), list(model.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(got, expected, strict=True))
    breaks = torch._dynamo.utils.counters["graph_break"]
    assert breaks, "the test compares nothing if the layer is traced"
    assert all("`_run`" in reason for reason in breaks)
