"""Weights of edges as integers, so that drawing by weight is exact and the same on every device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from torch_direct.errors import GraphError
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory
from torch_direct.graph.validate import EDGES_AT_ONCE
from torch_direct.sampler.views import alias_for
from torch_direct.tensor.create import empty, unified
from torch_direct.tensor.host_view import HostView

_MANTISSA = 53
"""Bits of the mantissa of a float64."""
_BITS = 61
"""Bits of the sum of the weights of a node."""


def without_zeros(graph: Graph) -> Graph:
    """Return the graph without its edges of weight 0; itself, where there are none.

    Reads all weights once. What is left keeps its edge ids and lies where the graph does.

    Raises:
        GraphError: A weight is negative or not finite; the message names the first.
    """
    if not _has_zeros(graph):
        return graph
    columns = {name: in_host_memory(column) for name, column in graph.tensors().items()}
    del columns["indices"], columns["indptr"]
    columns.pop("node_time", None)
    indptr, indices = in_host_memory(graph.indptr), in_host_memory(graph.indices)
    kept = columns["weight"].nonzero().squeeze(1)
    ids = columns.pop("edge_id", None)
    left = {name: column[kept] for name, column in columns.items()} | {
        "indptr": torch.searchsorted(kept, indptr.long()).to(indptr.dtype),
        "indices": indices[kept],
        "edge_id": kept if ids is None else ids[kept],
    }
    if isinstance(graph.indices, HostView):
        device = graph.indices.device
        left = {name: unified(column, device=device) for name, column in left.items()}
    return replace(graph, **left)  # type: ignore[arg-type]


def weight_prefix(graph: Graph) -> Tensor:
    """Return running sums of the weights as integers, where the graph lies.

    The weights of the in-edges of a node are divided by the power of two that makes the largest of
    them less than `2**(61 - b)`, for a degree of `b` bits, and rounded down, but not to 0. So a
    node's weigh less than `2**61` together, and those of a degree below 1024 are off by less than
    `2**-50` of the largest.

    Args:
        graph: With positive weights.

    Returns:
        int64 `[num_edges + 1]`, from 0, modulo `2**64`.
    """
    device = graph.indptr.device
    indptr, weight = alias_for(device, graph.indptr), alias_for(device, _weight_of(graph))
    indptr = indptr.contiguous()
    is_unified = isinstance(graph.indices, HostView)
    prefix = (empty if is_unified else torch.empty)(
        graph.num_edges + 1, dtype=torch.int64, device=device
    )
    sums = alias_for(device, prefix)
    drop = _dropped_bits(indptr, weight)
    sums[:1] = 0
    for part, row in _parts(indptr, graph.num_edges):
        mantissa, exponent = torch.frexp(weight[part].double())
        integer = (mantissa * 2.0**_MANTISSA).long()
        right = drop[row] - exponent
        scaled = integer >> right.clamp(0, 63) << (-right).clamp(min=0)
        sums[part.start + 1 : part.stop + 1] = scaled.clamp(min=1).cumsum(0) + sums[part.start]
    if device.type == "cuda":
        # Other streams may sample.
        torch.cuda.current_stream(device).synchronize()
    return prefix


def _dropped_bits(indptr: Tensor, weight: Tensor) -> Tensor:
    """Return for every node how far mantissas of 53 bits are shifted to the right.

    Less the exponent of the weight, which is in front of its mantissa. int32 `[num_nodes]`.
    """
    least = torch.iinfo(torch.int16).min
    largest = torch.full_like(indptr[1:], least, dtype=torch.int32)
    for part, row in _parts(indptr, weight.numel()):
        exponent = torch.frexp(weight[part].double()).exponent
        largest.scatter_reduce_(0, row, exponent, "amax")
    bits_of_degree = torch.frexp(indptr.diff().double()).exponent
    return largest + bits_of_degree + (_MANTISSA - _BITS)


def _parts(indptr: Tensor, num_edges: int) -> Iterator[tuple[slice, Tensor]]:
    """Go through the edges in order, a few at a time.

    Yields:
        The places of some edges, and the destination of each.
    """
    for start in range(0, num_edges, EDGES_AT_ONCE):
        stop = min(start + EDGES_AT_ONCE, num_edges)
        first = int(torch.searchsorted(indptr, start, right=True)) - 1
        last = int(torch.searchsorted(indptr, stop))
        counts = indptr[first : last + 1].clamp(start, stop).diff()
        nodes = torch.arange(first, last, device=indptr.device)
        yield slice(start, stop), nodes.repeat_interleave(counts, output_size=stop - start)


def _weight_of(graph: Graph) -> Tensor:
    if graph.weight is None:
        raise GraphError(
            "the graph has no weights; expected one for every edge: make it with weight=, "
            "edge_weight= or weight_attr=, or sample with weighted=False"
        )
    return graph.weight


def _has_zeros(graph: Graph) -> bool:
    """Whether a weight is 0; raise GraphError for one that is negative or not finite."""
    weight, found = _weight_of(graph), False
    for start in range(0, weight.numel(), EDGES_AT_ONCE):
        part = weight[start : start + EDGES_AT_ONCE]
        low, high = (float(end) for end in torch.aminmax(part))
        if not 0 <= low <= high < float("inf"):
            at = start + int((~((part >= 0) & part.isfinite())).nonzero()[0])
            edge = at if graph.edge_id is None else int(graph.edge_id[at])
            raise GraphError(
                f"the weight of edge {edge} is {weight[at].item()}; expected a finite number of at "
                "least 0: replace it, or drop the edge"
            )
        found = found or low == 0
    return found
