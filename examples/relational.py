"""Classes of papers out of who wrote them and what they are about.

The folder, such as ../shared/data/acm_hetero, holds the ACM graph of HAN (Wang et al., 2019):
edge.txt and label.txt. Without it a random graph is made. Nodes have no features: embeddings are
learned.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from command_line import run
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv

from torch_direct import NeighborLoader

TYPES = {"p": "paper", "a": "author", "s": "subject"}


class RelationalSAGE(torch.nn.Module):
    """Embeddings, and two layers with weights for every type of edge."""

    def __init__(self, data: HeteroData, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.embed = torch.nn.ModuleDict(
            {kind: torch.nn.Embedding(data[kind].num_nodes, hidden) for kind in data.node_types}
        )
        self.layers = torch.nn.ModuleList(
            HeteroConv({kind: SAGEConv(hidden, hidden) for kind in data.edge_types})
            for _ in range(2)
        )
        self.head = torch.nn.Linear(hidden, num_classes)

    def forward(self, batch: HeteroData) -> torch.Tensor:
        """Return the logits of the papers that a batch was sampled for."""
        x = {kind: embed(batch[kind].n_id) for kind, embed in self.embed.items()}
        for layer in self.layers:
            new = layer(x, batch.edge_index_dict)
            x = {kind: x[kind] + new[kind].relu() if kind in new else x[kind] for kind in x}
        return self.head(x["paper"][: batch["paper"].batch_size])


def read_acm(folder: Path) -> HeteroData:
    """Read edges `source, target, types, weight` and labels `paper, class`."""
    edges: dict[str, list[tuple[int, int]]] = {}
    for line in (folder / "edge.txt").read_text().splitlines():
        source, target, kinds, _ = line.split("\t")
        edges.setdefault(kinds, []).append((int(source), int(target)))
    data = HeteroData()
    for kinds, pairs in edges.items():
        a, b = kinds.split("-")
        data[TYPES[a], "to", TYPES[b]].edge_index = torch.tensor(pairs).t()
    labels = [line.split() for line in (folder / "label.txt").read_text().splitlines()]
    y = torch.empty(len(labels), dtype=torch.int64)
    y[torch.tensor([int(paper[1:]) for paper, _ in labels])] = torch.tensor(
        [int(label) for _, label in labels]
    )
    data["paper"].y, data["paper"].num_nodes = y, y.numel()
    for kind in ("author", "subject"):
        index = data["paper", "to", kind].edge_index[1]
        data[kind].num_nodes = int(index.max()) + 1
    return data


def random_data(num_papers: int = 600) -> HeteroData:
    """Papers whose authors and subjects mostly keep to one class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (num_papers,), generator=generator)
    data = HeteroData()
    data["paper"].y, data["paper"].num_nodes = y, y.numel()
    for kind, count, degree in (("author", 90, 3), ("subject", 12, 2)):
        paper = torch.arange(num_papers).repeat(degree)
        other = torch.randint(count // 3, paper.shape, generator=generator) * 3 + y[paper]
        data[kind].num_nodes = count
        data["paper", "to", kind].edge_index = torch.stack([paper, other])
        data[kind, "to", "paper"].edge_index = torch.stack([other, paper])
    return data


def main(folder: str | None = None, epochs: int = 5) -> float:
    """Train on a fifth of the papers; return the accuracy on the others."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = random_data() if folder is None else read_acm(Path(folder))
    papers = torch.randperm(data["paper"].y.numel())
    part = papers.numel() // 5
    train_loader, test_loader = (
        NeighborLoader(
            data,
            num_neighbors=[10, 10],
            input_nodes=("paper", nodes),
            batch_size=128,
            shuffle=training,
        )
        for nodes, training in ((papers[:part], True), (papers[part:], False))
    )
    model = RelationalSAGE(data, 64, int(data["paper"].y.max()) + 1).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, epochs + 1):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch), batch["paper"].y[: batch["paper"].batch_size])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        correct = torch.cat(
            [model(b).argmax(1) == b["paper"].y[: b["paper"].batch_size] for b in test_loader]
        )
    accuracy = float(correct.float().mean())
    print(f"test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    run(main, __doc__)
