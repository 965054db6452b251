"""Filters and exclusions: masks over the catalogue and tests of single items say the same, and what a set says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.keras_compat import tf
from trainer.rules import masks
from trainer.rules.lists import Taken
from trainer.rules.permission import Permission, contains

ITEMS, CATEGORIES = 12, 4
TABLE = np.asarray(
    [[0, -1], [1, -1], [2, -1], [3, -1], [0, 1], [1, 2], [2, 3], [-1, -1], [0, 3], [1, 3], [0, 2], [-1, -1]],
    np.int32,
)
SETS = [{int(c) for c in row if c >= 0} for row in TABLE]
VARIANTS = np.asarray([5, 5, 7, -1, -1, 7, 9, 9, 9, -1, 1, 2], np.int64)

ids = st.lists(st.integers(-1, ITEMS - 1), max_size=6)
names = st.lists(st.integers(-1, CATEGORIES - 1), max_size=4)


def padded(rows: list[list[int]], dtype: Any = np.int32) -> Any:
    width = max((len(row) for row in rows), default=0)
    return tf.constant(
        np.asarray([row + [-1] * (width - len(row)) for row in rows], dtype).reshape(len(rows), width)
    )


@st.composite
def requests(draw: Any) -> dict[str, list[Any]]:
    count = draw(st.integers(1, 4))

    def column(values: Any) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    return {
        "excluded": column(ids),
        "allow": column(st.none() | ids),
        "categories": column(st.none() | names),
        "blocked": column(names),
        "full": column(names),
        "taken": column(st.lists(st.sampled_from([-1, 1, 5, 7, 9]), max_size=3)),
    }


def expected(request: dict[str, list[Any]], row: int, item: int) -> bool:
    if item in request["excluded"][row] or SETS[item] & {*request["blocked"][row], *request["full"][row]}:
        return False
    if VARIANTS[item] >= 0 and VARIANTS[item] in request["taken"][row]:
        return False
    allow, wanted = request["allow"][row], request["categories"][row]
    return (allow is None or item in allow) and (wanted is None or bool(SETS[item] & set(wanted)))


def permission_of(request: dict[str, list[Any]]) -> Permission:
    table, count = tf.constant(TABLE), tf.constant(CATEGORIES)
    given = {name: tf.constant([v is not None for v in request[name]]) for name in ("allow", "categories")}
    wanted = {name: padded([v or [] for v in request[name]]) for name in ("allow", "categories")}
    full = np.zeros((len(request["full"]), CATEGORIES), bool)
    for row, values in enumerate(request["full"]):
        full[row, [v for v in values if v >= 0]] = True
    taken = Taken(
        tf.zeros([len(full), 0], tf.int32),
        tf.constant(full.any(axis=1)),
        lambda: tf.constant(full),
        padded([[*row, -1] for row in request["taken"]], np.int64),
    )
    blocked = padded(request["blocked"])
    return Permission(
        padded(request["excluded"]),
        (
            masks.allow_items(wanted["allow"], given["allow"], tf.constant(ITEMS)),
            masks.by_category(table, count, wanted["categories"], given["categories"], blocked, taken),
            masks.block_variants(tf.constant(VARIANTS), taken),
        ),
    )


@settings(deadline=None, max_examples=30)
@given(requests())
def test_masks_and_single_tests_say_what_sets_say(request: dict[str, list[Any]]) -> None:
    rows = len(request["excluded"])
    wanted = np.asarray([[expected(request, row, item) for item in range(ITEMS)] for row in range(rows)])
    permission = permission_of(request)
    scores = permission.apply(tf.zeros([rows, ITEMS])).numpy()
    np.testing.assert_array_equal(np.isfinite(scores), wanted)
    asked = tf.tile(tf.range(-1, ITEMS)[tf.newaxis], [rows, 1])
    np.testing.assert_array_equal(permission.allows(asked).numpy(), np.pad(wanted, ((0, 0), (1, 0))))
    open_rows = ~permission.restricted.numpy()
    assert (
        not wanted[open_rows].size
        or (
            wanted[open_rows]
            | [[item in request["excluded"][r] for item in range(ITEMS)] for r in np.flatnonzero(open_rows)]
        ).all()
    )


@pytest.mark.parametrize("length", [0, 1, 10_000])
def test_exclusions_of_any_length(length: int) -> None:
    rng = np.random.default_rng(length)
    excluded = rng.integers(-1, 5000, (2, length)).astype(np.int32)  # with repetitions and unknown ones
    permission = Permission(tf.constant(excluded))
    gone = np.isneginf(permission.apply(tf.zeros([2, 5000])).numpy())
    for row in range(2):
        assert set(np.flatnonzero(gone[row])) == set(excluded[row]) - {-1}
    asked = rng.integers(0, 5000, (2, 300)).astype(np.int32)
    np.testing.assert_array_equal(
        permission.allows(tf.constant(asked)), ~np.take_along_axis(gone, asked, axis=1)
    )


def test_masks_are_built_only_where_a_row_asks() -> None:
    @tf.function
    def apply(given: Any) -> Any:
        broken = masks.allow_items(tf.constant([[0]]), given, tf.constant(-5))  # building its mask would fail
        return Permission(tf.zeros([1, 0], tf.int32), (broken,)).apply(tf.zeros([1, 4]))

    assert apply(tf.constant([False])).numpy().tolist() == [[0.0] * 4]
    with pytest.raises(tf.errors.InvalidArgumentError):
        apply(tf.constant([True]))


def test_empty_sets_contain_nothing() -> None:
    assert not contains(tf.zeros([2, 0], tf.int32), tf.constant([[1, 2], [0, 0]])).numpy().any()
    assert contains(tf.zeros([2, 3], tf.int32), tf.zeros([2, 0], tf.int32)).shape == (2, 0)
