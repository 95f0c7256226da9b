"""From a cell's equations to a run through time. Backends: the plain loop, and PyTorch's own kernels."""

from .backends import BACKENDS, Backend, choose
from .sequence import Result, Sequence, start_state

__all__ = ["BACKENDS", "Backend", "Result", "Sequence", "choose", "start_state"]
