"""What the tests of the memory share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from memory_fakes import FakeDriver, fake_cuda

from torch_direct.memory.host_memory import HostMemory


@pytest.fixture
def fake() -> Iterator[FakeDriver]:
    with fake_cuda() as found:
        yield found


@pytest.fixture
def memory(fake: FakeDriver) -> HostMemory:
    """Unified memory of its own, on the fake driver."""
    return HostMemory()
