import torch

from torch_direct.bench.gather import wholegraph
from torch_direct.bench.gather.group import _make_reads
from torch_direct.tensor.create import unified


def test_reads_the_bytes_of_the_table_and_keeps_the_threads(pretended_wholegraph):
    table = unified(torch.randn(100, 3), device="cpu")
    torch.set_num_threads(2)
    reader, seconds = wholegraph.copy_into_wholegraph(table.host)
    assert torch.get_num_threads() == 2
    assert seconds >= 0
    (read,) = _make_reads(table, [torch.tensor([7, 3, 7])])
    assert torch.equal(reader(read), table.host[[7, 3, 7]])
