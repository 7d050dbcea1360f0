"""The ways to sample, each giving batches of one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from torch_direct.bench.sample.cases import TEMPORAL, UNIFORM, WEIGHTED, Case
from torch_direct.bench.sample.graphs import attributes_of
from torch_direct.graph import Graph
from torch_direct.sampler.neighbor import NeighborSampler

OURS, WHOLEGRAPH, PYG = "torch-direct", "wholegraph", "pyg"
SYSTEMS = (OURS, WHOLEGRAPH, PYG)
"""All systems, in the order of tables."""

UNIFIED, GPU, CPU = "unified", "gpu", "cpu"
"""Where the graph is: in host memory that the GPU reads, in GPU memory, in host memory."""

_MOST_SEEDS_OF_OTHER_KINDS = 1024
"""Larger batches are sampled uniformly only, which keeps a run below ten minutes."""


@dataclass(frozen=True)
class Seeds:
    """The seed nodes of a case, other ones in each batch."""

    nodes: Tensor
    """int64 `[rounds, batches, batch_size]`, distinct in a batch, on the device of the batches."""
    times: Tensor
    """Time of each seed, likewise."""


@dataclass(frozen=True)
class Sampled:
    """A batch, as the check and the count of edges want it; made of what the system gave."""

    nodes: Tensor
    """Global ids `[num nodes]`, the seeds first, then by hop."""
    edge_index: Tensor | list[Tensor]
    """Local ids `[2, num edges]`, row 0 the source, where a node is expanded once, in the hop after
    that in which it was met; a list by hop where every hop expands all nodes that were met so
    far."""
    tree: Tensor | None = None
    """Which seed each node belongs to `[num nodes]`, where trees are disjoint."""

    @property
    def num_edges(self) -> int:
        """Sampled edges."""
        parts = self.edge_index if isinstance(self.edge_index, list) else [self.edge_index]
        return sum(part.shape[1] for part in parts)


Batches = Callable[[int], Iterator[Sampled]]
"""Samples the batches of a round, given its number."""


@dataclass(frozen=True)
class Contender:
    """A system with the graph in one place, sampling in one way."""

    system: str
    placement: str
    kind: str
    graph: Graph
    """What is sampled, to be checked against; with the times of edges where the kind has any."""
    start: Callable[[Case, Seeds], AbstractContextManager[Batches]]
    """Makes ready for a case, and tidies up after it."""

    @property
    def name(self) -> str:
        """All that tells it from others."""
        return f"{self.system} {self.placement} {self.kind}"


def takes_part(contender: Contender, case: Case) -> bool:
    """Whether a system is measured in a case."""
    return contender.kind == UNIFORM or case.batch_size <= _MOST_SEEDS_OF_OTHER_KINDS


def our_contenders(graph: Graph, kinds: Sequence[str]) -> Iterator[Contender]:
    """Yield this package's sampler for each kind, and on a GPU for the graph in each memory.

    Args:
        graph: As `make_graph` gives it.
        kinds: Out of `KINDS`.
    """
    device = graph.indices.device
    on_gpu = graph.to(device)
    for kind in kinds:
        attributes: dict[str, Any] = attributes_of(graph, kind)
        whole = replace(graph, **attributes)
        if device.type == "cpu":
            yield _our_contender(whole, CPU, kind)
            continue
        yield _our_contender(whole, UNIFIED, kind)
        copies = {name: tensor.to(device, copy=True) for name, tensor in attributes.items()}
        yield _our_contender(replace(on_gpu, **copies), GPU, kind)


def _our_contender(graph: Graph, placement: str, kind: str) -> Contender:
    @contextmanager
    def start(case: Case, seeds: Seeds) -> Iterator[Batches]:
        sampler = NeighborSampler(graph, case.fanout, weighted=kind == WEIGHTED)

        def batches(number: int) -> Iterator[Sampled]:
            for batch, nodes in enumerate(seeds.nodes[number]):
                time = seeds.times[number, batch] if kind == TEMPORAL else None
                found = sampler.sample(nodes, seed_time=time, epoch=number, batch=batch)
                yield Sampled(found.n_id, found.edge_index, found.batch)

        yield batches

    return Contender(OURS, placement, kind, graph, start)
