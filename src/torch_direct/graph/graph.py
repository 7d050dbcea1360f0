"""A graph in compressed sparse column form (CSC): for every node, where its in-edges come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_direct.graph import pyg
from torch_direct.graph.build import EdgeList, build_csc
from torch_direct.graph.plain import in_host_memory, plain
from torch_direct.graph.progress import Meter, Progress
from torch_direct.graph.storage import GRAPH, NODE_DATASET, open_folder, write_folder
from torch_direct.graph.validate import (
    check_edge_list,
    check_ends,
    check_layout,
    check_values,
    require_tensor,
)
from torch_direct.tensor.create import unified

TENSORS = ("indptr", "indices", "edge_id", "weight", "edge_time", "node_time")
"""The tensors that a graph may have."""
_REQUIRED = ("indptr", "indices")


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed graph; the in-neighbours of node `v` are `indices[indptr[v]:indptr[v + 1]]`.

    Sources and destinations are one set of nodes, or two, as in the edges of one type of a
    heterogeneous graph. The in-edges of a node are in any order, but where edges or nodes have
    times: then they ascend in the time of the edge, or of its source.

    All tensors are on one device; unified tensors count as being on the GPU that reads them.
    Making a graph by its constructor checks nothing and copies nothing.
    """

    indptr: Tensor
    """Where every node's in-edges start: int32 or int64 `[num_nodes + 1]`."""
    indices: Tensor
    """Source node of every edge: int32 or int64 `[num_edges]`."""
    edge_id: Tensor | None = None
    """Position of every edge in the list that the graph was made from: int32 or int64
    `[num_edges]`; None where it is the position in `indices`, or was not kept."""
    weight: Tensor | None = None
    """Weight of every edge, for sampling: float32 or float64 `[num_edges]`, finite, 0 or more."""
    edge_time: Tensor | None = None
    """Time of every edge: int32, int64 or float64 `[num_edges]`."""
    node_time: Tensor | None = None
    """Time of every source node: int32, int64 or float64 `[num_src_nodes]`."""
    num_src_nodes: int = -1
    """Number of nodes that edges may come from; -1 is replaced by `num_nodes`."""

    def __post_init__(self) -> None:
        if self.num_src_nodes == -1:
            object.__setattr__(self, "num_src_nodes", self.num_nodes)

    @property
    def num_nodes(self) -> int:
        """Number of nodes that edges go to."""
        return self.indptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """Number of edges; an undirected edge counts twice."""
        return self.indices.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that the graph has, by name."""
        found = {name: getattr(self, name) for name in TENSORS}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def degree(self, nodes: Tensor) -> Tensor:
        """Return the in-degree of `nodes`.

        Args:
            nodes: Node ids, integer, of any shape; negative ones count from the last node.

        Returns:
            int64 of the shape of `nodes`, on the device where indexing `indptr` with them computes.
        """
        nodes = nodes.long()
        return (self.indptr[1:][nodes] - self.indptr[:-1][nodes]).long()

    def validate(self) -> None:
        """Check the whole graph, a few million entries at a time.

        Edge ids may repeat, as those of a symmetric graph do.

        Raises:
            GraphError: A tensor has the wrong dtype, shape or device; `indptr` does not start at
                0, falls, or does not end at the number of edges; an index lies outside
                `[0, num_src_nodes)`; an edge id is negative; a weight is negative or not finite; a
                time is NaN; the in-edges of a node do not ascend in time. The message names the
                first place.
        """
        check_layout(self.tensors(), self.num_src_nodes)
        check_values(self.tensors(), self.num_src_nodes)

    @staticmethod
    def from_csc(
        indptr: Tensor,
        indices: Tensor,
        *,
        edge_id: Tensor | None = None,
        weight: Tensor | None = None,
        edge_time: Tensor | None = None,
        node_time: Tensor | None = None,
        num_src_nodes: int | None = None,
    ) -> Graph:
        """Make a graph of tensors in CSC form, which are kept as they are.

        Dtypes, shapes and devices are checked, and where `indptr` begins and ends; `validate`
        checks the other values too.

        Args:
            indptr: int32 or int64 `[num_nodes + 1]`, from 0 up to the number of edges.
            indices: Source of every edge, int32 or int64 `[num_edges]`.
            edge_id: int32 or int64 `[num_edges]`; by default the position in `indices`.
            weight: float32 or float64 `[num_edges]`, in the order of `indices`.
            edge_time: int32, int64 or float64 `[num_edges]`, in the order of `indices`, ascending
                among the in-edges of each node.
            node_time: int32, int64 or float64 `[num_src_nodes]`, ascending among the in-neighbours
                of each node.
            num_src_nodes: Number of source nodes; by default `num_nodes`, the same nodes.

        Raises:
            GraphError: A tensor has the wrong dtype, shape or device, `indptr` does not begin at 0
                or not end at the number of edges, or edges and nodes both have times.
            TypeError: One is no tensor.
        """
        values = (indptr, indices, edge_id, weight, edge_time, node_time)
        for name, value in zip(TENSORS, values, strict=True):
            require_tensor(name, value)
        graph = Graph(
            indptr,
            indices,
            edge_id,
            weight,
            edge_time,
            node_time,
            -1 if num_src_nodes is None else num_src_nodes,
        )
        check_layout(graph.tensors(), graph.num_src_nodes)
        check_ends(in_host_memory(indptr), graph.num_edges)
        return graph

    @staticmethod
    def from_edge_index(
        edge_index: Tensor,
        num_nodes: int | None = None,
        *,
        num_src_nodes: int | None = None,
        edge_weight: Tensor | None = None,
        edge_time: Tensor | None = None,
        node_time: Tensor | None = None,
        edge_id: bool = True,
        symmetric: bool = False,
        coalesce: bool = False,
        progress: Progress | None = None,
    ) -> Graph:
        """Make a graph of a list of edges by a stable sort on the destination.

        Every edge given is kept, self-loops and repeated edges too, and edges into the same node
        keep the order in which they were given, unless `coalesce` or times ask otherwise. A list
        that is in this order already is not copied: `indices` is its row 0, and `edge_id` None.

        Otherwise the result, one chunk of the list (2**24 edges) and one number a node are all that
        is held besides the list, which may be mapped from a file; with `coalesce`, one column of
        the result more, and with `coalesce` or times the in-edges of one node at least. A list
        longer than a chunk in host memory is sorted by the GPU, where there is one, a chunk at a
        time; the graph is where the list is.

        Args:
            edge_index: int32 or int64 `[2, num_edges]`; row 0 is the source, row 1 the
                destination. `indices` gets its dtype. A unified tensor makes a graph in plain host
                memory.
            num_nodes: Number of nodes; by default one more than the highest that is named.
            num_src_nodes: Number of source nodes, where they are other nodes than the
                destinations.
            edge_weight: Weight of every edge, float32 or float64 `[num_edges]`.
            edge_time: Time of every edge, int32, int64 or float64 `[num_edges]`; the in-edges of a
                node are ordered by it.
            node_time: Time of every source node, likewise `[num_src_nodes]`; the in-edges of a
                node are ordered by the time of their sources.
            edge_id: Keep the position of every edge in the list, in int32 where that does.
            symmetric: Add the reverse of every edge that is not a self-loop, after the edges given,
                with the id, weight and time of the edge.
            coalesce: Keep the first of each set of repeated edges, and order the edges into a node
                by source.
            progress: Told how many edges were looked at, over all passes over the list.

        Raises:
            GraphError: A tensor has another dtype or shape, a node is outside of its range, edges
                and nodes both have times, a time is NaN, a number of nodes is negative, or
                `symmetric` is asked for two sets of nodes. The message names the place.
            HostMemoryError: There is too little host memory for so many nodes.
            TypeError: What should be a tensor is none, or a number of nodes no integer.
        """
        if edge_index is None:
            raise TypeError("edge_index is None; expected a tensor [2, num_edges], perhaps empty")
        given = {"edge_weight": edge_weight, "edge_time": edge_time, "node_time": node_time}
        for name, value in {"edge_index": edge_index, **given}.items():
            require_tensor(name, value)
        pairs = plain(edge_index)
        values = {
            name: plain(value).to(pairs.device)
            for name, value in (("weight", edge_weight), ("edge_time", edge_time))
            if value is not None
        }
        time = None if node_time is None else plain(node_time).to(pairs.device)
        check_edge_list(pairs, values, time)
        edges = EdgeList(pairs, values, symmetric=symmetric, numbered=edge_id)
        csc = build_csc(
            edges,
            num_nodes,
            num_src_nodes,
            node_time=time,
            coalesce=coalesce,
            progress=progress,
        )
        return Graph.from_csc(
            csc.indptr, **csc.columns, node_time=time, num_src_nodes=csc.num_src_nodes
        )

    @staticmethod
    def from_pyg(
        data: Any, *, weight_attr: str | None = None, time_attr: str | None = None
    ) -> Graph:
        """Make a graph of a `torch_geometric.data.Data`, as `from_edge_index` does.

        Args:
            data: With `edge_index`, a tensor or an `EdgeIndex`; without it the graph has no edges.
            weight_attr: Name of the edge attribute that is the weight; integers and 16-bit numbers
                are converted, and a second dimension of 1 is left out.
            time_attr: Name of the node or edge attribute that is the time.

        Raises:
            GraphError: The attribute does not exist, the graph is stored as `adj_t`, or the edges
                are malformed.
            TypeError: `data` is no `Data`.
        """
        return Graph.from_edge_index(**pyg.homogeneous(data, weight_attr, time_attr))

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write the graph as a folder of `.npy` files and `meta.json`.

        Args:
            folder: Made where it does not exist.
            overwrite: Replace what a folder that is not empty has under these names.
            progress: Told how many bytes were written.

        Raises:
            FileFormatError: The folder is a file, or is not empty and `overwrite` is not set.
            OSError: The disk has too little room for the whole graph, or cannot be written.
        """
        write_graph(self, Path(folder), overwrite=overwrite, meter=Meter(progress, self.nbytes))

    @staticmethod
    def load(folder: str | os.PathLike[str], *, unified: bool = False) -> Graph:
        """Map a graph that `save` or `torch-direct convert` wrote; nothing of it is read yet.

        The files are mapped read-only: writing to the tensors ends the process.

        Args:
            folder: The folder, of a graph or of a data set.
            unified: Give the files to the GPU at once, as `td.load` does, and with its fallback
                where the GPU takes no mapped files; otherwise the tensors are on the CPU, for
                `to_unified` or `to`.

        Raises:
            FileFormatError: `meta.json` is missing, is damaged or is of another version, or a file
                is missing, is damaged, or is not as `meta.json` says.
            GraphError: The tensors do not make a graph.
        """
        stored = open_folder(Path(folder), GRAPH, NODE_DATASET)
        names = [name for name in TENSORS if name in stored or name in _REQUIRED]
        tensors = {name: stored.tensor(name, unified=unified) for name in names}
        return Graph.from_csc(**tensors, num_src_nodes=stored.size("num_src_nodes"))

    def to_unified(self, device: torch.device | str | None = None) -> Graph:
        """Return the same graph as unified tensors over the same memory; nothing is copied.

        Args:
            device: The device that reads it, by default the current GPU.

        Raises:
            TypeError: The graph is in GPU memory.
            UnifiedMemoryError: The memory cannot be registered with CUDA.
        """
        return self.map(lambda tensor: unified(tensor, device=device))

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph in ordinary memory of `device`; what is there already is not copied.

        A unified graph that goes to the CPU is the same memory, as plain tensors; one that goes to
        a GPU is copied into its memory.
        """
        return self.map(lambda tensor: in_host_memory(tensor).to(device))

    def map(self, move: Callable[[Tensor], Tensor]) -> Graph:
        """Return the graph with `move` applied to each of its tensors."""
        moved: dict[str, Any] = {name: move(tensor) for name, tensor in self.tensors().items()}
        return replace(self, **moved)


def write_graph(graph: Graph, path: Path, *, overwrite: bool, meter: Meter) -> None:
    """Write one graph as a folder; see `Graph.save`."""
    meta = {"format": GRAPH, "num_src_nodes": graph.num_src_nodes}
    write_folder(path, meta, graph.tensors(), overwrite=overwrite, meter=meter)
