"""What rows out of range leave behind, where no kernel reads them."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from torch_direct.kernels.rows import resolve_index


def test_a_call_without_news_leaves_what_another_stream_notes_meanwhile():
    fault = torch.zeros(4, dtype=torch.int64)
    words = fault.numpy()

    class AnotherStream(TorchDispatchMode):
        """Notes a row before anything is written."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._schema.is_mutable:
                words[:3] = 2, 7, 5
            return func(*args, **(kwargs or {}))

    with AnotherStream():
        rows, valid = resolve_index(torch.tensor([1, -1]), 3, fault)
    assert (rows.tolist(), valid.tolist()) == ([1, 2], [True, True])
    assert fault.tolist() == [2, 7, 5, 0]


def test_the_first_row_out_of_range_is_noted_once(device):
    fault = torch.zeros(4, dtype=torch.int64, device=device)
    for index in ([0, 9, -8], [-8, 9, 0]):
        rows, valid = resolve_index(torch.tensor(index, device=device), 3, fault)
        assert rows.tolist() == [0, 0, 0]
        assert valid.tolist() == [number == 0 for number in index]
        assert fault.tolist() == [2, 9, 3, 0]
