"""What all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# The first case compiles kernels and starts CUDA.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers that each use all cores wait for each other far longer than they compute.
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    no_gpu = pytest.mark.skip(reason="needs an NVIDIA GPU, and there is none")
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(no_gpu)


def pytest_collection_finish() -> None:
    # The collector runs after every test; what is imported by now need not be looked at again.
    import torch._dynamo

    torch._dynamo.reset()
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and the first GPU where there is one."""
    return torch.device(request.param, 0) if request.param == "cuda" else torch.device("cpu")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real graphs beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real graphs in {SHARED_DATA}, which are not there")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _quiet_gpu() -> Iterator[None]:
    """After each test the GPU is idle and no row out of range waits to be raised elsewhere."""
    yield
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        from torch_direct.tensor import faults

        torch.cuda.synchronize()
        faults.forget()
    gc.collect()
