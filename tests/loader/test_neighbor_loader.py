from __future__ import annotations

import copy
import gc
import inspect
import pickle
import warnings
import weakref
from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from graphs import NUM_EDGES, NUM_NODES, heterogeneous, homogeneous, with_times
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv
from torch_geometric.sampler import NumNeighbors, SamplerOutput
from torch_geometric.transforms import ToSparseTensor
from torch_geometric.utils import trim_to_layer

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.kernels.counts import Counts
from torch_direct.loader import arguments, base, prefetch
from torch_direct.loader.attributes import Attributes
from torch_direct.sampler import NeighborSampler


@pytest.fixture
def load(device):
    """Make a loader on the device of the test."""

    def make(data=None, num_neighbors=(4, 3), **arguments):
        data = homogeneous() if data is None else data
        return td.NeighborLoader(data, list(num_neighbors), device=device, **arguments)

    return make


def as_lists(batch):
    return {
        name: value.tolist() if isinstance(value, torch.Tensor) else value
        for name, value in batch.to_dict().items()
    }


@pytest.mark.parametrize("prefetch", [0, 2])
def test_every_attribute_is_that_of_the_nodes_and_edges_drawn(load, device, prefetch):
    data = homogeneous()
    loader = load(data, batch_size=16, prefetch=prefetch)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for batch in batches:
        assert type(batch) is Data
        n_id, e_id = batch.n_id.cpu(), batch.e_id.cpu()
        for name in ("x", "y", "train_mask"):
            assert batch[name].device == device
            assert torch.equal(batch[name].cpu(), data[name][n_id])
        assert torch.equal(batch.edge_attr.cpu(), data.edge_attr[e_id])
        assert torch.equal(n_id[batch.edge_index.cpu()], data.edge_index[:, e_id])
        assert batch.edge_index.dtype == n_id.dtype == e_id.dtype == torch.int64
        ends = torch.tensor(batch.num_sampled_edges).cumsum(0).tolist()
        for begin, end in zip([0, *ends], ends, strict=False):
            assert (batch.edge_index[1, begin:end].diff() >= 0).all()
        assert torch.equal(batch.mean, data.mean)
        assert batch.name == "small"
        assert batch.num_nodes == n_id.numel() == sum(batch.num_sampled_nodes)
        assert all(type(n) is int for n in batch.num_sampled_nodes + batch.num_sampled_edges)
        assert batch.batch_size == batch.input_id.numel()
        assert torch.equal(batch.n_id[: batch.batch_size], batch.input_id)
    assert torch.cat([batch.input_id for batch in batches]).tolist() == list(range(NUM_NODES))


def test_the_data_is_left_as_it_is(load):
    data = homogeneous()
    before = {name: data[name] for name in data.keys()}  # noqa: SIM118
    loader = load(data)
    next(iter(loader))
    assert loader.data is data
    assert all(data[name] is value for name, value in before.items())


@pytest.mark.gpu
def test_attributes_are_read_where_they_lie():
    data = homogeneous()
    loader = td.NeighborLoader(data, [3])
    table = loader._attributes._table(data.stores[0], "x", data.x)
    assert td.is_unified(table)
    assert table.data_ptr() == data.x.data_ptr()
    assert td.is_unified(loader.node_sampler.graph.indices)


@pytest.mark.gpu
def test_data_on_the_gpu_stays_there():
    data = homogeneous().to("cuda")
    loader = td.NeighborLoader(data, [3], batch_size=8)
    assert loader._attributes._table(data.stores[0], "x", data.x) is data.x
    assert next(iter(loader)).x.is_cuda


def test_input_ids(load):
    ids = torch.tensor([9, 3, 50])
    by_ids = next(iter(load(input_nodes=ids, batch_size=2)))
    assert (by_ids.n_id[:2].tolist(), by_ids.input_id.tolist()) == ([9, 3], [0, 1])
    mask = torch.zeros(NUM_NODES, dtype=torch.bool).index_fill_(0, ids, value=True)
    by_mask = next(iter(load(input_nodes=mask, batch_size=2)))
    assert by_mask.n_id[:2].tolist() == by_mask.input_id.tolist() == [3, 9]
    named = next(iter(load(input_nodes=ids, input_id=ids + 100, batch_size=2)))
    assert named.input_id.tolist() == [109, 103]
    assert next(iter(load(input_nodes=[7, 8], batch_size=2))).n_id[:2].tolist() == [7, 8]


