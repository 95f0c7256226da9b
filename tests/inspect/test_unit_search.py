"""The search finds planted units and no others; ablation is exact; a text's properties are what a person would say."""

from __future__ import annotations

import doctest
import io
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.inspect import (
    UnitValues,
    ablated,
    ablation,
    colored_text,
    search_units,
    text_properties,
    unit_page,
    unit_values,
    units,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("module", [units, unit_page, sys.modules["carousel.inspect.text_properties"]])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # pyright: ignore


# -- properties -------------------------------------------------------------------------------------------------------


def marked(text: str, name: str, python: bool | None = None) -> str:
    return "".join("x" if on else "." for on in text_properties(text, python=python)[name])


def test_strings_and_comments_of_python() -> None:
    text = 'a = \'it\\\'s\' # "no"\nb = """two\nlines"""\n'
    assert marked(text, "inside a string", True) == "....xxxxxx........." + "....xxxxxxxxxxxxxx.."
    assert marked(text, "inside a comment", True) == "............xxxxxx." + "." * 20
    assert marked(text, "inside a string of three quotes", True)[23:37] == "x" * 14


def test_strings_of_real_source_are_those_of_its_tokens() -> None:
    source = Path(tokenize.__file__).read_text("utf-8")
    inside = np.zeros(len(source), bool)
    starts = np.cumsum([0, *(len(line) for line in source.splitlines(keepends=True))])
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING:
            begin, end = (int(starts[row - 1]) + column for row, column in (token.start, token.end))
            first = begin + len(token.string) - len(token.string.lstrip("rbfuRBFU"))
            inside[first : end - 1] = True
    found = text_properties(source)["inside a string"]
    places = np.flatnonzero(found != inside)
    assert not len(places), source[max(0, places[0] - 40) : places[0] + 40]


def test_prose_lines_and_brackets() -> None:
    text = 'He said: "Go (now)."\n  Then (a [b]) left.\n'
    assert marked(text, "inside quotes") == ".........xxxxxxxxxx." + "." * 22
    assert marked(text, "inside [ ]") == "." * 31 + "xx" + "." * 9
    assert marked("x (a [b]) c\n", "inside ( )", False) == "..xxxxxx...."
    assert marked("x (a [b]) c\n", "brackets two deep or more", False) == ".....xx....."
    assert marked("  ab\ncd\n", "in the spaces that begin a line", False) == "xx......"
    assert marked("  ab\ncd\n", "first character of the line", False) == "x....x.."
    assert marked("Oh. No! 3.5\n", "end of a sentence", False) == "...x...x...."
    assert marked("if a:\n  return b\n", "on a line after 'return'", True) == "." * 14 + "xx."


def test_positions_are_cut_at_their_median() -> None:
    found = text_properties("abcd\nab\n", python=False)
    (name,) = [name for name in found if name.startswith("position")]
    assert name == "position in the line >= 2"
    assert found[name].tolist() == [False, True, True, True, False, False, True, False]


# -- values and search ------------------------------------------------------------------------------------------------


class Model(nn.Module):
    def __init__(self, kind: str = "ours"):
        super().__init__()
        self.read = nn.Embedding(6, 5)
        self.rnn = carousel.nn.LSTM(5, 4, num_layers=2) if kind == "ours" else nn.LSTM(5, 4, num_layers=2)
        self.drop, self.scores = nn.Dropout(0.5), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.drop(self.rnn(self.read(x))[0]))


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_values_of_pieces_are_those_of_the_whole(kind: str) -> None:
    net, tokens = Model(kind), torch.randint(6, (300,))
    whole = unit_values(net, tokens, segments=1)
    assert whole.values.shape == (300, 16)
    _, (h, c) = net.rnn(net.read(tokens).unsqueeze(1))
    torch.testing.assert_close(torch.from_numpy(whole["rnn: h of layer 2, unit 3"][-1:]), h[1, 0, 3:4].detach())
    torch.testing.assert_close(torch.from_numpy(whole["rnn: c of layer 1, unit 0"][-1:]), c[0, 0, :1].detach())
    pieces = unit_values(net, tokens, segments=3, warm_up=90)
    np.testing.assert_allclose(pieces.values, whole.values, atol=1e-4)
    assert net.training
    with pytest.raises(UsageError, match="no unit 'x'"):
        whole["x"]


def test_the_control_of_slow_noise_is_at_chance_and_a_planted_unit_is_found() -> None:
    rng = np.random.default_rng(1)
    slow = np.cumsum(rng.normal(size=(4000, 60)), 0) * 0.05 + rng.normal(size=(4000, 60))
    inside = np.repeat(rng.random(250) < 0.5, 16)
    values = slow.astype(np.float32)
    names = [f"unit {n}" for n in range(60)]
    (chance,) = search_units(UnitValues(names, values, []), {"inside": inside})
    assert abs(chance.score - 0.5) < 0.12
    assert abs(chance.control - 0.5) < 0.1
    values[:, 20] += 3 * inside
    (found,) = search_units(UnitValues(names, values, []), {"inside": inside, "rare": np.arange(4000) == 5})
    assert (found.unit, found.sign) == (20, 1)
    assert found.score > 0.9 > found.highest_control
    truth, scores = inside[2000:], values[2000:, 20]
    higher = (scores[truth][:, None] > scores[~truth][None]).mean()
    assert found.score == pytest.approx(higher, abs=1e-6)


def test_equal_values_count_half() -> None:
    truth = np.tile([True, False], 200)
    values = np.tile([1.0, 1.0, 2.0, 1.0], 100).astype(np.float32)[:, None]
    (found,) = search_units(UnitValues(["u"], values, []), {"p": truth})
    assert found.score == pytest.approx(0.75)  # of pairs half are won, half are equal


# -- ablation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_a_held_unit_is_as_if_its_weights_said_so(kind: str) -> None:
    net, x = Model(kind).eval(), torch.randint(6, (12, 3))
    before = net(x)
    with ablated(net, "rnn", 1, "h", 2):
        without = net(x)
    torch.testing.assert_close(net(x), before)
    with torch.no_grad():  # h 2 of layer 2 is zero if its output gate is shut
        for name in ("bias_ih_l1", "bias_hh_l1"):
            net.rnn.get_parameter(name)[3 * 4 + 2] = -1e4
    torch.testing.assert_close(without, net(x))
    with pytest.raises(UsageError, match="no state 'z'"), ablated(net, "rnn", 0, "z", 0):
        pass
    with pytest.raises(UsageError, match="no recurrent layer"), ablated(net, "drop", 0, "h", 0):
        pass


def test_ablation_tells_where_a_unit_matters() -> None:
    net, tokens = Model(), torch.randint(6, (400,))
    values = unit_values(net, tokens)
    even = np.arange(400) % 2 == 0
    found = ablation(net, tokens, values, 5, {"even": even}, segments=4)
    assert len(found.rises) == 396
    assert found.after - found.before == pytest.approx(found.rises.mean(), abs=1e-5)
    on, off = found.by_property["even"]
    assert (on + off) / 2 == pytest.approx(found.after - found.before, abs=1e-5)
    assert found.rises[found.worst(1)[0] - 1] == found.rises.max()


def test_colors() -> None:
    html = colored_text("a<b\n", np.array([0.0, 1.0, 1.0, -0.5]), 'say "so"')
    assert html == (
        '<pre class="unit" role="img" aria-label="say &quot;so&quot;">a<i class="p4">&lt;b</i>'
        '<i class="n2">↵\n</i></pre>'
    )
    page = unit_page.sections_page("T & U", [("one", "two", html)])
    assert "<h1>T &amp; U</h1>" in page
    assert html in page
