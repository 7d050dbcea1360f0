"""What is accepted and does nothing, and what is refused with a remedy."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from graphs import NUM_NODES, heterogeneous, homogeneous, with_times
from torch_geometric.data import Data
from torch_geometric.sampler import BaseSampler

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.loader import arguments
from torch_direct.sampler import NeighborSampler

WORKERS = {
    "num_workers": 4,
    "pin_memory": True,
    "persistent_workers": True,
    "prefetch_factor": 2,
    "filter_per_worker": True,
    "worker_init_fn": print,
    "multiprocessing_context": "spawn",
    "timeout": 3,
}


def test_arguments_of_workers_are_accepted_and_said_once(caplog):
    arguments.say_ignored.cache_clear()
    with caplog.at_level(logging.WARNING, logger="torch_direct"):
        for _ in range(2):
            loader = td.NeighborLoader(homogeneous(), [3], batch_size=20, **WORKERS)
    assert len(list(loader)) == 3
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert sorted(said) == sorted(WORKERS)


def test_data_without_edges_are_worth_a_word(caplog):
    with caplog.at_level(logging.WARNING, logger="torch_direct"):
        td.NeighborLoader(Data(x=torch.ones(3, 1)), [2])
        td.NeighborLoader(homogeneous(), [2])
        td.NeighborLoader(heterogeneous(), [2], input_nodes="user")
    (record,) = caplog.records
    assert record.getMessage().startswith("data has no edge_index")


def test_their_defaults_are_not_worth_a_word(caplog):
    arguments.say_ignored.cache_clear()
    with caplog.at_level(logging.WARNING, logger="torch_direct"):
        td.NeighborLoader(
            homogeneous(),
            [3],
            num_workers=0,
            pin_memory=False,
            custom_cls=None,
            sample_direction="forward",
        )
    assert not caplog.records


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="nonsense"):
        td.NeighborLoader(homogeneous(), [3], nonsense=1)


def test_context_managers_of_pyg_do_nothing(caplog):
    arguments.say_ignored.cache_clear()
    loader = td.NeighborLoader(homogeneous(), [3], batch_size=30)
    with (
        caplog.at_level(logging.WARNING, logger="torch_direct"),
        loader.enable_cpu_affinity(loader_cores=[0]),
        loader.enable_multithreading(2),
    ):
        assert len(list(loader)) == 2
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["enable_cpu_affinity", "enable_multithreading"]


class Theirs(BaseSampler):
    def sample_from_nodes(self, index, **kwargs):
        raise NotImplementedError

    def sample_from_edges(self, index, neg_sampling=None):
        raise NotImplementedError


def frame():
    data = homogeneous()
    data.words = ["a"] * NUM_NODES
    return data


def backward():
    return homogeneous(array=np.arange(float(NUM_NODES))[::-1])


def big_endian():
    return homogeneous(array=np.zeros(NUM_NODES, dtype=">f4"))


def small_sampler():
    return NeighborSampler(td.Graph.from_edge_index(torch.tensor([[0], [1]]), 3), [2])


@pytest.mark.filterwarnings("ignore:Unable to accurately infer 'num_nodes'")
def test_a_number_of_nodes_that_is_not_known():
    with pytest.raises(ValueError, match=r"number of nodes of data is not known.* data\.num_nodes"):
        td.NeighborLoader(Data(), [2])
    with pytest.raises(ValueError, match=r"not known, None; expected 3, .* set num_nodes"):
        td.NeighborLoader(Data(), None, neighbor_sampler=small_sampler())


def without_ids():
    edges, count = homogeneous().edge_index, NUM_NODES
    return NeighborSampler(td.Graph.from_edge_index(edges, count, edge_id=False), [2])


def whole_sampler():
    return NeighborSampler(td.Graph.from_pyg(homogeneous()), [2])


def edges_as_a_list():
    return Data(edge_index=[[0], [1]], edge_attr=torch.ones(1), num_nodes=2)


def pair_sampler():
    return NeighborSampler(td.Graph.from_edge_index(torch.tensor([[0], [1]]), 2), [2])


def stored_as_adj_t():
    data = homogeneous()
    data.adj_t = torch.eye(NUM_NODES).to_sparse()
    return data


def with_edge_times():
    return with_times(homogeneous(), "edges")


def with_times_of_items():
    data = heterogeneous()
    data["item"].time = torch.arange(25)
    return data


def with_two_relations():
    data = heterogeneous()
    data["user", "rates", "item"].edge_index = torch.tensor([[3], [1]])
    return data


@pytest.mark.parametrize(
    ("make", "given", "error", "message"),
    [
        (lambda: (None, None), {}, TypeError, "tuple; expected .*FeatureStore"),
        (homogeneous, {"custom_cls": Data}, ValueError, "custom_cls .* transform"),
        (homogeneous, {"sample_direction": "backward"}, ValueError, "flip"),
        (homogeneous, {"neighbor_sampler": Theirs()}, TypeError, "Theirs; expected .*from_pyg"),
        (homogeneous, {"prefetch": -1}, ValueError, "prefetch is -1"),
        (homogeneous, {"prefetch": 1.5}, ValueError, "prefetch is 1.5"),
        (homogeneous, {"seed": 1.5}, TypeError, "seed is 1.5"),
        (homogeneous, {"num_neighbors": 5}, TypeError, "num_neighbors.* is 5; expected a list"),
        (
            homogeneous,
            {"num_neighbors": [2.7]},
            TypeError,
            "num_neighbors.* is .*2.7.* list of integers",
        ),
        (homogeneous, {"input_nodes": torch.ones(2, 2)}, ValueError, r"shape \(2, 2\)"),
        (homogeneous, {"input_nodes": torch.tensor(3)}, ValueError, r"shape \(\)"),
        (homogeneous, {"input_nodes": torch.ones(10).bool()}, ValueError, r"expected \(60,\)"),
        (homogeneous, {"input_nodes": torch.tensor([1.5])}, TypeError, "float32; expected node id"),
        (homogeneous, {"input_nodes": "user"}, TypeError, "input_nodes is 'user'"),
        (
            homogeneous,
            {"input_nodes": torch.ones(NUM_NODES).bool().to_sparse()},
            TypeError,
            r"input_nodes has the layout .*\.to_dense",
        ),
        (backward, {}, TypeError, r"array is an array of float64 with the strides \(-8,\)"),
        (big_endian, {}, TypeError, "array is an array of >f4 .* byte order"),
        (homogeneous, {"neighbor_sampler": small_sampler()}, ValueError, "of 3 nodes; expected 60"),
        (homogeneous, {"neighbor_sampler": without_ids()}, ValueError, "'edge_attr' .*other order"),
        (
            homogeneous,
            {"neighbor_sampler": whole_sampler(), "device": "cuda:7"},
            ValueError,
            "is read by",
        ),
        (edges_as_a_list, {}, TypeError, "edge_index is a list; expected a tensor"),
        (
            edges_as_a_list,
            {"neighbor_sampler": pair_sampler()},
            TypeError,
            "edge_index is a list; expected a tensor",
        ),
        (homogeneous, {"input_time": torch.zeros(60)}, ValueError, "time_attr"),
        (homogeneous, {"time_attr": "absent"}, GraphError, "'absent'"),
        (homogeneous, {"weight_attr": "absent"}, GraphError, "'absent'"),
        (homogeneous, {"input_id": torch.arange(3)}, ValueError, r"input_id has shape \(3,\)"),
        (homogeneous, {"input_id": 5}, ValueError, r"input_id has shape \(\); expected 60 entries"),
        (with_edge_times, {"time_attr": "time"}, ValueError, "input_time is not given"),
        (
            with_times_of_items,
            {"time_attr": "time", "input_nodes": "user"},
            ValueError,
            "input_time is not given",
        ),
        (frame, {}, TypeError, "words .* list; expected a tensor"),
        (stored_as_adj_t, {}, GraphError, "adj_t"),
        (heterogeneous, {}, ValueError, "input_nodes names the type None; expected one of user"),
        (heterogeneous, {"input_nodes": "shop"}, ValueError, "'shop'; expected one of user"),
        (
            heterogeneous,
            {"input_nodes": "user", "num_neighbors": {("user", "buys", "item"): [2]}},
            ValueError,
            "number of neighbors",
        ),
    ],
)
def test_what_cannot_be_taken_says_what_to_do(make, given, error, message):
    given = {"num_neighbors": [2], **given}
    with pytest.raises(error, match=message):
        next(iter(td.NeighborLoader(make(), **given)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", 0, "cuda:1"])
def test_a_gpu_that_there_is_not(device):
    with pytest.raises(ValueError, match=r"device is cuda.* torch-direct doctor"):
        td.NeighborLoader(homogeneous(), [2], device=device)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (with_edge_times, {"time_attr": "time"}, "edge_label_time is not given"),
        (homogeneous, {"edge_label_time": torch.zeros(240)}, "time_attr is not given"),
        (
            homogeneous,
            {"neg_sampling": "triplet", "edge_label": torch.zeros(240)},
            "edge_label is given with triplet",
        ),
        (homogeneous, {"edge_label": torch.zeros(3)}, r"edge_label has shape \(3,\); expected 240"),
        (homogeneous, {"edge_label_index": torch.zeros(4, 2)}, r"shape \(4, 2\)"),
        (heterogeneous, {}, "names the type None"),
        (heterogeneous, {"edge_label_index": ("user", "eats", "item")}, "expected one of"),
        (
            heterogeneous,
            {"edge_label_index": (("user", "eats", "cake"), torch.zeros(2, 1).long())},
            r"'cake'\); expected one of",
        ),
        (with_two_relations, {"edge_label_index": ("user", "item")}, r"'item'\); expected one of"),
        (homogeneous, {"input_id": torch.arange(3)}, r"input_id has shape \(3,\); expected 240"),
        (
            homogeneous,
            {"edge_label": torch.tensor(3.0)},
            r"edge_label has shape \(\); expected 240",
        ),
        (
            homogeneous,
            {"neg_sampling": {"mode": "binary", "dst_weight": torch.ones(3)}},
            "dst_weight has 3 entries",
        ),
    ],
)
def test_links_that_cannot_be_taken(make, given, message):
    with pytest.raises(ValueError, match=message):
        td.LinkNeighborLoader(make(), [2], **given)


def sampler_with_times(where):
    graph = td.Graph.from_pyg(with_times(homogeneous(), where), time_attr="time")
    return NeighborSampler(graph, [2])


TIMES = torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("time", "given", "error", "message"),
    [
        (TIMES, {"neighbor_sampler": whole_sampler()}, ValueError, "the graph has no times"),
        (None, {"neighbor_sampler": sampler_with_times("edges")}, ValueError, "is not given"),
        (TIMES.float(), {"time_attr": "time"}, TypeError, r"is torch\.float32 and the times"),
        (TIMES[:, None], {"time_attr": "time"}, ValueError, r"has shape \(3, 1\)"),
        (TIMES[:2], {"time_attr": "time"}, ValueError, r"has shape \(2,\); expected 3"),
        (TIMES[0], {"time_attr": "time"}, ValueError, r"has shape \(\); expected 3"),
    ],
)
def test_times_of_seeds_are_checked_when_the_loader_is_made(time, given, error, message):
    data = with_times(homogeneous(), "edges" if "time_attr" in given else "nodes")
    seeds = {"input_nodes": [0, 1, 2], "input_time": time}
    with pytest.raises(error, match=f"input_time.*{message}"):
        td.NeighborLoader(data, [2], **seeds, **given)
    seeds = {"edge_label_index": torch.zeros(2, 3).long(), "edge_label_time": time}
    with pytest.raises(error, match=f"edge_label_time.*{message}"):
        td.LinkNeighborLoader(data, [2], **seeds, **given)


def test_links_do_not_get_the_times_of_their_ends():
    data, sampler = with_times(homogeneous(), "nodes"), sampler_with_times("nodes")
    assert len(td.NeighborLoader(data, [2], neighbor_sampler=sampler)) > 0
    with pytest.raises(ValueError, match="edge_label_time is not given"):
        td.LinkNeighborLoader(data, [2], neighbor_sampler=sampler)


def as_if_on_gpu(tensor, index):
    class There(torch.Tensor):
        is_cuda = True
        device = torch.device("cuda", index)

    return tensor.as_subclass(There)


@pytest.mark.parametrize(
    ("on_gpu", "expected"),
    [((), 0), (("x",), 1), (("edge_index",), 2), (("x", "edge_index"), 2)],
)
def test_batches_are_made_where_the_data_are(on_gpu, expected, monkeypatch):
    """Edges first; otherwise `data.to(rank, "x")` is enough, as in PyG's distributed examples."""
    gpus = {"x": 1, "edge_index": 2}
    data = Data(x=torch.empty(4, 2), edge_index=torch.zeros(2, 3, dtype=torch.int64))
    for name in on_gpu:
        data[name] = as_if_on_gpu(data[name], gpus[name])
    monkeypatch.setattr(arguments.process, "cuda_usable", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert arguments.choose_device(data, None) == torch.device("cuda", expected)
    assert arguments.choose_device(data, 3) == torch.device("cuda", 3)


@pytest.mark.parametrize(
    ("rank", "gpus", "current", "warned"),
    [(3, 4, 0, True), (0, 4, 0, False), (4, 4, 0, False), (3, 4, 3, False), (3, 1, 0, False)],
)
def test_processes_that_share_the_first_gpu_are_told(
    rank, gpus, current, warned, monkeypatch, caplog
):
    monkeypatch.setattr(arguments.process, "cuda_usable", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    assert arguments.choose_device(homogeneous(), None) == torch.device("cuda", current)
    assert (f"process {rank} makes its batches on cuda:0" in caplog.text) == warned
    caplog.clear()
    arguments.choose_device(homogeneous(), 0)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["node_types", "edge_types"])
def test_attributes_may_have_the_names_of_what_a_heterogeneous_graph_has(name):
    data = homogeneous(**{name: torch.arange(NUM_NODES)})
    (batch,) = td.NeighborLoader(data, [0], batch_size=NUM_NODES)
    assert torch.equal(batch[name].cpu(), torch.arange(NUM_NODES))
    links = td.LinkNeighborLoader(data, [0], edge_label_index=torch.tensor([[1], [2]]))
    assert next(iter(links))[name].tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"data is a Data; expected a .*HeteroData"):
        td.HeteroGraph.from_pyg(data)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc], ids=str)
