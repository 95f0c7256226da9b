"""Layers: any cell through time, and drop-ins for PyTorch's recurrent layers."""

from .layout import State, detach_state
from .recurrent import Recurrent
from .torch_like import GRU, LSTM, RNN
from .trajectory import Trajectory

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "State", "Trajectory", "detach_state"]
