from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import torch_direct as td
from torch_direct.datasets import SyntheticSpec, open_dataset, synthetic
from torch_direct.datasets.synthetic import make_synthetic
from torch_direct.errors import HostMemoryError
from torch_direct.memory import pages
from torch_direct.memory.host_memory import HOST_MEMORY

SMALL = SyntheticSpec(num_nodes=2003, avg_degree=12, num_features=16, num_classes=5)


def parts(dataset):
    graph = dataset.graph
    splits = (dataset.train_idx, dataset.val_idx, dataset.test_idx)
    return (graph.indptr, graph.indices, dataset.x, dataset.y, *splits)


def destinations(graph):
    return torch.arange(graph.num_nodes).repeat_interleave(graph.indptr.diff())


def test_is_a_valid_data_set_of_the_size_asked_for():
    dataset = open_dataset("synthetic", synthetic=SMALL)
    dataset.validate()
    assert dataset.x.shape == (2003, 16)
    assert dataset.graph.indices.dtype == torch.int32
    assert abs(dataset.graph.num_edges / (2003 * 12) - 1) < 0.06
    assert torch.bincount(dataset.y).tolist() == [401, 401, 401, 400, 400]
    assert [len(p) for p in parts(dataset)[-3:]] == [1001, 500, 500]


def test_seed_decides_everything():
    first, again, other = (make_synthetic(SMALL, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    assert not torch.equal(first.x, other.x)
    assert not torch.equal(first.y, other.y)
    assert not torch.equal(first.graph.indptr, other.graph.indptr)
    assert not torch.equal(first.train_idx, other.train_idx)


@pytest.mark.parametrize("homophily", [0.0, 0.5, 1.0])
def test_edges_stay_in_the_community_as_often_as_asked(homophily):
    dataset = make_synthetic(replace(SMALL, homophily=homophily))
    same = dataset.y[dataset.graph.indices.long()] == dataset.y[destinations(dataset.graph)]
    # Four standard deviations of a mean of 24,000 coins at most.
    assert abs(same.double().mean().item() - homophily) < 0.013


def test_degrees_follow_the_power_law_both_ways():
    spec = SyntheticSpec(num_nodes=50_000, avg_degree=10, num_features=1, exponent=2.5)
    graph = make_synthetic(spec).graph
    incoming = graph.indptr.diff()
    outgoing = torch.bincount(graph.indices.long(), minlength=graph.num_nodes)
    for degree in (incoming, outgoing):
        ordered = degree.sort(descending=True).values.double()
        # The node of rank r has about r ** (-1 / (exponent - 1)) of the largest degree.
        slope = (ordered[2000] / ordered[20]).log() / torch.tensor(2000 / 20).log()
        assert abs(slope.item() + 2 / 3) < 0.06


def test_shared_memory_where_asked():
    dataset = make_synthetic(SMALL, shared=True)
    for tensor in (dataset.x, *dataset.graph.tensors().values()):
        assert td.is_unified(tensor)
        assert tensor.is_shared()


def test_splits_hold_no_more_memory_than_they_need():
    dataset = make_synthetic(SMALL)
    for index in (dataset.train_idx, dataset.val_idx, dataset.test_idx):
        assert index.untyped_storage().nbytes() == index.nbytes


def test_no_node_has_more_in_edges_than_there_are_nodes():
    hubs = SyntheticSpec(num_nodes=100, num_classes=2, avg_degree=90, exponent=2.1)
    assert make_synthetic(hubs).graph.indptr.diff().max() == 100


def test_noise_and_centres():
    noiseless = make_synthetic(replace(SMALL, noise=0.0))
    assert torch.allclose(noiseless.x.norm(dim=1), torch.ones(2003))
    assert torch.unique(noiseless.x, dim=0).size(0) == 5
    noisy = make_synthetic(replace(SMALL, noise=0.7))
    assert abs((noisy.x - noiseless.x).std().item() - 0.7) < 0.02


def test_chunks_cover_everything_once(monkeypatch):
    monkeypatch.setattr(synthetic, "_CHUNK", 1000)
    dataset = make_synthetic(replace(SMALL, homophily=1.0))
    dataset.validate()
    assert (dataset.y[dataset.graph.indices.long()] == dataset.y[destinations(dataset.graph)]).all()
    centres = torch.stack([dataset.x[dataset.y == c].mean(0) for c in range(5)])
    assert ((dataset.x - centres[dataset.y]).std(dim=1) > 0.2).all()
    # Chunks must not repeat each other's random numbers.
    assert torch.unique(dataset.x, dim=0).size(0) == 2003


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype(dtype):
    assert make_synthetic(replace(SMALL, dtype=dtype)).x.dtype == dtype


def test_neighbours_say_more_than_features_and_neither_says_all():
    """Nearest centre on a node's own features, and on the mean over its neighbours and itself."""
    dataset = open_dataset("synthetic")
    graph, y, x = dataset.graph, dataset.y, dataset.x
    summed = x.clone().index_add_(0, destinations(graph), x[graph.indices.long()])
    pooled = summed / (graph.indptr.diff() + 1)[:, None]
    accuracy = []
    for features in (x, pooled):
        centres = torch.stack([features[y == c].mean(0) for c in range(dataset.num_classes)])
        guess = torch.cdist(features, centres).argmin(dim=1)
        accuracy.append((guess == y)[dataset.test_idx].double().mean().item())
    assert 0.4 < accuracy[0] < 0.65
    assert accuracy[0] + 0.1 < accuracy[1] < 0.95


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; expected at least 2"),
        ({"num_nodes": 10}, "num_nodes is 10; expected from 32"),
        ({"num_nodes": 2**31}, "num_nodes is 2147483648"),
        ({"avg_degree": -1}, "avg_degree is -1"),
        ({"num_features": 0}, "num_features is 0"),
        ({"homophily": 1.5}, "homophily is 1.5; expected from 0 to 1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"exponent": 2.0}, "exponent is 2.0; expected above 2"),
        ({"dtype": torch.int32}, "dtype is torch.int32; expected a floating point type"),
    ],
)
def test_spec_refuses(value, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSpec(**value)


def test_what_does_not_fit_is_refused_before_work_begins(monkeypatch):
    monkeypatch.setattr(synthetic, "_Maker", None)
    # 64 features of 4 bytes, 15 sources of 4, a label and an end of 8 each.
    needed = 30_000_000 * (64 * 4 + 15 * 4 + 2 * 8)
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", str(needed - 1))
    with pytest.raises(
        HostMemoryError,
        match=r"of 30,000,000 nodes \(--nodes\), 64 features .* in-degree 15 .*: 9\.28 GiB of host",
    ):
        make_synthetic(SyntheticSpec(num_nodes=30_000_000, num_features=64))


def test_memory_that_waits_for_reuse_counts_as_free(monkeypatch):
    free = [0]
    monkeypatch.setattr(pages, "available_memory", lambda: free[0])
    monkeypatch.setattr(HOST_MEMORY, "empty_cache", lambda: free.__setitem__(0, 2**30))
    make_synthetic(SMALL).validate()


@pytest.mark.gpu
def test_large_tensors_are_unified_on_a_gpu_machine(monkeypatch):
    monkeypatch.setattr(synthetic, "_UNIFIED_FROM_BYTES", 1)
    dataset = make_synthetic(SMALL)
    assert dataset.x.is_cuda
    assert dataset.graph.indices.is_cuda
    dataset.validate()
