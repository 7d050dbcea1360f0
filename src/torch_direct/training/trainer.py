"""Training by neighbour sampling: epochs, validation, model selection, stopping and going on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_direct.datasets import NodeDataset
from torch_direct.errors import DatasetError, TorchDirectError
from torch_direct.training.batches import Batches
from torch_direct.training.checkpoint import CheckpointStore, check_same_settings
from torch_direct.training.clock import STAGES, StageClock, border
from torch_direct.training.config import TrainConfig
from torch_direct.training.metrics import score
from torch_direct.training.models import build_model
from torch_direct.training.placed import place, training_device

EXACT_EVALUATION_EDGES = 1 << 22
"""Graphs with at most this many edges are evaluated on full neighbourhoods."""

_EXACT_BATCH_SIZE = 1 << 16
_EVALUATION_EPOCH = 0

_NOT_COMPARED = ("max_epochs", "patience", "placement")
"""Settings that may change between a checkpoint and the run that goes on from it."""


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to."""

    epoch: int
    """From 1."""
    loss: float
    """Mean cross entropy over the training nodes, as each batch met it, in nats."""
    val: float
    """The metric on the validation nodes, between 0 and 1."""
    val_loss: float
    """Mean cross entropy over the validation nodes, in nats."""
    seconds: dict[str, float]
    """Seconds of the training batches by stage (`clock.STAGES`): `wait` and `train` add up to the
    time that they took, and `sample` and `gather` ran during both."""
    validation_seconds: float
    """Seconds of the validation."""
    link_bytes: int
    """Bytes of the feature rows that the training batches gathered out of host memory: what
    crosses the link to the GPU where there is one. 0 when the features live on the GPU."""


class Observer(Protocol):
    """Is told how training goes."""

    def batch_done(self, epoch: int, batch: int, batches: int) -> None:
        """Called after batch `batch` (from 1) of `batches` in `epoch`."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Called after the validation at the end of an epoch."""


@dataclass
class _Running:
    """The epoch that is under way."""

    epoch: int
    next_batch: int
    loss_sum: Tensor
    seconds: dict[str, float]
    link_bytes: int


