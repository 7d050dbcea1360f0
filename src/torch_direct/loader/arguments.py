"""The arguments of PyG's loaders: what they come to here, what means nothing, what is refused."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NumNeighbors

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.graph.plain import plain
from torch_direct.graph.validate import EDGES_AT_ONCE, require_tensor
from torch_direct.loader.attributes import is_cut
from torch_direct.memory import process
from torch_direct.sampler import NeighborSampler
from torch_direct.sampler.arguments import as_hetero, check_kind_of_time, time_dtype
from torch_direct.tensor.create import is_unified

_LOGGER = logging.getLogger("torch_direct")

IGNORED: Mapping[str, Any] = {
    "num_workers": 0,
    "pin_memory": False,
    "pin_memory_device": "",
    "persistent_workers": False,
    "prefetch_factor": None,
    "filter_per_worker": None,
    "worker_init_fn": None,
    "multiprocessing_context": None,
    "timeout": 0,
    "in_order": True,
}
"""Arguments that say how worker processes go about it, with the values that ask for nothing."""

_EDGES_LOOKED_UP = 1 << 16

_REPLACED = {"dataset", "collate_fn"}
"""What Lightning passes on when it makes a loader anew, which has its own."""


def without_ignored(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that mean something.

    Those that do nothing here are said to the program's log, each once in a process.

    Raises:
        ValueError: An argument asks for what is not supported.
    """
    if arguments.get("custom_cls") is not None:
        raise ValueError(
            f"custom_cls is {arguments['custom_cls']!r}; expected None: batches have the class of "
            "data, and transform may make other objects of them"
        )
    if arguments.get("sample_direction", "forward") != "forward":
        raise ValueError(
            f"sample_direction is {arguments['sample_direction']!r}; expected 'forward': to follow "
            "edges backward, turn them round (data.edge_index.flip(0))"
        )
    for name, nothing in IGNORED.items():
        if arguments.get(name, nothing) != nothing:
            say_ignored(name)
    dropped = {*IGNORED, *_REPLACED, "custom_cls", "sample_direction"}
    return {name: value for name, value in arguments.items() if name not in dropped}


def check_data(data: Any) -> None:
    """Check that a graph is one that is read out of memory.

    Raises:
        TypeError: It is neither a `Data` nor a `HeteroData`.
    """
    if not isinstance(data, (Data, HeteroData)):
        raise TypeError(
            f"data is a {type(data).__name__}; expected a torch_geometric.data.Data or HeteroData, "
            "whose tensors may be mapped from files. A FeatureStore with a GraphStore is read by "
            "torch_geometric.loader"
        )


def choose_device(data: Any, device: torch.device | str | int | None) -> torch.device:
    """Return where batches are made.

    As asked; or else on the GPU in whose memory the edges are, or an attribute, or that unified
    edges are for; or on the current one.

    Raises:
        ValueError: It is a GPU, and there is none.
    """
    if device is None and (there := _gpu_of(data)):
        return there
    usual = "cuda" if process.cuda_usable() else "cpu"
    if isinstance(device, int):
        device = f"cuda:{device}"
    chosen = torch.device(usual if device is None else device)
    if chosen.type != "cuda":
        return chosen
    if usual != "cuda":
        raise ValueError(
            f"device is {chosen} and CUDA cannot be used here; expected 'cpu', or None for what "
            "there is: torch-direct doctor says what is missing"
        )
    index = torch.cuda.current_device() if chosen.index is None else chosen.index
    if device is None:
        _warn_of_a_gpu_for_all(index)
    return torch.device("cuda", index)


def _warn_of_a_gpu_for_all(index: int) -> None:
    """Tell the program's log where processes that have a GPU each seem to share the first."""
    if index != 0 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    rank, count = torch.distributed.get_rank(), torch.cuda.device_count()
    if rank % count != 0:
        _LOGGER.warning(
            "process %d makes its batches on cuda:0, though there are %d GPUs: pass device=, or "
            "call torch.cuda.set_device first.",
            rank,
            count,
        )


def _gpu_of(data: Any) -> torch.device | None:
    """Return the GPU that the data name, if any: in its memory, or by unified edges."""
    edges = [store["edge_index"] for store in data.stores if "edge_index" in store]
    others = [value for store in data.stores for value in store.values()]
    # What is unified names the GPU of whoever made it, so attributes that are do not count.
    plain_first = [value for value in (*edges, *others) if not is_unified(value)]
    there = (v for v in (*plain_first, *edges) if isinstance(v, Tensor) and v.is_cuda)
    return next((value.device for value in there), None)


