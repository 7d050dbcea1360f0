import sys
import types

import pytest
import torch

from torch_direct.bench.gather import wholegraph
from torch_direct.bench.gather.group import _make_reads
from torch_direct.tensor.create import unified


class PretendedTensor:
    """What WholeGraph's tensor does, as far as the benchmark uses it."""

    def __init__(self, communicator, kind, location, shape, dtype, strides):
        assert (communicator, kind, location, strides) == ("everyone", "continuous", "cpu", None)
        self.memory = torch.zeros(shape, dtype=dtype)

    def get_local_tensor(self, *, host_view):
        assert host_view
        return self.memory, 0

    def gather(self, index):
        return self.memory[index]


def pretended_set_up(rank, ranks, local_rank, local_ranks):
    assert (rank, ranks, local_rank, local_ranks) == (0, 1, 0, 1)
    torch.set_num_threads(1)
    return "everyone", "node"


@pytest.fixture
def pretended(monkeypatch):
    """A stand-in for the library, which changes what the library changes."""
    initialize = types.ModuleType("pylibwholegraph.torch.initialize")
    initialize.init_torch_env_and_create_wm_comm = pretended_set_up
    tensor = types.ModuleType("pylibwholegraph.torch.tensor")
    tensor.create_wholememory_tensor = PretendedTensor
    for name in ("pylibwholegraph", "pylibwholegraph.torch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for module in (initialize, tensor):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "before")


def test_reads_the_bytes_of_the_table_and_keeps_the_threads(pretended):
    table = unified(torch.randn(100, 3), device="cpu")
    torch.set_num_threads(2)
    reader, seconds = wholegraph.copy_into_wholegraph(table.host)
    assert torch.get_num_threads() == 2
    assert seconds >= 0
    (read,) = _make_reads(table, [torch.tensor([7, 3, 7])])
    assert torch.equal(reader(read), table.host[[7, 3, 7]])


def test_says_why_it_is_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert wholegraph.why_absent() == "needs a GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "pylibwholegraph", None)
    assert "cannot be imported" in wholegraph.why_absent()


@pytest.mark.gpu
def test_the_library_itself_where_it_is_installed():
    pytest.importorskip("pylibwholegraph.torch.tensor")
    assert wholegraph.why_absent() is None
