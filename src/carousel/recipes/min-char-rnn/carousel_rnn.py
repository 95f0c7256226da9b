"""The vanilla character network of `numpy_rnn.py` from the parts of Carousel and PyTorch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import carousel

from .numpy_rnn import CLIP, EPSILON, RATE, STEPS, Arrays

__all__ = ["CarouselRNN"]


class CarouselRNN:
    """The same weights, the same updates as `NumpyRNN`, in float64."""

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

    def step(self, ids: NDArray[np.intp], update: int) -> float:
        """As `NumpyRNN.step`."""
        span = self.bptt.span(update)
        here = torch.from_numpy(ids[span.begin : span.end + 1])
        inputs, targets = here[:-1].unsqueeze(1), here[1:]
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
