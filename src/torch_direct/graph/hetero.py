"""A heterogeneous graph: one graph in CSC form for the edges of each type."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import FileFormatError, GraphError
from torch_direct.graph import pyg
from torch_direct.graph.graph import Graph, write_graph
from torch_direct.graph.plain import in_host_memory, plain
from torch_direct.graph.progress import Meter, Progress
from torch_direct.graph.storage import (
    HETERO_GRAPH,
    META,
    open_folder,
    prepare_folder,
    write_folder,
)
from torch_direct.graph.validate import check_node_time, check_vector
from torch_direct.tensor.create import unified

EdgeType = tuple[str, str, str]
"""The type of the source, the name of the relation, and the type of the destination."""


@dataclass(frozen=True, eq=False)
class HeteroGraph:
    """Nodes of several types, and a `Graph` for the edges of each type.

    The graph of an edge type has the nodes of the destination's type as its nodes, and
    `num_src_nodes` nodes of the source's type. Its `edge_id` counts the edges of that type.
    """

    num_nodes: Mapping[str, int]
    """Number of nodes of every type."""
    graphs: Mapping[EdgeType, Graph]
    """In-edges by edge type."""
    node_time: Mapping[str, Tensor] = field(default_factory=dict)
    """Times of the nodes of a type, for types that have them; the graphs of the edges that leave
    these nodes have the same tensors."""

    @property
    def node_types(self) -> list[str]:
        """The node types, in the order in which they were given."""
        return list(self.num_nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types, in the order in which they were given."""
        return list(self.graphs)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, each counted once."""
        return sum(tensor.nbytes for tensor in self.distinct_tensors())

    def __getitem__(self, edge_type: EdgeType) -> Graph:
        """Return the graph of the edges of one type."""
        return self.graphs[edge_type]

    def validate(self) -> None:
        """Check the graph of every edge type, and that they fit the node types and each other.

        Raises:
            GraphError: A graph is malformed as `Graph.validate` says, an edge type is no triple or
                names a node type that there is none of, numbers of nodes differ, times of nodes are
                malformed or not those of the graphs, or tensors are on several devices. The message
                names the type.
        """
        for edge_type, graph in self.graphs.items():
            self._check_sizes(edge_type, graph)
            with named(f"edge type {edge_type}"):
                graph.validate()
        for node_type, time in self.node_time.items():
            with named(f"node type {node_type!r}"):
                check_node_time(time, self.num_nodes.get(node_type, 0))
        for edge_type, graph in self.graphs.items():
            if not _same(graph.node_time, self.node_time.get(edge_type[0])):
                raise GraphError(
                    f"edge type {edge_type} has a node_time that is not node_time[{edge_type[0]!r}]"
                    " of the whole; expected the same tensor, or None, in both"
                )
        devices = {tensor.device for tensor in self.distinct_tensors()}
        if len(devices) > 1:
            raise GraphError(
                f"the graphs are on {', '.join(sorted(map(str, devices)))}; expected one device: "
                "move them, or make all of them unified"
            )

    @staticmethod
    def from_pyg(
        data: Any, *, weight_attr: str | None = None, time_attr: str | None = None
    ) -> HeteroGraph:
        """Make a graph of a `torch_geometric.data.HeteroData`.

        Args:
            data: With `edge_index`, a tensor or an `EdgeIndex`, for every edge type; one without it
                has no edges.
            weight_attr: Name of the attribute that is the weight, of one edge type or more;
                converted as in `Graph.from_pyg`.
            time_attr: Name of the attribute that is the time, of one node type or more or of one
                edge type or more.

        Raises:
            GraphError: An attribute does not exist or is of nodes and of edges, a number of nodes
                is not known, a type is stored as `adj_t`, or its edges are malformed.
            TypeError: `data` is no `HeteroData`.
        """
        pyg.require_heterogeneous(data)
        num_nodes = {name: pyg.num_nodes_of(data, name) for name in data.node_types}
        weight = {
            kind: pyg.weight_of(value)
            for kind, value in pyg.attribute_by_type(data, data.edge_types, weight_attr).items()
        }
        node_time = pyg.attribute_by_type(data, data.node_types, time_attr)
        edge_time = pyg.attribute_by_type(data, data.edge_types, time_attr)
        _check_attributes(weight_attr, time_attr, weight, node_time, edge_time)
        node_time = {name: plain(time) for name, time in node_time.items()}
        for node_type, time in node_time.items():
            with named(f"data[{node_type!r}].{time_attr}"):
                check_vector("node_time", time, num_nodes[node_type])
        graphs = {}
        for edge_type in data.edge_types:
            source, _, destination = edge_type
            _check_node_types(edge_type, num_nodes)
            with named(f"edge type {edge_type}"):
                graphs[edge_type] = Graph.from_edge_index(
                    pyg.edge_index_of(data[edge_type], f"data[{edge_type}]"),
                    num_nodes[destination],
                    num_src_nodes=num_nodes[source],
                    edge_weight=weight.get(edge_type),
                    edge_time=edge_time.get(edge_type),
                    node_time=node_time.get(source),
                )
        return HeteroGraph(num_nodes, graphs, node_time)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write the graph as a folder with a folder for every edge type.

        Args:
            folder: Made where it does not exist.
            overwrite: Replace what a folder that is not empty has under these names.
            progress: Told how many bytes were written.

        Raises:
            FileFormatError: The folder is a file, or is not empty and `overwrite` is not set.
        """
        path = Path(folder)
        meter = Meter(progress, self.nbytes)
        prepare_folder(path, self.nbytes, overwrite=overwrite)
        for number, graph in enumerate(self.graphs.values()):
            without_time = replace(graph, node_time=None)
            write_graph(without_time, path / str(number), overwrite=overwrite, meter=meter)
        meta = {
            "format": HETERO_GRAPH,
            "num_nodes": dict(self.num_nodes),
            "edge_types": [list(edge_type) for edge_type in self.graphs],
        }
        times = {_time_name(self, name): time for name, time in self.node_time.items()}
        write_folder(path, meta, times, overwrite=True, meter=meter)

    @staticmethod
    def load(folder: str | os.PathLike[str], *, unified: bool = False) -> HeteroGraph:
        """Map a graph that `save` wrote; nothing of it is read yet.

        Args:
            folder: The folder.
            unified: As in `Graph.load`.

        Raises:
            FileFormatError: As in `Graph.load`.
            GraphError: The tensors do not make a graph.
        """
        path = Path(folder)
        stored = open_folder(path, HETERO_GRAPH)
        try:
            num_nodes = {str(name): int(count) for name, count in stored.meta["num_nodes"].items()}
            edge_types = [(str(a), str(b), str(c)) for a, b, c in stored.meta["edge_types"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{path / META} does not name the node and edge types ({error!r}); expected "
                "num_nodes and edge_types: write the folder again"
            ) from error
        empty = HeteroGraph(num_nodes, {})
        times = {name: _time_name(empty, name) for name in num_nodes}
        node_time = {
            name: stored.tensor(file, unified=unified)
            for name, file in times.items()
            if file in stored
        }
        graphs = {}
        for number, edge_type in enumerate(edge_types):
            with named(f"edge type {edge_type}"):
                graph = Graph.load(path / str(number), unified=unified)
            graphs[edge_type] = replace(graph, node_time=node_time.get(edge_type[0]))
        return HeteroGraph(num_nodes, graphs, node_time)

    def to_unified(self, device: torch.device | str | None = None) -> HeteroGraph:
        """Return the same graph as unified tensors over the same memory, as `Graph.to_unified`.

        Args:
            device: The device that reads it, by default the current GPU.

        Raises:
            TypeError: The graph is in GPU memory.
            UnifiedMemoryError: The memory cannot be registered with CUDA.
        """
        return self.map(lambda tensor: unified(tensor, device=device))

    def to(self, device: torch.device | str) -> HeteroGraph:
        """Return the graph in ordinary memory of `device`, as `Graph.to`."""
        return self.map(lambda tensor: in_host_memory(tensor).to(device))

    def map(self, move: Callable[[Tensor], Tensor]) -> HeteroGraph:
        """Return the graph with `move` applied to each of its tensors, once."""
        moved: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in moved:
                moved[id(tensor)] = move(tensor)
            return moved[id(tensor)]

        graphs = {edge_type: graph.map(once) for edge_type, graph in self.graphs.items()}
        times = {name: once(time) for name, time in self.node_time.items()}
        return HeteroGraph(self.num_nodes, graphs, times)

    def distinct_tensors(self) -> list[Tensor]:
        """Return all tensors, those that graphs have in common once."""
        of_graphs = (
            tensor for graph in self.graphs.values() for tensor in graph.tensors().values()
        )
        tensors = (*self.node_time.values(), *of_graphs)
        return list({id(tensor): tensor for tensor in tensors}.values())

    def _check_sizes(self, edge_type: EdgeType, graph: Graph) -> None:
        _check_node_types(edge_type, self.num_nodes)
        source, _, destination = edge_type
        expected = self.num_nodes[source], self.num_nodes[destination]
        found = graph.num_src_nodes, graph.num_nodes
        if found != expected:
            raise GraphError(
                f"edge type {edge_type} has {found[0]} source and {found[1]} destination nodes; "
                f"expected {expected[0]} and {expected[1]}, the numbers of nodes of these types: "
                "correct num_nodes or the graph"
            )


def _time_name(graph: HeteroGraph, node_type: str) -> str:
    """Return the name of the stored times of a node type; a type may have any name."""
    return f"node_time_{graph.node_types.index(node_type)}"


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors have the same values, or there are none."""
    if one is other or one is None or other is None:
        return one is other
    return one.device == other.device and torch.equal(one, other)


def _check_node_types(edge_type: EdgeType, num_nodes: Mapping[str, int]) -> None:
    if len(edge_type) != 3:
        raise GraphError(
            f"edge type {edge_type} has {len(edge_type)} parts; expected the type of the source, "
            "the name of the relation, and the type of the destination"
        )
    for node_type in (edge_type[0], edge_type[2]):
        if node_type not in num_nodes:
            raise GraphError(
                f"edge type {edge_type} names the node type {node_type!r}; expected one of "
                f"{', '.join(num_nodes)}: give the number of its nodes"
            )


def _check_attributes(
    weight_attr: str | None,
    time_attr: str | None,
    weight: Mapping[Any, Tensor],
    node_time: Mapping[Any, Tensor],
    edge_time: Mapping[Any, Tensor],
) -> None:
    if weight_attr is not None and not weight:
        raise GraphError(
            f"the attribute {weight_attr!r} is of no edge type; expected one entry for every edge "
            "of one type or more: correct the name"
        )
    if time_attr is not None and bool(node_time) == bool(edge_time):
        found = "of nodes and of edges" if node_time else "of no node or edge type"
        raise GraphError(
            f"the attribute {time_attr!r} is {found}; expected times of nodes or of edges: correct "
            "the name, or rename one of them"
        )


@contextmanager
def named(kind: str) -> Iterator[None]:
    """Let errors of a graph say which type they are about."""
    try:
        yield
    except GraphError as error:
        raise GraphError(f"{kind}: {error}") from error
