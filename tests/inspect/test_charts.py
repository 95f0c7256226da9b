"""Every result has a picture that shows its numbers."""

from __future__ import annotations

import doctest
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from carousel.errors import UsageError
from carousel.inspect import (
    carried_gradients,
    charts,
    draw,
    eigenvalues,
    gradients_through_time,
    impulse_response,
    lyapunov,
    memory_by_gradient,
    quantities,
    svg_text,
    through_depth,
    watch_depth,
)


@pytest.fixture
def results() -> dict[str, Any]:
    torch.manual_seed(0)
    rnn, x = nn.RNN(2, 6), torch.randn(40, 3, 2)
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with watch_depth(net, optimizer, every=1) as history:
        for _ in range(3):
            optimizer.zero_grad()
            net(x[0]).mean().backward()
            optimizer.step()
    return {
        "gradients": gradients_through_time(rnn, lambda: rnn(x)[0][-1].square().sum()),
        "carry": carried_gradients(rnn, x[:, 0]),
        "memory": memory_by_gradient(rnn, x),
        "memories": {"by gradient": memory_by_gradient(rnn, x)},
        "lyapunov": lyapunov(rnn, x[:, 0], discard=0),
        "response": impulse_response(rnn, steps=20),
        "eigenvalues": eigenvalues(rnn, torch.zeros(1, 6)),
        "gates": quantities(nn.LSTM(2, 4, num_layers=2), x),
        "depth": through_depth(net, lambda: net(x).mean()),
        "history": history,
    }


def test_examples() -> None:
    assert doctest.testmod(charts).failed == 0


def test_each_has_a_picture(results: dict[str, Any]) -> None:
    for name, found in results.items():
        text = svg_text(draw(found), f'{name} <&> "it"')
        root = ElementTree.fromstring(text)
        assert root.attrib["aria-label"] == f'{name} <&> "it"'
        assert text == svg_text(draw(found), f'{name} <&> "it"'), name


def test_what_is_drawn_are_the_numbers(results: dict[str, Any]) -> None:
    (axis,) = draw(results["carry"]).axes
    drawn = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    torch.testing.assert_close(torch.tensor(drawn["largest singular value"]), results["carry"].spectral)
    assert any(label.startswith("bound") for label in drawn)
    axes = draw(results["gates"]).axes[:-1]
    titles = [axis.get_title("left") for axis in axes]
    assert len(titles) == 10
    assert sum("f (forget), layer" in title for title in titles) == 2
    memory = next(q for q in results["gates"] if (q.name, q.layer) == ("c", 2))
    drawn = {line.get_label(): line.get_ydata() for line in axes[titles.index("c, layer 2")].get_lines()}
    assert len(drawn) == 4
    for unit in range(4):
        torch.testing.assert_close(torch.tensor(drawn[f"unit {unit}"]), memory.values[:, 0, unit])


def test_what_has_no_picture() -> None:
    with pytest.raises(UsageError, match="no picture of a str"):
        draw("x")
    with pytest.raises(UsageError, match="at least one"):
        draw([])
    with pytest.raises(UsageError, match="neither gates nor states"):
        draw([q for q in quantities(nn.LSTM(2, 3), torch.zeros(4, 1, 2)) if q.name == "g"])
