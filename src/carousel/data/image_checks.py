"""What is wrong or odd with a set of images, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

__all__ = ["check_labels", "copies", "notes_of_classes", "notes_of_facts", "unreadable_images"]

SHOWN = 5
_SENTENCES = {
    "turned": "Turned upright, as their EXIF says",
    "transparent": "Laid on white, because parts are transparent",
    "16 bits": "Reduced from 16 bits to 8",
    "dark": "Almost black in 8 bits, because they use 12 of 16 at most (stretch them before)",
    "pages": "Read only the first of several pages",
}


def check_labels(labels: Sequence[str], column: str | None) -> None:
    """Refuse labels from which nothing can be learned.

    Raises:
        DataError: there is one class only, or hardly an image has a class in common with another.
    """
    classes = len(set(labels))
    count = f"All {len(labels):,} images are" if len(labels) > 1 else "The only image is"
    named = f" of the column {column!r}" if column else ""
    if classes == 1:
        raise DataError(
            f"{count} of the class {labels[0]!r}: there is nothing to tell apart. Give at least two classes, "
            f"{'or name another column with --label-column' if column else 'each in a folder of its own'}."
        )
    if classes > 2 and classes > len(labels) / 1.5:
        raise DataError(
            f"The labels{named} are {classes:,} different ones for {len(labels):,} images; a class needs several "
            f"images. {'Name the column of the labels with --label-column' if column else 'Give more of each'}."
        )


def notes_of_classes(labels: Sequence[str], splits: Sequence[str | None]) -> list[str]:
    """Classes with a single image, and classes that a part has but the training part has not."""
    counts = Counter(labels)
    notes = []
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        notes.append(
            f"{_named(single, 'class', 'classes')} {'has' if len(single) == 1 else 'have'} one image only: it can be "
            "learned or tested, not both."
        )
    parts = {part: {label for label, own in zip(labels, splits, strict=True) if own == part} for part in set(splits)}
    learned = parts.get("train")
    for part in ("dev", "test"):
        unseen = sorted(parts.get(part, set()) - learned) if learned else []
        if unseen:
            is_are = "is" if len(unseen) == 1 else "are"
            notes.append(f"{_named(unseen, 'class', 'classes')} {is_are} in {part} but not in train.")
    return notes


def copies(
    digests: NDArray[np.uint8], names: Sequence[str], labels: Sequence[str], splits: Sequence[str | None]
) -> tuple[NDArray[np.int64], list[str]]:
    """Images with exactly the same pixels: for each the number of the first one, and sentences about them.

    Args:
        digests: (images, 16) a hash of the pixels of each.
        names, labels, splits: of each.
    """
    keys = np.ascontiguousarray(digests).view(np.dtype((np.void, digests.shape[1])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    equal = first[inverse].astype(np.int64)
    notes = []
    part = np.array([split or "" for split in splits])
    for one, other in (("train", "test"), ("train", "dev"), ("dev", "test")):
        inside, both = equal[part == one], part == other
        both &= np.isin(equal, inside)
        if both.any():
            second = int(np.flatnonzero(both)[0])
            twin = int(np.flatnonzero((part == one) & (equal == equal[second]))[0])
            number = int(both.sum())
            notes.append(
                f"Leakage: {_some(number)} of {other} {_are(number)} in {one} too, pixel for pixel, "
                f'such as "{names[twin]}" ({one}) and "{names[second]}" ({other}).'
            )
    again = np.flatnonzero(equal != np.arange(len(equal)))
    if len(again) and not notes:
        row = int(again[0])
        notes.append(
            f"{_some(len(again))} {_are(len(again))} the same as another, pixel for pixel, "
            f'such as "{names[row]}" and "{names[equal[row]]}".'
        )
    odd = [row for row in again.tolist() if labels[row] != labels[equal[row]]]
    if odd:
        row, twin = odd[0], int(equal[odd[0]])
        notes.append(
            f'Equal pixels, but different labels: {_some(len(odd))}, such as "{names[twin]}" ({labels[twin]}) and '
            f'"{names[row]}" ({labels[row]}).'
        )
    return equal, notes


def notes_of_facts(
    facts: dict[str, tuple[int, int]], names: Sequence[str], size: tuple[int, int], channels: int
) -> list[str]:
    """What was done to the images (see `image_files.decode`), with the name of one of them.

    Args:
        facts: for each how many images it is true of, and the first of them.
        names: of the images, those left out among them.
        size: height and width to which they were brought.
        channels: to which they were brought.
    """
    notes = []
    modes = {fact.removeprefix("mode "): number for fact, (number, _) in facts.items() if fact.startswith("mode ")}
    if len(modes) > 1:
        shown = ", ".join(f"{number:,} {mode}" for mode, number in sorted(modes.items(), key=lambda item: -item[1]))
        notes.append(f"The modes of the images are mixed ({shown}); all became {'gray' if channels == 1 else 'RGB'}.")
    if "resized" in facts:
        cut = facts["cropped"][0] if "cropped" in facts else 0
        cropped = f", {cut:,} of them cut to the shape around their center" if cut else ""
        notes.append(f"Brought to {size[0]} × {size[1]} pixels: {_some(facts['resized'][0])}{cropped}.")
    for fact, sentence in _SENTENCES.items():
        if fact in facts:
            number, first = facts[fact]
            notes.append(f'{sentence}: {_some(number)}, such as "{names[first]}".')
    return notes


def unreadable_images(reasons: Sequence[tuple[str, str]], count: int, *, skip: bool) -> str:
    """A note that these images were left out, with the reasons of the first ones.

    Raises:
        DataError: they must not be left out, or there are no others.
    """
    shown = ", ".join(f'"{name}" ({reason})' for name, reason in reasons[:SHOWN])
    more = f" and {len(reasons) - SHOWN:,} more" if len(reasons) > SHOWN else ""
    one = len(reasons) == 1
    if skip and len(reasons) < count:
        return f"Left out, because they cannot be used: {_some(len(reasons))}, {shown}{more}."
    advice = "Mend or remove it" if one else "Mend or remove them"
    if not skip:
        advice += ", or leave such images out with --unreadable skip"
    if one:
        name, reason = reasons[0]
        raise DataError(f'"{name}" cannot be used: {reason}. {advice}.')
    raise DataError(f"{len(reasons):,} of {count:,} images cannot be used: {shown}{more}. {advice}.")


def _named(names: Sequence[str], singular: str, plural: str) -> str:
    shown = ", ".join(map(repr, names[:SHOWN]))
    if len(names) == 1:
        return f"The {singular} {shown}"
    return f"{len(names):,} {plural} ({shown}{', …' if len(names) > SHOWN else ''})"


def _some(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
