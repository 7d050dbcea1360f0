import pytest
import torch

from torch_direct.bench.train import alone

CPU = torch.device("cpu")


def test_all_batches_are_trained_on_in_turn():
    seen = []
    alone.train_alone(seen.append, ["a", "b", "c"], CPU)
    assert seen == (["a", "b", "c"] * 13)[: 4 + 34]


def test_the_time_is_from_the_last_of_the_lead_to_the_last_that_counts(monkeypatch):
    class Numbered:
        """A mark whose seconds are its number."""

        def __init__(self, device):
            self.seconds = len(marks)
            marks.append(self)

        def wait(self):
            pass

        def seconds_until(self, later):
            return later.seconds - self.seconds

    marks = []
    monkeypatch.setattr(alone, "Mark", Numbered)
    assert alone._seconds_each(range(7), 2, 3, CPU) == pytest.approx(1.0)
