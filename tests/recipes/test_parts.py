"""The parts of the recipes that a wrong line would spoil unseen: tasks, bounds, lags, streams."""

from __future__ import annotations

import importlib
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import carousel

memory = importlib.import_module("carousel.recipes.memory.parts")
narx = importlib.import_module("carousel.recipes.narx.models")
ptb = importlib.import_module("carousel.recipes.ptb-small.run")
hmm = importlib.import_module("carousel.recipes.hmm-kalman.run")
words = importlib.import_module("carousel.recipes.word-lm.models")
feeds = importlib.import_module("carousel.recipes.word-lm.fit")
vectors = importlib.import_module("carousel.recipes.word-lm.vectors")
stacked = importlib.import_module("carousel.recipes.char-rnn.stacked")


def test_adding_problem() -> None:
    x, target = memory.adding(40, 200, torch.Generator().manual_seed(0))
    marked = x[..., 1].bool()
    assert (marked[:10].sum(0) == 1).all()
    assert (marked[10:20].sum(0) == 1).all()
    assert not marked[20:].any()
    expected = [sum(x[t, b, 0] for t in range(40) if marked[t, b]) for b in range(200)]
    torch.testing.assert_close(target, torch.stack(expected))
    assert float(target.var()) == pytest.approx(1 / 6, rel=0.3)


def test_copy_task() -> None:
    x, target = memory.copying(7, 50, torch.Generator().manual_seed(0))
    ids = x.argmax(-1)
    assert x.shape == (3 + 7 + 3, 50, 6)
    assert torch.equal(ids[:3], target)
    assert (ids[3:10] == 4).all()
    assert (ids[10] == 5).all()
    assert (ids[11:] == 4).all()


@pytest.mark.parametrize("name", list(memory.CELLS)[:4])
def test_no_gradient_is_above_its_bound(name: str) -> None:
    torch.manual_seed(0)
    network = memory.Network(name, "adding")
    cell, x = network.recurrent.cells[0], memory.adding(30, 1, torch.Generator().manual_seed(0))
    for scale in (1.0, 3.0):
        with torch.no_grad():
            for p in cell.parameters():
                p.mul_(scale)
        norms, bound = network.gradient_norms(*x), memory.bound(cell, 30)
        assert len(norms) == len(bound) == 30
        assert all(n <= b * norms[-1] * 1.0001 for n, b in zip(norms, bound, strict=True))
    if name == "vanilla":
        gamma = float(torch.linalg.svdvals(cell.weight_hh.detach())[0])
        assert bound[0] == pytest.approx(gamma**29, rel=1e-5)


def test_linear_gradients_reach_the_bound() -> None:
    cell = carousel.cells.MultiTapRNN(1, 1, taps=(1, 3))
    with torch.no_grad():
        cell.wh.copy_(torch.tensor([[0.5, 0.25]]))
    bound = memory.bound(cell, 6)
    assert bound == [0.5 * bound[1] + 0.25 * bound[3], 0.5 * bound[2] + 0.25 * bound[4], 0.5**3 + 0.25, 0.25, 0.5, 1.0]


@pytest.fixture
def series():
    random = torch.Generator().manual_seed(0)
    u, y = torch.randn(30, 2, generator=random), torch.randn(30, 1, generator=random)
    return narx.Series(u, y, {"train": slice(0, 20), "dev": slice(20, 30)}, 1.0)


def test_lags_are_those_of_the_same_time(series) -> None:
    x, past, y = series.lagged(3, "dev")
    assert (len(x), len(past), len(y)) == (7, 7, 7)
    for row, t in enumerate(range(23, 30)):
        assert torch.equal(x[row], torch.cat([series.u[t - 3 : t + 1, 0], series.u[t - 3 : t + 1, 1]]))
        assert past[row].tolist() == series.y[[t - 1, t - 2, t - 3], 0].tolist()
        assert torch.equal(y[row], series.y[t])


