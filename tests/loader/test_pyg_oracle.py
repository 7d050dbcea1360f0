"""The same batches as PyG's loaders with their compiled sampler, where sampling is deterministic.

Everything is compared, field by field, up to the order of nodes and edges within a hop.
"""

from __future__ import annotations

import pytest
import torch
from graphs import by_hop, heterogeneous, homogeneous, with_times
from torch_geometric import loader as theirs

import torch_direct as td

pytest.importorskip("pyg_lib", reason="needs pyg-lib, PyG's compiled sampler")

ALL = [-1, -1]
NODES = {
    "all": {},
    "mask": {"input_nodes": torch.arange(60) % 3 == 0},
    "ids": {"input_nodes": torch.tensor([9, 3, 50, 4, 1]), "batch_size": 2},
    "list": {"input_nodes": [5, 8, 2]},
    "names": {"input_nodes": torch.tensor([4, 7]), "input_id": torch.tensor([100, 200])},
    "disjoint": {"disjoint": True, "batch_size": 7},
    "one hop": {"num_neighbors": [-1]},
    "three hops": {"num_neighbors": [-1, -1, -1], "batch_size": 4},
    "last batch dropped": {"batch_size": 50, "drop_last": True},
}
LINKS = {
    "all": {"batch_size": 100},
    "given": {"edge_label_index": torch.tensor([[3, 5, 3, 9], [1, 2, 1, 9]]), "batch_size": 3},
    "labels": {
        "edge_label_index": torch.tensor([[3, 5, 3, 9], [1, 2, 1, 9]]),
        "edge_label": torch.tensor([0, 2, 1, 0]),
        "batch_size": 3,
    },
    "disjoint": {"disjoint": True, "batch_size": 8},
}


def compare(mine, other) -> None:
    assert len(mine) == len(other)
    for number, (ours, expected) in enumerate(zip(mine, other, strict=True)):
        assert ours.name == expected.name
        assert by_hop(ours.cpu()) == by_hop(expected), number


def both(name, make, device, **arguments):
    arguments = {"num_neighbors": ALL, "batch_size": 16, **arguments}
    mine = getattr(td, name)(make(), device=device, **arguments)
    return mine, getattr(theirs, name)(make(), **arguments)


@pytest.mark.parametrize("case", NODES)
def test_nodes(case, device):
    compare(*both("NeighborLoader", homogeneous, device, **NODES[case]))


def test_bidirectional_edges(device):
    """Of several edges between two nodes PyG keeps any."""
    mine, other = both("NeighborLoader", homogeneous, device, subgraph_type="bidirectional")
    for ours, expected in zip(mine, other, strict=True):
        assert ours.keys() == expected.keys()
        pairs = [
            sorted(batch.n_id.cpu()[batch.edge_index.cpu()].t().tolist())
            for batch in (ours, expected)
        ]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("disjoint", [False, True])
def test_bidirectional_edges_of_types(disjoint, device):
    """Edges that are joined with those of another type have neither ids nor attributes."""
    mine, other = both(
        "NeighborLoader",
        heterogeneous,
        device,
        input_nodes="user",
        subgraph_type="bidirectional",
        disjoint=disjoint,
    )
    for ours, expected in zip(mine, other, strict=True):
        for kind in expected.edge_types:
            assert {*ours[kind].keys()} == {*expected[kind].keys()}
            assert sorted(placed(ours, kind)) == sorted(placed(expected, kind))


def placed(batch, kind):
    """Edges by the ids and the trees of their ends."""
    ends = []
    for node_type, local in zip(kind[::2], batch[kind].edge_index, strict=True):
        store = batch[node_type]
        tree = store.batch if "batch" in store else torch.zeros_like(store.n_id)
        ends += [store.n_id[local].tolist(), tree[local].tolist()]
    return list(zip(*ends, strict=True))


