import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from torch_direct.bench.train.data import load_data
from torch_direct.bench.train.graphs import TINY

ROOT = Path(__file__).resolve().parents[2]
MAIN, BACKWARD, LOADER = 10, 11, -1234567
TRAINS, SAMPLES, GATHERS = 7, 20, 24
MACHINE = {"gpu": "NVIDIA H100 80GB HBM3", "pcie": "generation 5 x16", "cores": 16}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("timeline", ROOT / "benchmarks" / "timeline.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class Trace:
    """Three steps of 10 ms, as torch.profiler would have them; times in microseconds."""

    def __init__(self, script, gathers=GATHERS):
        self.events = [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "python"}}]
        for begin in (0, 10_000, 20_000):
            self.train(script, begin)
            self.load(begin + 7_900, gathers)

    def train(self, script, t):
        self.add("user_annotation", "ProfilerStep#34", t, 10_000, MAIN)
        self.add("user_annotation", script.BATCH_WAIT, t, 1_000, MAIN)
        self.add("user_annotation", script.LAUNCHING, t + 1_000, 3_000, MAIN)
        self.add("user_annotation", script.GPU_WAIT, t + 4_000, 5_000, MAIN)
        self.add("gpu_user_annotation", script.LAUNCHING, t + 2_000, 6_000, TRAINS)
        self.add("cpu_op", "aten::mm", t + 1_400, 200, MAIN)
        self.ask("kernel", "sgemm", TRAINS, t + 2_000, 3_000, MAIN, t + 1_500)
        self.ask("kernel", "void backward()", TRAINS, t + 5_000, 3_000, BACKWARD, t + 3_000)

    def load(self, t, gathers):
        copy = "Memcpy HtoD (Pinned -> Device)"
        self.ask("gpu_memcpy", copy, SAMPLES, t + 100, 100, LOADER, t)
        self.ask("kernel", "draw_kernel", SAMPLES, t + 200, 1_000, LOADER, t + 50)
        self.ask("kernel", "void at::native::cat()", SAMPLES, t + 1_200, 100, LOADER, t + 70)
        self.add("cuda_runtime", "cudaEventSynchronize", t + 80, 1_000, LOADER)
        self.ask("gpu_memset", "Memset (Device)", gathers, t + 1_300, 50, LOADER, t + 1_090)
        self.ask("kernel", "count_kernel", gathers, t + 1_350, 50, LOADER, t + 1_100)
        self.ask("kernel", "move_rows_kernel", gathers, t + 1_400, 2_000, LOADER, t + 1_190)

    def ask(self, category, name, stream, begin, length, thread, called):
        correlation = len(self.events)
        ours = name.endswith("_kernel")
        call = ("cuda_driver", "cuLaunchKernelEx") if ours else ("cuda_runtime", "cudaLaunchKernel")
        self.add(*call, called, 10, thread, correlation=correlation)
        self.add(category, name, begin, length, stream, stream=stream, correlation=correlation)

    def add(self, category, name, ts, dur, tid, **args):
        event = {"ph": "X", "cat": category, "name": name, "ts": ts, "dur": dur, "tid": tid}
        self.events.append({**event, "args": args} if args else event)

    def as_read(self):
        return {"traceEvents": self.events}


def results_of(script, trace):
    about = {"machine": MACHINE, "graph": "ogbn-products", "stand_in": True}
    return {**about, "model": "sage", "system": "torch-direct", **script.timeline(trace)}


def test_lanes_and_shares_of_two_loader_streams(script):
    found = script.timeline(Trace(script).as_read())
    assert found["steps"] == [0, 10, 20]
    assert found["step_ms"] == 10
    assert found["shares"] == {
        "stream 7: training": {"training": 0.6},
        "stream 20: sampling": {"sampling": 0.12},
        "stream 24: gather": {"gather": 0.21},
        "training thread": {
            "launching": 0.3,
            "waiting for a batch": 0.1,
            "waiting for the GPU": 0.5,
        },
        "loader's thread": {"launching": 0.019, "waiting for the GPU": 0.1},
    }
    assert found["kernels_a_step"] == {"training": 2, "sampling": 2, "gather": 2}


def test_stages_that_share_a_stream_are_told_apart(script):
    found = script.timeline(Trace(script, gathers=SAMPLES).as_read())
    assert found["shares"]["stream 20: sampling, gather"] == {"sampling": 0.12, "gather": 0.21}
    assert len(found["shares"]) == 4


def test_gaps_are_where_no_training_runs(script):
    trace = Trace(script)
    trace.ask("kernel", "relu", TRAINS, 19_000, 500, MAIN, 13_000)
    gaps = script.timeline(trace.as_read())["gaps"]
    assert gaps == [
        {"begin": 6, "ms": 4},
        {"begin": 17.5, "ms": 2.5},
        {"begin": 16, "ms": 1},
    ]


def test_spans_lie_between_the_first_step_and_the_last(script):
    spans = script.timeline(Trace(script).as_read())["spans"]
    assert all(0 <= span["begin"] < span["end"] <= 20 for span in spans)
    training = [span for span in spans if span["stage"] == "training"]
    assert [(span["begin"], span["end"]) for span in training] == [(0, 6), (10, 16)]


