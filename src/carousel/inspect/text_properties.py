"""What could be true at a character of a text: inside quotes, deep in brackets, late in the line.

Each property is known from the characters up to and with that one, so that a network that has read just these can know
it too.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["looks_like_python", "text_properties"]

KEYWORDS = ("def", "class", "import", "from", "return", "if", "for", "assert", "raise")
OPEN, CLOSE = "([{", ")]}"


def looks_like_python(text: str) -> bool:
    r"""Whether it has the lines of Python's source code.

    Example:
        >>> looks_like_python("def f(x):\n    return x\n"), looks_like_python("Once upon a time.")
        (True, False)
    """
    lines = text[:100_000].splitlines()
    said = sum(bool(re.match(r"\s*(def |class |import |from .* import |return\b|self\.|@\w)", line)) for line in lines)
    return said > 0.05 * len(lines)


def text_properties(text: str, *, python: bool | None = None) -> dict[str, NDArray[np.bool_]]:
    """What is true after each character.

    Args:
        text: the characters.
        python: read quotes and comments as Python does; None to look.

    Returns:
        Name → (characters,). Numbers, such as the position in the line, become "at least their median where they are
        not zero".

    Example:
        >>> found = text_properties('f("a", 1)', python=True)
        >>> "".join("x" if inside else "." for inside in found["inside a string"])
        '..xx.....'
        >>> "".join("x" if inside else "." for inside in found["inside ( )"])
        '.xxxxxxx.'
    """
    python = looks_like_python(text) if python is None else python
    found = _quoted(text, python)
    free = ~(found["inside a string"] | found["inside a comment"]) if python else np.ones(len(text), bool)
    found |= _brackets(text, free)
    found |= _lines(text)
    codes = np.array([ord(c) for c in text], np.int64)
    letters = np.array([c.isalpha() or c == "_" for c in text])
    digits = (codes >= 48) & (codes <= 57)
    found["inside a word"] = letters
    found["inside a number"] = digits & ~np.roll(letters, 1)
    found["capital letters"] = np.array([c.isupper() for c in text])
    found["second letter of a word or later"] = letters & np.roll(letters, 1)
    if python:
        found |= _statements(text)
    else:
        found["end of a sentence"] = _after(text, r"[.!?][\"'”’)]*(\s|$)")
    return found


def _quoted(text: str, python: bool) -> dict[str, NDArray[np.bool_]]:
    """Strings and comments: true from the opening mark to just before the closing one has been read."""
    inside, long, comment = (np.zeros(len(text), bool) for _ in range(3))
    mark, place = "", 0
    while place < len(text):
        c = text[place]
        if mark == "#":
            mark = "" if c == "\n" else mark
        elif mark:
            if c == "\\" and python:
                inside[place : place + 2] = True
                long[place : place + 2] = len(mark) == 3
                place += 2
                continue
            if text.startswith(mark, place):
                inside[place : place + len(mark) - 1] = True
                long[place : place + len(mark) - 1] = len(mark) == 3
                place += len(mark)
                mark = ""
                continue
            if c == "\n" and len(mark) == 1 and python:
                mark = ""
        elif python and c == "#":
            mark = "#"
        elif c == "“":
            mark = "”"
        elif c == '"' or (python and c == "'"):
            mark = c * 3 if python and text.startswith(c * 3, place) else c
            inside[place : place + len(mark)] = True
            long[place : place + len(mark)] = len(mark) == 3
            place += len(mark)
            continue
        inside[place] = mark not in ("", "#")
        long[place] = len(mark) == 3
        comment[place] = mark == "#"
        place += 1
    if not python:
        return {"inside quotes": inside}
    return {"inside a string": inside, "inside a string of three quotes": long, "inside a comment": comment}


def _brackets(text: str, counted: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Within each kind, and two or more deep; a closing bracket without its opening one is ignored."""
    depth = np.zeros((3, len(text)), np.int64)
    open_ = [0, 0, 0]
    for place, c in enumerate(text):
        if counted[place]:
            if (kind := OPEN.find(c)) >= 0:
                open_[kind] += 1
            elif (kind := CLOSE.find(c)) >= 0:
                open_[kind] = max(0, open_[kind] - 1)
        depth[:, place] = open_
    found = {
        f"inside {left} {right}": depth[kind] > 0 for kind, (left, right) in enumerate(zip(OPEN, CLOSE, strict=True))
    }
    found["brackets two deep or more"] = depth.sum(0) > 1
    return found


def _lines(text: str) -> dict[str, NDArray[np.bool_]]:
    """Position in the line, indentation, length of the line before."""
    position = np.zeros(len(text), np.int64)
    indentation, before = position.copy(), position.copy()
    column = spaces = last = 0
    at_start = True
    for place, c in enumerate(text):
        if c == "\n":
            last, column, spaces, at_start = column, 0, 0, True
        else:
            column += 1
            at_start = at_start and c in " \t"
            spaces += at_start
        position[place], indentation[place], before[place] = column, spaces, last
    return {
        **_at_least("position in the line", position),
        **_at_least("indentation of the line", indentation),
        **_at_least("length of the line before", before),
        "in the spaces that begin a line": (position > 0) & (position == indentation),
        "first character of the line": position == 1,
    }


def _at_least(name: str, numbers: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    positive = numbers[numbers > 0]
    if not len(positive):
        return {}
    limit = int(np.median(positive))
    return {f"{name} >= {limit}": numbers >= limit}


def _statements(text: str) -> dict[str, NDArray[np.bool_]]:
    """On a line that begins with a keyword, behind that keyword."""
    found = {}
    for word in KEYWORDS:
        on = np.zeros(len(text), bool)
        for match in re.finditer(rf"(?m)^[ \t]*{word}\b[^\n]*", text):
            begin = match.start() + len(match[0]) - len(match[0].lstrip()) + len(word)
            on[begin : match.end()] = True
        found[f"on a line after {word!r}"] = on
    return found


def _after(text: str, pattern: str) -> NDArray[np.bool_]:
    on = np.zeros(len(text), bool)
    on[[match.end() - 1 for match in re.finditer(pattern, text)]] = True
    return on