def test_layouts_without_rows_to_select_are_refused_at_once(layout):
    data = homogeneous()
    data.y = torch.eye(NUM_NODES).to_sparse(layout=layout)
    with pytest.raises(TypeError, match=r"y has one entry .* layout torch.sparse_cs[rc]; expected"):
        td.NeighborLoader(data, [2])


def test_unsigned_ids_are_seeds():
    data = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[1], [0]]))
    for dtype in (torch.uint16, torch.uint32, torch.uint64):
        nodes = torch.tensor([3, 0], dtype=dtype)
        (batch,) = td.NeighborLoader(data, [1], input_nodes=nodes, batch_size=2)
        assert batch.n_id.tolist() == [3, 0, 1]


def test_only_unified_tensors_of_a_graph_are_in_host_memory():
    graph = td.Graph.from_pyg(homogeneous())
    assert arguments.bytes_in_host_memory(graph) == 0
    assert arguments.bytes_in_host_memory(graph.to_unified()) == graph.nbytes
    mixed = replace(graph, indices=td.unified(graph.indices))
    assert arguments.bytes_in_host_memory(mixed) == graph.indices.nbytes
    data = with_times(heterogeneous(), "nodes")
    whole = td.HeteroGraph.from_pyg(data, time_attr="time").to_unified()
    assert arguments.bytes_in_host_memory(whole) == whole.nbytes


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (td.NeighborLoader, {"input_nodes": homogeneous().train_mask}),
        (td.NeighborLoader, {"input_nodes": [3, 1, 2], "subgraph_type": "bidirectional"}),
        (td.NeighborLoader, {"prefetch": 0}),
        (td.NeighborLoader, {"subgraph_type": "induced"}),
        (td.LinkNeighborLoader, {"neg_sampling": "binary", "edge_label": [0, 1] * 120}),
        (td.LinkNeighborLoader, {"neg_sampling": "triplet"}),
    ],
)
def test_another_default_device(kind, given, device):
    """On `meta` there is nothing to read, as there is nothing for the host to read on `cuda`."""
    data = homogeneous()
    with torch.device("meta"):
        loader = kind(data, [3, 2], batch_size=50, device=device, **given)
        devices = {batch.x.device.type for batch in [*loader, loader([0, 1])]}
    assert devices == {device.type}
