"""HMMs against enumeration of all paths, against hmmlearn, and by what must hold of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from carousel.classical import HMM, CategoricalHMM, GaussianHMM
from carousel.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def random_(model: HMM) -> HMM:
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    return model


def models() -> list[tuple[HMM, Tensor]]:
    torch.manual_seed(1)
    return [
        (random_(CategoricalHMM(3, 4)), torch.randint(4, (5, 2))),
        (random_(GaussianHMM(3, 2)), torch.randn(5, 2, 2, dtype=torch.float64)),
        (random_(GaussianHMM(2, 3, covariance="diagonal")), torch.randn(4, 2, 3, dtype=torch.float64)),
        (random_(CategoricalHMM(1, 2)), torch.randint(2, (3, 1))),
        (random_(CategoricalHMM(3, 4)), torch.randint(4, (1, 3))),
    ]


def paths(model: HMM, x: Tensor, sequence: int) -> dict[tuple[int, ...], float]:
    """Every path of states with its log p(x, z), by the definition."""
    emission, a, pi = model.log_emission(x)[:, sequence], model.log_transition, model.log_initial
    found = {}
    for z in itertools.product(range(model.states), repeat=len(x)):
        terms = [pi[z[0]], *(a[i, j] for i, j in itertools.pairwise(z)), *(emission[t, s] for t, s in enumerate(z))]
        found[z] = float(torch.stack(terms).sum())
    return found


@torch.no_grad()
@pytest.mark.parametrize("number", range(5))
def test_equal_to_enumeration(number: int) -> None:
    model, x = models()[number]
    posterior, (best, score), filtered = model.posterior(x), model.viterbi(x), model.filtered(x)
    for b in range(x.shape[1]):
        every = paths(model, x, b)
        total = math.log(sum(map(math.exp, every.values())))
        assert float(model.log_likelihood(x)[b]) == pytest.approx(total, abs=1e-10)
        assert float(posterior.log_likelihood[b]) == pytest.approx(total, abs=1e-10)
        share = {z: math.exp(p - total) for z, p in every.items()}
        for t, i in itertools.product(range(len(x)), range(model.states)):
            expected = sum(p for z, p in share.items() if z[t] == i)
            assert float(posterior.states[t, b, i]) == pytest.approx(expected, abs=1e-10)
        for i, j in itertools.product(range(model.states), repeat=2):
            expected = sum(p * list(itertools.pairwise(z)).count((i, j)) for z, p in share.items())
            assert float(posterior.transitions[b, i, j]) == pytest.approx(expected, abs=1e-10)
        likeliest = max(every, key=lambda z: every[z])
        assert tuple(best[:, b].tolist()) == likeliest
        assert float(score[b]) == pytest.approx(every[likeliest], abs=1e-10)
        for t in range(len(x)):
            part = model.posterior(x[: t + 1]).states[t, b]
            torch.testing.assert_close(filtered[t, b], part)


@pytest.mark.parametrize("number", range(3))
def test_what_lies_behind_the_end_counts_not(number: int) -> None:
    model, x = models()[number]
    lengths = torch.tensor([2, len(x)])
    posterior, (best, score) = model.posterior(x, lengths), model.viterbi(x, lengths)
    alone = model.posterior(x[:2, :1])
    torch.testing.assert_close(posterior.states[:2, :1], alone.states)
    torch.testing.assert_close(posterior.transitions[:1], alone.transitions)
    torch.testing.assert_close(posterior.log_likelihood[:1], alone.log_likelihood)
    assert not posterior.states[2:, 0].any()
    assert (best[2:, 0] == -1).all()
    torch.testing.assert_close(score[:1], model.viterbi(x[:2, :1])[1])
    torch.testing.assert_close(posterior.log_likelihood[1:], model.log_likelihood(x)[1:])


@pytest.mark.parametrize("number", range(3))
def test_gradient(number: int) -> None:
    model, x = models()[number]
    names = list(dict(model.named_parameters()))

    def likelihood(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(likelihood, tuple(model.parameters()))


def test_posterior_is_the_gradient_of_the_likelihood() -> None:
    """D log p(x) / d log b_i(x_t) = P(z_t = i | x)."""
    model, x = models()[1]
    shift = torch.zeros(len(x), x.shape[1], model.states, dtype=torch.float64, requires_grad=True)
    emission = model.log_emission
    model.log_emission = lambda x: emission(x) + shift  # pyright: ignore[reportAttributeAccessIssue]
    (gradient,) = torch.autograd.grad(model.log_likelihood(x).sum(), shift)
    torch.testing.assert_close(gradient, model.posterior(x).states)


@torch.no_grad()
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_baum_welch_never_falls_and_finds_gaussians(covariance: str) -> None:
    true = GaussianHMM(3, 2, covariance=covariance).double()
    with torch.no_grad():
        true.mean.copy_(torch.tensor([[-4.0, 0], [0, 4], [4, 0]]))
        true.transition.copy_(torch.log(torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])))
    generator = torch.Generator().manual_seed(0)
    x, states = true.sample(200, 8, generator)
    lengths = torch.tensor([200, 200, 150, 200, 200, 90, 200, 200])
    model = GaussianHMM(3, 2, covariance=covariance).double()
    model.start(x, lengths, generator)
    course = model.fit(x, lengths)
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(course))
    order = model.mean[:, 0].argsort()
    torch.testing.assert_close(model.mean[order], true.mean, atol=0.3, rtol=0)
    torch.testing.assert_close(model.covariances[order], true.covariances, atol=0.3, rtol=0)
    found = model.log_transition.exp()[order][:, order]
    torch.testing.assert_close(found, true.log_transition.exp(), atol=0.08, rtol=0)
    best, _ = model.viterbi(x)
    assert float((order.argsort()[best] == states).double().mean()) > 0.99
    assert course[-1] >= float(true.log_likelihood(x, lengths).sum())


def test_baum_welch_of_symbols_never_falls() -> None:
    x = torch.randint(3, (50, 4))
    model = CategoricalHMM(4, 3).double()
    model.start(x, generator=torch.Generator().manual_seed(0))
    course = model.fit(x, iterations=40)
    assert len(course) > 5
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(course))


def test_a_transition_that_never_happens_stays_so() -> None:
    model = CategoricalHMM(2, 2).double()
    with torch.no_grad():
        model.transition.copy_(torch.tensor([[0.0, -800.0], [0.0, 0.0]]))
        model.emission.copy_(torch.tensor([[2.0, -2.0], [-2.0, 2.0]]))
    model.fit(torch.randint(2, (30, 3)), iterations=5)
    assert float(model.log_transition[0, 1].detach().exp()) < 1e-300
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@torch.no_grad()
def test_equal_to_hmmlearn() -> None:
    hmm = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed (pip install carousel-nn[recipes])")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.cumsum(rng.normal(size=(120, 2)), 0) % 7)
    lengths = [70, 50]
    peer = hmm.GaussianHMM(
        3, "full", n_iter=10, tol=-np.inf, init_params="", min_covar=0, covars_prior=0, means_weight=0
    )
    peer.n_features = 2
    model = GaussianHMM(3, 2, floor=0.0).double()
    batch = torch.nn.utils.rnn.pad_sequence(list(x.split(lengths)))
    model.start(batch, torch.tensor(lengths), torch.Generator().manual_seed(0))
    peer.startprob_, peer.transmat_ = (p.detach().exp().numpy() for p in (model.log_initial, model.log_transition))
    peer.means_, peer.covars_ = (p.detach().numpy().copy() for p in (model.mean, model.covariances))
    for _ in range(2):
        assert float(model.log_likelihood(batch, torch.tensor(lengths)).sum()) == pytest.approx(peer.score(x, lengths))
        best, scores = model.viterbi(batch, torch.tensor(lengths))
        score, path = peer.decode(x, lengths)
        assert float(scores.sum()) == pytest.approx(score)
        assert torch.cat([best[:n, b] for b, n in enumerate(lengths)]).tolist() == path.tolist()
        peer.fit(x.numpy(), lengths)
        model.fit(batch, torch.tensor(lengths), iterations=10, tolerance=-math.inf)
    torch.testing.assert_close(model.mean.detach(), torch.from_numpy(peer.means_), atol=1e-5, rtol=1e-5)


def test_bad_input() -> None:
    for wrong, said in (
        (torch.zeros(0, 2, dtype=torch.int64), "none empty"),
        (torch.tensor([[3]]), "go from 0 to 2; there are 3"),
        (torch.tensor([[-1]]), "there are -1"),
        (torch.tensor([[0.5]]), "whole numbers"),
    ):
        with pytest.raises(DataError, match=said):
            CategoricalHMM(2, 3).log_likelihood(wrong)
    for lengths in ([3], [0, 1], [1, 6]):
        with pytest.raises(DataError, match="lengths must be 2 whole numbers from 1 to 5"):
            CategoricalHMM(2, 3).log_likelihood(torch.zeros(5, 2, dtype=torch.int64), torch.tensor(lengths))
    with pytest.raises(DataError, match="NaN or infinite"):
        GaussianHMM(2, 1).log_likelihood(torch.full((3, 1, 1), math.nan))
    with pytest.raises(DataError, match=r"\(time, batch, 2\)"):
        GaussianHMM(2, 2).log_likelihood(torch.zeros(3, 1, 1))
    with pytest.raises(UsageError, match="at least one state"):
        CategoricalHMM(0, 3)
    with pytest.raises(UsageError, match="'full' or 'diagonal'"):
        GaussianHMM(2, 2, covariance="tied")
