import multiprocessing
from types import SimpleNamespace

import pytest
import torch

from torch_direct.bench.outcome import Absent
from torch_direct.bench.sample import group as group_module
from torch_direct.bench.sample import pyg
from torch_direct.bench.sample.cases import KINDS, TINY, UNIFORM, WEIGHTED, Case, Group
from torch_direct.bench.sample.check import check_batch
from torch_direct.bench.sample.graphs import make_graph
from torch_direct.bench.sample.group import Options, draw_seeds, measure_group
from torch_direct.bench.sample.systems import (
    CPU,
    OURS,
    PYG,
    SYSTEMS,
    WHOLEGRAPH,
    _our_contender,
)
from torch_direct.bench.sample.wholegraph import wholegraph_contender
from torch_direct.graph import Graph
from torch_direct.sampler.neighbor import NeighborSampler

CASE = Case((3, 2), batch_size=20, batches=2)
FIELDS = {
    *("system", "graph", "nodes", "edges", "placement", "kind", "fanout", "batch_size"),
    *("ms_per_batch", "edges_per_s", "correct", "edges_per_batch", "ms_q1", "ms_q3"),
    *("cpu_ms_per_batch", "rounds"),
}


def options(systems=(OURS,), kinds=(UNIFORM,)):
    return Options(systems, kinds, rounds=2, seconds_each=1.0, workers=2)


def measure(options, case=CASE):
    events = list(measure_group(Group(TINY, (case,)), options))
    (rows,) = (event for event in events if isinstance(event, list))
    return rows, [event for event in events if isinstance(event, Absent)]


def placements():
    return ["unified", "gpu"] if torch.cuda.is_available() else ["cpu"]


def test_measures_our_sampler():
    rows, absent = measure(options())
    assert absent == []
    assert [row["placement"] for row in rows] == placements()
    for row in rows:
        assert row.keys() == FIELDS
        assert (row["system"], row["kind"], row["fanout"]) == (OURS, "uniform", "3,2")
        assert (row["graph"], row["nodes"], row["correct"]) == ("power-law-tiny", 2000, True)
        assert row["ms_q1"] <= row["ms_per_batch"] <= row["ms_q3"]
        assert row["edges_per_s"] == pytest.approx(
            row["edges_per_batch"] / row["ms_per_batch"] * 1000, rel=0.05
        )
        assert 20 < row["edges_per_batch"] <= 20 * 3 * (1 + 2)
        assert row["cpu_ms_per_batch"] > 0
        assert row["rounds"] == 2


def test_measures_every_kind():
    rows, _ = measure(options(kinds=KINDS))
    assert [row["kind"] for row in rows] == [kind for kind in KINDS for _ in placements()]
    assert all(row["correct"] for row in rows), rows


def test_weights_decide_what_is_drawn(device):
    """Of ten in-edges of each node, one outweighs all others."""
    nodes = 100
    sources = torch.arange(10).repeat(nodes)
    weight = torch.where(sources == 3, 1e6, 1e-6).float()
    graph = Graph(torch.arange(nodes + 1) * 10, sources, weight=weight).to(device)
    contender = _our_contender(graph, CPU, WEIGHTED)
    case = Case((1,), batch_size=20, batches=2)
    seeds = draw_seeds(graph, case, 1)
    with contender.start(case, seeds) as batches:
        for batch in batches(0):
            assert set(batch.nodes[batch.edge_index[0]].tolist()) == {3}


def test_large_batches_are_sampled_uniformly_only():
    large = Case((1,), batch_size=1500, batches=1)
    rows, _ = measure(options(kinds=KINDS), large)
    assert {row["kind"] for row in rows} == {UNIFORM}


def short_of_an_edge(self, *arguments, **named):
    found = REAL_SAMPLE(self, *arguments, **named)
    return SimpleNamespace(n_id=found.n_id, edge_index=found.edge_index[:, :-1], batch=None)


def raises(self, *arguments, **named):
    raise RuntimeError("out of luck")


REAL_SAMPLE = NeighborSampler.sample


@pytest.mark.parametrize(
    ("broken", "words"),
    [(short_of_an_edge, "hop 2: "), (raises, "RuntimeError: out of luck")],
)
def test_a_wrong_batch_gets_no_speed(monkeypatch, broken, words):
    monkeypatch.setattr(NeighborSampler, "sample", broken)
    rows, _ = measure(options())
    for row in rows:
        assert (row["correct"], row["ms_per_batch"], row["edges_per_s"]) == (False, None, None)
        assert row["error"].startswith(words)
        assert "rounds" not in row


