import time

import pytest
import torch

from torch_direct.training.clock import STAGES, StageClock, border


def test_stages_add_up(device):
    clock = StageClock(dict.fromkeys(STAGES, 1.0))
    borders = []
    for _ in range(4):
        borders.append(border(device))
        time.sleep(0.02)
    clock.add("sample", borders[0], borders[2])
    clock.add("sample", borders[2], borders[3])
    clock.add("train", borders[0], borders[1], borders[2])
    seconds = clock.seconds()
    assert 1.05 < seconds["sample"] < 1.5
    assert 1.015 < seconds["train"] < seconds["sample"]
    assert seconds["gather"] == seconds["wait"] == 1.0
    assert clock.seconds() == seconds


def test_a_stage_begins_when_the_last_of_its_starts_is_passed():
    clock = StageClock(dict.fromkeys(STAGES, 0.0))
    clock.add("gather", 2.0, 5.0, 3.0, 6.5)
    assert clock.seconds()["gather"] == 1.5


@pytest.mark.gpu
def test_a_border_waits_for_the_stream_and_not_for_the_cpu():
    device = torch.device("cuda", 0)
    clock = StageClock(dict.fromkeys(STAGES, 0.0))
    start = border(device)
    began = time.perf_counter()
    torch.cuda._sleep(200_000_000)
    end = border(device)
    assert time.perf_counter() - began < 0.05
    clock.add("train", start, end)
    assert clock.seconds()["train"] > 0.05
