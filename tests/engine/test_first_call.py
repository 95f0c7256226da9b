"""The first call in a process imports nothing large: a cell whose code is in the cache starts in milliseconds."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

IMPORT = """
import sys
import torch, carousel.nn
"""

RUN = """
class Peephole(carousel.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.wx, self.wh = carousel.weight(4 * hidden_size, input_size), carousel.weight(4 * hidden_size, hidden_size)
        self.b, self.pi = carousel.weight(4 * hidden_size), carousel.weight(hidden_size, init="normal")
        self.state_sizes = {"h": hidden_size, "c": hidden_size}

    def step(self, x, state):
        h, c = state
        i, f, z, o = (x @ self.wx.T + h @ self.wh.T + self.b).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i + self.pi * c) * torch.tanh(z)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)

cells = [Peephole(3, 4), carousel.cells.GRU(4, 4), carousel.cells.LSTM(4, 4, layer_norm=True)]
carousel.nn.Recurrent(cells, backend="cpu")(torch.ones(5, 2, 3))[0].sum().backward()
"""

LARGE = {"sympy", "torch._dynamo", "torch.distributed.tensor", "torch.fx.experimental.symbolic_shapes"}


def test_what_the_first_call_imports(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], finish: Callable[[subprocess.Popen[str]], str]
) -> None:
    report = "\nprint(sorted(sys.modules))\n"
    processes = [start(tmp_path, "-c", code + report) for code in (IMPORT, IMPORT + RUN)]
    before, after = (set(ast.literal_eval(finish(process).splitlines()[-1])) for process in processes)
    assert not (after - before) & LARGE
