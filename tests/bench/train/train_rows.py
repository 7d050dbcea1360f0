"""Rows as `bench train` writes them, with made-up figures."""

from __future__ import annotations

from typing import Any

from torch_direct.bench.train.goals import judge

MACHINE = {
    "gpu": "NVIDIA H100",
    "driver": "580.1",
    "pcie": "generation 5 x16",
    "cores": 16,
    "torch": "2.11.0+cu130",
}


def row(graph: str, system: str, **others: Any) -> dict[str, Any]:
    return {
        "graph": graph,
        "stand_in": True,
        "model": "sage",
        "system": system,
        "epoch_s": 10.0,
        "transfer_s": 4.0,
        "transfer_pageable_s": 20.0 if system == "all-in-cpu-stock" else None,
        "sample_s": 2.0,
        "train_s": 5.0,
        "exposed_s": 3.0,
        "link_gb": 100.0,
        "cpu_s": 100.0,
        "host_peak_bytes": 3 << 30,
        "gpu_j": 3000.0,
        "gpu_w": 300.0,
        "cpu_j": None,
        "seeds": 1,
        "batches": 100,
        "ms_per_batch": 10.0,
        "ms_q1": 9.0,
        "ms_q3": 11.0,
        "workers": None,
        "correct": True,
        **others,
    }


def results_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    runs: dict[str, Any] = {}
    for row in rows:
        graph = runs.setdefault(row["graph"], {"machine": MACHINE, "models": {}})
        graph["models"][row["model"]] = {
            "stand_in": row["stand_in"],
            "command": f"torch-direct bench train --graph {row['graph']}",
            "date": "2026-11-21T06:34:57+00:00",
            "seconds": 200,
            "step_ms": {row["model"]: 33.0},
            "absent": {"all-in-gpu": "needs a GPU"},
            "failures": [],
        }
    return {"runs": runs, "rows": rows, "goals": judge(rows)}
