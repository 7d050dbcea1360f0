from dataclasses import replace

import pytest
import torch
from torch_geometric.nn import GATConv

from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.models import WORKLOADS, Net, Step, most_nodes

SMALL = {name: replace(workload, batch_size=4) for name, workload in WORKLOADS.items()}


def batch_of(workload, device, dtype=torch.float32):
    """A batch as a sampler gives it: a tree of two neighbours a node, with a node met twice."""
    generator = torch.Generator().manual_seed(0)
    nodes, edges, hops = [workload.batch_size], [], []
    begin, end = 0, workload.batch_size
    for _ in workload.fanout:
        dst = torch.arange(begin, end).repeat_interleave(2)
        src = torch.arange(end, end + dst.numel())
        src[-1] = 0
        hops.append(torch.stack([src, dst]))
        edges.append(dst.numel())
        nodes.append(dst.numel() - 1)
        begin, end = end, end + dst.numel() - 1
    x = torch.randn(end, 6, generator=generator).to(device, dtype)
    y = torch.randint(3, (workload.batch_size,), generator=generator).to(device)
    n_id = torch.arange(end, device=device)
    return Minibatch(x, y, n_id, torch.cat(hops, dim=1).to(device), nodes, edges, 0)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_trimmed_model_computes_the_same(name, device):
    batch = batch_of(SMALL[name], device)
    torch.manual_seed(0)
    trimmed = Net(SMALL[name], 6, 3).to(device)
    whole = Net(SMALL[name], 6, 3, trim=False).to(device)
    whole.load_state_dict(trimmed.state_dict())
    assert trimmed(batch).shape == (4, 3)
    torch.testing.assert_close(trimmed(batch), whole(batch), rtol=1e-4, atol=1e-5)


def test_attention_has_the_self_loops_that_the_layer_adds(device):
    workload = replace(SMALL["gat"], fanout=(2,))
    batch = batch_of(workload, device)
    torch.manual_seed(0)
    net = Net(workload, 6, 3).to(device)
    layer = GATConv(6, 3, heads=1).to(device)
    layer.load_state_dict(net.convs[0].state_dict())
    assert layer.add_self_loops
    # The edge from seed 0 to the last seed stays; it is no loop.
    expected = layer((batch.x, batch.x[:4]), batch.edge_index)
    torch.testing.assert_close(net(batch), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", WORKLOADS)
def test_steps_learn(name, dtype, device):
    torch.manual_seed(0)
    step = Step(SMALL[name], 6, 3, device)
    batch = batch_of(SMALL[name], device, dtype)
    losses = [float(step(batch)) for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


def test_how_large_a_batch_may_be():
    assert most_nodes(WORKLOADS["sage"]) == 1024 * (1 + 15 + 150 + 750)
    assert most_nodes(SMALL["sage-small"]) == 4 * (1 + 10 + 250)
