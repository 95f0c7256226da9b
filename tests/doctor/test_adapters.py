"""The doctor as a callback of the trainers of Lightning and Hugging Face; the real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ONE = """
import logging, sys, torch, warnings
from torch.utils.data import DataLoader, TensorDataset
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
torch.manual_seed(0)
y = torch.randint(3, (240,))
x = torch.randn(3, 4)[y] + 0.1 * torch.randn(240, 4)
{imports}

class Net(lightning.LightningModule):
    def __init__(self, *last):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3), *last)
    def training_step(self, batch, number):
        if FAILS and number == 15:
            raise ValueError("no")
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)

def fit(*last):
    doctor = DoctorCallback()
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[doctor])
    try:
        trainer.fit(Net(*last), DataLoader(TensorDataset(x, y), batch_size=12, shuffle=True))
    except ValueError as error:
        print("ended", error)
    print([f.code for f in doctor.findings if f.severity != "note"], doctor._doctor)

for FAILS in (False, True):
    fit()
fit(torch.nn.Softmax(1))
print(torch.nn.Module.__call__ is torch.nn.Module._wrapped_call_impl)
"""

TWO = """
import torch, transformers
from carousel.doctor.huggingface import DoctorCallback
transformers.logging.set_verbosity_error()
torch.manual_seed(0)
y = torch.randint(3, (240,))
x = torch.randn(3, 4)[y] + 0.1 * torch.randn(240, 4)

class Net(torch.nn.Module):
    def __init__(self, *last):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3), *last)
    def forward(self, x, labels):
        scores = self.net(x)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}

def train(*last):
    doctor = DoctorCallback()
    settings = transformers.TrainingArguments("out", per_device_train_batch_size=12, num_train_epochs=2, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True, logging_strategy="no", learning_rate=1e-3)
    data = [{"x": a, "labels": b} for a, b in zip(x, y)]
    transformers.Trainer(Net(*last), settings, train_dataset=data, callbacks=[doctor]).train()
    print([f.code for f in doctor.findings if f.severity != "note"], doctor._doctor)

train()
train(torch.nn.Softmax(1))
"""


def python(folder: Path, code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("package", "imports"),
    [
        ("lightning", "import lightning\nfrom carousel.doctor.lightning import DoctorCallback"),
        ("lightning", "from carousel.doctor.lightning import DoctorCallback\nimport lightning"),
        (
            "pytorch_lightning",
            "import pytorch_lightning as lightning\nfrom carousel.doctor.lightning import DoctorCallback",
        ),
    ],
    ids=["lightning", "lightning afterwards", "pytorch_lightning"],
)
def test_lightning(package: str, imports: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed (pip install {package})")
    printed = python(tmp_path, ONE.replace("{imports}", imports))
    healthy, broken, wrong, rest = printed.split(" None\n")
    assert healthy.endswith("[]")
    assert "in 40 updates" in healthy
    assert broken.endswith("ended no\n[]")
    assert "in 15 updates" in broken
    assert wrong.endswith("['double-softmax']")
    assert "error: double-softmax" in wrong
    assert rest == "True\n"


def test_huggingface(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (pip install transformers)")
    healthy, wrong, _ = python(tmp_path, TWO).split(" None\n")
    assert healthy.endswith("[]")
    assert "in 40 updates" in healthy
    assert wrong.endswith("['double-softmax']")
