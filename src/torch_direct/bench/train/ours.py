"""The loader of this package, over host memory, GPU memory, and some of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from torch_direct.bench.outcome import Absent
from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.data import TrainData
from torch_direct.bench.train.goals import GRAPH_IN_GPU, IN_GPU
from torch_direct.bench.train.system import LEAD, TRANSFER, Case, Drawn, Ready, Start, Turn
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory
from torch_direct.sampler.neighbor import NeighborSampler
from torch_direct.tensor.create import is_unified
from torch_direct.tensor.gather import gather

_PREFETCH = 2
_KEPT_FREE = 12 << 30
"""Bytes of GPU memory left for the training of all systems."""


def our_system(data: TrainData) -> Start:
    """Return the loader of this package, over the graph in host memory."""
    return _over(data.graph, data.x, data.y)


def system_with_graph_in_gpu(data: TrainData) -> Start | Absent:
    """Copy the graph into GPU memory, and return the loader of this package over that."""

    def copied() -> Start:
        return _over(data.graph_on_device, data.x, data.y)

    return _if_it_fits(GRAPH_IN_GPU, data.graph.nbytes, data.device, copied)


def system_in_gpu(data: TrainData) -> Start | Absent:
    """Copy all into GPU memory, and return the loader of this package over that."""

    def copied() -> Start:
        x, y = (in_host_memory(tensor).to(data.device) for tensor in (data.x, data.y))
        return _over(data.graph_on_device, x, y)

    return _if_it_fits(IN_GPU, data.nbytes, data.device, copied)


def _if_it_fits(
    name: str, nbytes: int, device: torch.device, copied: Callable[[], Start]
) -> Start | Absent:
    """Return a system that keeps so many bytes in GPU memory, or say why it cannot be measured."""
    if device.type == "cpu":
        return Absent(name, "needs a GPU")
    # All of the memory, as what another system has there may be the same.
    _, total = torch.cuda.mem_get_info(device)
    if nbytes + _KEPT_FREE > total:
        return Absent(
            name,
            f"takes {nbytes / 1e9:.1f} GB, and training {_KEPT_FREE / 1e9:.1f}; the GPU has "
            f"{total / 1e9:.1f} GB of memory",
        )
    try:
        return copied()
    except torch.OutOfMemoryError:
        free, _ = torch.cuda.mem_get_info(device)
        return Absent(
            name, f"takes {nbytes / 1e9:.1f} GB; {free / 1e9:.1f} GB of GPU memory are free"
        )


def _over(graph: Graph, x: Tensor, y: Tensor) -> Start:
    @contextmanager
    def start(case: Case) -> Iterator[Ready]:
        yield _Loaded(graph, x, y, case).ready()

    return start


class _Loaded:
    """Batches of this package's loader."""

    def __init__(self, graph: Graph, x: Tensor, y: Tensor, case: Case) -> None:
        from torch_geometric.data import Data

        from torch_direct.loader import NeighborLoader

        self.case, self.graph, self.x = case, graph, x
        self.turn = Turn(case.workload.batch_size)
        self.sampler = NeighborSampler(graph, case.workload.fanout)
        self.loader = NeighborLoader(
            Data(x=x, y=y),
            list(case.workload.fanout),
            case.nodes,
            neighbor_sampler=self.sampler,
            batch_size=case.workload.batch_size,
            sampler=self.turn,
            prefetch=_PREFETCH,
        )

    def ready(self) -> Ready:
        return Ready(self.batches, self.sample, {TRANSFER: self.transfer}, LEAD, _PREFETCH)

    def batches(self, numbers: range) -> Iterator[Minibatch]:
        self.turn.numbers = numbers
        for batch in self.loader:
            nodes, edges = batch.num_sampled_nodes, batch.num_sampled_edges
            yield Minibatch(
                x=batch.x,
                y=batch.y[: batch.batch_size],
                n_id=batch.n_id,
                edge_index=batch.edge_index,
                num_sampled_nodes=nodes,
                num_sampled_edges=edges,
                link_bytes=self._link_bytes(batch, nodes, edges),
            )

    def sample(self, numbers: range) -> Iterator[Drawn]:
        for number in numbers:
            yield self.sampler.sample(self.case.seeds(number), batch=number)

    def transfer(self, ids: Tensor, ids_there: Tensor) -> Tensor:
        del ids
        return gather(self.x, ids_there)

    def _link_bytes(self, batch: Any, nodes: Sequence[int], edges: Sequence[int]) -> int:
        """Count rows and labels, the neighbours drawn, and where those of a node begin and end."""
        drawn = sum(edges) * self.graph.indices.element_size()
        bounds = 2 * sum(nodes[:-1]) * self.graph.indptr.element_size()
        rows = int(batch.x.nbytes + batch.y.nbytes)
        return is_unified(self.x) * rows + is_unified(self.graph.indices) * (drawn + bounds)
