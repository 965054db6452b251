"""`twotower score explain`: one row a pair, what its score is made of, and a sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import twotower
from beam_pipelines.scoring.results import Results


def score(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(
        twotower.main, ["score", "explain", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.concat_tables(Results.open(output).tables()).to_pylist()
    return sorted(found, key=lambda row: (row["user_id"], row["item_id"]))


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    # Item i5 scores 5, and each event of the history adds 0.01.
    lines: list[dict[str, Any]] = [
        {"user_id": "ann", "history": ["i1", "i2"], "query": "a dark film", "items": ["i5", "none"]},
        {"user_id": "bob", "history": ["i3", "i4", "i6"], "items": ["i7"]},
    ]
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "titles.tsv").write_text("i1\tAlien\ni3\tCasablanca\ni4\tBrazil\ni5\tSolaris\ni7\tGilda\n")
    (tmp_path / "keywords.tsv").write_text("i3\tdrama, love\ni4\tdrama\ni7\tdrama\n")
    return tmp_path / "requests.jsonl"


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_row_holds_what_a_score_is_made_of(
    recommender: Path, requests: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    score("--model", recommender, "--requests", requests, "--output", out, "--format", kind)
    first, unknown, last = rows(out)
    assert (first["user_id"], first["item_id"], first["completeness_error"]) == ("ann", "i5", 0)
    assert first["score"] == pytest.approx(5.02)
    assert first["baseline"] == pytest.approx(5.0)
    assert first["history_item_id"] == ["i1", "i2"]
    assert first["history_contribution"] == pytest.approx([0.01, 0.01])
    assert (first["query_word"], first["query_word_contribution"]) == (["a", "dark", "film"], [0, 0, 0])
    assert (first["nearest_item_id"], first["nearest_cosine"], first["user_feature"]) == (
        ["i5"],
        [1],
        ["age"],
    )
    assert unknown["score"] is None or math.isnan(unknown["score"])  # an empty cell of a CSV file is nothing
    assert (last["query_word"], last["history_item_id"]) == ([], ["i3", "i4", "i6"])  # no padding of a batch
    assert "sentence" not in first
    assert "item_word" not in first  # this model does not explain texts


def test_sentences_name_what_contributed(recommender: Path, requests: Path, tmp_path: Path) -> None:
    files = ["--titles", requests.with_name("titles.tsv"), "--keywords", requests.with_name("keywords.tsv")]
    for language, of_ann, of_bob in (
        ("en", "Because you read Alien.", "Because you read Casablanca and Brazil; both are also drama."),
        ("zh", "因为您read《Alien》。", "因为您read《Casablanca》和《Brazil》，它们也都属于drama。"),  # noqa: RUF001
    ):
        out = tmp_path / language
        options = [*files, "--language", language, "--verb", "read"]
        score("--model", recommender, "--requests", requests, "--output", out, *options)
        assert [row["sentence"] for row in rows(out)] == [of_ann, of_ann, of_bob]


def test_pairs_of_a_dataset(recommender: Path, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("user_id,item_id\nu03,i9\nu01,i8\n")
    out = tmp_path / "out"
    score("--model", recommender, "--dataset", shop, "--pairs", tmp_path / "pairs.csv", "--output", out)
    first, second = rows(out)
    assert (first["user_id"], len(first["history_item_id"])) == ("u01", 4)  # 3 + 1 % 4 events
    assert (second["user_id"], len(second["history_item_id"])) == ("u03", 6)


def test_what_cannot_be_is_refused(recommender: Path, requests: Path, shop: Path, tmp_path: Path) -> None:
    common = ("--model", recommender, "--output", tmp_path / "out")
    said = score(*common, "--requests", requests, "--titles", tmp_path / "nowhere.tsv", code=1)
    assert "nowhere.tsv: cannot be read" in said
    said = score(*common, "--requests", requests, "--rewriter", "gpt2", code=1)
    assert "need --titles" in said
    titles = requests.with_name("titles.tsv")
    said = score(*common, "--requests", requests, "--titles", titles, "--rewriter", tmp_path, code=1)
    assert "is no causal language model that KerasHub can load" in said
    assert "`score explain` over a dataset needs files with the pairs" in score(
        *common, "--dataset", shop, code=1
    )
