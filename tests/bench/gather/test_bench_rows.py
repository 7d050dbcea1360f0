import gzip

import pytest
import torch

from torch_direct.bench.gather import rows as rows_module
from torch_direct.bench.gather.cases import POWER_LAW, REAL_GRAPHS, Case
from torch_direct.bench.gather.rows import draw_rows, has_graph
from torch_direct.errors import DatasetError


def draw(case, device, count=3, graphs=None, seed=0):
    return draw_rows(case, count, device, graphs, seed=seed)


def test_uniform_rows_differ_by_set_and_lie_in_the_table(device):
    sets = draw(Case(4, 1000, 4 * 5000, "uniform"), device)
    assert [index.shape for index in sets] == [(1000,)] * 3
    assert all(int(index.min()) >= 0 and int(index.max()) < 5000 for index in sets)
    assert not torch.equal(sets[0], sets[1])
    assert sets[0].device == device


@pytest.mark.parametrize("rows", [1, 700, 5000])
def test_sorted_rows_ascend_strictly(device, rows):
    for index in draw(Case(4, rows, 4 * 10_000, "sorted"), device):
        assert index.shape == (rows,)
        assert bool((index.diff() > 0).all())
        assert int(index[0]) >= 0
        assert int(index[-1]) < 10_000


def test_sorted_rows_are_spread_over_the_table(device):
    index = torch.cat(draw(Case(4, 2000, 4 * 100_000, "sorted"), device, count=8)).double()
    assert float(index.mean()) == pytest.approx(50_000, rel=0.05)


def test_the_seed_decides(device):
    case = Case(4, 100, 4 * 5000, "uniform")
    assert torch.equal(draw(case, device)[0], draw(case, device)[0])
    assert not torch.equal(draw(case, device)[0], draw(case, device, seed=1)[0])


def test_a_trace_is_what_the_sampler_gave(device):
    case = Case(8, None, 8 * 20_000, f"trace:{POWER_LAW}")
    for index in draw(case, device, count=2):
        assert 1024 < index.numel() < 20_000
        assert index.unique().numel() == index.numel()
        assert int(index.max()) < 20_000


@pytest.mark.parametrize("name", REAL_GRAPHS)
def test_traces_of_real_graphs(shared_data, name):
    case = Case(8, None, 8 * REAL_GRAPHS[name], f"trace:{name}")
    assert has_graph(shared_data, name)
    (index,) = draw(case, torch.device("cpu"), count=1, graphs=shared_data)
    assert 10_000 < index.numel() < REAL_GRAPHS[name]


def test_files_of_real_graphs_are_read_as_in_edges(tmp_path):
    successors = tmp_path / "successors.gz"
    successors.write_bytes(gzip.compress(b"3\n1 2 \n\n0 1 \n"))
    graph = rows_module._read_successors(successors)
    assert graph.indptr.tolist() == [0, 1, 3, 4]
    assert graph.indices.tolist() == [2, 0, 2, 0]
    edges = tmp_path / "edges.gz"
    edges.write_bytes(gzip.compress(b"3,2,u,graph\n1,2\n3,2\n"))
    graph = rows_module._read_edges(edges)
    assert graph.indptr.tolist() == [0, 1, 3, 4]
    assert sorted(graph.indices.tolist()) == [0, 1, 1, 2]


def test_a_graph_that_is_not_there(tmp_path):
    assert not has_graph(None, "cnr2000")
    assert not has_graph(tmp_path, "cnr2000")
    assert has_graph(None, POWER_LAW)
    case = Case(8, None, 8 * REAL_GRAPHS["cnr2000"], "trace:cnr2000")
    with pytest.raises(DatasetError, match="expected --graphs"):
        draw(case, torch.device("cpu"))


def test_another_graph_under_the_name(tmp_path):
    (tmp_path / "cnr2000").mkdir()
    (tmp_path / "cnr2000" / "cnr-2000.graph-txt.gz").write_bytes(gzip.compress(b"1\n0 \n"))
    case = Case(8, None, 8 * REAL_GRAPHS["cnr2000"], "trace:cnr2000")
    with pytest.raises(DatasetError, match="cnr2000 has 1 nodes; expected 325557"):
        draw(case, torch.device("cpu"), graphs=tmp_path)
