"""Imports that fail because of what is installed, not because of the script: which package, which versions, what to do.

Needs no PyTorch: it may be PyTorch that can't be imported.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from importlib import metadata
from pathlib import Path

from .findings import Finding

__all__ = ["CODE", "explain", "partner"]

CODE = "broken-environment"

PACKAGES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image",
    "yaml": "pyyaml", "dotenv": "python-dotenv", "tensorboard": "tensorboard", "torchvision": "torchvision",
    "torchaudio": "torchaudio", "torch": "torch", "numpy": "numpy", "pandas": "pandas", "matplotlib": "matplotlib",
    "scipy": "scipy", "tqdm": "tqdm", "transformers": "transformers", "datasets": "datasets",
    "accelerate": "accelerate", "lightning": "lightning", "pytorch_lightning": "pytorch-lightning", "wandb": "wandb",
    "timm": "timm", "einops": "einops", "omegaconf": "omegaconf", "hydra": "hydra-core", "torchmetrics": "torchmetrics",
    "sentencepiece": "sentencepiece", "tokenizers": "tokenizers", "safetensors": "safetensors", "seaborn": "seaborn",
    "gymnasium": "gymnasium", "albumentations": "albumentations", "torch_geometric": "torch-geometric",
}  # fmt: skip
"""Import name -> the package that has it, of those that training scripts use. No other name is told to be installed: a
package of that name need not be the one that is meant."""

NUMPY = (
    "compiled using NumPy 1.x",
    "numpy.core.multiarray failed to import",
    "_ARRAY_API not found",
    "numpy.dtype size changed",
    "numpy.ufunc size changed",
)
MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


def explain(error: BaseException | None) -> Finding | None:
    """What is wrong with the installed packages, if that is why a script ended in this error."""
    if error is None:
        return None
    before = error.__cause__ or (error.__context__ if isinstance(error, ImportError) else None)
    return explain(before) or _explain(error)


def _explain(error: BaseException) -> Finding | None:
    if not isinstance(error, ImportError | OSError | RuntimeError | ValueError | AttributeError):
        return None
    text, package = str(error), _package(error)
    if any(words in text for words in NUMPY):
        return _numpy(text, package)
    library = MISSING_LIBRARY.search(text)
    if library:
        return _missing_library(library[1], package, text)
    if "undefined symbol" in text or re.search(r"operator \w+::\w+ does not exist", text) or "DLL load failed" in text:
        return None if package is None else _does_not_fit(text, package)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _not_found(error.name)
    return _import_error(error, package) if isinstance(error, ImportError) else None


def partner(package: str) -> str | None:
    """The version of torchvision or torchaudio that goes with the installed PyTorch, as pip is told it."""
    torch = _version("torch") or ""
    match = re.match(r"2\.(\d+)", torch)
    if match is None or package not in ("torchvision", "torchaudio"):
        return None
    minor = int(match[1])
    number = f"0.{minor + 15}" if package == "torchvision" else f"2.{minor}"
    label = torch.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{label}" if re.fullmatch(r"cpu|cu\d+|xpu", label) else ""
    return f'pip install "{package}=={number}.*"{index}'


def _does_not_fit(text: str, package: str) -> Finding:
    if package == "torch":
        return _finding(package, f"{_of('torch')} does not fit the libraries that it finds: {_brief(text)}", _anew())
    again = f"pip install --force-reinstall --no-deps --no-cache-dir {_distribution(package)}"
    return _finding(
        package,
        f"{_of(package)} was built for another PyTorch than the installed {_of('torch')}: {_brief(text)}",
        f"Install the one that fits: {partner(package)}"
        if partner(package)
        else f"Install it anew, built for the PyTorch that is there: {again}",
    )


def _numpy(text: str, package: str | None) -> Finding:
    numpy = _version("numpy") or "of an unknown version"
    if package in (None, "numpy"):
        name, upgrade = "a compiled package", "upgrade the package that is named in the traceback"
        where = "numpy"
    else:
        where, name, upgrade = package, _of(package), f"pip install --upgrade {_distribution(package)}"
    return _finding(
        where,
        f"{name} was compiled for another NumPy than the installed NumPy {numpy}: {_brief(text)}",
        f'Either {upgrade}, or go back: pip install "numpy<2"',
    )


def _missing_library(library: str, package: str | None, text: str) -> Finding:
    if package == "cv2":
        advice = "Take the build that needs no screen: pip uninstall opencv-python, pip install opencv-python-headless"
    elif package is not None and partner(package):
        advice = f"Install the one that fits: {partner(package)}"
    elif package == "torch":
        advice = _anew()
    else:
        advice = f"Install the system's package that has {library}."
    needs = f"{_of(package) if package else 'An import'} needs {library}, which is not there"
    return _finding(package or library, f"{needs}: {_brief(text)}", advice)


def _not_found(name: str) -> Finding:
    top = name.partition(".")[0]
    version = _version(top)
    if version is not None:
        return _finding(
            top,
            f"The installed {_of(top)} has no module {name}.",
            f"The script was written for another version; install that one, or change the import. Look what is there: "
            f"pip index versions {_distribution(top)}",
        )
    package = PACKAGES.get(top)
    if package is not None:
        advice = f"pip install {package}"
        if partner(top):
            advice = str(partner(top))
        if top == "torch":
            advice += " (https://pytorch.org/get-started says which build fits the machine)"
        return _finding(top, f"{name} is not installed for this Python ({_python()}).", advice)
    return _finding(
        top,
        f"Python ({_python()}) finds no module {name}.",
        "If it is a file of yours, run from its folder, or name that folder in PYTHONPATH; if it is a package, install "
        "the one that the script's documents name.",
    )


def _import_error(error: ImportError, package: str | None) -> Finding | None:
    top = (error.name or "").partition(".")[0] or package
    if top is None or (version := _version(top)) is None:
        return None
    if error.path and not _installed(error.path):
        return _finding(
            top,
            f"The file {error.path} has the name of the installed package {top} {version}, and hides it.",
            "Give that file another name.",
        )
    return _finding(
        top,
        f"The installed {_of(top)} does not give what is imported from it: {_brief(str(error))}",
        f"{package or 'The script'} was written for another version of {top}; upgrade the older of the two"
        + (f": pip install --upgrade {_distribution(package)}" if package and package != top else "."),
    )


def _anew() -> str:
    version = _version("torch")
    which = f"torch=={version.split('+')[0]}" if version else "torch"
    return f"Install PyTorch anew: pip install --force-reinstall --no-cache-dir {which}"


def _finding(where: str, evidence: str, advice: str) -> Finding:
    return Finding(CODE, "error", f"import {where}", evidence, advice)


def _package(error: BaseException) -> str | None:
    """The installed package that was being imported: of the innermost file of one that ran as a module."""
    folder = re.compile(r"(?:site|dist)-packages[/\\](\w+)")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        match = folder.search(frame.filename)
        if match and frame.name == "<module>" and not (match[1] == "numpy" and "numpy" in str(error)):
            return match[1]
    match = folder.search(str(error))
    return match[1] if match and ".so" in str(error) else None


def _installed(path: str) -> bool:
    folders = (sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib"))
    return "site-packages" in path or "dist-packages" in path or any(path.startswith(f) for f in folders)


def _distribution(package: str) -> str:
    """What pip calls it."""
    names = metadata.packages_distributions().get(package)
    return names[0] if names else PACKAGES.get(package, package.replace("_", "-"))


def _version(package: str) -> str | None:
    try:
        return metadata.version(_distribution(package))
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _of(package: str) -> str:
    version = _version(package)
    return package if version is None else f"{package} {version}"


def _brief(text: str) -> str:
    """Its first sentence, without the folders."""
    line = next((line for line in text.strip().splitlines() if line.strip()), "")
    line = re.sub(r"(/[^\s:]+/)(?=[^/\s:]+)", "", line)
    return line if len(line) <= 200 else f"{line[:197]}..."


def _python() -> str:
    return str(Path(sysconfig.get_paths()["scripts"]).parent)
