"""A few of the random cases that `fuzz.py` runs by the million."""

from __future__ import annotations

import pytest
import torch

from torch_direct.kernels.backend import interpreting

from . import fuzz as fuzzing
from .fuzz import fuzz


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_random_cases(device: str) -> None:
    cases = 8 if interpreting() else 150
    counts = fuzz(cases, torch.device(device), seed=1)
    assert (counts.cases, counts.wrong) == (cases, 0)


def test_a_wrong_answer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "gather_rows", lambda *args, **kwargs: None)
    assert fuzz(4, torch.device("cpu"), seed=1).wrong_rows > 0
