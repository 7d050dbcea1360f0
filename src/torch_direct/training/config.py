"""The settings of a training run, their defaults for every model, and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MODEL_NAMES = {"sage": "GraphSAGE", "gcn": "GCN", "gat": "GAT"}
"""How the models are spelled for people."""
MODELS = tuple(MODEL_NAMES)
PLACEMENTS = ("unified", "cpu", "gpu")

# What options are below: a model is made before training, kernels and Adam hold 32 bits.
_MAX_LAYERS, _MAX_COUNT, _MAX_FLOAT = 1000, 2**31, 3e38

DEFAULTS: dict[str, dict[str, Any]] = {
    # SAGE: Hamilton et al. 2017, residual as in Platonov et al. 2023.
    "sage": {
        "hidden": 64,
        "heads": 1,
        "fanout": (15, 10),
        "batch_size": 1024,
        "epochs": 100,
        "lr": 0.01,
        "weight_decay": 0.0,
        "dropout": 0.2,
        "patience": 20,
    },
    # GCN: Kipf and Welling 2017; width, dropout, penalty and patience of Shchur et al. 2018.
    "gcn": {
        "hidden": 64,
        "heads": 1,
        "fanout": (10, 10),
        "batch_size": 1024,
        "epochs": 200,
        "lr": 0.01,
        "weight_decay": 1e-3,
        "dropout": 0.8,
        "patience": 50,
    },
    # GAT: Velickovic et al. 2018; `hidden` counts the features of one head.
    "gat": {
        "hidden": 8,
        "heads": 8,
        "fanout": (10, 10),
        "batch_size": 1024,
        "epochs": 300,
        "lr": 0.005,
        "weight_decay": 5e-4,
        "dropout": 0.6,
        "patience": 100,
    },
}
"""What an option that is not given becomes, by model. `layers` follows from `fanout`."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes. `for_model` fills in the defaults."""

    model: str
    """One of `MODELS`."""
    hidden: int
    """Features of a hidden layer; for gat, of one head."""
    heads: int
    """Attention heads of a hidden layer; only gat has them."""
    fanout: tuple[int, ...]
    """Largest number of in-neighbours sampled for a node, nearest the seeds first; -1 takes all."""
    batch_size: int
    """Seed nodes of a training batch."""
    epochs: int
    """Largest number of passes over the training nodes."""
    lr: float
    """Learning rate of Adam."""
    weight_decay: float
    """L2 penalty of Adam."""
    dropout: float
    """Probability of dropping a feature, and for gat an attention coefficient, while training."""
    patience: int
    """Epochs without a better validation metric after which training stops; 0 never stops early."""
    seed: int
    """Seed of the initial weights, the batch order, the sampler, dropout and seeded splits."""
    placement: str
    """Where features and graph live, one of `PLACEMENTS`."""

    @classmethod
    def for_model(
        cls,
        model: str,
        *,
        layers: int | None = None,
        seed: int = 0,
        placement: str = "unified",
        **options: Any,
    ) -> TrainConfig:
        """Fill in the defaults of `model` for every option that is missing or None.

        Args:
            model: One of `MODELS`.
            layers: Number of layers, and so of hops; must agree with `fanout` where both are given.
                Alone, it cuts the default fanout or repeats its last entry.
            seed: From 0 to `2**32 - 1`.
            placement: One of `PLACEMENTS`.
            options: Other fields of this class.

        Raises:
            ValueError: A value is out of range; the message names the option.
        """
        _check_choice("model", model, MODELS)
        given = {name: value for name, value in options.items() if value is not None}
        fanout = _fanout(given.pop("fanout", None), layers, DEFAULTS[model]["fanout"])
        settings = {**DEFAULTS[model], **given, "fanout": fanout}
        config = cls(model=model, seed=seed, placement=placement, **settings)
        config._check()
        return config

    @property
    def layers(self) -> int:
        """Number of layers of the model: one for each hop."""
        return len(self.fanout)

    def _check(self) -> None:
        _check_choice("placement", self.placement, PLACEMENTS)
        for name in ("hidden", "heads", "batch_size", "epochs"):
            _check_range(name, getattr(self, name), low=1, high=_MAX_COUNT)
        _check_range("lr", self.lr, low=0, high=_MAX_FLOAT, open_low=True)
        _check_range("weight_decay", self.weight_decay, low=0, high=_MAX_FLOAT)
        _check_range("dropout", self.dropout, low=0, high=1)
        _check_range("patience", self.patience, low=0, high=_MAX_COUNT)
        _check_range("seed", self.seed, low=0, high=2**32)
        if self.heads > 1 and self.model != "gat":
            raise ValueError(
                f"heads is {self.heads} for the model {self.model}; only gat has attention heads: "
                "leave it out, or choose gat"
            )


def parse_fanout(text: str) -> tuple[int, ...]:
    """Read a fanout such as `"15,10,5"`.

    Raises:
        ValueError: An entry is not an integer.
    """
    try:
        return tuple(int(entry) for entry in text.split(","))
    except ValueError:
        raise ValueError(
            f"fanout is {text!r}; expected integers with commas between them, one for each layer, "
            "such as 15,10,5"
        ) from None


def defaults_of(option: str) -> str:
    """Return the defaults of `option` by model in words, such as `sage 64, gcn 64, gat 8`."""
    return ", ".join(f"{model} {_spelled(DEFAULTS[model][option])}" for model in MODELS)


def _fanout(
    given: tuple[int, ...] | None, layers: int | None, default: tuple[int, ...]
) -> tuple[int, ...]:
    if layers is not None:
        _check_range("layers", layers, low=1, high=_MAX_LAYERS)
    if given is None:
        layers = layers or len(default)
        return (default + default[-1:] * layers)[:layers]
    if not given or not all(entry == -1 or 1 <= entry < _MAX_COUNT for entry in given):
        raise ValueError(
            f"fanout is {_spelled(given)}; expected entries of at least 1, or -1 for all "
            f"neighbours, and less than {_MAX_COUNT}"
        )
    _check_range("number of entries of fanout", len(given), low=1, high=_MAX_LAYERS)
    if layers is not None and layers != len(given):
        raise ValueError(
            f"fanout {_spelled(given)} has {len(given)} entries for {layers} layers; expected one "
            "entry for each layer: give only one of the two, or make them agree"
        )
    return tuple(given)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def _check_range(
    name: str, value: float, *, low: float, high: float, open_low: bool = False
) -> None:
    if (value > low if open_low else value >= low) and value < high:
        return
    bound = f"more than {low}" if open_low else f"at least {low}"
    raise ValueError(f"{name} is {value}; expected {bound} and less than {high}")


def _spelled(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
