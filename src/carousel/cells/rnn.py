r"""The vanilla recurrent network, in both of its published forms.

Elman, "Finding structure in time", Cognitive Science 14 (1990); the pre-activation form as in Pascanu, Mikolov &
Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, eq. (2).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .activations import ACTIVATIONS, Activation
from .activations import activation as resolve
from .base import AtenForm
from .torch_weights import TorchWeights

__all__ = ["RNN", "PreActivationRNN"]


class RNN(TorchWeights):
    r"""Vanilla recurrent cell: h_t = φ(W_x x_t + b_x + W_h h_{t-1} + b_h).

    The two biases are redundant; they are PyTorch's, so that its weights load.

    Args:
        input_size: features per step.
        hidden_size: units.
        activation: φ, a name of `ACTIVATIONS` or a function of a tensor.
        bias: False leaves out b_x and b_h.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.RNN, 8, 16, activation="relu")
        >>> layer(torch.zeros(5, 2, 8))[0].shape
        torch.Size([5, 2, 16])
    """

    def __init__(self, input_size: int, hidden_size: int, *, activation: Activation = "tanh", bias: bool = True):
        super().__init__(input_size, hidden_size)
        self.activation = activation
        self.phi = resolve(activation)
        self._add_weights(1, bias=bias)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        h = self.phi(F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh))
        return h, (h,)

    def aten(self) -> AtenForm | None:
        if self.phi not in (ACTIVATIONS["tanh"], ACTIVATIONS["relu"]):
            return None
        kind = "rnn_tanh" if self.phi is ACTIVATIONS["tanh"] else "rnn_relu"
        return AtenForm(kind, self._flat_weights(), self.bias_ih is not None)


class PreActivationRNN(RNN):
    r"""Vanilla cell whose state is the pre-activation: h_t = W φ(h_{t-1}) + W_x x_t + b; the output is φ(h_t).

    It computes what `RNN` computes, in other coordinates, with the same arguments; the bound on ∂h_t/∂h_k,
    (γ_W γ_φ)^(t-k), is written for this form: γ_W the largest singular value of W, γ_φ the largest slope of φ.
    """

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        h = F.linear(self.phi(h), self.weight_hh, self.bias_hh) + F.linear(x, self.weight_ih, self.bias_ih)
        return self.phi(h), (h,)

    def aten(self) -> None:
        """PyTorch's kernels keep the other form's state."""
