"""The training loop, what feeds it, truncated backpropagation through time, update rules and callbacks."""

from .callbacks import Callback, Restart, Step
from .feeds import ExampleFeed, Examples, Stream, StreamFeed
from .interrupt import Interrupted
from .loop import Trainer, calibrate, check_device
from .optim import Schedule, optimizer
from .rate_finder import RangeTest, range_test
from .task import Evaluation, Feed, Metric, Shown, Task
from .tbptt import Span, TruncatedBPTT

__all__ = [
    "Callback",
    "Evaluation",
    "ExampleFeed",
    "Examples",
    "Feed",
    "Interrupted",
    "Metric",
    "RangeTest",
    "Restart",
    "Schedule",
    "Shown",
    "Span",
    "Step",
    "Stream",
    "StreamFeed",
    "Task",
    "Trainer",
    "TruncatedBPTT",
    "calibrate",
    "check_device",
    "optimizer",
    "range_test",
]
