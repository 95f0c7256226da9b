"""The doctor, measured on scripts with a planted fault and on healthy ones: `python -m benchmarks.doctor [--MODE]`.

- by default: `carousel doctor --json` on the open scripts and their variants (`doctor_variants.py`); recall,
  precision and clean healthy runs with 95 % intervals, and the misses and false alarms with their evidence.
- `--check`: the same scripts without the doctor: whether their labels are true.
- `--overhead`: seconds of training and peak memory with the doctor over those without, on the originals.
- `--advice`: the first advice applied to the faulty originals: how much of the mended twin's result it brings back.
- `--set FOLDER`: other scripts, `scripts/*.py` and `labels.json` as in the open bench. A set that no one who writes
  rules has read says how the doctor does on scripts that it was not made with; the first measurement of a set stays.
- `--table`: what `python -m benchmarks.readme` puts into docs/doctor.md.

Results go to `benchmarks/results/doctor.json`, those of `--check` to `doctor-labels.json`, each row as soon as it is
there. Rows of the same script and the same state of the doctor are not measured again, unless with `--fresh`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from carousel.runs import environment

from . import doctor_runs as runs
from .doctor_repairs import BY_HAND, repaired
from .doctor_score import RECOVERED, Share, holds, judged, recovered, table, totals
from .doctor_variants import Variant, last_number, variants
from .files import read, write

__all__ = ["markdown"]

RESULTS = Path(__file__).parent / "results" / "doctor.json"
LABELS = RESULTS.with_name("doctor-labels.json")


def chosen(only: list[str] | None) -> list[Variant]:
    """All, or those of some scripts ("a01") or of some names ("a01: seed")."""
    every = variants()
    unknown = set(only or []) - {v.script for v in every} - {v.key for v in every}
    if unknown:
        raise SystemExit(f"There is no script or variant {', '.join(sorted(unknown))}.")
    return [v for v in every if only is None or v.script in only or v.key in only]


def bench(of: list[Variant], jobs: int) -> None:
    """Run the doctor on each, and print what it got right."""
    scripts, held, tool = runs.texts(), runs.labels(), runs.tool()
    results = read(RESULTS)
    part = results.setdefault("bench", {})
    rows = part["rows"] = _present(part.get("rows", {}))
    todo = {v: text for v in of if not _known(rows.get(v.key, {}), text := v.text(scripts), tool)}
    with _pool(jobs) as pool:
        running = {pool.submit(runs.doctor, text): v for v, text in todo.items()}
        for number, done in enumerate(as_completed(running), 1):
            variant = running[done]
            report, seconds, trouble = done.result()
            row = judged(report, runs.label(variant, held))
            row |= {"steps": (report or {}).get("steps"), "seconds": seconds, "trouble": trouble}
            row["findings"] = [] if row["right"] else row["findings"]
            rows[variant.key] = row | {"text": runs.sha(todo[variant]), "tool": tool}
            part |= {"environment": _where(), "totals": _totals(rows)}
            write(RESULTS, results)
            print(f"{number}/{len(todo)} {variant.key} ({seconds:.1f} s): {_line(row)}", flush=True)
    print(_wrong(rows, of))
    print(table({name: totals(group) for name, group in _groups(rows, of).items()}))


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that start nothing more after Ctrl-C."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _present(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows of variants that there still are."""
    return {v.key: rows[v.key] for v in variants() if v.key in rows}


def _totals(rows: dict[str, Any]) -> dict[str, Any]:
    """For the results file."""
    found: dict[str, Any] = {}
    for name, group in _groups(rows, variants()).items():
        of = totals(group)
        codes = {code: share.to_dict() for code, share in of.pop("codes").items()}
        found[name] = {key: share.to_dict() for key, share in of.items()} | {"codes": codes}
    return found


def _known(row: dict[str, Any], text: str, tool: str) -> bool:
    return row.get("text") == runs.sha(text) and row.get("tool") == tool


def _line(row: dict[str, Any]) -> str:
    said = ", ".join(("!" if code in row["false"] else "") + code for code in row["codes"]) or "nothing"
    missed = f"; MISSED {', '.join(row['missed'])}" if row["missed"] else ""
    return said + missed + (f" [{row['trouble']}]" if row["trouble"] else "")


