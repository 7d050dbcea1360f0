"""`torch-direct train`: options in, progress and reports out."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from torch_direct.cli.bar import bar
from torch_direct.cli.folders import check_no_folders, check_writable, folder_name
from torch_direct.errors import CheckpointError, TorchDirectError
from torch_direct.training.config import MODEL_NAMES, TrainConfig, defaults_of, parse_fanout
from torch_direct.training.metrics import METRIC_NAMES

if TYPE_CHECKING:
    from torch_direct.datasets import NodeDataset, SyntheticSpec
    from torch_direct.training.checkpoint import CheckpointStore
    from torch_direct.training.trainer import EpochRecord, Trainer

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

_STOPPING = b"\nstopping as soon as a batch is done; Ctrl-C again leaves at once\n"
_LINES_OF_A_LOG = 20
_SHORT = {"accuracy": "acc", "roc_auc": "auc"}
_FEATURE_DTYPES = ("float32", "float16", "bfloat16")


def _by_model(text: str, option: str) -> str:
    return f"{text} Default: {defaults_of(option)}."


def train(
    data: Annotated[
        str, typer.Option(help="synthetic, FILE.npz, a FOLDER of .npy files, pyg:NAME or ogb:NAME.")
    ] = "synthetic",
    model: Annotated[str, typer.Option(help="sage, gcn or gat.")] = "sage",
    hidden: Annotated[
        int | None,
        typer.Option(help=_by_model("Hidden features; for gat, of one head.", "hidden")),
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help=_by_model("Attention heads, gat only.", "heads"))
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="Number of layers. Default: one for each entry of --fanout.")
    ] = None,
    fanout: Annotated[
        str | None,
        typer.Option(
            help=_by_model("Neighbours sampled per hop, such as 15,10,5; -1 for all.", "fanout")
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=_by_model("Seed nodes per batch.", "batch_size"))
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=_by_model("Maximum number of epochs.", "epochs"))
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help=_by_model(
                "Stop after this many epochs without a better validation metric.", "patience"
            )
            + " 0 never stops early."
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(help=_by_model("Learning rate.", "lr"))] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help=_by_model("L2 penalty.", "weight_decay"))
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help=_by_model("Dropout probability.", "dropout"))
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="Number of runs, seeded from --seed on; their mean is reported.",
        ),
    ] = 1,
    placement: Annotated[
        str,
        typer.Option(
            help="unified: data in host memory, read by the GPU. cpu: the CPU samples and gathers, "
            "batches are copied. gpu: all data is copied to the GPU first."
        ),
    ] = "unified",
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda or cuda:N. Default: the GPU where there is one."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder_name, metavar="PATH", help="Folder for report.json and report.png."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            parser=folder_name,
            metavar="PATH",
            help="Folder for checkpoints. Default: checkpoint in --out.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Minimum seconds between checkpoints; 0: every epoch.")
    ] = 30.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    nodes: Annotated[int | None, typer.Option(help="Nodes of the synthetic graph.")] = None,
    degree: Annotated[
        float | None, typer.Option(help="Mean in-degree of the synthetic graph.")
    ] = None,
    features: Annotated[int | None, typer.Option(help="Features of a synthetic node.")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes of the synthetic graph.")] = None,
    feature_dtype: Annotated[
        str | None, typer.Option(help="Type of synthetic features: float32, float16 or bfloat16.")
    ] = None,
) -> None:
    """Train a graph neural network to classify nodes, by neighbour sampling.

    Features and graph stay in host memory, where the GPU reads them. Without a GPU everything
    runs on the CPU. Ctrl-C stops after the current batch and writes a checkpoint; --resume goes on.

    Of the seconds of an epoch, sample and gather are those of making its batches, wait and train
    those of training on them. On a GPU batches are made ahead, and the two run at the same time.
    """
    sizes = {
        "num_nodes": nodes,
        "avg_degree": degree,
        "num_features": features,
        "num_classes": classes,
        "dtype": feature_dtype,
    }
    settings: dict[str, Any] = {
        "hidden": hidden,
        "heads": heads,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "lr": lr,
        "weight_decay": weight_decay,
        "dropout": dropout,
        "placement": placement,
    }
    if not data:
        raise typer.BadParameter(
            "--data is empty; expected synthetic, a file, a folder, pyg:NAME or ogb:NAME"
        )
    if checkpoint is None and out is not None:
        checkpoint = out / "checkpoint"
    if resume and checkpoint is None:
        raise typer.BadParameter("--resume needs the folder of the checkpoint: add --checkpoint")
    with _bad_parameters():
        settings["fanout"] = parse_fanout(fanout) if fanout is not None else None
        configs = [
            TrainConfig.for_model(model, layers=layers, seed=seed + number, **settings)
            for number in range(seeds)
        ]
        spec = _synthetic_spec(data, sizes)
    for folder in (out, checkpoint):
        if folder is not None:
            check_writable(folder)
    with _stop_on_interrupt() as stopped:
        session = _Session(
            configs=configs,
            console=Console(highlight=False, soft_wrap=True),
            stopped=stopped,
            data=data,
            spec=spec,
            device=device,
            folder=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )
        session.check_names(out)
        reports = []
        for config in configs:
            if not stopped.is_set() and not session.not_saved:
                reports += session.run(config, first=config is configs[0])
    if len(reports) == len(configs):
        session.finish(reports, out)
    if session.not_saved:
        raise session.not_saved[0]
    if len(reports) < len(configs):
        raise typer.Exit(INTERRUPTED)


@dataclass(frozen=True)
class _Session:
    """One call of the command: what all its runs share."""

    configs: list[TrainConfig]
    console: Console
    stopped: threading.Event
    data: str
    spec: SyntheticSpec | None
    device: str | None
    folder: Path | None
    checkpoint_every: float
    resume: bool
    not_saved: list[CheckpointError] = field(default_factory=list)
    """Why the last checkpoint of a finished run could not be written; no run comes after it."""

    def check_names(self, out: Path | None) -> None:
        """Refuse folders at the names of what will be written."""
        from torch_direct.training.report import REPORT_FILES

        if out is not None:
            check_no_folders(out / name for name in REPORT_FILES)
        for store in self._stores():
            check_no_folders(store.files)

    def run(self, config: TrainConfig, *, first: bool) -> list[dict[str, Any]]:
        """Train with one seed; return its report, or nothing when stopped before the end."""
        from torch_direct.datasets import open_dataset
        from torch_direct.training.trainer import Trainer

        with bar(f"opening {self.data}", self.console) as progress:
            dataset = open_dataset(
                self.data, seed=config.seed, synthetic=self.spec, progress=progress
            )
        store = self._store(config, anew=first and not self.resume)
        with _bad_parameters():
            trainer = Trainer(
                dataset,
                config,
                device=self.device,
                checkpoints=store,
                checkpoint_every=self.checkpoint_every,
            )
        if first:
            self._introduce(dataset, trainer)
        if self.resume and store is not None and (first or store.exists()):
            self._go_back(trainer)
        with _View(self.console, trainer, dataset.metric) as view:
            finished = self._fit(trainer, view)
        if not finished:
            self._say_stopped(trainer, first=first)
            return []
        report = trainer.report()
        self.console.print(
            f"seed {config.seed}: test {METRIC_NAMES[dataset.metric]} "
            f"{_metric(dataset.metric, report['test'])}, with the weights of epoch "
            f"{report['best_epoch']} (best validation: "
            f"{_metric(dataset.metric, report['best_val'])})"
        )
        return [report]

    def finish(self, reports: list[dict[str, Any]], out: Path | None) -> None:
        """Print the mean over the seeds and write the report."""
        from torch_direct.training.report import combine, write_report

        report = combine(reports)
        if len(reports) > 1:
            name = METRIC_NAMES[report["metric"]]
            mean = _metric(report["metric"], report["test"])
            spread = _metric(report["metric"], report["test_std"])
            self.console.print(f"mean over {len(reports)} seeds: test {name} {mean} ± {spread}")
            self._say_longer(reports)
        if out is not None:
            write_report(report, out)
            self.console.print(f"report: {out / 'report.json'} and {out / 'report.png'}")

    def _fit(self, trainer: Trainer, view: _View) -> bool:
        """Train; where only the last checkpoint fails, the result is there and comes first."""
        try:
            return trainer.fit(stop=self.stopped.is_set, observer=view)
        except CheckpointError as error:
            if not trainer.finished:
                raise
            self.not_saved.append(error)
            return True

    def _set_aside(self) -> None:
        """Keep the checkpoints of an earlier run, of all seeds, so that none is gone on from."""
        for store in self._stores():
            earlier = store.set_aside()
            if earlier is not None:
                self.console.print(f"the checkpoint of an earlier run is kept as {earlier}")

    def _stores(self) -> list[CheckpointStore]:
        return [store for store in map(self._store, self.configs) if store is not None]

    def _store(self, config: TrainConfig, *, anew: bool = False) -> CheckpointStore | None:
        from torch_direct.training.checkpoint import CheckpointStore

        if self.folder is None:
            return None
        # As late as can be: a run that ends before it has anything to save moves nothing.
        before_first_save = self._set_aside if anew else None
        return CheckpointStore(
            self.folder, f"seed-{config.seed}", before_first_save=before_first_save
        )

    def _introduce(self, dataset: NodeDataset, trainer: Trainer) -> None:
        config, graph = trainer.config, dataset.graph
        self.console.print(
            f"{MODEL_NAMES[config.model]} on {dataset.name}: {graph.num_nodes:,} nodes in "
            f"{dataset.num_classes} classes, {graph.num_edges:,} edges, {dataset.x.size(1):,} "
            f"features a node ({_size(dataset.x.nbytes)})"
        )
        place = {
            "unified": "features and graph stay in host memory, where the GPU reads them",
            "cpu": "features and graph stay in host memory; the CPU samples and gathers",
            "gpu": "features and graph are copied to GPU memory",
        }[config.placement]
        if trainer.device.type == "cpu":
            place = "everything runs on the CPU" + ("" if self.device else ": CUDA found no GPU")
        self.console.print(f"placement {config.placement} on {trainer.device}: {place}")

    def _go_back(self, trainer: Trainer) -> None:
        complaint = trainer.resume()
        if complaint is not None:
            self.console.print(f"warning: {complaint}", style="yellow")
        self.console.print(f"going on after epoch {len(trainer.epochs)}")

    def _say_longer(self, reports: list[dict[str, Any]]) -> None:
        limit = self.configs[0].epochs
        longer = [str(r["seed"]) for r in reports if len(r["epochs"]) > limit]
        if longer:
            self.console.print(
                f"note: trained for more than {limit} epochs by an earlier run: seed "
                f"{', '.join(longer)}"
            )

    def _say_stopped(self, trainer: Trainer, *, first: bool) -> None:
        where = f"stopped in epoch {len(trainer.epochs) + 1}"
        if first and not trainer.started:
            self.console.print("stopped before the first batch; nothing was written")
        elif self.folder is None:
            self.console.print(f"{where}; no checkpoint without --checkpoint or --out")
        else:
            self.console.print(f"{where}; checkpoint in {self.folder}: go on with --resume")


class _View:
    """Shows a progress bar and a table with a line for every epoch.

    Where the output is not a terminal there is no bar, and about twenty lines, the last included.
    """

    def __init__(self, console: Console, trainer: Trainer, metric: str) -> None:
        self._epochs = trainer.config.epochs
        self._metric = metric
        self._every = 1 if console.is_terminal else math.ceil(self._epochs / _LINES_OF_A_LOG)
        self._pending: EpochRecord | None = None
        self._bytes_read = "link" if trainer.device.type == "cuda" else "gathered"
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=None)

    def __enter__(self) -> _View:
        from torch_direct.training.clock import STAGES

        stages = "  ".join(f"{stage:>8}" for stage in STAGES)
        self._console.print(
            f"{'epoch':>9}  {'loss':>7}  {'val ' + _SHORT[self._metric]:>8}  {stages}  "
            f"{self._bytes_read:>9}"
        )
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()
        if self._pending is not None:
            self._print(self._pending)

    def batch_done(self, epoch: int, batch: int, batches: int) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            description=f"epoch {epoch}",
            completed=(epoch - 1) * batches + batch,
            total=self._epochs * batches,
        )

    def epoch_done(self, record: EpochRecord) -> None:
        """Print the line of an epoch, or keep it in case it is the last."""
        if record.epoch == 1 or record.epoch % self._every == 0:
            self._print(record)
            self._pending = None
        else:
            self._pending = record

    def _print(self, record: EpochRecord) -> None:
        times = "  ".join(f"{seconds:>6.2f} s" for seconds in record.seconds.values())
        self._console.print(
            f"{record.epoch:>4}/{self._epochs:<4}  {record.loss:>7.4f}  "
            f"{_metric(self._metric, record.val):>8}  {times}  {record.link_bytes / 1e9:>6.3f} GB"
        )


def _metric(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4f}"


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def _synthetic_spec(data: str, sizes: dict[str, Any]) -> SyntheticSpec | None:
    given = {name: value for name, value in sizes.items() if value is not None}
    if data != "synthetic":
        if given:
            raise ValueError(
                f"--nodes, --degree, --features, --classes and --feature-dtype shape synthetic "
                f"data, and --data is {data!r}: leave them out, or use --data synthetic"
            )
        return None
    import torch

    from torch_direct.datasets import SyntheticSpec

    if "dtype" in given:
        if given["dtype"] not in _FEATURE_DTYPES:
            raise ValueError(
                f"feature_dtype is {given['dtype']!r}; expected one of {', '.join(_FEATURE_DTYPES)}"
            )
        given["dtype"] = getattr(torch, given["dtype"])
    return SyntheticSpec(**given)


@contextmanager
def _bad_parameters() -> Iterator[None]:
    """Report a `ValueError` about a setting as a wrong option of the command line."""
    try:
        yield
    except TorchDirectError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Make the first Ctrl-C set an event; the second one ends the program as usual."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # What was interrupted may be writing to a stream, which cannot be entered twice.
        os.write(2, _STOPPING)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
