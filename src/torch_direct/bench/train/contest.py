"""All systems with one model on one graph: they are checked, take turns, and are taken apart."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from torch_direct.bench.outcome import Row
from torch_direct.bench.results import rounded
from torch_direct.bench.sample.check import check_batch
from torch_direct.bench.sample.systems import Sampled
from torch_direct.bench.train.accuracy import validation_accuracy
from torch_direct.bench.train.alone import TRANSFERS, sample_alone, train_alone, transfer_alone
from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.block import Block, Meters, run_block
from torch_direct.bench.train.data import TrainData
from torch_direct.bench.train.figures import SAMPLE, TRAIN, figures_of, no_figures
from torch_direct.bench.train.goals import OURS, STOCK
from torch_direct.bench.train.models import Step, Workload
from torch_direct.bench.train.system import Case, Ids, Ready, Start
from torch_direct.errors import TorchDirectError, WrongBatchError
from torch_direct.memory.pages import available_memory

_ERRORS = (RuntimeError, ValueError, IndexError, MemoryError, OSError, TorchDirectError)
_LONG_BLOCK = 1024
"""Batches that are enough, however short they are."""
_AROUND = 96
"""Batches of a block at most that do not count, or are there to fill up a wave of workers."""
_FEWEST_ROUNDS = 2
"""From one there is no spread."""
_TRIAL_LEAD, _TRIAL = 8, 16
"""Batches of a trial that do not count, and that do, at least."""
_NODES_CHECKED = 50
"""Of each hop, about, whose edges are looked for in the graph."""
_ROUNDS_ALONE = 3
_PARTS_OF_AN_EPOCH = 10
"""A small graph has smaller batches."""
_KEPT = 4
"""Batches that training alone goes through."""
_UNTRIMMED = "sage"
"""The model whose untrimmed step is measured."""


@dataclass(frozen=True)
class Options:
    """How to measure."""

    systems: tuple[str, ...]
    models: tuple[str, ...]
    batches: int
    """To be timed of each system in all."""
    rounds: int
    seeds: int
    """How many times all rounds are gone through, under other seeds."""
    seconds_each: float
    """A system that would take longer with a model takes part in fewer rounds, two at least."""
    block_seconds: float
    """Length of a block at least, so that the counter of energy has moved often."""
    workers: Mapping[str, tuple[int, ...]]
    """By system, numbers of processes among which the best is sought."""
    threads: int
    """Of this process, for what it computes on the CPU."""


@dataclass
class _Turns:
    """One system with one model: how it works, and what came of it."""

    ready: Ready
    counted: int
    """Batches of a block that count."""
    rounds: int
    """It takes part in so many, under each seed."""
    idle_bytes: int
    """Host memory that it holds while it rests."""
    blocks: list[Block] = field(default_factory=list)
    alone: dict[str, list[float]] = field(default_factory=dict)
    """Seconds a batch by field of the row, once or more often."""


class Contest:
    """All systems with one model."""

    def __init__(self, data: TrainData, workload: Workload, options: Options) -> None:
        """Build the model, and draw the seed nodes of all rounds."""
        most = max(1, data.train_nodes.numel() // _PARTS_OF_AN_EPOCH)
        self.workload = replace(workload, batch_size=min(workload.batch_size, most))
        self.data, self.options, self.device = data, options, data.device
        self.meters = Meters(self.device)
        self.nodes = self._draw_nodes()
        torch.manual_seed(0)
        self.step = self._make_step(trim=True)
        self.names: list[str] = []
        self.turns: dict[str, _Turns] = {}
        """Of the systems that work."""
        self.errors: dict[str, str] = {}
        """What is wrong with the others."""
        self._tried: dict[tuple[str, int], float] = {}
        """Seconds of a batch of a system with a number of workers."""

    def try_workers(self, name: str, start: Start, workers: int) -> float | str:
        """Return the seconds of a batch with a number of workers, or what it failed with."""
        try:
            with start(self._case(workers)) as ready:
                # Batches made ahead of the last that counts take a slow system longer than those
                # do; its workers end here, and leave them unmade.
                self._tried[name, workers] = self._trial(ready, to_the_end=name != STOCK)
        except _ERRORS as error:
            return _words(error)
        return self._tried[name, workers]

    def open(self, name: str, start: Start, workers: int, stack: ExitStack) -> None:
        """Make a system ready, check batches of it, and see how fast it is, if that is unknown.

        Args:
            name: Of the system.
            start: Makes it ready.
            workers: Processes that work for it, if any do.
            stack: Tidies up after it.
        """
        self.names.append(name)
        free = available_memory()
        with self._noting_errors(name):
            ready = stack.enter_context(start(self._case(workers)))
            self._check_first(ready)
            seconds = self._tried.get((name, workers)) or self._trial(ready)
            counted, rounds = _plan(ready, seconds, self.options)
            idle_bytes = max(0, free - available_memory())
            self.turns[name] = _Turns(ready, counted, rounds, idle_bytes)

    def take_turns(self) -> None:
        """Let the systems work in rounds: each a block of batches, in an order drawn anew."""
        order = random.Random(0)
        for seed in range(self.options.seeds):
            torch.manual_seed(seed)
            for number in range(self.options.rounds):
                first = _slot(self.options) * (1 + seed * self.options.rounds + number)
                for name in order.sample(sorted(self.turns), len(self.turns)):
                    turn = self.turns[name]
                    if number < turn.rounds:
                        with self._noting_errors(name):
                            block = self._block(turn.ready, first, turn.counted)
                            turn.blocks.append(block)

    def accuracy(self) -> float | None:
        """Return how well the model predicts by now; None where that cannot be measured."""
        if not self.turns:
            return None
        try:
            return validation_accuracy(self.step.model, self.data, self.workload)
        except _ERRORS:
            return None

    def measure_alone(self) -> dict[str, float | None]:
        """Measure sampling, transfer and training alone; return the steps in milliseconds."""
        ids: dict[str, list[Ids]] = {}
        for name, turn in list(self.turns.items()):
            with self._noting_errors(name):
                ids[name] = self._record(turn.ready)
        if not self.turns:
            return {}
        chosen = self.turns.get(OURS) or next(iter(self.turns.values()))
        kept = list(chosen.ready.batches(range(_KEPT)))
        trained = self._parts_in_turns(ids, kept)
        steps = {self.workload.name: statistics.median(trained) if trained else None}
        if self.workload.name == _UNTRIMMED:
            with precision("highest"):
                untrimmed = self._make_step(trim=False)
                steps[f"{_UNTRIMMED} untrimmed fp32"] = self._train_alone(untrimmed, kept)
        return {
            name: None if seconds is None else rounded(seconds * 1000)
            for name, seconds in steps.items()
        }

    def _parts_in_turns(
        self, ids: Mapping[str, Sequence[Ids]], kept: Sequence[Minibatch]
    ) -> list[float]:
        """Measure parts alone in rounds, in an order of systems drawn anew.

        Returns:
            The seconds of a step in each round; none where it does not fit into memory.
        """
        order = random.Random(0)
        trained: list[float] = []
        for _ in range(_ROUNDS_ALONE):
            seconds_of_step = self._train_alone(self.step, kept)
            if seconds_of_step is not None:
                trained.append(seconds_of_step)
            for name in order.sample(sorted(self.turns), len(self.turns)):
                turn = self.turns[name]
                with self._noting_errors(name):
                    turn.alone.setdefault(SAMPLE, []).append(sample_alone(turn.ready, self.device))
                    for column, transfer in turn.ready.transfers.items():
                        seconds = transfer_alone(transfer, ids[name], self.device)
                        turn.alone.setdefault(column, []).append(seconds)
        if trained:
            for turn in self.turns.values():
                turn.alone[TRAIN] = trained
        return trained

    def rows(self) -> list[Row]:
        """Return what goes into the file of each system, but for the name of the graph."""
        batches = math.ceil(self.data.train_nodes.numel() / self.workload.batch_size)
        return [
            {
                "stand_in": self.data.stand_in,
                "model": self.workload.name,
                "system": name,
                **self._figures(name, batches),
                "seeds": self.options.seeds,
            }
            for name in self.names
        ]

    def _figures(self, name: str, batches: int) -> Row:
        if name in self.errors:
            return no_figures(self.errors[name])
        turn = self.turns[name]
        return figures_of(
            turn.blocks,
            turn.alone,
            batches=batches,
            host_bytes=self.data.nbytes + turn.idle_bytes,
            workers=turn.ready.workers,
            ahead=turn.ready.tail,
            over_link=self.device.type == "cuda",
        )

    @contextmanager
    def _noting_errors(self, name: str) -> Iterator[None]:
        """Take a system that fails out of the contest, and keep what it failed with."""
        try:
            yield
        except _ERRORS as error:
            self.errors[name] = _words(error)
        if name in self.errors:
            self.turns.pop(name, None)

    def _block(self, ready: Ready, first: int, counted: int) -> Block:
        batches = self._batches(ready, first, ready.lead + counted)
        block = self._timed(batches, self.step, ready.lead, counted)
        # Nobody else is timed while a system still makes the batches behind those that count.
        _take(batches)
        return block

    def _batches(self, ready: Ready, first: int, count: int) -> Iterator[Minibatch]:
        """Return batches of a system that is at work until so many of them have come."""
        return iter(ready.batches(range(first, first + count + ready.tail)))

    def _timed(
        self,
        batches: Iterator[Minibatch],
        step: Callable[[Minibatch], object],
        lead: int,
        counted: int,
    ) -> Block:
        if self.device.type == "cuda":
            # What other systems left in the allocator would run out in the middle of a block.
            torch.cuda.empty_cache()
        return run_block(
            batches, step, lead=lead, counted=counted, meters=self.meters, device=self.device
        )

    def _trial(self, ready: Ready, *, to_the_end: bool = True) -> float:
        """Return the seconds of a batch, having checked the last one: others were under way then.

        Args:
            ready: The system.
            to_the_end: Take those too, without which the system goes on with them.

        Raises:
            WrongBatchError: It is wrong; the message says how.
        """
        last: list[Minibatch] = []

        def step(batch: Minibatch) -> None:
            last[:] = [batch]
            self.step(batch)

        lead, counted = ready.whole_waves(_TRIAL_LEAD), ready.whole_waves(_TRIAL)
        batches = self._batches(ready, 1, lead + counted)
        block = self._timed(batches, step, lead, counted)
        if to_the_end:
            _take(batches)
        self._check(last[0], lead + counted)
        return block.seconds

    def _check_first(self, ready: Ready) -> None:
        (batch,) = ready.batches(range(1))
        self._check(batch, 0)
        loss = float(self.step(batch))
        if not math.isfinite(loss):
            raise WrongBatchError(f"the loss is {loss}")

    def _check(self, batch: Minibatch, number: int) -> None:
        """Compare a batch with the data, bit for bit, and some of its edges with the graph."""
        ids, seeds = batch.n_id.cpu(), self._case(0).seeds(number)
        if not torch.equal(ids[: seeds.numel()], seeds.to(ids.dtype)):
            raise WrongBatchError("the batch does not begin with its seeds")
        # As bytes: NaN differs from itself.
        if not torch.equal(_bytes(batch.x.cpu()), _bytes(self.data.x.host[ids])):
            raise WrongBatchError("the features are not those of the nodes")
        if not torch.equal(batch.y.cpu(), self.data.y.host[seeds]):
            raise WrongBatchError("the classes are not those of the seeds")
        _check_counts(batch)
        sampled = Sampled(batch.n_id, batch.edge_index)
        fanout = self.workload.fanout
        check_batch(self.data.graph, sampled, seeds, fanout, nodes_of_a_hop=_NODES_CHECKED)

    def _record(self, ready: Ready) -> list[Ids]:
        """Return the node ids of batches as a system draws and orders them."""
        recorded = []
        for drawn in ready.sample(range(TRANSFERS)):
            there = drawn.n_id.to(self.device, copy=True)
            here = there.cpu()
            recorded.append((here.pin_memory() if there.is_cuda else here, there))
        return recorded

    def _train_alone(self, step: Step, batches: Sequence[Minibatch]) -> float | None:
        try:
            return train_alone(step, batches, self.device)
        except torch.OutOfMemoryError:
            return None

    def _make_step(self, *, trim: bool) -> Step:
        features = self.data.x.shape[1]
        return Step(self.workload, features, self.data.num_classes, self.device, trim=trim)

    def _case(self, workers: int) -> Case:
        return Case(self.workload, self.nodes, workers)

    def _draw_nodes(self) -> Tensor:
        """Draw the seed nodes of all rounds: epochs in whole batches, one after the other."""
        slots = 1 + self.options.seeds * self.options.rounds
        train, size = self.data.train_nodes, self.workload.batch_size
        epoch = train.numel() // size * size
        generator = torch.Generator().manual_seed(0)
        return torch.cat(
            [
                train[torch.randperm(train.numel(), generator=generator)[:epoch]]
                for _ in range(math.ceil(slots * _slot(self.options) * size / epoch))
            ]
        )


def _plan(ready: Ready, seconds: float, options: Options) -> tuple[int, int]:
    """Choose how many batches of a block count, and in how many rounds a system takes part.

    Args:
        ready: The system.
        seconds: Of a batch, as a trial had it.
        options: Of the run.
    """

    def counted(rounds: int) -> int:
        wanted = max(
            options.batches / (rounds * options.seeds),
            min(options.block_seconds / seconds, _LONG_BLOCK),
        )
        return ready.whole_waves(wanted)

    def fits(rounds: int) -> bool:
        batches = options.seeds * rounds * (ready.lead + counted(rounds) + ready.tail)
        return batches * seconds <= options.seconds_each

    fewest = min(_FEWEST_ROUNDS, options.rounds)
    rounds = next(filter(fits, range(options.rounds, fewest, -1)), fewest)
    return counted(rounds), rounds


def _slot(options: Options) -> int:
    """Return how many batches have seeds in every round: those of the largest block."""
    fewest = min(_FEWEST_ROUNDS, options.rounds)
    return max(_LONG_BLOCK, math.ceil(options.batches / (fewest * options.seeds))) + _AROUND


def _check_counts(batch: Minibatch) -> None:
    """Check that nodes and edges lie by hops, as they are trimmed.

    Raises:
        WrongBatchError: They do not.
    """
    nodes, edges = batch.num_sampled_nodes, batch.num_sampled_edges
    if (sum(nodes), sum(edges)) != (batch.n_id.numel(), batch.edge_index.size(1)):
        raise WrongBatchError("its numbers of nodes and edges are not those of its hops together")
    end = 0
    for hop, targets in enumerate(batch.edge_index[1].split(edges)):
        begin, end = end, end + nodes[hop]
        if bool(((targets < begin) | (targets >= end)).any()):
            raise WrongBatchError(f"hop {hop + 1} has edges of another hop")


def _take(batches: Iterator[Minibatch]) -> None:
    for _ in batches:
        pass


def _bytes(rows: Tensor) -> Tensor:
    return rows.contiguous().view(torch.uint8)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, WrongBatchError) else f"{type(error).__name__}: {error}"


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Set how float32 matrices are multiplied: `"high"` is TF32 where there is a GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