def sampler_for(arguments: Mapping[str, Any], device: torch.device) -> NeighborSampler:
    """Make the sampler that the arguments of a loader describe, for a device to use.

    Raises:
        GraphError: The graph is malformed, or lacks an attribute that is named.
        ValueError: `num_neighbors` does not fit the graph.
    """
    data = arguments["data"]
    hetero = isinstance(data, HeteroData)
    form: type[Graph | HeteroGraph] = HeteroGraph if hetero else Graph
    names = {name: arguments[name] for name in ("weight_attr", "time_attr")}
    graph = place_graph(form.from_pyg(data, **names), device)
    if not any(store.get("edge_index") is not None for store in data.edge_stores):
        _LOGGER.warning(
            "data has no edge_index, so batches are their seeds alone: set it, or pass "
            "neighbor_sampler."
        )
    fanout = arguments["num_neighbors"]
    if isinstance(fanout, Mapping):
        fanout = NumNeighbors(fanout)
    if isinstance(fanout, NumNeighbors):
        fanout = fanout.get_values(data.edge_types if hetero else None)
    kind = arguments["subgraph_type"] if arguments["directed"] else "induced"
    return NeighborSampler(
        graph,
        fanout,
        replace=arguments["replace"],
        disjoint=arguments["disjoint"],
        weighted=arguments["weight_attr"] is not None,
        temporal_strategy=arguments["temporal_strategy"],
        subgraph_type=getattr(kind, "value", kind),
    )


