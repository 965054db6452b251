"""What every server must answer: one suite over both clients, fakes, the embedded server and a real one.

The real one is the `tensorflow_model_server` binary that TENSORFLOW_MODEL_SERVER names; without it, those are left out.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess

import numpy as np
import pytest
from awaited import Awaited
from fake_films import CATALOGUE, PATIENT, make_model

from serving.client import Event, RecommenderClient, Route, UserQuery
from serving.client.errors import InvalidRequestError, NotFoundError
from serving.testing import FakeServer, FakeTransport

_OPTIONAL = ["history_timestamp", "history_event"]
_REAL_BINARY = os.environ.get("TENSORFLOW_MODEL_SERVER")


@contextlib.contextmanager
def _fake(client_class, socket):
    model = make_model(versions=[1, 2], labels={"stable": 1}, optional_inputs=_OPTIONAL)
    if socket:
        with FakeServer(model) as server, client_class(server.target, "films", PATIENT) as client:
            yield client, server.calls
    else:
        transport = FakeTransport(model)
        connect = transport.connect_async if client_class is Awaited else transport.connect
        with client_class("nowhere:1", "films", PATIENT, connect=connect) as client:
            yield client, transport.script.calls


@pytest.fixture(scope="session")
def film_model(tmp_path_factory):
    """The base path of the film model."""
    from film_saved_model import export

    return export(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def embedded(film_model):
    """The address of the embedded server with the film model."""
    from serving.server import EmbeddedServer

    with EmbeddedServer(model_name="films", model_base_path=film_model, port=0) as server:
        yield server.address


@pytest.fixture(scope="session")
def real(film_model):
    """The address of the real server with the film model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--model_name=films", f"--model_base_path={film_model}", f"--port={port}"]
    process = subprocess.Popen([_REAL_BINARY, *flags])
    try:
        with RecommenderClient(f"127.0.0.1:{port}", "films") as client:
            client.wait_until_ready(120)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


_FAKES = {
    "threads, socket": lambda: _fake(RecommenderClient, True),
    "threads, no socket": lambda: _fake(RecommenderClient, False),
    "asyncio, socket": lambda: _fake(Awaited, True),
    "asyncio, no socket": lambda: _fake(Awaited, False),
}
_SERVERS = {
    "threads, embedded": RecommenderClient,
    "asyncio, embedded": Awaited,
    **({"threads, real": RecommenderClient, "asyncio, real": Awaited} if _REAL_BINARY else {}),
}


@pytest.fixture(params=_FAKES)
def asked(request):
    """A client of a fake, and the calls that reached it."""
    with _FAKES[request.param]() as both:
        yield both


@pytest.fixture(params=[*_FAKES, *_SERVERS])
def client(request):
    """A client of each server."""
    if request.param in _FAKES:
        with _FAKES[request.param]() as (client, _):
            yield client
    else:
        target = request.getfixturevalue(request.param.rpartition(" ")[2])
        with _SERVERS[request.param](target, "films", PATIENT) as client:
            yield client


def test_recommendations_come_ranked_and_typed(client):
    result = client.recommend(["a"], k=2)
    assert [(item.item_id, item.score, item.rank) for item in result] == [("b", 0.75, 1), ("c", 0.5, 2)]
    assert (result.answer.model, result.source) == ("films", "model")
    assert result.version in client.status().available
    assert result.answer.latency > 0
    assert type(result[0].item_id) is str
    assert type(result[0].score) is float


def test_nothing_asked_for_means_what_is_popular(client):
    assert client.recommend().item_ids == list(CATALOGUE)


def test_filters_reach_the_model(client):
    assert client.recommend(exclude=["a", "d"]).item_ids == ["b", "c"]
    assert client.recommend(allow_category=["y"]).item_ids == ["b", "d"]
    assert client.retrieve(["b"], allow_category=["y"]).item_ids == ["d"]


