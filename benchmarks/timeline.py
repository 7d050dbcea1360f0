"""Where the time of a training step goes: the GPU's streams and the host's threads.

    python benchmarks/timeline.py --graph ogbn-products --out benchmarks/results/timeline-h100.json

torch.profiler records a few steps of `sage`, fed by `torch-direct`, in steady work. The picture is
drawn beside the file. The profiler slows the host down: for times see `torch-direct bench train`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from torch_direct.bench.machine import describe_machine, short_name
from torch_direct.bench.picture import describe
from torch_direct.bench.results import header, write_results
from torch_direct.bench.train.block import Mark
from torch_direct.bench.train.contest import precision
from torch_direct.bench.train.data import TrainData, load_data
from torch_direct.bench.train.goals import MODEL, OURS
from torch_direct.bench.train.graphs import GRAPHS
from torch_direct.bench.train.models import WORKLOADS, Step
from torch_direct.bench.train.ours import our_system
from torch_direct.bench.train.system import Case
from torch_direct.picture import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLING, GATHER, TRAINING = "sampling", "gather", "training"
LAUNCHING = "launching"
BATCH_WAIT, GPU_WAIT = "waiting for a batch", "waiting for the GPU"
COLOURS = {
    SAMPLING: BLUE,
    GATHER: ORANGE,
    TRAINING: GREEN,
    LAUNCHING: SKY,
    BATCH_WAIT: VERMILION,
    GPU_WAIT: "#BBBBBB",
}
"""By stage; what comes later is drawn on top."""
STAGES = {
    "in_edges_kernel": SAMPLING,
    "draw_kernel": SAMPLING,
    "read_sources_kernel": SAMPLING,
    "mark_kernel": SAMPLING,
    "enter_seeds_kernel": SAMPLING,
    "keep_new_kernel": SAMPLING,
    "relabel_kernel": SAMPLING,
    "look_up_kernel": SAMPLING,
    "enter_kernel": SAMPLING,
    "count_kernel": GATHER,
    "place_kernel": GATHER,
    "move_rows_kernel": GATHER,
}
"""Of the kernels of this package."""

GPU_WORK = ("kernel", "gpu_memcpy", "gpu_memset")
CALLS = ("cuda_runtime", "cuda_driver")
RANGES = (LAUNCHING, BATCH_WAIT, GPU_WAIT)
"""Of the thread that trains."""

STEPS = 4
_WARM_UP = 32
"""Batches until kernels are compiled and the allocator has what it needs."""
_PROFILER_WARM_UP = 2
_AFTER = 8
"""Batches after those recorded: until then the loader has others to make."""
_PAUSE_MS = 0.1
"""Between two calls of a thread that launches; it waits, or rests, where there is more."""
_PIXELS = 2000
_GAPS = 5

Interval = tuple[float, float]
Lanes = dict[str, dict[str, list[Interval]]]
"""By lane and stage, when it is at work, in milliseconds."""


class Event(NamedTuple):
    """Something in a trace that has a length."""

    category: str
    name: str
    place: Any
    """The stream of what the GPU does, the thread of all else."""
    span: Interval
    """In milliseconds."""
    correlation: int | None
    """The same of what the GPU does and of the call that asked for it."""


class Recording:
    """What a trace says of the GPU's work and of the host's threads.

    Args:
        trace: As torch.profiler's `export_chrome_trace` writes it, of a loop with the ranges that
            `record` makes.

    Raises:
        ValueError: There are less than two steps in it.
    """

    def __init__(self, trace: dict[str, Any]) -> None:
        events = sorted(_events(trace), key=lambda event: event.span)
        work = [event for event in events if event.category in GPU_WORK]
        marks = [event for event in events if event.name in RANGES]
        self.ranges = {name: [m.span for m in marks if m.name == name] for name in RANGES}
        if len(self.ranges[LAUNCHING]) < 2:
            raise ValueError(
                f"the trace has {len(self.ranges[LAUNCHING])} steps; expected two or more: record "
                "it again"
            )
        self._trainers = {mark.place for mark in marks}
        self._named = [event for event in work if event.name in STAGES]
        self._streams = {event.place for event in self._named}
        self.calls = [event for event in events if event.category in CALLS]
        self._callers = {call.correlation: call for call in self.calls}
        self.loaders = self._loading_threads(work)
        self.work = [(event, self._stage(event)) for event in work]

    def starts(self) -> list[float]:
        """Return when the GPU begins each step; the host, where no work was recorded of it."""
        training = [event for event, stage in self.work if stage == TRAINING]
        starts = []
        for begin, end in self.ranges[LAUNCHING]:
            callers = ((event, self._caller(event)) for event in training)
            asked = (e.span[0] for e, call in callers if call and begin <= call.span[0] <= end)
            starts.append(min(asked, default=begin))
        return starts

    def _caller(self, event: Event) -> Event | None:
        return None if event.correlation is None else self._callers.get(event.correlation)

    def _loading_threads(self, work: Iterable[Event]) -> list[Any]:
        """Return the threads most of whose work is on streams with kernels of this package."""
        more: Counter[Any] = Counter()
        for event in work:
            caller = self._caller(event)
            if caller is not None and caller.place not in self._trainers:
                more[caller.place] += 1 if event.place in self._streams else -1
        return [thread for thread, count in more.items() if count > 0]

    def _stage(self, event: Event) -> str:
        """Return what the GPU does something for.

        PyTorch's kernels and copies that the loader asked for go with the kernel of this package
        that is nearest in time, in their own stream if it has any.
        """
        caller = self._caller(event)
        loads = event.place in self._streams if caller is None else caller.place in self.loaders
        if event.name in STAGES or not (loads and self._named):
            return STAGES.get(event.name, TRAINING)
        beside = [named for named in self._named if named.place == event.place]
        nearest = min(beside or self._named, key=lambda named: _distance(event.span, named.span))
        return STAGES[nearest.name]


def _events(trace: dict[str, Any]) -> Iterator[Event]:
    for event in trace.get("traceEvents", []):
        if event.get("ph") == "X" and {"ts", "dur", "cat", "name"} <= event.keys():
            begin, length = float(event["ts"]) / 1000, float(event["dur"]) / 1000
            category, more, place = event["cat"], event.get("args", {}), event.get("tid")
            if category in GPU_WORK:
                place = more.get("stream", place)
            if category in {*GPU_WORK, *CALLS, "user_annotation"}:
                span = begin, begin + length
                yield Event(category, event["name"], place, span, more.get("correlation"))


def _distance(one: Interval, other: Interval) -> float:
    return max(0.0, one[0] - other[1], other[0] - one[1])


def timeline(trace: dict[str, Any]) -> dict[str, Any]:
    """Return what a trace shows between the beginnings of its first and its last step.

    Args:
        trace: See `Recording`.

    Returns:
        `step_ms`, the mean length of a step; `steps`, where they begin, and where the last one
        ends; `shares`, the part of the time that a lane is in a stage; `kernels_a_step` by stage;
        `gaps`, the longest in which no training runs; and `spans` by lane and stage. Times are in
        milliseconds since the first step began.
    """
    recording = Recording(trace)
    starts = recording.starts()
    first, length = starts[0], starts[-1] - starts[0]
    steps = len(starts) - 1
    lanes = _lanes(recording, first, length)
    kernels = Counter(
        stage
        for event, stage in recording.work
        if event.category == "kernel" and 0 <= event.span[0] - first < length
    )
    training = [span for stages in lanes.values() for span in stages.get(TRAINING, [])]
    return {
        "step_ms": round(length / steps, 4),
        "steps": [round(start - first, 4) for start in starts],
        "shares": {
            lane: {stage: round(_total(spans) / length, 4) for stage, spans in stages.items()}
            for lane, stages in lanes.items()
        },
        "kernels_a_step": {stage: round(count / steps, 1) for stage, count in kernels.items()},
        "gaps": _gaps(training, length),
        "spans": [
            {"lane": lane, "stage": stage, "begin": round(begin, 4), "end": round(end, 4)}
            for lane, stages in lanes.items()
            for stage, spans in stages.items()
            for begin, end in _joined(spans, length / _PIXELS)
        ],
    }


def _lanes(recording: Recording, first: float, length: float) -> Lanes:
    """Return the streams that work in a window, those that train first, and then the threads."""
    by_stream: defaultdict[Any, defaultdict[str, list[Interval]]]
    by_stream = defaultdict(lambda: defaultdict(list))
    for event, stage in recording.work:
        by_stream[event.place][stage].append(event.span)
    lanes: Lanes = {}
    for stream in sorted(by_stream, key=lambda of: (TRAINING not in by_stream[of], str(of))):
        found = {stage: _cut(by_stream[stream][stage], first, length) for stage in COLOURS}
        if stages := {stage: spans for stage, spans in found.items() if spans}:
            lanes[f"stream {stream}: {', '.join(stages)}"] = stages
    threads = {"training thread": recording.ranges}
    for number, thread in enumerate(recording.loaders, 1):
        name = "loader's thread" if len(recording.loaders) == 1 else f"loader's thread {number}"
        threads[name] = _ranges(call for call in recording.calls if call.place == thread)
    for name, ranges in threads.items():
        lanes[name] = {stage: _cut(spans, first, length) for stage, spans in ranges.items()}
    return lanes


def _ranges(calls: Iterable[Event]) -> dict[str, list[Interval]]:
    """Return when a thread launches, with what it does in between, and when it waits."""
    launching: list[Interval] = []
    waiting: list[Interval] = []
    for call in calls:
        (waiting if "Synchronize" in call.name else launching).append(call.span)
    return {LAUNCHING: _joined(launching, _PAUSE_MS), GPU_WAIT: waiting}


def _cut(intervals: Iterable[Interval], first: float, length: float) -> list[Interval]:
    """Return what lies in a window, without overlaps, counted from its beginning."""
    moved = ((max(0.0, begin - first), min(length, end - first)) for begin, end in intervals)
    return _joined([(begin, end) for begin, end in moved if begin < end], 0.0)


def _joined(intervals: Iterable[Interval], pause: float) -> list[Interval]:
    """Return intervals in order, as one where there is no longer pause between them."""
    joined: list[Interval] = []
    for begin, end in sorted(intervals):
        if joined and begin - joined[-1][1] <= pause:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def _total(intervals: Iterable[Interval]) -> float:
    return sum(end - begin for begin, end in intervals)


def _gaps(busy: Iterable[Interval], length: float) -> list[dict[str, float]]:
    """Return the longest pauses of a window, the longest first."""
    bounds = [(0.0, 0.0), *_joined(busy, 0.0), (length, length)]
    pauses = [(begin - end, end) for (_, end), (begin, _) in itertools.pairwise(bounds)]
    longest = sorted((pause for pause in pauses if pause[0] > 0), reverse=True)[:_GAPS]
    return [{"begin": round(begin, 4), "ms": round(ms, 4)} for ms, begin in longest]


def record(data: TrainData) -> dict[str, Any]:
    """Train, and return the trace of `STEPS` steps and the beginning of another."""
    workload = WORKLOADS[MODEL]
    count = _WARM_UP + _PROFILER_WARM_UP + STEPS + 1 + _AFTER
    size = min(workload.batch_size, data.train_nodes.numel())
    workload = replace(workload, batch_size=size)
    nodes = data.train_nodes.repeat(count)[: count * size]
    step = Step(workload, data.x.shape[1], data.num_classes, data.device)
    activities = [ProfilerActivity.CPU]
    if data.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as folder, precision("high"):
        path = Path(folder) / "trace.json"
        plan = schedule(wait=_WARM_UP, warmup=_PROFILER_WARM_UP, active=STEPS + 1, repeat=1)
        recorder = profile(
            activities=activities,
            schedule=plan,
            on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
        )
        with our_system(data)(Case(workload, nodes, workers=0)) as ready, recorder:
            batches = ready.batches(range(count))
            before = Mark(data.device)
            for _ in range(count):
                with record_function(BATCH_WAIT):
                    batch = next(batches)
                with record_function(LAUNCHING):
                    step(batch)
                    mark = Mark(data.device)
                # As bench train does: the host is a step ahead.
                with record_function(GPU_WAIT):
                    before.wait()
                before = mark
                recorder.step()
        trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return trace


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the lanes of a file over its steps into a PNG."""
    _figure(results).savefig(path)