@pytest.mark.parametrize("where", ["nodes", "edges"])
@pytest.mark.parametrize("strategy", ["uniform", "last"])
@pytest.mark.parametrize("given", [False, True], ids=["own times", "times given"])
def test_nodes_with_times(where, strategy, given, device):
    if where == "edges" and not given:
        pytest.skip("edges have times and nodes have none, so that the seeds must be given theirs")
    time = torch.arange(60) % 20 if given else None
    compare(
        *both(
            "NeighborLoader",
            lambda: with_times(homogeneous(), where),
            device,
            input_time=time,
            time_attr="time",
            temporal_strategy=strategy,
        )
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_nodes": "user"},
        {"input_nodes": ("item", None), "batch_size": 25},
        {"input_nodes": ("user", torch.tensor([3, 1, 30]))},
        {"input_nodes": "user", "disjoint": True, "batch_size": 9},
        {"input_nodes": "page", "batch_size": 2},
        {
            "input_nodes": "user",
            "num_neighbors": {
                ("user", "buys", "item"): [-1, -1],
                ("item", "rev_buys", "user"): [-1, 0],
                ("user", "follows", "user"): [0, -1],
            },
        },
    ],
    ids=["type", "type and None", "ids", "disjoint", "no edges", "by edge type"],
)
def test_nodes_of_types(arguments, device):
    compare(*both("NeighborLoader", heterogeneous, device, **arguments))


@pytest.mark.parametrize("where", ["nodes", "edges"])
def test_nodes_of_types_with_times(where, device):
    compare(
        *both(
            "NeighborLoader",
            lambda: with_times(heterogeneous(), where),
            device,
            input_nodes="user",
            input_time=torch.arange(40) % 20,
            time_attr="time",
        )
    )


def placed_by_id(batch, kind=None):
    """The links of a batch by the global ids of their ends, which no order of nodes changes."""
    store = batch if kind is None else batch[kind]
    src, dst = (batch, batch) if kind is None else (batch[kind[0]], batch[kind[-1]])
    row, col = store.edge_label_index
    return src.n_id[row].tolist(), dst.n_id[col].tolist()


@pytest.mark.parametrize("case", LINKS)
def test_links(case, device):
    mine, other = both("LinkNeighborLoader", homogeneous, device, **LINKS[case])
    compare(mine, other)
    for ours, expected in zip(mine, other, strict=True):
        assert placed_by_id(ours) == placed_by_id(expected)


@pytest.mark.parametrize("where", ["nodes", "edges"])
def test_links_with_times(where, device):
    mine, other = both(
        "LinkNeighborLoader",
        lambda: with_times(homogeneous(), where),
        device,
        edge_label_time=torch.arange(240) % 20,
        time_attr="time",
        batch_size=50,
    )
    compare(mine, other)
    for ours, expected in zip(mine, other, strict=True):
        assert placed_by_id(ours) == placed_by_id(expected)


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("kind", [("user", "buys", "item"), ("user", "follows", "user")])
def test_links_of_types(kind, disjoint, device):
    mine, other = both(
        "LinkNeighborLoader", heterogeneous, device, edge_label_index=kind, disjoint=disjoint
    )
    compare(mine, other)
    for ours, expected in zip(mine, other, strict=True):
        assert placed_by_id(ours, kind) == placed_by_id(expected, kind)


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize(
    "negatives",
    [("binary", 1), ("binary", 1.5), ("binary", 0.3), ("triplet", 1), ("triplet", 3)],
    ids=str,
)
def test_negatives_have_the_same_form(negatives, temporal, device):
    """Which nodes are drawn is chance; how many, of which type and where they are put is not."""
    times = {"edge_label_time": torch.arange(240) % 20, "time_attr": "time"} if temporal else {}
    mine, other = both(
        "LinkNeighborLoader",
        lambda: with_times(homogeneous(), "edges"),
        device,
        neg_sampling=negatives,
        batch_size=100,
        **times,
    )
    for ours, expected in zip(mine, other, strict=True):
        assert ours.keys() == expected.keys()
        for name in ("edge_label", "edge_label_time", "seed_time", "input_id"):
            if name in expected:
                assert torch.equal(ours[name].cpu(), expected[name])
        positive = expected.input_id.numel()
        if negatives[0] == "binary":
            assert ours.edge_label_index.shape == expected.edge_label_index.shape
            links = [[end[:positive] for end in placed_by_id(batch)] for batch in (ours, expected)]
            assert links[0] == links[1]
        else:
            for name in ("src_index", "dst_pos_index"):
                nodes = [batch.n_id[batch[name]].tolist() for batch in (ours, expected)]
                assert nodes[0] == nodes[1]
            assert ours.dst_neg_index.shape == expected.dst_neg_index.shape
