"""Fixtures that several test files use."""

import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says nothing about its being right.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Read when torch is imported. The tests' tensors are tiny: several threads gain nothing on them, and where another
# process keeps a core busy they wait for each other, which made the tests eight times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

# Read when Triton is imported, which parts of torch do: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