def test_the_same_seed_gives_the_same_batches_and_epochs_differ(load):
    loader, again = load(batch_size=16, seed=5), load(batch_size=16, seed=5, prefetch=0)
    first, second = list(map(as_lists, loader)), list(map(as_lists, loader))
    assert first == list(map(as_lists, again))
    assert second == list(map(as_lists, again))
    assert first != second
    assert first != list(map(as_lists, load(batch_size=16, seed=6)))
    again.epoch = 0
    assert first == list(map(as_lists, again))


def test_the_batches_from_a_number_on_are_those_of_the_epoch(load):
    whole, rest = (load(batch_size=8, shuffle=True, seed=3) for _ in range(2))
    torch.manual_seed(1)
    expected = list(whole)[2:]
    torch.manual_seed(1)
    made = list(rest.batches(first=2))
    assert len(made) == len(expected) > 1
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one.n_id, other.n_id)
        assert torch.equal(one.edge_index, other.edge_index)
    assert rest.epoch == whole.epoch == 1


def test_there_is_no_batch_before_the_first(load):
    with pytest.raises(ValueError, match="first is -1; expected the number of a batch, from 0"):
        load().batches(first=-1)


@pytest.mark.parametrize("given", [None, torch.tensor([9, 9, 9])])
def test_times_of_nodes_that_no_edge_leaves(load, given):
    data = heterogeneous()
    data["page"].time = torch.arange(5)
    data["user", "reads", "page"].edge_index = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 2]])
    seeds = {"input_nodes": ("page", [0, 1, 2]), "input_time": given}
    batch = next(iter(load(data, [-1], batch_size=3, time_attr="time", **seeds)))
    # A tree for each seed: a user who reads two pages is there twice.
    assert batch["user"].n_id.tolist() == [0, 0, 1, 1]
    assert batch["user"].batch.tolist() == [0, 1, 1, 2]
    assert batch["page"].get("seed_time") is given or batch["page"].seed_time.tolist() == [9, 9, 9]


def test_without_a_seed_torch_decides(load):
    loader = load(batch_size=16, shuffle=True)
    torch.manual_seed(1)
    first, second = list(map(as_lists, loader)), list(map(as_lists, loader))
    torch.manual_seed(1)
    assert [first, second] == [list(map(as_lists, loader)) for _ in range(2)]
    assert first != second
    own = load(batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3))
    state = torch.get_rng_state()
    list(own)
    assert torch.equal(state, torch.get_rng_state())


def test_the_order_of_the_seeds_is_that_of_a_dataloader(load):
    torch.manual_seed(4)
    expected = list(torch.utils.data.DataLoader(range(NUM_NODES), batch_size=16, shuffle=True))
    torch.manual_seed(4)
    loader = load(batch_size=16, shuffle=True)
    assert [batch.input_id.tolist() for batch in loader] == [ids.tolist() for ids in expected]


def test_a_call_gives_the_batch_of_some_positions(load):
    loader = load(input_nodes=torch.tensor([9, 3, 50]))
    given = torch.tensor([2, 0])
    for index in ([2, 0], given, given.numpy(), list(given), list(given.numpy()), given.int()):
        batch = loader(index)
        assert batch.n_id[:2].tolist() == [50, 9]
        assert batch.input_id.tolist() == [2, 0]
    assert loader.collate_fn([1]).n_id[0] == 3
    seeded = load(seed=3)
    assert as_lists(seeded([5, 6])) == as_lists(seeded([5, 6]))


def star(leaves=100):
    """A node with so many in-neighbours."""
    edges = torch.stack([torch.arange(1, leaves + 1), torch.zeros(leaves, dtype=torch.int64)])
    return Data(edge_index=edges, num_nodes=leaves + 1)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_node_has_other_neighbours_in_every_batch_and_epoch(load, seed):
    loader = load(star(), num_neighbors=[3], input_nodes=[0] * 20, batch_size=1, seed=seed)
    epochs = [{tuple(batch.n_id.tolist()) for batch in loader} for _ in range(2)]
    assert [len(seen) > 15 for seen in epochs] == [True, True]
    assert len(epochs[0] | epochs[1]) > 30


def test_calls_draw_by_positions_and_epoch(load):
    loader = load(star(), num_neighbors=[3], input_nodes=[0] * 40, seed=5)
    by_position = {tuple(loader([position]).n_id.tolist()) for position in range(20)}
    assert len(by_position) > 15
    first = loader([0]).n_id.tolist()
    assert loader(torch.tensor([0, 1])[::2]).n_id.tolist() == first
    loader.epoch = 1
    assert loader([0]).n_id.tolist() != first


