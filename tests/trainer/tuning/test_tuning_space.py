"""What a search may set, and how it is written in TOML."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.errors import ConfigError
from trainer.train_config import TrainConfig
from trainer.tuning.settings import Range, TuneConfig
from trainer.tuning.space import check_space, searchable_fields, values_of, with_values

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = """
trials = 3
[space]
learning_rate = {low = 0.001, high = 0.01, log = true}
"model.history.dropout" = {low = 0.0, high = 0.6, step = 0.2}
model.embedding_dim = [16, 32]
[space.retrieval]
softmax = ["sampled", "full"]
"""


def space_of(text: str) -> dict:
    return dict(TuneConfig.model_validate(tomllib.loads(text)).space)


def test_fields_are_named_with_dots_however_toml_nests_them():
    assert space_of(TABLE) == {
        "learning_rate": Range(low=0.001, high=0.01, log=True),
        "model.history.dropout": Range(low=0.0, high=0.6, step=0.2),
        "model.embedding_dim": (16, 32),
        "retrieval.softmax": ("sampled", "full"),
    }
    check_space(space_of(TABLE))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("epochs = {low = 9, high = 3}", "low must be below high"),
        ("learning_rate = {low = 0.0, high = 0.1, log = true}", "needs low above 0"),
        ("learning_rate = {low = 0.1, high = 0.2, step = 0.0}", "step must be above 0"),
        ("epochs = [3]", "at least two choices"),
        ("epochs = [3, 3]", "at least two choices"),
        ("epochs = {low = 3, high = 9, steps = 2}", "steps"),
    ],
)
def test_impossible_ranges_are_refused(entry, message):
    with pytest.raises(ValidationError, match=message):
        space_of(f"[space]\n{entry}")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", r"\[tune.space\] is empty"),
        ("learning_rat = [0.1, 0.2]", "tune.space.learning_rat: .* did you mean 'learning_rate'"),
        ("model.history = [1, 2]", "tune.space.model.history: .* no such field"),
        ("seed = [1, 2]", "tune.space.seed"),
        ("model.history.dropout = [0.1, 1.5]", r"tune.space.model.history.dropout: .* \(came: 1.5\)"),
        ("batch_size = {low = 0, high = 9}", r"tune.space.batch_size: .* \(came: 0\)"),
        ('retrieval.softmax = ["full", "half"]', r"tune.space.retrieval.softmax: .* \(came: 'half'\)"),
    ],
)
def test_fields_and_values_that_training_does_not_know_are_refused(entry, message):
    with pytest.raises(ConfigError, match=message):
        check_space(space_of(f"[space]\n{entry}"))


def test_every_documented_field_but_the_seed_can_be_searched():
    fields = set(searchable_fields())
    assert {"epochs", "text.max_tokens", "model.item.fusion", "ranking.hidden_units"} <= fields
    assert not {"seed", "model", "model.item"} & fields


def test_drawn_values_replace_their_fields_alone():
    before = TrainConfig()
    after = with_values(before, {"model.history.heads": 4, "learning_rate": 0.02})
    assert (after.model.history.heads, after.learning_rate) == (4, 0.02)
    unchanged = with_values(after, {"model.history.heads": before.model.history.heads, "learning_rate": 3e-3})
    assert unchanged == before


def test_values_that_do_not_go_together_say_why():
    with pytest.raises(ConfigError, match="heads = 3 must divide embedding_dim = 64"):
        with_values(TrainConfig(), {"model.history.heads": 3})


def test_the_files_own_settings_are_known_where_the_space_holds_them():
    space = space_of("[space]\nepochs = {low = 10, high = 40}\nmodel.embedding_dim = [32, 64]")
    assert values_of(TrainConfig(), space) == {"epochs": 30, "model.embedding_dim": 64}
    assert values_of(TrainConfig(epochs=50), space) is None


@settings(deadline=None)
@given(st.integers(-9, 9), st.integers(1, 9), st.floats(-20, 20))
def test_a_range_holds_what_lies_between_its_bounds(low, width, value):
    whole = Range(low=low, high=low + width)
    assert whole.whole
    assert whole.holds(low)
    assert whole.holds(low + width)
    assert not whole.holds(low - 1)
    assert not whole.holds(low + 0.5)
    assert not Range(low=0, high=2).holds(True)
    assert Range(low=float(low), high=float(low + width)).holds(value) == (low <= value <= low + width)
