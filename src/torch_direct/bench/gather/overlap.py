"""A training step and a gather at the same time: how much does each slow the other down?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_direct.tensor.gather import gather
from torch_direct.tensor.unified import UnifiedTensor

NODES, EDGES, HIDDEN, LAYERS = 100_000, 500_000, 256, 3
"""Of the training step: forward and backward of GraphSAGE with mean aggregation, in TF32."""
ROWS = 200_000
"""Of one gather."""

_SECONDS = 0.3
_INDEX_SETS = 8

Work = Callable[[], object]


def measure_overlap(table: UnifiedTensor) -> dict[str, Any]:
    """Time a training step and gathers, each alone and both together on two streams.

    Beside `torch_direct.gather`, whose figures are under ``"torch-direct"``, PyTorch's
    ``index_select`` over the same memory is timed.

    Args:
        table: ``[table rows, width]`` in unified memory, on a GPU.

    Returns:
        Sizes; and for each way to gather the milliseconds of a step and of a gather, alone and
        together, and together over alone as ``step_slowdown`` and ``gather_slowdown``.
    """
    rows = min(ROWS, table.shape[0] // 2)
    index_sets = [
        torch.randint(table.shape[0], (rows,), device=table.device) for _ in range(_INDEX_SETS)
    ]
    out = torch.empty((rows, table.shape[1]), dtype=table.dtype, device=table.device)
    turn = count()

    def ours() -> object:
        return gather(table, index_sets[next(turn) % _INDEX_SETS], out=out)

    def index_select() -> object:
        index = index_sets[next(turn) % _INDEX_SETS]
        return torch.index_select(table.alias, 0, index, out=out)

    with _tf32():
        step = _TrainingStep(table.device)
        figures = {
            "torch-direct": _alone_and_together(step, ours),
            "index_select": _alone_and_together(step, index_select),
        }
    return {
        "rows": rows,
        "row_bytes": table.shape[1] * table.element_size(),
        "footprint_bytes": table.nbytes,
        "step": {"nodes": NODES, "edges": EDGES, "hidden": HIDDEN, "layers": LAYERS},
        **figures,
    }


class _TrainingStep:
    """One forward and backward pass over data that stays the same, replayed from a CUDA graph.

    The graph keeps the host out of the measurement. What it reads is held here.
    """

    def __init__(self, device: torch.device) -> None:
        self._source, self._target = torch.randint(NODES, (2, EDGES), device=device)
        self._x = torch.randn(NODES, HIDDEN, device=device)
        self._degree = torch.bincount(self._target, minlength=NODES).clamp(min=1).unsqueeze(1)
        self._weights = [
            torch.randn(2 * HIDDEN, HIDDEN, device=device).mul_(HIDDEN**-0.5).requires_grad_()
            for _ in range(LAYERS)
        ]
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            self._forward_and_backward()
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._gradients = self._forward_and_backward()

    def __call__(self) -> None:
        self._graph.replay()

    def _forward_and_backward(self) -> tuple[Tensor, ...]:
        h = self._x
        for weight in self._weights:
            total = torch.zeros_like(h).index_add(0, self._target, h.index_select(0, self._source))
            h = F.relu(torch.cat([h, total / self._degree], dim=1) @ weight)
        return torch.autograd.grad(h.sum(), self._weights)


def _alone_and_together(step: Work, read: Work) -> dict[str, float]:
    times = {work: _times(_milliseconds({work: 10})[work]) for work in (step, read)}
    step_alone = _milliseconds({step: times[step]})[step]
    read_alone = _milliseconds({read: times[read]})[read]
    together = _milliseconds(times)
    return {
        "step_ms_alone": step_alone,
        "step_ms_together": together[step],
        "step_slowdown": together[step] / step_alone,
        "gather_ms_alone": read_alone,
        "gather_ms_together": together[read],
        "gather_slowdown": together[read] / read_alone,
    }


def _times(milliseconds: float) -> int:
    """Return how often to do a work of so many milliseconds to keep a GPU busy for long enough."""
    return max(10, math.ceil(_SECONDS * 1000 / milliseconds))


def _milliseconds(times: dict[Work, int]) -> dict[Work, float]:
    """Do every work so many times, each on a stream of its own; return the time of one.

    What is counted is done while every stream still has work: once one is through, the others no
    longer share the GPU. A work that had to wait for all of another is counted once.
    """
    torch.cuda.synchronize()
    begin = torch.cuda.Event(enable_timing=True)
    begin.record()
    streams = {work: torch.cuda.Stream() for work in times}
    ends: dict[Work, list[torch.cuda.Event]] = {work: [] for work in times}
    for stream in streams.values():
        stream.wait_event(begin)
    for work in _evenly(times):
        with torch.cuda.stream(streams[work]):
            work()
            end = torch.cuda.Event(enable_timing=True)
            end.record()
        ends[work].append(end)
    torch.cuda.synchronize()
    after = {work: [begin.elapsed_time(end) for end in ends[work]] for work in times}
    shared = min(moments[-1] for moments in after.values())
    counted = {
        work: [m for m in moments if m <= shared] or moments[:1] for work, moments in after.items()
    }
    return {work: moments[-1] / len(moments) for work, moments in counted.items()}


def _evenly(times: dict[Work, int]) -> Iterator[Work]:
    """Yield every work as often as asked, spread evenly, so that no stream waits for the host."""
    moments = [(number / n, place) for place, n in enumerate(times.values()) for number in range(n)]
    works = list(times)
    for _, place in sorted(moments):
        yield works[place]


@contextmanager
def _tf32() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
