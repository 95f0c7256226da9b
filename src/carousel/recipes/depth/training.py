"""Training one network as in section 4.2 of the paper, for as many epochs as there is time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import carousel

__all__ = ["Images", "Size", "read", "trained"]

PAD = 4
"""Black pixels on each side, of which a window is cut."""


class Size(NamedTuple):
    """How large and how long everything is."""

    files: int
    """Of the five with training images."""
    held_out: int
    """Images that are not trained on, the last ones."""
    depths: tuple[int, ...]
    filters: int
    """Maps of the first stage."""
    epochs: int
    batch: int
    rate: float
    """The first learning rate; a tenth of it after half of the epochs, a hundredth after three quarters."""


class Images(NamedTuple):
    """(n, 3, 32, 32) and (n,): pixels less the mean image of those trained on, over one standard deviation; classes."""

    x: Tensor
    y: Tensor


def read(files: list[Path], held_out: int) -> tuple[Images, Images]:
    """What is trained on, and what is held out."""
    raw = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, 3073) for file in files])
    x, y = torch.from_numpy(raw[:, 1:]).reshape(-1, 3, 32, 32).float(), torch.from_numpy(raw[:, 0]).long()
    count = len(x) - held_out
    x = x - x[:count].mean(0)
    x = (x / x[:count].std()).contiguous(memory_format=torch.channels_last)
    return Images(x[:count], y[:count]), Images(x[count:], y[count:])


def changed(x: Tensor, generator: Generator) -> Tensor:
    """Each image padded by four pixels, mirrored or not, and cut to its size at random."""
    count, _, height, width = x.shape
    shifts = torch.randint(2 * PAD + 1, (2, count, 1), generator=generator)
    rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
    columns = torch.where(torch.rand(count, 1, generator=generator) < 0.5, columns.flip(1), columns)
    each = torch.arange(count)[:, None, None]
    places = (part.to(x.device) for part in (each, rows[:, :, None], columns[:, None, :]))
    return F.pad(x, (PAD,) * 4).permute(0, 2, 3, 1)[tuple(places)].permute(0, 3, 1, 2)


def error(net: nn.Module, images: Images) -> float:
    """The share of wrong images."""
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(some).argmax(1) for some in images.x.split(500)])
    return float((answers != images.y).double().mean())


def trained(
    recipe: carousel.recipes.Recipe, name: str, size: Size, seed: int, train: Images, held_out: Images
) -> dict[str, Any]:
    """One network by SGD with momentum 0.9, weight decay 0.0001, cuts and mirrors; a stopped run goes on by epochs.

    Returns:
        `wrong`: the share in the batches of each epoch; `train` and `held_out`: that of all images at the end, as
        they are; `seconds` of the training; `parameters`.
    """
    place, device = f"{name}-{size.filters}-{seed}", train.x.device
    torch.manual_seed(seed)
    net = carousel.nn.network(name, (3, 32, 32), 10, filters=size.filters)
    net = net.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rule = torch.optim.SGD(net.parameters(), lr=size.rate, momentum=0.9, weight_decay=1e-4)
    milestones = [size.epochs // 2, size.epochs * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(rule, milestones)
    generator, wrong, seconds = torch.Generator().manual_seed(seed), [], 0.0
    saved = recipe.load(place)
    if saved is not None:
        net.load_state_dict(saved["net"])
        rule.load_state_dict(saved["rule"])
        schedule.load_state_dict(saved["schedule"])
        generator.set_state(saved["generator"])
        wrong, seconds = saved["wrong"], saved["seconds"]
    for epoch in recipe.steps(len(wrong), size.epochs, place):
        since, count = recipe.seconds, torch.zeros((), dtype=torch.int64, device=device)
        net.train()
        for rows in torch.randperm(len(train.x), generator=generator).to(device).split(size.batch):
            scores = net(changed(train.x[rows], generator))
            rule.zero_grad()
            F.cross_entropy(scores, train.y[rows]).backward()
            rule.step()
            count += (scores.argmax(1) != train.y[rows]).sum()
        schedule.step()
        wrong.append(int(count) / len(train.x))
        seconds += recipe.seconds - since
        parts = {"net": net, "rule": rule, "schedule": schedule}
        states = {what: part.state_dict() for what, part in parts.items()}
        recipe.save(place, {**states, "generator": generator.get_state(), "wrong": wrong, "seconds": seconds})
        recipe.say(f"{place}, epoch {epoch + 1} of {size.epochs}: {wrong[-1]:.2%} wrong, {seconds:.0f} s")
    errors = {"train": error(net, train), "held_out": error(net, held_out)}
    return {**errors, "wrong": wrong, "seconds": seconds, "parameters": sum(p.numel() for p in net.parameters())}
