import json
import re
from pathlib import Path

import pytest
from train_rows import results_of, row

from torch_direct.bench.train.graphs import GRAPHS, TINY
from torch_direct.bench.train.tables import BEGIN, END, main, renew, report
from torch_direct.errors import FileFormatError

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "evaluation.md"

ROWS = [
    row("papers", "all-in-cpu-stock", epoch_s=40.0, transfer_pageable_s=20.0, workers=12),
    row("papers", "all-in-cpu", epoch_s=20.0, transfer_s=8.0, workers=16, cpu_j=1234.6),
    row("papers", "unified-features", epoch_s=25.0),
    row("papers", "torch-direct", epoch_s=5.0, transfer_s=2.0, gpu_j=None),
    row("reddit", "torch-direct", stand_in=False, epoch_s=0.51234),
    row("papers", "torch-direct", model="gat", epoch_s=7.0),
]


def tables(text):
    """The tables of a text, under the heading that each stands below: lists of cells."""
    found = {}
    for part in text.split("### ")[1:]:
        heading, *lines = part.splitlines()
        cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if "|" in line]
        found[heading] = [cells[0], *cells[2:]]
    return found


@pytest.fixture
def found():
    return tables(report(results_of(ROWS), "../results/train-h100.json"))


def test_every_table_has_even_lines(found):
    for lines in found.values():
        assert len({len(line) for line in lines}) == 1


def test_epochs_with_speed_ups(found):
    names, reddit, papers = found["Epochs: GraphSAGE, 3 layers of 256"]
    assert dict(zip(names, papers, strict=True)) == {
        "graph": "papers (stand-in)",
        "all-in-cpu-stock (s)": "40",
        "all-in-cpu (s)": "20",
        "unified-features (s)": "25",
        "torch-direct (s)": "5",
        "torch-direct against all-in-cpu": "4.00x",
        "torch-direct against all-in-cpu-stock": "8.00x",
        "unified-features against all-in-cpu-stock": "1.60x",
    }
    assert reddit == ["reddit", "", "", "", "0.512", "", "", ""]
    assert found["Epochs: GAT, 3 layers of 4 heads of 64"][1][:2] == ["papers (stand-in)", "7"]
    assert "Epochs: GraphSAGE, 2 layers of 16" not in found


def test_parts_of_an_epoch(found):
    names, *lines = found["Parts of an epoch: GraphSAGE, 3 layers of 256"]
    assert [line[:2] for line in lines] == [
        ["reddit", "torch-direct"],
        ["papers (stand-in)", "all-in-cpu-stock"],
        ["", "all-in-cpu"],
        ["", "unified-features"],
        ["", "torch-direct"],
    ]
    first = dict(zip(names, lines[1], strict=True))
    assert first["a batch, quartiles (ms)"] == "10, 9 to 11"
    assert (first["workers"], first["seeds"], first["batches"]) == ("12", "1", "100")


def test_transfer(found):
    names, _, papers = found["Transfer alone: GraphSAGE, 3 layers of 256"]
    assert dict(zip(names[1:], papers[1:], strict=True)) == {
        "pageable copy (s)": "20",
        "pinned CPU gather (s)": "8",
        "torch-direct (s)": "2",
        "against pageable": "-90 %",
        "against pinned": "-75 %",
    }


def test_what_was_not_measured_is_said(found):
    lines = {
        tuple(line[:2]): line
        for line in found["Bytes, energy, CPU time and memory: GraphSAGE, 3 layers of 256"]
    }
    assert lines["", "all-in-cpu"][2:] == ["100", "3,000", "300", "1,235", "100", "3"]
    assert lines["", "torch-direct"][3:6] == ["not measured", "300", "not measured"]


def test_goals_and_runs(found):
    goals = {line[0]: line for line in found["Goals"]}
    name = "epoch against all-in-cpu: speed-up"
    assert goals[name] == [name, "papers (stand-in)", "met", "≥ 2.00", "4.00", "1"]
    assert goals["GPU joules against all-in-cpu: cut"][2:] == ["not measured", "≥ 0.33", "", "0"]
    data = {line[0]: line[1] for line in found["Runs"]}
    assert (data["papers"], data["reddit"]) == ("stand-in", "published")
    assert found["Runs"][1][5:] == [
        "sage 33",
        "`torch-direct bench train --graph reddit`",
        "`all-in-gpu` needs a GPU",
    ]


def test_a_run_that_failed_is_said():
    results = results_of(ROWS)
    about = {name: results["runs"]["papers"][name] for name in ("machine", "command", "date")}
    results["runs"]["failed"] = {**about, "absent": {}, "failures": ["it took too long"]}
    (line,) = (line for line in tables(report(results, "r.json"))["Runs"] if line[0] == "failed")
    assert (line[1], line[5], line[7]) == ("", "", "it took too long")


def test_a_page_is_renewed_between_its_marks(tmp_path):
    (tmp_path / "results").mkdir()
    source, page = tmp_path / "results" / "train-h100.json", tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    source.write_text(json.dumps(results_of(ROWS)))
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        main([str(source), str(page)])
        text = page.read_text()
        assert text.startswith(f"before\n{BEGIN}\nAll figures are in [train-h100.json](")
        assert text.endswith(f"\n{END}\nafter\n")
        assert "old" not in text
        assert text.count("### Runs") == 1
    for link in re.findall(r"\]\((.*?)\)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_marks_is_refused(page):
    with pytest.raises(FileFormatError, match="lacks marks"):
        renew(page, results_of(ROWS), "train.json")


def test_the_page_of_the_evaluation_is_what_the_results_give():
    text = PAGE.read_text()
    named = re.findall(rf"{BEGIN}\nAll figures are in \[.*?\]\((.*?)\)", text)
    if not named:
        written = [
            path.name
            for path in (ROOT / "benchmarks" / "results").glob("train-*.json")
            if not path.stem.endswith("-partial")
        ]
        assert not written, f"renew {PAGE.name}: it does not have the results of {written}"
        pytest.skip("needs benchmarks/results/train-*.json, which is not there yet")
    results = json.loads((PAGE.parent / named[0]).read_text())
    assert text == renew(text, results, named[0])


def test_the_page_of_the_evaluation_has_all_graphs():
    sizes = [
        f"| `{size.name}` | {size.num_nodes:,} | {size.num_edges:,} "
        f"| {size.num_features}, {str(size.dtype).removeprefix('torch.')} "
        f"| {size.num_nodes * size.row_bytes / 1e9:.1f} GB | {size.train_nodes:,} |"
        for size in GRAPHS.values()
        if size != TINY
    ]
    assert "\n".join(sizes) in PAGE.read_text()
