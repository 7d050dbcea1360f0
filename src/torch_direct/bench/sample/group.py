"""Measure the cases of one graph, in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from torch_direct.bench import wholegraph
from torch_direct.bench.measure import Timing, take_turns
from torch_direct.bench.outcome import Absent, Row
from torch_direct.bench.results import rounded
from torch_direct.bench.sample import pyg
from torch_direct.bench.sample.cases import TEMPORAL, Case, Group
from torch_direct.bench.sample.check import check_batch
from torch_direct.bench.sample.graphs import LAST_TIME, make_graph
from torch_direct.bench.sample.pyg import pyg_contender
from torch_direct.bench.sample.systems import (
    OURS,
    PYG,
    WHOLEGRAPH,
    Batches,
    Contender,
    Seeds,
    our_contenders,
    takes_part,
)
from torch_direct.bench.sample.wholegraph import wholegraph_contender
from torch_direct.errors import WrongBatchError
from torch_direct.graph import Graph

_ERRORS = (RuntimeError, ValueError, IndexError, MemoryError)


@dataclass(frozen=True)
class Options:
    """How to measure, for all groups alike."""

    systems: tuple[str, ...]
    kinds: tuple[str, ...]
    """Of this package's sampler; the other systems sample uniformly."""
    rounds: int
    seconds_each: float
    """A system that is slow drops out of a case after as long, and after 3 rounds."""
    workers: int
    """Processes in which PyG samples."""


def measure_group(group: Group, options: Options) -> Iterator[Absent | list[Row]]:
    """Measure every case of a graph.

    Args:
        group: Its graph must fit into host memory four times over, and into GPU memory.
        options: Of the run.

    Yields:
        The systems that are absent, and the rows of each case.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    graph = make_graph(group.graph)
    contenders: list[Contender] = []
    if OURS in options.systems:
        contenders += our_contenders(graph, options.kinds)
    for system in (WHOLEGRAPH, PYG):
        if system in options.systems:
            found = _peer(system, graph, options.workers)
            if isinstance(found, Absent):
                yield found
            else:
                contenders.append(found)
    for case in group.cases:
        taking_part = [contender for contender in contenders if takes_part(contender, case)]
        yield _measure_case(case, group.graph.name, graph, taking_part, options)


def _peer(system: str, graph: Graph, workers: int) -> Contender | Absent:
    reason = wholegraph.why_absent() if system == WHOLEGRAPH else pyg.why_absent()
    if reason is not None:
        return Absent(system, reason)
    try:
        if system == WHOLEGRAPH:
            return wholegraph_contender(graph)
        return pyg_contender(graph, workers)
    except _ERRORS as error:
        return Absent(system, f"cannot be set up: {error}")


def draw_seeds(graph: Graph, case: Case, rounds: int) -> Seeds:
    """Draw the seeds of a case, where the graph is read.

    They are runs of one random order of all nodes, which a small graph goes through again.
    """
    device = graph.indptr.device
    generator = torch.Generator(device).manual_seed(case.batch_size)
    order = torch.randperm(graph.num_nodes, generator=generator, device=device)
    shape = (rounds, case.batches, case.batch_size)
    number = torch.arange(rounds * case.batches, device=device)
    first = number * case.batch_size % (graph.num_nodes - case.batch_size)
    place = first.unsqueeze(1) + torch.arange(case.batch_size, device=device)
    times = torch.randint(LAST_TIME, shape, generator=generator, device=device)
    return Seeds(order[place].view(shape), times)


class _Turns:
    """One contender in one case: samples a round at a time, and counts edges."""

    def __init__(self, contender: Contender, case: Case, seeds: Seeds, batches: Batches) -> None:
        self.contender, self.case, self.seeds, self.batches = contender, case, seeds, batches
        self.edges = self.rounds = 0

    def __call__(self, number: int) -> None:
        self.edges += sum(batch.num_edges for batch in self.batches(number))
        self.rounds += 1

    def check(self) -> None:
        """Check the first batch."""
        sampled = next(self.batches(0))
        time = self.seeds.times[0, 0] if self.contender.kind == TEMPORAL else None
        seeds = self.seeds.nodes[0, 0]
        check_batch(self.contender.graph, sampled, seeds, self.case.fanout, time)

    def figures(self, timing: Timing) -> Row:
        """Return what goes into the file of the rounds that were timed."""
        batches = self.case.batches
        edges = self.edges / (self.rounds * batches)
        in_workers = self.contender.system == PYG
        return {
            "ms_per_batch": rounded(timing.median / batches * 1000),
            "edges_per_s": round(edges * batches / timing.median),
            "correct": True,
            "edges_per_batch": round(edges),
            "ms_q1": rounded(timing.lower / batches * 1000),
            "ms_q3": rounded(timing.upper / batches * 1000),
            "cpu_ms_per_batch": None if in_workers else rounded(timing.cpu / batches * 1000),
            "rounds": timing.rounds,
        }


def _measure_case(
    case: Case, graph_name: str, graph: Graph, contenders: Sequence[Contender], options: Options
) -> list[Row]:
    seeds = draw_seeds(graph, case, options.rounds + 1)
    with ExitStack() as stack:
        checked = {
            contender.name: _check(contender, case, seeds, stack) for contender in contenders
        }
        turns = {name: found for name, found in checked.items() if isinstance(found, _Turns)}
        timings = take_turns(turns, rounds=options.rounds, seconds_each=options.seconds_each)
    rows = []
    for contender in contenders:
        row = {
            "system": contender.system,
            "graph": graph_name,
            "nodes": graph.num_nodes,
            "edges": graph.num_edges,
            "placement": contender.placement,
            "kind": contender.kind,
            "fanout": case.fanout_text,
            "batch_size": case.batch_size,
        }
        found = checked[contender.name]
        if isinstance(found, _Turns):
            rows.append({**row, **found.figures(timings[contender.name])})
        else:
            nothing = {"ms_per_batch": None, "edges_per_s": None, "correct": False}
            rows.append({**row, **nothing, "error": found})
    return rows


def _check(contender: Contender, case: Case, seeds: Seeds, stack: ExitStack) -> _Turns | str:
    """Return the contender ready to be timed, or what is wrong with its batch."""
    try:
        batches = stack.enter_context(contender.start(case, seeds))
        turns = _Turns(contender, case, seeds, batches)
        turns.check()
    except WrongBatchError as error:
        return str(error)
    except _ERRORS as error:
        return f"{type(error).__name__}: {error}"
    return turns
