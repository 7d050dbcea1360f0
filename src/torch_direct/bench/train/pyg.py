"""Sampling on the CPU, by PyG's loader and sampler in worker processes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torch_direct.bench.outcome import Absent
from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.data import TrainData
from torch_direct.bench.train.goals import STOCK, STRONG, TWO_LINES
from torch_direct.bench.train.models import most_nodes
from torch_direct.bench.train.system import (
    LEAD,
    PAGEABLE,
    TRANSFER,
    Case,
    Drawn,
    Ready,
    Start,
    Transfer,
    Turn,
)
from torch_direct.errors import HostMemoryError
from torch_direct.graph.plain import in_host_memory
from torch_direct.loader.prefetch import prefetched
from torch_direct.memory.pages import available_memory, size_text
from torch_direct.tensor.create import empty

_BUFFERS = 3
_SECONDS_OF_A_BATCH = 120
"""A worker that takes longer is taken for dead."""
_PREFETCH = 2
"""Batches that a worker makes in advance, one where they might fill the memory."""
_SHARE_OF_MEMORY = 0.9
"""Of what is free, that batches may take; the systems made ready after it need some."""
_LEAD_OF_STOCK = 16
"""Its batches take so long that what the allocator does beside them is lost."""


def stock_system(data: TrainData) -> Start | Absent:
    """Return PyG's loader as it comes: workers sample and gather, batches are pinned and copied."""
    host = data.x.host

    def gathered(ids: Tensor, _: Tensor) -> Tensor:
        rows = host.index_select(0, ids)
        on_cpu = data.device.type == "cpu"
        return rows if on_cpu else rows.pin_memory().to(data.device, non_blocking=True)

    def pageable(ids: Tensor, _: Tensor) -> Tensor:
        return host[ids].to(data.device)

    @contextmanager
    def start(case: Case) -> Iterator[Ready]:
        ahead = _prefetch_factor(data, case)
        with (
            _loader(data, case, prefetch=ahead, x=host) as loader,
            _loader(data, case) as sampling,
        ):

            def batches(numbers: range) -> Iterator[Minibatch]:
                for batch in loader(numbers):
                    moved = batch.to(data.device, non_blocking=True)
                    yield _minibatch(moved, moved.x, _nbytes(batch))

            transfers = {TRANSFER: gathered, PAGEABLE: pageable}
            lead = _LEAD_OF_STOCK
            yield _ready(case, batches, sampling, transfers, lead=lead, prefetch=ahead)

    return _if_there(STOCK, start)


def two_line_system(data: TrainData) -> Start | Absent:
    """Return PyG's loader with the two lines changed: the GPU reads the features itself."""

    def gathered(ids: Tensor, _: Tensor) -> Tensor:
        rows: Tensor = data.x[ids.to(data.device, non_blocking=True)]
        return rows

    @contextmanager
    def start(case: Case) -> Iterator[Ready]:
        with _loader(data, case) as loader:

            def batches(numbers: range) -> Iterator[Minibatch]:
                for batch in loader(numbers):
                    moved = batch.to(data.device, non_blocking=True)
                    x = data.x[moved.n_id]
                    yield _minibatch(moved, x, _nbytes(batch) + x.nbytes)

            yield _ready(case, batches, loader, {TRANSFER: gathered})

    return _if_there(TWO_LINES, start)


def strong_system(data: TrainData) -> Start | Absent:
    """Return the CPU at its strongest: workers sample, and all cores gather into pinned buffers.

    A thread does the gathering, ahead of the training; buffers take turns, and are copied on a
    stream of their own.
    """

    @contextmanager
    def start(case: Case) -> Iterator[Ready]:
        with _drawing(data, case) as draw:
            buffers = [_Buffer(data, case) for _ in range(_BUFFERS)]
            turns = itertools.cycle(buffers)
            threads = torch.get_num_threads()

            def batches(numbers: range) -> Iterator[Minibatch]:
                drawn = draw(numbers)

                def make(number: int) -> Minibatch:
                    # A loader that pins sets a single thread for all threads that come after.
                    torch.set_num_threads(threads)
                    return buffers[number % _BUFFERS].fill(next(drawn))

                yield from prefetched([make], numbers, ahead=_BUFFERS - 1, device=data.device)

            def gathered(ids: Tensor, _: Tensor) -> Tensor:
                return next(turns).transfer(ids)

            yield _ready(case, batches, draw, {TRANSFER: gathered})

    return _if_there(STRONG, start)


