import pytest

import torch_direct as td
from torch_direct.bench.gather.overlap import _evenly, measure_overlap


def test_works_are_spread_evenly():
    def a() -> None: ...
    def b() -> None: ...

    order = "".join(work.__name__ for work in _evenly({a: 2, b: 6}))
    assert order == "abbbabbb"


@pytest.mark.gpu
def test_a_training_step_and_a_gather_side_by_side():
    figures = measure_overlap(td.zeros(1_000_000, 128))
    assert (figures["row_bytes"], figures["rows"]) == (512, 200_000)
    for system in ("torch-direct", "index_select"):
        for work in ("step", "gather"):
            assert figures[system][f"{work}_ms_alone"] > 0
            # No upper bound: other programs may use the same GPU meanwhile.
            assert figures[system][f"{work}_slowdown"] > 0.8
