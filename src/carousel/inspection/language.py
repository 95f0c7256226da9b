"""A language model seen from within: units, words, gates, gradients through time, memory, dynamics, depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import inspect
from ..data.text_files import find_files
from ..data.tokenizers import Tokenizer
from ..errors import DataError, UsageError
from ..nn import LanguageModel
from ..settings import Settings
from ..tasks.kinds import of_run
from ..trained import Run
from .depth import look_through_depth
from .recurrent import SETTLED, is_one_map, look_at_dynamics, look_at_gates, look_at_memory, look_through_time
from .words import Symbols, look_at_words

__all__ = ["inspect_language_model"]

Sections = list[tuple[str, str, str]]

TOKENS = 20_000
SHOWN = 1_500
"""Tokens of colored text."""
WINDOW = 256
"""Steps of what is looked at through time."""


def inspect_language_model(
    run: Run, text: str | Path | None, tokens: int, words: Sequence[str], progress: Callable[[str], object]
) -> tuple[Sections, dict[str, Any]]:
    """The sections of the page, and the numbers in them.

    Args:
        run: of a language model.
        text: to read, in place of the dev part.
        tokens: of it, at most.
        words: to be asked about, see `look_at_words`.
        progress: told what is looked at.

    Raises:
        UsageError: there are words to be asked about, and the network has no vectors, or none of these.
        DataError: the text has nothing that the network knows, or is too short.
    """
    model = run.model
    assert isinstance(model, LanguageModel)
    ids = _tokens(run, text)[:tokens]
    if len(ids) < 2 * WINDOW:
        raise DataError(f"The text has {len(ids):,} tokens; to look at a network takes {2 * WINDOW} or more.")
    decoder = run.tokenizer.stream_decoder()
    symbols = [decoder.feed(token) for token in ids.tolist()]
    sections: Sections = []
    progress("units")
    numbers: dict[str, Any] = {
        "tokens": len(ids),
        "units": [vars(one) for one in _units(model, ids, symbols, sections)],
    }
    if model.embedding is not None:
        progress("words")
        numbers["words"] = look_at_words(_symbols(model.embedding, run.tokenizer, ids), words, sections)
    elif words:
        raise UsageError("The network has no vectors of words, which is what --words asks about; leave it out.")
    windows = _windows(ids, 16, WINDOW + 1)
    one, several = (model.embed(_windows(ids, count)).detach() for count in (1, 16))
    if is_one_map(model.recurrent):
        progress("gates")
        numbers["gates"] = look_at_gates(model.recurrent, one, sections)
    progress("time")
    numbers["time"] = look_through_time(
        model, lambda: F.cross_entropy(model(windows[:-1])[0][-1], windows[-1]),
        f"The loss of the last token alone, and what of it reaches the states of the {WINDOW} steps before.", sections,
    )  # fmt: skip
    progress("memory")
    numbers["memory"] = look_at_memory(
        lambda x: torch.log_softmax(model.scores(model.recurrent(x)[0]), -1), several, "What the token k steps ago "
        "does to the probabilities of the next: by gradient, and by putting another one in its place.",
        "another token", sections,
    )  # fmt: skip
    if is_one_map(model.recurrent):
        progress("dynamics")
        along = model.embed(ids[: WINDOW + SETTLED]).detach()
        numbers["dynamics"] = look_at_dynamics(model.recurrent, along, "the text", sections)
    progress("depth")

    def loss(network: nn.Module) -> Tensor:
        return F.cross_entropy(network(windows[:-1])[0].flatten(0, 1), windows[1:].flatten())

    return sections, numbers | look_through_depth(
        model, run.untrained(), loss, f"{windows[1:].numel():,} tokens", sections
    )


def _symbols(embedding: nn.Embedding, tokenizer: Tokenizer, ids: Tensor) -> Symbols:
    """The vocabulary with its vectors; those that come in the text first."""
    names = [tokenizer.decode([number]) for number in range(tokenizer.size)]
    order = torch.bincount(ids, minlength=len(names)).argsort(descending=True, stable=True)
    return Symbols(embedding, names, tokenizer.unit, order)


def _tokens(run: Run, text: str | Path | None) -> Tensor:
    """The ids of a text, or of the run's dev part."""
    tokenizer = run.tokenizer
    if text is None:
        config = run.config
        kind = of_run(config)
        settings = Settings.from_dict(config).resolved(kind.defaults, kind=kind.name)
        corpus = kind.read(config["corpus"]["source"], settings).corpus  # pyright: ignore[reportAttributeAccessIssue]
        count, data = len(corpus.tokens), settings.data
        begin = int(count * (1 - data.dev - data.test))
        return torch.from_numpy(np.asarray(corpus.tokens[begin : begin + int(count * data.dev)], np.int64))
    ((file, _),) = find_files([text])[:1] or [(Path(text), None)]
    content = file.read_text("utf-8", "replace")
    unknown = tokenizer.unknown(content)
    if unknown and tokenizer.level == "char":
        shown = ", ".join(repr(one) for one in unknown[:10])
        content = "".join(c for c in content if c not in set(unknown))
        if not content:
            raise DataError(f"The network knows none of the characters of {file}, such as {shown}.")
    return torch.as_tensor(np.asarray(tokenizer.encode(content)), dtype=torch.int64)


