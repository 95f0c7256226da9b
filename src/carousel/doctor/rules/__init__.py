"""The rules: one file per fault code. A rule asks a `Record` and gives findings.

A rule file has `CODE`, `EXPLAINS` (codes that are mere consequences of this fault when both are found) and
`findings(record)`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import ModuleType

from ..findings import Finding
from ..lab import Experiment, learning_rates
from ..record import Record
from ..through_time import from_start
from . import (
    bad_init,
    batch_time_swapped,
    class_imbalance,
    data_leakage,
    dead_relu,
    double_softmax,
    exploding_gradient_depth,
    exploding_gradient_time,
    horizon_too_short,
    label_noise,
    lr_too_high,
    lr_too_low,
    missing_zero_grad,
    non_finite,
    overfitting,
    parameters_not_training,
    saturated_activations,
    state_not_detached,
    too_deep_plain,
    train_eval_mode,
    underfitting,
    unnormalized_input,
    unshuffled_data,
    vanishing_gradient_depth,
    vanishing_gradient_time,
    wrong_gradient,
    wrong_loss,
)

__all__ = ["AHEAD", "RULES", "diagnose"]

RULES: tuple[ModuleType, ...] = (
    state_not_detached,
    double_softmax,
    wrong_loss,
    missing_zero_grad,
    parameters_not_training,
    train_eval_mode,
    unshuffled_data,
    batch_time_swapped,
    wrong_gradient,
    unnormalized_input,
    exploding_gradient_time,
    bad_init,
    exploding_gradient_depth,
    saturated_activations,
    horizon_too_short,
    vanishing_gradient_time,
    too_deep_plain,
    lr_too_high,
    dead_relu,
    vanishing_gradient_depth,
    data_leakage,
    label_noise,
    overfitting,
    non_finite,
    lr_too_low,
    class_imbalance,
    underfitting,
)
"""Causes before what follows from them: a rule explains only those behind it."""


FUNDAMENTAL: tuple[ModuleType, ...] = (
    state_not_detached,
    double_softmax,
    wrong_loss,
    missing_zero_grad,
    parameters_not_training,
    batch_time_swapped,
    wrong_gradient,
)
"""With these, what a network could learn under other conditions says nothing."""

EXPERIMENTS: tuple[ModuleType, ...] = (  # what they say is of interest only where a network has not learned
    unnormalized_input,
    exploding_gradient_time,
    too_deep_plain,
    lr_too_high,
    horizon_too_short,
    vanishing_gradient_time,
    lr_too_low,
    underfitting,
)

AHEAD: dict[str, Experiment] = {
    "axes": batch_time_swapped.experiment,
    "gradients": wrong_gradient.experiment,
    "copies": label_noise.copies_of_rows,
    "lags": horizon_too_short.experiment,
    "standardized": unnormalized_input.with_inputs,
    "shallow, faster": too_deep_plain.experiment,
    "through time, start": from_start,
    "learning_rates": learning_rates,
    "reference": underfitting.experiment,
    "standardized targets": unnormalized_input.with_targets,
}
"""What is begun before it is asked for, the quick ones first: it depends on the start of the run alone."""

LEFT_OVER = ("lr-too-low", "underfitting")
"""What is asked only where nothing else is wrong: any fault makes for slow learning."""

IDLE = (class_imbalance.CODE,)
"""What follows from any error: a network that cannot learn says always the commonest class."""


def diagnose(record: Record, without: Collection[str] = ()) -> list[Finding]:
    """What is wrong, the worst first; what another fault explains is listed under it.

    Args:
        record: of the run.
        without: codes of faults that are not asked for.
    """
    found: list[tuple[ModuleType, Finding]] = []
    learned = record.has_learned()
    for rule in RULES:
        wrong = any(f.severity == "error" and r in FUNDAMENTAL for r, f in found)
        idle = learned and rule not in (unnormalized_input, exploding_gradient_time)  # these make a huge first loss
        idle = idle or (rule.CODE in LEFT_OVER and any(f.severity != "note" for _, f in found))
        if rule.CODE not in without and not (rule in EXPERIMENTS and (wrong or idle)):
            found += [(rule, finding) for finding in rule.findings(record)]
    codes = {finding.code for _, finding in found if finding.severity != "note"}
    errors = {finding.code for _, finding in found if finding.severity == "error"}
    order = {rule.CODE: number for number, rule in enumerate(RULES)}
    explained: dict[str, str] = {}
    for rule in RULES:
        also = IDLE if rule.CODE in errors else ()
        for code in (*rule.EXPLAINS, *also) if rule.CODE in codes else ():
            if code in codes and order[code] > order[rule.CODE]:
                explained.setdefault(code, explained.get(str(rule.CODE), str(rule.CODE)))
    shown = []
    for rule, finding in found:
        if finding.code not in explained:
            under = tuple(code for code, cause in explained.items() if cause == rule.CODE)
            shown.append(replace(finding, consequences=under))
    severities = ["error", "warning", "note"]
    return sorted(shown, key=lambda finding: severities.index(finding.severity))