def test_what_the_loop_deletes_while_a_batch_is_cut_is_in_it_still(monkeypatch, load):
    def deleting(self, store, key, value):
        if "late" in data:
            del data.late
        return real(self, store, key, value)

    real = Attributes._table
    data = homogeneous(late=torch.arange(NUM_NODES))
    loader = load(data, prefetch=0)
    monkeypatch.setattr(Attributes, "_table", deleting)
    first, second = list(loader)[:2]
    assert torch.equal(first.late, first.n_id)
    assert "late" not in second


def test_a_call_takes_a_mask_too(load):
    loader = load(input_nodes=torch.tensor([9, 3, 50]))
    for mask in ([True, False, True], torch.tensor([True, False, True])):
        assert loader(mask).n_id[:2].tolist() == [9, 50]
    assert loader([]).batch_size == 0
    for fraction in ([1, 0.5], torch.tensor([0.5])):
        with pytest.raises(TypeError, match=r"index is torch\.float32; expected positions"):
            loader(fraction)
    with pytest.raises(IndexError):
        loader(torch.tensor([True]))


def test_positions_count_from_the_end_too(load):
    loader = load(input_nodes=torch.tensor([9, 3, 50]))
    assert loader([-1, 1, -3]).input_id.tolist() == [2, 1, 0]
    assert loader([-1, 0]).input_id.tolist() == [2, 0]
    for outside in ([0, 3], torch.tensor([-4])):
        with pytest.raises(IndexError, match=r"index has (3|-4); expected positions among the 3"):
            loader(outside)


