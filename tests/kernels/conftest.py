"""One test body for every implementation of a kernel.

The Triton interpreter has to be asked for before Triton is imported, so this folder runs twice:
once in this process, and once in the process that `test_interpreter.py` starts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from torch_direct.kernels import gather, plan, scatter
from torch_direct.kernels.backend import interpreting
from torch_direct.kernels.gather import reference as gather_reference
from torch_direct.kernels.scatter import reference as scatter_reference

MODEST = settings(max_examples=30, derandomize=True, deadline=None, database=None)

IN_ORDER = ", in address order"

IMPLEMENTATIONS = (
    ["interpreter", f"interpreter{IN_ORDER}"]
    if interpreting()
    else [
        "reference",
        pytest.param("reference on GPU", marks=pytest.mark.gpu),
        pytest.param("GPU", marks=pytest.mark.gpu),
        pytest.param(f"GPU{IN_ORDER}", marks=pytest.mark.gpu),
    ]
)


@dataclass(frozen=True)
class Implementation:
    name: str
    device: torch.device
    gather_rows: Callable[[Tensor, Tensor, Tensor, Tensor | None], None]
    scatter_rows: Callable[[Tensor, Tensor, Tensor, Tensor | None], None]
    add_rows: Callable[[Tensor, Tensor, Tensor, Tensor | None], None]

    @property
    def compiled(self) -> bool:
        return not self.name.startswith("reference")

    def record(self) -> Tensor:
        return torch.zeros(4, dtype=torch.int64, device=self.device)


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    name = request.param
    device = torch.device("cuda", 0) if "GPU" in name else torch.device("cpu")
    if name.startswith("reference"):
        return Implementation(
            name,
            device,
            gather_reference.gather_rows,
            scatter_reference.scatter_rows,
            scatter_reference.add_rows,
        )
    moves = (gather.gather_rows, scatter.scatter_rows)
    if name.endswith(IN_ORDER):
        moves = tuple(in_address_order(move) for move in moves)
    return Implementation(name, device, *moves, scatter.add_rows)


def in_address_order(move: Callable[..., None]) -> Callable[..., None]:
    """The same, with the rows sorted even where that does not pay."""

    @functools.wraps(move)
    def sorted_move(*args: object, **kwargs: object) -> None:
        with mock.patch.object(plan.Seconds, "order_pays", True):
            move(*args, **kwargs)

    return sorted_move
