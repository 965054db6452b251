"""What a search leaves behind."""

from __future__ import annotations

import io
import json
import sys

import pytest

pytest.importorskip("optuna", reason="needs twotower[tune]")

import optuna
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainer.tuning.outcome import as_toml, best_trial, trials_table, write_outcome

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SPACE = {
    "learning_rate": optuna.distributions.FloatDistribution(0.001, 0.1),
    "model.history.heads": optuna.distributions.CategoricalDistribution((1, 2)),
}
STATE = optuna.trial.TrialState


def trial(number: int, state, value: float | None, rate: float, heads: int, **attributes: str):
    made = optuna.trial.create_trial(
        state=state,
        value=value,
        params={"learning_rate": rate, "model.history.heads": heads},
        distributions=SPACE,
        intermediate_values={0: 0.1, 1: 0.2},
        user_attrs=attributes,
    )
    made.number = number
    return made


TRIALS = [
    trial(0, STATE.COMPLETE, 0.3, 0.01, 1),
    trial(1, STATE.PRUNED, 0.9, 0.02, 1),  # a figure on the way is no result
    trial(2, STATE.COMPLETE, 0.5, 0.03, 2),
    trial(3, STATE.FAIL, None, 0.04, 2, reason="heads do not divide"),
    trial(4, STATE.COMPLETE, 0.5, 0.05, 2),
]


def test_the_best_is_the_highest_of_those_that_ended_and_the_first_of_equals():
    assert best_trial(TRIALS).number == 2
    assert best_trial(TRIALS[1:2]) is None


def test_the_best_settings_are_toml_that_training_reads(tmp_path):
    from trainer.train_config import TrainConfig

    write_outcome(tmp_path, TRIALS, "val_ndcg@10")
    text = (tmp_path / "best.toml").read_text()
    assert text.startswith("# val_ndcg@10 0.5000 on validation events: trial 2 of 5.\n[train]\n")
    table = tomllib.loads(text)["train"]
    assert table == {"learning_rate": 0.03, "model": {"history": {"heads": 2}}}
    assert TrainConfig.model_validate(table).model.history.heads == 2


def test_every_trial_is_in_the_file(tmp_path):
    write_outcome(tmp_path, TRIALS, "val_ndcg@10")
    rows = json.loads((tmp_path / "trials.json").read_text())["trials"]
    states = ["done", "stopped early", "done", "impossible", "done"]
    assert [row["state"] for row in rows] == states
    assert [row["value"] for row in rows] == [0.3, None, 0.5, None, 0.5]
    assert rows[3]["reason"] == "heads do not divide"
    assert rows[0]["epochs"] == [0.1, 0.2]


def test_without_a_whole_trial_there_are_no_best_settings(tmp_path):
    assert write_outcome(tmp_path, TRIALS[1:2], "val_ndcg@10") is None
    assert [file.name for file in tmp_path.iterdir()] == ["trials.json"]


def test_the_table_begins_with_the_best():
    printed = io.StringIO()
    Console(file=printed, width=200).print(trials_table(TRIALS, "val_ndcg@10"))
    rows = [line.split("│")[1].strip() for line in printed.getvalue().splitlines() if line.startswith("│")]
    assert rows == ["2", "4", "0", "1", "3"]


names = st.sampled_from(
    ["epochs", "learning_rate", "model.item.words", "model.history.dropout", "text.encoder"]
)
values = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@given(st.dictionaries(names, values))
def test_toml_gives_back_what_went_in(params):
    document = tomllib.loads(as_toml(params))
    for field, value in params.items():
        found = document["train"]
        for key in field.split("."):
            found = found[key]
        assert found == value
        assert type(found) is type(value)