def test_rows_with_fewer_results_carry_no_padding(client):
    assert client.recommend(exclude=list(CATALOGUE)).item_ids == []


def test_a_batch_keeps_its_order_and_pads_its_rows(client):
    queries = [UserQuery(["a", "b", "c"]), UserQuery(), UserQuery(exclude=["a"], query="x")]
    assert [r.item_ids for r in client.recommend_batch(queries, k=2)] == [["d"], ["a", "b"], ["b", "c"]]
    assert client.recommend_batch([]) == []


def test_ranking_orders_what_is_given_and_names_what_is_unknown(client):
    result = client.rank(["d", "zz", "a"])
    assert result.scores == {"a": 1.0, "d": 0.25}
    assert result.item_ids == ["a", "d"]
    assert result.unknown == ("zz",)
    rankings = client.rank_batch([["c", "b"], ["d"]], [UserQuery(), UserQuery()])
    assert [r.item_ids for r in rankings] == [["b", "c"], ["d"]]


def test_vectors_are_float32_and_read_only(client):
    vector = client.embed_query(["a", "b"], query="hello").vector
    np.testing.assert_array_equal(vector, np.array([2, 5, 0, 1], np.float32))
    assert vector.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1
    assert client.embed_item({"text": "seven .."}).vector.tolist() == [0, 8, 0, 1]


def test_similar_items_leave_the_item_out(client):
    assert client.similar_items("b", k=2).item_ids == ["a", "c"]
    assert client.similar_items("zz").item_ids == []
    assert [r.item_ids for r in client.similar_items_batch(["a", "d"], k=1)] == [["b"], ["a"]]


def test_any_signature_can_be_asked_and_strings_come_as_str(client):
    prediction = client.predict({"item_id": ["b"]}, signature="similar_items")
    assert prediction["item_id"] == [["a", "c", "d", ""]]
    assert prediction["score"].dtype == np.float32
    only = client.predict({"item_id": ["b"]}, signature="similar_items", outputs=["score"])
    assert list(only.outputs) == ["score"]


def test_status_metadata_and_description(client):
    newest = client.status().available[0]
    metadata = client.metadata()
    assert metadata.version == newest
    assert str(metadata.signatures["recommend"].inputs["age"]) == "age: float32 [-]"
    assert client.describe().facts == {"name": "films", "k": 4, "items": 4}
    assert client.wait_until_ready(5).available[0] == newest


def test_versions_and_labels_are_asked_for(asked):
    client, _ = asked
    assert client.status().available == (2, 1)
    assert client.recommend().version == 2
    assert client.recommend(route=Route(version=1)).version == 1
    assert client.recommend(route=Route(label="stable")).version == 1


def test_what_the_server_does_not_have_is_not_found(client):
    with pytest.raises(NotFoundError, match=r"Specific\(films, 9\)"):
        client.recommend(route=Route(version=9))
    with pytest.raises(NotFoundError, match="other"):
        client.recommend(route=Route(model="other"))


def test_events_keep_their_times_and_kinds(asked):
    from serving.wire.tensors import decode_tensor

    client, calls = asked
    client.recommend([Event("a", 5, "view"), "b", Event("c", 7, "buy")])
    inputs = {name: decode_tensor(value) for name, value in calls[-1].request.inputs.items()}
    assert inputs["history_item_id"].tolist() == [[b"a", b"b", b"c", b""]]
    assert inputs["history_timestamp"].tolist() == [[5, 0, 7, 0]]
    assert inputs["history_event"].tolist() == [[b"view", b"", b"buy", b""]]


