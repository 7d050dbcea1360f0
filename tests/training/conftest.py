from collections.abc import Callable

import pytest
import torch

from torch_direct.datasets import NodeDataset
from torch_direct.graph import Graph


@pytest.fixture
def make_dataset() -> Callable[..., NodeDataset]:
    """Make a graph of two communities whose noisy features say which a node belongs to."""

    def make(num_nodes: int = 120, num_edges: int = 600, seed: int = 0) -> NodeDataset:
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(num_nodes) % 2
        src = torch.randint(num_nodes, (num_edges,), generator=generator)
        dst = torch.randint(num_nodes // 2, (num_edges,), generator=generator) * 2 + y[src]
        x = torch.randn(num_nodes, 6, generator=generator)
        x[:, 0] += 1.5 * y
        nodes = torch.randperm(num_nodes, generator=generator)
        train, val, test = nodes.split([num_nodes // 2, num_nodes // 4, num_nodes // 4])
        return NodeDataset(
            name="communities",
            graph=Graph.from_edge_index(torch.stack([src, dst]), num_nodes, symmetric=True),
            x=x,
            y=y,
            train_idx=train,
            val_idx=val,
            test_idx=test,
            num_classes=2,
            metric="accuracy",
        )

    return make
