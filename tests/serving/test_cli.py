"""The client's commands: what they print, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from serving import cli
from serving.testing import FakeModel, FakeServer
from twotower import main

_TITLES = "a\tAlien\nb\tBlade Runner\nc\tCasablanca\n"


@pytest.fixture(scope="module")
def server():
    model = FakeModel(
        "films",
        {"a": "x", "b": "y", "c": "x", "d": "y"},
        user_features={"age": "float32", "job": "string"},
    )
    with FakeServer(model) as running:
        yield running


@pytest.fixture
def run(server):
    def run(command: str, *arguments: str, text: str | None = None):
        connection = ["--target", server.target, "--model", "films"]
        return CliRunner().invoke(main, [command, *connection, *arguments], input=text)

    return run


@pytest.fixture
def titles(tmp_path):
    path = tmp_path / "titles.tsv"
    path.write_text(_TITLES)
    return str(path)


def test_recommend_prints_a_table_with_titles(run, titles):
    result = run("recommend", "--history", "a", "--k", "2", "--titles", titles)
    assert result.exit_code == 0, result.output
    rows = [line.split("│")[1:-1] for line in result.output.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1", "b", "Blade Runner", "0.7500"],
        ["2", "c", "Casablanca", "0.5000"],
    ]
    assert "films version 1" in result.output


def test_recommend_prints_json_for_programs(run, titles):
    result = run("recommend", "--exclude", "a,b", "--k", "1", "--titles", titles, "--json")
    answer = json.loads(result.output)
    assert answer["items"] == [{"rank": 1, "item_id": "c", "title": "Casablanca", "score": 0.5}]
    assert (answer["model"], answer["version"], answer["source"]) == ("films", 1, "model")


def test_a_score_that_is_no_number_is_null_in_json(run, server):
    server.answer({"item_id": [["a"]], "score": [[float("nan")]]})
    assert json.loads(run("recommend", "--json").output)["items"] == [
        {"rank": 1, "item_id": "a", "score": None}
    ]


def test_without_k_as_many_as_the_model_has_up_to_ten(run):
    assert len(json.loads(run("recommend", "--json").output)["items"]) == 4


def test_every_option_reaches_the_request(run, server):
    from serving.wire.tensors import decode_tensor

    run("recommend", "--history", "a,b", "--history", "c", "--query", "a wish", "--exclude", "d",
        "--allow-category", "x,y", "--user-feature", "age=30", "--user-feature", "job=cook")  # fmt: skip
    inputs = {name: decode_tensor(value) for name, value in server.calls[-1].request.inputs.items()}
    assert inputs["history_item_id"].tolist() == [[b"a", b"b", b"c", b""]]
    assert inputs["query"].tolist() == [b"a wish"]
    assert inputs["exclude_item_id"].tolist() == [[b"d"]]
    assert inputs["allow_category"].tolist() == [[b"x", b"y"]]
    assert inputs["age"].tolist() == [30.0]
    assert inputs["job"].tolist() == [b"cook"]


def test_several_wishes_are_one_text_with_a_separator(run, server):
    from serving.wire.tensors import decode_tensor

    def sent():
        return decode_tensor(server.calls[-1].request.inputs["query"]).tolist()

    run("recommend", "--query", "a dark film, not Alien", "--query", "short")
    assert sent() == [b"a dark film, not Alien\x1eshort"]
    run(
        "recommend",
        "--request",
        "-",
        text=json.dumps([{"query": ["x", "", "y"]}, {"query": []}, {"query": "z"}]),
    )
    assert sent() == [b"x\x1ey", b"", b"z"]
    refused = run("recommend", "--request", "-", text=json.dumps({"query": [3]}))
    assert refused.exit_code != 0
    assert "`query` must hold strings" in refused.output


def test_options_of_the_connection_reach_the_client(run, server):
    server.fail("UNAVAILABLE", times=2)
    assert run("similar", "a", "--attempts", "2").exit_code == 3
    server.clear()
    server.fail("UNAVAILABLE")
    options = ["--attempts", "2", "--attempt-timeout", "5", "--hedge", "4", "--compression", "gzip"]
    answer = json.loads(run("similar", "a", *options, "--header", "x-team=search", "--json").output)
    assert answer["attempts"] == 2
    assert server.calls[-1].metadata["x-team"] == "search"


def test_an_arm_is_chosen_by_the_key_and_shown(run):
    arms = ["--arm", "control=0.0:7", "--arm", "new=1:1", "--salt", "s", "--key", "user 1"]
    assert json.loads(run("recommend", *arms, "--json").output)["arm"] == "new"
    assert "arm new" in run("recommend", *arms).output


def test_a_request_comes_from_standard_input_or_a_file(run, tmp_path):
    request = {"history": [{"item_id": "a", "timestamp": 3}], "user": {"age": 3}, "exclude": ["b"]}
    result = run("recommend", "--json", "--request", "-", text=json.dumps(request))
    assert [item["item_id"] for item in json.loads(result.output)["items"]] == ["c", "d"]
    path = tmp_path / "requests.json"
    path.write_text(json.dumps([request, {}]))
    answers = json.loads(run("recommend", "--json", "--k", "1", "--request", str(path)).output)
    assert [answer["items"][0]["item_id"] for answer in answers] == ["c", "a"]


def test_rank_orders_what_it_is_given(run):
    result = run("rank", "d", "zz", "a", "--json")
    answer = json.loads(result.output)
    assert [item["item_id"] for item in answer["items"]] == ["a", "d"]
    assert answer["unknown"] == ["zz"]
    assert "The model does not know: zz" in run("rank", "a", "zz").output


def test_similar_lists_neighbours(run, titles):
    assert "Like Alien" in run("similar", "a", "--titles", titles).output
    answers = json.loads(run("similar", "a", "b", "--k", "1", "--json").output)
    assert [answer["items"][0]["item_id"] for answer in answers] == ["b", "a"]


def test_embed_returns_the_vector_of_a_user_or_of_an_item(run):
    answer = json.loads(run("embed", "--history", "a,b", "--query", "hello", "--json").output)
    assert answer["embedding"] == [2.0, 5.0, 0.0, 1.0]
    answer = json.loads(run("embed", "--item-feature", "text=Alien", "--json").output)
    assert answer["embedding"] == [0.0, 5.0, 0.0, 1.0]
    assert "2.2361" in run("embed", "--history", "a,b").output  # the length of [2, 0, 0, 1] is sqrt(5)


def test_status_shows_versions_and_signatures(run):
    assert "AVAILABLE" in run("status").output
    answer = json.loads(run("status", "--signatures", "--json").output)
    assert [v["version"] for v in answer["versions"]] == [1]
    assert "age: float32 [-]" in answer["signatures"]["recommend"]["inputs"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["recommend", "--k", "5"], 2, "returns 1 to 4 items"),
        (["recommend", "--user-feature", "aeg=3"], 2, "no user feature 'aeg'; it has age, job"),
        (["recommend", "--user-feature", "age=old"], 2, "takes numbers, got age=old"),
        (["recommend", "--user-feature", "age"], 2, "'age' is not NAME=VALUE"),
        (["recommend", "--version", "7"], 1, "Specific(films, 7)"),
        (["recommend", "--request", "missing.json"], 2, "Cannot read --request missing.json"),
        (["recommend", "--request", "-", "--query", "x"], 2, "leave the options for its parts out"),
        (["rank", "a", "--exclude", "b"], 2, "No such option"),
        (["rank", "a", "--request", "-"], 2, "is no JSON"),
        (["recommend", "--diversity", "0.5"], 2, "has no input 'diversity'"),
        (["recommend", "--arm", "new"], 2, "is not NAME=VALUE"),
        (["recommend", "--arm", "new=much:2"], 2, "is not NAME=SHARE:VERSION"),
        (["recommend", "--arm", "new=1:2", "--version", "1"], 2, "leave --version and --label out"),
        (["recommend", "--arm", "new=1:1"], 2, "give each query a `key`"),
        (["status", "--header", "X-Team=a"], 2, "header is named with a-z"),
        (["status", "--token-file", __file__], 2, "needs `tls`"),
        (["embed", "--item-feature", "text=x", "--history", "a"], 2, "leave the options of a user out"),
        (["recommend", "--tls-cert", __file__], 2, "needs both"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_message_and_no_traceback(run, arguments, exit_code, words):
    result = run(*arguments)
    assert (result.exit_code, words in result.output) == (exit_code, True), result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "is an empty list"),
        ("3", "must be a JSON object, got int"),
        ('{"histroy": []}', "no key 'histroy'; it may have history, query"),
        ('{"history": "abc"}', "`history` must be a list"),
        ('{"history": [3]}', "must be an id or an object"),
        ('{"history": [{"item_id": "a", "timestamp": "now"}]}', "whole Unix seconds"),
        ('{"user": []}', "`user` must be an object"),
    ],
)
def test_a_bad_request_file_is_explained(run, text, words):
    result = run("recommend", "--request", "-", text=text)
    assert (result.exit_code, words in result.output) == (2, True), result.output


@pytest.mark.parametrize("command", [["recommend"], ["status"], ["similar", "a"], ["rank", "a"], ["embed"]])
def test_a_server_that_is_down_gets_one_clear_message(command):
    result = CliRunner().invoke(main, [*command, "--target", "127.0.0.1:1", "--model", "films"])
    assert result.exit_code == 3
    assert result.output.startswith("Error: The server at 127.0.0.1:1 cannot be reached: ")
    assert "Start one with `twotower serve`" in result.output
    assert result.output.count("Error:") == 1


def test_a_model_the_server_does_not_have(server):
    result = CliRunner().invoke(cli.status, ["--target", server.target, "--model", "nope"])
    assert result.exit_code == 1
    assert "has no model 'nope'" in result.output


@pytest.mark.parametrize("command", ["recommend", "rank", "similar", "embed", "bench"])
def test_examples_in_the_help_stand_on_lines_of_their_own(command):
    text = CliRunner().invoke(main, [command, "--help"], terminal_width=120).output
    examples = [line for line in text.splitlines() if f"twotower {command} " in line and "Usage" not in line]
    assert examples
    assert all(line.strip().startswith(("twotower", "echo")) for line in examples)
    assert "\\b" not in text


def test_titles_without_a_tab_are_refused(run, tmp_path):
    path = tmp_path / "titles.tsv"
    path.write_text("a\tAlien\nb Blade Runner\n")
    result = run("recommend", "--titles", str(path))
    assert result.exit_code == 1
    assert "titles.tsv:2 is not" in result.output


def test_the_package_answers_by_itself(server):
    done = subprocess.run(
        [sys.executable, "-m", "serving", "status", "--target", server.target, "--model", "films", "--json"],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["versions"][0]["state"] == "AVAILABLE", done.stderr
