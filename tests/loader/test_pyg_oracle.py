"""The same batches as PyG's loaders with their compiled sampler, where sampling is deterministic.

Everything is compared, field by field, up to the order of nodes and edges within a hop. A random
case that fails is shown whole; its number makes it again.
"""

from __future__ import annotations

import pytest
import torch
from graphs import by_hop, heterogeneous
from oracle_cases import Case, induced, latest, links, make, negatives, nodes
from torch_geometric import loader as theirs
from torch_geometric.utils import bipartite_subgraph

import torch_direct as td

pytest.importorskip("pyg_lib", reason="needs pyg-lib, PyG's compiled sampler")
pytestmark = [
    pytest.mark.filterwarnings("ignore:subgraph_type is 'bidirectional'"),
    pytest.mark.filterwarnings("ignore:Cannot convert to bidirectional graph"),
]


def random_cases(*kinds):
    """So many cases of each kind, named by it and a number."""
    cases = [(kind, number) for kind, count in kinds for number in range(count)]
    return pytest.mark.parametrize(("kind", "number"), cases)


def batches(case, device):
    torch.manual_seed(0)
    loader = getattr(td, case.loader)(case.data, device=device, **case.arguments)
    mine = [batch.cpu() for batch in loader]
    torch.manual_seed(0)
    return mine, list(getattr(theirs, case.loader)(case.plain_data(), **case.arguments))


def compare(case, device) -> None:
    mine, other = batches(case, device)
    assert len(mine) == len(other), str(case)
    for ours, expected in zip(mine, other, strict=True):
        assert ours.name == expected.name
        check_attributes(ours, case)
        if case.arguments.get("subgraph_type") == "bidirectional":
            forget_which_edge(ours)
            forget_which_edge(expected)
        assert by_hop(ours) == by_hop(expected), str(case)
        if case.loader == "LinkNeighborLoader":
            assert links_of(ours, case) == links_of(expected, case), str(case)


def check_attributes(batch, case) -> None:
    """They are the rows of those of the data, by the ids of nodes and edges."""
    for whole, part in zip(case.data.node_stores, batch.node_stores, strict=True):
        for name in whole.node_attrs():
            assert same_rows(part[name], case.data, whole, name, part.n_id), f"{name} of {case}"
    for whole, part in zip(case.data.edge_stores, batch.edge_stores, strict=True):
        for name in whole.edge_attrs():
            if name != "edge_index" and "e_id" in part:
                assert same_rows(part[name], case.data, whole, name, part.e_id), f"{name} of {case}"


def same_rows(rows, data, store, name, ids):
    dim = data.__cat_dim__(name, store[name], store)
    expected = torch.as_tensor(store[name]).index_select(dim, ids)
    return rows.dtype == expected.dtype and torch.equal(rows.to_dense(), expected.to_dense())


def forget_which_edge(batch) -> None:
    """Of several edges between two nodes any may stay; edges of two joined types have no ids."""
    for store in batch.edge_stores:
        for name in {"e_id", *store.edge_attrs()} - {"edge_index"}:
            if name in store:
                store[name] = torch.zeros_like(store[name])
        if "e_id" not in store:
            store.e_id = torch.zeros(store.edge_index.size(1))


def stores_of(batch, kind):
    """Of the sources, of the edges, and of their destinations."""
    return [batch] * 3 if kind is None else [batch[kind[0]], batch[kind], batch[kind[-1]]]


def links_of(batch, case):
    """The links given, without negative ones."""
    src, link, dst = stores_of(batch, case.link_type)
    if "src_index" in src:
        return placed(src, dst, [src.src_index, dst.dst_pos_index])
    return placed(src, dst, link.edge_label_index[:, : link.input_id.numel()])


def placed(src, dst, ends):
    """Links by the ids and the trees of their ends, which no order of nodes changes."""
    found = []
    for store, local in zip((src, dst), ends, strict=True):
        tree = store.batch if "batch" in store else torch.zeros_like(store.n_id)
        found += [store.n_id[local].tolist(), tree[local].tolist()]
    return list(zip(*found, strict=True))


