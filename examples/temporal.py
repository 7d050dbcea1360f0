"""Who will answer whom: links with times, told from random pairs by what came before.

The folder, such as ../shared/data/sx_mathoverflow, holds sx-mathoverflow (Paranjape et al., 2017):
sx-mathoverflow.txt.gz. Without it random events are made. Neighbours are the latest before the
link, so that nothing is seen of its future.
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


class TemporalSAGE(torch.nn.Module):
    """Embeddings, a layer over the latest neighbours, and the angle between both ends."""

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


def read_events(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read events `source target time` in order of time, with nodes numbered from 0."""
    with gzip.open(folder / "sx-mathoverflow.txt.gz", "rt") as file:
        events = torch.tensor([int(number) for number in file.read().split()]).view(-1, 3)
    events = events[events[:, 2].argsort(stable=True)]
    _, nodes = events[:, :2].unique(return_inverse=True)
    return nodes.t().contiguous(), events[:, 2].contiguous()


def random_events(num_nodes: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Events within groups of 20 nodes."""
    generator = torch.Generator().manual_seed(0)
    src, other = torch.randint(num_nodes, (2, num_nodes * 25), generator=generator)
    return torch.stack([src, src // 20 * 20 + other % 20]), torch.arange(src.numel())


def main(folder: str | None = None, epochs: int = 3, steps: int | None = None) -> float:
    """Train on the first events; return how often one of the last beats a random pair."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    links, time = random_events() if folder is None else read_events(Path(folder))
    num_nodes = int(links.max()) + 1
    data = Data(
        edge_index=torch.cat([links, links.flip(0)], dim=1),
        time=torch.cat([time, time]),
        num_nodes=num_nodes,
    )
    past = int(time.numel() * 0.85)
    train_loader, test_loader = (
        LinkNeighborLoader(
            data,
            num_neighbors=[10],
            edge_label_index=links[:, part],
            edge_label_time=time[part] - 1,
            time_attr="time",
            temporal_strategy="last",
            neg_sampling="binary",
            batch_size=512,
            shuffle=part.start is None,
        )
        for part in (slice(None, past), slice(past, None))
    )
    model = TemporalSAGE(num_nodes, 64).to(device)
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
    print(f"later events that beat a random pair: {float(better):.3f}")
    return float(better)


if __name__ == "__main__":
    run(main, __doc__)
