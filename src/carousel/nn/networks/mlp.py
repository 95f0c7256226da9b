"""The multilayer perceptron: dense layers with a non-linearity between.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 323 (1986); rectified units:
Nair & Hinton, ICML 2010; dropout: Srivastava et al., JMLR 15 (2014), whose nets for MNIST have 800 to 8,192 units.
"""

from __future__ import annotations

__all__ = ["mlp"]


def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden_size: int = 256,
    layers: int = 2,
    activation: str = "relu",
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    batchnorm: bool = False,
) -> str:
    """Dense layers of one width; for different ones write a line, as "dense 500, relu, dense 100, relu, dense".

    Args:
        input_shape: of one example; it is flattened.
        outputs: number of scores.
        hidden_size: units in each hidden layer.
        layers: hidden layers; with 0 it is the perceptron.
        activation: one of `carousel.nn.line.ACTIVATIONS`.
        dropout: probability of dropping a hidden unit, while training.
        input_dropout: the same of the inputs.
        batchnorm: normalize before each non-linearity.
    """
    norm = ", batchnorm" if batchnorm else ""
    drop = f", dropout {dropout}" if dropout else ""
    first = f"dropout {input_dropout}, " if input_dropout else ""
    return first + f"dense {hidden_size}{norm}, {activation}{drop}, " * layers + "dense"
