"""From the plain data of `carousel doctor` to one HTML page: what is wrong, and the pictures that show it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np

from .concepts import CONCEPTS
from .doctor_figures import (
    chosen,
    curve,
    ends,
    gradient_chart,
    histogram,
    idle_bar,
    loss_chart,
    time_chart,
    updates_chart,
)
from .figures import Chart, Series, compact
from .frame import framed, heading, navigation, sections
from .words import breakable, count, figure, first_finite, plain, shown, visible, write_whole

__all__ = ["findings_list", "render_doctor_report", "write_doctor_report"]

SEVERITIES = {"error": "failed", "warning": "stopped", "note": "running"}
"""With the color of the page's head."""

MOST_FINDINGS = 200
MOST_EVALUATIONS = 3
MOST_HISTOGRAMS = 12
MOST_BARS = 24
MOST_ROWS = 600
LONGEST_NAME = 120
BETTER = 0.03
"""Of a loss: less is what batches and dropout make of it."""


def write_doctor_report(content: Mapping[str, Any], path: Path, title: str) -> None:
    """Write the page to `path`, whole or not at all; the same data give the same bytes.

    Args:
        content: what `carousel.doctor.Doctor.to_dict` gives; what it lacks is left out of the page.
        path: of the page.
        title: the script's name.

    Raises:
        RunFolderError: the file cannot be written.
    """
    write_whole(render_doctor_report(content, title), path)


def render_doctor_report(content: Mapping[str, Any], title: str) -> str:
    """The page as a string, whatever the script has set in matplotlib, NumPy and `warnings`."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        return _page(content, title)


def _page(content: Mapping[str, Any], title: str) -> str:
    signals, found = _dict(content.get("signals")), _sorted(_dicts(content.get("findings")))
    steps = first_finite(content.get("steps")) or 0.0
    layers = [_Layer(layer) for layer in _dicts(signals.get("layers"))]
    activations = _dicts(signals.get("activations"))
    parts = [
        ("findings", "Findings", findings_list(found, steps)),
        ("loss", "Loss", _loss(signals, found)),
        ("layers", "Gradients and updates through depth", _layers(layers)),
        ("activations", "Activations through depth", _histograms(activations)),
        ("idle", "Idle units", _idle(activations)),
        ("time", "Gradient through time", _time(_dict(signals.get("through_time")))),
        ("experiments", "Experiments", _experiments(signals.get("experiments"))),
    ]
    present = [(anchor, head, body) for anchor, head, body in parts if body]
    counts = {kind: sum(_severity(f) == kind for f in found) for kind in SEVERITIES}
    kinds = [count(number, kind) for kind, number in counts.items() if number]
    worst = next((of for kind, of in SEVERITIES.items() if counts[kind]), "finished" if steps else "unknown")
    summary = f"in {count(steps, 'update')} that were watched" if steps else "no update was watched"
    top = heading(title, ", ".join(kinds) or "nothing found", worst, f'<span class="quiet">{summary}</span>')
    return framed(
        title,
        program="Carousel doctor",
        kind="doctor's report",
        styles=["doctor.css"],
        header=f"{top}\n{navigation(present)}",
        main=sections(present),
    )


class _Layer:
    """A layer's curves, read."""

    def __init__(self, of: Mapping[str, Any]) -> None:
        self.where = of.get("where") or "unnamed"
        self.gradient, self.update = curve(of.get("gradient")), curve(of.get("update"))


def _severity(finding: Mapping[str, Any]) -> str:
    severity = plain(finding.get("severity"))
    return severity if severity in SEVERITIES else "note"


