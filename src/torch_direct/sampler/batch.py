"""What sampling gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from torch_direct.graph.hetero import EdgeType
from torch_direct.sampler.views import seen_from
from torch_direct.tensor.gather import gather


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
    batch: Tensor | None
    """Tree of each node `[num sampled nodes]`, the place of its seed; None unless disjoint."""
    _edges: DrawnEdges = field(repr=False)

    @cached_property
    def e_id(self) -> Tensor:
        """Which edge of the graph each edge is `[num edges]`.

        Its id, where the graph has edge ids, else its place in `indices`. Ids are read out of the
        graph when this is first asked for.
        """
        return self._edges.ids()


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
    batch: Mapping[str, Tensor] | None
    """Tree of each node, by node type; None unless disjoint."""
    _edges: Mapping[EdgeType, DrawnEdges | None] = field(repr=False)

    @cached_property
    def e_id(self) -> Mapping[EdgeType, Tensor | None]:
        """Which edge of its type each edge is, by edge type, as in `Batch`.

        None for types that `subgraph_type="bidirectional"` gave edges of another type.
        """
        return {kind: None if edges is None else edges.ids() for kind, edges in self._edges.items()}


@dataclass(frozen=True, eq=False)
class DrawnEdges:
    """Edges of one type out of a graph, whose ids are read when they are asked for."""

    position: Tensor
    """Places in the `indices` of the graph, int64 `[num edges]`."""
    edge_id: Tensor | None
    """The ids of all edges of the graph, or None where a place is the id."""
    ascending: bool
    """Whether places ascend, or nearly so: ids are then read as they come."""

    def __reduce__(self) -> tuple[type[DrawnEdges], tuple[Tensor, None, bool]]:
        # Other processes and copies get these ids, not those of the whole graph.
        return DrawnEdges, (self.ids(), None, False)

    def ids(self) -> Tensor:
        """Return their ids, int64 `[num edges]`."""
        if self.edge_id is None:
            return self.position
        edge_id = seen_from(self.position.device, self.edge_id)
        return gather(edge_id, self.position, sorted=self.ascending).long()