def _groups(rows: dict[str, Any], of: Iterable[Variant]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"open scripts": [], "variants": []}
    for v in of:
        if v.key in rows:
            found["open scripts" if v.original else "variants"].append(rows[v.key])
    return found


def _wrong(rows: dict[str, Any], of: Iterable[Variant]) -> str:
    """Misses and false alarms, with what was said."""
    lines = []
    for v in of:
        row = rows.get(v.key)
        if row is None or row["right"]:
            continue
        lines.append(f"{v.key}: {_line(row)}")
        lines += [f"    {f['severity']} {f['code']}, {f['where']}: {f['evidence']}" for f in row["findings"]]
    return "\n".join(lines)


def check(of: list[Variant]) -> None:
    """Run without the doctor, and say which labels are not true."""
    scripts = runs.texts()
    results = read(LABELS)
    rows = results["rows"] = _present(results.get("rows", {}))
    every = {v.key: v for v in variants()}
    wanted = dict.fromkeys(key for v in of for key in (v.twin, v.key))
    for number, key in enumerate(wanted):
        variant = every[key]
        text = variant.text(scripts)
        if rows.get(key, {}).get("text") == runs.sha(text):
            continue
        printed, ended, seconds = runs.plain(text)
        last = (printed.strip().splitlines() or [""])[-1]
        result = _result(variant, printed)
        rows[key] = {"text": runs.sha(text), "result": result, "ended": ended, "last": last, "seconds": seconds}
        results["environment"] = _where()
        write(LABELS, results)
        print(f"{number + 1}/{len(wanted)} {key} ({seconds:.1f} s): {last or ended}", flush=True)
    wrong = untrue(rows, wanted)
    for key in wrong:
        print(f"NOT TRUE {key}: {rows[key]['result']}, twin {rows[every[key].twin]['result']}")
    print(f"{len(wanted)} runs, {len(wrong)} whose label is not true")


def other_set(folder: Path, jobs: int) -> None:
    """Run the doctor on the scripts of a folder, and keep what came of it beside what came of earlier doctors."""
    try:
        held = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        texts = {name: (folder / "scripts" / name).read_text(encoding="utf-8") for name in held}
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder} is no set of scripts with their labels: {error}.") from error
    rows: dict[str, Any] = {}
    with _pool(jobs) as pool:
        running = {pool.submit(runs.doctor, text): name for name, text in texts.items()}
        for done in as_completed(running):
            report, _, trouble = done.result()
            name = running[done]
            rows[name] = judged(report, held[name]) | {"trouble": trouble}
            print(f"{name}: {_line(rows[name])}", flush=True)
    of = totals(rows.values())
    wrong = {
        name: {"expect": row["expect"], "codes": row["codes"]} for name, row in sorted(rows.items()) if not row["right"]
    }
    results, shares = read(RESULTS), {key: of[key].to_dict() for key in ("recall", "precision", "clean")}
    sets = results.setdefault("sets", {}).setdefault(folder.resolve().name, [])
    sets.append({"tool": runs.tool(), "scripts": _digest(texts), "environment": _where(), **shares, "wrong": wrong})
    write(RESULTS, results)
    print("\n".join(f"{key}: {of[key]}" for key in shares))


def _digest(texts: dict[str, str]) -> str:
    return runs.sha("".join(f"{name}\n{text}" for name, text in sorted(texts.items())))


