import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from torch_direct.bench.energy import Joules
from torch_direct.bench.train import block as block_module
from torch_direct.bench.train.block import Mark, Meters, run_block

CPU = torch.device("cpu")


def batches(count, wait=0.0, link_bytes=100):
    for _ in range(count):
        time.sleep(wait)
        yield SimpleNamespace(link_bytes=link_bytes)


def measure(items, step, counted, lead=2):
    return run_block(items, step, lead=lead, counted=counted, meters=Meters(CPU), device=CPU)


def test_tells_waiting_for_data_from_training():
    found = measure(batches(7, wait=0.03), lambda batch: time.sleep(0.01), 5)
    assert found.batches == 5
    assert 0.04 <= found.seconds < 0.2
    assert 0.03 <= found.exposed <= found.seconds - 0.01
    assert found.link_bytes == 100
    assert found.cores < 0.9


def test_the_lead_is_not_counted():
    def slow_at_first():
        time.sleep(0.5)
        yield SimpleNamespace(link_bytes=10**9)
        yield from batches(4)

    found = measure(slow_at_first(), lambda batch: None, 4, lead=1)
    assert found.batches == 4
    assert found.seconds < 0.1
    assert found.link_bytes == 100


def test_batches_after_those_that_count_are_left():
    left, trained = batches(9, wait=0.02), []
    found = measure(left, trained.append, 3)
    assert len(trained) == 5
    assert len(list(left)) == 4
    assert found.batches == 3
    assert found.seconds < 0.1


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_counts_the_processor_time_of_children():
    child = multiprocessing.get_context("fork").Process(target=spin, args=(30,))
    child.start()
    try:
        found = measure(batches(6, wait=0.1), lambda batch: None, 4)
    finally:
        child.kill()
        child.join()
    assert found.cores > 0.2


def test_reads_the_processor_time_of_a_process_of_any_name():
    spin(0.3)
    name = Path("/proc/self/comm")
    before = name.read_text().strip()
    name.write_text("a) b (c")
    try:
        found = block_module._cpu_seconds(os.getpid())
    finally:
        name.write_text(before)
    assert found == pytest.approx(time.process_time(), abs=0.1)


def test_energy_becomes_watts(monkeypatch):
    class Counter:
        def __init__(self, device):
            self.begin = time.perf_counter()

        def read(self):
            seconds = time.perf_counter() - self.begin
            return Joules(300 * seconds, 100 * seconds)

    monkeypatch.setattr(block_module, "Energy", Counter)
    found = measure(batches(6, wait=0.02), lambda batch: None, 4)
    assert found.gpu_watts == pytest.approx(300, rel=0.2)
    assert found.cpu_watts == pytest.approx(100, rel=0.2)


def test_notes_the_least_free_memory(monkeypatch):
    free = iter([1000, 1000, 400, 700, 900, *[950] * 10])
    monkeypatch.setattr(block_module, "available_memory", lambda: next(free))
    monkeypatch.setattr(block_module, "_LOOK_EVERY", 0.0)
    assert measure(batches(5), lambda batch: None, 3).host_bytes == 600


def test_memory_that_others_let_go_is_not_held(monkeypatch):
    free = iter([400, *[1000] * 10])
    monkeypatch.setattr(block_module, "available_memory", lambda: next(free))
    assert measure(batches(5), lambda batch: None, 3).host_bytes == 0


def test_looks_at_the_free_memory_now_and_then_only(monkeypatch):
    looks = []
    monkeypatch.setattr(block_module, "available_memory", lambda: looks.append(1) or 1000)
    monkeypatch.setattr(block_module, "_LOOK_EVERY", 60.0)
    measure(batches(5), lambda batch: None, 3)
    assert len(looks) == 2  # at the beginning, for itself and for the meters


def test_a_lead_and_nothing_behind_it_is_an_error():
    with pytest.raises(ValueError, match="there are 2 batches; expected 2 to lead and 1"):
        measure(batches(2), lambda batch: None, 1)


def test_marks_are_moments_of_the_device(device):
    begin = Mark(device)
    if device.type == "cuda":
        torch.cuda._sleep(50_000_000)
    else:
        time.sleep(0.02)
    end = Mark(device)
    end.wait()
    assert 0.01 < begin.seconds_until(end) < 5
