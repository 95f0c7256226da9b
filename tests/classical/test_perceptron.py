"""Single units against their theorems, against autograd, and against least squares."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from carousel.classical import DeltaRule, Perceptron, Unit, WidrowHoff
from carousel.errors import DataError, TrainingError, UsageError

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def separable(seed: int, count: int, inputs: int, margin: float) -> tuple[Tensor, Tensor, float]:
    """Examples no nearer to a plane than `margin`, their sides, and Novikoff's bound on the mistakes."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.nn.functional.normalize(torch.randn(inputs + 1, generator=generator, dtype=torch.float64), dim=0)
    x = torch.randn(8 * count, inputs, generator=generator, dtype=torch.float64)
    side = x @ plane[:-1] + plane[-1]
    x, side = x[side.abs() >= margin][:count], side[side.abs() >= margin][:count]
    longest = float((x.square().sum(1) + 1).max())
    return x, side.sign(), longest / float(side.abs().min()) ** 2


@pytest.mark.parametrize(("seed", "count", "inputs"), [(0, 1, 1), (1, 33, 2), (2, 50, 7), (3, 40, 30)])
def test_perceptron_makes_no_more_mistakes_than_novikoff_allows(seed: int, count: int, inputs: int) -> None:
    x, d, bound = separable(seed, count, inputs, 0.3)
    unit = Perceptron(inputs).double()
    course = unit.fit(x, d, epochs=1000, generator=torch.Generator().manual_seed(seed))
    assert course[-1] == 0
    assert sum(course) / 2 <= bound
    assert torch.equal(unit(x), d)


def test_perceptron_by_hand() -> None:
    """Mistakes at the first, then at the last example, in the order given."""
    unit = Perceptron(2)
    assert unit.fit(CORNERS, torch.tensor([-1.0, -1.0, -1.0, 1.0]), rate=0.5, epochs=1) == [4.0]
    assert unit.weight.tolist() == [0.5, 0.5]
    assert unit.bias.item() == 0


def test_perceptron_and_exclusive_or() -> None:
    """Of the 16 functions of two bits it finds all but two, and of those never more than three corners."""
    for sides in itertools.product([-1.0, 1.0], repeat=4):
        d, unit = torch.tensor(sides), Perceptron(2)
        found = unit.fit(CORNERS, d, epochs=50)[-1] == 0
        assert found == (sides not in ((-1, 1, 1, -1), (1, -1, -1, 1)))
        assert int((unit(CORNERS) == d).sum()) == 4 if found else int((unit(CORNERS) == d).sum()) <= 3


@pytest.mark.parametrize("unit", [WidrowHoff(3), DeltaRule(3), DeltaRule(3, "tanh")], ids=["lms", "sigmoid", "tanh"])
def test_one_update_is_the_gradient_of_half_the_squared_error(unit: Unit) -> None:
    generator = torch.Generator().manual_seed(0)
    unit = unit.double()
    with torch.no_grad():
        for p in unit.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x, d = torch.randn(1, 3, generator=generator, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    before = [p.detach().clone() for p in unit.parameters()]
    loss = (d - unit(x)).square().sum() / 2
    gradients = torch.autograd.grad(loss, list(unit.parameters()))
    assert unit.fit(x, d, rate=0.3, epochs=1) == [pytest.approx(loss.item())]
    for p, old, gradient in zip(unit.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.3 * gradient, rtol=1e-12, atol=1e-14)


def test_lms_leaves_one_minus_eta_of_its_error() -> None:
    x, d, unit = torch.tensor([[2.0, -1.0]]).double(), torch.tensor([3.0]).double(), WidrowHoff(2).double()
    for rate in (0.1, 1 / 6, 0.3, 0.4):  # 1 + ‖x‖² = 6: exact at 1/6, growing from 1/3 on
        before = float((d - unit(x)).detach())
        unit.fit(x, d, rate=rate, epochs=1)
        assert float((d - unit(x)).detach()) == pytest.approx((1 - 6 * rate) * before, abs=1e-12)


@pytest.mark.parametrize("inputs", [1, 3, 7])
def test_lms_finds_linear_targets_exactly_and_least_squares_nearly(inputs: int) -> None:
    generator = torch.Generator().manual_seed(inputs)
    x = torch.randn(33, inputs, generator=generator, dtype=torch.float64)
    true = torch.randn(inputs, generator=generator, dtype=torch.float64)
    unit = WidrowHoff(inputs).double()
    assert unit.fit(x, x @ true - 2, rate=0.05, epochs=400, generator=generator)[-1] < 1e-20
    torch.testing.assert_close(unit.weight.detach(), true, atol=1e-10, rtol=0)
    assert unit.bias.item() == pytest.approx(-2, abs=1e-10)
    d = x @ true - 2 + torch.randn(33, generator=generator, dtype=torch.float64)
    ones = torch.cat([x, torch.ones(33, 1, dtype=torch.float64)], 1)
    best = torch.linalg.lstsq(ones, d.unsqueeze(1)).solution.squeeze(1)
    for rate in (0.03, 0.003, 0.0003):
        unit.fit(x, d, rate=rate, epochs=60, generator=generator)
    away = torch.cat([unit.weight.detach(), unit.bias.detach().reshape(1)]) - best
    assert float(away.abs().max()) < 0.01


@pytest.mark.parametrize(("function", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_delta_rule_learns_or(function: str, low: float) -> None:
    unit = DeltaRule(2, function).double()
    d = torch.tensor([low, 1.0, 1.0, 1.0])
    course = unit.fit(CORNERS, d, rate=1.0, epochs=600)
    assert course[-1] < 0.05 < course[0]
    assert float((unit(CORNERS.double()).detach() - d).abs().max()) < 0.2


def test_inputs_may_have_any_leading_shape() -> None:
    assert Perceptron(3)(torch.zeros(2, 5, 3)).shape == (2, 5)
    assert Perceptron(3)(torch.zeros(3)).shape == ()


def test_bad_input() -> None:
    ones = torch.ones(2)
    for x, d, said in (
        (torch.zeros(2, 3), ones, r"\(examples, 2\), at least one"),
        (torch.zeros(0, 2), torch.zeros(0), "at least one"),
        (torch.zeros(2, 2), torch.ones(3), r"need targets of shape \(2,\)"),
        (torch.full((2, 2), torch.nan), ones, "NaN or infinite"),
        (torch.zeros(2, 2), torch.tensor([0, 1]), r"-1 and 1; there are \[0.0, 1.0\]. Classes 0 and 1 become so by 2"),
    ):
        with pytest.raises(DataError, match=said):
            Perceptron(2).fit(x, d)
    with pytest.raises(DataError, match=r"\(…, 2\)"):
        Perceptron(2)(torch.zeros(4, 3))
    with pytest.raises(TrainingError, match=r"at rate 9. A rate below 2/\(1 \+ ‖x‖²\)"):
        WidrowHoff(2).fit(CORNERS, torch.arange(4), rate=9.0, epochs=1000)
    with pytest.raises(UsageError, match="at least one input"):
        WidrowHoff(0)
    with pytest.raises(UsageError, match="'sigmoid' or 'tanh'"):
        DeltaRule(2, "relu")
