from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torch_direct.datasets import NodeDataset
from torch_direct.graph import Graph


@pytest.fixture
def real_data(shared_data: Path) -> Callable[[str], str]:
    """Return the path of a real data set by its name."""
    return lambda name: str(shared_data / name / f"{name}.npz")


@pytest.fixture
def tiny() -> Callable[..., NodeDataset]:
    """Make a data set of six nodes, with parts replaced."""

    def make(**parts) -> NodeDataset:
        dataset = NodeDataset(
            name="tiny",
            graph=Graph.from_edge_index(torch.tensor([[0, 1, 2, 5], [1, 2, 0, 3]]), 6),
            x=torch.arange(12.0).view(6, 2),
            y=torch.tensor([0, 1, 1, 0, -1, 1]),
            train_idx=torch.tensor([0, 1]),
            val_idx=torch.tensor([5]),
            test_idx=torch.tensor([2, 3]),
            num_classes=2,
            metric="accuracy",
        )
        return replace(dataset, **parts)

    return make
