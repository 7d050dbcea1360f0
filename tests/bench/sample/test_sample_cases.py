import torch

from torch_direct.bench.sample.cases import (
    BATCH_SIZES,
    FANOUTS,
    LARGE,
    SMALL,
    TINY,
    graph_sizes,
    select_groups,
)
from torch_direct.bench.sample.goals import BATCH_SIZE, FANOUT
from torch_direct.bench.sample.graphs import LAST_TIME, destinations, draw_times, draw_weights
from torch_direct.graph import Graph

JUDGED = (FANOUT, BATCH_SIZE)


def test_a_full_run_has_every_fanout_and_batch_size_on_both_graphs():
    groups = select_groups(graph_sizes(gpu=True), quick=False)
    assert [group.graph for group in groups] == [SMALL, LARGE]
    for group in groups:
        found = {(case.fanout, case.batch_size) for case in group.cases}
        assert found == {(fanout, size) for fanout in FANOUTS for size in BATCH_SIZES}
        judged = [case for case in group.cases if (case.fanout_text, case.batch_size) == JUDGED]
        assert len(judged) == 1


def test_a_quick_run_has_the_case_that_goals_are_about():
    (group,) = select_groups(graph_sizes(gpu=True), quick=True)
    (case,) = group.cases
    assert group.graph == SMALL
    assert (case.fanout_text, case.batch_size) == JUDGED


def test_without_a_gpu_the_graph_is_tiny():
    assert graph_sizes(gpu=False) == (TINY,)
    assert all(
        case.batch_size < TINY.num_nodes for case in select_groups([TINY], quick=False)[0].cases
    )


def graph(device):
    edges = torch.tensor([[1, 2, 3, 0, 1], [0, 0, 0, 2, 3]])
    return Graph.from_edge_index(edges, 5).to(device)


def test_destinations_of_edges(device):
    ((places, dst, first, degree),) = destinations(graph(device))
    assert places == slice(0, 5)
    assert dst.tolist() == [0, 0, 0, 2, 3]
    assert first.tolist() == [0, 0, 0, 3, 4]
    assert degree.tolist() == [3, 3, 3, 1, 1]


def test_destinations_come_in_runs(device, monkeypatch):
    monkeypatch.setattr("torch_direct.bench.sample.graphs._CHUNK", 2)
    found = list(destinations(graph(device)))
    assert [places for places, *_ in found] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert torch.cat([dst for _, dst, *_ in found]).tolist() == [0, 0, 0, 2, 3]


def test_weights_and_times_are_fit_for_a_graph(device):
    drawn = graph(device)
    weight, time = draw_weights(drawn), draw_times(drawn)
    assert 1 / 16 <= float(weight.min()) <= float(weight.max()) <= 1
    assert 0 <= int(time.min()) <= int(time.max()) < LAST_TIME
    Graph.from_csc(drawn.indptr.cpu(), drawn.indices.cpu(), edge_time=time.cpu()).validate()
    Graph.from_csc(drawn.indptr.cpu(), drawn.indices.cpu(), weight=weight.cpu()).validate()