def test_many_short_kernels_become_few_spans(script):
    trace = Trace(script)
    for t in range(2_000, 22_000, 2):
        trace.add("kernel", "tiny", t, 1, 30, stream=30)
    found = script.timeline(trace.as_read())
    assert found["shares"]["stream 30: training"] == {"training": 0.5}
    assert len(found["spans"]) < 100


def test_streams_tell_the_stages_where_calls_are_unknown(script):
    trace = Trace(script)
    for event in trace.events:
        event.pop("args", None)
    trace.events.append({"ph": "X", "cat": "kernel", "name": "without an end", "ts": 3_000})
    found = script.timeline(trace.as_read())
    streams = {lane: stages for lane, stages in found["shares"].items() if "stream" in lane}
    assert list(found["shares"]) == [*streams, "training thread"]
    # Counted from where the host begins a step, the last gather is cut off.
    assert streams == {
        "stream 7: training": {"training": 0.6},
        "stream 20: sampling": {"sampling": 0.12},
        "stream 24: gather": {"gather": 0.195},
    }


def test_work_of_the_loader_on_a_stream_of_its_own_is_the_loaders(script):
    trace = Trace(script)
    trace.ask("gpu_memcpy", "Memcpy DtoH", 33, 9_100, 50, LOADER, 8_000)
    assert script.timeline(trace.as_read())["shares"]["stream 33: sampling"] == {"sampling": 0.0025}


def test_a_trace_without_steps_is_refused(script):
    with pytest.raises(ValueError, match="0 steps; expected two or more"):
        script.timeline({"traceEvents": []})


def test_every_kernel_of_the_package_has_a_stage(script):
    package = ROOT / "src" / "torch_direct" / "kernels"
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    assert set(re.findall(r"^def (\w+_kernel)\(", text, flags=re.MULTILINE)) == set(script.STAGES)


def test_the_picture_has_a_bar_for_every_span(script, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, which is not installed")
    results = results_of(script, Trace(script).as_read())
    (axes,) = script._figure(results).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(results["shares"])
    bars = [path for bar in axes.collections for path in bar.get_paths()]
    assert len(bars) == len(results["spans"])
    assert "ogbn-products (stand-in)" in axes.get_title(loc="left")
    script.draw(results, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it is recorded elsewhere")
def test_training_is_recorded(script, tmp_path):
    pytest.importorskip("torch_geometric", reason="the model needs torch_geometric")
    torch.set_num_threads(1)
    results = results_of(script, script.record(load_data(TINY, None)))
    check_steps(script, results)
    assert list(results["shares"]) == ["training thread"]
    script.draw(results, tmp_path / "timeline.png")


@pytest.mark.gpu
def test_training_on_a_gpu_is_recorded(script, tmp_path):
    """In a process of its own, as the profiler changes that for good."""
    path = tmp_path / "timeline.json"
    options = ["--graph", "tiny", "--out", str(path)]
    subprocess.run([sys.executable, script.__file__, *options], check=True, timeout=120)
    results = json.loads(path.read_text())
    check_steps(script, results)
    assert set(results["kernels_a_step"]) == {"sampling", "gather", "training"}
    assert {"training thread", "loader's thread"} <= set(results["shares"])
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def check_steps(script, results):
    assert len(results["steps"]) == script.STEPS + 1
    assert results["steps"] == sorted(results["steps"])
    shares = results["shares"]["training thread"]
    assert shares["launching"] > 0
    assert sum(shares.values()) <= 1


def test_without_a_gpu_there_is_nothing_to_show(script, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="there is no GPU whose work could be shown"):
        script.main(["--graph", "tiny"])


@pytest.fixture
def on_a_gpu(script, monkeypatch):
    """Let the script believe that there is a GPU; what it does there is left out."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(script, "describe_machine", lambda: MACHINE)
    monkeypatch.setattr(script, "load_data", lambda size, folder: SimpleNamespace(stand_in=True))
    return lambda trace: monkeypatch.setattr(script, "record", lambda data: trace.as_read())


def test_the_file_and_its_picture_are_written(script, on_a_gpu, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, which is not installed")
    monkeypatch.chdir(tmp_path)
    on_a_gpu(Trace(script))
    script.main(["--graph", "reddit"])
    path = tmp_path / "benchmarks" / "results" / "timeline-h100-80gb-hbm3.json"
    results = json.loads(path.read_text())
    assert results["command"] == "python benchmarks/timeline.py --graph reddit"
    assert (results["machine"], results["graph"], results["model"]) == (MACHINE, "reddit", "sage")
    assert {"date", "stand_in", "system", "spans"} <= results.keys()
    assert json.loads(capsys.readouterr().out)["shares"] == results["shares"]
    assert path.with_suffix(".png").exists()


def test_a_recording_without_work_of_the_gpu_is_refused(script, on_a_gpu, tmp_path):
    trace = Trace(script)
    trace.events = [event for event in trace.events if event.get("cat") == "user_annotation"]
    on_a_gpu(trace)
    with pytest.raises(SystemExit, match=r"torch\.profiler recorded no work of the GPU"):
        script.main(["--out", str(tmp_path / "timeline.json")])
    assert not list(tmp_path.iterdir())
