r"""The minimal character network: vanilla recurrence, truncated backpropagation through time, Adagrad.

100 tanh units read a text character by character; every 25 characters one update by Adagrad (rate 0.1, every element
of the gradient clipped to ±5) of the loss summed over them; the state is carried on. From the same weights it is
trained with Carousel's parts and with `numpy_rnn.py`, where the equations are. Source: Karpathy, "min-char-rnn.py",
2015, https://gist.github.com/karpathy/d4dee566867f8291f086.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

import carousel

from .numpy_rnn import CLIP, EPSILON, RATE, STEPS, Arrays, NumpyRNN

SAMPLES = (100, 1_000, 10_000, 100_000)
DERIVED = "the same equations; rounding in float64"


class CarouselRNN:
    """`NumpyRNN` from the parts of Carousel and PyTorch: the same weights, the same updates, float64."""

    def __init__(self, weights: Arrays):
        hidden, vocabulary = weights["Wx"].shape
        cell = carousel.cells.RNN(vocabulary, hidden)
        network = carousel.nn.LanguageModel(vocabulary, carousel.nn.Recurrent([cell]), embedding_size=0).double()
        self.network, self.state, self.bptt = network, None, carousel.TruncatedBPTT(STEPS)
        names = {"Wx": "weight_ih", "Wh": "weight_hh", "b": "bias_hh"}
        self.parameters = {name: cell.get_parameter(own) for name, own in names.items()}
        self.parameters |= {"Wy": network.scores.weight, "c": network.scores.bias}
        cell.get_parameter("bias_ih").requires_grad_(False).zero_()  # two biases would learn twice as fast as one
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.from_numpy(weights[name]))
        # PyTorch divides by sqrt(sum) + eps: with eps = 0 and sums that begin at 1e-8, by sqrt(1e-8 + Σ g²)
        self.adagrad = torch.optim.Adagrad(
            self.parameters.values(), lr=RATE, initial_accumulator_value=EPSILON, eps=0.0
        )

    def step(self, ids: torch.Tensor, update: int) -> float:
        """As `NumpyRNN.step`."""
        span = self.bptt.span(update)
        inputs, targets = ids[span.begin : span.end].unsqueeze(1), ids[span.begin + 1 : span.end + 1]
        scores, self.state = self.bptt.run(self.network, span, inputs, self.state if update else None)
        loss = F.cross_entropy(scores[:, 0], targets, reduction="sum")
        self.adagrad.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(self.parameters.values(), CLIP)
        self.adagrad.step()
        return loss.item()

    def arrays(self) -> Arrays:
        """As `NumpyRNN.arrays`."""
        squares = {f"squares of {name}": self.adagrad.state[p]["sum"].numpy() for name, p in self.parameters.items()}
        h = np.zeros(len(self.parameters["b"])) if self.state is None else self.state[0].flatten().numpy()
        return {**{name: p.detach().numpy() for name, p in self.parameters.items()}, **squares, "h": h}

    @torch.no_grad()
    def restore(self, arrays: Arrays) -> None:
        """As `NumpyRNN.restore`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(torch.from_numpy(arrays[name]))
            self.adagrad.state[parameter]["sum"].copy_(torch.from_numpy(arrays[f"squares of {name}"]))
        self.state = (torch.from_numpy(arrays["h"]).view(1, 1, -1).clone(),)

    @torch.no_grad()
    def sample(self, length: int, first: int) -> list[int]:
        """Characters drawn one after another from the network's own probabilities, each the next input."""
        generator, state, ids = torch.Generator().manual_seed(0), None, [first]
        for _ in range(length):
            scores, state = self.network(torch.tensor([[ids[-1]]]), state)
            ids.append(int(torch.multinomial(scores[0, 0].softmax(0), 1, generator=generator)))
        return ids[1:]


def one_update_apart(ids: np.ndarray, weights: Arrays, updates: int) -> tuple[float, float]:
    """Before every update NumPy takes over all of Carousel's numbers: the largest differences after it.

    Returns:
        Of the loss, relative; of any weight.
    """
    ours, theirs, tokens = CarouselRNN(weights), NumpyRNN(weights), torch.from_numpy(ids)
    of_loss = of_weights = 0.0
    for update in range(updates):
        theirs.restore(ours.arrays())
        of_loss = max(of_loss, abs(ours.step(tokens, update) / theirs.step(ids, update) - 1))
        pairs = zip(ours.parameters.values(), (theirs.weights[name] for name in ours.parameters), strict=True)
        of_weights = max(of_weights, *(float(abs(p.detach().numpy() - w).max()) for p, w in pairs))
    return of_loss, of_weights


def conditional_entropy(ids: np.ndarray, order: int) -> float:
    """-Σ p(context, c) ln p(c | context), nats per character: the best that a model of the last `order` can do."""
    counts = [np.unique(np.lib.stride_tricks.sliding_window_view(ids, n), axis=0, return_counts=True)[1]
              for n in (order, order + 1)]  # fmt: skip
    entropies = [-(p := c / c.sum()) @ np.log(p) for c in counts]
    return float(entropies[1] - entropies[0])