def test_seeds_are_distinct_in_a_batch_and_others_in_the_next(device):
    graph = Graph(torch.arange(101), torch.arange(100)).to(device)
    seeds = draw_seeds(graph, CASE, 3)
    assert seeds.nodes.shape == seeds.times.shape == (3, 2, 20)
    assert seeds.nodes.device == device
    batches = seeds.nodes.flatten(0, 1)
    assert all(batch.unique().numel() == 20 for batch in batches)
    assert batches[:4].unique().numel() == 80
    assert 0 <= int(batches.min()) <= int(batches.max()) < 100


def test_absent_systems_say_why(monkeypatch):
    monkeypatch.setattr(pyg, "why_absent", lambda: "is not there")
    monkeypatch.setattr(group_module.wholegraph, "why_absent", lambda: None)

    def refuse(graph):
        raise MemoryError("too little")

    monkeypatch.setattr(group_module, "wholegraph_contender", refuse)
    rows, absent = measure(options(systems=SYSTEMS))
    assert {row["system"] for row in rows} == {OURS}
    assert absent == [
        Absent(WHOLEGRAPH, "cannot be set up: too little"),
        Absent(PYG, "is not there"),
    ]


def test_wholegraph_samples_the_same_graph(pretended_wholegraph):
    graph = make_graph(TINY).to("cpu")
    seeds = draw_seeds(graph, CASE, 2)
    contender = wholegraph_contender(graph)
    with contender.start(CASE, seeds) as batches:
        first, second = batches(1)
    check_batch(graph, first, seeds.nodes[1, 0], CASE.fanout)
    check_batch(graph, second, seeds.nodes[1, 1], CASE.fanout)
    assert first.num_edges == sum(part.shape[1] for part in first.edge_index) > 20


def our_output(sampler, seed, seed_time=None):
    """What PyG's sampler gives, drawn by ours."""
    from torch_geometric.sampler import SamplerOutput

    graph = Graph(sampler.colptr, sampler.row)
    found = NeighborSampler(graph, sampler.num_neighbors.values).sample(seed)
    return SamplerOutput(found.n_id, *found.edge_index, found.e_id)


def check_pyg():
    graph = make_graph(TINY)
    seeds = draw_seeds(graph, CASE, 3)
    with pyg.pyg_contender(graph, workers=2).start(CASE, seeds) as batches:
        for number in (2, 0, 2):
            found = list(batches(number))
            assert len(found) == CASE.batches
            for batch, nodes in zip(found, seeds.nodes[number], strict=True):
                check_batch(graph, batch, nodes, CASE.fanout)
        workers = multiprocessing.active_children()
        assert len(workers) >= 2
    assert not {worker.pid for worker in multiprocessing.active_children()} & {
        worker.pid for worker in workers
    }


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pyg_samples_the_same_graph_in_workers(monkeypatch):
    from torch_geometric import typing
    from torch_geometric.sampler import NeighborSampler as PygSampler

    monkeypatch.setattr(typing, "WITH_PYG_LIB", True)
    monkeypatch.setattr(PygSampler, "_sample", our_output)
    assert pyg.why_absent() is None
    check_pyg()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_cpu_time_of_workers_is_not_known(monkeypatch):
    from torch_geometric import typing
    from torch_geometric.sampler import NeighborSampler as PygSampler

    monkeypatch.setattr(typing, "WITH_PYG_LIB", True)
    monkeypatch.setattr(PygSampler, "_sample", our_output)
    (row,), absent = measure(options(systems=(PYG,)))
    assert absent == []
    assert (row["system"], row["correct"], row["cpu_ms_per_batch"]) == (PYG, True, None)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pyg_itself():
    pytest.importorskip("pyg_lib", reason="needs pyg-lib, which has no wheel on PyPI")
    check_pyg()


def test_pyg_without_a_compiled_sampler_is_absent(monkeypatch):
    from torch_geometric import typing

    monkeypatch.setattr(typing, "WITH_PYG_LIB", False)
    monkeypatch.setattr(typing, "WITH_TORCH_SPARSE", False)
    assert "needs pyg-lib or torch-sparse" in pyg.why_absent()
