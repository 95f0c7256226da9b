"""The doctor as a whole: what it watches by, and what it says."""

from __future__ import annotations

from typing import Any

from .findings import Finding
from .record import Record
from .rules import diagnose
from .watch import Watch

__all__ = ["Doctor"]


class Doctor:
    """Watches the training that goes on while it is entered, and says what is wrong with it.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
        >>> rule = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with Doctor() as doctor:
        ...     for _ in range(20):
        ...         rule.zero_grad()
        ...         loss = torch.nn.functional.cross_entropy(net(torch.randn(8, 4)), torch.randint(3, (8,)))
        ...         loss.backward()
        ...         rule.step()
        >>> [finding.code for finding in doctor.findings]
        ['double-softmax']

    Attributes:
        record: what was gathered.
        findings: what is wrong, the worst first; made when the watch ends.
    """

    def __init__(self) -> None:
        self.record = Record()
        self.findings: list[Finding] = []
        self._watch = Watch(self.record)

    def __enter__(self) -> Doctor:
        self._watch.__enter__()
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        self._watch.__exit__()
        self.record.error = self.record.error or error
        self.findings = diagnose(self.record)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the findings, and how many updates were watched."""
        return {"findings": [f.to_dict() for f in self.findings], "steps": self.record.steps}
