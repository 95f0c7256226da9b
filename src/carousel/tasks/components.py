"""Principal components of data that are read block by block: the simple way to bring them to few numbers.

With mean μ and covariance C of the features, the k-dimensional subspace from which x - μ is least away, in the mean of
the squares, is spanned by the eigenvectors of C with the largest eigenvalues (Hotelling 1933). Up to `EXACT` features
they are those of C as it is. Of more, those of C within the span of C^q Ω, with Ω a few random directions more than k
(Halko, Martinsson & Tropp, "Finding structure with randomness", SIAM Review 53, 2011, algorithms 4.4 and 5.3), whose
error is close to the smallest and never below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Components"]

EXACT = 2048
MORE = 10
POWERS = 4


@dataclass(frozen=True)
class Components:
    """Principal components.

    Attributes:
        mean: (features,) of the examples.
        basis: (features, components), with columns that are orthonormal, that of the greatest variance first.
        variance: of an example around the mean: the mean of |x - mean|².
    """

    mean: Tensor
    basis: Tensor
    variance: float

    @classmethod
    def of(cls, blocks: Callable[[], Iterable[Tensor]], count: int) -> Components:
        """Of examples that are read several times.

        Args:
            blocks: gives all examples anew, as float32 tensors (some, features).
            count: components; as many as there are features, and one fewer than examples, at most.

        Example:
            >>> x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
            >>> found = Components.of(lambda: [x], 1)
            >>> found.basis[:, 0].abs().tolist(), found.lost(x).tolist(), found.variance
            ([1.0, 0.0], [0.0, 0.0, 1.0, 1.0], 2.5)
        """
        number, total, squares = 0, torch.zeros((), dtype=torch.float64), 0.0
        for block in blocks():
            exact = block.double()
            number, total, squares = number + len(block), total + exact.sum(0), squares + float(exact.square().sum())
        mean, features = (total / number).float(), len(total)
        variance = max(0.0, squares / number - float((total / number).square().sum()))
        count = max(1, min(count, features, number - 1))

        def times(directions: Tensor | None) -> Tensor:
            """The covariance, or it times directions."""
            found = torch.zeros(features, features if directions is None else directions.shape[1], dtype=torch.float64)
            for block in blocks():
                away = block - mean
                found += away.T @ (away if directions is None else away @ directions)
            return found / number

        if features <= EXACT:
            return cls(mean, torch.linalg.eigh(times(None)).eigenvectors[:, -count:].flip(1).float(), variance)
        generator = torch.Generator().manual_seed(0)
        span = torch.randn(features, min(count + MORE, features), generator=generator)
        for _ in range(POWERS):
            span = torch.linalg.qr(times(span)).Q.float()
        inside = torch.linalg.eigh(span.double().T @ times(span)).eigenvectors[:, -count:].flip(1)
        return cls(mean, span @ inside.float(), variance)

    def lost(self, examples: Tensor) -> Tensor:
        """(examples,) squared distances of (examples, features) from the mean plus what the components span."""
        away = examples - self.mean
        return (away - (away @ self.basis) @ self.basis.T).square().sum(1)
