"""The doctor: watches any training run in PyTorch, and says what is wrong with it.

`watch` sees events, `record` gathers, `rules` judge (a file per fault code), `doctor` joins these; `script` runs an
unmodified script. It knows plain PyTorch only, nothing of the rest of Carousel.
"""

from .doctor import Doctor
from .findings import Finding, Severity
from .record import Record
from .rules import RULES, diagnose
from .script import Outcome, run_script
from .watch import Watch

__all__ = ["RULES", "Doctor", "Finding", "Outcome", "Record", "Severity", "Watch", "diagnose", "run_script"]