def test_ids_of_the_graph_are_not_overwritten(load):
    data = homogeneous(n_id=torch.arange(NUM_NODES) + 100, e_id=torch.arange(NUM_EDGES) + 1000)
    batch = next(iter(load(data, batch_size=5)))
    assert torch.equal(batch.n_id, batch.y + 100)
    assert torch.equal(batch.e_id, batch.edge_attr[:, 0].long() // 2 + 1000)
    data, kind = heterogeneous(), ("user", "buys", "item")
    data["item"].n_id, data[kind].e_id = torch.arange(25) + 100, torch.arange(90) + 1000
    batch = next(iter(load(data, input_nodes="item", batch_size=5)))
    assert torch.equal(batch["item"].n_id, batch["item"].x[:, 0].long() // 2 + 100)
    assert torch.equal(batch[kind].e_id, batch[kind].edge_attr.long() + 1000)


def test_a_number_of_nodes_is_that_of_the_batch(load):
    data = heterogeneous()
    del data["item"].x
    data["item"].num_nodes = 25
    batch = next(iter(load(data, input_nodes="user", batch_size=3)))
    assert batch["item"].num_nodes == batch["item"].n_id.numel() < 25


def test_what_batches_share_with_the_data_is_not_looked_into(load, monkeypatch):
    names = {"a": 1}
    given = create_autospec(base.prefetched, return_value=iter([]))
    monkeypatch.setattr(base, "prefetched", given)
    iter(load(homogeneous(names=names)))
    shared = given.call_args.kwargs["shared"]
    assert any(value is names for value in shared)
    assert not any(isinstance(value, torch.Tensor) for value in shared)


def test_samplers_of_torch(load):
    data = homogeneous()
    sampler = torch.utils.data.SubsetRandomSampler([5, 6, 7, 8])
    assert sorted(n for b in load(data, sampler=sampler, batch_size=3) for n in b.input_id) == [
        5, 6, 7, 8,
    ]  # fmt: skip
    batches = load(data, batch_sampler=[[3, 1], [8]])
    assert [batch.input_id.tolist() for batch in batches] == [[3, 1], [8]]
    assert len(batches) == 2
    assert len(load(data, batch_size=50, drop_last=True)) == 1


def test_distributed_sampler(load):
    data = homogeneous()
    seen = []
    for rank in range(2):
        sampler = torch.utils.data.DistributedSampler(range(NUM_NODES), 2, rank, shuffle=True)
        loader = load(data, sampler=sampler, batch_size=7)
        assert len(loader) == 5
        seen += [n for batch in loader for n in batch.input_id.tolist()]
    assert sorted(seen) == list(range(NUM_NODES))


def test_data_may_be_changed_between_epochs(load):
    """As PyG's example reddit.py does for inference."""
    data = homogeneous()
    loader = load(copy.copy(data), num_neighbors=[-1], batch_size=16)
    del loader.data.x, loader.data.y
    loader.data.num_nodes = data.num_nodes
    loader.data.n_id = torch.arange(data.num_nodes)
    loader.data.extra = torch.arange(data.num_nodes) * 2
    for batch in loader:
        assert "x" not in batch
        assert torch.equal(batch.extra, batch.n_id * 2)
    assert "x" in data


def test_arrays_and_columns(load):
    data = homogeneous(
        array=np.arange(NUM_NODES, dtype=np.float32),
        table_index=torch.arange(2 * NUM_NODES).view(2, NUM_NODES),
    )
    batch = next(iter(load(data, batch_size=5)))
    n_id = batch.n_id.cpu()
    assert batch.array.tolist() == n_id.tolist()
    assert torch.equal(batch.table_index.cpu(), data.table_index[:, n_id])


def test_a_mapped_file(load, tmp_path):
    stored = np.arange(NUM_NODES * 2.0, dtype=np.float32).reshape(NUM_NODES, 2)
    np.save(tmp_path / "x.npy", stored)
    data = homogeneous()
    data.x = td.load(tmp_path / "x.npy", device=load().node_sampler.graph.indptr.device)
    batch = next(iter(load(data, batch_size=5)))
    assert batch.x.tolist() == stored[batch.n_id.cpu().numpy()].tolist()


def test_edges_without_attributes_and_edge_index_of_pyg(load):
    from torch_geometric import EdgeIndex

    plain = homogeneous()
    data = homogeneous()
    data.edge_index = EdgeIndex(data.edge_index, sparse_size=(NUM_NODES, NUM_NODES))
    batch = next(iter(load(data, num_neighbors=[-1], batch_size=5)))
    expected = next(iter(load(plain, num_neighbors=[-1], batch_size=5)))
    assert type(batch.edge_index) is torch.Tensor
    assert torch.equal(batch.edge_index, expected.edge_index)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_transforms(load, prefetch):
    def halve(output: SamplerOutput) -> SamplerOutput:
        output.node, output.row, output.col = output.node[:4], output.row[:0], output.col[:0]
        output.edge = output.edge[:0]
        return output

    loader = load(
        batch_size=4,
        prefetch=prefetch,
        transform_sampler_output=halve,
        transform=lambda batch: (batch.n_id, batch.x),
    )
    n_id, x = next(iter(loader))
    assert n_id.tolist() == [0, 1, 2, 3]
    assert x.shape == (4, 3)


def test_what_a_transform_leaves_out_is_empty(load):
    def without_items(output):
        output.node = {kind: nodes for kind, nodes in output.node.items() if kind == "user"}
        return output

    def without_edges(output):
        output.row = output.col = output.edge = {}
        return output

    for change, kind, names in (
        (without_items, "item", ("x", "n_id")),
        (without_edges, ("user", "buys", "item"), ("edge_attr", "e_id")),
    ):
        loader = load(heterogeneous(), input_nodes="user", transform_sampler_output=change)
        store = next(iter(loader))[kind]
        assert [store[name].size(0) for name in names] == [0, 0]
    assert store.edge_index.shape == (2, 0)

    def without_ids(output):
        output.edge = None
        return output

    loader = load(heterogeneous(), input_nodes="user", transform_sampler_output=without_ids)
    bought = next(iter(loader))["user", "buys", "item"]
    assert not {"e_id", "edge_attr"} & set(bought.keys())
    with pytest.raises(TypeError, match="transform_sampler_output returned a NoneType"):
        load(transform_sampler_output=print)([1])


def test_sparse_features_are_cut(load):
    data = homogeneous()
    data.x = torch.eye(NUM_NODES).to_sparse()
    batch = next(iter(load(data, batch_size=5)))
    assert batch.x.is_sparse
    assert batch.x.device == batch.n_id.device
    assert torch.equal(batch.x.cpu().to_dense(), torch.eye(NUM_NODES)[batch.n_id.cpu()])


@pytest.mark.filterwarnings("ignore:Sparse")
def test_edges_as_a_sparse_matrix(load):
    (batch, *_) = load(batch_size=8, transform=ToSparseTensor())
    assert batch.adj_t.shape == (batch.num_nodes, batch.num_nodes)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_gradients_reach_the_attribute(load, prefetch):
    data = homogeneous()
    data.x = torch.nn.Parameter(data.x)
    loader = load(data, batch_size=30, prefetch=prefetch)
    seen = torch.zeros(NUM_NODES)
    for batch in loader:
        batch.x.sum().backward()
        seen += torch.bincount(batch.n_id.cpu(), minlength=NUM_NODES)
    assert torch.equal(data.x.grad[:, 0], seen)
    with torch.no_grad():
        assert not any(batch.x.requires_grad for batch in loader)
    data.x = td.unified(torch.zeros(NUM_NODES, 3)).requires_grad_()
    next(iter(loader)).x.sum().backward()
    assert data.x.grad is not None


def test_an_attribute_that_was_replaced_is_let_go(load):
    data = homogeneous()
    loader = load(data, batch_size=30, prefetch=0)
    for number in range(3):
        data.array, data.table = np.full((NUM_NODES, 2), number), torch.full((NUM_NODES,), number)
        batch = next(iter(loader))
        assert (batch.array == number).all()
        assert (batch.table == number).all()
        if number == 0:
            watched = weakref.ref(data.array), weakref.ref(data.table)
    del data.array, data.table
    list(loader)
    gc.collect()
    assert [reference() for reference in watched] == [None, None]
    assert not {"array", "table"} & {name for _, name in loader._attributes._known}


def test_edges_of_the_sampler_alone(load, device):
    """A graph in CSC form needs no second copy in `data`."""
    whole = homogeneous()
    graph = td.Graph.from_pyg(whole).to(device)
    data = Data(x=whole.x)
    sampler = NeighborSampler(graph, [4, 3])
    loader = td.NeighborLoader(data, None, neighbor_sampler=sampler, seed=2, batch_size=9)
    batch, expected = next(iter(loader)), next(iter(load(whole, seed=2, batch_size=9)))
    assert torch.equal(batch.edge_index, expected.edge_index)
    assert "edge_index" not in next(iter(load(data)))


@pytest.mark.filterwarnings("ignore:subgraph_type is 'bidirectional'")
def test_edge_types_that_are_joined_have_neither_ids_nor_attributes(load):
    given = {"input_nodes": "user", "subgraph_type": "bidirectional", "batch_size": 9}
    for batch in load(heterogeneous(), **given):
        assert batch["user"].n_id.numel() > 0
        for kind in batch.edge_types:
            assert [*batch[kind].keys()] == ["edge_index"]


@pytest.mark.parametrize("looked_up", [7, 1 << 16])
def test_a_graph_whose_ids_are_of_other_edges_is_refused(device, monkeypatch, looked_up):
    monkeypatch.setattr(arguments, "_EDGES_LOOKED_UP", looked_up)
    data = homogeneous()

    def loader_over(graph, edge_index):
        known = Data(edge_index=edge_index, edge_attr=edge_index[0], num_nodes=NUM_NODES)
        sampler = NeighborSampler(graph.to(device), [-1])
        return td.NeighborLoader(known, None, neighbor_sampler=sampler)

    graph = td.Graph.from_pyg(data)
    batch = next(iter(loader_over(graph, data.edge_index)))
    assert torch.equal(batch.edge_attr, batch.n_id[batch.edge_index[0]])
    loader_over(
        td.Graph.from_edge_index(data.edge_index, NUM_NODES, symmetric=True), data.edge_index
    )
    others = [data.edge_index.flip(1), data.edge_index[:, :100], torch.empty(2, 0).long()]
    for other in others:
        with pytest.raises(
            ValueError, match=r"neighbor_sampler has a graph whose edge from \d+ to"
        ):
            loader_over(graph, other)


@pytest.mark.parametrize("chunk", [7, 1 << 24])
def test_edges_without_ids_are_numbered_as_they_lie(monkeypatch, chunk):
    """Attributes of edges fit a graph without ids where the edges of both are in its order."""
    monkeypatch.setattr(arguments, "EDGES_AT_ONCE", chunk)
    data = homogeneous()
    by_destination = data.edge_index[1].argsort(stable=True)
    in_order = Data(x=data.x, edge_index=data.edge_index[:, by_destination])
    in_order.edge_attr = in_order.edge_index.sum(0)
    graph = td.Graph.from_edge_index(data.edge_index, NUM_NODES, edge_id=False)
    alone = Data(x=data.x, edge_attr=in_order.edge_attr, num_nodes=NUM_NODES)
    of_the_graph = Data(edge_index=data.edge_index, num_nodes=NUM_NODES, name="unordered")
    assert len(td.NeighborLoader(of_the_graph, None, neighbor_sampler=NeighborSampler(graph, [2])))
    for known in (in_order, alone):
        sampler = NeighborSampler(graph, [-1])
        batch = next(iter(td.NeighborLoader(known, None, neighbor_sampler=sampler, batch_size=9)))
        batch = batch.cpu()
        assert torch.equal(batch.edge_attr, batch.n_id[batch.edge_index].sum(0))
    star = torch.tensor([[0, 0, 0], [3, 1, 2]])
    out_of_order = Data(edge_index=star, edge_attr=star[1], num_nodes=4)
    sampler = NeighborSampler(td.Graph.from_edge_index(star, 4, edge_id=False), [-1])
    with pytest.raises(ValueError, match=r"a graph of 3 edges without their ids"):
        td.NeighborLoader(out_of_order, None, neighbor_sampler=sampler)
    fewer = td.Graph.from_edge_index(data.edge_index[:, :9], NUM_NODES, edge_id=False)
    for known in (in_order, alone):
        with pytest.raises(ValueError, match=r"a graph of 9 edges without their ids"):
            td.NeighborLoader(known, None, neighbor_sampler=NeighborSampler(fewer, [2]))


def test_edge_types_without_ids():
    data = heterogeneous()
    graph = td.HeteroGraph.from_pyg(data)
    bought = graph["user", "buys", "item"]
    without = td.HeteroGraph(
        graph.num_nodes, {**graph.graphs, ("user", "buys", "item"): replace(bought, edge_id=None)}
    )
    sampler = NeighborSampler(without, [2])
    with pytest.raises(ValueError, match=r"a graph of 90 edges .*'edge_attr'"):
        td.NeighborLoader(data, None, input_nodes="user", neighbor_sampler=sampler)


def test_edge_types_of_the_sampler_alone(load, device):
    whole = heterogeneous()
    graph = td.HeteroGraph.from_pyg(whole).to(device)
    data = whole.node_type_subgraph(["user", "item", "page"])
    for kind in whole.edge_types:
        del data[kind]
    sampler = NeighborSampler(graph, [4, 3])
    given = {"input_nodes": "user", "seed": 2, "batch_size": 9}
    loader = td.NeighborLoader(data, None, neighbor_sampler=sampler, **given)
    batch, expected = next(iter(loader)), next(iter(load(whole, **given)))
    assert batch.edge_types == whole.edge_types
    for kind in whole.edge_types:
        assert torch.equal(batch[kind].edge_index, expected[kind].edge_index)
        assert torch.equal(batch[kind].e_id, expected[kind].e_id)
    assert not data.edge_types


@pytest.mark.parametrize("like", [torch.Tensor.long, torch.Tensor.half, lambda w: w.view(-1, 1)])
def test_weights_of_any_type(load, like):
    """As with pyg-lib: counts, and numbers of 16 bits."""
    weight = (torch.arange(NUM_EDGES) % 3).float()
    batches = [
        next(iter(load(homogeneous(w=w), [2, 2], weight_attr="w", batch_size=20, seed=1)))
        for w in (weight, like(weight))
    ]
    assert torch.equal(batches[0].e_id, batches[1].e_id)
    assert batches[1].w.dtype == like(weight).dtype


def test_weights_where_there_are_as_many_nodes_as_edges(load):
    """PyG says node of an attribute that could be either."""
    ring = torch.stack([torch.arange(6), torch.arange(6).roll(1)])
    weight = torch.tensor([1.0, 0, 1, 0, 1, 0], requires_grad=True)
    data = Data(edge_index=ring, w=weight, num_nodes=6)
    batch = next(iter(load(data, [-1], weight_attr="w", batch_size=6)))
    assert sorted(batch.e_id.tolist()) == [0, 2, 4]


def test_a_bad_weight_is_named_by_its_place_in_data(load):
    data = heterogeneous()
    weight = torch.ones(90)
    weight[7] = float("nan")
    data["user", "buys", "item"].w = weight
    with pytest.raises(GraphError, match=r"'buys', .*: the weight of edge 7 is nan"):
        load(data, [2], input_nodes="user", weight_attr="w")


def test_trim_to_layer(load, device):
    batch = next(iter(load(batch_size=8)))
    layers = [SAGEConv(3, 3).to(device) for _ in range(2)]
    whole, trimmed, edges = batch.x, batch.x, batch.edge_index
    for number, layer in enumerate(layers):
        whole = layer(whole, batch.edge_index)
        trimmed, edges, _ = trim_to_layer(
            number, batch.num_sampled_nodes, batch.num_sampled_edges, trimmed, edges
        )
        trimmed = layer(trimmed, edges)
    torch.testing.assert_close(trimmed[:8], whole[:8], rtol=1e-4, atol=1e-4)


def test_directed_is_the_old_name_of_induced(load):
    new, old = load(subgraph_type="induced", seed=1), load(directed=False, seed=1)
    batches = [next(iter(loader)) for loader in (new, old)]
    assert as_lists(batches[0]) == as_lists(batches[1])
    assert "num_sampled_edges" not in batches[0]


def test_num_neighbors_of_pyg(load):
    loader = td.NeighborLoader(homogeneous(), NumNeighbors([2, 2]), seed=0)
    assert loader.node_sampler.fanout == load(num_neighbors=[2, 2]).node_sampler.fanout


def test_weights_and_times_reach_the_sampler(load):
    data = with_times(homogeneous(w=torch.rand(NUM_EDGES)), "edges")
    weighted = load(data, weight_attr="w", replace=True)
    assert weighted.node_sampler.weighted
    assert weighted.node_sampler.replace
    time = torch.full((NUM_NODES,), 10)
    loader = load(data, time_attr="time", temporal_strategy="last", input_time=time, batch_size=9)
    batch = next(iter(loader))
    assert batch.batch[:9].tolist() == list(range(9))
    assert batch.seed_time.tolist() == [10] * 9
    assert (batch.time <= 10).all()


def test_a_sampler_of_ours(load, device):
    data = homogeneous()
    graph = td.Graph.from_pyg(data)
    sampler = NeighborSampler(graph.to_unified() if device.type == "cuda" else graph, [4, 3])
    loader = td.NeighborLoader(data, None, neighbor_sampler=sampler, seed=2, batch_size=9)
    assert as_lists(next(iter(loader))) == as_lists(next(iter(load(data, seed=2, batch_size=9))))
    assert sampler.seed == 0


def test_heterogeneous_batches(load, device):
    data = heterogeneous()
    nodes = ("user", data["user"].train_mask)
    loader = load(data, num_neighbors=[3, 3], input_nodes=nodes, batch_size=4)
    for batch in loader:
        assert batch.name == "shop"
        seeds = batch["user"].n_id[: batch["user"].batch_size]
        assert torch.equal(batch["user"].input_id, seeds)
        for kind in data.node_types:
            assert batch[kind].x.device == device
            assert torch.equal(batch[kind].x.cpu(), data[kind].x[batch[kind].n_id.cpu()])
            assert sum(batch[kind].num_sampled_nodes) == batch[kind].num_nodes
        for kind in data.edge_types:
            store, e_id = batch[kind], batch[kind].e_id.cpu()
            src, dst = store.edge_index.cpu()
            ends = batch[kind[0]].n_id.cpu()[src], batch[kind[-1]].n_id.cpu()[dst]
            assert torch.equal(torch.stack(ends), data[kind].edge_index[:, e_id])
            assert sum(store.num_sampled_edges) == e_id.numel()
        bought = batch["user", "buys", "item"]
        assert torch.equal(bought.edge_attr, bought.e_id.float())


def made_again(loader):
    """As Lightning makes a loader anew: from its signature and its attributes."""
    names = dict(inspect.signature(type(loader).__init__).parameters)
    names |= dict(inspect.signature(torch.utils.data.DataLoader.__init__).parameters)
    kept = {name: value for name, value in vars(loader).items() if not name.startswith("_")}
    kept["multiprocessing_context"] = loader.multiprocessing_context
    given = {name: kept[name] for name in names if name in kept}
    given |= {"shuffle": False, "sampler": None, "collate_fn": None}
    given |= {"batch_size": 1, "drop_last": False}
    return type(loader)(**given)


def unpickled(loader):
    return pickle.loads(pickle.dumps(loader))


@pytest.mark.parametrize("again", [made_again, unpickled])
def test_a_loader_can_be_made_anew(load, again):
    mask = torch.arange(NUM_NODES) % 2 == 0
    loader = load(input_nodes=mask, batch_size=16, seed=4, shuffle=True)
    other = again(loader)
    assert type(other) is td.NeighborLoader
    torch.manual_seed(0)
    batches = list(map(as_lists, loader))
    torch.manual_seed(0)
    assert batches == list(map(as_lists, other))


def test_what_is_made_of_the_arguments_stays_in_its_process(load):
    state = load(input_nodes=[3, 1]).__getstate__()
    assert not {"node_sampler", "_attributes", "_seeds", "_device"} & {*state}
    assert {"data", "input_nodes", "epoch"} <= {*state}
    inherited = vars(torch.utils.data.DataLoader(range(1)))
    assert not {name for name in state if name.startswith("_")} - {*inherited}


class Named(td.NeighborLoader):
    """A loader with a constructor of its own."""

    def __init__(self, data, *sizes, **others):
        super().__init__(data, list(sizes), **others)
        self.nickname = "small"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, unpickled])
