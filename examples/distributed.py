"""GraphSAGE on several GPUs of a machine, one process each; on the CPU in two processes."""

from __future__ import annotations

import argparse
import tempfile

import torch
import torch.distributed as dist
import torch.nn.functional as F
from node_classification import SAGE, random_data
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data

from torch_direct import NeighborLoader


def run(rank: int, world_size: int, data: Data, epochs: int, meeting: str) -> None:
    """Train on a part of the training nodes."""
    on_gpu = torch.cuda.device_count() >= world_size
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=world_size)
    nodes = data.train_mask.nonzero().view(-1)
    mine = nodes[: nodes.numel() // world_size * world_size].view(world_size, -1)[rank]
    loader = NeighborLoader(
        data,
        num_neighbors=[15, 10],
        input_nodes=mine,
        batch_size=128,
        shuffle=True,
        drop_last=True,
    )
    torch.manual_seed(1)
    model = SAGE(data.num_features, 64, int(data.y.max()) + 1).to(device)
    model = DistributedDataParallel(model, device_ids=[rank] if on_gpu else None)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, epochs + 1):
        for batch in loader:
            optimizer.zero_grad()
            logits = model(batch.x, batch.edge_index)[: batch.batch_size]
            F.cross_entropy(logits, batch.y[: batch.batch_size]).backward()
            optimizer.step()
        if rank == 0:
            correct = logits.argmax(dim=1) == batch.y[: batch.batch_size]
            print(f"epoch {epoch}: training accuracy {correct.float().mean().item():.3f}")
    dist.destroy_process_group()


def main(epochs: int = 3) -> None:
    """Start a process for every GPU, or two."""
    world_size = torch.cuda.device_count() or 2
    data = random_data(1000 * world_size)
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        arguments = (world_size, data, epochs, meeting)
        torch.multiprocessing.spawn(run, args=arguments, nprocs=world_size)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
