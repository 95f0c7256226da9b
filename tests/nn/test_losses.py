"""Losses against their formulas, and their gradients against autograd, in float64."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.nn import LOSSES, cross_entropy, fits, hinge, logistic, squared_error
from carousel.nn.heads import HEADS
from carousel.nn.losses import find_loss

SIZES = [(1, 2), (3, 5), (33, 10)]


def drawn(batch: int, classes: int) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(batch, classes, dtype=torch.float64, requires_grad=True), torch.randint(classes, (batch,))  # pyright: ignore[reportReturnType]


def gradient(loss: Tensor, scores: Tensor) -> Tensor:
    return torch.autograd.grad(loss, scores)[0]


@pytest.mark.parametrize(("batch", "classes"), SIZES)
def test_cross_entropy_and_its_gradient(batch: int, classes: int) -> None:
    scores, target = drawn(batch, classes)
    loss = cross_entropy(scores, target)
    p, right = scores.softmax(1), F.one_hot(target, classes)
    torch.testing.assert_close(loss, -(p * right).sum(1).log().mean())
    torch.testing.assert_close(gradient(loss, scores), (p - right) / batch)
    soft = torch.rand(batch, classes, dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    loss = cross_entropy(scores, soft)
    torch.testing.assert_close(loss, -(soft * p.log()).sum(1).mean())
    torch.testing.assert_close(gradient(loss, scores), (p - soft) / batch)


@pytest.mark.parametrize(("batch", "classes"), SIZES)
@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_hinge_of_weston_and_watkins(batch: int, classes: int, margin: float) -> None:
    scores, target = drawn(batch, classes)
    loss = hinge(scores, target, margin)
    total, slope = 0.0, torch.zeros(batch, classes, dtype=torch.float64)
    for i, y in enumerate(target.tolist()):
        for j in range(classes):
            over = margin + float(scores[i, j].detach()) - float(scores[i, y].detach())
            if j != y and over > 0:
                total += over
                slope[i, j] += 1
                slope[i, y] -= 1
    assert loss.item() == pytest.approx(total / batch)
    torch.testing.assert_close(gradient(loss, scores), slope / batch)
    theirs = F.multi_margin_loss(scores, target, margin=margin) * classes
    torch.testing.assert_close(hinge(scores, target, margin), theirs)


@pytest.mark.parametrize(("batch", "classes"), SIZES)
def test_hinge_of_crammer_and_singer(batch: int, classes: int) -> None:
    scores, target = drawn(batch, classes)
    wrong = scores.detach().scatter(1, target.unsqueeze(1), -math.inf)
    worst = wrong.argmax(1)
    over = 1 + wrong.amax(1) - scores.detach().gather(1, target.unsqueeze(1)).squeeze(1)
    loss = hinge(scores, target, crammer_singer=True)
    torch.testing.assert_close(loss, over.relu().mean())
    slope = (F.one_hot(worst, classes) - F.one_hot(target, classes)) * (over > 0).unsqueeze(1)
    torch.testing.assert_close(gradient(loss, scores), slope.double() / batch)


def test_hinge_bounds_the_errors_and_is_zero_behind_the_margin() -> None:
    scores, target = drawn(200, 4)
    errors = (scores.argmax(1) != target).double()
    for worst in (False, True):
        each = torch.stack([hinge(s[None], t[None], crammer_singer=worst) for s, t in zip(scores, target, strict=True)])
        assert (each >= errors).all()
    kept = 10 * F.one_hot(target, 4).double().requires_grad_()
    assert not gradient(hinge(kept, target), kept).any()


def test_the_lectures_hinge() -> None:
    scores = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])  # cs231n: cat, car, frog
    each = [float(hinge(scores[i : i + 1], torch.tensor([i]))) for i in range(3)]
    assert each == pytest.approx([2.9, 0.0, 12.9], abs=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (4, 7)])
def test_logistic_and_its_gradient(shape: tuple[int, ...]) -> None:
    scores = (3 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    target = torch.randint(2, shape)
    loss = logistic(scores, target)
    p = scores.sigmoid()
    torch.testing.assert_close(loss, -torch.where(target == 1, p.log(), (1 - p).log()).mean())
    torch.testing.assert_close(gradient(loss, scores), (p - target) / target.numel())
    if shape == (5, 1):
        torch.testing.assert_close(logistic(scores, target[:, 0]), logistic(scores, target))


def test_logistic_is_cross_entropy_with_a_second_score_of_zero() -> None:
    scores, target = torch.randn(6, dtype=torch.float64), torch.randint(2, (6,))
    both = torch.stack([torch.zeros_like(scores), scores], 1)
    torch.testing.assert_close(logistic(scores, target), cross_entropy(both, target))


def test_squared_error_and_its_gradient() -> None:
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 3, dtype=torch.float64)
    loss = squared_error(values, target)
    torch.testing.assert_close(loss, ((values - target) ** 2).sum() / 12)
    torch.testing.assert_close(gradient(loss, values), 2 * (values - target) / 12)
    classes = torch.randint(3, (4,))
    torch.testing.assert_close(squared_error(values, classes), squared_error(values, F.one_hot(classes, 3).double()))


def test_squared_error_behind_softmax_has_the_gradient_of_the_docstring() -> None:
    scores, target = drawn(1, 4)
    p, y = scores.softmax(1), F.one_hot(target, 4)
    found = gradient(squared_error(p, target), scores)
    expected = 2 / 4 * p * (p - y - (p * (p - y)).sum(1, keepdim=True))
    torch.testing.assert_close(found, expected)


def test_a_confidently_wrong_answer() -> None:
    """p_y = 1e-9: cross-entropy still pushes with 1, a squared error on p hardly at all."""
    scores, target = torch.tensor([[0.0, 9 * math.log(10)]], dtype=torch.float64, requires_grad=True), torch.tensor([0])
    assert gradient(cross_entropy(scores, target), scores)[0, 0].item() == pytest.approx(-1)
    assert abs(gradient(squared_error(scores.softmax(1), target), scores)).max().item() < 1e-8


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite(name: str) -> None:
    scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    target = torch.eye(2) if name in ("logistic", "squared-error") else torch.tensor([1, 0])
    loss = find_loss(name).function(scores, target)
    assert loss.isfinite()
    assert gradient(loss, scores).isfinite().all()


@pytest.mark.parametrize(
    ("loss", "scores", "target", "message"),
    [
        (cross_entropy, (3, 4), torch.tensor([0, 1, 4]), "class numbers from 0 to 4 for 4 scores; they count from 0"),
        (cross_entropy, (3, 4), torch.tensor([0, -1, 2]), "class numbers from -1 to 2"),
        (cross_entropy, (3, 4), torch.tensor([0, 1]), r"scores \(3, 4\) and a target \(2,\) of torch.int64; expected"),
        (hinge, (3, 4), torch.zeros(3, 4), r"target \(3, 4\) of torch.float32; expected \(batch, classes\)"),
        (logistic, (3, 4), torch.tensor([0, 1, 2]), "One of several classes is what cross_entropy is for"),
        (squared_error, (3, 1), torch.zeros(3), r"values \(3, 1\) and a target \(3,\); they must be alike"),
        (squared_error, (3, 2), torch.tensor([0, 1, 2]), "from 0 to 2 for 2 scores"),
    ],
)
def test_what_does_not_fit(loss, scores: tuple[int, ...], target: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loss(torch.zeros(scores), target)


def test_unknown_loss() -> None:
    with pytest.raises(UsageError, match=r"no loss 'cross-entropie'\. Did you mean 'cross-entropy'?"):
        find_loss("cross-entropie")


# -- heads ------------------------------------------------------------------------------------------------------------

LINEAR = nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("head", "loss", "targets", "said"),
    [
        (nn.Softmax(1), "cross-entropy", "classes", "softmax is applied twice"),
        (nn.Sigmoid(), "logistic", "classes", "sigmoid is applied twice"),
        (nn.Softmax(1), "hinge", "classes", "margin of 1"),
        (nn.Sigmoid(), "hinge-worst", "classes", "margin of 1"),
        (nn.Identity(), "squared-error", "classes", "Scores before the squared-error loss: .*Take cross-entropy"),
        (nn.Softmax(1), "squared-error", "classes", "gradients of confidently wrong answers vanish"),
        (nn.ReLU(), nn.CrossEntropyLoss(), "classes", "stop learning"),
        (nn.Softmax(1), nn.NLLLoss(), "classes", "log-softmax"),
        (nn.Identity(), nn.BCELoss(), "classes", "Scores before the bce loss: it wants probabilities"),
        (nn.Softmax(1), nn.BCEWithLogitsLoss(), "classes", "take cross-entropy"),
        (nn.Dropout(0.5), "cross-entropy", "classes", "put it before that layer"),
        (nn.ReLU(), nn.MSELoss(), "numbers", "no output can fall below 0"),
        (nn.Identity(), "hinge", "numbers", "for numbers take squared-error"),
    ],
)
def test_heads_that_do_not_fit(head: nn.Module, loss: str | nn.Module, targets: str, said: str) -> None:
    warning = fits(nn.Sequential(LINEAR, head), loss, targets)
    assert warning is not None
    assert re.search(said, warning)


@pytest.mark.parametrize(
    ("head", "loss", "targets"),
    [
        (nn.Identity(), "cross-entropy", "classes"),
        (nn.Identity(), "hinge", "classes"),
        (nn.Identity(), "logistic", "classes"),
        (nn.Identity(), nn.MSELoss(), "numbers"),
        (nn.LogSoftmax(1), nn.NLLLoss(), "classes"),
        (nn.LogSoftmax(1), "cross-entropy", "classes"),
        (nn.Sigmoid(), nn.BCELoss(), "classes"),
        (nn.Softmax(1), nn.KLDivLoss(reduction="sum"), "classes"),
        (nn.Conv1d(1, 1, 1), nn.BCELoss(), "classes"),
    ],
)
def test_heads_that_fit(head: nn.Module, loss: str | nn.Module, targets: str) -> None:
    assert fits(nn.Sequential(LINEAR, head), loss, targets) is None


def test_one_output_has_nothing_to_compare() -> None:
    warning = fits(nn.Linear(4, 1), "cross-entropy")
    assert warning is not None
    assert "take two, or logistic" in warning
    assert fits(nn.Linear(4, 1), "logistic") is None


@pytest.mark.parametrize("head", sorted(set(HEADS.values())))
@pytest.mark.parametrize("loss", LOSSES)
def test_every_warning_is_a_sentence(head: str, loss: str) -> None:
    for targets in ("classes", "numbers"):
        warning = fits(head, loss, targets)
        assert warning is None or (warning.endswith(".") and len(warning) < 300)


def test_the_bounds_that_the_warnings_name() -> None:
    n = 10
    twice = cross_entropy(torch.eye(n), torch.arange(n))
    assert twice.item() == pytest.approx(math.log(1 + (n - 1) / math.e))
    assert torch.sigmoid(torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([0.27, 0.73], abs=0.002)


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="no loss 'crossentropy'"):
        fits("softmax", "crossentropy")
