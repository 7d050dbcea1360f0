"""A whole run: each graph in its own process, and what comes of it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch_direct.bench.outcome import Outcome, run_apart
from torch_direct.bench.sample.cases import TINY, Group
from torch_direct.bench.sample.goals import judge
from torch_direct.bench.sample.group import Options, measure_group

_WORKERS = 16
_WORKERS_OF_A_TINY_GRAPH = 2
_SECONDS_OF_A_GROUP = 500.0
_SECONDS_OF_A_SYSTEM = 1.0


@dataclass
class SampleOutcome(Outcome):
    """What a run has found so far."""

    def results(self) -> dict[str, Any]:
        """Return what goes into the file behind its header."""
        return {
            "rows": self.rows,
            "goals": judge(self.rows),
            "absent": self.absent,
            "failures": self.failures,
        }


def run_group(
    group: Group, systems: tuple[str, ...], kinds: tuple[str, ...], rounds: int
) -> SampleOutcome:
    """Measure a graph in a fresh process; where that fails, the outcome says so.

    Args:
        group: What to measure.
        systems: Names out of `SYSTEMS`.
        kinds: Of this package's sampler, out of `KINDS`.
        rounds: Rounds of a case.
    """
    workers = _WORKERS_OF_A_TINY_GRAPH if group.graph == TINY else _WORKERS
    options = Options(systems, kinds, rounds, _SECONDS_OF_A_SYSTEM, workers)
    outcome = SampleOutcome()
    part = {"graph": group.graph.name}
    run_apart(outcome, part, measure_group, group, options, seconds=_SECONDS_OF_A_GROUP)
    return outcome
