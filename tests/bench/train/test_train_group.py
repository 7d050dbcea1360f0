from contextlib import ExitStack, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from torch_direct.bench.energy import Joules
from torch_direct.bench.outcome import Absent
from torch_direct.bench.train import alone, block, contest, group, pyg
from torch_direct.bench.train.alone import TRANSFERS
from torch_direct.bench.train.contest import Options
from torch_direct.bench.train.data import load_data
from torch_direct.bench.train.figures import figures_of
from torch_direct.bench.train.goals import GRAPH_IN_GPU, IN_GPU
from torch_direct.bench.train.graphs import TINY
from torch_direct.bench.train.group import Facts, ModelRows, Phase, measure_graph
from torch_direct.bench.train.models import WORKLOADS
from torch_direct.bench.train.ours import _Loaded, our_system
from torch_direct.bench.train.system import LEAD, Case, Ready
from torch_direct.bench.train.systems import OURS, STOCK, STRONG, SYSTEMS, TWO_LINES
from torch_direct.errors import WrongBatchError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

FIELDS = [
    *("graph", "stand_in", "model", "system", "epoch_s", "transfer_s", "transfer_pageable_s"),
    *("sample_s", "train_s", "transfer_q1_s", "transfer_q3_s", "transfer_pageable_q1_s"),
    *("transfer_pageable_q3_s", "sample_q1_s", "sample_q3_s", "train_q1_s", "train_q3_s"),
    *("exposed_s", "link_gb", "cpu_s"),
    *("host_peak_bytes", "gpu_j"),
    *("gpu_w", "cpu_j", "ms_per_batch", "ms_q1", "ms_q3", "workers", "ahead", "batches", "correct"),
    "seeds",
]


def options(systems=(OURS,), models=("sage-small",), **changes):
    arguments = {
        "batches": 6,
        "rounds": 2,
        "seeds": 1,
        "seconds_each": 60.0,
        "block_seconds": 0.0,
        "workers": dict.fromkeys((STOCK, TWO_LINES, STRONG), (1, 2)),
        "threads": 1,
    }
    return Options(systems, models, **{**arguments, **changes})


def measure(options):
    """Return all events but the rows that lack parts still to be measured, and the others."""
    events = [
        event
        for event in measure_graph(TINY, options, None, None)
        if not isinstance(event, ModelRows) or event.complete
    ]
    rows = [row for event in events if isinstance(event, ModelRows) for row in event.rows]
    return events, rows


def test_measures_every_model(monkeypatch):
    def make_step(self, *, trim):
        made.append((self.workload.name, trim))
        return real(self, trim=trim)

    made, real = [], contest.Contest._make_step
    monkeypatch.setattr(contest.Contest, "_make_step", make_step)
    events, rows = measure(options(models=("sage", "gat", "sage-small")))
    assert made == [("sage", True), ("sage", False), ("gat", True), ("sage-small", True)]
    assert [row["model"] for row in rows] == ["sage", "gat", "sage-small"]
    for row in rows:
        assert list(row) == FIELDS
        assert (row["graph"], row["stand_in"], row["system"]) == ("tiny", True, OURS)
        assert (row["correct"], row["seeds"], row["batches"]) == (True, 1, 6)
        for field in ("epoch_s", "transfer_s", "sample_s", "train_s", "exposed_s", "cpu_s"):
            assert row[field] > 0
        # Of 120 nodes a batch takes a tenth, so an epoch has ten.
        assert row["epoch_s"] == pytest.approx(row["ms_per_batch"] / 100, rel=0.01)
        assert row["ms_q1"] <= row["ms_per_batch"] <= row["ms_q3"]
        assert row["transfer_q1_s"] <= row["transfer_s"] <= row["transfer_q3_s"]
        assert row["sample_q1_s"] <= row["sample_s"] <= row["sample_q3_s"]
        assert row["train_q1_s"] <= row["train_s"] <= row["train_q3_s"]
        assert row["exposed_s"] < row["epoch_s"]
        assert row["transfer_pageable_s"] is None
        assert row["workers"] is None
        on_gpu = torch.cuda.is_available()
        assert (row["link_gb"] is not None) == on_gpu
        assert on_gpu or row["gpu_j"] is None
    assert {event.accuracy for event in events if isinstance(event, ModelRows)} == {None}
    steps = [event.step_ms for event in events if isinstance(event, ModelRows)]
    assert [list(of_model) for of_model in steps] == [
        ["sage", "sage untrimmed fp32"],
        ["gat"],
        ["sage-small"],
    ]
    assert all(ms > 0 for of_model in steps for ms in of_model.values())
    facts = next(event.facts for event in events if isinstance(event, Facts))
    assert facts["edges"] == load_data(TINY, None).graph.num_edges
    assert {**facts, "edges": 0} == {
        "stand_in": True,
        "nodes": 600,
        "edges": 0,
        "features": 8,
        "dtype": "float32",
        "row_bytes": 32,
        "train_nodes": 120,
    }


