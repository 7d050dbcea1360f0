import sys
import types
from collections.abc import Iterator

import pytest
import torch

from torch_direct.bench.gather.group import Options


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Measuring takes all cores; the tests after it get back what they had."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def options() -> Options:
    """Two rounds of everything that needs no other library."""
    systems = ("limit", "torch-direct", "torch-direct sorted", "index_select")
    return Options((*systems, "cpu-pinned", "cpu-pageable"), 2, 1.0, None)


class PretendedTensor:
    """What WholeGraph's tensor does, as far as the benchmarks use it."""

    def __init__(self, communicator, kind, location, shape, dtype, strides):
        assert (communicator, kind, location, strides) == ("everyone", "continuous", "cpu", None)
        self.memory = torch.zeros(shape, dtype=dtype)

    def get_local_tensor(self, *, host_view):
        assert host_view
        return self.memory, 0

    def gather(self, index):
        return self.memory[index]


class PretendedGraph:
    """What WholeGraph's graph does; it always draws the first in-edges."""

    def set_csr_graph(self, indptr, indices):
        assert indptr.memory.dtype == torch.int64
        self.indptr, self.indices = indptr.memory, indices.memory

    def multilayer_sample_without_replacement(self, nodes, fanout):
        assert nodes.dtype == self.indices.dtype
        targets, edges = [nodes], []
        for k in fanout:
            known = targets[0].tolist()
            place = {node: i for i, node in enumerate(known)}
            pairs = []
            for i, node in enumerate(known):
                sources = self.indices[self.indptr[node] : self.indptr[node + 1]][:k].tolist()
                pairs += [(place.setdefault(source, len(place)), i) for source in sources]
            targets.insert(0, torch.tensor(list(place), dtype=nodes.dtype))
            edges.insert(0, torch.tensor(pairs, dtype=torch.int32).reshape(-1, 2).T)
        return targets, edges, None, None


def pretended_set_up(rank, ranks, local_rank, local_ranks):
    assert (rank, ranks, local_rank, local_ranks) == (0, 1, 0, 1)
    torch.set_num_threads(1)
    return "everyone", "node"


@pytest.fixture
def pretended_wholegraph(monkeypatch):
    """A stand-in for the library, which changes what the library changes."""
    parts = {
        "initialize": {"init_torch_env_and_create_wm_comm": pretended_set_up},
        "tensor": {"create_wholememory_tensor": PretendedTensor},
        "graph_structure": {"GraphStructure": PretendedGraph},
    }
    for name in ("pylibwholegraph", "pylibwholegraph.torch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name, contents in parts.items():
        module = types.ModuleType(f"pylibwholegraph.torch.{name}")
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "before")