@random_cases((nodes, 70), (links, 60), (latest, 30))
def test_batches(kind, number, device):
    compare(make(kind, number), device)


@pytest.mark.parametrize("seeds", ["user", "item", "page", ("user", "buys", "item")], ids=str)
@pytest.mark.parametrize("timed", ["user", "item", "page"])
def test_times_of_one_node_type(timed, seeds, device):
    """Edges leave users only, and enter no pages."""
    data = heterogeneous()
    del data["item", "rev_buys", "user"]
    data[timed].time = torch.arange(data[timed].num_nodes) % 20
    given = {"num_neighbors": [-1, -1], "batch_size": 16, "time_attr": "time"}
    if isinstance(seeds, tuple):
        links = {"edge_label_index": seeds, "edge_label_time": torch.arange(90) % 20}
        compare(Case("LinkNeighborLoader", data, given | links), device)
        return
    given["input_nodes"] = seeds
    if seeds != timed:
        given["input_time"] = torch.arange(data[seeds].num_nodes) % 20
    compare(Case("NeighborLoader", data, given), device)


@random_cases((negatives, 40))
def test_negatives_have_the_same_form(kind, number, device):
    """Which nodes are drawn is chance; how many, of which type and where they are put is not."""
    case = make(kind, number)
    mine, other = batches(case, device)
    assert len(mine) == len(other), str(case)
    for ours, expected in zip(mine, other, strict=True):
        check_attributes(ours, case)
        assert form(ours) == form(expected), str(case)
        # Where the amount is no whole number, PyG puts the ends of a link into two trees.
        links = [[link[::2] for link in links_of(batch, case)] for batch in (ours, expected)]
        assert links[0] == links[1], str(case)


def form(batch):
    """Names and types of all fields, and what does not depend on the nodes drawn."""
    places = {"edge_label_index", "src_index", "dst_pos_index", "dst_neg_index"}
    given = {"edge_label", "edge_label_time", "seed_time", "input_id"}
    found = {}
    for store in batch.stores:
        for name, value in store.items():
            found[store._key, name] = [type(value), getattr(value, "dtype", None)]
            if name in places:
                found[store._key, name].append(value.shape)
            if name in given:
                found[store._key, name].append(value.tolist())
    return found


@random_cases((induced, 20))
def test_induced_edges_are_all_among_the_nodes(kind, number, device):
    """PyG's compiled sampler has no such subgraphs; `bipartite_subgraph` finds their edges."""
    case = make(kind, number)
    data = case.plain_data()
    mine = list(td.NeighborLoader(case.data, device=device, **case.arguments))
    other = theirs.NeighborLoader(data, **case.arguments | {"subgraph_type": "directional"})
    assert len(mine) == len(other), str(case)
    for ours, expected in zip(mine, other, strict=True):
        check_attributes(ours.cpu(), case)
        for part, whole in zip(ours.node_stores, expected.node_stores, strict=True):
            assert part.n_id.sort().values.tolist() == whole.n_id.sort().values.tolist(), str(case)
        for edge_type in getattr(data, "edge_types", [None]):
            assert edges_by_id(ours, edge_type) == edges_among(ours, data, edge_type), str(case)


def edges_by_id(batch, edge_type):
    """Sources, destinations and ids of edges, in ascending order of these."""
    src, edges, dst = stores_of(batch, edge_type)
    row, col = edges.edge_index[:, edges.e_id.argsort()]
    return [src.n_id[row].tolist(), dst.n_id[col].tolist(), edges.e_id.sort().values.tolist()]


def edges_among(batch, data, edge_type):
    """The same of all edges of the data among the nodes of a batch."""
    src, edges, dst = stores_of(data, edge_type)
    nodes = [store.n_id for store in stores_of(batch, edge_type)[::2]]
    size, ids = (src.num_nodes, dst.num_nodes), torch.arange(edges.num_edges)
    pairs, e_id = bipartite_subgraph(nodes, edges.edge_index, ids, size=size)
    return [*pairs.tolist(), e_id.tolist()]
