"""The ONNX operators LSTM, GRU and RNN, as onnxruntime runs them, are our cells with the gates in another order.

https://onnx.ai/onnx/operators/onnx__LSTM.html: Y has (time, directions, batch, hidden); the rows of W, R and B are
i, o, f, c for the LSTM (its peepholes P: i, o, f) and z, r, h for the GRU; ours i, f, g, o and r, z, n, as PyTorch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from carousel.cells import GRU, LSTM, RNN
from carousel.nn import Recurrent

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.peers

TIME, BATCH, INPUTS, HIDDEN = 9, 5, 3, 7
LENGTHS = torch.tensor([9, 4, 1, 7, 2])
ROWS = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Our gate at each place of theirs."""

backends = pytest.mark.parametrize("backend", ["auto", "reference"])
directions = pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])


def _gates(rows: Tensor, order: tuple[int, ...]) -> Tensor:
    blocks = rows.chunk(len(order))
    return torch.cat([blocks[gate] for gate in order])


def _weights(kind: str, cell: Any) -> dict[str, Tensor]:
    """W, R, B and P of one direction."""
    order = ROWS[kind]
    w, r, wb, rb = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
    if getattr(cell, "coupled", False):  # f, g, o: theirs has i = σ(a), f = 1 - i and ours f = σ(a), i = 1 - f
        w, r, wb, rb = (torch.cat([-t[:HIDDEN], t]) for t in (w, r, wb, rb))
    found = {"W": _gates(w, order), "R": _gates(r, order), "B": torch.cat([_gates(wb, order), _gates(rb, order)])}
    if getattr(cell, "peephole", False):
        first = -cell.weight_cf if cell.coupled else cell.weight_ci
        found["P"] = torch.cat([first, cell.weight_co, cell.weight_cf])
    return found


def _run_onnx(
    kind: str, cells: list[Any], inputs: dict[str, Tensor | None], attributes: dict[str, Any]
) -> list[Tensor]:
    """The operator's outputs: Y, Y_h and for the LSTM Y_c."""
    each = [_weights(kind, cell) for cell in cells]
    weights = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    given = {name: value for name, value in (inputs | weights).items() if value is not None}
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if kind == "LSTM" else [])]
    outputs = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    node = onnx.helper.make_node(
        kind, [name if name in given else "" for name in names], outputs, hidden_size=HIDDEN, **attributes
    )
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [
            onnx.helper.make_tensor_value_info(name, integers if name == "sequence_lens" else floats, list(value.shape))
            for name, value in given.items()
        ],
        [onnx.helper.make_tensor_value_info(name, floats, [None] * (4 if name == "Y" else 3)) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = {name: np.ascontiguousarray(value.detach().numpy()) for name, value in given.items()}
    return [torch.from_numpy(array) for array in session.run(None, arrays)]


def _compare(
    kind: str, options: dict[str, Any], direction: str, lengths: Tensor | None, backend: str, **rest: Any
) -> None:
    cell_class = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[kind]
    layer = Recurrent(cell_class, INPUTS, HIDDEN, bidirectional=direction != "forward", backend=backend, **options)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(std=0.5)
    x = torch.randn(TIME, BATCH, INPUTS)
    state = tuple(torch.randn(layer.directions, BATCH, HIDDEN) for _ in range(2 if kind == "LSTM" else 1))
    with torch.no_grad():
        output, final = layer(x, state, lengths=lengths)
    output = output.view(TIME, BATCH, layer.directions, HIDDEN).transpose(1, 2)
    used = slice(1, 2) if direction == "reverse" else slice(None)  # ours has no lone way back: the second half of both
    inputs = {"X": x, "sequence_lens": None if lengths is None else lengths.int(), "initial_h": state[0][used]}
    if kind == "LSTM":
        inputs["initial_c"] = state[1][used]
    theirs = _run_onnx(kind, list(layer.cells)[used], inputs, {"direction": direction, **rest})
    for ours, their in zip((output[:, used], *(s[used] for s in final)), theirs, strict=True):
        assert ours.shape == their.shape
        # Nine steps of float32; onnxruntime's tanh and sigmoid are rational approximations, good to some 1e-7, and
        # weights of this size can double an error in a step. Relative, as rectified units may grow.
        assert (ours - their).abs().max() <= 2e-5 * max(1.0, their.abs().max().item())


@backends
@ragged
@directions
@pytest.mark.parametrize("options", [{}, {"peephole": True}, {"peephole": True, "coupled": True}], ids=str)
def test_lstm(options: dict[str, Any], direction: str, lengths: Tensor | None, backend: str) -> None:
    rest = {"input_forget": 1} if options.get("coupled") else {}
    _compare("LSTM", options, direction, lengths, backend, **rest)


@backends
@ragged
@directions
@pytest.mark.parametrize(("reset", "linear_before_reset"), [("before", 0), ("after", 1)])
def test_gru(reset: str, linear_before_reset: int, direction: str, lengths: Tensor | None, backend: str) -> None:
    _compare("GRU", {"reset": reset}, direction, lengths, backend, linear_before_reset=linear_before_reset)


@backends
@ragged
@directions
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn(activation: str, direction: str, lengths: Tensor | None, backend: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    options = {"activation": activation}
    _compare("RNN", options, direction, lengths, backend, activations=[activation.capitalize()] * ways)