def check_sampler(name: str, sampler: object) -> None:
    """Check that the argument of a name is a sampler of ours.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(sampler, NeighborSampler):
        kind = type(sampler)
        raise TypeError(
            f"{name} is a {kind.__module__}.{kind.__name__}; expected a torch_direct.sampler."
            "NeighborSampler: make one of td.Graph.from_pyg(data)"
        )


def check_nodes(graph: Graph | HeteroGraph, data: Any) -> None:
    """Check that a graph has the nodes of a `Data` or `HeteroData`.

    Raises:
        ValueError: It has others.
    """
    if isinstance(data, HeteroData):
        expected = {name: data[name].num_nodes for name in data.node_types}
    else:
        expected = data.num_nodes
    found = dict(graph.num_nodes) if isinstance(graph, HeteroGraph) else graph.num_nodes
    unknown = None in expected.values() if isinstance(expected, dict) else expected is None
    if unknown:
        raise ValueError(
            f"the number of nodes of data is not known, {expected}; expected {found}, those of "
            "neighbor_sampler: set num_nodes"
        )
    if found != expected:
        raise ValueError(
            f"neighbor_sampler has a graph of {found} nodes; expected {expected}, those of data: "
            "make it of td.Graph.from_pyg(data), or of td.HeteroGraph.from_pyg(data)"
        )


def check_device(asked: torch.device | str | int | None, found: torch.device) -> None:
    """Check that a device that is asked for is the one where the graph of a sampler is read.

    Raises:
        ValueError: It is another.
    """
    if asked is None:
        return
    name = torch.device(f"cuda:{asked}" if isinstance(asked, int) else asked)
    same_gpu = found.type == "cpu" or name.index in (None, found.index)
    if name.type != found.type or not same_gpu:
        raise ValueError(
            f"device is {asked!r}, and the graph of neighbor_sampler is read by {found}; expected "
            "the same: leave device out, or move the graph"
        )


def check_edges(graph: Graph | HeteroGraph, data: Any) -> None:
    """Check that a graph numbers its edges as the attributes of a `Data` or `HeteroData` do.

    A graph with edge ids says so, which is looked up for some of its edges. One without numbers its
    edges by destination: attributes fit if the edges of `data` lie in that order, or are those of
    the graph alone.

    Raises:
        ValueError: It does not.
    """
    if isinstance(graph, HeteroGraph):
        known = [(store, graph.graphs.get(kind)) for kind, store in data.edge_items()]
    else:
        known = [(data.stores[0], graph)]
    for store, part in known:
        names = [name for name in store if name != "edge_index" and _is_of_edges(store, name)]
        if part is None or not names:
            continue
        if part.edge_id is not None:
            _check_edge_ids(part, part.edge_id, store)
        elif not _numbered_alike(part, store, names[0]):
            raise ValueError(
                f"neighbor_sampler has a graph of {part.num_edges} edges without their ids, and "
                f"data has {names[0]!r} for edges in another order; expected a graph that knows "
                "the place of each edge in data: make it of td.Graph.from_pyg(data) or "
                "td.HeteroGraph.from_pyg(data), or without edge_id=False"
            )


def _check_edge_ids(graph: Graph, edge_id: Tensor, store: Any) -> None:
    """Look up some edges of a graph in `data`, under their ids and in either direction."""
    if "edge_index" not in store or graph.num_edges == 0:
        return
    require_tensor("edge_index", store["edge_index"])
    edge_index, indptr = plain(store["edge_index"]), plain(graph.indptr)
    places = torch.arange(0, graph.num_edges, 1 + graph.num_edges // _EDGES_LOOKED_UP, device="cpu")

    def looked_up(tensor: Tensor) -> Tensor:
        return plain(tensor)[places.to(tensor.device)].cpu().long()

    found = torch.searchsorted(indptr, places.to(indptr.device, indptr.dtype), right=True)
    ends = torch.stack([looked_up(graph.indices), found.cpu() - 1])
    ids = looked_up(edge_id)
    wrong = (ids < 0) | (ids >= edge_index.size(1))
    if not wrong.any():
        there = edge_index[:, ids.to(edge_index.device)].cpu().long()
        wrong = (there != ends).any(0) & (there != ends.flip(0)).any(0)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"neighbor_sampler has a graph whose edge from {int(ends[0, first])} to "
            f"{int(ends[1, first])} has the id {int(ids[first])}, which is another edge of the "
            f"{edge_index.size(1)} of data, or none; expected a graph made of the same edge_index: "
            "make it of td.Graph.from_pyg(data), or of td.HeteroGraph.from_pyg(data)"
        )


def _is_of_edges(store: Any, name: str) -> bool:
    return is_cut(store, name) and not store.is_node_attr(name)


def _numbered_alike(graph: Graph, store: Any, name: str) -> bool:
    if "edge_index" not in store:
        return len(store[name]) == graph.num_edges
    require_tensor("edge_index", store["edge_index"])
    edge_index = plain(store["edge_index"])
    indptr, indices = plain(graph.indptr), plain(graph.indices)
    if edge_index.size(1) != indices.numel():
        return False
    for start in range(0, indices.numel(), EDGES_AT_ONCE):
        part = slice(start, start + EDGES_AT_ONCE)
        sources, destinations = edge_index[:, part].to(indices.device)
        place = torch.arange(
            start, start + sources.numel(), dtype=indptr.dtype, device=indices.device
        )
        if not torch.equal(sources.long(), indices[part].long()):
            return False
        if not torch.equal(torch.searchsorted(indptr, place, right=True) - 1, destinations.long()):
            return False
    return True


def check_seed_times(
    name: str, time: Tensor | None, graph: Graph | HeteroGraph, own_type: str | None
) -> None:
    """Check that seeds have times if the graph has any, of the same kind, and none if it has none.

    Args:
        name: Of the argument.
        time: What it gives, one for each seed.
        graph: What is sampled.
        own_type: The node type whose own times serve where none are given; None if none do.

    Raises:
        TypeError: One is of integers, the other of floating point.
        ValueError: They are missing, or not wanted, or have more dimensions than one.
    """
    whole = as_hetero(graph)
    wanted = time_dtype(whole)
    if time is None:
        if wanted is not None and own_type not in whole.node_time:
            raise ValueError(
                f"{name} is not given, and the graph has times where the seeds have none; expected "
                f"the time of each seed: pass {name}"
            )
        return
    if wanted is None:
        raise ValueError(
            f"{name} is given, and the graph has no times; expected a graph with times: pass "
            f"time_attr, or a neighbor_sampler over such a graph, or leave {name} out"
        )
    if time.dim() != 1:
        raise ValueError(
            f"{name} has shape {tuple(time.shape)}; expected one dimension: use .flatten()"
        )
    check_kind_of_time(name, time, wanted)


def place_graph(graph: Graph | HeteroGraph, device: torch.device) -> Graph | HeteroGraph:
    """Return a graph that a device reads: out of host memory if it is there, else on the device."""
    if device.type == "cpu":
        return graph.to(device)
    tensors = as_hetero(graph).distinct_tensors()
    in_host_memory = all(tensor.device.type == "cpu" or is_unified(tensor) for tensor in tensors)
    return graph.to_unified(device) if in_host_memory else graph.to(device)


def bytes_in_host_memory(graph: Graph | HeteroGraph) -> int:
    """Return how many bytes of a graph a GPU reads out of host memory."""
    tensors = as_hetero(graph).distinct_tensors()
    return sum(tensor.nbytes for tensor in tensors if is_unified(tensor))


def device_of(graph: Graph | HeteroGraph) -> torch.device:
    """Return the device that reads a graph."""
    one = graph if isinstance(graph, Graph) else next(iter(graph.graphs.values()))
    return one.indptr.device


@functools.cache
def say_ignored(name: str) -> None:
    """Say to the program's log, once in a process, that an argument or a method does nothing."""
    _LOGGER.warning(
        "%s does nothing in the loaders of torch-direct, which have no worker processes; prefetch "
        "says how many batches are made in advance.",
        name,
    )
