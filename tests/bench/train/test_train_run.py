import pytest

from torch_direct.bench.outcome import Absent
from torch_direct.bench.train import run
from torch_direct.bench.train.graphs import GRAPHS, TINY
from torch_direct.bench.train.group import Facts, ModelRows, Phase
from torch_direct.bench.train.run import TrainOutcome, options_for, read_results, run_graph
from torch_direct.bench.train.systems import OURS, STOCK, STRONG, SYSTEMS, TWO_LINES
from torch_direct.errors import FileFormatError

ABOUT = {"machine": {"gpu": "H100"}, "command": "torch-direct bench train", "seconds": 1}
LATER = {**ABOUT, "command": "torch-direct bench train --models sage", "seconds": 2}


def row(graph, model, epoch=1.0, correct=True):
    return {
        "graph": graph,
        "stand_in": True,
        "model": model,
        "system": OURS,
        "epoch_s": epoch,
        "correct": correct,
    }


def outcome(*rows, **facts):
    found = TrainOutcome()
    found.take(Facts(facts))
    for one in rows:
        found.take(ModelRows(one["model"], [one], {one["model"]: one["epoch_s"]}, None))
    return found


def keys(results):
    return [(row["graph"], row["model"], row["epoch_s"]) for row in results["rows"]]


def test_other_graphs_and_models_are_kept():
    first = outcome(row("a", "sage"), row("a", "gat"), workers_ms={STOCK: {"8": 1.0}})
    before = first.merged_into({}, "a", ABOUT)
    before = outcome(row("b", "sage")).merged_into(before, "b", ABOUT)
    again = outcome(row("a", "sage", 2.0), workers_ms={STRONG: {"4": 5.0}})
    after = again.merged_into(before, "a", LATER)
    assert keys(after) == [("a", "gat", 1.0), ("b", "sage", 1.0), ("a", "sage", 2.0)]
    assert list(after) == ["runs", "rows", "goals"]
    models = after["runs"]["a"].pop("models")
    assert after["runs"]["a"] == {"machine": ABOUT["machine"]}
    common = {"absent": {}, "failures": [], "accuracy": None}
    assert models == {
        "sage": {
            **common,
            "command": LATER["command"],
            "seconds": 2,
            "workers_ms": {STRONG: {"4": 5.0}},
            "step_ms": {"sage": 2.0},
        },
        "gat": {
            **common,
            "command": ABOUT["command"],
            "seconds": 1,
            "workers_ms": {STOCK: {"8": 1.0}},
            "step_ms": {"gat": 1.0},
        },
    }
    assert after["runs"]["b"] == before["runs"]["b"]


def test_figures_of_another_machine_do_not_stand_beside_these():
    before = outcome(row("a", "sage"), row("a", "gat")).merged_into({}, "a", ABOUT)
    other = {**ABOUT, "machine": {"gpu": "H200"}}
    after = outcome(row("a", "sage", 2.0)).merged_into(before, "a", other)
    assert keys(after) == [("a", "sage", 2.0)]
    assert (after["runs"]["a"]["machine"], *after["runs"]["a"]["models"]) == (
        {"gpu": "H200"},
        "sage",
    )


def test_an_outcome_knows_what_was_wrong_and_what_is_absent():
    found = outcome(row("a", "sage"), row("a", "gat", correct=False))
    found.take(Absent("all-in-gpu", "needs a GPU"))
    assert [one["model"] for one in found.wrong] == ["gat"]
    for about in found.merged_into({}, "a", ABOUT)["runs"]["a"]["models"].values():
        assert about["absent"] == {"all-in-gpu": "needs a GPU"}


def test_a_run_that_dies_leaves_what_it_found(monkeypatch):
    def die(*arguments, seconds):
        yield Phase("made", 1.0)
        yield Facts({"nodes": 5})
        yield ModelRows("sage", [row("tiny", "sage")], {}, None)
        raise ChildProcessError("its process died")

    monkeypatch.setattr(run, "in_child", die)
    found = TrainOutcome()
    options = options_for(
        TINY, systems=None, models=None, batches=5, seeds=1, seconds_each=1.0, quick=True
    )
    events = list(run_graph(found, TINY, options, None, None))
    assert [type(event) for event in events] == [Phase, ModelRows]
    results = found.merged_into({}, "tiny", ABOUT)
    assert keys(results) == [("tiny", "sage", 1.0)]
    (about,) = results["runs"]["tiny"]["models"].values()
    assert (about["failures"], about["nodes"]) == (["its process died"], 5)


def test_rows_without_their_parts_replace_no_others():
    def outcome(epoch, complete):
        found = TrainOutcome()
        rows = [{**row("tiny", "sage"), "epoch_s": epoch}]
        found.take(ModelRows("sage", rows, {}, None, complete=complete))
        return found

    first = outcome(1.0, complete=False).merged_into({}, "tiny", ABOUT)
    whole = outcome(2.0, complete=True).merged_into(first, "tiny", ABOUT)
    assert [one["rows"][0]["epoch_s"] for one in (first, whole)] == [1.0, 2.0]
    after = outcome(3.0, complete=False).merged_into(whole, "tiny", ABOUT)
    assert (after["rows"], after["runs"]) == (whole["rows"], whole["runs"])


@pytest.mark.parametrize("quick", [False, True])
def test_what_a_run_measures(quick):
    options = options_for(
        GRAPHS["reddit"],
        systems=None,
        models=None,
        batches=100,
        seeds=1,
        seconds_each=20.0,
        quick=quick,
    )
    assert options.systems == tuple(SYSTEMS)
    assert options.models == (("sage",) if quick else ("sage", "gat", "sage-small"))
    assert options.rounds == (2 if quick else 4)
    usual = (8, 12, 16)
    assert options.workers == {STOCK: usual, TWO_LINES: usual, STRONG: (4, *usual)}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"rows": []}',
        '{"runs": {"a": {}}, "rows": []}',
        '{"runs": {}, "rows": [{"graph": "a", "system": "b"}]}',
    ],
)
def test_another_file_is_not_taken_for_results(tmp_path, text):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match="does not have the results of bench train"):
        read_results(path)
