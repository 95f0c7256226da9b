r"""Autoencoders: a network that has to give back its input through a code of few numbers.

:math:`\hat x = g(f(x))`, trained for a small :math:`‖x - \hat x‖²`. With linear f and g the best code spans that of a
principal component analysis (Baldi & Hornik 1989). Dense: Hinton & Salakhutdinov, "Reducing the dimensionality of data
with neural networks", Science 313 (2006), there 784-1000-500-250-30 for digits; sequences: Srivastava, Mansimov &
Salakhutdinov, "Unsupervised learning of video representations using LSTMs", ICML 2015, whose decoder sees the code once
and writes backward; here it sees the code at every step (Cho et al. 2014) and writes forward.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ...cells.registry import find
from ...errors import UsageError
from ..arithmetic import output_size
from ..line import layers_of
from ..recurrent import Recurrent

__all__ = ["Autoencoder", "SequenceAutoencoder", "autoencoder", "autoencoder_conv", "autoencoder_sequence"]


class Autoencoder(nn.Module):
    """An encoder and a decoder; called, it gives the reconstruction.

    Args:
        encoder: (batch, …) to (batch, code).
        decoder: back.

    Example:
        >>> net = autoencoder((1, 28, 28), 30)
        >>> x = torch.rand(2, 1, 28, 28)
        >>> net.encode(x).shape, net(x).shape
        (torch.Size([2, 30]), torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> Tensor:
        """The code, (batch, code)."""
        return self.encoder(x)

    def decode(self, code: Tensor) -> Tensor:
        """What a code stands for, (batch, …)."""
        return self.decoder(code)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction, of the input's shape."""
        return self.decode(self.encode(x))


class SequenceAutoencoder(nn.Module):
    """Reads a sequence with one recurrent network and writes it again with another that sees only the code.

    Args:
        features: numbers per step.
        code: size of the code.
        hidden_size: of both networks.
        cell: of both, one of `carousel.cells.REGISTRY`.

    Example:
        >>> net = SequenceAutoencoder(3, 8, 16)
        >>> net(torch.randn(2, 11, 3)).shape
        torch.Size([2, 11, 3])
    """

    def __init__(self, features: int, code: int, hidden_size: int, cell: str = "lstm"):
        super().__init__()
        entry = find(cell)
        self.reader = Recurrent(entry.cell_class, features, hidden_size, batch_first=True, **entry.options)
        self.code = nn.Linear(self.reader.output_size, code)
        self.writer = Recurrent(entry.cell_class, code, hidden_size, batch_first=True, **entry.options)
        self.out = nn.Linear(self.writer.output_size, features)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The code (batch, code) of sequences (batch, time, features), each as long as `lengths` (batch,) says."""
        output, _ = self.reader(x, lengths=lengths)
        if lengths is None:
            return self.code(output[:, -1])
        return self.code(output[torch.arange(len(output), device=output.device), lengths - 1])

    def decode(self, code: Tensor, steps: int) -> Tensor:
        """So many steps, (batch, steps, features)."""
        output, _ = self.writer(code.unsqueeze(1).expand(-1, steps, -1).contiguous())
        return self.out(output)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The reconstruction, (batch, time, features); what it says beyond a sequence's length means nothing."""
        return self.decode(self.encode(x, lengths), x.shape[1])


def autoencoder(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden_sizes: tuple[int, ...] = (1000, 500, 250),
    activation: str = "relu",
    output: str = "identity",
) -> nn.Module:
    """Dense layers down to the code and, mirrored, up again.

    Args:
        input_shape: of one example.
        outputs: size of the code.
        hidden_sizes: units of the encoder's hidden layers.
        activation: one of `carousel.nn.line.ACTIVATIONS`.
        output: that of the reconstruction; "sigmoid" keeps it in (0, 1).
    """
    down = "".join(f"dense {size}, {activation}, " for size in hidden_sizes)
    up = "".join(f"dense {size}, {activation}, " for size in reversed(hidden_sizes))
    back = f"dense {prod(input_shape)}, {output}, reshape {'x'.join(map(str, input_shape))}"
    return _both(f"{down}dense", up + back, input_shape, outputs)


def autoencoder_conv(
    input_shape: tuple[int, ...],
    outputs: int,
    filters: int = 16,
    blocks: int = 2,
    activation: str = "relu",
    output: str = "identity",
) -> nn.Module:
    """Convolutions of stride 2 down to a dense code, and transposed ones up again; in one, two or three dimensions.

    Args:
        input_shape: (channels, length), (channels, height, width) or (channels, depth, height, width).
        outputs: size of the code.
        filters: maps of the first convolution; each further one has twice as many.
        blocks: how many; each halves all sizes.
        activation: one of `carousel.nn.line.ACTIVATIONS`.
        output: that of the reconstruction; "sigmoid" keeps it in (0, 1).
    """
    channels, *sizes = input_shape
    down, up = "", ""
    for number in range(blocks):
        maps, behind = filters * 2**number, activation if number else output
        halved = [output_size(size, 3, stride=2, padding=1) for size in sizes]
        extra = "x".join(str(size - (2 * half - 1)) for size, half in zip(sizes, halved, strict=True))
        down += f"conv {maps} 3 stride 2 pad 1, {activation}, "
        up = f"deconv {channels} 3 stride 2 pad 1 extra {extra or 0}, {behind}, {up}"
        channels, sizes = maps, halved
    small = (channels, *sizes)
    up = f"dense {prod(small)}, {activation}, reshape {'x'.join(map(str, small))}, {up}"
    return _both(f"{down}dense", up.removesuffix(", "), input_shape, outputs)


def autoencoder_sequence(
    input_shape: tuple[int, ...], outputs: int, hidden_size: int = 128, cell: str = "lstm"
) -> nn.Module:
    """`SequenceAutoencoder` for batches (batch, time, features).

    Args:
        input_shape: (time, features).
        outputs: size of the code.
        hidden_size: of both recurrent networks.
        cell: of both, one of `carousel.cells.REGISTRY`.
    """
    if len(input_shape) != 2:
        raise UsageError(f"autoencoder-sequence takes (time, features) and gets inputs of {input_shape}.")
    return SequenceAutoencoder(input_shape[1], outputs, hidden_size, cell)


def _both(down: str, up: str, input_shape: tuple[int, ...], code: int) -> nn.Module:
    encoder, _ = layers_of(down, input_shape, code)
    decoder, _ = layers_of(up, (code,), prod(input_shape))
    return Autoencoder(nn.Sequential(encoder), nn.Sequential(decoder))
