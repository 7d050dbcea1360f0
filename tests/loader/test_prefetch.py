"""What the thread does: order, exceptions, and that nothing is left of an abandoned loader."""

from __future__ import annotations

import gc
import threading
import time
import traceback
import weakref
from collections import UserDict, deque
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import torch
from torch_geometric import EdgeIndex

import torch_direct as td
from torch_direct.loader import prefetch
from torch_direct.loader.prefetch import prefetched, tensors_in


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("torch-direct-prefetch")]


def gone(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


@pytest.fixture(params=[0, 1, 3])
def ahead(request):
    return request.param


def test_batches_come_in_order(ahead, device):
    made = prefetched(
        [lambda n: torch.full((3,), n, device=device)], range(10), ahead=ahead, device=device
    )
    assert [batch.tolist() for batch in made] == [[n] * 3 for n in range(10)]
    assert list(prefetched([str], [], ahead=ahead, device=device)) == []


def test_tasks_are_taken_in_the_callers_thread(ahead, device):
    def tasks():
        for n in range(5):
            assert threading.current_thread() is threading.main_thread()
            yield n

    assert list(prefetched([lambda n: n], tasks(), ahead=ahead, device=device)) == list(range(5))


def test_an_exception_in_the_tasks_comes_after_the_batches_before_it(ahead, device):
    def tasks():
        yield from range(4)
        raise LookupError("the fifth")

    made = prefetched([lambda n: n], tasks(), ahead=ahead, device=device)
    assert [next(made) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LookupError, match="the fifth"):
        next(made)


def test_an_exception_in_the_tasks_keeps_nothing(ahead, device):
    class Held:
        pass

    def tasks(held):
        yield 1
        raise LookupError

    held = Held()
    seen = weakref.ref(held)
    gc.collect()
    gc.disable()
    try:
        made = prefetched([str], tasks(held), ahead=ahead, device=device)
        del held
        with suppress(LookupError):
            list(made)
        del made
        assert gone(lambda: seen() is None)
    finally:
        gc.enable()


def test_no_more_batches_are_made_than_asked(ahead, device):
    begun = []
    made = prefetched([begun.append], range(100), ahead=ahead, device=device)
    next(made)
    assert gone(lambda: len(begun) == ahead + 1)
    time.sleep(0.02)
    assert len(begun) == ahead + 1


def broken(n: int) -> int:
    if n == 2:
        raise LookupError("the third batch")
    return n


def test_an_exception_reaches_the_loop_with_its_traceback(ahead, device):
    seen = []
    with pytest.raises(LookupError, match="the third batch") as caught:
        seen.extend(prefetched([broken], range(5), ahead=ahead, device=device))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "broken" in frames
    del caught
    assert gone(lambda: not threads())


def test_batches_before_an_exception_are_given(ahead, device):
    made = prefetched([broken], range(5), ahead=ahead, device=device)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(LookupError):
        next(made)


class Source:
    """What batches are made of."""

    def __init__(self, device: torch.device) -> None:
        self.table = torch.zeros(1000, device=device)

    def make(self, n: int) -> torch.Tensor:
        return self.table + n


def test_an_abandoned_iterator_stops_its_thread_and_frees_everything(ahead, device):
    source = Source(device)
    watched = weakref.ref(source)
    made = prefetched([source.make], range(10**9), ahead=ahead, device=device)
    batch = weakref.ref(next(made))
    del source, made
    assert gone(lambda: not threads())
    gc.collect()
    assert watched() is None
    assert batch() is None


def test_an_abandoned_iterator_begins_no_other_batch(device):
    begun, let_go = [], threading.Event()

    def make(n: int) -> None:
        begun.append(n)
        if n == 1:
            let_go.wait(5)

    made = prefetched([make], range(10), ahead=3, device=device)
    next(made)
    assert gone(lambda: begun == [0, 1])
    made.close()
    let_go.set()
    assert gone(lambda: not threads())
    assert begun == [0, 1]


def test_the_iterator_keeps_no_batch_that_was_given(ahead, device):
    made = prefetched([Source(device).make], range(5), ahead=ahead, device=device)
    first = next(made)
    watched = weakref.ref(first)
    del first
    assert watched() is None
    made.close()


def test_tensors_are_found_wherever_they_are():
    class Holder:
        def __init__(self, value):
            self.value = value
            self.me = self

    found = [torch.zeros(n) for n in range(5)]
    nested = {
        "a": found[0],
        "b": [found[1], (found[2], {found[3]}, "text", 7)],
        "c": Holder({"d": found[4]}),
    }
    assert sorted(tensor.numel() for tensor in tensors_in(nested)) == [0, 1, 2, 3, 4]


def test_tensors_are_found_beside_numbers_and_names():
    class Once(UserDict):
        def values(self):
            return iter(self.data.values())

    found = [torch.zeros(n) for n in range(3)]
    nested = [
        [*range(1000), 0.5, "name", None, True, found[0]],
        Once(a=1, b=[2, found[1]]),
        ([1, 2], {"c": {"d": "name"}}, {"e": (found[2],)}),
    ]
    assert sorted(tensor.numel() for tensor in tensors_in(nested)) == [0, 1, 2]
    assert list(tensors_in(found[0])) == [found[0]]
    assert list(tensors_in(["name", [1, 2], {"a": 3}])) == []


def test_tensors_are_found_in_slots_and_behind_values_that_are_made_when_asked():
    @dataclass(slots=True)
    class Slotted:
        first: torch.Tensor
        missing: object = field(init=False)

    class OneSlot(Slotted):
        __slots__ = "second"

    class Private(OneSlot):
        __slots__ = ("__third",)

        def __init__(self):
            self.first, self.second, self.__third = (torch.zeros(n) for n in (1, 2, 3))

    assert sorted(tensor.numel() for tensor in tensors_in([Private()])) == [1, 2, 3]

    class Named(list):
        pass

    named = Named([torch.zeros(1)])
    named.other = deque([torch.zeros(2)])
    assert sorted(tensor.numel() for tensor in tensors_in(named)) == [1, 2]

    class Made(UserDict):
        def values(self):
            return iter([[value] for value in self.data.values()])

    for _ in range(20):  # a list may come to lie where one that is gone lay
        found = [torch.zeros(n) for n in range(8)]
        made = [Made(enumerate(found[:4])), Made(enumerate(found[4:]))]
        assert sorted(tensor.numel() for tensor in tensors_in(made)) == [*range(8)]


def test_tensors_are_found_that_other_tensors_keep(device):
    edges = EdgeIndex([[0, 1], [1, 0]], sort_order="row", sparse_size=(2, 2)).to(device)
    edges.fill_cache_()
    kept = (edges._indptr, edges._T_perm, edges._T_index[0], edges._T_indptr)
    found = {id(tensor) for tensor in tensors_in([edges])}
    assert {id(tensor) for tensor in (edges, *kept) if tensor is not None} <= found
    assert sum(tensor is not None for tensor in kept) >= 3
    table = td.unified(torch.zeros(3))
    assert [id(tensor) for tensor in tensors_in([table])] == [id(table)]


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize(
    "layout",
    [torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.jagged],
    ids=str,
)
def test_tensors_of_every_layout_have_parts(layout, device):
    rows = torch.eye(3, device=device)
    if layout == torch.jagged:
        tensor, count = torch.nested.nested_tensor([rows[:1], rows[1:]], layout=layout), 2
    else:
        dense = layout == torch.strided
        tensor = rows if dense else rows.to_sparse(layout=layout)
        count = 1 if dense else 2 if layout == torch.sparse_coo else 3
    parts = prefetch._parts_of(tensor)
    assert len(parts) == count
    assert all(part.layout == torch.strided for part in parts)


def test_tensors_are_not_looked_for_in_what_lies_apart():
    apart, found = {"a": [torch.zeros(1)]}, torch.zeros(2)
    assert list(tensors_in([apart, [apart], {"b": found}], [apart])) == [found]


@pytest.mark.gpu
def test_a_batch_is_complete_on_the_callers_stream_and_not_reused_too_early():
    """The loop's stream lags far behind; batches that it still has to read must not be reused."""
    device = torch.device("cuda", 0)
    sums = []
    size = 1 << 22
    for number, batch in enumerate(
        prefetched(
            [lambda n: torch.full((size,), n, device=device, dtype=torch.int64)],
            range(40),
            ahead=2,
            device=device,
        )
    ):
        torch.cuda._sleep(20_000_000)
        sums.append((number, batch.sum()))
        del batch
    assert [int(total) for _, total in sums] == [number * size for number, _ in sums]


def test_stages_follow_each_other(ahead, device):
    stages = [lambda n: torch.full((3,), n, device=device), torch.Tensor.neg, torch.Tensor.tolist]
    assert list(prefetched(stages, range(3), ahead=ahead, device=device)) == [
        [0, 0, 0],
        [-1, -1, -1],
        [-2, -2, -2],
    ]


@pytest.mark.gpu
def test_a_stage_waits_for_the_one_before_and_its_tensors_are_not_reused_too_early():
    """The first stage runs ahead of a slow second one, which reads what the first has let go."""
    device = torch.device("cuda", 0)
    size = 1 << 22

    def first(n: int) -> torch.Tensor:
        torch.cuda._sleep(5_000_000)
        return torch.full((size,), n, device=device, dtype=torch.int64)

    def second(made: torch.Tensor) -> torch.Tensor:
        torch.cuda._sleep(20_000_000)
        return made.sum()

    sums = list(prefetched([first, second], range(20), ahead=3, device=device))
    assert [int(total) for total in sums] == [n * size for n in range(20)]


@pytest.mark.gpu
def test_every_stage_has_a_stream_of_its_own():
    device = torch.device("cuda", 0)

    def stream(before: object) -> tuple[int, ...]:
        before = before if isinstance(before, tuple) else ()
        return *before, torch.cuda.current_stream(device).cuda_stream

    stages = [stream, stream]
    streams = {s for _ in range(3) for s in prefetched(stages, range(3), ahead=1, device=device)}
    assert len(streams) == 1  # in all epochs, as free memory is kept by stream
    assert len({*streams.pop(), torch.cuda.current_stream(device).cuda_stream}) == 3


@pytest.mark.gpu
def test_what_a_task_is_drawn_from_on_the_gpu_is_there_when_its_batch_is_made(ahead):
    """A generator of tasks on the GPU runs on the loop's stream, which lags far behind."""
    device, size = torch.device("cuda", 0), 1 << 22

    def tasks():
        for n in range(20):
            torch.cuda._sleep(20_000_000)
            yield torch.full((size,), n, device=device, dtype=torch.int64)

    sums = list(prefetched([torch.sum], tasks(), ahead=ahead, device=device))
    assert [int(total) for total in sums] == [n * size for n in range(20)]


@pytest.mark.gpu
def test_a_loop_that_never_waits_does_not_fill_the_memory():
    device, size = torch.device("cuda", 0), 1 << 26
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    stages = [lambda n: torch.full((size,), n, dtype=torch.uint8, device=device)]
    for _batch in prefetched(stages, range(40), ahead=2, device=device):
        torch.cuda._sleep(10_000_000)
    assert torch.cuda.max_memory_allocated(device) - before <= 5 * size