def _sorted(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(findings, key=lambda finding: list(SEVERITIES).index(_severity(finding)))


def findings_list(findings: Sequence[Mapping[str, Any]], steps: float) -> str:
    """The findings, the worst first, or a sentence that there are none in so many updates."""
    if not findings:
        words = f"Nothing was found in {count(steps, 'update')}." if steps else "There was nothing to judge."
        return f'<p class="card nothing">{words}</p>'
    items = [_finding(number, finding) for number, finding in enumerate(_sorted(findings)[:MOST_FINDINGS], 1)]
    left = len(findings) - len(items)
    rest = f'<p class="lead">{left:,} more are left out.</p>' if left > 0 else ""
    return f'<ul class="findings">\n{"".join(items)}\n</ul>{rest}'


def _finding(number: int, of: Mapping[str, Any]) -> str:
    kind, code, step = _severity(of), plain(of.get("code") or "unnamed"), first_finite(of.get("step"))
    head = f'<span class="number">{number}</span><span class="severity">{kind.capitalize()}</span>'
    head += f"<code>{shown(code, LONGEST_NAME)}</code>"
    if of.get("where"):
        head += f'<span class="where">{breakable(of["where"], 400)}</span>'
    seen = f" First seen at step {compact(step, 9)}." if step else ""
    lines = [f'<p class="evidence">{shown(of.get("evidence") or "")}{seen}</p>'] if of.get("evidence") or seen else []
    consequences = [f"<code>{shown(c, LONGEST_NAME)}</code>" for c in _list(of.get("consequences"))[:30]]
    lines += [f"<p>It explains {', '.join(consequences)} too.</p>"] if consequences else []
    lines += [f"<p><strong>What to do:</strong> {shown(of['advice'])}</p>"] if of.get("advice") else []
    if code in CONCEPTS:
        concept, sentence = CONCEPTS[code]
        lines.append(
            f'<p class="behind"><strong>Behind it: {concept}.</strong> {shown(sentence[0].upper() + sentence[1:])}</p>'
        )
    return f'<li class="finding {kind}" id="finding-{number}"><h3>{head}</h3>{"".join(lines)}</li>'


def _loss(signals: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> str:
    loss = curve(signals.get("loss"))
    every = [(_cut(kind), curve(points)) for kind, points in _dict(signals.get("evaluations")).items()]
    evaluations = [(f"{kind}, evaluated", data) for kind, data in every if len(data)]
    marks = [(first_finite(f.get("step")) or 0.0, number) for number, f in enumerate(findings[:MOST_FINDINGS], 1)]
    chart = loss_chart(loss, evaluations[:MOST_EVALUATIONS], marks)
    if chart is None:
        return ""
    lead = "What training lowers. A dashed line marks the step at which a finding shows first." if marks else ""
    lead += _left_out(len(evaluations) - MOST_EVALUATIONS, "kind of evaluation")
    return _lead(lead) + f'<div class="charts">{figure(chart)}</div>'


def _layers(layers: Sequence[_Layer]) -> str:
    gradient = gradient_chart([layer.gradient for layer in layers])
    updates = updates_chart([layer.update for layer in layers])
    if not any(len(layer.gradient) or len(layer.update) for layer in layers):
        return ""
    lead = (
        "Layers are numbered from the input on. Healthy gradients have about the same size in all of them; a line that "
        "climbs or falls by powers of ten is a signal that shrinks or grows on its way. "
        if gradient is not None
        else ""
    )
    lead += "A step should change a weight by about 0.1 to 1 % of its size, the shaded band: far above it training is "
    lead += "jagged, far below it stands still."
    for what, curves in (("gradient", [la.gradient for la in layers]), ("update", [la.update for la in layers])):
        zero = sum(1 for data in curves if _median(data) == 0)
        noun = "the only layer" if len(layers) == 1 else f"{zero:,} of {len(layers):,} layers"
        lead += f" <b>The {what} of {noun} was 0 at most looks.</b>" if zero else ""
    rows = [
        f'<tr><th scope="row">{number}. {breakable(layer.where, 400)}</th>'
        + "".join(f"<td>{compact(value, 3)}</td>" for value in (*ends(layer.gradient), _median(layer.update)))
        + "</tr>"
        for number, layer in enumerate(layers[:MOST_ROWS], 1)
    ]
    heads = ("layer", "gradient ÷ weight, start", "the same, end", "update ÷ weight, median")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    summary = f'<summary>The layers by number<span class="quiet">{count(len(layers), "layer")}</span></summary>'
    more = _lead(_left_out(len(layers) - MOST_ROWS, "layer"))
    details = f'<details>{summary}<div class="scroll" tabindex="0">{table}{more}</div></details>'
    return _lead(lead) + _two(gradient, updates) + details


def _histograms(activations: Sequence[Mapping[str, Any]]) -> str:
    drawn = [(of, picture) for of in activations if (picture := histogram(of, plain(of.get("kind")))) is not None]
    if not drawn:
        return ""
    cards = []
    for number, (of, (svg, low, high)) in chosen(drawn, MOST_HISTOGRAMS):
        sizes = [f"{compact(value, 3)}" for value in ends(curve(of.get("size"))) if value is not None]
        size = f'<p class="sizes">size {" → ".join(sizes)}</p>' if sizes else ""
        head = f"<h3><span>{number}</span> {breakable(of.get('where') or 'unnamed', LONGEST_NAME)}"
        head += f" <span>{shown(of.get('kind') or '', 40)}</span></h3>"
        labels = [compact(low, 3), compact(high, 3)] if low < high else ["", f"all {compact(low, 3)}", ""]
        scale = f'<p class="scale">{"".join(f"<span>{label}</span>" for label in labels)}</p>'
        cards.append(f"<figure>{head}{svg}{scale}{size}</figure>")
    lead = (
        "How the outputs are distributed at an early look and at the latest one; heights are square roots, each look "
        "scaled to its own peak. <em>Size</em> is the root mean square, at the start and at the end. "
        "The shapes should be alike through depth: not all in one place, nor all at the ends of the scale."
    )
    lead += _left_out(len(drawn) - len(cards), "layer", f"{len(cards)} of {len(drawn):,} are shown, evenly chosen; ")
    keys = '<span class="key box first">early look</span><span class="key box last">latest look</span>'
    return f'{_lead(lead)}<p class="legend">{keys}</p><div class="histograms">\n{"".join(cards)}\n</div>'


def _idle(activations: Sequence[Mapping[str, Any]]) -> str:
    bars = [(of, bar) for of in activations if (bar := idle_bar(_list(of.get("idle")))) is not None]
    if not bars:
        return ""
    some = [(number, of, bar) for number, (of, bar) in chosen(bars, MOST_BARS)]
    rows = [
        f"<div><span>{number}. {breakable(of.get('where') or 'unnamed', LONGEST_NAME)}</span>{svg}"
        f"<span>{always:,} of {units:,} always idle</span></div>"
        for number, of, (svg, always, units) in some
    ]
    lead = (
        "A unit is idle at a sample if its derivative there is next to nothing: a ReLU that is zero, a sigmoid or tanh "
        "at its limit. Each bar holds the units of a layer, the idlest first. Half idle is usual for ReLU; a unit that "
        "is idle at every sample learns nothing anymore."
    )
    lead += _left_out(len(bars) - len(some), "layer", f"{len(some)} of {len(bars):,} are shown, evenly chosen; ")
    names = (("always", "at 99 % of samples or more"), ("mostly", "90 %"), ("half", "50 %"), ("working", "less"))
    keys = "".join(f'<span class="key box {kind}">{name}</span>' for kind, name in names)
    return f'{_lead(lead)}<p class="legend">{keys}</p><div class="card units">\n{"".join(rows)}\n</div>'


def _time(of: Mapping[str, Any]) -> str:
    start, end = _dict(of.get("start")), _dict(of.get("end"))
    last, loss = (
        time_chart(_list(start.get(name)), _list(end.get(name)), of_loss=name == "loss") for name in ("last", "loss")
    )
    if last is None and loss is None:
        return ""
    kind = shown(start.get("kind") or end.get("kind") or "recurrent network", LONGEST_NAME)
    lead = (
        f"Of <code>{kind}</code>, read from right to left: what is left of the gradient on its way back to the first "
        "step. A level line lets the network learn from inputs long past; a straight slope is exponential decay or "
        "growth, the same factor at every step."
    )
    return _lead(lead) + _two(last, loss)


def _two(*found: Chart | None) -> str:
    drawn = "".join(figure(chart) for chart in found if chart)
    return f'<div class="charts two">\n{drawn}</div>' if drawn else ""


def _experiments(of: Any) -> str:
    if not isinstance(of, Mapping) or not of:
        return ""
    known = {name: of[name] for name in EXPERIMENTS if of.get(name) is not None}
    others = [name for name in of if name not in (*EXPERIMENTS, "why_not", "batches", "seconds")]
    rows = [row for name, value in known.items() for row in EXPERIMENTS[name](value)]
    rows += [(shown(name, LONGEST_NAME), shown(of[name], 300)) for name in others[:MOST_ROWS] if of[name] is not None]
    why_not = of.get("why_not")
    if not rows:
        why = f"There are none: {shown(why_not, 400)}." if why_not else "None was made."
        return f'<p class="card nothing">{why}</p>'
    batches, seconds = first_finite(of.get("batches")), first_finite(of.get("seconds"))
    lead = "Made with copies of the network in a process of their own; the run knows nothing of them."
    lead += f" They learn from {count(batches, 'recorded batch').replace('batchs', 'batches')}" if batches else ""
    lead += "; a part is held out, and losses are of that part." if batches else ""
    lead += f" All of them took {compact(seconds, 3)} seconds." if seconds else ""
    body = "".join(f'<tr><th scope="row">{what}</th><td>{came}</td></tr>' for what, came in rows)
    return f'{_lead(lead)}<div class="card tried"><table><tbody>{body}</tbody></table></div>'


Row = tuple[str, str]


def _rates(of: Any) -> Iterable[Row]:
    of = _dict(of)
    after = {f: first_finite(v) for k, v in _dict(of.get("after")).items() if (f := first_finite(k)) is not None}
    own = after.get(1.0)
    items, better = [], False
    for factor, value in sorted(after.items()):
        gains = own is not None and value is not None and value < own - BETTER * abs(own)
        better = better or gains
        kinds = " ".join(name for name, is_so in (("own", factor == 1), ("better", gains)) if is_so)
        name = "the script's own" if factor == 1 else f"{compact(factor)} times"
        loss = "no finite loss" if value is None else compact(value, 4)
        items.append(f'<li class="{kinds}">{name}: <b>{loss}</b></li>')
    what = f"Other learning rates, {count(first_finite(of.get('updates')) or 0, 'update')} each from the same start"
    words = "In green what is better than the script's own." if better else "None is markedly better than the script's."
    start = f"From a loss of {_number(of, 'start')}, the updates lead to this, by learning rate. {words}"
    yield what, f'{start}<ul class="rates">{"".join(items)}</ul>'


def _standardized(of: Any) -> Iterable[Row]:
    of = _dict(of)
    sizes = f"The largest feature has a root mean square of {_number(of, 'largest')}, {_number(of, 'spread')} times the"
    yield "Every input feature standardized, from the same start", f"{_fell(of)} {sizes} median of the features."


def _shallow(of: Any) -> Iterable[Row]:
    of = _dict(of)
    yield f"Most of the {_number(of, 'layers')} layers of equal size taken out, from the same start", _fell(of)


def _reference(of: Any) -> Iterable[Row]:
    yield "A plain reference network with two hidden layers, on the same batches", _fell(_dict(of))


def _reliance(of: Any) -> Iterable[Row]:
    of = _dict(of)
    loss, mixed = first_finite(of.get("loss")), first_finite(of.get("mixed"))
    words = f"The loss is {compact(loss, 3)} with its own inputs, {compact(mixed, 3)} with those of others."
    if loss is not None and mixed is not None and loss > 0 and mixed < 1.05 * loss:
        words += " The network makes no use of its inputs."
    yield "Inputs exchanged between samples, at the end of the run", words


def _axes(of: Any) -> Iterable[Row]:
    of = _dict(of)
    lone, first = first_finite(of.get("lone")), "batch" if of.get("batch_first") else "time"
    words = f"It takes its data for {_number(of, 'samples')} samples of {_number(of, 'steps')} steps, {first} first."
    if lone is not None and lone >= 0:
        words += f" The loss sees it through sample {compact(lone)} alone: the axes look exchanged."
    elif of.get("same"):
        words += " All samples have the same part in the loss at each step, and steps differ."
    else:
        words += " The parts that samples and steps have in the loss look right."
    yield f"Which samples and steps of <code>{shown(of.get('kind') or 'it', 80)}</code> reach the loss", words


def _gradients(of: Any) -> Iterable[Row]:
    for each in _dicts(of)[:MOST_ROWS]:
        wrong, tried = len(_list(each.get("wrong"))), int(first_finite(each.get("tried")) or 0)
        words = f"It differs in {wrong:,} of {tried:,} random directions." if wrong else "It agrees."
        name = shown(each.get("name") or "a function", LONGEST_NAME)
        yield f"The backward of <code>{name}</code> against difference quotients of its forward", words


def _lags(of: Any) -> Iterable[Row]:
    of = _dict(of)
    words = (
        f"The best lag within the window explains {_percent(of, 'within')} of the target's variance, the best beyond "
        f"it, {_number(of, 'lag')} steps back, {_percent(of, 'beyond')}."
    )
    yield f"Inputs further back than the window of {_number(of, 'window')} steps", words


def _followed(when: str) -> Any:
    def row(of: Any) -> Iterable[Row]:
        norms = [v for v in map(first_finite, _list(_dict(of).get("last"))) if v is not None]
        if norms:
            words = f"{compact(norms[0], 3)} times that of the last state is left at the first of {len(norms):,} steps."
            yield f"The gradient followed back through the steps, with the weights of the {when}", words

    return row


EXPERIMENTS: dict[str, Any] = {
    "learning_rates": _rates,
    "standardized": _standardized,
    "shallow": _shallow,
    "reference": _reference,
    "reliance": _reliance,
    "axes": _axes,
    "lags": _lags,
    "gradients": _gradients,
    "through time, start": _followed("start"),
    "through time, end": _followed("end"),
}
"""By name, what it was and what came of it, in plain words."""


def _fell(of: Mapping[str, Any]) -> str:
    if first_finite(of.get("after")) is None:
        return f"The loss starts at {_number(of, 'start')} and ends as no finite number."
    return f"The loss goes from {_number(of, 'start')} to <b>{_number(of, 'after')}</b>."


def _number(of: Mapping[str, Any], key: str) -> str:
    return compact(first_finite(of.get(key)), 3)


def _percent(of: Mapping[str, Any], key: str) -> str:
    value = first_finite(of.get(key))
    return "–" if value is None else f"{compact(100 * value, 2)} %"


def _median(data: Series) -> float | None:
    return median(data.values.tolist()) if len(data) else None


def _left_out(number: int, noun: str, before: str = "") -> str:
    if number <= 0:
        return ""
    said = before + (f"{number:,} {noun}s are left out." if number > 1 else f"one {noun} is left out.")
    return f" {said[0].upper()}{said[1:]}"


def _lead(words: str) -> str:
    return f'<p class="lead">{words.strip()}</p>\n' if words.strip() else ""


def _cut(name: Any) -> str:
    words = visible(plain(name))
    return words if len(words) <= 40 else f"{words[:39]}…"


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]
