"""Drawing text from a language model, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..errors import DataError, UsageError
from ..nn import LanguageModel, Stepper

__all__ = ["Sampler", "choose"]


def choose(
    scores: np.ndarray,
    uniform: float,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    r"""Draw a token from softmax(scores / temperature), restricted to the likeliest ones.

    Args:
        scores: (vocabulary,) real numbers.
        uniform: the random number from [0, 1) that decides.
        temperature: below one sharpens, above one flattens; 0 takes the likeliest.
        top_k: only the k likeliest tokens.
        top_p: only the smallest set of likeliest tokens whose probability reaches p (Holtzman et al. 2020).

    Returns:
        The token's id.

    Example:
        >>> choose(np.array([0.0, 2.0, 1.0]), 0.5, temperature=0)
        1
    """
    if temperature == 0:
        return int(scores.argmax())
    scores = scores.astype(np.float64) / temperature
    if top_k is None and top_p is None:
        order = None
    else:
        order = np.argsort(-scores, kind="stable")[:top_k]
        scores = scores[order]
    cumulative = np.exp(scores - scores.max()).cumsum()
    if order is not None and top_p is not None:
        kept = int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1
        cumulative = cumulative[:kept]
    place = min(int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right")), len(cumulative) - 1)
    return place if order is None else int(order[place])


class Sampler:
    """A language model that goes on writing.

    Args:
        network: the model; it is put in evaluation mode.
        tokenizer: text <-> token ids.
    """

    def __init__(self, network: LanguageModel, tokenizer: Any):
        self.network, self.tokenizer = network, tokenizer

    def stream(
        self,
        count: int,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Pieces of text, `count` tokens in all, as they are generated; the prompt is not repeated.

        Raises:
            UsageError: an option is out of range.
            DataError: the prompt has symbols that the model has never seen.
        """
        _check(count, temperature, top_k, top_p)
        unknown = self.tokenizer.unknown(prompt)
        if unknown and self.tokenizer.level != "word":
            shown = ", ".join(repr(u) for u in unknown[:10])
            raise DataError(f"The model does not know {shown}: not in the text it was trained on. Leave them out.")
        ids = self.tokenizer.encode(prompt).tolist() or [self._first()]
        return self._generate(ids, count, np.random.default_rng(seed), temperature, top_k, top_p)

    def _first(self) -> int:
        """What stands before an empty prompt: a line break, where the model knows it."""
        return 0 if self.tokenizer.unknown("\n") else int(self.tokenizer.encode("\n")[0])

    def _generate(
        self,
        ids: list[int],
        count: int,
        random: np.random.Generator,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
    ) -> Iterator[str]:
        network, decoder = self.network.eval(), self.tokenizer.stream_decoder()
        for token in ids:
            decoder.feed(token)  # what follows is spaced as the prompt asks
        device = next(network.parameters()).device
        with torch.inference_mode():
            scores, state = network(torch.tensor(ids, device=device).unsqueeze(1))
            stepper, last = Stepper(network.recurrent, 1, state), scores[-1]
            vectors = network.embed(torch.arange(network.vocabulary, device=device)).split(1)
        for uniform in random.random(count):
            token = choose(last[0].float().cpu().numpy(), uniform, temperature=temperature, top_k=top_k, top_p=top_p)
            yield decoder.feed(token)
            with torch.inference_mode():
                last = network.scores(stepper(vectors[token]))
        yield decoder.finish()


def _check(count: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if count < 1:
        raise UsageError(f"--chars is {count}; give at least 1.")
    if not 0 <= temperature < math.inf:
        raise UsageError(f"--temperature is {temperature}; it must be 0 (the likeliest) or above.")
    if top_k is not None and top_k < 1:
        raise UsageError(f"--top-k is {top_k}; give at least 1.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"--top-p is {top_p}; it is a probability above 0, at most 1.")
