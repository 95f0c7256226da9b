"""What `carousel bench` runs: a cell beside PyTorch's LSTM, the plain loop and the peers that are installed."""

from .chart import write_chart
from .rivals import Problem, Rival, Shape
from .run import compare, remarks, table
from .timing import Timing, interleaved

__all__ = ["Problem", "Rival", "Shape", "Timing", "compare", "interleaved", "remarks", "table", "write_chart"]
