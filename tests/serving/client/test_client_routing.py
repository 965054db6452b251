"""Versions, splits, shadows, vectors of two versions, and what observers are told."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from awaited import Awaited
from fake_films import PATIENT, make_model
from hypothesis import given
from hypothesis import strategies as st

from serving.client import (
    Embedding,
    RecommenderClient,
    Route,
    Shadow,
    Split,
    UserQuery,
    VectorIndex,
)
from serving.client.errors import InvalidRequestError, NotFoundError, VersionMismatchError
from serving.client.results import Answer
from serving.client.routing import position
from serving.testing import FakeServer

_SPLIT = Split({"control": (Route(version=1), 3.0), "new ranker": (Route(version=2), 1.0)}, salt="2026-11")


@pytest.fixture
def two_versions():
    with FakeServer(make_model(versions=[1, 2], labels={"stable": 1})) as server:
        yield server


def test_the_place_of_a_key_never_changes():
    # Computed once with Python's hashlib: BLAKE2b, key b"2026-11", 8 bytes, upper 53 bits over 2 ** 53. A
    # change here would deal the users of running experiments anew.
    assert position("2026-11", "user 1") == pytest.approx(0.12566317041127, abs=1e-12)
    assert position("", "user 1") != position("2026-11", "user 1")


@given(st.text(), st.text(max_size=100))
def test_places_lie_in_the_unit_interval(key, salt):
    assert 0 <= position(salt, key) < 1


def test_arms_get_their_shares_and_keys_stay_in_theirs():
    arms = [_SPLIT.choose(str(user))[0] for user in range(20_000)]
    # 15,000 expected of 20,000 at p = 3/4: five standard deviations are 5 * sqrt(20000 * 3/16) = 306.
    assert abs(arms.count("control") - 15_000) < 306
    places = [position("2026-11", str(user)) for user in range(20_000)]
    assert arms == ["control" if place < 0.75 else "new ranker" for place in places]
    other = replace(_SPLIT, salt="other")
    moved = sum(_SPLIT.choose(str(user))[0] != other.choose(str(user))[0] for user in range(20_000))
    # Independent deals differ with probability 2 * 3/4 * 1/4 = 3/8: 7,500 expected, five deviations are 342.
    assert abs(moved - 7_500) < 342


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5).filter(lambda shares: sum(shares) > 0), st.text())
def test_an_arm_without_a_share_gets_nobody(shares, key):
    split = Split({str(at): (Route(), share) for at, share in enumerate(shares)})
    assert shares[int(split.choose(key)[0])] > 0


def test_a_split_sends_each_user_to_the_version_of_the_arm(two_versions):
    with RecommenderClient(two_versions.target, "films", replace(PATIENT, route=_SPLIT)) as client:
        queries = [UserQuery(key=str(user)) for user in range(12)]
        results = client.recommend_batch(queries)
        expected = [_SPLIT.choose(str(user)) for user in range(12)]
        assert [(r.answer.arm, r.version) for r in results] == [
            (arm, route.version) for arm, route in expected
        ]
        assert {r.version for r in results} == {1, 2}
        one = client.recommend(key="0")
        assert (one.answer.arm, one.version) == (results[0].answer.arm, results[0].version)
        with pytest.raises(InvalidRequestError, match="give each query a `key`"):
            client.recommend()
        # Without a key there is no arm; these calls go to the newest version.
        assert client.similar_items("a").version == 2
        assert client.recommend(route=Route(label="stable")).version == 1


def test_the_key_is_never_sent(two_versions):
    with RecommenderClient(two_versions.target, "films", replace(PATIENT, route=_SPLIT)) as client:
        client.recommend(key="a very private key")
    assert b"private" not in b"".join(call.request.SerializeToString() for call in two_versions.calls)


@pytest.mark.parametrize("arms", [{}, {"a": (Route(), 0.0)}, {"a": (Route(), 2.0), "b": (Route(), -1.0)}])
def test_splits_that_make_no_sense_are_refused(arms):
    with pytest.raises(InvalidRequestError, match="shares"):
        Split(arms)


def test_a_route_has_a_version_or_a_label():
    with pytest.raises(InvalidRequestError, match="got both"):
        Route(version=1, label="stable")


@pytest.mark.parametrize("client_class", [RecommenderClient, Awaited])
def test_a_shadow_is_asked_and_nobody_waits_for_it(two_versions, client_class):
    seen, told = [], threading.Event()

    def on_result(result):
        seen.append(result)
        told.set()

    settings = replace(
        PATIENT, route=Route(version=1), shadow=Shadow(Route(version=2), on_result, timeout=20)
    )
    with client_class(two_versions.target, "films", settings) as client:
        result = client.recommend(["a"])
        end = time.monotonic() + 20
        while not told.wait(0.01) and time.monotonic() < end:
            client.status()  # an event loop only runs while something is awaited
    assert result.version == 1
    assert [r.version for r in seen[0].primary] == [1]
    assert [r.version for r in seen[0].shadow] == [2]
    assert seen[0].shadow[0].item_ids == result.item_ids
    assert seen[0].error is None


def test_a_shadow_that_fails_hurts_nobody(two_versions):
    seen, told = [], threading.Event()
    shadow = Shadow(Route(version=9), lambda result: (seen.append(result), told.set()))
    with RecommenderClient(two_versions.target, "films", replace(PATIENT, shadow=shadow)) as client:
        assert client.recommend().version == 2
        assert told.wait(20)
    assert isinstance(seen[0].error, NotFoundError)


def test_only_a_share_of_calls_is_shadowed_and_only_so_many_at_once():
    shadow = Shadow(Route(), lambda result: None, fraction=0.5, most_in_flight=2)
    assert not shadow.enter(0.5)
    assert shadow.enter(0.49)
    assert shadow.enter(0.0)
    assert not shadow.enter(0.0)
    shadow.leave()
    assert shadow.enter(0.0)


def _vector(*numbers, version=1, model="films"):
    return Embedding(np.array(numbers, np.float32), Answer(model, version, 0.0))


def test_an_index_finds_the_largest_dot_products():
    index = VectorIndex(["x", "y", "z"], [_vector(1, 0), _vector(0, 1), _vector(1, 1)])
    # Dot products with [2, 1]: x 2, y 1, z 3.
    found = index.search(_vector(2, 1), k=2)
    assert [(item.item_id, item.score, item.rank) for item in found] == [("z", 3.0, 1), ("x", 2.0, 2)]


def test_vectors_of_two_versions_are_not_mixed():
    with pytest.raises(VersionMismatchError, match=r"'films' version 1.*'films' version 2"):
        VectorIndex(["x", "y"], [_vector(1, 0), _vector(0, 1, version=2)])
    index = VectorIndex(["x"], [_vector(1, 0)])
    with pytest.raises(VersionMismatchError):
        index.search(_vector(1, 0, version=2), k=1)
    with pytest.raises(VersionMismatchError):
        index.search(_vector(1, 0, model="books"), k=1)
    with pytest.raises(InvalidRequestError, match="2 items and 1 vectors"):
        VectorIndex(["x", "y"], [_vector(1, 0)])


def test_logs_carry_no_ids_and_no_texts(two_versions, caplog):
    caplog.set_level(logging.DEBUG, logger="serving.client")
    settings = replace(PATIENT, route=_SPLIT)
    with RecommenderClient(two_versions.target, "films", settings) as client:
        two_versions.fail("UNAVAILABLE", method="GetModelMetadata")
        client.recommend(["secret-item"], query="secret wish", user={"job": "secret job"}, key="secret user")
    assert "UNAVAILABLE after" in caplog.text
    assert "Predict of films recommend: OK" in caplog.text
    assert "secret" not in caplog.text