def _ready(
    case: Case,
    batches: Callable[[range], Iterator[Minibatch]],
    sample: Callable[[range], Iterator[Drawn]],
    transfers: Mapping[str, Transfer],
    *,
    lead: int = LEAD,
    prefetch: int = _PREFETCH,
) -> Ready:
    workers = case.workers
    whole_waves = workers * math.ceil(lead / workers)
    return Ready(batches, sample, transfers, whole_waves, prefetch * workers, workers)


def _if_there(name: str, start: Start) -> Start | Absent:
    """Return the system where PyG can sample for it."""
    try:
        from torch_geometric import typing
    except ImportError as error:
        return Absent(name, f"cannot be imported: {error}")
    if typing.WITH_PYG_LIB:
        return start
    return Absent(name, "needs pyg-lib, whose sampler takes the graph in int32")


def _sampler(data: TrainData, case: Case) -> Any:
    """Return PyG's sampler over the graph as it lies in memory, which it would copy."""
    from torch_geometric.data import Data
    from torch_geometric.sampler import NeighborSampler

    no_edges = torch.empty(2, 0, dtype=torch.int64)
    without = Data(edge_index=no_edges, num_nodes=data.graph.num_nodes)
    sampler = NeighborSampler(without, list(case.workload.fanout), is_sorted=True)
    sampler.colptr, sampler.row = (
        in_host_memory(tensor) for tensor in (data.graph.indptr, data.graph.indices)
    )
    return sampler


@contextmanager
def _loader(
    data: TrainData, case: Case, *, prefetch: int = _PREFETCH, **attributes: Tensor
) -> Iterator[Any]:
    """Yield a function that gives PyG's batches of the numbers that it gets."""
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader

    turn = Turn(case.workload.batch_size)
    loader = NeighborLoader(
        Data(
            y=data.y.host,
            edge_index=torch.empty(2, 0, dtype=torch.int64),
            num_nodes=data.graph.num_nodes,
            **attributes,
        ),
        list(case.workload.fanout),
        input_nodes=case.nodes,
        neighbor_sampler=_sampler(data, case),
        batch_size=case.workload.batch_size,
        sampler=turn,
        num_workers=case.workers,
        persistent_workers=True,
        pin_memory=data.device.type == "cuda",
        prefetch_factor=prefetch,
        timeout=_SECONDS_OF_A_BATCH,
        multiprocessing_context="fork",
    )
    with _of_numbers(loader, turn) as batches:
        yield batches


def _prefetch_factor(data: TrainData, case: Case) -> int:
    """Choose how many batches a worker makes in advance, which lie in memory, and pinned again.

    Raises:
        HostMemoryError: One each might not fit: the kernel would end the whole run for it.
    """
    row_bytes = data.x.shape[1] * data.x.element_size()
    batch = min(most_nodes(case.workload), data.graph.num_nodes) * row_bytes
    # Torch page-locks a power of two.
    pinned = 1 << (batch - 1).bit_length()
    free, kept = available_memory(), _kept_pinned_bytes(data.device)

    def needed(ahead: int) -> int:
        batches = ahead * case.workers
        return batches * batch + max(0, batches * pinned - kept)

    if needed(_PREFETCH) < free / 2:
        return _PREFETCH
    if needed(1) < _SHARE_OF_MEMORY * free:
        return 1
    raise HostMemoryError(
        f"{case.workers} workers may need {size_text(needed(1))} of host memory for their batches "
        f"and {size_text(free)} are free; expected {_SHARE_OF_MEMORY:.0%} of that to be enough: "
        "take fewer workers"
    )


def _kept_pinned_bytes(device: torch.device) -> int:
    """Return the bytes of page-locked memory that torch keeps, to pin the next batches in.

    Nothing is in use before a system begins. What torch counts as active is more than it has locked
    once batches of different sizes have been pinned (2.11).
    """
    if device.type != "cuda":
        return 0
    return int(torch.cuda.memory.host_memory_stats().get("allocated_bytes.current", 0))


@contextmanager
def _drawing(data: TrainData, case: Case) -> Iterator[Any]:
    """Yield a function that gives the draws of the numbers that it gets, made in workers."""
    turn = Turn(1)
    loader = DataLoader(
        _Draws(_sampler(data, case), case),
        batch_size=None,
        sampler=turn,
        collate_fn=_as_it_is,
        num_workers=case.workers,
        persistent_workers=True,
        timeout=_SECONDS_OF_A_BATCH,
        multiprocessing_context="fork",
    )
    with _of_numbers(loader, turn) as draws:
        yield draws


