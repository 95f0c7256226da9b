"""From the plain data of a run to `report.html`: one file that needs no network, for screen, phone and paper."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from carousel.report.doctor import findings_list
from carousel.report.figures import compact, loss_text, read_number, series
from carousel.report.frame import asset, framed, heading, navigation, sections
from carousel.report.panels import render_panels
from carousel.report.run_figures import charts
from carousel.report.words import count, figure, first_finite, plain, shown, table, write_whole

__all__ = ["ReportData", "render_report", "write_report"]

STATUSES = ("finished", "stopped", "running", "failed")
MOST_SAMPLES = 6
MOST_SAMPLE_CHARACTERS = 4_000
MOST_ROWS = 600


class Tile(NamedTuple):
    """One of the numbers at the top: `value` in `unit`, and a sentence for those who meet it for the first time."""

    label: str
    value: str
    unit: str
    note: str


@dataclass
class ReportData:
    """What the page shows, as plain Python data; whatever is missing is left out of the page.

    `metrics` are the lines of metrics.jsonl: `step`, `seconds`, `epoch`, `train_loss`, `lr`, `grad_norm` (before
    clipping), `grad_norm_clipped`, `tokens_per_second`, and `dev_loss` where evaluated; losses in nats per token.
    `samples` have `step`, `seconds`, `dev_loss`, `text`, `prompt`, `temperature`. `summary` has `best_dev_loss`,
    `best_step`, `final_train_loss`, `seconds`, `tokens_per_second`, `test_loss`; what it lacks comes from the metrics.
    `findings` have `code`, `severity`, `where`, `evidence`, `advice`; `watched` is in how many updates they were looked
    for. `fixes` are restarts with other settings: `code`, `step`, `evidence`, and in `changes` [old, new] by name.
    """

    title: str
    name: str = ""
    status: str = "finished"
    message: str | None = None
    unit: str = "character"
    measure: str | None = None
    loss_in: str | None = None
    choices: int | None = None
    facts: Sequence[str] = ()
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    panels: Sequence[Mapping[str, Any]] = ()
    vocabulary_size: int | None = None
    parameters: int | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Mapping[str, Any]] = ()
    watched: int | None = None
    fixes: Sequence[Mapping[str, Any]] = ()
    network: Sequence[tuple[str, str]] = ()
    equations: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    reproduce: Sequence[str] = ()
    next_commands: Sequence[tuple[str, str]] = ()


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path`, whole or not at all; the same data give the same bytes.

    Raises:
        RunFolderError: the file cannot be written.
    """
    write_whole(render_report(data), path)


def render_report(data: ReportData) -> str:
    """The page as a string."""
    parts = [
        ("findings", "What the doctor says", _findings(data)),
        ("curves", "Curves", _curves(data)),
        ("results", "Results", render_panels(data.panels)),
        ("samples", "Samples", _samples(data.samples)),
        ("network", "Network", _network(data)),
        ("configuration", "Configuration", _configuration(data.config)),
        ("environment", "Environment and reproduction", _environment(data)),
    ]
    present = [(anchor, title, body) for anchor, title, body in parts if body]
    status = data.status if data.status in STATUSES else "unknown"
    message = f'<p class="message {status}">{shown(data.message)}</p>' if data.message else ""
    top = heading(data.title, data.status, status, f"<code>{shown(data.name)}</code>")
    links = navigation([*present, ("reading", "Reading the curves", "")])
    return framed(
        data.title,
        kind="training report",
        header=f"{top}\n{message}\n{links}\n{_tiles(data)}",
        main=sections(present),
        footer=asset("reading.html"),
    )


def _tiles(data: ReportData) -> str:
    tiles = [*_loss_tiles(data), *_metric_tiles(data), *_cost_tiles(data), *_test_tiles(data)]
    cells = [
        f'<div class="tile"><dt>{shown(tile.label)}</dt><dd class="value">{shown(tile.value)}</dd>'
        f'<dd class="unit">{shown(tile.unit)}</dd><dd class="note">{shown(tile.note)}</dd></div>'
        for tile in tiles
    ]
    columns = len(cells) if len(cells) <= 5 else 4 if len(cells) in (7, 8) else 3
    return f'<dl class="tiles" style="--columns: {columns}">\n' + "\n".join(cells) + "\n</dl>"