def test_a_free_run_lives_on_its_own_outputs(series) -> None:
    torch.manual_seed(0)
    x, past, _ = series.lagged(3, "train")
    cell = narx.NARX(x.shape[1], 3)
    with torch.no_grad():
        for p in cell.parameters():
            p.copy_(0.3 * torch.randn_like(p))
        found = narx.free_run(cell, x.unsqueeze(1), past[:1])[:, 0]
        known = past[0].tolist()
        for t in range(len(x)):
            expected = cell.one_step(x[t : t + 1], torch.tensor([known[:3]]))
            torch.testing.assert_close(found[t : t + 1], expected)
            known.insert(0, float(expected))


def test_past_errors_are_the_networks_own(series) -> None:
    torch.manual_seed(0)
    x, past, y = series.lagged(2, "train")
    cell = narx.PastErrors(x.shape[1], 2)
    with torch.no_grad():
        for p in cell.parameters():
            p.copy_(0.3 * torch.randn_like(p))
        rows = torch.cat([x, past, y], -1)
        found = carousel.nn.Recurrent([cell])(rows.unsqueeze(1))[0][:, 0]
        e = [0.0, 0.0]
        for t in range(len(x)):
            expected = cell.one_step(rows[t : t + 1, :-1], torch.tensor([e[:2]]))
            torch.testing.assert_close(found[t : t + 1], expected)
            e.insert(0, float(y[t] - expected))
        alone = cell.without(x.shape[1], 2)
        nothing = torch.zeros(len(x), 2)
        torch.testing.assert_close(alone.one_step(x, past), cell.one_step(torch.cat([x, past], -1), nothing))


def test_streams_follow_the_text() -> None:
    found = ptb.streams(torch.arange(23), 4)
    assert found.shape == (6, 4)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert found[:, 3].tolist() == [15, 16, 17, 18, 19, 20]


def test_every_string_and_itself_again() -> None:
    found = hmm.strings(3)
    assert torch.equal(found[:3], found[3:])
    assert len({tuple(column) for column in found.T.tolist()}) == found.shape[1] == 8


def test_a_run_on_words_goes_on_where_it_was_put_down(tmp_path: Path) -> None:
    data, bptt = ptb.streams(torch.arange(300) * 7 % 13, 4), carousel.TruncatedBPTT(ptb.STEPS)
    spans = bptt.spans(len(data) - 1)
    assert len(spans) == 3
    whole = ptb.Training(0, 13, 5, None)
    losses = [whole.update(data, bptt, spans) for _ in range(8)]
    begun = ptb.Training(0, 13, 5, None)
    again = [begun.update(data, bptt, spans) for _ in range(4)]
    recipe = carousel.recipes.Recipe("own", tmp_path, tmp_path / "out")
    recipe.save("training", {"now": begun.saved()})
    saved = recipe.load("training")
    assert saved is not None
    going_on = ptb.Training(1, 13, 5, saved["now"])
    again += [going_on.update(data, bptt, spans) for _ in range(4)]
    assert again == losses


def test_rates_are_halved_after_the_fourth_epoch() -> None:
    data, bptt = ptb.streams(torch.arange(90) % 5, 4), carousel.TruncatedBPTT(ptb.STEPS)
    run, rates = ptb.Training(0, 5, 3, None), []
    for _ in range(6):
        run.update(data, bptt, bptt.spans(len(data) - 1))
        rates.append(run.rule.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 1, 0.5, 0.25]


