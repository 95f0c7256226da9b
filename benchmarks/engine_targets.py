"""What `benchmarks.engine` measured, beside its targets."""

from __future__ import annotations

import math
import statistics
from typing import Any

__all__ = ["OURS", "mean", "ratios", "verdicts", "with_ratios"]

OURS = "carousel"


def verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target with what was measured: `what`, `target`, `value`, `met`; the value is None where nothing was."""
    found: list[dict[str, Any]] = []

    def add(what: str, value: float | None, target: str, limit: float, *, least: bool = False) -> None:
        met = value is not None and (value >= limit if least else value <= limit)
        found.append({"what": what, "target": target, "value": value, "met": met})

    peephole = "peephole LSTM, forward and backward, time / "
    to_lstm = ratios(results, "training", OURS, "torch.nn.LSTM")
    add(f"{peephole}nn.LSTM, mean", mean(to_lstm), "at most 0.65", 0.65)
    add(f"{peephole}nn.LSTM, worst shape", max(to_lstm.values(), default=None), "at most 0.85", 0.85)
    add(f"{peephole}eager loop, mean", mean(ratios(results, "training", OURS, "eager loop")), "at most 0.25", 0.25)
    add(f"{peephole}JAX scan, mean", mean(ratios(results, "training", OURS, "JAX scan")), "at most 0.5", 0.5)
    onnx = mean(ratios(results, "inference", OURS, "onnxruntime"))
    add("peephole LSTM, inference, time / onnxruntime, mean", onnx, "at most 0.5", 0.5)
    for kind, limit in (("GRU", 0.35), ("RNN", 0.5), ("LSTM", 0.65)):
        value = mean(ratios(results, "layers", f"carousel.nn.{kind}", f"torch.nn.{kind}"))
        add(f"carousel.nn.{kind} / torch.nn.{kind}, mean", value, f"at most {limit:g}", limit)
    normed = mean(ratios(results, "layer_norm", "lstm-layernorm", "lstm"))
    add("LSTM with layer norm / without, mean", normed, "at most 1.5", 1.5)
    share = results.get("peak", {}).get("share")
    add("share of the FMA peak, forward and backward", share, "at least 0.75", 0.75, least=True)

    cells = list(results.get("compile", {}).get("cells", {}).values())
    cells = cells if cells and all(cell["files"] for cell in cells) else []  # nothing was compiled
    colds = [cell[key] for cell in cells for key in ("cold_s", "cold_long_s")]
    add("cold compile, slowest cell and length, seconds", max(colds, default=None), "at most 6", 6)
    add("warm start, slowest cell, ms", max((c["warm_ms"] for c in cells), default=None), "at most 50", 50)
    more = max((cell["files_after_other_shapes"] - cell["files"] for cell in cells), default=None)
    add("files compiled anew for other lengths and batches", more, "none", 0)

    rows = results.get("memory", {}).get("shapes", {}).values()
    worst = max((row["mib"][OURS] / row["mib"]["nn.LSTM"] for row in rows), default=None)
    add("peak memory of a training step / nn.LSTM, worst shape", worst, "at most 1.2", 1.2)
    mib = results.get("memory", {}).get("long", {}).get("mib", {})
    for of in ("", ", no gradient of the input"):
        share = mib[f"with{of}"] / mib[f"without{of}"] if mib else None
        add(f"memory of a long sequence with recomputation / without{of}", share, "at most 0.25", 0.25)
    rates = results.get("main_job", {}).get("characters_per_second")
    gain = rates["auto"] / rates["torch"] if rates else None
    add("main job, characters per second, auto / torch", gain, "above 1", 1.0 + 1e-9, least=True)
    return found


def ratios(results: dict[str, Any], section: str, one: str, other: str) -> dict[str, float]:
    """By shape, where both were timed."""
    rows = results.get(section, {}).get("shapes", {})
    both = {shape: row["ms"] for shape, row in rows.items() if one in row["ms"] and other in row["ms"]}
    return {shape: ms[one] / ms[other] for shape, ms in both.items()}


def mean(values: dict[str, float]) -> float | None:
    """Geometric."""
    return math.exp(statistics.fmean(map(math.log, values.values()))) if values else None


def with_ratios(results: dict[str, Any]) -> dict[str, Any]:
    """For the file: to every row its times over that of each other rival of the row that is not ours."""
    for section in results.values():
        for row in section.get("shapes", {}).values() if isinstance(section, dict) else ():
            if "ms" in row:
                first, *others = row["ms"]
                row["ratios"] = {f"{first} / {other}": row["ms"][first] / row["ms"][other] for other in others}
    if "layers" in results:
        for row in results["layers"].get("shapes", {}).values():
            pairs = ((f"carousel.nn.{kind}", f"torch.nn.{kind}") for kind in ("LSTM", "GRU", "RNN"))
            row["ratios"] = {f"{one} / {other}": row["ms"][one] / row["ms"][other] for one, other in pairs}
    return {**results, "targets": verdicts(results)}
