"""From a cell's equations to a run through time.

Backends: the plain loop, PyTorch's own kernels, and compiled code. The compiler's stages, a file each: `capture` (with
`lower`) → `analyze` → `differentiate` → `schedule` → `render` → `build` → `run`; `program` puts them together and
`explain` prints them. `graph` is the language that they share.
"""

from .backends import BACKENDS, Backend, choose
from .explain import STAGES, explain
from .kernels import cpu_peak, instruction_set
from .sequence import Result, Sequence, start_state
from .stepping import Steps

__all__ = [
    "BACKENDS",
    "STAGES",
    "Backend",
    "Result",
    "Sequence",
    "Steps",
    "choose",
    "cpu_peak",
    "explain",
    "instruction_set",
    "start_state",
]
