"""A CUDA driver that keeps books instead of locking memory, so that these tests run anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from torch_direct.memory import driver, host_memory, process, registry


class FakeEvent:
    """Passed when the test says so."""

    def __init__(self) -> None:
        self.passed = False

    def query(self) -> bool:
        return self.passed


class FakeDriver:
    """What is registered, and what was called, in order."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.calls: list[str] = []
        self.answers: list[int] = []
        self.events: list[FakeEvent] = []

    def register(self, address: int, nbytes: int, *, read_only: bool, device: int) -> int:
        status = self.answers.pop(0) if self.answers else driver.SUCCESS
        if status != driver.SUCCESS:
            return status
        for begin, size in self.held.items():
            if begin < address + nbytes and address < begin + size:
                return driver.ALREADY_REGISTERED
        self.held[address] = nbytes
        self.calls.append("register")
        return driver.SUCCESS

    def unregister(self, address: int, *, device: int) -> None:
        del self.held[address]
        self.calls.append("unregister")

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def record_events(self, streams: set[object]) -> list[FakeEvent]:
        new = [FakeEvent() for _ in streams]
        self.events += new
        return new

    def covers(self, address: int, nbytes: int) -> bool:
        """Whether one registration holds a range, so that a single copy may cross it."""
        return any(b <= address and address + nbytes <= b + n for b, n in self.held.items())


@contextmanager
def fake_cuda() -> Iterator[FakeDriver]:
    """This process as if it had a GPU, as far as memory is concerned."""
    fake = FakeDriver()
    with ExitStack() as stack:
        for target, name, replacement in (
            (driver, "register", fake.register),
            (driver, "unregister", fake.unregister),
            (driver, "status_name", lambda status: f"CUDA_ERROR_{status}"),
            (registry, "synchronize_all", fake.synchronize),
            (host_memory, "synchronize_all", fake.synchronize),
            (host_memory, "_events_on", fake.record_events),
            (process, "cuda_usable", lambda: True),
            (host_memory.torch.cuda, "current_device", lambda: 0),
            (host_memory.torch.cuda, "current_stream", lambda device=None: "a stream"),
        ):
            stack.enter_context(patch.object(target, name, replacement))
        yield fake
