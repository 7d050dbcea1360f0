"""What sampling gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from torch_direct.graph.hetero import EdgeType


@dataclass(frozen=True, eq=False)
class Batch:
    """Seed nodes and the neighbourhood sampled for them, relabelled from 0.

    All tensors are int64 and on one device. The counts by hop follow PyG, so that
    `torch_geometric.utils.trim_to_layer` takes them, where the edges are those that were sampled.
    """

    n_id: Tensor
    """Global node ids `[num sampled nodes]`: the seeds in their order, then hop by hop the nodes
    first met there, ascending within a hop. Its place here is a node's local id. Where trees are
    disjoint, a node is here once for each tree that met it, ascending in the tree."""
    edge_index: Tensor
    """Local ids `[2, num edges]`, row 0 the source, row 1 the destination; hop by hop, then by
    destination, then in the order of the graph. Other subgraph types than directional have other
    edges, in another order."""
    batch_size: int
    """Number of seed nodes: the first `batch_size` entries of `n_id`."""
    num_sampled_nodes: list[int]
    """Nodes first met in each hop, `num hops + 1` entries; the first is `batch_size`."""
    num_sampled_edges: list[int]
    """Edges sampled in each hop, `num hops` entries."""
    e_id: Tensor
    """Which edge of the graph each edge is `[num edges]`: its id, where the graph has edge ids,
    else its place in `indices`."""
    batch: Tensor | None = None
    """Tree of each node `[num sampled nodes]`, the place of its seed; None unless disjoint."""


@dataclass(frozen=True, eq=False)
class HeteroBatch:
    """As `Batch`, with nodes and edges of several types: every field holds what is said there.

    All types of the graph are in it, those without a node or an edge too.
    """

    n_id: Mapping[str, Tensor]
    """Global node ids by node type; those of the types of seeds begin with them."""
    edge_index: Mapping[EdgeType, Tensor]
    """Local ids by edge type: places in `n_id` of the source's type and of the destination's."""
    batch_size: int
    """Number of seed nodes, of all types."""
    input_type: str | None
    """The type of the seed nodes; None where they were given by type."""
    num_sampled_nodes: Mapping[str, list[int]]
    """Nodes first met in each hop, by node type; the first is the number of seeds of the type."""
    num_sampled_edges: Mapping[EdgeType, list[int]]
    """Edges sampled in each hop, by edge type."""
    e_id: Mapping[EdgeType, Tensor]
    """Which edge of its type each edge is, by edge type."""
    batch: Mapping[str, Tensor] | None = None
    """Tree of each node, by node type; None unless disjoint."""
