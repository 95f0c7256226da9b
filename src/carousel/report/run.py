"""A run folder -> the data of its report, and the commands that go on from it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from ..runs import RunFolder
from .page import ReportData, write_report

__all__ = ["next_commands", "report_data", "resume_command", "write_run_report"]

_UNITS = {"char": "character", "byte": "byte", "word": "word", "bpe": "token"}


def write_run_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run folder and return where it is."""
    path = folder.path / "report.html"
    write_report(report_data(folder), path)
    return path


def report_data(folder: RunFolder) -> ReportData:
    """Everything the page shows."""
    config, status = folder.config, folder.read_json("status.json", {})
    network, env = folder.read_json("network.json", {}), folder.read_json("env.json", {})
    shown = _shown(folder)
    after, seen = next_commands(folder), folder.findings
    if status.get("status") != "finished":
        after.insert(0, (resume_command(folder), "go on from the last checkpoint"))
    return ReportData(
        title=f"{config['corpus']['name']} · {_title(config, network)}",
        name=str(folder.path),
        status=status.get("status", "running"),
        message=status.get("message"),
        unit=shown["unit"],
        measure=shown["measure"],
        loss_in=shown.get("loss_in"),
        choices=shown["choices"],
        facts=shown["facts"],
        labels=shown["metrics"],
        panels=folder.read_json("evaluation.json", {}).get("panels", []),
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


def _title(config: dict[str, Any], network: dict[str, Any]) -> str:
    """What was trained, in two words; of a run from before it said so, by its cell."""
    return network.get("title") or f"{config['network']['cell']} {config['network']['hidden_size']}"


def resume_command(folder: RunFolder) -> str:
    """What to type to continue a run."""
    return f"{_program()} resume {_with_cell(folder)}"


def next_commands(folder: RunFolder) -> list[tuple[str, str]]:
    """What a person may want to type after training, and what it does."""
    run, carousel = _with_cell(folder), _program()
    of_kind = [(f"{carousel} {words.replace('{run}', run)}", about) for words, about in _shown(folder)["commands"]]
    of_all = [
        (f"{carousel} inspect {run}", "look inside the network"),
        (f"{carousel} report {folder.path}", "write the page anew"),
    ]
    return [*of_kind, *(one for one in of_all if one[0] not in dict(of_kind))]  # older runs name some themselves


def _shown(folder: RunFolder) -> dict[str, Any]:
    """How the run's numbers are written; of a run from before it said so, as those of a text."""
    level = folder.config["data"].get("level") or "char"
    measure = "perplexity" if level == "word" else "bits"
    text = {"unit": _UNITS[level], "measure": measure, "choices": None, "facts": [], "metrics": {}}
    text["commands"] = [("sample {run} --chars 500", "let the network write")]
    return text | folder.read_json("network.json", {}).get("shown", {})


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
