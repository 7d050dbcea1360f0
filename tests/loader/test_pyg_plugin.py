"""Our sampler and unified memory in PyG's own loaders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from graphs import NUM_NODES, heterogeneous, homogeneous
from oracle_cases import latest, links, make, nodes
from torch_geometric import EdgeIndex
from torch_geometric.loader import LinkLoader, NodeLoader, ZipLoader
from torch_geometric.sampler import NegativeSampling

import torch_direct as td
from torch_direct.loader import PyGSampler
from torch_direct.sampler import NeighborSampler

SAMPLING = {
    "num_neighbors",
    "replace",
    "subgraph_type",
    "disjoint",
    "temporal_strategy",
    "time_attr",
    "weight_attr",
}
"""Arguments of our loaders which those of PyG leave to their sampler."""


def sampler_for(data):
    form = td.HeteroGraph if hasattr(data, "edge_types") else td.Graph
    return PyGSampler(NeighborSampler(form.from_pyg(data).to_unified(), [4, 3]))


def test_prepared_data_is_read_where_it_lies():
    data = homogeneous(array=np.arange(NUM_NODES))
    pairs = data.edge_index
    data.edge_index = EdgeIndex(pairs)
    prepared = td.prepare(data)
    assert prepared.edge_index.data_ptr() == pairs.data_ptr()
    for name in ("x", "y", "edge_attr", "mean"):
        assert prepared[name].data_ptr() == data[name].data_ptr()
        assert td.is_unified(prepared[name]) == torch.cuda.is_available()
        assert not td.is_unified(data[name])
    assert prepared.array.tolist() == data.array.tolist()
    assert prepared.name == "small"
    assert td.prepare(prepared).x.data_ptr() == data.x.data_ptr()
    with pytest.raises(TypeError, match="list"):
        td.prepare([data])


def test_what_is_prepared_is_what_batches_are_cut_from():
    data = homogeneous(names=np.array(["a", "b"]))
    data.weight = torch.nn.Parameter(torch.zeros(NUM_NODES))
    prepared = td.prepare(data)
    assert prepared.names is data.names
    assert prepared.weight is data.weight  # another leaf would take its gradients
    data.label = np.array(["a"] * NUM_NODES)
    with pytest.raises(TypeError, match="label is an array of <U1"):
        td.prepare(data)


def test_nodes():
    data = homogeneous()
    loader = NodeLoader(td.prepare(data), sampler_for(data), batch_size=16, shuffle=True)
    seen = []
    for batch in loader:
        assert batch.x.device == batch.edge_index.device == batch.n_id.device
        n_id, e_id = batch.n_id.cpu(), batch.e_id.cpu()
        assert torch.equal(batch.x.cpu(), data.x[n_id])
        assert torch.equal(batch.edge_attr.cpu(), data.edge_attr[e_id])
        assert torch.equal(n_id[batch.edge_index.cpu()], data.edge_index[:, e_id])
        seen += batch.input_id.tolist()
    assert sorted(seen) == list(range(NUM_NODES))


def test_nodes_of_types():
    data = heterogeneous()
    loader = NodeLoader(td.prepare(data), sampler_for(data), input_nodes="user", batch_size=16)
    for batch in loader:
        for kind in data.node_types:
            assert torch.equal(batch[kind].x.cpu(), data[kind].x[batch[kind].n_id.cpu()])


@pytest.mark.parametrize("mode", [None, "binary", "triplet"])
def test_links(mode):
    data = homogeneous()
    config = None if mode is None else NegativeSampling(mode, 1)
    prepared, sampler = td.prepare(data), sampler_for(data)
    loader = LinkLoader(prepared, sampler, neg_sampling=config, batch_size=50)
    for batch in loader:
        count = batch.input_id.numel()
        place = (
            torch.stack([batch.src_index, batch.dst_pos_index])
            if mode == "triplet"
            else batch.edge_label_index[:, :count]
        )
        links = batch.n_id[place].cpu()
        assert torch.equal(links, data.edge_index[:, batch.input_id.cpu()])


def test_links_of_types():
    data, kind = td.prepare(heterogeneous()), ("user", "buys", "item")
    loader = LinkLoader(
        data, sampler_for(data), edge_label_index=kind, neg_sampling="binary", batch_size=50
    )
    assert sum(batch[kind].input_id.numel() for batch in loader) == 90


def test_one_sampler_serves_loaders_with_other_negatives():
    data = td.prepare(heterogeneous())
    sampler, given = sampler_for(data), {"batch_size": 90}
    once, twice = NegativeSampling("binary", 1), NegativeSampling("binary", 2)
    for kind, config, count in (
        (("user", "buys", "item"), once, 180),
        (("item", "rev_buys", "user"), once, 180),
        (("item", "rev_buys", "user"), twice, 270),
    ):
        loader = LinkLoader(data, sampler, edge_label_index=kind, neg_sampling=config, **given)
        (batch,) = loader
        src, dst = batch[kind].edge_label_index
        assert src.numel() == dst.numel() == count
        assert batch[kind[0]].n_id[src].max() < data[kind[0]].num_nodes
        assert batch[kind[-1]].n_id[dst].max() < data[kind[-1]].num_nodes


def test_every_batch_is_drawn_anew_and_torch_decides():
    data = td.prepare(homogeneous())
    loader = NodeLoader(data, sampler_for(data), batch_size=NUM_NODES)
    torch.manual_seed(0)
    first, second = [batch.e_id.tolist() for _ in range(2) for batch in loader]
    torch.manual_seed(0)
    assert [first, second] == [batch.e_id.tolist() for _ in range(2) for batch in loader]
    assert first != second


def test_it_is_a_sampler_of_ours_only():
    with pytest.raises(TypeError, match="expected a torch_direct"):
        PyGSampler(object())


@pytest.mark.filterwarnings("ignore:subgraph_type is 'bidirectional'")
@pytest.mark.parametrize("kind", [nodes, links, latest])
@pytest.mark.parametrize("number", range(10))
def test_our_sampler_in_their_loaders(kind, number):
    """Batches of our loaders bit for bit, in the same order."""
    case = make(kind, number)
    ours = getattr(td, case.loader)(case.data, **case.arguments)
    rest = {name: value for name, value in case.arguments.items() if name not in SAMPLING}
    made_by = {"NeighborLoader": NodeLoader, "LinkNeighborLoader": LinkLoader}
    other = made_by[case.loader](td.prepare(case.data), PyGSampler(ours.node_sampler), **rest)
    torch.manual_seed(0)
    mine = list(map(everything, ours))
    torch.manual_seed(0)
    assert mine == list(map(everything, other)), str(case)


def everything(batch):
    return {
        (store._key, name): (value.dtype, value.shape, value.cpu().to_dense().tolist())
        if isinstance(value, torch.Tensor)
        else value
        for store in batch.stores
        for name, value in store.items()
    }


def test_pygs_zip_loader_takes_our_loaders():
    data = homogeneous()
    loaders = [td.NeighborLoader(data, [2], input_nodes=torch.arange(6) + n) for n in (0, 10)]
    pairs = list(ZipLoader(loaders, batch_size=4))
    assert [[batch.n_id[: batch.batch_size].tolist() for batch in pair] for pair in pairs] == [
        [[0, 1, 2, 3], [10, 11, 12, 13]],
        [[4, 5], [14, 15]],
    ]
