from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from beam_pipelines import cli

TABLES = """\
[features.events]
files = ["events.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"
event = { constant = "view" }
[features.users]
files = ["users.csv"]
id = "user"
[features.users.numerics]
age = "age"
"""


@pytest.fixture
def dataset(workshop: Any) -> str:
    workshop.write("events.csv", "user,item,time\nu,a,1\nu,b,2\nu,c,3\nu,d,4\nv,a,1\n")
    workshop.write("users.csv", "user,age\nu,30\nv,40\n")
    return str(workshop.build(TABLES).root)


def _show(*arguments: str) -> Any:
    return CliRunner().invoke(cli.features, ["show", *arguments])


def test_a_record_is_printed_as_json(dataset: str) -> None:
    record = json.loads(_show(dataset, "--user", "u", "--split", "validation").output)
    assert record == {
        "user_id": "u", "item_id": ["a", "b", "c"], "timestamp": [1, 2, 3], "event": ["view"] * 3, "age": 30.0,
        "target_start": 2,
    }  # fmt: skip


@pytest.mark.parametrize("options", [("--user", "u"), ()])
def test_a_request_holds_the_events_before_the_target(dataset: str, options: tuple[str, ...]) -> None:
    request = json.loads(_show(dataset, "--as-request", *options).output)
    assert request == {
        "history": [{"item_id": i, "timestamp": t, "event": "view"} for i, t in (("a", 1), ("b", 2), ("c", 3))],
        "query": "", "user": {"age": 30.0}, "exclude": [], "allow_category": [],
    }  # fmt: skip


def test_the_summary_lists_features_and_sizes(dataset: str) -> None:
    output = _show(dataset, "--verify").output
    for text in ("train", "target_start", "user_numeric", "4 items, 0 rejects"):
        assert text in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "v"], "the user 'v' is not in the split test"),
        (["--user", "nobody"], "not in the split test"),
    ],
)
def test_a_user_who_is_not_there_is_explained(dataset: str, arguments: list[str], message: str) -> None:
    result = _show(dataset, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_what_is_no_dataset_is_explained(tmp_path: Any) -> None:
    assert "no finished dataset" in _show(str(tmp_path)).output
    assert "there is no such dataset" in _show(str(tmp_path / "x")).output
