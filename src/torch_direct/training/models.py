"""GraphSAGE, GCN and GAT on sampled neighbourhoods, in PyG's layers.

Layer `k` of `L` (from 0) only computes what the layers after it read: its targets are the nodes
within `L - 1 - k` hops of the seeds and its edges those sampled in the first `L - k` hops, both of
which come first in a batch. This is what `torch_geometric.utils.trim_to_layer` does, with the
targets trimmed as well as the sources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SAGEConv
from typing_extensions import override

from torch_direct.training.config import TrainConfig


class SampledGNN(nn.Module, ABC):
    """A graph neural network that gives the seed nodes of a batch one logit for every class."""

    needs_degree = False
    """Whether `forward` reads the degrees of the nodes in the whole graph."""

    @abstractmethod
    def forward(self, x: Tensor, batch: Data, degree: Tensor | None = None) -> Tensor:
        """Compute the logits of the seeds.

        Args:
            x: Features of `batch.n_id`, float32 `[num sampled nodes, num_features]`.
            batch: A batch with as many hops as the model has layers.
            degree: In-degree of `batch.n_id` in the whole graph, int64 `[num sampled nodes]`.

        Returns:
            float32 `[batch_size, num_classes]`, on the device of `x`.
        """


def build_model(config: TrainConfig, num_features: int, num_classes: int) -> SampledGNN:
    """Build the model that `config` names, on the CPU, with weights from torch's generator."""
    if config.model == "gat":
        return GAT(
            num_features,
            config.hidden,
            num_classes,
            config.layers,
            heads=config.heads,
            dropout=config.dropout,
        )
    kind = {"sage": SAGE, "gcn": GCN}[config.model]
    return kind(num_features, config.hidden, num_classes, config.layers, dropout=config.dropout)


class SAGE(SampledGNN):
    """GraphSAGE with mean aggregation between two linear layers, with residual connections.

    Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017;
    residual connections and layer normalisation as in Platonov et al., "A critical look at the
    evaluation of GNNs under heterophily", ICLR 2023.
    """

    def __init__(
        self, num_features: int, hidden: int, num_classes: int, layers: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.encode = nn.Linear(num_features, hidden)
        self.convs = nn.ModuleList(SAGEConv(hidden, hidden) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.decode = nn.Linear(hidden, num_classes)

    @override
    def forward(self, x: Tensor, batch: Data, degree: Tensor | None = None) -> Tensor:
        """Compute the logits of the seeds; `degree` is not read."""
        x = F.dropout(F.relu(self.encode(x)), self.dropout, self.training)
        for layer, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            edges, targets = _reach(batch, layer)
            target = x[:targets]
            update = F.relu(norm(conv((x, target), batch.edge_index[:, :edges])))
            x = target + F.dropout(update, self.dropout, self.training)
        logits: Tensor = self.decode(x)
        return logits


class GCN(SampledGNN):
    """The graph convolutional network, also where a batch holds only a sample of the neighbours.

    Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017.
    Dropout falls on the input of every layer, as published.
    """

    needs_degree = True

    def __init__(
        self, num_features: int, hidden: int, num_classes: int, layers: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        sizes = [num_features, *[hidden] * (layers - 1), num_classes]
        self.convs = nn.ModuleList(
            GCNConv(sizes[layer], sizes[layer + 1], normalize=False, add_self_loops=False)
            for layer in range(layers)
        )

    @override
    def forward(self, x: Tensor, batch: Data, degree: Tensor | None = None) -> Tensor:
        """Compute the logits of the seeds; `degree` must be given."""
        if degree is None:
            raise TypeError("degree is missing; the GCN needs graph.degree(batch.n_id)")
        weight, self_weight = gcn_weights(batch.edge_index, degree)
        for layer, conv in enumerate(self.convs):
            edges, targets = _reach(batch, layer)
            loop = torch.arange(targets, device=x.device)
            x = conv(
                F.dropout(x, self.dropout, self.training),
                torch.cat([batch.edge_index[:, :edges], torch.stack([loop, loop])], dim=1),
                torch.cat([weight[:edges], self_weight[:targets]]),
            )[:targets]
            if layer < len(self.convs) - 1:
                x = F.relu(x)
        return x


class GAT(SampledGNN):
    """The graph attention network: `heads` heads joined in hidden layers, one in the last.

    Velickovic et al., "Graph Attention Networks", ICLR 2018. Dropout falls on the input of every
    layer and on the attention coefficients, as published.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int,
        num_classes: int,
        layers: int,
        *,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        inputs = [num_features, *[hidden * heads] * (layers - 1)]
        self.convs = nn.ModuleList(
            GATConv(size, hidden, heads=heads, dropout=dropout) for size in inputs[:-1]
        )
        self.convs.append(GATConv(inputs[-1], num_classes, heads=1, dropout=dropout))

    @override
    def forward(self, x: Tensor, batch: Data, degree: Tensor | None = None) -> Tensor:
        """Compute the logits of the seeds; `degree` is not read."""
        for layer, conv in enumerate(self.convs):
            edges, targets = _reach(batch, layer)
            x = F.dropout(x, self.dropout, self.training)
            x = conv((x, x[:targets]), batch.edge_index[:, :edges])
            if layer < len(self.convs) - 1:
                x = F.elu(x)
        return x


def gcn_weights(edge_index: Tensor, degree: Tensor) -> tuple[Tensor, Tensor]:
    """Weigh sampled edges so that their sum estimates the GCN's sum over all edges without bias.

    In the whole graph the edge from `u` to `v` weighs `1 / sqrt((d_u + 1) (d_v + 1))`, where `d`
    is the in-degree and the 1 stands for the self-loop (Kipf and Welling 2017). A node with
    `s_v` of its `d_v` in-edges in the sample has each of them count `d_v / s_v` times; where all
    were taken the weights are exact.

    Args:
        edge_index: Sampled edges in local ids, int64 `[2, num sampled edges]`, distinct.
        degree: In-degree of every local node in the whole graph, int64 `[num sampled nodes]`.

    Returns:
        The weight of every edge, float32 `[num sampled edges]`, and of the self-loop of every
        node, float32 `[num sampled nodes]`.
    """
    src, dst = edge_index
    sampled = torch.bincount(dst, minlength=degree.numel())
    root = (degree + 1).to(torch.float32).rsqrt()
    share = degree.to(torch.float32) / sampled.clamp(min=1)
    return root[src] * root[dst] * share[dst], root * root


def _reach(batch: Data, layer: int) -> tuple[int, int]:
    """Return how many edges and target nodes of the batch `layer` computes with."""
    hops = len(batch.num_sampled_edges) - layer
    return sum(batch.num_sampled_edges[:hops]), sum(batch.num_sampled_nodes[:hops])
