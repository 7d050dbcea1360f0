"""The graphs of the evaluation: those of the paper, and one that is larger than any GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_UNKNOWN_SPLIT = 0.01
"""Part of the nodes to train on where no split was published."""


@dataclass(frozen=True)
class GraphSize:
    """A published graph, as far as its stand-in has to be like it."""

    name: str
    num_nodes: int
    num_edges: int
    """In-edges in all, as the loaders see them: an undirected edge counts twice."""
    num_features: int
    num_classes: int
    """Of the published labels, or 64."""
    exponent: float
    """Of the power law of the stand-in's degrees, the largest of which are then some 20,000 for
    reddit and ogbn-products, millions for twitter7 and sk-2005; 3 for citations (Redner 1998)."""
    num_train: int | None = None
    """Nodes to train on; None where no split was published."""
    dtype: torch.dtype = torch.float32
    """Of the features."""

    @property
    def row_bytes(self) -> int:
        """Bytes of the features of a node."""
        return self.num_features * self.dtype.itemsize

    @property
    def train_nodes(self) -> int:
        """Nodes of an epoch: as published, or else one node in a hundred."""
        return self.num_train or max(1, round(self.num_nodes * _UNKNOWN_SPLIT))


TINY = GraphSize("tiny", 600, 6_000, 8, 4, 2.5, num_train=120)
"""For trying the command out where there is no GPU."""

GRAPHS = {
    size.name: size
    for size in (
        GraphSize(
            *("mag240m-papers", 121_751_666, 1_297_748_926, 768, 153, 3.0),
            num_train=1_112_392,
            dtype=torch.float16,
        ),
        GraphSize("reddit", 232_965, 114_615_892, 602, 41, 4.1, num_train=153_431),
        GraphSize("ogbn-products", 2_449_029, 123_718_280, 100, 47, 3.4, num_train=196_615),
        GraphSize("twitter7", 41_652_230, 1_468_365_182, 343, 64, 2.5),
        GraphSize("sk-2005", 50_636_154, 1_949_412_601, 293, 64, 2.4),
        GraphSize(
            "ogbn-papers100M", 111_059_956, 1_615_685_872, 128, 172, 3.0, num_train=1_207_179
        ),
        GraphSize("wikipedia_link_en", 13_593_032, 437_217_424, 800, 64, 2.5),
        TINY,
    )
}
"""By name, the one that leads first."""