def _units(model: LanguageModel, ids: Tensor, symbols: Sequence[str], sections: Sections) -> list[inspect.UnitFound]:
    ends = np.cumsum([len(symbol) for symbol in symbols]) - 1
    truths = {name: on[np.maximum(ends, 0)] for name, on in inspect.text_properties("".join(symbols)).items()}
    values = inspect.unit_values(model, ids)
    found = inspect.search_units(values, truths)
    rows = "".join(
        f"<tr><td>{escape(one.property)}</td><td>{escape(one.name)}</td><td class=number>{one.score:.3f}</td>"
        f"<td class=number>{one.control:.2f} (up to {one.highest_control:.2f})</td>"
        f"<td class=number>{100 * one.share:.0f} %</td></tr>"
        for one in found
    )  # fmt: skip
    sections.append((
        "What single units track",
        f"For each property of the text the unit that tells it best, of {len(values.names):,}: chosen on the first "
        "half of the text, scored on the second by the area under the ROC curve (0.5 is chance, 1 is always right). "
        "Control: the same search with the property moved along the text.",
        "<div class=wide><table><tr><th>property<th>unit<th class=number>score<th class=number>control"
        f"<th class=number>true in</tr>{rows}</table></div>",
    ))  # fmt: skip
    for one in _different(found)[:4]:
        without = inspect.ablation(model, ids, values, one.unit, {one.property: truths[one.property]})
        on, off = without.by_property.get(one.property, (0.0, 0.0))
        sections.append((
            f"{one.name}: {one.property}",
            f"{'High' if one.sign > 0 else 'Low'} where it is true. Held at its mean, the text costs "
            f"{without.after - without.before:+.4f} nats per token ({without.before:.3f} to {without.after:.3f}): "
            f"{on:+.4f} where it is true, {off:+.4f} elsewhere. Blue is above zero, orange and underlined below.",
            inspect.colored_text(symbols[:SHOWN], values[one.name][:SHOWN], f"{one.name} over a text"),
        ))  # fmt: skip
    return found


def _different(found: Sequence[inspect.UnitFound]) -> list[inspect.UnitFound]:
    """Each unit once, for what it tracks best."""
    seen: set[int] = set()
    return [one for one in found if one.unit not in seen and not seen.add(one.unit)]


def _windows(ids: Tensor, count: int, length: int = WINDOW) -> Tensor:
    """(length, windows) from all over the text."""
    starts = torch.linspace(0, len(ids) - length - 1, min(count, max(1, len(ids) // length))).long()
    return torch.stack([ids[s : s + length] for s in starts.tolist()], 1)