def _loss_tiles(data: ReportData) -> list[Tile]:
    """The loss that counts, on held-out data where there are any, and the same loss in its other usual measure."""
    unit, size, guess = _unit(data), data.choices or data.vocabulary_size, ""
    if size and size > 1:
        guess = f" Guessing evenly among {size:,} would give ln\u00a0{size:,}\u00a0=\u00a0{loss_text(math.log(size))}."
    dev, train = series(data.metrics, "dev_loss"), series(data.metrics, "train_loss")
    label, loss = "Dev loss", first_finite(data.summary.get("best_dev_loss"), dev.values.min() if len(dev) else None)
    kind = _of(data)
    surprise = "Loss" if data.loss_in else f"Surprise per {unit}"
    held, own = f"held-out {kind}", f"the {kind} it learns from"
    if loss is not None:
        step = first_finite(data.summary.get("best_step"), dev.steps[dev.values.argmin()] if len(dev) else None)
        where = f", kept from step {compact(step, 9)}" if step is not None else ""
        note = f"{surprise} on {held}{where}. Lower is better."
    else:
        label = "Train loss"
        loss = first_finite(data.summary.get("final_train_loss"), train.values[-1] if len(train) else None)
        note = f"{surprise} on {own}. Nothing was evaluated on {held}."
        note = note if loss is not None else "No finite loss was logged."
    first = Tile(label, loss_text(loss), data.loss_in or f"nats per {unit}", note + guess)
    even = bool(guess and size)
    if _measure(data) == "perplexity":
        note = "e to the power of the loss: as unsure as choosing evenly among this many words."
        note += f" Guessing evenly: {size:,}." if even else ""
        return [first, Tile("Perplexity", _perplexity(loss), "words", note)]
    if _measure(data) == "bits":
        note = "The loss divided by ln\u00a02: what a compressor built on this network would need."
        note += f" Guessing evenly: {_bits(math.log(size or 1))}." if even else ""
        return [first, Tile(f"Bits per {unit}", _bits(loss), "bits", note)]
    return [first]


def _metric_tiles(data: ReportData) -> list[Tile]:
    """What else was measured on held-out data, with the weights that are kept."""
    return [
        Tile(str(words.get("label") or name), *_metric(words, value), str(words.get("note") or ""))
        for name, words in data.labels.items()
        if (value := read_number(data.summary.get(f"best_dev_{name}"))) is not None
    ]


def _metric(words: Mapping[str, Any], value: float) -> tuple[str, str]:
    """A number and its unit."""
    if words.get("percent"):
        return f"{100 * value:.1f}", "percent of the dev part"
    return compact(value), "on the dev part"


def _cost_tiles(data: ReportData) -> list[Tile]:
    unit, read = _unit(data), {key: series(data.metrics, key) for key in ("tokens_per_second", "seconds", "epoch")}
    rates, clock, epochs = (column.values for column in read.values())
    rate = first_finite(data.summary.get("tokens_per_second"), rates.mean() if len(rates) else None)
    speed, many = _scaled(rate)
    time, time_unit = _duration(first_finite(data.summary.get("seconds"), clock.max() if len(clock) else None))
    steps = [step for line in data.metrics if (step := first_finite(line.get("step"))) is not None]
    done = [count(max(steps), "step")] if steps else []
    done += [f"{count(epochs.max(), 'epoch')} (passes over the {_of(data)})"] if len(epochs) else []
    size, size_word = _scaled(read_number(data.parameters), digits=6)
    exact = f": {data.parameters:,} exactly" if size_word else ""
    reading = f"{unit.capitalize()}s read per second of training, on average."
    took = " ".join(["Training and dev evaluation.", *([f"{', '.join(done)}."] if done else [])])
    return [
        Tile("Speed", speed, f"{many} {unit}s per second".strip(), reading),
        Tile("Time", time, time_unit, took),
        Tile("Parameters", size, size_word or "numbers", f"The numbers that training adjusts{exact}."),
    ]


def _test_tiles(data: ReportData) -> list[Tile]:
    loss = read_number(data.summary.get("test_loss"))
    if loss is None:
        return []
    others = {"perplexity": f" · perplexity {_perplexity(loss)}", "bits": f" · {_bits(loss)} bits"}
    also = others.get(_measure(data), "")
    note = f"On {_of(data)} used for no choice at all: the number to quote."
    tiles = [Tile("Test loss", loss_text(loss), (data.loss_in or f"nats per {_unit(data)}") + also, note)]
    for name, words in data.labels.items():
        value = read_number(data.summary.get(f"test_{name}"))
        if value is not None:
            label = str(words.get("label") or name)
            number, of = _metric(words, value)
            tiles.append(
                Tile(
                    f"Test {label if label[1:2].isupper() else label[:1].lower() + label[1:]}",
                    number,
                    of.replace("dev", "test"),
                    note,
                )
            )
    return tiles


