"""The doctor's first advice as an edit of the script's text: what a person would do who reads the finding and no more.

A repair is chosen by the code of the finding alone, never by the script; numbers that the advice or the evidence names
are taken from there. It gives None where it finds nothing to change, and then nothing is recovered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["BY_HAND", "repaired"]

Finding = dict[str, Any]

BY_HAND = {
    "wrong-gradient": "the right derivative has to be worked out",
    "label-noise": "where inputs and labels parted has to be found",
}
"""Codes whose advice is no edit that a program can make."""

FOUND = r"([\d.]+(?:e-?\d+)?)"

RECURRENT = r"init\.(?:uniform_|normal_|constant_)\(([\w.]*weight_hh\w*), [^()]*\)"
"""How a script fills a recurrent matrix."""


def repaired(text: str, finding: Finding, steps: int) -> str | None:
    """The script with the advice of a finding followed; None where that can't be done.

    Args:
        text: the script.
        finding: as in the doctor's JSON.
        steps: updates that the run made.
    """
    repair = REPAIRS.get(finding["code"])
    changed = repair(text, finding, steps) if repair is not None else None
    return None if changed == text else changed


def _rate(by: float) -> Callable[[str, Finding, int], str | None]:
    """Another learning rate: the one the advice names as lr=…, else a tenth or ten times."""

    def repair(text: str, finding: Finding, steps: int) -> str | None:
        named = re.search(rf"lr\s*=\s*{FOUND}", finding["advice"])

        def new(found: re.Match[str]) -> str:
            return found[1] + (named[1] if named else f"{by * float(found[2]):g}")

        return re.sub(rf"(\blr=|[\"']lr[\"']: ){FOUND}", new, text)

    return repair


def _zero_grad(text: str, finding: Finding, steps: int) -> str | None:
    rule = _optimizer(text)
    return rule and re.sub(r"^([ \t]*)(.*\.backward\(\))$", rf"\1{rule}.zero_grad()\n\1\2", text, flags=re.MULTILINE)


def _softmax(text: str, finding: Finding, steps: int) -> str | None:
    text = re.sub(r"^[ \t]*(?:torch\.)?nn\.Softmax\([^()]*\),?\n", "", text, flags=re.MULTILINE)
    text = re.sub(r",\s*nn\.Softmax\([^()]*\)", "", text)
    return re.sub(r"(?:torch|F)\.softmax\(((?:[^(),]|\([^()]*\))+), dim=-?\d\)", r"\1", text)


def _loss(text: str, finding: Finding, steps: int) -> str | None:
    return text.replace("nn.NLLLoss(", "nn.CrossEntropyLoss(").replace("nll_loss", "cross_entropy")


def _modes(text: str, finding: Finding, steps: int) -> str | None:
    """eval() where gradients are off; train() is left to the script, or put before its loop over batches."""
    text = re.sub(r"(@torch\.no_grad\(\)\ndef \w+\((\w+).*\n)", r"\1    \2.eval()\n", text)
    net = re.search(r"(\w+)\.parameters\(\)", text)
    if net is None or re.search(r"\.eval\(\)", text):
        return text
    text = re.sub(r"^([ \t]*)(with torch\.no_grad\(\):)$", rf"\1{net[1]}.eval()\n\1\2", text, flags=re.MULTILINE)
    return re.sub(r"^([ \t]*)(\w+\.zero_grad\(\))$", rf"\1{net[1]}.train()\n\1\2", text, flags=re.MULTILINE)


def _shuffle(text: str, finding: Finding, steps: int) -> str | None:
    at = text.find("= DataLoader(")
    end = _closing(text, at + len("= DataLoader")) if at >= 0 else -1
    return None if end < 0 or "shuffle" in text[at:end] else f"{text[:end]}, shuffle=True{text[end:]}"


def _init(text: str, finding: Finding, steps: int) -> str | None:
    """Xavier for tanh and sigmoid, He for ReLU, orthogonal for a recurrent matrix, biases of zero."""
    smooth = re.search(r"tanh|sigmoid", text, re.IGNORECASE)
    rule = "xavier_uniform_" if smooth else "kaiming_normal_"
    weights = r"init\.(?:uniform_|normal_|constant_)\(([\w.]*weight(?!_hh)\w*), [^()]*\)"
    text = re.sub(weights, rf"init.{rule}(\1)", text)
    text = re.sub(RECURRENT, r"init.orthogonal_(\1)", text)
    return re.sub(r"init\.constant_\(([\w.]*bias), [^()]*\)", r"init.zeros_(\1)", text)


def _first_layers(text: str, finding: Finding, steps: int) -> str | None:
    """ReLU and He in place of sigmoid."""
    text = re.sub(r"nn\.Sigmoid\(\)", "nn.ReLU()", text).replace("torch.sigmoid(", "torch.relu(")
    return re.sub(r"init\.xavier_\w+\(([\w.]*weight)\)", r"init.kaiming_normal_(\1)", text)


def _scaled(text: str, finding: Finding, steps: int) -> str | None:
    named = re.search(r"x \+ (0\.\d+) \*", finding["advice"])
    return re.sub(r"return x \+ (?=[\w.]+\()", f"return x + {named[1] if named else '0.1'} * ", text)


def _residual(text: str, finding: Finding, steps: int) -> str | None:
    """A skip connection around each block; scaled if the advice says so."""
    named = re.search(r"x \+ (0\.\d+) \*", finding["advice"])
    scale = f"{named[1]} * " if named else ""
    return re.sub(
        r"return ((?:F\.|torch\.)?relu\(self\.\w+\(x\)\))$", rf"return x + {scale}\1", text, flags=re.MULTILINE
    )


def _clip(text: str, finding: Finding, steps: int) -> str | None:
    """The gradient clipped before each update, and an orthogonal recurrent matrix if the advice names it."""
    rule, net = _optimizer(text), re.search(r"(\w+)\.parameters\(\)", text)
    if rule is None or net is None or "clip_grad" in text:
        return None
    if "orthogonal" in finding["advice"]:
        text = re.sub(RECURRENT, r"init.orthogonal_(\1)", text)
    call = f"torch.nn.utils.clip_grad_norm_({net[1]}.parameters(), 1.0)"
    return re.sub(rf"^([ \t]*){rule}\.step\(", rf"\1{call}\n\g<0>", text, flags=re.MULTILINE)


def _gated(text: str, finding: Finding, steps: int) -> str | None:
    gru = "GRU" in finding["advice"] and "LSTM" not in finding["advice"]
    return re.sub(r"nn\.RNN\(", "nn.GRU(" if gru else "nn.LSTM(", text)


def _window(text: str, finding: Finding, steps: int) -> str | None:
    """The window that the advice names, else four times as long."""
    named = re.search(r"(?:window|steps?)\D{0,30}?(\d+)", finding["advice"])

    def new(found: re.Match[str]) -> str:
        return found[1] + (named[1] if named else str(4 * int(found[2])))

    return re.sub(r"^(WINDOW = )(\d+)$", new, text, flags=re.MULTILINE)


def _stopped(text: str, finding: Finding, steps: int) -> str | None:
    """The run ends where the evaluation was best."""
    best = re.search(r"best at update (\d+)", finding["evidence"])
    if best is None or not steps:
        return None
    share = int(best[1]) / steps
    epochs = r"(epochs\"?\s*[:=]\s*)(\d+)"
    return re.sub(epochs, lambda found: found[1] + str(max(1, round(share * int(found[2])))), text)


def _larger(text: str, finding: Finding, steps: int) -> str | None:
    """Eight times as many hidden units."""
    sizes = r"\b((?:h|n_hidden|hidden|hidden_size|HIDDEN|WIDTH)\"?\s*[:=]\s*)(\d+)"
    return re.sub(sizes, lambda found: found[1] + str(8 * int(found[2])), text)


def _dropped(text: str, finding: Finding, steps: int) -> str | None:
    """Without the feature that is the label."""
    named = re.search(r"(?:feature|column|input)\D{0,10}(\d+)", f"{finding['where']} {finding['evidence']}")
    return named and re.sub(
        r"^feats = (table.*)$", rf"feats = np.delete(\1, {named[1]}, axis=1)", text, flags=re.MULTILINE
    )


def _weights(text: str, finding: Finding, steps: int) -> str | None:
    """Classes weighted by one over their frequency."""
    held = re.search(r"TensorDataset\(\w+, (\w+)\)", text)
    weight = held and f"len({held[1]}) / (2.0 * torch.bincount({held[1]}))"
    return weight and text.replace("nn.CrossEntropyLoss()", f"nn.CrossEntropyLoss(weight={weight})")


def _batch_first(text: str, finding: Finding, steps: int) -> str | None:
    return re.sub(r"(nn\.(?:GRU|LSTM|RNN)\((?:(?!batch_first)[^()])*)\)", r"\1, batch_first=True)", text)


def _detached(text: str, finding: Finding, steps: int) -> str | None:
    return re.sub(r"^([ \t]*)(\w+, (\w+) = \w+\(\w+, \3\))$", r"\1\2\n\1\3 = \3.detach()", text, flags=re.MULTILINE)


def _guarded(text: str, finding: Finding, steps: int) -> str | None:
    """A small constant under the roots and in the logarithms."""
    for name in ("sqrt", "log"):
        at = text.find(f"torch.{name}(")
        if at >= 0:
            end = _closing(text, at + len(f"torch.{name}"))
            text = f"{text[:end]} + 1e-8{text[end:]}"
    return text


def _trained(text: str, finding: Finding, steps: int) -> str | None:
    """Modules in a ModuleList; no detach between the layers."""
    if "ModuleList" in finding["advice"]:
        return re.sub(r"(self\.\w+ = )\[\n((?:[ \t]+nn\..*\n)+)([ \t]*)\]", r"\1nn.ModuleList([\n\2\3])", text)
    return re.sub(r"(self\.\w+\(\w+\))\.detach\(\)", r"\1", text)


def _standardized(text: str, finding: Finding, steps: int) -> str | None:
    """All inputs by the mean and standard deviation of the training inputs."""
    names = re.findall(r"^(x\w+) = torch\.tensor\(.*\)$", text, re.MULTILINE)
    if not names:
        return None
    train = names[0]
    added = f"mean, std = {train}.mean(0), {train}.std(0)\n" + "".join(f"{x} = ({x} - mean) / std\n" for x in names)
    last = [*re.finditer(rf"^{names[-1]} = torch\.tensor\(.*\)\n", text, re.MULTILINE)][-1].end()
    return text[:last] + added + text[last:]


def _optimizer(text: str) -> str | None:
    found = re.search(r"^[ \t]*(\w+) = (?:torch\.)?optim\.\w+\(", text, re.MULTILINE)
    return found and found[1]


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens here is closed."""
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at
    return -1


REPAIRS: dict[str, Callable[[str, Finding, int], str | None]] = {
    "lr-too-high": _rate(0.1),
    "lr-too-low": _rate(10.0),
    "vanishing-gradient-depth": _first_layers,
    "exploding-gradient-depth": _scaled,
    "vanishing-gradient-time": _gated,
    "exploding-gradient-time": _clip,
    "horizon-too-short": _window,
    "saturated-activations": _init,
    "dead-relu": _init,
    "bad-init": _init,
    "too-deep-plain": _residual,
    "unnormalized-input": _standardized,
    "double-softmax": _softmax,
    "wrong-loss": _loss,
    "missing-zero-grad": _zero_grad,
    "parameters-not-training": _trained,
    "train-eval-mode": _modes,
    "unshuffled-data": _shuffle,
    "overfitting": _stopped,
    "underfitting": _larger,
    "data-leakage": _dropped,
    "class-imbalance": _weights,
    "batch-time-swapped": _batch_first,
    "state-not-detached": _detached,
    "non-finite": _guarded,
}