def test_an_accuracy_that_cannot_be_measured_costs_no_epochs(monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(contest, "validation_accuracy", fail)
    events, rows = measure(options())
    assert [event.accuracy for event in events if isinstance(event, ModelRows)] == [None]
    assert all(row["correct"] for row in rows)


def test_all_systems_take_turns():
    # One number for the strongest, as which of several is fastest here is chance.
    events, rows = measure(
        options(tuple(SYSTEMS), workers={STOCK: (1, 2), TWO_LINES: (1,), STRONG: (2,)})
    )
    absent = {event.system for event in events if isinstance(event, Absent)}
    assert absent <= {STOCK, STRONG, TWO_LINES, GRAPH_IN_GPU, IN_GPU}
    assert [row["system"] for row in rows] == [name for name in SYSTEMS if name not in absent]
    assert all(row["correct"] for row in rows), rows
    if STOCK in absent:
        pytest.skip("PyG has no sampler here")
    by_system = {row["system"]: row for row in rows}
    best = by_system[STOCK]["workers"]
    assert f"{STOCK} is fastest with {best} workers" in {
        event.name for event in events if isinstance(event, Phase)
    }
    assert (by_system[TWO_LINES]["workers"], by_system[STRONG]["workers"]) == (1, 2)
    assert by_system[STOCK]["transfer_pageable_s"] > 0
    assert by_system[STOCK]["ahead"] == 2 * best


def test_epochs_are_told_before_their_parts_are_measured():
    events = list(measure_graph(TINY, options(), None, None))
    early, late = (event for event in events if isinstance(event, ModelRows))
    assert (early.complete, late.complete) == (False, True)
    (first,), (second,) = early.rows, late.rows
    assert first["epoch_s"] == second["epoch_s"]
    assert (first["sample_s"], first["train_s"], early.step_ms) == (None, None, {})
    assert events.index(late) - events.index(early) == 2
    assert "alone" in events[-2].name


def test_seeds_multiply_nothing_but_themselves():
    _, (row,) = measure(options(batches=8, seeds=2))
    assert (row["seeds"], row["batches"]) == (2, 8)


def test_a_slow_system_takes_part_in_two_rounds_and_times_all_its_batches():
    _, (row,) = measure(options(seconds_each=0.0, rounds=4, batches=10))
    assert row["batches"] == 10


@pytest.mark.parametrize("workers", [None, 4, 12, 16])
@pytest.mark.parametrize("batches", [1, 100, 5000])
@pytest.mark.parametrize("seconds", [1e-4, 0.01, 2.0])
def test_a_plan_has_two_rounds_all_batches_and_seeds_for_them(workers, batches, seconds):
    if workers:
        case = Case(WORKLOADS["sage"], torch.arange(0), workers)
        ready = pyg._ready(case, None, None, {})
    else:
        ready = Ready(None, None, {}, LEAD, 2)
    asked = options(batches=batches, rounds=4, seeds=2, seconds_each=20.0, block_seconds=1.0)
    counted, rounds = contest._plan(ready, seconds, asked)
    assert counted % (workers or 1) == 0
    assert 2 <= rounds <= 4
    assert counted * rounds * asked.seeds >= batches
    assert counted * seconds >= min(1.0, 1024 * seconds)
    assert ready.lead + counted + ready.tail <= contest._slot(asked)
    took = (ready.lead + counted + ready.tail) * rounds * asked.seeds * seconds
    assert took <= asked.seconds_each or rounds == 2


def test_a_fast_system_takes_part_in_every_round():
    _, rounds = contest._plan(Ready(None, None, {}, LEAD, 2), 1e-4, options(rounds=4))
    assert rounds == 4


@pytest.mark.parametrize("workers", [1, 4, 8, 12, 16, 40])
def test_workers_lead_as_long_as_ours_in_whole_waves(workers):
    case = Case(WORKLOADS["sage"], torch.arange(0), workers)
    lead = pyg._ready(case, None, None, {}).lead
    assert lead % workers == 0
    assert LEAD <= lead < LEAD + workers


def test_each_system_gets_the_number_of_workers_that_suits_it():
    tried = {
        STOCK: {8: 0.2, 12: "OSError: no file left"},
        STRONG: {4: 0.3, 8: 0.1, 16: 0.2},
    }
    pretended = SimpleNamespace(
        options=options(workers={STOCK: (8, 12), STRONG: (4, 8, 16)}),
        try_workers=lambda name, start, number: tried[name][number],
    )
    events, workers = [], {}

    def chosen():
        workers.update(
            (yield from group._choose_workers(pretended, {STOCK: STOCK, STRONG: STRONG}))
        )

    events += chosen()
    assert workers == {STOCK: 8, STRONG: 8}
    assert [event.facts for event in events if isinstance(event, Facts)] == [
        {"workers_ms": {STOCK: {"8": 200, "12": "OSError: no file left"}}},
        {"workers_ms": {STRONG: {"4": 300, "8": 100, "16": 200}}},
    ]


def test_a_number_of_workers_that_fails_is_told():
    def start(case):
        raise OSError(f"no file left for {case.workers}")

    found = contest.Contest(load_data(TINY, None), WORKLOADS["sage-small"], options())
    assert found.try_workers(STOCK, start, 8) == "OSError: no file left for 8"


def test_a_number_of_workers_is_tried_once(monkeypatch):
    real, tried = contest.Contest._trial, []
    monkeypatch.setattr(
        contest.Contest,
        "_trial",
        lambda *given, **options: tried.append(1) or real(*given, **options),
    )
    data = load_data(TINY, None)
    found = contest.Contest(data, WORKLOADS["sage-small"], options())
    start = our_system(data)
    with ExitStack() as stack:
        found.try_workers("tried", start, 2)
        found.open("tried", start, 2, stack)
        assert len(tried) == 1
        found.open("not tried", start, 2, stack)
        assert len(tried) == 2
        assert set(found.turns) == {"tried", "not tried"}


def taken_of(ready):
    """Return the system, and where it notes what was asked for and what was taken."""
    asked, taken = [], []

    def batches(numbers):
        asked.extend(numbers)
        for batch in ready.batches(numbers):
            taken.append(batch)
            yield batch

    return replace(ready, batches=batches), asked, taken


def test_what_is_made_ahead_is_taken_behind_a_block_and_left_behind_a_trial():
    found = contest_of(12)
    with our_system(found.data)(found._case(0)) as ready:
        ready, asked, taken = taken_of(ready)
        found._block(ready, 1, 2)
        assert len(taken) == len(asked) == LEAD + 2 + ready.tail
        asked.clear()
        taken.clear()
        found._trial(ready, to_the_end=False)
        assert len(taken) == contest._TRIAL_LEAD + contest._TRIAL
        assert len(asked) == len(taken) + ready.tail
        taken.clear()
        found._trial(ready)
        assert len(taken) == contest._TRIAL_LEAD + contest._TRIAL + ready.tail


@pytest.mark.parametrize("name", [STOCK, STRONG])
def test_only_the_trial_of_a_system_that_ends_with_it_is_left_unfinished(monkeypatch, name):
    def trial(self, ready, *, to_the_end):
        ends.append(to_the_end)
        return 0.1

    monkeypatch.setattr(contest.Contest, "_trial", trial)
    ends, found = [], contest_of(12)
    found.try_workers(name, our_system(found.data), 2)
    assert ends == [name != STOCK]


def contest_of(batch_size, **changes):
    workload = replace(WORKLOADS["sage-small"], batch_size=batch_size)
    return contest.Contest(load_data(TINY, None), workload, options(**changes))


def block_of(seconds=0.2, **changes):
    usual = {"exposed": 0.1, "cores": 2.0, "gpu_watts": None, "cpu_watts": None}
    usual |= {"batches": 4, "link_bytes": 5e8, "host_bytes": 7}
    return block.Block(seconds=seconds, **{**usual, **changes})


def test_no_batch_has_a_seed_twice():
    """Whatever is left of an epoch, whose nodes are no multiple of a batch."""
    for seeds in contest_of(7).nodes.split(7):
        assert seeds.unique().numel() == 7


def test_an_epoch_has_the_batch_that_is_not_full_and_the_data_are_held_too():
    found = contest_of(7)
    ready = Ready(None, None, {}, LEAD, 2)
    found.names, found.turns = ["one"], {"one": contest._Turns(ready, 4, 2, 50, [block_of()])}
    (row,) = found.rows()
    assert row["epoch_s"] == pytest.approx(18 * 0.2)  # of 120 nodes
    assert row["host_peak_bytes"] == found.data.nbytes + 50 + 7


def test_what_a_system_holds_while_it_rests_is_noted(monkeypatch):
    free, found = iter([1000, 400]), contest_of(12)
    monkeypatch.setattr(contest, "available_memory", lambda: next(free))
    with ExitStack() as stack:
        found.open("one", our_system(found.data), 0, stack)
        assert found.turns["one"].idle_bytes == 600


def test_every_round_has_nodes_of_its_own_and_every_seed_is_set(monkeypatch):
    def note(self, ready, first, counted):
        noted.append((first // contest._slot(self.options), torch.initial_seed()))
        return block_of()

    noted, found = [], contest_of(12, seeds=2)
    monkeypatch.setattr(contest.Contest, "_block", note)
    found.turns = {"one": contest._Turns(None, 4, 2, 0)}
    found.take_turns()
    assert noted == [(1, 0), (2, 0), (3, 1), (4, 1)]
    assert len(found.turns["one"].blocks) == 4


def test_a_system_that_failed_has_no_other_turn(monkeypatch):
    def fail(self, *arguments):
        asked.append(1)
        raise OSError("no file left")

    asked, found = [], contest_of(12)
    monkeypatch.setattr(contest.Contest, "_block", fail)
    found.turns = {"one": contest._Turns(None, 4, 2, 0)}
    found.take_turns()
    assert (len(asked), found.turns) == (1, {})
    assert found.errors == {"one": "OSError: no file left"}
    monkeypatch.setattr(contest, "validation_accuracy", lambda *arguments: 0.5)
    assert found.accuracy() is None  # nobody trained the model


def test_a_precision_is_that_of_a_block_only():
    before = torch.get_float32_matmul_precision()
    with contest.precision("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def wrong_features(batch):
    batch.x = batch.x + 1
    return batch


def wrong_classes(batch):
    batch.y = 1 - batch.y
    return batch


def wrong_seeds(batch):
    batch.n_id = batch.n_id.flip(0)
    return batch


def wrong_edges(batch):
    batch.edge_index = batch.edge_index.flip(1)
    return batch


def too_few_edges(batch):
    batch.edge_index = batch.edge_index[:, 1:]
    return batch


def edges_of_another_graph(batch):
    batch.edge_index[0] = batch.edge_index[0].roll(1)
    return batch


def no_luck(batch):
    raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (wrong_features, "the features are not those of the nodes"),
        (wrong_classes, "the classes are not those of the seeds"),
        (wrong_seeds, "the batch does not begin with its seeds"),
        (wrong_edges, "hop 1 has edges of another hop"),
        (too_few_edges, "its numbers of nodes and edges are not those of its hops together"),
        (edges_of_another_graph, "hop 1: "),
        (no_luck, "RuntimeError: out of luck"),
    ],
)
def test_a_wrong_system_gets_no_figures(monkeypatch, broken, words):
    def started(self, *arguments):
        real(self, *arguments)
        self.loader.transform = broken

    real = _Loaded.__init__
    monkeypatch.setattr(_Loaded, "__init__", started)
    _, (row,) = measure(options())
    assert set(row) == {*FIELDS, "error"}
    assert words in row["error"]
    assert (row["correct"], row["epoch_s"], row["batches"]) == (False, None, 0)


def test_a_batch_that_is_wrong_when_others_are_under_way_is_found(monkeypatch):
    def batches(self, numbers):
        for number, batch in zip(numbers, real(self, numbers), strict=True):
            yield replace(batch, x=batch.x + 1) if number == checked else batch

    real, checked = _Loaded.batches, contest._TRIAL_LEAD + contest._TRIAL
    monkeypatch.setattr(_Loaded, "batches", batches)
    _, (row,) = measure(options())
    assert row["error"] == "the features are not those of the nodes"


def test_a_transfer_that_fails_is_told(monkeypatch):
    def fail(self, ids, ids_there):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(_Loaded, "transfer", fail)
    _, (row,) = measure(options())
    assert (row["correct"], row["error"]) == (False, "RuntimeError: out of memory")


@pytest.fixture
def clock(monkeypatch):
    """What stands for the time of parts alone, and goes as far as a test lets it."""

    class Mark:
        def __init__(self, device):
            self.now = clock.now

        def wait(self):
            pass

        def seconds_until(self, later):
            return later.now - self.now

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(alone, "Mark", Mark)
    return clock


def test_transfers_are_warmed_up_and_taken_in_three_turns(monkeypatch, clock):
    def slow_at_first(self, ids, ids_there):
        calls.append(ids)
        clock.now += 0.1 if len(calls) % TRANSFERS in (1, 2, 3, 4) else 0.002
        return real(self, ids, ids_there)

    calls, real = [], _Loaded.transfer
    monkeypatch.setattr(_Loaded, "transfer", slow_at_first)
    _, (row,) = measure(options())
    assert len(calls) == 3 * TRANSFERS > 100
    # An epoch has ten batches.
    quartiles = [row["transfer_q1_s"], row["transfer_s"], row["transfer_q3_s"]]
    assert quartiles == pytest.approx(3 * [0.02], rel=0.01)


def test_sampling_alone_is_led_and_taken_in_three_turns(monkeypatch, clock):
    def slow_at_first(self, numbers):
        turns.append(len(numbers))
        for number, batch in zip(numbers, real(self, numbers), strict=True):
            clock.now += 0.02 if number < LEAD else 0.002
            yield batch

    turns, real = [], _Loaded.sample
    monkeypatch.setattr(_Loaded, "sample", slow_at_first)
    _, (row,) = measure(options())
    assert turns == [TRANSFERS, *3 * [LEAD + 34 + 2]]
    # An epoch has ten batches.
    quartiles = [row["sample_q1_s"], row["sample_s"], row["sample_q3_s"]]
    assert quartiles == pytest.approx(3 * [0.02], rel=0.01)


def test_training_alone_is_timed_once_in_each_turn(monkeypatch):
    times = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(contest, "train_alone", lambda *arguments: next(times))
    events, (row,) = measure(options())
    # An epoch has ten batches.
    assert (row["train_q1_s"], row["train_s"], row["train_q3_s"]) == (1.5, 2.0, 2.5)
    steps = [event.step_ms for event in events if isinstance(event, ModelRows)]
    assert steps == [{"sage-small": 200}]


def test_a_step_that_does_not_fit_into_memory_has_no_time(monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(contest, "train_alone", fail)
    events, (row,) = measure(options())
    assert (row["correct"], row["train_s"], row["train_q1_s"]) == (True, None, None)
    assert row["sample_s"] > 0
    steps = [event.step_ms for event in events if isinstance(event, ModelRows)]
    assert steps == [{"sage-small": None}]


@pytest.mark.parametrize(("target", "wrong"), [(0, False), (1, False), (2, True)])
def test_edges_lead_to_the_nodes_that_the_hop_before_met(target, wrong):
    edge_index = torch.tensor([[4], [target]])
    batch = SimpleNamespace(
        n_id=torch.arange(5), edge_index=edge_index, num_sampled_nodes=[2, 3], num_sampled_edges=[1]
    )
    with pytest.raises(WrongBatchError, match="hop 1") if wrong else nullcontext():
        contest._check_counts(batch)


def test_features_are_compared_bit_for_bit():
    data = load_data(TINY, None)
    data.x.host.fill_(float("nan"))
    data.x.host[:, 0] = 0.0
    found = contest.Contest(data, WORKLOADS["sage-small"], options())
    with our_system(data)(found._case(0)) as ready:
        (batch,) = ready.batches(range(1))
        found._check(batch, 0)
        wrong = replace(batch, x=batch.x.clone())
        wrong.x[:, 0] = -0.0
        with pytest.raises(WrongBatchError, match="the features are not those of the nodes"):
            found._check(wrong, 0)


def test_a_loss_that_is_no_number_is_wrong(monkeypatch):
    monkeypatch.setattr(contest.Step, "__call__", lambda self, batch: torch.tensor(torch.nan))
    _, (row,) = measure(options())
    assert row["error"] == "the loss is nan"


def test_a_system_that_fails_later_leaves_the_others_alone(monkeypatch):
    def batches(self, numbers):
        if numbers.start > 100:
            raise OSError("no file left")
        yield from real(self, numbers)

    real = _Loaded.batches
    monkeypatch.setattr(_Loaded, "batches", batches)
    _, (row,) = measure(options())
    assert row["error"] == "OSError: no file left"


def test_energy_is_that_of_an_epoch():
    blocks = [
        block_of(0.2, gpu_watts=250.0, cpu_watts=80.0, exposed=0.1, host_bytes=3),
        block_of(0.4, gpu_watts=350.0, cpu_watts=None, exposed=0.4, host_bytes=7),
        block_of(0.3, gpu_watts=300.0, cpu_watts=90.0, exposed=0.1, host_bytes=5),
    ]
    row = figures_of(
        blocks,
        {"transfer_s": [0.07, 0.04, 0.05], "sample_s": [0.03, 0.01, 0.02]},
        batches=10,
        host_bytes=1000,
        workers=8,
        ahead=16,
        over_link=True,
    )
    assert row["epoch_s"] == pytest.approx(3)
    # Where the energy of one block is not known, neither is that of all.
    assert (row["gpu_w"], row["gpu_j"], row["cpu_j"]) == (300, 900, None)
    assert row["cpu_s"] == pytest.approx(6)
    assert row["link_gb"] == pytest.approx(5)
    assert row["exposed_s"] == pytest.approx(1)
    assert (row["transfer_q1_s"], row["transfer_s"], row["transfer_q3_s"]) == (0.45, 0.5, 0.6)
    assert (row["sample_q1_s"], row["sample_s"], row["sample_q3_s"]) == (0.15, 0.2, 0.25)
    assert (row["train_s"], row["transfer_pageable_q1_s"]) == (None, None)
    assert (row["host_peak_bytes"], row["batches"]) == (1007, 12)
    assert (row["workers"], row["ahead"]) == (8, 16)
    assert (row["ms_q1"], row["ms_per_batch"], row["ms_q3"]) == (250, 300, 350)
    row = figures_of(
        blocks[:1], {}, batches=10, host_bytes=0, workers=None, ahead=2, over_link=False
    )
    assert (row["ms_q1"], row["ms_per_batch"], row["ms_q3"]) == (None, 200, None)


def test_energy_that_is_not_measured_is_not_there(monkeypatch):
    monkeypatch.setattr(block.Energy, "read", lambda self: Joules(None, None))
    _, (row,) = measure(options())
    assert (row["gpu_j"], row["gpu_w"], row["cpu_j"]) == (None, None, None)