def test_a_loader_of_another_class_keeps_what_it_has(device, again):
    loader = Named(homogeneous(), 3, 2, device=device, batch_size=16, seed=1)
    list(loader)
    other = again(loader)
    assert (type(other), other.nickname, other.epoch) == (Named, "small", 1)
    assert list(map(as_lists, other)) == list(map(as_lists, loader))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_gpu_of_an_attribute_makes_the_batches():
    whole = homogeneous()
    data = homogeneous().to("cuda:1", "x", "y")
    batch = next(iter(td.NeighborLoader(data, [4, 3], batch_size=10)))
    devices = {tensor.device for tensor in (batch.x, batch.y, batch.edge_index, batch.n_id)}
    assert devices == {torch.device("cuda:1")}
    assert torch.equal(batch.x.cpu(), whole.x[batch.n_id.cpu()])


@pytest.mark.gpu
def test_memory_of_an_attribute_waits_for_the_streams_that_read_it():
    data = homogeneous()
    data.x = td.zeros(NUM_NODES, 3)
    next(iter(td.NeighborLoader(data, [4, 3], batch_size=10)))
    gathering = prefetch._stream_of(data.x.device, 1)
    assert gathering in data.x.owner.lease.streams


def test_two_epochs_at_once(load):
    loader = load(batch_size=30, seed=1)
    pairs = list(zip(loader, loader, strict=True))
    expected = load(batch_size=30, seed=1)
    first, second = list(expected), list(expected)
    assert [as_lists(a) for a, _ in pairs] == [as_lists(a) for a in first]
    assert [as_lists(b) for _, b in pairs] == [as_lists(b) for b in second]


