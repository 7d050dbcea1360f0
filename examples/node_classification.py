"""GraphSAGE over sampled neighbourhoods; layer by layer over all nodes to evaluate it.

The file, such as ../shared/data/cora/cora.npz, is one that `torch-direct train --data` reads.
Without it a random graph is made, whose labels are told by the features of the neighbours.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from command_line import run
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

from torch_direct import NeighborLoader
from torch_direct.datasets import load_npz


class SAGE(torch.nn.Module):
    """Two layers of GraphSAGE (Hamilton et al., 2017)."""

    def __init__(self, num_features: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            [SAGEConv(num_features, hidden), SAGEConv(hidden, num_classes)]
        )

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Return the logits of every node of a batch."""
        for number, layer in enumerate(self.layers):
            x = layer(x, edge_index)
            if number + 1 < len(self.layers):
                x = F.dropout(x.relu(), 0.5, self.training)
        return x

    @torch.no_grad()
    def inference(self, x_all: torch.Tensor, loader: NeighborLoader) -> torch.Tensor:
        """Return the logits of all nodes, each layer over all nodes before the next."""
        device = next(self.parameters()).device
        for number, layer in enumerate(self.layers):
            rows = []
            for batch in loader:
                x = layer(x_all[batch.n_id.cpu()].to(device), batch.edge_index.to(device))
                x = x[: batch.batch_size]
                rows.append((x if number + 1 == len(self.layers) else x.relu()).cpu())
            x_all = torch.cat(rows)
        return x_all


def random_data(num_nodes: int = 1000) -> Data:
    """A graph whose nodes are linked within their class, with noisy features."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (num_nodes,), generator=generator)
    order = y.argsort()
    place = torch.randint(num_nodes, (num_nodes * 8,), generator=generator)
    near = (place + torch.randint(1, 30, place.shape, generator=generator)) % num_nodes
    noise = torch.randn(num_nodes, 16, generator=generator)
    split = torch.rand(num_nodes, generator=generator)
    return Data(
        x=F.one_hot(y, 16).float() + noise,
        y=y,
        edge_index=torch.stack([order[place], order[near]]),
        train_mask=split < 0.5,
        test_mask=split >= 0.5,
    )


def data_of(path: str | None) -> Data:
    """Read a data set, or make one."""
    if path is None:
        return random_data()
    dataset = load_npz(Path(path))
    graph = dataset.graph
    target = torch.repeat_interleave(graph.indptr.diff())
    data = Data(x=dataset.x, y=dataset.y, edge_index=torch.stack([graph.indices, target]))
    for name in ("train", "test"):
        mask = torch.zeros(graph.num_nodes, dtype=torch.bool)
        mask[getattr(dataset, f"{name}_idx")] = True
        data[f"{name}_mask"] = mask
    return data


def main(path: str | None = None, epochs: int = 5) -> float:
    """Train, and return the accuracy on the test nodes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = data_of(path)
    train_loader = NeighborLoader(
        data, num_neighbors=[15, 10], input_nodes=data.train_mask, batch_size=128, shuffle=True
    )
    all_loader = NeighborLoader(copy.copy(data), num_neighbors=[-1], batch_size=1024)
    del all_loader.data.x, all_loader.data.y
    all_loader.data.num_nodes = data.num_nodes

    model = SAGE(data.num_features, 64, int(data.y.max()) + 1).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, epochs + 1):
        model.train()
        total = torch.zeros((), device=device)
        for batch in train_loader:
            optimizer.zero_grad()
            logits = model(batch.x, batch.edge_index)[: batch.batch_size]
            loss = F.cross_entropy(logits, batch.y[: batch.batch_size])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        print(f"epoch {epoch}: loss {float(total) / len(train_loader):.3f}")

    model.eval()
    predicted = model.inference(data.x, all_loader).argmax(dim=1)
    accuracy = float((predicted == data.y)[data.test_mask].float().mean())
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    run(main, __doc__)
