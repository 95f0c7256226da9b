"""A run folder -> the data of its report, and the commands that go on from it."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from ..runs import RunFolder
from .page import ReportData, write_report

__all__ = ["next_commands", "report_data", "resume_command", "write_run_report"]

_UNITS = {"char": "character", "byte": "byte", "word": "word"}


def write_run_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run folder and return where it is."""
    path = folder.path / "report.html"
    write_report(report_data(folder), path)
    return path


def report_data(folder: RunFolder) -> ReportData:
    """Everything the page shows."""
    config, status = folder.config, folder.read_json("status.json", {})
    network, env = folder.read_json("network.json", {}), folder.read_json("env.json", {})
    after, seen = next_commands(folder), folder.findings
    if status.get("status") != "finished":
        after.insert(0, (resume_command(folder), "go on from the last checkpoint"))
    return ReportData(
        title=f"{config['corpus']['name']} · {config['network']['cell']} {config['network']['hidden_size']}",
        name=str(folder.path),
        status=status.get("status", "running"),
        message=status.get("message"),
        unit=_UNITS[config["data"]["level"]],
        vocabulary_size=network.get("vocabulary"),
        parameters=network.get("parameters"),
        summary={key: value for key, value in status.items() if value is not None},
        metrics=folder.lines("metrics.jsonl"),
        samples=folder.lines("samples.jsonl"),
        findings=seen["findings"],
        watched=seen["steps"] or None,
        fixes=config.get("fixes", []),
        network=[tuple(layer) for layer in network.get("layers", [])],
        equations=network.get("equations", ""),
        config={key: value for key, value in config.items() if key not in ("format", "fixes")},
        environment=env,
        reproduce=[env["command"]] if env.get("command") else [],
        next_commands=after,
    )


def resume_command(folder: RunFolder) -> str:
    """What to type to continue a run."""
    return f"{_program()} resume {_with_cell(folder)}"


def next_commands(folder: RunFolder) -> list[tuple[str, str]]:
    """What a person may want to type after training, and what it does."""
    run, prompt, carousel = _with_cell(folder), shlex.quote(folder.config["corpus"]["begins"]), _program()
    return [
        (f"{carousel} sample {run} --chars 500", "let the network write"),
        (f"{carousel} sample {run} --prompt {prompt} --temperature 0.5", "go on from your own words, more carefully"),
        (f"{carousel} report {folder.path}", "write the page anew"),
    ]


def _program() -> str:
    """The command as it was typed, so that the next one can be typed as it stands."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py":
        return "python -m carousel"
    found = shutil.which("carousel")
    elsewhere = found is None or not typed.exists() or not Path(found).samefile(typed)
    return str(typed) if typed.name == "carousel" and elsewhere else "carousel"


def _with_cell(folder: RunFolder) -> str:
    """The run as the commands take it, with the option that names the user's own cell."""
    config = folder.config
    return f"{folder.path} --cell {config['network']['cell']}" if config.get("own_cell") else str(folder.path)
