"""`twotower explain`: contributions and sentences at the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from serving.testing import FakeModel, FakeServer
from twotower import main


@pytest.fixture(scope="module")
def server():
    with FakeServer(FakeModel("films", {"a": "x", "b": "y", "c": "x", "d": "y"}, explains=True)) as running:
        yield running


@pytest.fixture
def run(server, tmp_path):
    (tmp_path / "titles.tsv").write_text("a\tAlien\nb\tBlade Runner\nc\tCasablanca\n")
    (tmp_path / "keywords.tsv").write_text("a\tHorror, Sci-Fi\nb\tSci-Fi\n")
    files = ["--titles", str(tmp_path / "titles.tsv"), "--keywords", str(tmp_path / "keywords.tsv")]

    def run(*arguments: str):
        connection = ["--target", server.target, "--model", "films"]
        return CliRunner().invoke(main, ["explain", *connection, *files, *arguments])

    return run


def test_json_has_every_contribution_and_a_sentence(run):
    # b scores 3 / 4, of which each of two known items of the history has a half.
    result = run("b", "--history", "a,zz,c", "--query", "dark", "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)
    assert (found["title"], found["score"], found["baseline"], found["completeness_error"]) == (
        "Blade Runner",
        0.75,
        0,
        0,
    )
    assert found["contributions"][:2] == [
        {"kind": "history", "name": "a", "value": 0.375},
        {"kind": "history", "name": "c", "value": 0.375},
    ]
    assert found["sentence"] == "Because you watched Alien and Casablanca."


def test_a_table_names_the_strongest_and_counts_the_rest(run):
    result = run("b", "zz", "--history", "a,c,d", "--top", "2")
    assert result.exit_code == 0, result.output
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line
    ]
    assert rows == [
        ["", "nothing known", "+0.0000"],
        ["history", "a Alien", "+0.2500"],
        ["history", "c Casablanca", "+0.2500"],
        ["", "1 more", "+0.2500"],
    ]
    assert "b Blade Runner  0.7500" in result.output
    assert "The model does not know it." in result.output


def test_sentences_in_other_languages_and_with_other_verbs(run):
    assert "因为您看过《Alien》" in run("b", "--history", "a", "--language", "zh").output
    bought = run("b", "--history", "a", "--verb", "bought")
    assert "Because you bought Alien, which is also Sci-Fi." in bought.output


def test_a_model_that_cannot_explain_is_named():
    with FakeServer(FakeModel("films", ["a"])) as running:
        arguments = ["explain", "a", "--target", running.target, "--model", "films"]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "no signature 'explain'" in result.output
