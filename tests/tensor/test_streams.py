"""Reads of rows inside CUDA graphs and on several streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import torch_direct as td

pytestmark = pytest.mark.gpu


@pytest.fixture(params=[64, 257], ids=["whole vectors", "odd rows"])
def table(request: pytest.FixtureRequest) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50_000, request.param, generator=generator)


def drawn(table: Tensor, rows: int, seed: int) -> Tensor:
    generator = torch.Generator(device="cuda").manual_seed(seed)
    return torch.randint(0, table.shape[0], (rows,), device="cuda", generator=generator)


@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_read_is_replayed_with_other_rows(table: Tensor, is_sorted: bool) -> None:
    u = td.unified(table)
    index = drawn(table, 4000, 0).sort().values
    out = torch.zeros(4000, table.shape[1], device="cuda")
    td.gather(u, index, out=out, sorted=is_sorted)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        td.gather(u, index, out=out, sorted=is_sorted)
    for seed in range(1, 4):
        index.copy_(drawn(table, 4000, seed).sort().values)
        out.zero_()
        graph.replay()
        assert torch.equal(out.cpu(), table[index.cpu()])


def test_rows_put_in_order_inside_a_graph(table: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_direct.kernels import plan

    monkeypatch.setattr(plan.Seconds, "order_pays", True)
    u = td.unified(table)
    index = drawn(table, 9000, 0)
    td.gather(u, index)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rows = td.gather(u, index)
    index.copy_(drawn(table, 9000, 1))
    graph.replay()
    assert torch.equal(rows.cpu(), table[index.cpu()])


def test_a_row_out_of_range_in_a_replay_is_raised_afterwards(table: Tensor) -> None:
    u = td.unified(table)
    index = drawn(table, 300, 0)
    u[index]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rows = u[index]
    index[7] = table.shape[0]
    graph.replay()
    with pytest.raises(IndexError, match=f"row index {table.shape[0]} is out of range"):
        td.check()
    assert not rows[7].any()
    index[7] = 3
    graph.replay()
    td.check()
    assert torch.equal(rows.cpu(), table[index.cpu()])


def test_several_streams_read_at_once_into_slices_of_one_buffer(table: Tensor) -> None:
    u = td.unified(table)
    streams = [torch.cuda.Stream() for _ in range(4)]
    out = torch.zeros(4 * 5000, table.shape[1], device="cuda")
    indices = [drawn(table, 5000, seed) for seed in range(4)]
    torch.cuda.synchronize()
    for _ in range(5):
        for part, (stream, index) in enumerate(zip(streams, indices, strict=True)):
            with torch.cuda.stream(stream):
                td.gather(u, index, out=out[part * 5000 : (part + 1) * 5000])
    torch.cuda.synchronize()
    assert torch.equal(out.cpu(), table[torch.cat(indices).cpu()])


WRITES: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "a number": lambda u, i, rows: u.__setitem__(i, 0.5),
    "a 0-dim tensor": lambda u, i, rows: u.__setitem__(i, rows[0, 0]),
    "a 0-dim tensor on the CPU": lambda u, i, rows: u.__setitem__(i, torch.tensor(0.5)),
    "one row": lambda u, i, rows: u.__setitem__(i, rows[0]),
    "a number for each row": lambda u, i, rows: u.__setitem__(i, rows[:, :1]),
    "rows": lambda u, i, rows: u.__setitem__(i, rows),
    "transposed": lambda u, i, rows: u.__setitem__(i, rows.t().contiguous().t()),
    "every other column": lambda u, i, rows: u.__setitem__(i, rows.repeat(1, 2)[:, ::2]),
    "no rows": lambda u, i, rows: u.__setitem__(i[:0], rows[:0]),
    "index_copy_": lambda u, i, rows: u.index_copy_(0, i, rows),
    "index_add_": lambda u, i, rows: u.index_add_(0, i, rows),
    "accumulate": lambda u, i, rows: u.index_put_((i,), rows, accumulate=True),
}
READS: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "u[i]": lambda u, i, rows: u[i],
    "gather": lambda u, i, rows: td.gather(u, i),
    "gather out": lambda u, i, rows: td.gather(u, i, out=rows),
    "index_select": lambda u, i, rows: torch.index_select(u, 0, i),
    "embedding": lambda u, i, rows: torch.nn.functional.embedding(i, u),
}


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """From the call on, whatever waits for the GPU is an error."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
@pytest.mark.parametrize("use", [*READS.values(), *WRITES.values()], ids=[*READS, *WRITES])
def test_neither_reads_nor_writes_wait(use: Any, no_waiting: Callable[[], None]) -> None:
    u, index = td.zeros(500, 64), torch.arange(7, 107, device="cuda")
    rows = torch.rand(100, 64, device="cuda")
    use(u, index, rows)  # compiles the kernel
    torch.cuda.synchronize()
    no_waiting()
    use(u, index, rows)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_is_replayed_with_other_rows(write: Any) -> None:
    u, expected = td.zeros(500, 64), torch.zeros(500, 64)
    index = torch.arange(7, 107, device="cuda")
    rows = torch.rand(100, 64, device="cuda")
    write(u, index, rows)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        write(u, index, rows)
    u.zero_()
    index.copy_(torch.arange(499, 399, -1, device="cuda"))
    graph.replay()
    write(expected, index.cpu(), rows.cpu())
    torch.testing.assert_close(u.cpu(), expected)


def test_a_table_in_gpu_memory_is_read_too(table: Tensor) -> None:
    index = drawn(table, 20_000, 0)
    assert torch.equal(td.gather(table.cuda(), index).cpu(), table[index.cpu()])