def untrue(rows: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """The variants among these whose label `--check` did not find true."""
    every = {v.key: v for v in variants()}

    def true(v: Variant) -> bool:
        ended = not rows[v.key]["ended"] or v.script in v.family.fails
        return ended and holds(v, rows[v.key]["result"], rows[v.twin]["result"])

    return [key for key in keys if not true(every[key])]


def overhead(of: list[Variant], repeats: int) -> None:
    """Time each original without the doctor and with it, in turns."""
    scripts, tool = runs.texts(), runs.tool()
    ways: dict[str, list[str]] = {"plain": [], "doctor": ["--json", "report.json"]}
    if "--no-probe" in runs.options():
        ways["without probes"] = ["--json", "report.json", "--no-probe"]
    else:
        print("This doctor has no --no-probe: it is measured as it is, and without probes not at all.")
    results = read(RESULTS)
    part = results.setdefault("overhead", {})
    if part.get("tool") != tool:
        part.clear()
    rows = part.setdefault("rows", {})
    for v in of:
        if not v.original or v.key in rows:
            continue
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, options in ways.items():
                taken[way].append(runs.stamped(scripts[v.script], options))
        rows[v.key] = {way: {key: [t[key] for t in times] for key in times[0]} for way, times in taken.items()}
        part |= {"tool": tool, "repeats": repeats, "environment": _where(), "ratios": ratios(rows)}
        write(RESULTS, results)
        print(v.key, {way: times["training_s"] for way, times in rows[v.key].items()}, flush=True)
    print(json.dumps(part.get("ratios", {}), indent=1))


def ratios(rows: dict[str, Any]) -> dict[str, Any]:
    """Each way's seconds and memory over those of the plain run just before: median over the scripts, and the worst.

    A script counts with the median of its repeats. One that fails within a few updates has no time of training.
    """
    found: dict[str, Any] = {}
    long = [row for row in rows.values() if row["plain"]["steps"][0] >= 20]
    for way in sorted({way for row in long for way in row} - {"plain"}):
        for key in ("training_s", "training_cpu_s", "whole_s", "peak_mb"):
            over = [
                statistics.median(a / b for a, b in zip(row[way][key], row["plain"][key], strict=True))
                for row in long
                if way in row
            ]
            found.setdefault(way, {})[key] = {"median": statistics.median(over), "worst": max(over), "of": len(over)}
    return found


def advice(of: list[Variant]) -> None:
    """Follow the doctor's first advice on each faulty original, and see what comes of it."""
    scripts, held, tool = runs.texts(), runs.labels(), runs.tool()
    results = read(RESULTS)
    part = results.setdefault("advice", {})
    rows = part.setdefault("rows", {})
    every = {v.key: v for v in variants()}
    for v in of:
        if not v.original or v.healthy:
            continue
        text = v.text(scripts)
        if _known(rows.get(v.key, {}), text, tool):
            continue
        row: dict[str, Any] = {"text": runs.sha(text), "tool": tool, "expect": held[v.script]["expect"]}
        rows[v.key] = row | _followed(v, text, held[v.script], every[v.twin].text(scripts))
        part["environment"] = _where()
        write(RESULTS, results)
        print(v.key, rows[v.key]["outcome"], rows[v.key].get("results", ""), flush=True)
    print(_advice_table(rows))


def _followed(v: Variant, text: str, label: dict[str, Any], twin: str) -> dict[str, Any]:
    report, _, trouble = runs.doctor(text)
    findings = judged(report, label)["findings"]
    if not findings:
        return {"code": None, "outcome": trouble or "nothing was named"}
    first = findings[0]
    row = {"code": first["code"], "advice": first["advice"]}
    if first["code"] not in [*label["expect"], *label["accept"]]:
        return row | {"outcome": "something else was named"}
    if first["code"] in BY_HAND:
        return row | {"outcome": f"to be done by hand: {BY_HAND[first['code']]}"}
    changed = repaired(text, first, int((report or {}).get("steps", 0)))
    if changed is None:
        return row | {"outcome": "nothing in the script that the advice could be applied to"}
    results = {
        name: _result(v, runs.plain(t)[0]) for name, t in (("script", text), ("repaired", changed), ("twin", twin))
    }
    share = recovered(*results.values(), higher=v.family.higher, flattered=v.script in v.family.flattered)
    back = share is not None and share >= RECOVERED
    return row | {"results": results, "share": share, "outcome": "recovered" if back else "not recovered"}


def _result(variant: Variant, printed: str) -> float | None:
    number = last_number(variant.family.metric, printed)
    return number if number is not None and math.isfinite(number) else None


def markdown(results: dict[str, Any]) -> str:
    """The tables of docs/doctor.md."""
    every = variants()
    part = results.get("bench", {})
    rows = {v.key: row for v in every if (row := part.get("rows", {}).get(v.key)) is not None}
    if not rows:
        return "Not measured yet.\n"
    where = part["environment"]
    held, timed = results.get("advice", {}).get("rows", {}), results.get("overhead", {})
    tools = {row["tool"] for row in rows.values()}
    later = {row["tool"] for row in held.values()} | ({timed["tool"]} if timed else set())
    behind = f" (what follows the first table: {', '.join(sorted(later))})" if later - tools else ""
    text = (
        f"{len(rows)} of the {len(every)} runs are measured, with the doctor of commit {', '.join(sorted(tools))}"
        f"{behind}, "
        f"PyTorch {where['versions']['torch']}, one thread, on {where['processor']}. "
        "In brackets: 95 % interval (Wilson).\n\n"
    )
    text += table({name: totals(group) for name, group in _groups(rows, every).items()})
    over = timed.get("ratios", {})
    if over:
        text += "\n| time and memory over those of the plain run | median | worst |\n|---|---|---|\n"
        titles = {
            "training_s": "from the first update to the end",
            "training_cpu_s": "the same in processor time",
            "whole_s": "whole process",
            "peak_mb": "peak memory",
        }
        for way, of in over.items():
            for key, title in titles.items():
                text += f"| {way}: {title} | {of[key]['median']:.2f} | {of[key]['worst']:.2f} |\n"
    return text + _set_table(results.get("sets", {})) + (f"\n{_advice_table(held)}" if held else "")


def _set_table(sets: dict[str, list[dict[str, Any]]]) -> str:
    if not sets:
        return ""
    lines = ["", "| set | doctor of commit | faults named | codes that are right | healthy runs without a finding |"]
    lines.append("|---|---|---|---|---|")
    for name, measured in sorted(sets.items()):
        for number, row in enumerate(measured):
            shares = (str(Share(row[key]["hits"], row[key]["of"])) for key in ("recall", "precision", "clean"))
            first = ", at first sight" if not number else ""
            lines.append(f"| {name} | {row['tool']}{first} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _advice_table(rows: dict[str, Any]) -> str:
    """What following the first advice brought, per script."""
    lines = ["| fault | first advice for | script | repaired | mended twin | |", "|---|---|---|---|---|---|"]
    for _, row in sorted(rows.items()):
        results = row.get("results", {})
        numbers = [results.get(name) for name in ("script", "repaired", "twin")]
        cells = ["" if not results else "none" if n is None else f"{n:.4g}" for n in numbers]
        named = f"`{row['code']}`" if row["code"] else ""
        share = f"{row['outcome']}, {row['share']:.0%}" if row.get("share") is not None else row["outcome"]
        lines.append(f"| {', '.join(f'`{c}`' for c in row['expect'])} | {named} | {' | '.join(cells)} | {share} |")
    hits = Share(sum(row["outcome"] == "recovered" for row in rows.values()), len(rows))
    return "\n".join([*lines, f"| recovered | | | | | {hits} |"]) + "\n"


def _where() -> dict[str, Any]:
    found = environment()
    return {key: found[key] for key in ("date", "processor", "cpu_flags", "cores", "python", "versions")} | {
        "threads": 1
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="a01, or one variant: 'a01: seed'")
    parser.add_argument("--jobs", type=int, default=2, help="runs of the bench at a time")
    parser.add_argument("--repeats", type=int, default=3, help="of each run whose time is taken")
    parser.add_argument("--fresh", action="store_true", help="forget what is measured of these scripts")
    parser.add_argument("--set", type=Path, metavar="FOLDER", help="run the doctor on these scripts instead")
    modes = parser.add_mutually_exclusive_group()
    for mode in ("check", "overhead", "advice", "table"):
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, default="bench")
    options = parser.parse_args()
    if options.set is not None:
        other_set(options.set, options.jobs)
        return
    of = chosen(options.only)
    if options.fresh:
        _forget(options.mode, of)
    match options.mode:
        case "bench":
            bench(of, options.jobs)
        case "check":
            check(of)
        case "overhead":
            overhead(of, options.repeats)
        case "advice":
            advice(of)
        case "table":
            print(markdown(read(RESULTS)), end="")


def _forget(part: str, of: list[Variant]) -> None:
    place = LABELS if part == "check" else RESULTS
    results = read(place)
    rows = results.get(part, {}).get("rows", {}) if place == RESULTS else results.get("rows", {})
    for variant in of:
        rows.pop(variant.key, None)
    write(place, results)


if __name__ == "__main__":
    main()
