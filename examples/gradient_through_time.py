"""How much of the error reaches the past: ‖∂L/∂s_t‖ for a loss at the last of 100 steps, cell by cell.

The vanilla network loses it within a few steps, the LSTM keeps it in its memory c, and the bare constant error carousel
without forget gate does not lose anything.
"""

import torch

import carousel

TIME, BATCH, INPUT, HIDDEN = 100, 8, 16, 64
CELLS = {
    "vanilla RNN": (carousel.cells.RNN, "h", {}),
    "GRU": (carousel.cells.GRU, "h", {}),
    "LSTM, forget bias 1": (carousel.cells.LSTM, "c", {"forget_bias": 1.0}),
    "LSTM, forget bias 4": (carousel.cells.LSTM, "c", {"forget_bias": 4.0}),
    "constant error carousel": (carousel.cells.ConstantErrorCarousel, "c", {"forget": False}),
}


def norms(cell: type[carousel.Cell], state: str, options: dict) -> torch.Tensor:
    """‖∂L/∂s_t‖ at every step, relative to the last one."""
    torch.manual_seed(0)
    layer = carousel.nn.Recurrent(cell, INPUT, HIDDEN, **options)
    output, _, trajectory = layer(torch.randn(TIME, BATCH, INPUT), trajectory=True)
    output[-1].sum().backward()
    norm = trajectory.gradients(state).norm(dim=(1, 2))
    return norm / norm[-1]


print("steps back               " + "".join(f"{back:>10}" for back in (0, 1, 5, 20, 50, 99)))
for name, (cell, state, options) in CELLS.items():
    reached = norms(cell, state, options)
    print(f"{name:<25}" + "".join(f"{reached[TIME - 1 - back]:>10.1e}" for back in (0, 1, 5, 20, 50, 99)))
