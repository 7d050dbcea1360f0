"""The models, the same for all systems, and one step of training them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_direct.bench.train.batch import Minibatch

_LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Workload:
    """A model, and how its batches are drawn."""

    name: str
    layer: str
    """PyG's: `"sage"` or `"gat"`."""
    hidden: int
    """Features between layers, by head."""
    heads: int
    """Of attention; the last layer has one."""
    fanout: tuple[int, ...]
    """Of each layer, nearest the seeds first."""
    batch_size: int


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("sage", "sage", 256, 1, (15, 10, 5), 1024),
        Workload("gat", "gat", 64, 4, (15, 10, 5), 1024),
        Workload("sage-small", "sage", 16, 1, (10, 25), 1000),
    )
}
"""By name; the last is the one of PyTorch-Direct's own example."""


class Net(nn.Module):
    """PyG's layers, each computing what the layers after it read.

    `trim_to_layer` leaves the nodes of the last hop out of the layers after the first. Here the
    targets of a layer, too, are only those that the next one reads.
    """

    def __init__(
        self, workload: Workload, num_features: int, num_classes: int, *, trim: bool = True
    ) -> None:
        """Build it on the CPU.

        Args:
            workload: Which.
            num_features: Of a node.
            num_classes: Of the labels.
            trim: False computes every layer for all nodes of the batch.
        """
        super().__init__()
        self.trim = trim
        self.self_loops = workload.layer == "gat"
        layers = len(workload.fanout)
        sizes = [num_features, *[workload.hidden * workload.heads] * (layers - 1)]
        outs = [*[workload.hidden] * (layers - 1), num_classes]
        heads = [*[workload.heads] * (layers - 1), 1]
        self.convs = nn.ModuleList(
            _layer(workload.layer, *arguments) for arguments in zip(sizes, outs, heads, strict=True)
        )

    def forward(self, batch: Minibatch) -> Tensor:
        """Return the logits of the seeds, float32 `[batch_size, num_classes]`."""
        x = batch.x.float()
        last = len(self.convs) - 1
        for layer, conv in enumerate(self.convs):
            targets, edge_index = x.size(0), batch.edge_index
            if self.trim:
                targets = sum(batch.num_sampled_nodes[: last + 1 - layer])
                edge_index = edge_index[:, : sum(batch.num_sampled_edges[: last + 1 - layer])]
            if self.self_loops:
                # As the layer adds them, but without a look, which the host would wait for, at
                # which are there.
                loop = torch.arange(targets, device=x.device).expand(2, -1)
                edge_index = torch.cat([edge_index, loop], dim=1)
            x = conv((x, x[:targets]), edge_index, size=(x.size(0), targets))
            if layer < last:
                x = F.relu(x)
        return x[: batch.y.numel()]


class Step:
    """One step of training: forward, backward, and Adam."""

    def __init__(
        self,
        workload: Workload,
        num_features: int,
        num_classes: int,
        device: torch.device,
        *,
        trim: bool = True,
    ) -> None:
        """Build the model; see `Net`."""
        self.model = Net(workload, num_features, num_classes, trim=trim).to(device)
        self._optimizer = torch.optim.Adam(
            self.model.parameters(), lr=_LEARNING_RATE, fused=device.type == "cuda"
        )

    def __call__(self, batch: Minibatch) -> Tensor:
        """Train on a batch, on the current stream, without waiting for it.

        Returns:
            The loss, a tensor of no dimension.
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(batch), batch.y)
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def most_nodes(workload: Workload) -> int:
    """Return how many nodes a batch has at most."""
    sizes = [workload.batch_size]
    for k in workload.fanout:
        sizes.append(sizes[-1] * k)
    return sum(sizes)


def _layer(kind: str, num_in: int, num_out: int, heads: int) -> Any:
    from torch_geometric.nn import GATConv, SAGEConv

    if kind == "gat":
        return GATConv(num_in, num_out, heads=heads, add_self_loops=False)
    return SAGEConv(num_in, num_out, aggr="mean")
