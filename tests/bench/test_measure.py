import time
from itertools import pairwise

import pytest

from torch_direct.bench.measure import take_turns


def test_every_system_is_measured_once_in_each_round_in_changing_order():
    seen = []
    calls = {name: (lambda number, name=name: seen.append((number, name))) for name in "abc"}
    timings = take_turns(
        calls, rounds=8, seconds_each=60, before=lambda: seen.append("measured next")
    )
    measured = [now for last, now in pairwise(seen) if last == "measured next"]
    rounds = [[name for number, name in measured if number == wanted] for wanted in range(9)]
    assert [sorted(names) for names in rounds] == [["a", "b", "c"]] * 9
    assert [number for number, _ in measured] == sorted(number for number, _ in measured)
    assert len({tuple(names) for names in rounds}) > 1
    assert {timing.rounds for timing in timings.values()} == {8}


def test_the_seed_decides_the_order():
    def order(seed: int) -> list[str]:
        seen = []
        calls = {name: (lambda number, name=name: seen.append(name)) for name in "abcdef"}
        take_turns(calls, rounds=1, seconds_each=60, seed=seed)
        return seen[:6]

    assert order(1) == order(1) != order(2)


def test_a_quick_system_works_once_more_before_it_is_measured():
    seen = []
    calls = {"quick": seen.append, "slow": lambda number: time.sleep(0.03)}
    take_turns(calls, rounds=2, seconds_each=60)
    assert seen == [0, 0, 1, 1, 2]


def test_the_warm_up_is_not_counted():
    def call(number: int) -> None:
        time.sleep(0.2 if number == 0 else 0.01)

    timing = take_turns({"slow at first": call}, rounds=3, seconds_each=60)["slow at first"]
    assert 0.01 <= timing.lower <= timing.median <= timing.upper < 0.2
    assert 0.01 <= timing.host <= timing.upper


def test_cpu_time_is_not_the_time_asleep():
    def work(number: int) -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    calls = {"asleep": lambda number: time.sleep(0.02), "at work": work}
    timings = take_turns(calls, rounds=3, seconds_each=60)
    assert timings["asleep"].cpu < 0.01 < 0.02 <= timings["at work"].cpu


def test_a_slow_system_drops_out_and_the_others_go_on():
    calls = {"slow": lambda number: time.sleep(0.03), "quick": lambda number: None}
    timings = take_turns(calls, rounds=6, seconds_each=0.02)
    assert (timings["slow"].rounds, timings["quick"].rounds) == (3, 6)


def test_one_round_is_enough():
    timing = take_turns({"a": lambda number: None}, rounds=1, seconds_each=1)["a"]
    assert timing.lower == timing.median == timing.upper


def test_no_systems():
    assert take_turns({}, rounds=1, seconds_each=1) == {}


@pytest.mark.gpu
def test_the_clock_waits_for_the_gpu():
    import torch

    x = torch.randn(4096, 4096, device="cuda")
    timing = take_turns({"mm": lambda number: x @ x @ x @ x}, rounds=5, seconds_each=5)["mm"]
    assert timing.median > 2 * timing.host
