"""Who owns unified memory, how long, and how it comes back; on a driver that keeps books."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from memory_fakes import FakeDriver
from torch import Tensor

import torch_direct as td
from torch_direct.errors import AlreadyRegisteredError, HostMemoryError, MovedMemoryError
from torch_direct.memory import driver, host_memory, pages
from torch_direct.memory.host_memory import HOST_MEMORY, HostMemory
from torch_direct.memory.owner import FileSource, Kind, Owner

CPU = torch.device("cpu")
MIB = 1 << 20


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Only reference counts free memory here."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def host(owner: Owner) -> Tensor:
    return owner.tensor_on(CPU, torch.uint8, (owner.nbytes,), (1,), 0)


def test_a_tensor_its_slices_and_its_views_have_one_owner(
    memory: HostMemory, fake: FakeDriver
) -> None:
    tensor = torch.zeros(10, 8)
    owner, skipped = memory.adopt(tensor)
    assert (owner.kind, owner.nbytes, skipped) == (Kind.REGISTERED, 320, 0)
    for part in (tensor[3:], tensor.t(), tensor.view(-1)[5:6], tensor.numpy()[2:]):
        again, skipped = memory.adopt(torch.as_tensor(part))
        assert again is owner
        assert skipped == torch.as_tensor(part).untyped_storage().data_ptr() - tensor.data_ptr()
    assert fake.held == {tensor.data_ptr(): 320}


def test_a_part_at_no_whole_element_has_an_owner_of_its_own(memory: HostMemory) -> None:
    array = np.arange(64, dtype=np.uint8)
    whole, _ = memory.adopt(torch.from_numpy(array[1:]))
    part = torch.from_numpy(array[4:12].view(np.int32))
    owner, skipped = memory.adopt(part)
    assert owner is not whole
    assert skipped == 0
    assert owner.tensor_on(CPU, torch.int32, (2,), (1,), 0).tolist() == part.tolist()


def test_memory_of_another_process_is_registered_where_it_is_asked_for(
    memory: HostMemory, fake: FakeDriver
) -> None:
    block = pages.allocate(MIB, shared=True)
    received = memory.attach(os.dup(block.descriptor), 0, MIB)
    assert fake.held == {}
    owner, _ = memory.adopt(host(received))
    assert owner is received
    assert fake.held == {received.address: MIB}


def test_what_was_registered_in_place_is_given_back(memory: HostMemory, fake: FakeDriver) -> None:
    tensor = torch.zeros(1000)
    owner, _ = memory.adopt(tensor)
    assert fake.held
    del owner
    assert fake.held, "only the next call may give it back: finalisers run anywhere"
    memory.collect()
    assert fake.held == {}
    assert fake.calls == ["register", "synchronize", "unregister"]


def test_memory_lives_as_long_as_a_plain_tensor_over_it(
    memory: HostMemory, fake: FakeDriver
) -> None:
    owner = memory.allocate(3 * MIB)
    alias = host(owner)[MIB:]
    alias.fill_(7)
    del owner
    memory.collect()
    assert memory.statistics()["allocated.count"] == 1
    assert int(alias.sum(dtype=torch.int64)) == 7 * 2 * MIB
    del alias
    assert memory.statistics()["allocated.count"] == 0
    assert memory.statistics()["cached.bytes"] >= 3 * MIB


def test_one_device_has_one_storage_over_an_owner(memory: HostMemory) -> None:
    owner = memory.allocate(64)
    first, second = host(owner), host(owner)
    assert first.untyped_storage()._cdata == second.untyped_storage()._cdata
    separate = owner.separate_tensor_on(CPU, first)
    assert separate.data_ptr() == first.data_ptr()
    assert separate.untyped_storage()._cdata != first.untyped_storage()._cdata


def test_a_block_is_reused_only_after_its_streams(memory: HostMemory, fake: FakeDriver) -> None:
    owner = memory.allocate(MIB)
    address = owner.address
    owner.lease.streams.add("another stream")  # type: ignore[arg-type]
    del owner
    memory.collect()
    assert len(fake.events) == 2
    early = memory.allocate(MIB)
    assert early.address != address
    for event in fake.events:
        event.passed = True
    assert memory.allocate(MIB).address == address


def test_a_reused_block_keeps_its_registration(memory: HostMemory, fake: FakeDriver) -> None:
    del_me = memory.allocate(MIB)
    del del_me
    memory.collect()
    fake.events[0].passed = True
    memory.allocate(MIB)
    assert fake.calls == ["register"]


def test_shared_memory_is_not_kept_for_reuse(memory: HostMemory, fake: FakeDriver) -> None:
    owner = memory.allocate(MIB, shared=True)
    assert owner.shared
    del owner
    assert memory.statistics()["cached.bytes"] == 0
    assert fake.held == {}


def test_shared_memory_is_not_made_of_a_private_block(memory: HostMemory, fake: FakeDriver) -> None:
    memory.allocate(MIB)
    memory.collect()
    fake.events[0].passed = True
    assert memory.allocate(MIB, shared=True).lease.keeper.descriptor is not None


def test_empty_cache_gives_back_what_is_not_in_use(memory: HostMemory, fake: FakeDriver) -> None:
    kept, gone = memory.allocate(MIB), memory.allocate(2 * MIB)
    del gone
    memory.empty_cache()
    assert memory.statistics()["cached.bytes"] == 0
    assert list(fake.held) == [kept.address]
    assert fake.calls[-2:] == ["synchronize", "unregister"]


def test_the_cache_is_emptied_before_memory_is_refused(
    memory: HostMemory, fake: FakeDriver
) -> None:
    first = memory.allocate(4 * MIB)
    del first
    memory.collect()
    assert memory.statistics()["cached.bytes"] == 4 * MIB
    fake.answers = [driver.OUT_OF_MEMORY]
    owner = memory.allocate(64 * MIB)
    assert fake.covers(owner.address, owner.nbytes)
    assert memory.statistics()["cached.bytes"] == 0


def test_memory_that_cannot_be_locked_leaves_nothing_behind(
    memory: HostMemory, fake: FakeDriver
) -> None:
    fake.answers = [driver.OUT_OF_MEMORY] * 2
    with pytest.raises(HostMemoryError, match="could not be locked"):
        memory.allocate(MIB)
    with pytest.raises(HostMemoryError, match="could not be locked"):
        memory.adopt(torch.zeros(1000))
    assert fake.held == {}
    assert memory.statistics()["in_use.bytes"] == 0
    owner = memory.allocate(MIB)
    assert fake.covers(owner.address, MIB)


def test_memory_that_somebody_else_registered_is_refused(
    memory: HostMemory, fake: FakeDriver
) -> None:
    tensor = torch.zeros(1000)
    fake.held[tensor.data_ptr() + 100] = 8
    with pytest.raises(AlreadyRegisteredError, match=r"x\.clone\(\)"):
        memory.adopt(tensor)
    assert memory.statistics()["registered.count"] == 0
    memory.adopt(tensor.clone())


def test_devices_are_waited_for_once_however_many_leave(
    memory: HostMemory, fake: FakeDriver
) -> None:
    tensors = [torch.zeros(1000) for _ in range(5)]
    owners = [memory.adopt(tensor)[0] for tensor in tensors]
    fake.calls.clear()
    owners.clear()
    memory.collect()
    assert fake.calls == ["synchronize"] + ["unregister"] * 5


def test_devices_are_waited_for_when_sharers_leave_together(
    memory: HostMemory, fake: FakeDriver
) -> None:
    array = np.zeros(1000, dtype=np.uint8)
    first, _ = memory.adopt(torch.from_numpy(array[:600]))
    second, _ = memory.adopt(torch.from_numpy(array[400:]))
    assert first is not second
    assert fake.held == {array.ctypes.data: 1000}
    fake.calls.clear()
    del first, second
    memory.collect()
    assert fake.calls == ["synchronize", "unregister"]


def test_memory_that_was_moved_is_noticed_and_unregistered(
    memory: HostMemory, fake: FakeDriver
) -> None:
    tensor = torch.zeros(1000)
    address = tensor.data_ptr()
    owner, _ = memory.adopt(tensor)
    tensor.share_memory_()
    assert owner.moved
    with pytest.raises(MovedMemoryError, match=r"4,000 bytes.*share_memory_.*shared=True"):
        owner.check()
    memory.collect()
    other = torch.zeros(10)
    memory.adopt(other)
    assert address == other.data_ptr() or address not in fake.held
    again, _ = memory.adopt(tensor)
    assert again is not owner
    again.check()


def test_memory_that_was_moved_is_unregistered_before_new_memory_is_mapped(
    memory: HostMemory, fake: FakeDriver
) -> None:
    tensor = torch.zeros(1000)
    owner, _ = memory.adopt(tensor)
    tensor.share_memory_()
    memory.allocate(MIB)
    assert fake.calls == ["register", "synchronize", "unregister", "register"]
    assert owner.moved


@pytest.mark.parametrize("with_cuda", [True, False])
def test_addresses_that_were_moved_away_from_can_be_used_again(
    with_cuda: bool, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_memory.process, "cuda_usable", lambda: with_cuda)
    memory = HostMemory()
    array = np.zeros(1000, dtype=np.float32)
    moved = torch.from_numpy(array)
    before, _ = memory.adopt(moved)
    moved.share_memory_()
    after, _ = memory.adopt(torch.from_numpy(array))
    assert after is not before
    assert after.address == array.ctypes.data
    after.check()


def test_registered_memory_cannot_be_resized(memory: HostMemory) -> None:
    tensor = torch.zeros(10)
    memory.adopt(tensor)
    with pytest.raises(RuntimeError, match="resiz"):
        tensor.resize_(10_000)


def test_finalisers_in_other_threads_only_queue(memory: HostMemory, fake: FakeDriver) -> None:
    owners = [memory.allocate(MIB)]
    thread = threading.Thread(target=owners.clear)
    with memory._lock:
        thread.start()
        thread.join(timeout=30)
        assert not thread.is_alive(), "a finaliser waits for a lock"
    assert memory.statistics()["allocated.count"] == 0


def test_new_memory_waits_for_whoever_reads_the_books(memory: HostMemory) -> None:
    source = FileSource("/x", 0, (0, 0), False)
    made = []
    thread = threading.Thread(
        target=lambda: made.append(memory.map(4096, 10, None, source, read_only=True)), daemon=True
    )
    with memory._lock:
        thread.start()
        thread.join(timeout=0.3)
        assert memory._statistics.as_dict(0)["mapped.count"] == 0
    thread.join(timeout=30)
    assert memory.statistics()["mapped.count"] == 1


def test_nothing_is_taken_back_while_a_graph_is_captured(
    memory: HostMemory, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = torch.zeros(1000)
    owner, _ = memory.adopt(kept)
    monkeypatch.setattr(host_memory, "_capturing", lambda: True)
    del owner
    memory.collect()
    memory.empty_cache()
    assert fake.calls == ["register"]
    monkeypatch.setattr(host_memory, "_capturing", lambda: False)
    memory.collect()
    assert fake.held == {}


def test_figures_follow_the_memory(memory: HostMemory) -> None:
    owners = [memory.allocate(MIB), memory.allocate(MIB, shared=True), memory.allocate(0)]
    tensor = torch.zeros(1000)
    owners.append(memory.adopt(tensor)[0])
    figures = memory.statistics()
    assert (figures["allocated.bytes"], figures["allocated.count"]) == (MIB, 2)
    assert (figures["shared.bytes"], figures["shared.count"]) == (MIB, 1)
    assert (figures["registered.bytes"], figures["registered.count"]) == (4000, 1)
    assert figures["in_use.bytes"] == figures["in_use.peak_bytes"] == 2 * MIB + 4000
    owners.clear()
    after = memory.statistics()
    assert after["in_use.bytes"] == 0
    assert after["in_use.peak_bytes"] == 2 * MIB + 4000
    assert after["allocated.total_count"] == 2
    assert after["cached.bytes"] == MIB


def test_the_summary_shows_the_figures() -> None:
    before = td.memory_stats()
    kept = td.empty(3 << 20, dtype=torch.uint8)
    after = td.memory_stats()
    assert after["allocated.bytes"] - before["allocated.bytes"] == kept.nbytes
    lines = td.memory_summary().splitlines()
    (allocated,) = (line for line in lines if line.startswith("allocated private"))
    assert f"{after['allocated.count']:,}" in allocated.split()
    assert len({len(line) for line in lines[:6]}) == 1


def test_unified_tensors_leave_no_reference_cycle(without_collector: None) -> None:
    before = td.memory_stats()["in_use.bytes"]
    source = torch.zeros(1000)
    tensors = [td.unified(source), td.empty(1000), td.zeros(1000, shared=True)]
    watched = [weakref.ref(tensor.owner) for tensor in tensors]
    for tensor in tensors:
        results = (tensor[2:], tensor.host, tensor.plain, tensor.numpy(), repr(tensor), tensor + 1)
        del results
    tensors.clear()
    del tensor
    assert [reference() for reference in watched] == [None] * 3
    assert td.memory_stats()["in_use.bytes"] == before


def test_a_host_view_outlives_its_unified_tensor(without_collector: None) -> None:
    whole = td.zeros(1000)
    view, array = whole.host[500:], whole.numpy()
    owner = weakref.ref(whole.owner)
    del whole
    others = [td.full((1000,), 5.0) for _ in range(4)]
    assert int(view.sum()) == int(array.sum()) == 0
    del view
    assert owner() is not None
    del array
    assert owner() is None
    del others


def test_the_source_outlives_its_unified_tensor_and_the_other_way_round() -> None:
    source = torch.ones(1000)
    whole = td.unified(source)
    del whole
    gc.collect()
    assert int(source.sum()) == 1000
    whole = td.unified(source)
    del source
    gc.collect()
    assert int(whole.sum()) == 1000


def test_empty_cache_lowers_the_cached_bytes() -> None:
    td.empty(4 << 20)
    assert td.memory_stats()["cached.bytes"] > 0
    td.empty_cache()
    assert td.memory_stats()["cached.bytes"] == 0


def test_an_address_leads_to_its_owner() -> None:
    whole = td.empty(1000)
    assert HOST_MEMORY.owner_at(whole.data_ptr() + 3999) is whole.owner
    assert HOST_MEMORY.owner_at(whole.data_ptr() + 4000) is not whole.owner
    assert HOST_MEMORY.owner_at(1) is None


def test_a_reused_block_is_registered_for_a_larger_request(
    memory: HostMemory, fake: FakeDriver
) -> None:
    first = memory.allocate(2 * MIB + 4)
    address = first.address
    del first
    memory.collect()
    for event in fake.events:
        event.passed = True
    again = memory.allocate(4 * MIB)
    assert again.address == address
    assert fake.covers(again.address, again.nbytes)


def test_small_blocks_are_reused(memory: HostMemory, fake: FakeDriver) -> None:
    for _ in range(100):
        owner = memory.allocate(100)
        del owner
        memory.collect()
        for event in fake.events:
            event.passed = True
    assert memory.statistics()["cached.bytes"] <= 2 * 4096


def test_what_a_forked_child_makes_comes_back(
    memory: HostMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_memory.process, "cuda_lost", True)
    monkeypatch.setattr(host_memory.process, "cuda_usable", lambda: False)
    for _ in range(10):
        owner = memory.allocate(MIB)
        adopted, _ = memory.adopt(torch.zeros(1 << 16))
        del owner, adopted
    figures = memory.statistics()
    assert (figures["allocated.count"], figures["registered.count"]) == (0, 0)
    assert figures["cached.bytes"] <= 2 * MIB


def test_a_forked_child_forgets_its_parents_private_memory(
    memory: HostMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, shared = memory.allocate(MIB), memory.allocate(MIB, shared=True)
    monkeypatch.setattr(host_memory.process, "cuda_lost", True)
    memory._start_in_child()
    assert memory.owner_at(private.address) is None
    assert memory.owner_at(shared.address) is shared


def test_page_locked_memory_of_pytorch_waits_for_the_gpu(
    memory: HostMemory, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: True)
    monkeypatch.setattr(memory, "_registered_elsewhere", lambda owner: False)
    owner, _ = memory.adopt(torch.zeros(100))
    assert owner.kind is Kind.PINNED
    del owner
    memory.collect()
    assert fake.calls == ["synchronize"]


def test_two_threads_that_come_first_register_once(fake: FakeDriver, memory: HostMemory) -> None:
    block = pages.allocate(MIB, shared=True)
    owner = memory._count(Owner(Kind.SHARED, block.address, MIB, block))  # as another process's
    both, real = threading.Barrier(2), memory._lock

    class Meeting:
        """Lets nobody in before both have come."""

        def __enter__(self) -> None:
            both.wait(10)
            real.acquire()

        def __exit__(self, *_: object) -> None:
            real.release()

    memory._lock = Meeting()
    first, second = (threading.Thread(target=memory.register, args=(owner,)) for _ in range(2))
    first.start(), second.start()
    first.join(), second.join()
    memory._lock = real
    assert fake.calls.count("register") == 1
    del owner, block
    gc.collect()
    memory.collect()
    assert fake.held == {}
