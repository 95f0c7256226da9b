"""A run folder -> the data of its report."""

from __future__ import annotations

from pathlib import Path

from ..runs import RunFolder
from .page import ReportData, write_report

__all__ = ["report_data", "write_run_report"]


def write_run_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run folder and return where it is."""
    path = folder.path / "report.html"
    write_report(report_data(folder), path)
    return path


def report_data(folder: RunFolder) -> ReportData:
    """Everything the page shows."""
    config, status = folder.config, folder.read_json("status.json", {})
    network = folder.read_json("network.json", {})
    env = folder.read_json("env.json", {})
    metrics = folder.lines("metrics.jsonl")
    net, run = config["network"], folder.path
    own = f" --cell {net['cell']}" if config.get("own_cell") else ""
    again = f"carousel resume {run}{own}"
    finished = status.get("status") == "finished"
    return ReportData(
        title=f"{config['corpus']['name']} · {net['cell']} {net['hidden_size']}",
        name=str(run),
        status=status.get("status", "running"),
        message=status.get("message"),
        unit={"char": "character", "byte": "byte", "word": "word"}[config["data"]["level"]],
        vocabulary_size=network.get("vocabulary"),
        parameters=network.get("parameters"),
        summary={k: v for k, v in status.items() if v is not None},
        metrics=metrics,
        samples=folder.lines("samples.jsonl"),
        findings=folder.read_json("findings.json", []),
        network=[tuple(layer) for layer in network.get("layers", [])],
        equations=network.get("equations", ""),
        config={k: v for k, v in config.items() if k != "format"},
        environment=env,
        reproduce=[env.get("command", "")] if env.get("command") else [],
        next_commands=next_commands(run, own)
        if finished
        else [(again, "go on from the last checkpoint"), *next_commands(run, own)],
    )


def next_commands(run: Path, own: str = "") -> list[tuple[str, str]]:
    """What a person may want to type after training; `own` is the option that names the user's cell."""
    return [
        (f"carousel sample {run}{own} --chars 500", "let the network write"),
        (f'carousel sample {run}{own} --prompt "The " --temperature 0.5', "go on from your own words, more carefully"),
        (f"carousel report {run}", "write the page anew"),
    ]
