from collections.abc import Iterator

import pytest
import torch

from torch_direct.bench.gather.group import Options


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Measuring takes all cores; the tests after it get back what they had."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def options() -> Options:
    """Two rounds of everything that needs no other library."""
    systems = ("limit", "torch-direct", "torch-direct sorted", "index_select")
    return Options((*systems, "cpu-pinned", "cpu-pageable"), 2, 1.0, None)