def test_an_exception_in_a_batch_reaches_the_loop(load):
    def fail_at_node_7(batch):
        if 7 in batch.input_id:
            raise ArithmeticError("no luck")
        return batch

    nodes = torch.tensor([1, 7])
    batches = iter(load(input_nodes=nodes, input_id=nodes, batch_size=1, transform=fail_at_node_7))
    assert next(batches).batch_size == 1
    with pytest.raises(ArithmeticError, match="no luck"):
        next(batches)


@pytest.mark.parametrize("node", [-1, NUM_NODES])
def test_a_seed_outside_the_graph_is_refused_at_once(load, node):
    with pytest.raises(IndexError, match=rf"input_nodes has node {node}; .* \[0, {NUM_NODES}\)"):
        load(input_nodes=[1, node, 2])


def layers(edge_index, seeds, hops):
    """Nodes first met in each hop, and the edges into those of the hop before."""
    known, frontier, nodes, edges = set(seeds), set(seeds), [], []
    for _ in range(hops):
        into = [e for e, dst in enumerate(edge_index[1].tolist()) if dst in frontier]
        frontier = {int(edge_index[0, e]) for e in into} - known
        known |= frontier
        nodes.append(frontier)
        edges.append(into)
    return nodes, edges


def test_all_neighbours(load):
    data = homogeneous()
    for batch in load(data, [-1, -1], batch_size=5):
        count = batch.batch_size
        nodes, edges = layers(data.edge_index, batch.n_id[:count].tolist(), 2)
        assert batch.num_sampled_nodes == [count, *map(len, nodes)]
        assert batch.num_sampled_edges == list(map(len, edges))
        met = batch.n_id[count:].split(batch.num_sampled_nodes[1:])
        assert [set(hop.tolist()) for hop in met] == nodes
        assert [sorted(hop.tolist()) for hop in batch.e_id.split(batch.num_sampled_edges)] == edges


