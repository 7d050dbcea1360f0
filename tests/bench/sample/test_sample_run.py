import os

from torch_direct.bench.outcome import Absent
from torch_direct.bench.sample import run
from torch_direct.bench.sample.cases import LARGE, SMALL, Case, Group
from torch_direct.bench.sample.run import SampleOutcome, run_group

CASE = Case((2,), batch_size=4, batches=1)


def pretend(group, options):
    """Stands in for measuring: the first graph dies after its first case."""
    assert (options.systems, options.kinds, options.rounds) == (("torch-direct",), ("uniform",), 3)
    yield Absent("pyg", "is not installed")
    yield [{"graph": group.graph.name, "fanout": "2", "batch_size": 4, "correct": True}]
    if group.graph == SMALL:
        os._exit(9)
    yield [{"graph": group.graph.name, "fanout": "2", "batch_size": 8, "correct": False}]


def test_a_graph_that_dies_is_reported_and_the_other_goes_on(monkeypatch):
    monkeypatch.setattr(run, "measure_group", pretend)
    found = SampleOutcome()
    for graph in (SMALL, LARGE):
        found.merge(run_group(Group(graph, (CASE,)), ("torch-direct",), ("uniform",), 3))
    results = found.results()
    names = ["power-law-250m", "power-law-1.6b", "power-law-1.6b"]
    assert [row["graph"] for row in results["rows"]] == names
    (failure,) = results["failures"]
    assert failure["graph"] == "power-law-250m"
    assert "exit status 9" in failure["reason"]
    assert results["absent"] == {"pyg": "is not installed"}
    assert len(results["goals"]) == 10
    assert [row["batch_size"] for row in found.wrong] == [8]
