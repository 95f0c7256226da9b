"""Imports that fail because of what is installed: the package, the versions, and the command that mends it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carousel.doctor.environment import explain, partner
from carousel.doctor.findings import Finding

from .conftest import Scripts

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(name, version, source)`: a package in a `site-packages` of its own, which hides the real ones."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(name: str, version: str, source: str | None = None, imported_as: str | None = None) -> None:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        package = imported_as or name
        (info / "top_level.txt").write_text(f"{package}\n")
        if source is not None:
            (site / package).mkdir()
            (site / package / "__init__.py").write_text(source)
            monkeypatch.delitem(sys.modules, package, raising=False)
        importlib.invalidate_caches()

    return install


def importing(name: str) -> Finding:
    """What is said of the error that this import ends in."""
    try:
        importlib.import_module(name)
    except Exception as error:
        found = explain(error)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("torch", "package", "command"),
    [
        ("2.6.0", "torchvision", 'pip install "torchvision==0.21.*"'),
        (
            "2.13.0+cpu",
            "torchvision",
            'pip install "torchvision==0.28.*" --index-url https://download.pytorch.org/whl/cpu',
        ),
        (
            "2.8.1+cu126",
            "torchaudio",
            'pip install "torchaudio==2.8.*" --index-url https://download.pytorch.org/whl/cu126',
        ),
        ("2.9.0+git1a2b", "torchaudio", 'pip install "torchaudio==2.9.*"'),
        ("3.0.0", "torchvision", None),
        ("2.6.0", "flash_attn", None),
    ],
)
def test_partners(install: Install, torch: str, package: str, command: str | None) -> None:
    install("torch", torch)
    assert partner(package) == command


def test_vision_that_does_not_fit(install: Install) -> None:
    install("torch", "2.13.0")
    install("torchvision", "0.20.1", "raise RuntimeError('operator torchvision::nms does not exist')")
    install("helpful", "1.0", "import torchvision")
    for name in ("torchvision", "helpful"):
        finding = importing(name)
        assert (finding.code, finding.severity, finding.where) == ("broken-environment", "error", "import torchvision")
        assert "torchvision 0.20.1 was built for another PyTorch than the installed torch 2.13.0" in finding.evidence
        assert 'pip install "torchvision==0.28.*"' in finding.advice


def test_undefined_symbol(install: Install) -> None:
    install("torch", "2.13.0")
    words = "/usr/lib/python3/site-packages/flash_attn_2.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
    install("flash-attn", "2.5", f"raise ImportError({words!r})", "flash_attn")
    finding = importing("flash_attn")
    assert "flash-attn" in finding.advice
    assert "flash_attn 2.5 was built for another PyTorch than the installed torch 2.13.0" in finding.evidence
    assert "/usr/lib" not in finding.evidence


def test_a_missing_library(install: Install) -> None:
    install("torchaudio", "2.7.1", "raise OSError('libcudart.so.12: cannot open shared object file: No such file')")
    install("torch", "2.8.0")
    finding = importing("torchaudio")
    assert "torchaudio 2.7.1 needs libcudart.so.12, which is not there" in finding.evidence
    assert finding.advice == 'Install the one that fits: pip install "torchaudio==2.8.*"'


@pytest.mark.parametrize(
    "words",
    [
        "A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.1.0 as it may crash.",
        "numpy.core.multiarray failed to import",
        "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88",
    ],
)
def test_numpy(install: Install, words: str) -> None:
    install("numpy", "2.1.0")
    install("oldpack", "0.3", f"raise ImportError({words!r})")
    finding = importing("oldpack")
    assert "oldpack 0.3 was compiled for another NumPy than the installed NumPy 2.1.0" in finding.evidence
    assert 'Either pip install --upgrade oldpack, or go back: pip install "numpy<2"' in finding.advice


def test_not_installed(install: Install) -> None:
    for name, advice in {"hydra": "pip install hydra-core", "cv2": "pip install opencv-python-headless"}.items():
        assert importing(f"{name}.some").advice == advice
    install("torch", "2.13.0")
    assert importing("torchvision").advice == 'pip install "torchvision==0.28.*"'
    unknown = importing("no_such_helper")
    assert "finds no module no_such_helper" in unknown.evidence
    assert "pip install no" not in unknown.advice


def test_another_version(install: Install) -> None:
    install("wandb", "0.1", "")
    assert "The installed wandb 0.1 has no module wandb.sdk" in importing("wandb.sdk").evidence
    install("timm", "0.4", "from wandb import finish")
    finding = importing("timm")
    assert (
        "The installed wandb 0.1 does not give what is imported from it: cannot import name 'finish'"
        in finding.evidence
    )
    assert finding.advice.endswith("pip install --upgrade timm")


def test_a_file_that_hides_a_package(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("einops", "0.8", "")
    (tmp_path / "einops.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "einops", raising=False)
    with pytest.raises(ImportError) as caught:
        exec("from einops import rearrange")
    finding = explain(caught.value)
    assert finding is not None
    assert "einops.py has the name of the installed package einops 0.8, and hides it." in finding.evidence


def test_causes(install: Install) -> None:
    install("torch", "2.13.0")
    install("torchvision", "0.20.1", "raise RuntimeError('operator torchvision::nms does not exist')")
    install("lazy", "1", "try:\n import torchvision\nexcept RuntimeError as e:\n raise RuntimeError('failed') from e")
    assert importing("lazy").where == "import torchvision"


def test_other_errors_are_the_scripts() -> None:
    for error in (
        None,
        RuntimeError("mat1 and mat2"),
        OSError(2, "No such file"),
        ValueError("no"),
        KeyboardInterrupt(),
    ):
        assert explain(error) is None
    try:
        importlib.import_module("no_such_helper")
    except ImportError as missing:
        error = RuntimeError("CUDA out of memory")
        error.__context__ = missing
    assert explain(error) is None


def test_as_a_user_sees_it(scripts: Scripts) -> None:
    scripts.write("import torch\nimport pytorch_of_mine\n")
    alone, report = scripts.same("--json", "found.json")
    assert "No module named 'pytorch_of_mine'" in alone.stderr
    assert "error: broken-environment, import pytorch_of_mine" in report
    (finding,) = scripts.found()["findings"]
    assert finding["code"] == "broken-environment"


def test_pytorch_itself(scripts: Scripts) -> None:
    site = scripts.folder / "site-packages" / "torch"
    site.mkdir(parents=True)
    scripts.write(
        "raise OSError('libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent')", "site-packages/torch/__init__.py"
    )
    scripts.write("import sys\nsys.path.insert(0, 'site-packages')\nprint('begin')\nimport torch\n")
    alone, report = scripts.same()
    assert "undefined symbol" in alone.stderr
    assert "does not fit the libraries that it finds" in " ".join(report.split())
    assert "pip install --force-reinstall --no-cache-dir torch" in " ".join(report.split())