class Trainer:
    """Trains one model on one data set with one seed.

    Batches come from `td.NeighborLoader`, with the fanout of the settings. Validation and test
    nodes are evaluated on full neighbourhoods where the graph has at most `EXACT_EVALUATION_EDGES`
    edges, otherwise on neighbourhoods sampled with the same fanout, the same ones every time. The
    weights kept are those with the best validation metric, among equals those with the lowest
    validation loss; the test nodes are looked at once, with these weights.

    The run is decided by its settings: the sampler is keyed by (seed, epoch, batch), the batch
    order by (seed, epoch), and weights and dropout come from a state of torch's generator that
    belongs to the trainer and goes into the checkpoint. A run that was stopped, also in the middle
    of an epoch, and went on from its checkpoint ends bit for bit where an unbroken one does on the
    CPU (with the same number of threads). On CUDA, sums by atomic additions round differently from
    run to run; expect the losses of an epoch to agree within 1 % and the metric within 0.01.
    """

    def __init__(
        self,
        dataset: NodeDataset,
        config: TrainConfig,
        *,
        device: str | None = None,
        checkpoints: CheckpointStore | None = None,
        checkpoint_every: float = 30.0,
    ) -> None:
        """Put the data in place and build the model.

        Args:
            dataset: What to learn.
            config: The settings.
            device: `"cpu"`, `"cuda"` or `"cuda:N"`; by default the GPU where there is one.
            checkpoints: Where to write checkpoints; None writes none.
            checkpoint_every: Least number of seconds between two checkpoints at the ends of epochs;
                one is always written when training stops or ends, unless nothing was trained since
                the last one.

        Raises:
            DatasetError: A split of the data set is empty.
            TorchDirectError: The data does not fit where the placement wants it.
            ValueError: The device does not exist.
        """
        _check_splits(dataset)
        self.config = config
        self.device = training_device(device)
        self.epochs: list[EpochRecord] = []
        self._dataset = dataset
        self._data = place(dataset, config.placement, self.device)
        self._checkpoints = checkpoints
        self._checkpoint_every = checkpoint_every
        self._best: dict[str, Any] = {"epoch": 0, "val": -math.inf, "val_loss": math.inf}
        self._build()
        self._running = self._fresh_epoch(1)
        self._saved_position = self._position()

    @property
    def started(self) -> bool:
        """Whether a batch was trained on, be it before the checkpoint that was gone back to."""
        return self._position() > (1, 0)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the validation metric has stopped to improve."""
        done = len(self.epochs)
        patience = self.config.patience
        waited = done - int(self._best["epoch"])
        return done >= self.config.epochs or (patience > 0 and waited >= patience)

    def fit(
        self, *, stop: Callable[[], bool] = lambda: False, observer: Observer | None = None
    ) -> bool:
        """Train until finished, or until `stop` says so.

        Args:
            stop: Asked before every batch.
            observer: Told after every batch and epoch.

        Returns:
            True when training is finished; False when it was stopped. Either way the checkpoint
            has been written, if the trainer has a place for it and a batch was trained on.

        Raises:
            CheckpointError: A checkpoint cannot be written. Where that is the last one, the trainer
                is `finished` and can `report`.
            TorchDirectError: The loss is no longer finite.
        """
        saved_at = time.monotonic()
        with self._own_randomness():
            while not self.finished:
                if not self._train_epoch(stop, observer):
                    self._save()
                    return False
                record = self._end_epoch()
                if observer is not None:
                    observer.epoch_done(record)
                if self.finished or time.monotonic() - saved_at >= self._checkpoint_every:
                    self._save()
                    saved_at = time.monotonic()
        return True

    def resume(self) -> str | None:
        """Go back to where the checkpoint was written.

        Returns:
            What was wrong with the newest checkpoint, where the one before it had to be used.

        Raises:
            CheckpointError: There is no usable checkpoint, or it is of a run with other settings,
                or with data of another name, size or type of features.
        """
        if self._checkpoints is None:
            raise TypeError("this trainer was made without checkpoints; there is nothing to resume")
        loaded = self._checkpoints.load()
        check_same_settings(loaded.state["settings"], self._compared_settings())
        self._restore(loaded.state)
        return loaded.complaint

    def report(self) -> dict[str, Any]:
        """Evaluate the test nodes with the weights kept, and sum up the run.

        Returns:
            What goes into `report.json`: numbers, strings, and lists and dictionaries of these.
        """
        self._model.load_state_dict(self._best["model"])
        test, _ = self._evaluate(self._test_batches)
        seconds = {stage: sum(e.seconds[stage] for e in self.epochs) for stage in STAGES}
        return {
            "metric": self._dataset.metric,
            "test": test,
            "best_val": self._best["val"],
            "best_epoch": self._best["epoch"],
            "epochs": [asdict(record) for record in self.epochs],
            "seconds": seconds,
            "validation_seconds": sum(e.validation_seconds for e in self.epochs),
            "link_bytes": sum(e.link_bytes for e in self.epochs),
            "device": str(self.device),
            **self._settings(),
        }

    def _build(self) -> None:
        data, config = self._data, self.config
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.manual_seed(config.seed)
            model = build_model(config, data.x.size(1), self._dataset.num_classes)
            self._rng = self._rng_state()
        self._model = model.to(self.device)
        self._optimizer = torch.optim.Adam(
            self._model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        batches = partial(Batches, data, seed=config.seed, degree=model.needs_degree)
        fanout, size = list(config.fanout), config.batch_size
        self._train_batches = batches(self._dataset.train_idx, fanout, size, shuffle=True)
        if data.graph.num_edges <= EXACT_EVALUATION_EDGES:
            fanout, size = [-1] * config.layers, _EXACT_BATCH_SIZE
            # Each may hold most of the features: one at a time.
            batches = partial(batches, prefetch=0)
        self._val_batches = batches(self._dataset.val_idx, fanout, size)
        self._test_batches = batches(self._dataset.test_idx, fanout, size)

    def _fresh_epoch(self, epoch: int) -> _Running:
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        return _Running(epoch, 0, loss_sum, dict.fromkeys(STAGES, 0.0), 0)

    def _train_epoch(self, stop: Callable[[], bool], observer: Observer | None) -> bool:
        """Train on the batches that are left of the running epoch; False when told to stop."""
        running = self._running
        clock = StageClock(running.seconds)
        count = len(self._train_batches)
        batches = self._train_batches.epoch(running.epoch, first=running.next_batch)
        self._model.train()
        while running.next_batch < count and not stop():
            self._step(batches, clock)
            running.next_batch += 1
            if observer is not None:
                observer.batch_done(running.epoch, running.next_batch, count)
        running.seconds = clock.seconds()
        return running.next_batch == count

    def _step(self, batches: Iterator[Any], clock: StageClock) -> None:
        running = self._running
        asked = border(self.device)
        batch = next(batches)
        arrived = border(self.device)
        loss = F.cross_entropy(self._logits(batch), batch.y[: batch.batch_size])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        own = {"wait": (asked, arrived), "train": (arrived, border(self.device))}
        for stage, borders in (batch.stages | own).items():
            clock.add(stage, *borders)
        running.loss_sum += loss.detach() * batch.batch_size
        running.link_bytes += batch.n_id.numel() * self._data.host_row_bytes

    def _logits(self, batch: Any) -> Tensor:
        logits: Tensor = self._model(batch.x.float(), batch, batch.get("degree"))
        return logits

    def _end_epoch(self) -> EpochRecord:
        """Validate, keep the weights if they are the best so far, and begin the next epoch."""
        running = self._running
        loss = float(running.loss_sum) / self._dataset.train_idx.numel()
        if not math.isfinite(loss):
            raise TorchDirectError(
                f"the loss is {loss} in epoch {running.epoch}; expected a finite number: lower the "
                f"learning rate (it is {self.config.lr:g}), and look for values in the features "
                "that are not finite"
            )
        start = time.perf_counter()
        val, val_loss = self._evaluate(self._val_batches)
        seconds = time.perf_counter() - start
        record = EpochRecord(
            running.epoch, loss, val, val_loss, running.seconds, seconds, running.link_bytes
        )
        self.epochs.append(record)
        if (val, -val_loss) > (self._best["val"], -self._best["val_loss"]):
            weights = {name: value.clone() for name, value in self._model.state_dict().items()}
            self._best = {
                "epoch": record.epoch,
                "val": val,
                "val_loss": val_loss,
                "model": weights,
            }
        self._running = self._fresh_epoch(running.epoch + 1)
        return record

    @torch.no_grad()
    def _evaluate(self, batches: Batches) -> tuple[float, float]:
        """Return the metric and the mean cross entropy over the seeds of `batches`."""
        self._model.eval()
        logits, labels = [], []
        for batch in batches.epoch(_EVALUATION_EPOCH):
            logits.append(self._logits(batch))
            labels.append(batch.y[: batch.batch_size])
        scores, truth = torch.cat(logits), torch.cat(labels)
        loss = float(F.cross_entropy(scores, truth))
        return score(self._dataset.metric, scores, truth), loss

    def _settings(self) -> dict[str, Any]:
        """Return everything that the run was asked to do, in the types of JSON."""
        graph, config = self._dataset.graph, asdict(self.config)
        max_epochs = config.pop("epochs")
        return {
            "data": self._dataset.name,
            "num_nodes": graph.num_nodes,
            "num_edges": graph.num_edges,
            "num_features": self._dataset.x.size(1),
            "feature_dtype": str(self._dataset.x.dtype).removeprefix("torch."),
            "num_classes": self._dataset.num_classes,
            **config,
            "fanout": list(self.config.fanout),
            "max_epochs": max_epochs,
        }

    def _compared_settings(self) -> dict[str, Any]:
        settings = self._settings()
        return {name: settings[name] for name in settings if name not in _NOT_COMPARED}

    def _position(self) -> tuple[int, int]:
        return self._running.epoch, self._running.next_batch

    def _save(self) -> None:
        if self._checkpoints is not None and self._position() != self._saved_position:
            self._checkpoints.save(
                {
                    "settings": self._compared_settings(),
                    "running": vars(self._running),
                    "epochs": [asdict(record) for record in self.epochs],
                    "best": self._best,
                    "model": self._model.state_dict(),
                    "optimizer": self._optimizer.state_dict(),
                    "rng": self._rng_state(),
                }
            )
            self._saved_position = self._position()

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self._rng = state["rng"]
        self.epochs = [EpochRecord(**record) for record in state["epochs"]]
        self._running = _Running(**state["running"])
        self._running.loss_sum = self._running.loss_sum.to(self.device)
        self._saved_position = self._position()

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _rng_state(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        for device in self._cuda_devices():
            states["cuda"] = torch.cuda.get_rng_state(device)
        return states

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Give torch's generators the trainer's states, and afterwards the caller's back."""
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.set_rng_state(self._rng["cpu"])
            if "cuda" in self._rng and self.device.type == "cuda":
                torch.cuda.set_rng_state(self._rng["cuda"], self.device)
            try:
                yield
            finally:
                self._rng = self._rng_state()


def _check_splits(dataset: NodeDataset) -> None:
    for name in ("train_idx", "val_idx", "test_idx"):
        if getattr(dataset, name).numel() == 0:
            raise DatasetError(
                f"{name} of the data set {dataset.name} is empty; expected training, validation "
                "and test nodes: split the labelled nodes again"
            )