@pytest.mark.parametrize("cuts", [(3, 6), (3, 50), (50,)])
def test_softmax_by_frequency_is_that_of_its_groups(cuts: tuple[int, ...]) -> None:
    """Ln P(w) = ln P(group | head) + ln P(w | group), by hand from the scores of all words."""
    torch.manual_seed(0)
    model, guess = words.Words(10, 4, cuts), torch.randn(1, 4)
    scores = (guess @ model.vectors.T + model.bias)[0]
    borders = [0, *(cut for cut in cuts if cut < 10), 10]
    head = torch.cat([scores[: borders[1]], (guess @ model.groups.T + model.group_bias)[0]]).log_softmax(0)
    expected = [*head[: borders[1]]]
    for number, (first, last) in enumerate(itertools.pairwise(borders[1:])):
        expected += [*(head[borders[1] + number] + scores[first:last].log_softmax(0))]
    each = [model.nats(guess, word) for word in torch.arange(10).split(1)]
    torch.testing.assert_close(-torch.stack(each), torch.stack(expected))
    torch.testing.assert_close(model.nats(guess.expand(10, 4), torch.arange(10)), torch.stack(each).sum())
    assert float(torch.stack(expected).detach().exp().sum()) == pytest.approx(1, abs=1e-6)


def small_text(tmp_path: Path) -> Any:
    lines = [f"{'a b c d'.split()[k * k % 4]} <unk> {'e f'.split()[k % 2]}" for k in range(30)]
    files = {part: tmp_path / part for part in ("train", "valid", "test")}
    for file in files.values():
        file.write_text("\n".join(lines) + "\n")
    return feeds.Text(files, None)


@torch.no_grad()
def test_a_time_delay_model_sees_its_five_words_and_no_others(tmp_path: Path) -> None:
    text = small_text(tmp_path)
    feed = feeds.Positions(text, 5, 4)
    model = words.NPLM(len(text.words), 6, 3, 4, 0.0, (3,))
    ids, place = feed.ids["train"], torch.tensor([40])
    loss = model.nats(ids, place).detach()
    for away in range(-1, 8):
        changed = ids.clone()
        changed[40 - away] = (ids[40 - away] + 1) % len(text.words)
        assert torch.equal(model.nats(changed, place).detach(), loss) == (not 0 <= away <= 5)
    assert feed.updates == (len(ids) - 5) // 4


def test_both_feeds_measure_every_word_and_end_of_line_once(tmp_path: Path) -> None:
    text = small_text(tmp_path)
    even = math.log(len(text.words))

    class Even:
        def nats(self, ids: torch.Tensor, places: torch.Tensor, state: Any = None) -> Any:
            return even * places.numel() if state is None and ids.shape != places.shape else (even * places.numel(), 0)

    assert len(text.ids["valid"]) == 1 + 30 * 4
    assert feeds.Positions(text, 5, 4).nats(Even(), "valid") == pytest.approx(even)
    assert feeds.Streams(text, 2, 8).nats(Even(), "valid") == pytest.approx(even)


def test_steps_of_skip_gram_and_cbow_are_the_gradient() -> None:
    assert vectors.gradient_error() < 1e-4


def test_analogies_of_vectors_that_hold_them_exactly() -> None:
    index = {word: place for place, word in enumerate(["rise", "rose", "fall", "fell", "buy", "bought", "he", "she"])}
    table = torch.eye(5)[torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])]
    table[1::2, 4] += 1
    found = vectors.analogies(table, index)
    assert found["past"] == 1
    assert found["plural"] == 0


def test_feed_forward_layers_stand_between_the_lstms() -> None:
    """Two layers by hand: LSTM, rectified layer, LSTM, rectified layer."""
    torch.manual_seed(0)
    layer, x = carousel.nn.Recurrent(stacked.LSTMAndLayer, 3, 5, 2), torch.randn(7, 2, 3)
    output, (h, c) = layer(x)
    y = x
    for cell in layer.cells:
        lstm = carousel.nn.Recurrent([cell.lstm], backend="reference")
        hidden, _ = lstm(y)
        y = torch.relu(hidden @ cell.a.T + cell.b)
    torch.testing.assert_close(output, y)
    torch.testing.assert_close(h[-1], hidden[-1])
    assert c.shape == (2, 2, 5)
