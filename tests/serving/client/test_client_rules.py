"""Rules that only some models have: what is sent, what comes back, and where they can be said."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from awaited import Awaited
from click.testing import CliRunner
from fake_films import CATALOGUE, PATIENT, make_model

from serving import cli
from serving.client import ClientSettings, RecommenderClient, UserQuery
from serving.client.contributions import contributions
from serving.client.requests import QUERY_INPUTS
from serving.testing import FakeServer
from serving.wire.tensors import decode_tensor

_RULES = ["allow_item_id", "block_category", "max_per_category", "min_score", "one_per_variant", "diversity",
          "exploration", "seed"]  # fmt: skip


@pytest.fixture
def server():
    with FakeServer(make_model(optional_inputs=_RULES, explains=True)) as running:
        yield running


@pytest.fixture(params=[RecommenderClient, Awaited])
def client(server, request):
    with request.param(server.target, "films", PATIENT) as made:
        yield made


def _sent(server):
    inputs = server.calls[-1].request.inputs
    return {name: decode_tensor(inputs[name]) for name in _RULES}


def test_what_was_not_asked_for_is_sent_as_nothing(server, client):
    client.recommend(["a"])
    sent = _sent(server)
    nan = np.array([math.nan], np.float32)
    for name, empty in {"min_score": nan, "diversity": nan, "exploration": nan}.items():
        np.testing.assert_array_equal(sent[name], empty)
        assert sent[name].dtype == np.float32
    for name in ("max_per_category", "one_per_variant", "seed"):
        np.testing.assert_array_equal(sent[name], np.array([0], np.int64))
        assert sent[name].dtype == np.int64
    assert sent["allow_item_id"].tolist() == sent["block_category"].tolist() == [[b""]]


def test_rules_are_sent_row_by_row(server, client):
    queries = [
        UserQuery(allow=["a", "b", "c"], min_score=0.0, one_per_variant=True, seed=7),
        UserQuery(block_category=["y"], max_per_category=2, diversity=0.25, exploration=0.5),
    ]
    client.retrieve_batch(queries)
    sent = _sent(server)
    assert sent["allow_item_id"].tolist() == [[b"a", b"b", b"c", b""], [b""] * 4]
    assert sent["block_category"].tolist() == [[b""], [b"y"]]
    assert sent["max_per_category"].tolist() == [0, 2]
    assert sent["one_per_variant"].tolist() == [1, 0]
    assert sent["seed"].tolist() == [7, 0]
    for name, value in {
        "min_score": (0.0, math.nan),
        "diversity": (math.nan, 0.25),
        "exploration": (math.nan, 0.5),
    }.items():
        np.testing.assert_array_equal(sent[name], np.array(value, np.float32))


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        # Scores: a 1, b 0.75, c 0.5, d 0.25; a and c are of category x, b and d of y.
        ({"allow": ["d", "a"]}, ["a", "d"]),
        ({"block_category": ["x"]}, ["b", "d"]),
        ({"max_per_category": 1}, ["a", "b"]),
        ({"min_score": 0.5}, ["a", "b", "c"]),
        ({"allow": ["a", "b"], "exclude": ["a"]}, ["b"]),
    ],
)
def test_the_fake_keeps_the_rules(client, rules, shown):
    assert client.recommend(**rules).item_ids == shown


def test_a_propensity_comes_where_the_model_has_one(server, client):
    assert [item.propensity for item in client.recommend(exploration=0.1, k=2)] == [1.0, 1.0]
    chances = [[0.75, 0.0, 0.5]]
    server.answer({"item_id": [["b", "", "a"]], "score": [[0.5, -9.0, 0.25]], "propensity": chances})
    assert [(i.item_id, i.propensity) for i in client.recommend(exploration=0.1)] == [("b", 0.75), ("a", 0.5)]
    assert client.similar_items("a")[0].propensity is None


def test_explanations_come_item_by_item_and_in_batches(client):
    # b scores 0.75, and the two items that are known share it; of whom nothing is known the baseline is the score.
    queries = [UserQuery(["a", "zz", "c"], query="dark film"), UserQuery()]
    first, second = client.explain_batch([["b", "zz"], ["c"]], queries)
    assert [one.item_id for one in (*first, *second)] == ["b", "zz", "c"]
    assert contributions(first[0]) == [
        ("history", "a", 0.375), ("history", "c", 0.375), ("history", "zz", 0.0), ("query_word", "dark", 0.0),
        ("query_word", "film", 0.0),
    ]  # fmt: skip
    assert math.isnan(first[1].parts["score"])
    assert (float(second[0].parts["baseline"]), contributions(second[0])) == (0.5, [])
    assert client.explain(["d"])[0].parts["score"] == np.float32(0.25)


def test_the_list_that_stands_in_keeps_what_it_can():
    settings = ClientSettings(deadline=0.2, fallback=list(CATALOGUE))
    with RecommenderClient("127.0.0.1:1", "films", settings) as client:
        assert client.recommend(allow=["d", "b", "a"], exclude=["a"]).item_ids == ["b", "d"]


def test_a_request_in_json_has_every_field():
    request = {
        "history": ["a"], "allow": ["a", "b"], "block_category": ["x"], "max_per_category": 3, "min_score": 0.5,
        "one_per_variant": True, "diversity": 0.5, "exploration": 0.1, "seed": 9,
    }  # fmt: skip
    query = UserQuery.from_json(request)
    assert query == UserQuery(
        ["a"], allow=["a", "b"], block_category=["x"], max_per_category=3, min_score=0.5, one_per_variant=True,
        diversity=0.5, exploration=0.1, seed=9,
    )  # fmt: skip


def test_the_command_line_has_every_rule(server):
    options = ["--allow", "a,b", "--allow", "d", "--block-category", "z", "--max-per-category", "1", "--min-score", "0",
               "--one-per-variant", "--diversity", "0.5", "--exploration", "0.25", "--seed", "3"]  # fmt: skip
    result = CliRunner().invoke(
        cli.recommend, ["--target", server.target, "--model", "films", "--json", *options]
    )
    assert result.exit_code == 0, result.output
    assert [(i["item_id"], i["propensity"]) for i in json.loads(result.output)["items"]] == [
        ("a", 1.0),
        ("b", 1.0),
    ]
    sent = _sent(server)
    assert sent["allow_item_id"].tolist() == [[b"a", b"b", b"d", b""]]
    assert sent["block_category"].tolist() == [[b"z"]]
    numbers = {name: sent[name].item() for name in _RULES[2:]}
    assert numbers == {"max_per_category": 1, "min_score": 0.0, "one_per_variant": 1, "diversity": 0.5,
                       "exploration": 0.25, "seed": 3}  # fmt: skip


def test_no_feature_of_a_user_may_have_the_name_of_a_rule():
    assert set(_RULES) <= QUERY_INPUTS