def _figure(results: dict[str, Any]) -> Figure:
    from matplotlib.patches import Patch

    lanes = list(results["shares"])
    by_bar: defaultdict[tuple[str, str], list[Interval]] = defaultdict(list)
    for span in results["spans"]:
        length = span["end"] - span["begin"]
        by_bar[span["stage"], span["lane"]].append((span["begin"], length))
    figure = new_figure(width=13.0, height=2.0 + 0.5 * len(lanes))
    axes = figure.subplots()
    name = f"{results['graph']}{' (stand-in)' if results['stand_in'] else ''}"
    title = f"Steps of {results['model']} on {name}, fed by {results['system']}"
    dress(axes, f"{title}\n{describe(results['machine'])}", "milliseconds", "")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    stages = [stage for stage in COLOURS if any(stage == of for of, _ in by_bar)]
    for stage in stages:
        for place, lane in enumerate(lanes):
            axes.broken_barh(by_bar[stage, lane], (place - 0.35, 0.7), facecolor=COLOURS[stage])
    for number, start in enumerate(results["steps"][:-1], 1):
        axes.axvline(start, color=GREY, lw=1.0, ls="--")
        axes.text(start, -0.45, f" step {number}", va="bottom", fontsize=8, color=GREY)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_ylim(len(lanes) - 0.5, -0.8)
    axes.set_xlim(0, results["steps"][-1])
    handles = [Patch(color=COLOURS[stage], label=stage) for stage in stages]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(stages), frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Record the steps, write the file, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", choices=GRAPHS, default="ogbn-products")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("there is no GPU whose work could be shown; run this where PyTorch sees one")
    machine = describe_machine()
    out = options.out or Path("benchmarks/results", f"timeline-{short_name(machine)}.json")
    data = load_data(GRAPHS[options.graph], None)
    found = timeline(record(data))
    if not found["kernels_a_step"]:
        sys.exit("torch.profiler recorded no work of the GPU: see what CUPTI logged, and mend that")
    command = f"python benchmarks/timeline.py --graph {options.graph}"
    about = {"graph": options.graph, "stand_in": data.stand_in, "model": MODEL, "system": OURS}
    results = {**header(machine, command), **about, **found}
    write_results(results, out)
    draw(results, out.with_suffix(".png"))
    print(json.dumps({name: found[name] for name in found if name != "spans"}, indent=1))


if __name__ == "__main__":
    main()
