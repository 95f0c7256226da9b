"""Recurrent cells, each from its equations: one file per family."""

from .activations import ACTIVATIONS
from .base import Cell
from .constant_error_carousel import ConstantErrorCarousel
from .gru import GRU
from .leaky import LeakyRNN
from .lstm import LSTM
from .min_gru import MinGRU
from .multi_tap import MultiTapRNN
from .registry import REGISTRY, find
from .rnn import RNN, PreActivationRNN
from .weights import weight

__all__ = [
    "ACTIVATIONS",
    "GRU",
    "LSTM",
    "REGISTRY",
    "RNN",
    "Cell",
    "ConstantErrorCarousel",
    "LeakyRNN",
    "MinGRU",
    "MultiTapRNN",
    "PreActivationRNN",
    "find",
    "weight",
]
