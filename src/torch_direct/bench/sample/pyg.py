"""Sampling by PyG's NeighborLoader, on the CPU, in worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import Sampler

from torch_direct.bench.sample.cases import UNIFORM, Case
from torch_direct.bench.sample.graphs import destinations
from torch_direct.bench.sample.systems import CPU, PYG, Batches, Contender, Sampled, Seeds
from torch_direct.graph import Graph
from torch_direct.tensor.create import empty


def why_absent() -> str | None:
    """Return why PyG cannot sample here, None where it can."""
    try:
        from torch_geometric import typing
    except ImportError as error:
        return f"cannot be imported: {error}"
    if typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE:
        return None
    return "needs pyg-lib or torch-sparse, the libraries with its samplers"


def pyg_contender(graph: Graph, workers: int) -> Contender:
    """Copy a graph into an `edge_index` in shared memory, as a loader with workers has it.

    Workers sample and give back what they drew; there are no features to fetch.

    Args:
        graph: As `make_graph` gives it.
        workers: Processes to sample in.
    """
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader
    from torch_geometric.sampler import NeighborSampler

    data = Data(edge_index=_edge_index(graph), num_nodes=graph.num_nodes)
    # NeighborLoader would have its own sampler copy the edges into shared memory once more.
    sampler = NeighborSampler(data, num_neighbors=[1], is_sorted=True)

    @contextmanager
    def start(case: Case, seeds: Seeds) -> Iterator[Batches]:
        sampler.num_neighbors = list(case.fanout)
        turn = _Turn(case.batches * case.batch_size)
        loader = NeighborLoader(
            data,
            num_neighbors=list(case.fanout),
            input_nodes=seeds.nodes.flatten().cpu(),
            neighbor_sampler=sampler,
            filter_per_worker=False,
            batch_size=case.batch_size,
            sampler=turn,
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context="fork",
        )

        def batches(number: int) -> Iterator[Sampled]:
            turn.number = number
            for batch in loader:
                yield Sampled(batch.n_id, batch.edge_index)

        try:
            yield batches
        finally:
            # The loader refers to itself; workers that the collector ends take five seconds each.
            loader._iterator = None

    return Contender(PYG, CPU, UNIFORM, graph, start)


class _Turn(Sampler[int]):
    """The places of the seeds of one round among those of all."""

    def __init__(self, round_size: int) -> None:
        self.round_size = round_size
        self.number = 0

    def __iter__(self) -> Iterator[int]:
        begin = self.number * self.round_size
        return iter(range(begin, begin + self.round_size))

    def __len__(self) -> int:
        return self.round_size


def _edge_index(graph: Graph) -> Tensor:
    """Return the edges by destination, int64 `[2, num_edges]`, in shared memory."""
    edge_index = empty(2, graph.num_edges, dtype=torch.int64, shared=True)
    for places, dst, _, _ in destinations(graph):
        edge_index[0, places].copy_(graph.indices[places])
        edge_index[1, places].copy_(dst)
    if edge_index.is_cuda:
        torch.cuda.synchronize()
    return edge_index.host
