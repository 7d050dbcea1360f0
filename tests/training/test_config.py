import dataclasses

import pytest

from torch_direct.training.config import (
    DEFAULTS,
    MODELS,
    TrainConfig,
    defaults_of,
    parse_fanout,
)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_not_given_comes_from_the_table(model):
    config = TrainConfig.for_model(model, hidden=None, lr=None)
    settings = dataclasses.asdict(config)
    assert {name: settings[name] for name in DEFAULTS[model]} == DEFAULTS[model]
    assert config.layers == len(DEFAULTS[model]["fanout"])


def test_what_is_given_wins():
    config = TrainConfig.for_model("gat", hidden=3, heads=2, lr=0.5, fanout=(7,), seed=4)
    assert (config.hidden, config.heads, config.lr, config.fanout) == (3, 2, 0.5, (7,))
    assert (config.layers, config.seed) == (1, 4)


@pytest.mark.parametrize(("layers", "fanout"), [(1, (15,)), (2, (15, 10)), (4, (15, 10, 10, 10))])
def test_layers_cut_or_lengthen_the_default_fanout(layers, fanout):
    assert TrainConfig.for_model("sage", layers=layers).fanout == fanout


def test_layers_and_fanout_may_agree():
    assert TrainConfig.for_model("sage", layers=3, fanout=(5, -1, 5)).layers == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mlp"}, "model is 'mlp'; expected one of sage, gcn, gat"),
        ({"placement": "disk"}, "placement is 'disk'; expected one of unified, cpu, gpu"),
        ({"hidden": 0}, "hidden is 0; expected at least 1"),
        ({"batch_size": -1}, "batch_size is -1; expected at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": 0.0}, "lr is 0.0; expected more than 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001"),
        ({"dropout": 1.0}, "dropout is 1.0; expected at least 0 and less than 1"),
        ({"patience": -1}, "patience is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"layers": 0}, "layers is 0"),
        ({"layers": 3, "fanout": (5, 5)}, "fanout 5,5 has 2 entries for 3 layers"),
        ({"fanout": ()}, "fanout is"),
        ({"fanout": (5, 0)}, "fanout is 5,0; expected entries of at least 1, or -1"),
        ({"fanout": (-2,)}, "fanout is -2"),
        ({"fanout": (5, 2**31)}, "fanout is 5,2147483648; expected .* less than 2147483648"),
        ({"fanout": (1,) * 1000}, "number of entries of fanout is 1000; expected .* than 1000"),
        ({"layers": 10**9}, "layers is 1000000000; expected at least 1 and less than 1000"),
        ({"hidden": 2**31}, "hidden is 2147483648; expected at least 1 and less than 2147483648"),
        ({"batch_size": 10**20}, "batch_size is 100000000000000000000"),
        ({"epochs": 2**31}, "epochs is 2147483648"),
        ({"patience": 2**31}, "patience is 2147483648"),
        ({"lr": 1e300}, "lr is 1e.300; expected more than 0 and less than 3e.38"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
        ({"heads": 4}, "heads is 4 for the model sage; only gat"),
    ],
)
def test_a_bad_value_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.for_model(**{"model": "sage", **options})


def test_fanout_is_read():
    assert parse_fanout("15, 10,-1") == (15, 10, -1)


@pytest.mark.parametrize("text", ["", "15,", "a", "1.5", "15;10"])
def test_an_unreadable_fanout_is_named(text):
    with pytest.raises(ValueError, match="expected integers with commas"):
        parse_fanout(text)


def test_defaults_in_words_name_every_model():
    assert defaults_of("fanout") == ", ".join(
        f"{model} {','.join(map(str, DEFAULTS[model]['fanout']))}" for model in MODELS
    )
