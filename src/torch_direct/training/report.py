"""The outcome of a run: `report.json` for programs, `report.png` for people."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_direct.errors import TorchDirectError
from torch_direct.picture import BLUE, GREEN, ORANGE, SKY, VERMILION, dress, new_figure
from torch_direct.training.clock import STAGES
from torch_direct.training.config import MODEL_NAMES
from torch_direct.training.metrics import METRIC_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT_FILES = ("report.json", "report.png", "report.json.partial")
"""What `write_report` writes or replaces."""

_STAGE_COLOURS = dict(zip(STAGES, (BLUE, ORANGE, SKY, GREEN), strict=True))
_ROWS = {"training": ("train", "wait"), "loader": ("sample", "gather")}


def combine(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up several runs that differ in nothing but the seed.

    Args:
        runs: What `Trainer.report` returned for each; one at least.

    Returns:
        The report itself where there is one. Otherwise the reports under `"runs"`, the mean of
        `"test"` and `"best_val"`, the sample standard deviation of `"test"` as `"test_std"`, the
        sums of seconds and bytes, and the settings, with the first seed as `"seed"`.
    """
    if len(runs) == 1:
        return runs[0]
    per_run = ("epochs", "best_epoch")
    tests = [run["test"] for run in runs]
    return {
        **{name: value for name, value in runs[0].items() if name not in per_run},
        "test": statistics.fmean(tests),
        "test_std": statistics.stdev(tests),
        "best_val": statistics.fmean(run["best_val"] for run in runs),
        "seconds": {stage: sum(run["seconds"][stage] for run in runs) for stage in STAGES},
        "validation_seconds": sum(run["validation_seconds"] for run in runs),
        "link_bytes": sum(run["link_bytes"] for run in runs),
        "runs": list(runs),
    }


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write `report.json` and `report.png` into `folder`, which is made if need be.

    Args:
        report: What `combine` returned.
        folder: Where to write. A report that is there already is replaced.

    Raises:
        MissingExtraError: matplotlib is not installed; `report.json` has been written.
        TorchDirectError: A file cannot be written, for want of space for example.
    """
    target, picture, partial = (folder / name for name in REPORT_FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        partial.replace(target)
        _plot(report, picture)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise TorchDirectError(
            f"cannot write the report in {folder}: {error}; make room or choose another folder "
            "with --out"
        ) from error


def _plot(report: dict[str, Any], path: Path) -> None:
    figure = new_figure(width=10, height=6)
    runs = report.get("runs", [report])
    axes = figure.subplot_mosaic([["loss", "metric"], ["time", "time"]], height_ratios=[4, 1])
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)  # type: ignore[union-attr, call-arg]
    figure.suptitle(_title(report), fontsize=14, fontweight="bold", x=0.02, ha="left")
    _draw_loss(axes["loss"], runs)
    _draw_metric(axes["metric"], report, runs)
    _draw_time(axes["time"], report)
    figure.savefig(path)


def _draw_loss(axes: Axes, runs: Sequence[dict[str, Any]]) -> None:
    _draw_curves(axes, runs, "loss", BLUE, "training")
    _draw_curves(axes, runs, "val_loss", ORANGE, "validation")
    dress(axes, "Loss", "epoch", "cross entropy (nats)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _draw_metric(axes: Axes, report: dict[str, Any], runs: Sequence[dict[str, Any]]) -> None:
    name, scale, unit = _metric_scale(report["metric"])
    _draw_curves(axes, runs, "val", BLUE, "validation", scale)
    best = [run["best_epoch"] for run in runs]
    spread = f" ± {scale * report['test_std']:.2f}" if "test_std" in report else ""
    label = f"test {scale * report['test']:.2f}{spread}{unit.strip(' ()')}, at the best validation"
    tests = [scale * run["test"] for run in runs]
    style: dict[str, Any] = {
        "color": VERMILION,
        "marker": "D",
        "s": 36,
        "edgecolor": "white",
        "zorder": 3,
    }
    axes.scatter(best, tests, label=label, **style)
    dress(axes, name[0].upper() + name[1:], "epoch", name + unit)
    axes.legend(frameon=False, loc="lower right")


def _draw_curves(
    axes: Axes,
    runs: Sequence[dict[str, Any]],
    key: str,
    colour: str,
    label: str,
    scale: float = 1.0,
) -> None:
    """Draw one curve for every run; several are drawn thin, and named once."""
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    thin: dict[str, Any] = {"lw": 0.9, "alpha": 0.6} if len(runs) > 1 else {"lw": 2.0}
    for number, run in enumerate(runs):
        epochs = [record["epoch"] for record in run["epochs"]]
        values = [scale * record[key] for record in run["epochs"]]
        marker = "o" if len(epochs) == 1 else None
        name = label if number == 0 else None
        axes.plot(epochs, values, color=colour, label=name, marker=marker, **thin)


def _draw_time(axes: Axes, report: dict[str, Any]) -> None:
    """Draw what the training did and, beside it, what the loader did meanwhile."""
    seconds = report["seconds"]
    total = seconds["train"] + seconds["wait"] or 1.0
    for row, stages in enumerate(_ROWS.values()):
        left = 0.0
        for stage in stages:
            style: dict[str, Any] = {
                "label": f"{stage}  {_duration(seconds[stage])}  ({seconds[stage] / total:.0%})",
                "color": _STAGE_COLOURS[stage],
                "edgecolor": "white",
                "height": 0.7,
            }
            axes.barh(row, seconds[stage], left=left, **style)
            left += seconds[stage]
    dress(axes, "Training time", "seconds", "")
    axes.set_yticks(range(len(_ROWS)), _ROWS)
    axes.set_xlim(left=0)
    axes.set_ylim(len(_ROWS) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.98)}
    axes.legend(frameon=False, ncols=len(STAGES), columnspacing=1.2, handlelength=1.2, **place)


def _title(report: dict[str, Any]) -> str:
    count = len(report.get("runs", [report]))
    seeds = f"{count} seeds" if count > 1 else f"seed {report['seed']}"
    title = f"{MODEL_NAMES[report['model']]} on {report['data']}"
    return f"{title}  ·  {report['placement']} on {report['device']}  ·  {seeds}"


def _metric_scale(metric: str) -> tuple[str, float, str]:
    """Return the name of a metric for people, its scale, and its unit behind the name."""
    name = METRIC_NAMES[metric]
    return (name, 100.0, " (%)") if metric == "accuracy" else (name, 1.0, "")


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
