"""The training loop, truncated backpropagation through time, update rules and callbacks."""

from .callbacks import Callback, Restart, Step
from .interrupt import Interrupted
from .loop import Stream, Task, Trainer, calibrate, check_device
from .optim import Schedule, optimizer
from .tbptt import Span, TruncatedBPTT

__all__ = [
    "Callback",
    "Interrupted",
    "Restart",
    "Schedule",
    "Span",
    "Step",
    "Stream",
    "Task",
    "Trainer",
    "TruncatedBPTT",
    "calibrate",
    "check_device",
    "optimizer",
]