def _findings(data: ReportData) -> str:
    fixes = "".join(f'<p class="lead">{_fix(fix)}</p>\n' for fix in data.fixes)
    return fixes + (findings_list(data.findings, data.watched or 0) if data.findings or data.watched else "")


def _fix(of: Mapping[str, Any]) -> str:
    changes = of.get("changes")
    pairs = changes.items() if isinstance(changes, Mapping) else ()
    what = ", ".join(f"{shown(name)} from {shown(old)} to {shown(new)}" for name, (old, new) in pairs)
    return (
        f"Begun anew at step {shown(of.get('step'))} with {what or 'other settings'}, because of "
        f"<code>{shown(of.get('code') or 'unnamed')}</code>: {shown(of.get('evidence') or '')}"
    )


def _curves(data: ReportData) -> str:
    drawn = charts(data.metrics, _unit(data), data.choices or data.vocabulary_size, _measure(data), data.loss_in)
    notes = []
    lost = series(data.metrics, "train_loss").lost
    if lost:
        many = f"{len(lost):,} logged losses are" if len(lost) > 1 else "One logged loss is"
        notes.append(f"{many} NaN or infinite, first at step {compact(lost[0], 9)}; no curve can show that.")
    if not data.metrics:
        notes.append("No step was logged yet, so there is nothing to draw.")
    elif not drawn:
        notes.append("The log holds no number that can be drawn.")
    lead = f'<p class="lead">{" ".join(notes)}</p>\n' if notes else ""
    return lead + (f'<div class="charts">\n{"".join(map(figure, drawn))}</div>' if drawn else "")


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return ""
    ordered = sorted(samples, key=lambda sample: first_finite(sample.get("step")) or 0.0)
    number = min(len(ordered), MOST_SAMPLES)
    chosen = [ordered[round(place * (len(ordered) - 1) / max(number - 1, 1))] for place in range(number)]
    columns = {1: 1, 2: 2, 4: 2}.get(number, 3)
    prompts = {plain(sample.get("prompt") or "") for sample in chosen}
    heats = {first_finite(sample.get("temperature")) for sample in chosen}
    lead = "What the network writes, from its first attempts to its last."
    prompt = next(iter(prompts)) if len(prompts) == 1 else ""
    if prompt:
        lead += f" Each continues the prompt <code>{shown(prompt, 200)}</code>."
    if len(heats) == 1 and (heat := next(iter(heats))) is not None:
        lead += f" Temperature {compact(heat, 3)}: lower is more cautious, higher more daring."
    cards = "\n".join(_sample(sample, len(prompts) > 1, len(heats) > 1) for sample in chosen)
    return f'<p class="lead">{lead}</p>\n<div class="samples" style="--columns: {columns}">\n{cards}\n</div>'


def _sample(sample: Mapping[str, Any], show_prompt: bool, show_heat: bool) -> str:
    step, seconds = first_finite(sample.get("step")), first_finite(sample.get("seconds"))
    loss, heat = read_number(sample.get("dev_loss")), first_finite(sample.get("temperature"))
    prompt, written = plain(sample.get("prompt") or ""), plain(sample.get("text") or "")
    facts = [f"after {' '.join(_duration(seconds))}"] if seconds is not None else []
    facts += [f"dev loss {loss_text(loss)}"] if loss is not None else []
    facts += [f"temperature {compact(heat, 3)}"] if show_heat and heat is not None else []
    facts += [f"prompt <code>{shown(prompt, 100)}</code>"] if show_prompt and prompt else []
    head = f"<h3>{f'Step {compact(step, 9)}' if step is not None else 'Sample'}</h3>{' · '.join(facts)}"
    body = shown(written, MOST_SAMPLE_CHARACTERS)
    if prompt and written.startswith(prompt) and len(prompt) < MOST_SAMPLE_CHARACTERS:
        rest = shown(written[len(prompt) :], MOST_SAMPLE_CHARACTERS)
        body = f'<span class="prompt">{shown(prompt, MOST_SAMPLE_CHARACTERS)}</span>{rest}'
    # A parser drops the first line break after <pre>: write one of our own.
    return f'<article class="sample"><header>{head}</header><pre tabindex="0">\n{body or "(empty)"}</pre></article>'