@contextmanager
def _of_numbers(loader: Any, turn: Turn) -> Iterator[Any]:
    """Yield a function that goes through the batches of some numbers."""

    def through(numbers: range) -> Iterator[Any]:
        turn.numbers = numbers
        return iter(loader)

    try:
        yield through
    finally:
        # The loader refers to itself; workers that the collector ends take five seconds each.
        loader._iterator = None


class _Draw(NamedTuple):
    """What workers send, and no more."""

    n_id: Tensor
    edge_index: Tensor
    num_sampled_nodes: list[int]
    num_sampled_edges: list[int]


class _Draws(Dataset[_Draw]):
    """The draws of a case by batch number."""

    def __init__(self, sampler: Any, case: Case) -> None:
        self.sampler, self.case = sampler, case

    def __getitem__(self, number: int) -> _Draw:
        from torch_geometric.sampler import NodeSamplerInput

        found = self.sampler.sample_from_nodes(NodeSamplerInput(None, self.case.seeds(number)))
        edge_index = torch.stack([found.row, found.col])
        return _Draw(found.node, edge_index, found.num_sampled_nodes, found.num_sampled_edges)


class _Buffer:
    """Page-locked memory for one batch, which waits until it has been copied to be filled again."""

    def __init__(self, data: TrainData, case: Case) -> None:
        graph = data.graph
        self.data, self.case = data, case
        most = most_nodes(case.workload)
        # An edge leads to each node but the seeds.
        edges = most - case.workload.batch_size
        dtype = graph.indices.dtype
        shape = (min(most, graph.num_nodes), data.x.shape[1])
        self._x = empty(shape, dtype=data.x.dtype).host
        self._y = empty(case.workload.batch_size, dtype=torch.int64).host
        self._n_id = empty(shape[0], dtype=dtype).host
        self._edge_index = empty(2 * edges, dtype=dtype).host
        self._copied = torch.cuda.Event(blocking=True) if data.device.type == "cuda" else None

    def fill(self, draw: _Draw) -> Minibatch:
        """Gather what a batch has, and start copying it, on the current stream."""
        x = self._rows(draw.n_id)
        seeds = draw.n_id[: self.case.workload.batch_size]
        y = self._y[: seeds.numel()]
        torch.index_select(self.data.y.host, 0, seeds, out=y)
        n_id = self._n_id[: draw.n_id.numel()].copy_(draw.n_id)
        edges = self._edge_index[: draw.edge_index.numel()].view(2, -1).copy_(draw.edge_index)
        batch = Minibatch(
            x=x,
            y=self._copy(y),
            n_id=self._copy(n_id),
            edge_index=self._copy(edges).long(),
            num_sampled_nodes=draw.num_sampled_nodes,
            num_sampled_edges=draw.num_sampled_edges,
            link_bytes=sum(tensor.nbytes for tensor in (x, y, n_id, edges)),
        )
        self._mark()
        return batch

    def transfer(self, ids: Tensor) -> Tensor:
        """Gather rows alone, and start copying them, on the current stream."""
        x = self._rows(ids)
        self._mark()
        return x

    def _mark(self) -> None:
        """Take note of where the copies end."""
        if self._copied is not None:
            self._copied.record()

    def _rows(self, ids: Tensor) -> Tensor:
        """Gather rows with all cores once the last copy is done, and start copying them."""
        if self._copied is not None:
            self._copied.synchronize()
        rows = self._x[: ids.numel()]
        torch.index_select(self.data.x.host, 0, ids, out=rows)
        return self._copy(rows)

    def _copy(self, source: Tensor) -> Tensor:
        return source.to(self.data.device, non_blocking=True, copy=True)


def _minibatch(batch: Any, x: Tensor, link_bytes: int) -> Minibatch:
    """Return a batch of PyG, which is on the training device."""
    return Minibatch(
        x=x,
        y=batch.y[: batch.batch_size],
        n_id=batch.n_id,
        edge_index=batch.edge_index.long(),
        num_sampled_nodes=batch.num_sampled_nodes,
        num_sampled_edges=batch.num_sampled_edges,
        link_bytes=link_bytes,
    )


def _nbytes(batch: Any) -> int:
    return sum(value.nbytes for value in batch.to_dict().values() if isinstance(value, Tensor))


def _as_it_is(draw: Any) -> Any:
    return draw
