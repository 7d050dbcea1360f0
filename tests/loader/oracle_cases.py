"""Random graphs and loaders of them, small enough to be read, the same for the same seed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NumNeighbors

ALL = (-1, -1, -1, 0, 1000)
"""Fanouts with which nothing is left to chance: all neighbours, none, more than there are."""
FEW = (1, 2, 3, 5, -1)
NEGATIVES = ("binary", ("binary", 0.3), ("binary", 1.5), ("binary", 2), "triplet", ("triplet", 3))

NODE_ATTRIBUTES = {
    "x": lambda count: torch.arange(count * 3.0).view(count, 3),
    "y": torch.arange,
    "half": lambda count: torch.arange(count * 1.0).bfloat16(),
    "train_mask": lambda count: torch.arange(count) % 3 == 0,
    "columns": lambda count: torch.arange(count * 2.0).view(2, count).t(),
    "width_0": lambda count: torch.empty(count, 0),
    "array": lambda count: np.arange(count * 2, dtype=np.int16).reshape(count, 2),
    "sparse": lambda count: torch.eye(count, 3).to_sparse(),
    "complex": lambda count: torch.complex(torch.arange(count * 1.0), torch.ones(count)),
    "pair_index": lambda count: torch.arange(count * 2).view(2, count),
}
EDGE_ATTRIBUTES = {
    "edge_attr": lambda count: torch.arange(count * 2.0).view(count, 2),
    "edge_kind": lambda count: torch.arange(count, dtype=torch.int32),
    "edge_array": lambda count: np.arange(count * 1.0),
    "edge_complex": lambda count: torch.complex(torch.arange(count * 1.0), torch.ones(count)),
    "edge_pair_index": lambda count: torch.arange(count * 2).view(2, count),
}


@dataclass
class Case:
    """A loader by its name, and what it is made of."""

    loader: str
    data: Data | HeteroData
    arguments: dict[str, Any]

    @property
    def link_type(self) -> tuple[str, str, str] | None:
        """Of links with types, theirs."""
        given = self.arguments.get("edge_label_index")
        if not isinstance(self.data, HeteroData) or given is None:
            return None
        return given if isinstance(given[0], str) else given[0]

    def plain_data(self) -> Data | HeteroData:
        """The data with edges that are tensors of PyTorch."""
        data = copy.copy(self.data)
        for store in data.edge_stores:
            store.edge_index = torch.tensor(store.edge_index.tolist(), dtype=torch.long).view(2, -1)
        return data


class Draw(Random):
    """Random numbers, and small tensors of them."""

    def flag(self, share: float = 0.5) -> bool:
        return self.random() < share

    def below(self, limit: int, *shape: int) -> Tensor:
        numbers = [self.randrange(limit) for _ in range(math.prod(shape))]
        return torch.tensor(numbers, dtype=torch.long).view(shape)


def make(kind: Callable[[Draw], Case], number: int) -> Case:
    """Make a case of one of the kinds below."""
    return kind(Draw(f"{kind.__name__}-{number}"))


def nodes(draw: Draw) -> Case:
    """A loader of nodes in which nothing but the order of the seeds is chance."""
    data = graph(draw)
    return of_nodes(draw, data, sampling(draw, data))


def links(draw: Draw) -> Case:
    """A loader of links in which nothing but their order is chance."""
    data = graph(draw)
    return of_links(draw, data, sampling(draw, data))


def latest(draw: Draw) -> Case:
    """A loader of nodes or links which takes the last neighbours by time, and few of them."""
    data = graph(draw)
    given = times(draw, data, len(data.node_stores)) | {"num_neighbors": fanout(draw, data, FEW)}
    given["temporal_strategy"] = "last"
    return draw.choice([of_nodes, of_links])(draw, data, given)


def negatives(draw: Draw) -> Case:
    """A loader of links with negative ones, which are chance."""
    case = links(draw)
    asked = draw.choice(NEGATIVES)
    if "triplet" in asked:
        case.arguments.pop("edge_label", None)
    case.arguments["neg_sampling"] = asked
    return case


def induced(draw: Draw) -> Case:
    """A loader of nodes with all edges among those of a batch."""
    data = graph(draw)
    given = {"num_neighbors": fanout(draw, data, ALL), "subgraph_type": "induced"}
    case = of_nodes(draw, data, given)
    case.arguments |= {"disjoint": False, "shuffle": False}
    return case


def graph(draw: Draw) -> Data | HeteroData:
    """A graph without types, or with up to three types of nodes and five of edges."""
    if draw.flag(0.4):
        data = Data(name="g", mean=torch.tensor(0.5))
        add_nodes(draw, data, draw.randint(1, 40))
        add_edges(draw, data, data.num_nodes, data.num_nodes, most=200)
        return data
    data = HeteroData(name="h")
    data.mean = torch.tensor(0.5)
    types = ["a", "b", "c"][: draw.randint(1, 3)]
    for node_type in types:
        add_nodes(draw, data[node_type], draw.randint(1, 20))
    for _ in range(draw.randint(1, 5)):
        src, name, dst = draw.choice(types), draw.choice(["to", "rev_to", "is"]), draw.choice(types)
        if (src, name, dst) not in data.edge_types:
            add_edges(draw, data[src, name, dst], data[src].num_nodes, data[dst].num_nodes, most=60)
    return data


def add_nodes(draw: Draw, store: Any, count: int) -> None:
    store.num_nodes = count
    for name, make in NODE_ATTRIBUTES.items():
        if draw.flag(0.3):
            store[name] = make(count)


def add_edges(draw: Draw, store: Any, sources: int, destinations: int, most: int) -> None:
    count = draw.choice([0, draw.randint(1, 10), draw.randint(1, most), draw.randint(1, most)])
    pairs = torch.stack([draw.below(sources, count), draw.below(destinations, count)])
    order = draw.choice([None, "row", "col"])
    if order is not None:
        pairs = pairs[:, pairs[("row", "col").index(order)].argsort(stable=True)]
    if draw.flag(0.3):
        pairs = EdgeIndex(pairs, sparse_size=(sources, destinations), sort_order=order)
    store.edge_index = pairs
    for name, make in EDGE_ATTRIBUTES.items():
        if draw.flag(0.3):
            store[name] = make(count)


def sampling(draw: Draw, data: Data | HeteroData) -> dict[str, Any]:
    """Arguments which say how to sample."""
    way = draw.choice(["plain", "replace", "weights", "times", "times"])
    sizes = (-1, -1, 0) if way == "replace" else ALL  # 1000 with replacement is chance
    given = {
        "num_neighbors": fanout(draw, data, sizes),
        "subgraph_type": draw.choice(["directional", "directional", "bidirectional"]),
    }
    if way == "replace":
        given["replace"] = True
    elif way == "weights":
        for store in data.edge_stores:
            store.edge_weight = draw.below(5, store.num_edges) + 0.5
        given["weight_attr"] = "edge_weight"
    elif way == "times":
        given |= times(draw, data)
        given["temporal_strategy"] = draw.choice(["uniform", "last"])
    return given


def fanout(draw: Draw, data: Data | HeteroData, sizes: Sequence[int]) -> Any:
    hops = draw.randint(1, 3)
    one = draw.choices(sizes, k=hops)
    if isinstance(data, Data):
        return one
    by_type = {kind: draw.choices(sizes, k=hops) for kind in data.edge_types}
    some = NumNeighbors({kind: by_type[kind] for kind in data.edge_types[:1]}, default=one)
    return draw.choice([one, by_type, some])


def times(draw: Draw, data: Data | HeteroData, least: int = 1) -> dict[str, str]:
    """Put times on all edges, or on the nodes of so many types or more."""
    if draw.flag():
        for store in data.edge_stores:
            store.edge_time = draw.below(10, store.num_edges)
        return {"time_attr": "edge_time"}
    stores = data.node_stores
    for store in draw.sample(stores, draw.randint(least, len(stores))):
        store.time = draw.below(10, store.num_nodes)
    return {"time_attr": "time"}


def of_nodes(draw: Draw, data: Data | HeteroData, given: dict[str, Any]) -> Case:
    """A loader of nodes, with seeds in any of their forms."""
    node_type = draw.choice(data.node_types) if isinstance(data, HeteroData) else None
    store = data if node_type is None else data[node_type]
    chosen = draw.sample(range(store.num_nodes), draw.randint(1, store.num_nodes))
    mask = torch.zeros(store.num_nodes, dtype=torch.bool)
    mask[chosen] = True
    ids = torch.tensor(chosen)
    seeds = draw.choice([None, mask, ids, ids.int(), chosen])
    count = store.num_nodes if seeds is None else len(chosen)
    input_id = None if seeds is None or draw.flag() else draw.below(100, count)
    if node_type is not None:
        seeds = node_type if seeds is None and draw.flag() else (node_type, seeds)
    given = {"input_nodes": seeds} | given | batching(draw)
    if "time_attr" in given and ("time" not in store or draw.flag()):
        given["input_time"] = draw.below(12, count)
    if input_id is not None:
        given["input_id"] = input_id
    return Case("NeighborLoader", data, given)


def of_links(draw: Draw, data: Data | HeteroData, given: dict[str, Any]) -> Case:
    """A loader of links, with those in any of their forms."""
    kind = draw.choice(data.edge_types) if isinstance(data, HeteroData) else None
    store = data if kind is None else data[kind]
    sources, destinations = store.size() if kind else (data.num_nodes, data.num_nodes)
    count = store.num_edges if draw.flag() else 0
    seeds: Any = None
    if count == 0:
        count = draw.randint(1, 15)
        seeds = torch.stack([draw.below(sources, count), draw.below(destinations, count)])
    if kind is not None:
        seeds = kind if seeds is None and draw.flag() else (kind, seeds)
    given = {"edge_label_index": seeds} | given | batching(draw)
    if kind is not None and all(kind[0] != entered for *_, entered in data.edge_types):
        # pyg-lib has room only for seeds of a type that no edges enter, and writes beyond it.
        given["disjoint"] = True
    if "time_attr" in given:
        given["edge_label_time"] = draw.below(12, count)
    if draw.flag():
        labels = draw.below(3, count)
        given["edge_label"] = draw.choice([labels, labels + 0.5, labels.int(), labels.view(-1, 1)])
    if draw.flag(0.2):
        given["input_id"] = draw.below(100, count)
    return Case("LinkNeighborLoader", data, given)


def batching(draw: Draw) -> dict[str, Any]:
    return {
        "batch_size": draw.randint(3, 12),
        "disjoint": draw.flag(0.3),
        "shuffle": draw.flag(0.3),
        "drop_last": draw.flag(0.2),
    }
