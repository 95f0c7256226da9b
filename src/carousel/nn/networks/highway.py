"""Highway networks: dense layers that a gate lets the input go around.

Srivastava, Greff & Schmidhuber, "Training very deep networks", NeurIPS 2015: on MNIST 10 layers of 50 units, and up to
100 layers.
"""

from __future__ import annotations

__all__ = ["highway"]


def highway(
    input_shape: tuple[int, ...], outputs: int, hidden_size: int = 50, layers: int = 10, gate_bias: float = -2.0
) -> str:
    """A dense layer, so many highway layers of its width, and the scores.

    Args:
        input_shape: of one example; it is flattened.
        outputs: number of scores.
        hidden_size: units in each layer.
        layers: highway layers.
        gate_bias: where the gates' biases start; lower for deeper nets.
    """
    return f"dense {hidden_size}, relu, " + f"highway bias {gate_bias}, " * layers + "dense"