def test_a_node_may_be_a_seed_more_than_once(load):
    """As with ImbalancedSampler, which draws with replacement."""
    data = homogeneous()
    nodes = torch.tensor([9, 3, 9, 9, 50])
    batch = next(iter(load(data, [-1], input_nodes=nodes, batch_size=5)))
    assert batch.n_id[:5].tolist() == nodes.tolist()
    assert "batch" not in batch
    for place, node in enumerate(nodes.tolist()):
        found = batch.n_id[batch.edge_index[0, batch.edge_index[1] == place]]
        expected = data.edge_index[0, data.edge_index[1] == node]
        assert sorted(found.tolist()) == sorted(expected.tolist())


def test_a_loader_that_is_dropped_is_gone_at_once(load):
    """Without a cycle that would hold registered memory until the collector runs."""
    gc.disable()
    try:
        loader = load(prefetch=0)
        next(iter(loader))
        watched = weakref.ref(loader)
        del loader
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.gpu
def test_the_host_waits_for_the_gpu_once_a_batch(load, device, monkeypatch):
    asleep = create_autospec(Counts.read, side_effect=Counts.read)
    monkeypatch.setattr(Counts, "read", asleep)
    loader = load(heterogeneous(), input_nodes="user", batch_size=8, prefetch=0)
    loader([0, 1])
    asleep.reset_mock()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            loader([2, 3])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    messages = [str(warning.message) for warning in seen]
    assert [message for message in messages if "synchronizing CUDA" in message] == []
    assert asleep.call_count == (1 if device.type == "cuda" else 0)
