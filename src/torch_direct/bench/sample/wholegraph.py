"""Sampling by WholeGraph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import Tensor

from torch_direct.bench.sample.cases import UNIFORM, Case
from torch_direct.bench.sample.systems import (
    UNIFIED,
    WHOLEGRAPH,
    Batches,
    Contender,
    Sampled,
    Seeds,
)
from torch_direct.bench.wholegraph import allocate, host_view, start
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory


def wholegraph_contender(graph: Graph) -> Contender:
    """Copy a graph into WholeGraph's host memory.

    Args:
        graph: Its `indptr` is int64; `indices` are kept as they are, and seeds get their dtype.
    """
    communicator = start()
    structure = import_module("pylibwholegraph.torch.graph_structure").GraphStructure()
    structure.set_csr_graph(
        *(_copy(communicator, tensor) for tensor in (graph.indptr, graph.indices))
    )

    @contextmanager
    def start_case(case: Case, seeds: Seeds) -> Iterator[Batches]:
        nodes = seeds.nodes.to(graph.indices.dtype)
        fanout = list(case.fanout)

        def batches(number: int) -> Iterator[Sampled]:
            for seed_nodes in nodes[number]:
                # Both lists begin with the last hop. Nodes of a hop begin with those before it.
                targets, edges, _, _ = structure.multilayer_sample_without_replacement(
                    seed_nodes, fanout
                )
                yield Sampled(targets[0], edges[::-1])

        yield batches

    return Contender(WHOLEGRAPH, UNIFIED, UNIFORM, graph, start_case)


def _copy(communicator: Any, tensor: Tensor) -> Any:
    memory = allocate(communicator, tensor.shape, tensor.dtype)
    host_view(memory).copy_(in_host_memory(tensor))
    return memory
