"""What a benchmark is asked to reach, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What was asked, and what came of it."""

    name: str
    """Which cases, and what is asked of them."""
    target: float
    """What the value must reach."""
    cases: int
    """How many cases were judged."""
    worst: float | None
    """The smallest value, or the largest with `at_most`; None where nothing was measured."""
    median: float | None
    reached: float | None
    """The worst, median or mean, whichever is asked."""
    met: bool | None
    """None where nothing was measured."""
    worst_case: str | None
    """The case of the worst value."""
    at_most: bool = False
    """Whether the value must not be above the target, instead of not below it."""


def judge_goal(
    name: str,
    target: float,
    values: Mapping[str, float],
    choose: Callable[[Sequence[float]], float] | None = None,
    *,
    at_most: bool = False,
) -> Goal:
    """Judge one goal.

    Args:
        name: Which cases, and what is asked of them.
        target: What the value must reach.
        values: The value of each case.
        choose: Makes one value of all. Default: the worst.
        at_most: Whether smaller values are better.
    """
    if not values:
        return Goal(name, target, 0, None, None, None, None, None, at_most)
    figures = list(values.values())
    worst = max if at_most else min
    reached = (choose or worst)(figures)
    return Goal(
        name=name,
        target=target,
        cases=len(figures),
        worst=worst(figures),
        median=statistics.median(figures),
        reached=reached,
        met=reached <= target if at_most else reached >= target,
        worst_case=worst(values, key=lambda case: values[case]),
        at_most=at_most,
    )
