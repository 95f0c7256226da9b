"""The rules: one file per fault code. A rule asks a `Record` and gives findings.

A rule file has `CODE`, `EXPLAINS` (codes that are mere consequences of this fault when both are found) and
`findings(record)`.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from ..findings import Finding
from ..record import Record
from . import (
    bad_init,
    class_imbalance,
    data_leakage,
    dead_relu,
    double_softmax,
    exploding_gradient_depth,
    label_noise,
    missing_zero_grad,
    non_finite,
    overfitting,
    parameters_not_training,
    saturated_activations,
    state_not_detached,
    train_eval_mode,
    unshuffled_data,
    vanishing_gradient_depth,
    wrong_loss,
)

__all__ = ["RULES", "diagnose"]

RULES: tuple[ModuleType, ...] = (
    state_not_detached,
    double_softmax,
    wrong_loss,
    missing_zero_grad,
    parameters_not_training,
    train_eval_mode,
    bad_init,
    exploding_gradient_depth,
    saturated_activations,
    dead_relu,
    vanishing_gradient_depth,
    unshuffled_data,
    class_imbalance,
    data_leakage,
    label_noise,
    overfitting,
    non_finite,
)


def diagnose(record: Record) -> list[Finding]:
    """What is wrong, the worst first; what another fault explains is listed under it."""
    found = [(rule, finding) for rule in RULES for finding in rule.findings(record)]
    codes = {finding.code for _, finding in found if finding.severity != "note"}
    explained = {code: rule.CODE for rule in RULES if rule.CODE in codes for code in rule.EXPLAINS if code in codes}
    shown = []
    for rule, finding in found:
        if finding.code not in explained:
            under = tuple(code for code, cause in explained.items() if cause == rule.CODE)
            shown.append(replace(finding, consequences=under))
    order = ["error", "warning", "note"]
    return sorted(shown, key=lambda finding: order.index(finding.severity))
