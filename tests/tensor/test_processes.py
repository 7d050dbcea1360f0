"""Unified tensors in forked and spawned processes."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import torch_direct as td
from torch_direct.errors import FileFormatError, ForkedProcessError, UnifiedMemoryError
from torch_direct.memory import pages, process
from torch_direct.tensor import serialize

HAS_CUDA = torch.cuda.is_available()
PATIENCE = 120
"""Seconds that a process may take to answer."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def x() -> Tensor:
    return torch.arange(12, dtype=torch.float32).view(4, 3)


def shared() -> td.UnifiedTensor:
    tensor = td.empty(4, 3, shared=True)
    tensor.host.copy_(x())
    return tensor


@pytest.fixture
def mapped(tmp_path: Path) -> td.UnifiedTensor:
    np.save(tmp_path / "x.npy", x().numpy())
    return td.load(tmp_path / "x.npy")


def outcome_of(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns, or the error that it raises."""
    try:
        return function(*args)
    except Exception as error:
        return error


def in_forked_child(function: Callable[[], Any]) -> Any:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(outcome_of(function)), daemon=True)
    child.start()
    try:
        assert receiver.poll(PATIENCE), "the forked child did not answer"
        return receiver.recv()
    finally:
        child.kill()
        child.join(PATIENCE)


def test_a_forked_child_reads_shared_memory_on_the_host() -> None:
    tensor = shared()

    def look() -> Any:
        results = tensor[1:3], tensor[[3, 0]], tensor + 1, tensor.sum(0)
        return tensor.device.type, [r.device.type for r in results], [r.tolist() for r in results]

    device, devices, values = in_forked_child(look)
    assert device == "cpu"
    assert devices == ["cpu"] * 4
    assert values == [r.tolist() for r in (x()[1:3], x()[[3, 0]], x() + 1, x().sum(0))]


@pytest.mark.gpu
def test_results_in_a_forked_child_are_plain() -> None:
    tensor = shared()

    def types() -> list[bool]:
        return [td.is_unified(r) for r in (tensor[1:3], tensor.t(), tensor[0], tensor * 2)]

    assert in_forked_child(types) == [False] * 4


def test_writes_to_shared_memory_are_seen_by_both_sides() -> None:
    tensor = shared()

    def write() -> float:
        tensor[2] = 7.0
        return float(tensor.host[0, 1])

    tensor.host[0, 1] = 5.0
    assert in_forked_child(write) == 5.0
    assert tensor.host[2].tolist() == [7.0] * 3


def test_a_forked_child_reads_a_mapped_file(mapped: td.UnifiedTensor) -> None:
    assert in_forked_child(lambda: mapped[1].tolist()) == [3.0, 4.0, 5.0]


@pytest.mark.gpu
@pytest.mark.parametrize("touch", [lambda u: u[0], lambda u: u + 1, lambda u: u.host, repr])
def test_a_forked_child_is_told_that_private_memory_is_gone(touch: Callable[..., Any]) -> None:
    tensors = [td.unified(x()), td.empty(4, 3)]
    for tensor in tensors:
        error = in_forked_child(lambda tensor=tensor: touch(tensor))
        assert isinstance(error, ForkedProcessError)
        assert "shared=True" in str(error)
        assert "spawn" in str(error)
        tensor.host.add_(1)


@pytest.mark.gpu
def test_a_forked_child_cannot_make_memory_for_the_gpu() -> None:
    td.empty(1)
    assert in_forked_child(lambda: td.unified(x()).device.type) == "cpu"
    assert isinstance(in_forked_child(lambda: td.unified(x(), device="cuda")), UnifiedMemoryError)


def test_freeing_in_a_forked_child_frees_nothing_of_the_parents() -> None:
    tensors = [shared()]

    def free() -> bool:
        owner = weakref.ref(tensors[0].owner)
        tensors.clear()
        td.empty_cache()
        return owner() is None

    assert in_forked_child(free) is True
    assert tensors[0].cpu().tolist() == x().tolist()


def test_memory_that_a_forked_child_makes_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "cuda_lost", True)
    made = [td.unified(x()), td.zeros(4, 3), td.full((4, 3), 2.0), td.empty(4, 3)]
    for tensor in made:
        tensor[0] = 5.0
        assert tensor[0].tolist() == [5.0] * 3
        assert (tensor + 1).device.type == "cpu"


def test_a_forked_child_is_refused_writes_to_read_only_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensor = shared()
    monkeypatch.setattr(process, "cuda_lost", True)
    array = np.frombuffer(bytes(16), dtype=np.float32)
    for read_only in (tensor.as_read_only(), td.from_numpy(array)):
        with pytest.raises(td.errors.ReadOnlyError, match="clone"):
            read_only[0] = 7.0
    assert tensor.host.tolist() == x().tolist()
    assert not array.any()


class Rows(Dataset[Any]):
    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Tensor:
        return self.table[row]


def test_loader_workers_read_shared_memory() -> None:
    loader = DataLoader(
        Rows(shared()),
        batch_size=2,
        num_workers=2,
        multiprocessing_context="fork",
        timeout=PATIENCE,
    )
    batches = list(loader)
    assert [batch.device.type for batch in batches] == ["cpu", "cpu"]
    assert torch.cat([batch.cpu() for batch in batches]).tolist() == x().tolist()


@pytest.mark.gpu
def test_loader_workers_are_told_that_private_memory_is_gone() -> None:
    loader = DataLoader(
        Rows(td.unified(x())), num_workers=1, multiprocessing_context="fork", timeout=PATIENCE
    )
    with pytest.raises(ForkedProcessError, match="shared=True"):
        list(loader)


class Child:
    """A spawned process that calls what it is sent."""

    def __init__(self) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self._inbox, self._outbox = context.Queue(), context.Queue()
        self._process = context.Process(target=serve, args=(self._inbox, self._outbox), daemon=True)
        self._process.start()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        self._inbox.put((function, args))
        return self._outbox.get(timeout=PATIENCE)

    def close(self) -> None:
        self._inbox.put(None)
        self._process.join(PATIENCE)
        self._process.kill()


def serve(inbox: Any, outbox: Any) -> None:
    for function, args in iter(inbox.get, None):
        outbox.put(outcome_of(function, *args))


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    spawned = Child()
    yield spawned
    spawned.close()


KEPT: dict[str, td.UnifiedTensor] = {}
"""What a spawned child holds on to."""


def look(tensor: td.UnifiedTensor) -> Any:
    kept = td.is_unified(tensor), tensor.propagate, tensor.is_shared(), tensor.stride()
    return *kept, tensor.tolist()


def keep(name: str, tensor: td.UnifiedTensor) -> int:
    KEPT[name] = tensor
    return tensor.data_ptr()


def value_of(name: str) -> Any:
    return KEPT[name].tolist()


def write(name: str, row: int, value: float) -> None:
    KEPT[name].host[row] = value


def make() -> td.UnifiedTensor:
    KEPT["made"] = td.full((3,), 4.0, shared=True)
    return KEPT["made"]


def test_a_spawned_child_gets_shared_memory_itself(child: Child) -> None:
    tensor = shared()
    child.run(keep, "shared", tensor)
    tensor.host[0] = 8.0
    assert child.run(value_of, "shared")[0] == [8.0] * 3
    child.run(write, "shared", 1, 9.0)
    assert tensor.tolist()[1] == [9.0] * 3


def test_views_travel_with_their_layout_and_propagation(child: Child) -> None:
    view = td.unified(shared()[1:, ::2].t(), propagate=False)
    assert child.run(look, view) == (True, False, True, view.stride(), x()[1:, ::2].t().tolist())


def test_a_spawned_child_maps_the_same_file(child: Child, mapped: td.UnifiedTensor) -> None:
    assert child.run(look, mapped[1:]) == (True, True, True, (3, 1), x()[1:].tolist())


def test_a_file_that_was_replaced_is_noticed(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, x().numpy())
    tensor = td.load(path)
    payload = bytes(ForkingPickler.dumps(tensor))
    path.rename(tmp_path / "old.npy")
    np.save(path, x().numpy())
    with pytest.raises(FileFormatError, match="not the file"):
        ForkingPickler.loads(payload)


def test_the_same_memory_sent_twice_is_mapped_once(child: Child) -> None:
    tensor = shared()
    first = child.run(keep, "first", tensor)
    assert child.run(keep, "second", tensor) == first
    assert child.run(keep, "part", tensor[1:]) == first + tensor[1:].data_ptr() - tensor.data_ptr()


def write_and_compare(whole: td.UnifiedTensor, rows: td.UnifiedTensor) -> None:
    assert whole.owner is rows.owner
    whole.host[2] = 9.0
    assert rows.host[0].tolist() == [9.0] * 3


def test_two_views_of_one_memory_are_arguments_of_a_process(mapped: td.UnifiedTensor) -> None:
    tensor = shared()
    context = torch.multiprocessing.get_context("spawn")
    spawned = context.Process(target=write_and_compare, args=(tensor, tensor[2:]))
    spawned.start()
    spawned.join(PATIENCE)
    assert spawned.exitcode == 0
    assert tensor.host[2].tolist() == [9.0] * 3
    whole, rows = ForkingPickler.loads(ForkingPickler.dumps((mapped, mapped[2:])))
    assert whole.owner is rows.owner


def test_memory_comes_back_from_a_child(child: Child) -> None:
    made = child.run(make)
    assert td.is_unified(made)
    assert made.tolist() == [4.0] * 3
    made.host[1] = 6.0
    assert child.run(value_of, "made") == [4.0, 6.0, 4.0]


@pytest.mark.parametrize("make", [lambda: td.unified(x()), lambda: td.empty(4, 3)])
def test_private_memory_does_not_travel(make: Callable[[], td.UnifiedTensor]) -> None:
    with pytest.raises(UnifiedMemoryError, match=r"\(4, 3\).*private.*shared=True.*td\.load"):
        ForkingPickler.dumps(make())
    context = torch.multiprocessing.get_context("spawn")
    with pytest.raises(UnifiedMemoryError, match="private"):
        context.Process(target=look, args=(make(),)).start()


def use_cuda(tensor: td.UnifiedTensor) -> Any:
    before = torch.cuda.is_initialized(), tensor.device.type
    moved = tensor.to("cuda")
    same = td.is_unified(moved) and moved.data_ptr() == tensor.data_ptr()
    moved.mul_(2)
    torch.cuda.synchronize()
    return before, same, moved.device.type


def mix_with_cuda(tensor: td.UnifiedTensor) -> Any:
    before = torch.cuda.is_initialized()
    result = tensor + torch.ones(3, device="cuda")
    return before, result.device.type, result.tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("source", ["shared", "mapped"])
def test_a_child_registers_at_its_first_use_of_cuda(source: str, mapped: td.UnifiedTensor) -> None:
    spawned = Child()
    try:
        if source == "shared":
            tensor = shared()
            assert spawned.run(use_cuda, tensor) == ((False, "cpu"), True, "cuda")
            assert tensor.tolist() == (x() * 2).tolist()
        expected = (source == "shared", "cuda", (x() + 1).tolist())
        assert spawned.run(mix_with_cuda, mapped) == expected
    finally:
        spawned.close()


def test_a_handle_carries_how_the_memory_is_looked_at() -> None:
    tensor = td.empty(3, dtype=torch.complex64, shared=True)
    tensor.host.copy_(torch.tensor([1 + 2j, 3 - 1j, 0j]))
    sent = {
        "conjugated": tensor.conj(),
        "negated": tensor.conj().imag,
        "parameter": torch.nn.Parameter(tensor),
        "read-only": tensor.as_read_only(),
    }
    # Rebuilt in this process, which the way of a handle does not notice.
    came = {name: ForkingPickler.loads(ForkingPickler.dumps(sent[name])) for name in sent}
    for name, view in came.items():
        assert view.tolist() == sent[name].tolist()
    assert isinstance(came["parameter"], torch.nn.Parameter)
    with pytest.raises(td.errors.ReadOnlyError):
        came["read-only"].zero_()


def test_a_tensor_with_a_gradient_history_is_not_sent() -> None:
    weight = td.zeros(3, shared=True).requires_grad_()
    with pytest.raises(RuntimeError, match="detach"):
        ForkingPickler.dumps(weight[1:])


def test_a_file_sent_twice_is_mapped_once(mapped: td.UnifiedTensor) -> None:
    payload = bytes(ForkingPickler.dumps(mapped))
    first, second = ForkingPickler.loads(payload), ForkingPickler.loads(payload)
    assert first.owner is second.owner


def test_a_descriptor_of_memory_that_is_here_already_is_closed() -> None:
    block = shared().owner.lease.keeper
    sent: list[int] = []

    def detach() -> int:
        sent.append(os.dup(block.descriptor))
        return sent[-1]

    handle = SimpleNamespace(detach=detach)
    offset = pages.offset_in_shared_memory(block)
    kept, again = (serialize.memory_of_descriptor(handle, offset, 48) for _ in range(2))
    assert again is kept
    os.fstat(sent[0])
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(sent[1])


def test_a_file_sent_for_reading_and_for_writing() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "x.npy"
        np.save(path, x().numpy())
        payloads = [
            bytes(ForkingPickler.dumps(td.load(path, writable=writable)))
            for writable in (False, True)
        ]
        reader, writer = map(ForkingPickler.loads, payloads)
        writer[0] = 9.0
        assert reader[0].tolist() == [9.0] * 3
