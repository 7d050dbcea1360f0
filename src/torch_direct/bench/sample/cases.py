"""What is measured: fanouts and batch sizes, in groups of one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FANOUTS = ((15, 10, 5), (10, 25), (10, 10, 10))
BATCH_SIZES = (1024, 8192)

UNIFORM, WEIGHTED, TEMPORAL = KINDS = ("uniform", "weighted", "temporal")
"""How edges are drawn."""

_BATCHES = 32
"""Batches of a round: two for each of PyG's workers."""


@dataclass(frozen=True)
class GraphSize:
    """A power-law graph, which is made for the run."""

    name: str
    num_nodes: int
    avg_degree: float
    """Mean in-degree, which comes out within a few per cent."""


SMALL = GraphSize("power-law-250m", 1 << 24, 15.0)
LARGE = GraphSize("power-law-1.6b", 100_000_000, 16.0)
TINY = GraphSize("power-law-tiny", 2_000, 15.0)
"""For trying the command out where there is no GPU."""


@dataclass(frozen=True)
class Case:
    """One kind of batch."""

    fanout: tuple[int, ...]
    batch_size: int
    """Seed nodes of a batch."""
    batches: int
    """Batches of a round."""

    @property
    def fanout_text(self) -> str:
        """The fanout as files have it, such as ``15,10,5``."""
        return ",".join(str(k) for k in self.fanout)


@dataclass(frozen=True)
class Group:
    """The cases of one graph, which share a process and its memory."""

    graph: GraphSize
    cases: tuple[Case, ...]


def graph_sizes(*, gpu: bool) -> tuple[GraphSize, ...]:
    """Return the graphs of a full run, where there is a GPU or none."""
    return (SMALL, LARGE) if gpu else (TINY,)


def select_groups(graphs: Sequence[GraphSize], *, quick: bool) -> list[Group]:
    """Return what to measure.

    Args:
        graphs: Out of `graph_sizes`.
        quick: Whether the first case of the first graph is enough.
    """
    groups = [Group(graph, tuple(_cases(graph))) for graph in graphs]
    return [Group(groups[0].graph, groups[0].cases[:1])] if quick else groups


def _cases(graph: GraphSize) -> list[Case]:
    if graph == TINY:
        return [Case(fanout, batch_size=32, batches=2) for fanout in FANOUTS]
    return [Case(fanout, size, _BATCHES) for size in BATCH_SIZES for fanout in FANOUTS]