def _network(data: ReportData) -> str:
    facts = [f"{data.parameters:,} parameters."] if data.parameters is not None else []
    if data.facts:
        facts += map(shown, data.facts)
    elif data.vocabulary_size:
        facts.append(f"A vocabulary of {data.vocabulary_size:,} {shown(_unit(data))}s.")
    cards = []
    if data.network:
        layers = [(name, shown(what)) for name, what in data.network]
        cards.append(f'<div class="card network"><h3>Layers</h3>{table(layers)}</div>')
    if data.equations.strip():
        code = shown(textwrap.dedent(data.equations).strip("\n"), 20_000)
        code = f'<pre class="code" tabindex="0"><code>{code}</code></pre>'
        cards.append(f'<div class="card"><h3>One step of the cell</h3>{code}</div>')
    if not cards:
        return ""
    lead = f'<p class="lead">{" ".join(facts)}</p>\n' if facts else ""
    return f'{lead}<div class="pair">\n{"".join(cards)}\n</div>'


def _configuration(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    groups: dict[str, list[tuple[str, Any]]] = {"General": []}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            groups[str(key)] = list(_flat(value))
        else:
            groups["General"].append((str(key), value))
    total, left, blocks = sum(map(len, groups.values())), MOST_ROWS, []
    for title, rows in groups.items():
        if rows and left > 0:
            cells = [(key, shown(value, 400)) for key, value in rows[:left]]
            blocks.append(f"<div><h3>{shown(title)}</h3>{table(cells)}</div>")
            left -= len(rows)
    rest = f"{total - MOST_ROWS:,} more settings are in the run's own configuration file."
    more = f"<div><p>{rest}</p></div>" if total > MOST_ROWS else ""
    head = f'<summary>Every setting of this run<span class="quiet">{total:,} values</span></summary>'
    return f'<details>{head}<div class="settings">\n{"".join(blocks)}{more}\n</div></details>'


def _environment(data: ReportData) -> str:
    cards = []
    if data.environment:
        rows = [(key, shown(value)) for key, value in _flat(data.environment)][:MOST_ROWS]
        cards.append(f'<div class="card"><h3>Where it ran</h3>{table(rows)}</div>')
    commands = []
    if data.reproduce:
        items = "".join(f"<li>{_command(command)}</li>" for command in data.reproduce)
        commands.append(f'<div class="card"><h3>Run it again</h3><ul class="commands">{items}</ul></div>')
    if data.next_commands:
        pairs = [(shown(what), _command(command)) for command, what in data.next_commands]
        items = "".join(f'<li><p class="quiet">{what}</p>{command}</li>' for what, command in pairs)
        commands.append(f'<div class="card"><h3>What to do next</h3><ul class="commands">{items}</ul></div>')
    if commands:
        cards.append(f'<div class="stack">{"".join(commands)}</div>')
    return f'<div class="pair">\n{"".join(cards)}\n</div>' if cards else ""


def _unit(data: ReportData) -> str:
    return data.unit or "token"


def _measure(data: ReportData) -> str:
    return data.measure or ("perplexity" if _unit(data) == "word" else "bits")


def _of(data: ReportData) -> str:
    return "data" if _measure(data) == "nats" else "text"


def _bits(loss: float | None) -> str:
    return loss_text(None if loss is None else loss / math.log(2))


def _perplexity(loss: float | None) -> str:
    return compact(None if loss is None else math.exp(loss) if loss < 700 else loss * math.inf)


def _scaled(value: float | None, digits: int = 4) -> tuple[str, str]:
    """1,234,567 as ("1.23", "million"), below a million to so many digits."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value is not None and size <= value < 1e15:
            return compact(float(f"{value / size:.3g}"), 3), word
    return compact(float(f"{value:.{digits}g}") if value is not None else None, digits), ""


def _duration(seconds: float | None) -> tuple[str, str]:
    """("42.5", "seconds"), ("3:02", "minutes") or ("1:05", "hours")."""
    if seconds is None or seconds < 60:
        return compact(seconds, 3), "seconds"
    if seconds < 3_600:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02}", "minutes"
    minutes = int(seconds) // 60
    return f"{minutes // 60:,}:{minutes % 60:02}", "hours"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """A nested dict as dotted names with their values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _command(command: str) -> str:
    """A command that breaks between its words only, never inside an option such as `--steps`."""
    words = re.sub(r"\S+", r"<span>\g<0></span>", shown(command))
    return f"<code>{words}</code>"
