"""The tests of this folder once more, in a process where Triton interprets its kernels."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from torch_direct.kernels.backend import interpreting


@pytest.mark.skipif(interpreting(), reason="this is the interpreter's process already")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_all_kernel_tests_pass_in_the_interpreter() -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    folder = Path(__file__).parent
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(folder),
            "-q",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
        ],
        cwd=folder.parents[1],
        env={**inherited, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    report = f"{run.stdout[-20_000:]}\n{run.stderr[-5_000:]}"
    assert run.returncode == 0, f"the kernel tests failed in the Triton interpreter:\n{report}"
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None, report
    assert int(passed[1]) > 50, report
