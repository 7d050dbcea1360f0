import multiprocessing
import time
from dataclasses import replace

import pytest
import torch

from torch_direct.bench.outcome import Absent
from torch_direct.bench.train import ours
from torch_direct.bench.train import pyg as pyg_module
from torch_direct.bench.train.data import load_data
from torch_direct.bench.train.goals import GRAPH_IN_GPU, IN_GPU
from torch_direct.bench.train.graphs import TINY
from torch_direct.bench.train.models import WORKLOADS, most_nodes
from torch_direct.bench.train.pyg import stock_system, strong_system
from torch_direct.bench.train.system import PAGEABLE, TRANSFER, Case
from torch_direct.bench.train.systems import OURS, STOCK, STRONG, SYSTEMS, TWO_LINES
from torch_direct.errors import HostMemoryError
from torch_direct.tensor.create import is_unified

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

WORKLOAD = replace(WORKLOADS["sage"], fanout=(4, 3), batch_size=10)
WITH_WORKERS = (STOCK, STRONG, TWO_LINES)


@pytest.fixture(scope="module")
def data():
    return load_data(TINY, None)


@pytest.fixture(scope="module")
def half(data):
    return replace(data, x=load_data(replace(TINY, dtype=torch.float16), None).x)


@pytest.fixture
def case(data):
    return Case(WORKLOAD, data.train_nodes, workers=2)


def start(name, data):
    found = SYSTEMS[name](data)
    if isinstance(found, Absent):
        pytest.skip(f"{name} {found.reason}")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", SYSTEMS)
def test_gives_the_batches_of_the_numbers(name, dtype, data, half, case):
    data = data if dtype == torch.float32 else half
    with start(name, data)(case) as ready:
        assert ready.lead >= 1
        assert ready.workers == (2 if name in WITH_WORKERS else None)
        for numbers in (range(2), range(5, 10), range(2, 3)):
            batches = list(ready.batches(numbers))
            assert len(batches) == len(numbers)
            for number, batch in zip(numbers, batches, strict=True):
                check(batch, data, case.seeds(number), crosses=name != IN_GPU)


def check(batch, data, seeds, *, crosses):
    ids = batch.n_id.cpu()
    assert ids[:10].tolist() == seeds.tolist()
    assert batch.x.device == batch.y.device == batch.edge_index.device == data.device
    assert torch.equal(batch.x.cpu(), data.x.host[ids])
    assert torch.equal(batch.y.cpu(), data.y.host[seeds])
    assert len(batch.num_sampled_nodes) == 3
    assert sum(batch.num_sampled_nodes) == ids.numel()
    assert batch.edge_index.dtype == torch.int64
    assert batch.edge_index.shape == (2, sum(batch.num_sampled_edges))
    assert (batch.link_bytes >= batch.x.nbytes) == crosses
    graph = data.graph.to("cpu")
    for source, target in ids[batch.edge_index.cpu()].T.tolist():
        assert source in graph.indices[graph.indptr[target] : graph.indptr[target + 1]]


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_alone(name, data, case):
    with start(name, data)(case) as ready:
        for numbers in (range(3), range(4, 6)):
            for number, draw in zip(numbers, ready.sample(numbers), strict=True):
                assert draw.n_id[:10].tolist() == case.seeds(number).tolist()
                assert getattr(draw, "x", None) is None


@pytest.mark.parametrize("name", SYSTEMS)
def test_transfers_alone(name, data, case):
    ids = torch.tensor([5, 3, 3, 599, 0])
    with start(name, data)(case) as ready:
        assert set(ready.transfers) == {TRANSFER, *({PAGEABLE} if name == STOCK else ())}
        for transfer in ready.transfers.values():
            rows = transfer(ids, ids.to(data.device))
            assert rows.device == data.device
            assert torch.equal(rows.cpu(), data.x.host[ids])


