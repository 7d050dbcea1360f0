"""Small graphs, and what a batch of one says in a form that two loaders can be compared in."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch_geometric.data import Data, HeteroData

NUM_NODES, NUM_EDGES = 60, 240


def homogeneous(**attributes: Any) -> Data:
    """A graph with repeated edges and self-loops, whose edges are in no order."""
    generator = torch.Generator().manual_seed(1)
    edge_index = torch.randint(NUM_NODES, (2, NUM_EDGES), generator=generator)
    return Data(
        x=torch.arange(NUM_NODES * 3.0).view(NUM_NODES, 3),
        y=torch.arange(NUM_NODES),
        edge_index=edge_index,
        edge_attr=torch.arange(NUM_EDGES * 2.0).view(NUM_EDGES, 2),
        train_mask=torch.arange(NUM_NODES) % 3 == 0,
        mean=torch.tensor([1.0, 2.0]),
        name="small",
        **attributes,
    )


def heterogeneous() -> HeteroData:
    """Users who follow users and buy items, items bought by users, and pages without edges."""
    generator = torch.Generator().manual_seed(2)
    data = HeteroData(name="shop")
    for kind, count in (("user", 40), ("item", 25), ("page", 5)):
        data[kind].x = torch.arange(count * 2.0).view(count, 2)
    data["user"].train_mask = torch.arange(40) % 4 == 0
    bought = torch.stack(
        [
            torch.randint(40, (90,), generator=generator),
            torch.randint(25, (90,), generator=generator),
        ]
    )
    data["user", "buys", "item"].edge_index = bought
    data["user", "buys", "item"].edge_attr = torch.arange(90.0)
    data["item", "rev_buys", "user"].edge_index = bought.flip(0)
    data["user", "follows", "user"].edge_index = torch.randint(40, (2, 70), generator=generator)
    return data


def with_times(data: Data | HeteroData, where: str) -> Data | HeteroData:
    """Times of nodes or of edges, under the name `time`."""
    generator = torch.Generator().manual_seed(3)
    stores = data.node_stores if where == "nodes" else data.edge_stores
    for store in stores:
        count = store.num_nodes if where == "nodes" else store.num_edges
        store.time = torch.randint(20, (count,), generator=generator)
    return data


def by_hop(batch: Data | HeteroData) -> dict[str, Any]:
    """All that a batch says, with nodes and edges by their global ids and in order within a hop."""
    if isinstance(batch, Data):
        return _store_by_hop(batch, batch, batch) | _rest(batch)
    found: dict[str, Any] = {}
    for kind in batch.node_types:
        found[kind] = _nodes_by_hop(batch[kind]) | _rest(batch[kind])
    for kind in batch.edge_types:
        ends = batch[kind[0]], batch[kind[-1]]
        found[kind] = _edges_by_hop(batch[kind], *ends) | _rest(batch[kind])
    return found


def _store_by_hop(store: Any, src: Any, dst: Any) -> dict[str, Any]:
    return _nodes_by_hop(store) | _edges_by_hop(store, src, dst)


def _vertices(store: Any) -> list[tuple[int, ...]]:
    """What each node of a batch is: its id, its tree, and its row of every attribute."""
    names = ["n_id", *(name for name in ("batch", "x", "y", "time") if name in store)]
    columns = [store[name] for name in names if store[name].size(0) == store.n_id.numel()]
    return [tuple(map(str, row)) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _nodes_by_hop(store: Any) -> dict[str, Any]:
    vertices = _vertices(store)
    if "num_sampled_nodes" not in store:
        return {"nodes": sorted(vertices)}
    ends = torch.tensor([0, *store.num_sampled_nodes]).cumsum(0).tolist()
    hops = [vertices[a:b] for a, b in pairwise(ends)]
    return {"seeds": hops[0], "nodes": [sorted(hop) for hop in hops[1:]]}


def _edges_by_hop(store: Any, src: Any, dst: Any) -> dict[str, Any]:
    sources, destinations = _vertices(src), _vertices(dst)
    row, col = store.edge_index.tolist()
    e_id = store.e_id.tolist()
    values = store.edge_attr.tolist() if "edge_attr" in store else e_id
    edges = [
        (sources[a], destinations[b], e, str(v))
        for a, b, e, v in zip(row, col, e_id, values, strict=True)
    ]
    if "num_sampled_edges" not in store:
        return {"edges": sorted(edges)}
    ends = torch.tensor([0, *store.num_sampled_edges]).cumsum(0).tolist()
    return {"edges": [sorted(edges[a:b]) for a, b in pairwise(ends)]}


def _rest(store: Any) -> dict[str, Any]:
    """What is the same in all orders, and the types of everything."""
    kept = ("num_sampled_nodes", "num_sampled_edges", "batch_size", "input_id", "seed_time")
    labels = ("edge_label", "edge_label_time")
    found = {name: _plain(store[name]) for name in (*kept, *labels) if name in store}
    found["fields"] = {
        name: (type(value), getattr(value, "dtype", None), getattr(value, "shape", None))
        for name, value in store.items()
    }
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value
