"""Which nodes of a graph are linked: some links are kept back, and told from random pairs.

The folder, such as ../shared/data/ego_twitter, holds ego-Twitter (McAuley and Leskovec, 2012):
ego-twitter-undirected.jlg; or CoDEx (Safavi and Koutra, 2020): train.txt. Without it a random graph
of groups is made. Nodes have no features: embeddings are learned.
"""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from command_line import run
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

from torch_direct import LinkNeighborLoader


class LinkSAGE(torch.nn.Module):
    """Embeddings, a layer of GraphSAGE, and the angle between both ends."""

    def __init__(self, num_nodes: int, hidden: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(num_nodes, hidden)
        self.layer = SAGEConv(hidden, hidden)
        self.scale = torch.nn.Parameter(torch.tensor([5.0, -1.0]))

    def forward(self, batch: Data) -> torch.Tensor:
        """Return a score for every link of a batch."""
        x = F.normalize(self.layer(self.embed(batch.n_id), batch.edge_index))
        src, dst = batch.edge_label_index
        return self.scale[0] * (x[src] * x[dst]).sum(dim=1) + self.scale[1]


def read_links(folder: Path) -> torch.Tensor:
    """Read the links of a folder."""
    return read_codex(folder) if (folder / "train.txt").exists() else read_twitter(folder)


def each_once(links: torch.Tensor) -> torch.Tensor:
    """Leave out repeats, in whichever direction: none may be trained on and kept back as well."""
    pairs = links.sort(dim=0).values.unique(dim=1)
    return pairs[:, pairs[0] != pairs[1]]


def read_codex(folder: Path) -> torch.Tensor:
    """Read facts `subject relation object`, of whatever relation."""
    number: dict[str, int] = {}
    facts = [line.split() for line in (folder / "train.txt").read_text().splitlines()]
    pairs = [[number.setdefault(name, len(number)) for name in fact[::2]] for fact in facts]
    return torch.tensor(pairs).t()


def read_twitter(folder: Path) -> torch.Tensor:
    """Read links `source,target`, counted from 1, after a line that says how many."""
    with gzip.open(folder / "ego-twitter-undirected.jlg", "rt") as file:
        next(file)
        numbers = [int(number) for line in file for number in line.split(",")]
    return torch.tensor(numbers).view(-1, 2).t() - 1


def random_links(num_nodes: int = 400) -> torch.Tensor:
    """Links within groups of 20 nodes."""
    generator = torch.Generator().manual_seed(0)
    src, other = torch.randint(num_nodes, (2, num_nodes * 12), generator=generator)
    return torch.stack([src, src // 20 * 20 + other % 20])


def main(folder: str | None = None, epochs: int = 5, steps: int | None = None) -> float:
    """Train on nine tenths of the links; return how often a link kept back beats a random pair."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    links = each_once(random_links() if folder is None else read_links(Path(folder)))
    num_nodes = int(links.max()) + 1
    links = links[:, torch.randperm(links.size(1))]
    held_back, known = links.tensor_split([links.size(1) // 10], dim=1)
    data = Data(edge_index=torch.cat([known, known.flip(0)], dim=1), num_nodes=num_nodes)
    train_loader = LinkNeighborLoader(
        data,
        num_neighbors=[10],
        edge_label_index=known,
        neg_sampling="binary",
        exclude_seed_edges=True,
        batch_size=1024,
        shuffle=True,
    )
    test_loader = LinkNeighborLoader(
        data,
        num_neighbors=[10],
        edge_label_index=held_back,
        neg_sampling="binary",
        exclude_true_edges=True,
        batch_size=1024,
    )
    model = LinkSAGE(num_nodes, 64).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, epochs + 1):
        for batch in islice(train_loader, steps):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(batch), batch.edge_label)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
    with torch.no_grad():
        scores = [model(batch).view(2, -1) for batch in islice(test_loader, steps)]
    better = torch.cat([link > pair for link, pair in scores]).float().mean()
    print(f"links kept back that beat a random pair: {float(better):.3f}")
    return float(better)


if __name__ == "__main__":
    run(main, __doc__)
