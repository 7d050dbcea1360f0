"""Rows out of range that a kernel noted, on the host's side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from torch_direct.tensor import faults


@pytest.fixture
def noted() -> Iterator[None]:
    """A record as a kernel leaves it: row 7 of 5."""
    record = faults._host_record()
    record[1], record[2] = 7, 5
    record[0] = 2
    yield
    faults.forget()


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: request.param)


@pytest.mark.usefixtures("noted", "capturing")
@pytest.mark.parametrize("capturing", [False], indirect=True)
def test_a_record_is_raised_once() -> None:
    with pytest.raises(IndexError, match="row index 7 is out of range for 5 rows"):
        faults.raise_pending()
    faults.raise_pending()


@pytest.mark.usefixtures("noted", "capturing")
@pytest.mark.parametrize("capturing", [True], indirect=True)
def test_a_record_is_kept_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    faults.raise_pending()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with pytest.raises(IndexError, match="row index 7 "):
        faults.raise_pending()


@pytest.mark.usefixtures("noted")
def test_an_unfinished_record_is_not_read() -> None:
    faults._host_record()[0] = 1
    faults.raise_pending()
    faults.forget()
    assert faults._host_record()[0] == 0


@pytest.mark.parametrize(("value", "asked"), [("1", True), ("0", False), (None, False)])
def test_the_environment_asks_for_a_check_at_once(
    monkeypatch: pytest.MonkeyPatch, value: str | None, asked: bool
) -> None:
    monkeypatch.delenv("TORCH_DIRECT_SYNC_CHECK", raising=False)
    if value is not None:
        monkeypatch.setenv("TORCH_DIRECT_SYNC_CHECK", value)
    faults.sync_check.cache_clear()
    assert faults.sync_check() is asked
    faults.sync_check.cache_clear()
