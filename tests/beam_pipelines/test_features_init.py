from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beam_pipelines import cli
from beam_pipelines.build import build_dataset
from beam_pipelines.config import load_config


def _init(*paths: Path, output: Path) -> Any:
    return CliRunner().invoke(cli.features, ["init", *map(str, paths), "--output", str(output)])


def test_a_draft_of_three_files_builds(tmp_path: Path) -> None:
    rows = "".join(f"u{i % 5},i{i % 4},{1_600_000_000 + i},{i % 5 + 1},view\n" for i in range(60))
    events, items, users = tmp_path / "ratings.csv", tmp_path / "movies.csv", tmp_path / "users.tsv"
    events.write_text("userId,movieId,timestamp,rating,action\n" + rows)
    names = "".join(f'i{i},"The tale, part {i}",red|green,{i}.5\n' for i in range(4))
    items.write_text("movieId,title,genres,price\n" + names)
    users.write_text("user_id\tage\tgender\n" + "".join(f"u{i}\t{i + 20}\tf\n" for i in range(5)))
    output = tmp_path / "draft.toml"
    result = _init(events, items, users, output=output)
    assert result.exit_code == 0, result.output
    settings = load_config(output).required_features()
    assert settings.events.timestamp is not None
    assert settings.events.timestamp.unit == "s"
    assert settings.items is not None
    assert settings.items.categories["genres"].split == "|"
    config = load_config(output)
    moved = type(config)(config.path, config.name, tmp_path / "run", config.fetch, config.features)
    built = build_dataset(moved, "by_time", str(tmp_path))
    assert built.manifest["rejects"]["total"] == 0
    assert sum(split["targets"] for split in built.manifest["splits"].values()) == 60
    assert "is there already" in _init(events, output=output).output


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2011-01-31 08:26:00", {"format": "iso"}),
        ("31/01/2011 08:26", {"format": "%d/%m/%Y %H:%M"}),
        ("1296462360000", {"unit": "ms"}),
    ],
)
def test_times_and_delimiters_are_recognised(tmp_path: Path, time: str, expected: dict[str, str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"CustomerID;StockCode;InvoiceDate;Quantity\n1;A;{time};3\n2;B;{time};-1\n")
    assert _init(path, output=tmp_path / "c.toml").exit_code == 0
    events = load_config(tmp_path / "c.toml").required_features().events
    assert events.delimiter == ";"
    assert events.returns == "cancel"
    assert events.timestamp is not None
    for key, value in expected.items():
        assert getattr(events.timestamp, key) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("", "the file is empty"),
        ("a\nb\n", "no delimiter"),
        ("x,y\na,b\n", "none can be the events"),
    ],
)
def test_what_cannot_be_drafted_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "x.csv").write_text(content)
    result = _init(tmp_path / "x.csv", output=tmp_path / "c.toml")
    assert result.exit_code == 1
    assert message in result.output
