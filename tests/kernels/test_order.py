"""Row numbers in address order."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from torch_direct.kernels.backend import interpreting

from .conftest import MODEST

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

DEVICE = (
    [pytest.param("cpu", id="interpreter")]
    if interpreting()
    else [pytest.param("cuda", marks=pytest.mark.gpu)]
)


@pytest.mark.parametrize("device", DEVICE)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@MODEST
@given(
    num_rows=st.integers(1, 1 << 36) | st.integers(1, 100),
    size=st.integers(1, 3000),
    slack=st.sampled_from([0, 7]),
    seed=st.integers(0, 1000),
)
@example(num_rows=1 << 20, size=3000, slack=0, seed=0)
def test_positions_ascend_by_bucket(
    device: str, dtype: torch.dtype, num_rows: int, size: int, slack: int, seed: int
) -> None:
    from torch_direct.kernels.triton_order import address_order

    num_rows = min(num_rows, torch.iinfo(dtype).max - slack)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(
        -num_rows - slack, num_rows + slack, (size,), generator=generator, dtype=torch.int64
    )
    order = address_order(index.to(dtype).to(device), num_rows)
    assert order.dtype == torch.int32
    assert sorted(order.tolist()) == list(range(size))
    rows = torch.where(index < 0, index + num_rows, index)
    in_range = (rows >= 0) & (rows < num_rows)
    rows = torch.where(in_range, rows, num_rows - 1)[order.cpu().long()]
    width = 1 << max(0, (num_rows - 1).bit_length() - 14)
    buckets = (rows // width).tolist()
    assert buckets == sorted(buckets)