def test_the_cpu_at_its_strongest_transfers_with_both_buffers(data, case, monkeypatch):
    monkeypatch.setattr("torch_geometric.typing.WITH_PYG_LIB", True)
    monkeypatch.setattr(pyg_module, "_sampler", lambda data, case: None)
    # Many, so that a buffer that is filled again too early shows.
    wanted = [torch.randint(600, (100,)) for _ in range(20)]
    with strong_system(data)(case) as ready:
        rows = [ready.transfers[TRANSFER](ids, ids.to(data.device)) for ids in wanted]
    for ids, found in zip(wanted, rows, strict=True):
        assert torch.equal(found.cpu(), data.x.host[ids])


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_workers_rest_between_blocks_and_leave_in_the_end(name, data, case):
    before = set(multiprocessing.active_children())
    with start(name, data)(case) as ready:
        list(ready.batches(range(4)))
        working = set(multiprocessing.active_children()) - before
        assert len(working) == 2
        list(ready.batches(range(4)))
        assert set(multiprocessing.active_children()) - before == working
    deadline = time.monotonic() + 10
    while working & set(multiprocessing.active_children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not working & set(multiprocessing.active_children())


def test_the_graph_is_not_copied(data, case):
    start(STOCK, data)
    sampler = pyg_module._sampler(data, case)
    assert sampler.colptr.data_ptr() == data.graph.to("cpu").indptr.data_ptr()
    assert sampler.row.data_ptr() == data.graph.to("cpu").indices.data_ptr()


def test_pyg_without_its_sampler_is_absent(data, monkeypatch):
    monkeypatch.setattr("torch_geometric.typing.WITH_PYG_LIB", False)
    assert stock_system(data) == Absent(
        STOCK, "needs pyg-lib, whose sampler takes the graph in int32"
    )


def test_workers_make_fewer_batches_in_advance_where_they_would_fill_memory(
    data, case, monkeypatch
):
    assert pyg_module._prefetch_factor(data, case) == 2
    with start(STOCK, data)(case) as ready:
        assert (ready.lead, ready.tail) == (16, 2 * case.workers)
    monkeypatch.setattr(pyg_module, "available_memory", lambda: 4 * bytes_of_batches(data, case))
    assert pyg_module._prefetch_factor(data, case) == 1
    with start(STOCK, data)(case) as ready:
        assert ready.tail == case.workers


def test_workers_whose_batches_would_not_fit_into_memory_do_not_start(data, case, monkeypatch):
    monkeypatch.setattr(pyg_module, "_kept_pinned_bytes", lambda device: 0)
    monkeypatch.setattr(pyg_module, "available_memory", lambda: 2 * bytes_of_batches(data, case))
    with (
        pytest.raises(HostMemoryError, match=r"2 workers may need .* take fewer workers"),
        start(STOCK, data)(case),
    ):
        pass


def test_memory_that_batches_were_pinned_in_before_counts_as_free(data, case, monkeypatch):
    kept = 2 * bytes_of_batches(data, case)
    monkeypatch.setattr(type(data), "device", torch.device("cuda"))
    monkeypatch.setattr(pyg_module, "available_memory", lambda: kept)
    stats = {"allocated_bytes.current": 0}
    monkeypatch.setattr("torch.cuda.memory.host_memory_stats", lambda: stats)
    with pytest.raises(HostMemoryError):
        pyg_module._prefetch_factor(data, case)
    stats["allocated_bytes.current"] = kept
    assert pyg_module._prefetch_factor(data, case) == 1


@pytest.mark.gpu
def test_pinned_memory_stays_with_torch(data):
    torch.empty(1 << 20, dtype=torch.uint8).pin_memory()
    assert pyg_module._kept_pinned_bytes(data.device) >= 1 << 20


def bytes_of_batches(data, case):
    """Features of the largest batches, one for each worker."""
    return case.workers * most_nodes(case.workload) * data.x.shape[1] * data.x.element_size()


@pytest.mark.parametrize("name", [GRAPH_IN_GPU, IN_GPU])
def test_what_does_not_fit_into_gpu_memory_is_absent(data, monkeypatch, name):
    found = SYSTEMS[name](data)
    if data.device.type == "cpu":
        assert found == Absent(name, "needs a GPU")
        return
    assert not isinstance(found, Absent)
    monkeypatch.setattr(ours, "_KEPT_FREE", 1 << 50)
    assert "GB of memory" in SYSTEMS[name](data).reason


def test_a_copy_that_does_not_fit_beside_what_others_have_is_absent(monkeypatch):
    def copied():
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * 10**9, 80 * 10**9))
    found = ours._if_it_fits(IN_GPU, 7 * 10**9, torch.device("cuda"), copied)
    assert found == Absent(IN_GPU, "takes 7.0 GB; 5.0 GB of GPU memory are free")


def test_a_graph_is_copied_to_the_gpu_once(data):
    assert data.graph_on_device is data.graph_on_device
    assert data.graph_on_device.indices.device == data.device
    assert not is_unified(data.graph_on_device.indices)


@pytest.mark.parametrize("name", [OURS, GRAPH_IN_GPU, IN_GPU])
def test_our_loader_counts_what_crosses_the_link(name, data, case):
    with start(name, data)(case) as ready:
        (batch,) = ready.batches(range(1))
    rows = batch.x.nbytes + 8 * batch.n_id.numel()
    drawn = 4 * batch.edge_index.shape[1]
    bounds = 8 * sum(batch.num_sampled_nodes[:-1])
    crosses = {OURS: rows + drawn + bounds, GRAPH_IN_GPU: rows, IN_GPU: 0}
    assert batch.link_bytes == crosses[name]