def test_what_the_caller_leaves_out_is_sent_empty(asked):
    from serving.wire.tensors import decode_tensor

    client, calls = asked
    client.recommend_batch([UserQuery(user={"age": 30}), UserQuery(user={"job": "cook"})])
    inputs = {name: decode_tensor(value) for name, value in calls[-1].request.inputs.items()}
    assert inputs["age"][0] == 30.0
    assert math.isnan(inputs["age"][1])  # a model takes NaN for "not given"
    assert inputs["job"].tolist() == [b"", b"cook"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.recommend(k=5), r"k = 5, but model 'films' returns 1 to 4 items"),
        (lambda c: c.recommend(k=0), "k must be 1 or more, got 0"),
        (lambda c: c.recommend("abc"), r"`history` must be a list.*'abc'"),
        (lambda c: c.recommend([1]), r"`history` must hold strings, got int: 1"),
        (lambda c: c.recommend(exclude=[None]), "`exclude` must hold strings"),
        (lambda c: c.recommend(query=3), "`query` must be a string or a list of strings, got int"),
        (lambda c: c.recommend(user={"aeg": 3}), r"no user feature 'aeg'; it has age, job"),
        (lambda c: c.recommend(user={"age": "3"}), r"age: float32 \[-\]` takes a number, got str: '3'"),
        (lambda c: c.recommend(user={"job": 3}), r"job: string \[-\]` takes a string, got int: 3"),
        (lambda c: c.recommend(deadline=0), "deadline must be a positive number"),
        (lambda c: c.rank([]), "no item was given"),
        (lambda c: c.rank("ab"), "item ids must be a list of strings"),
        (lambda c: c.rank_batch([["a"]], []), "1 lists of items came with 0 queries"),
        (lambda c: c.embed_item({"title": "x"}), "no item feature 'title'; it has text"),
        (lambda c: c.predict({}, signature="zzz"), r"no signature 'zzz'; it has \{describe, embed_item"),
        (
            lambda c: c.predict({"x": [1]}, signature="rank"),
            r"takes \{age.*you sent \{x\}.*Unexpected: \{x\}",
        ),
        (lambda c: c.predict({"item_id": [1]}, signature="similar_items"), "item_id: string"),
        (
            lambda c: c.predict({"item_id": "a"}, signature="similar_items"),
            r"does not take an array of shape \[\]",
        ),
        (lambda c: c.explain(["a"]), "no signature 'explain'"),
        (
            lambda c: c.recommend(diversity=0.5),
            "`diversity` was given, but .* has no input 'diversity'; it takes age,",
        ),
        (lambda c: c.retrieve(allow=["a"]), "`allow` was given, but signature 'retrieve' .*'allow_item_id'"),
        (lambda c: c.recommend(min_score=0.0), "no input 'min_score'"),
        (lambda c: c.rank_batch([["a"]], [UserQuery(exclude=["a"])]), "'rank' .* no input 'exclude_item_id'"),
        (lambda c: c.recommend(diversity=1.5), "`diversity` must be a number from 0 to 1, got 1.5"),
        (
            lambda c: c.recommend(max_per_category=-1),
            "`max_per_category` must be a whole number from 0 up, got -1",
        ),
        (lambda c: c.recommend(seed=0.5), "`seed` must be a whole number, got 0.5"),
        (lambda c: c.recommend(block_category="x"), r"`block_category` must be a list.*'x'"),
        (lambda c: c.status(metadata=[("X-Id", "1")]), "header is named with a-z.*got 'X-Id'"),
        (lambda c: c.status(metadata=[("x-id", "a\nb")]), "header 'x-id' takes printable ASCII"),
        (lambda c: c.status(credentials=object()), "`credentials` needs `tls`"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_both_sides_named(client, ask, words):
    with pytest.raises(InvalidRequestError, match=words):
        ask(client)


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.recommend(exlude=["a"]),
        lambda c: c.rank(["a"], exclude=["a"]),
        lambda c: c.status(timeout=3),
    ],
)
def test_an_argument_that_no_call_takes_is_refused_as_python_does(client, ask):
    with pytest.raises(TypeError, match=r"unexpected keyword argument '\w+'; this call takes .*deadline"):
        ask(client)
