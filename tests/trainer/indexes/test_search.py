"""Exact and approximate search beside NumPy: what is not permitted never comes, and lists are full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.indexes import approximate, exact
from trainer.indexes.inverted_file import InvertedFile, build
from trainer.indexes.storage import DTYPES
from trainer.indexes.table import VectorTable
from trainer.keras_compat import tf
from trainer.rules.permission import Filter, Permission

D, COUNT, PROBES = 4, 5, 2
INPUTS = [
    tf.TensorSpec([None, D]),
    tf.TensorSpec([None], tf.bool),
    tf.TensorSpec([None, None], tf.int32),
    tf.TensorSpec([None], tf.bool),
    tf.TensorSpec([None, None], tf.bool),
    tf.TensorSpec([None]),
]


class Searches:
    """One graph for catalogues of every size: only the variables change."""

    def __init__(self, dtype: Any) -> None:
        vectors = np.zeros((1, D), np.float32)
        self.table = VectorTable(vectors, dtype)
        self.inverted_file = InvertedFile(build(vectors, 1, dtype), PROBES)
        self.dtype = dtype
        self.exact = tf.function(self._exact, input_signature=INPUTS)
        self.approximate = tf.function(self._approximate, input_signature=INPUTS)

    def load(self, vectors: np.ndarray, partitions: int) -> np.ndarray:
        table = VectorTable(vectors, self.dtype)
        built = InvertedFile(build(vectors, partitions, self.dtype), PROBES)
        for ours, new in ((self.table, table), (self.inverted_file, built)):
            for variable, value in zip(ours.variables, new.variables, strict=True):
                variable.assign(value)
        return np.asarray(table.all())

    def _exact(self, queries, known, excluded, active, mask, popularity):
        permission = Permission(excluded, (rule(active, mask),))
        return exact.search(self.table, popularity, queries, known, permission, COUNT)

    def _approximate(self, queries, known, excluded, active, mask, popularity):
        permission = Permission(excluded, (rule(active, mask),))
        return approximate.search(
            self.inverted_file, self.table, popularity, queries, known, permission, COUNT
        )


def rule(active, mask):
    return Filter(active, lambda: mask, lambda rows: tf.gather(mask, tf.maximum(rows, 0), batch_dims=1))


@pytest.fixture(scope="module", params=DTYPES)
def searches(request):
    return Searches(request.param)


def reference(vectors, queries, known, excluded, active, mask, popularity):
    """float32 [B, N] with -inf at what must not come."""
    scores = np.where(known[:, None], queries @ vectors.T, popularity)
    scores = np.where(mask | ~active[:, None], scores, -np.inf)
    for row, gone in enumerate(excluded):
        scores[row, gone[gone >= 0]] = -np.inf
    return scores


def requests(rng, items):
    batch = rng.integers(1, 5)
    return (
        rng.normal(size=(batch, D)).astype(np.float32),
        rng.random(batch) < 0.8,
        rng.integers(-1, items, (batch, rng.integers(0, 2 * items + 1))).astype(np.int32),
        rng.random(batch) < 0.5,
        rng.random((batch, items)) < rng.random((batch, 1)) ** 2,
        rng.random(items).astype(np.float32),
    )


def check_guarantees(found, allowed):
    scores, rows = (part.numpy() for part in found)
    for row, permitted in enumerate(allowed):
        full = min(COUNT, int(np.isfinite(permitted).sum()))
        assert np.isfinite(scores[row, :full]).all()
        assert np.isneginf(scores[row, full:]).all()
        chosen = rows[row, :full]
        assert len(set(chosen.tolist())) == full
        np.testing.assert_allclose(scores[row, :full], permitted[chosen], rtol=1e-4, atol=1e-5)
        assert (np.diff(scores[row, :full]) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 12))
def test_any_rules_on_any_catalogue(searches, seed, items, partitions):
    rng = np.random.default_rng(seed)
    vectors = searches.load(rng.normal(size=(items, D)).astype(np.float32), min(partitions, items))
    asked = requests(rng, items)
    allowed = reference(vectors, *asked)
    exactly = searches.exact(*asked)
    check_guarantees(exactly, allowed)
    best = -np.sort(-allowed, axis=1)[:, :COUNT]
    np.testing.assert_allclose(exactly[0].numpy()[:, : best.shape[1]], best, rtol=1e-4, atol=1e-5)
    found = searches.approximate(*asked)
    check_guarantees(found, allowed)
    unknown = ~asked[1]
    np.testing.assert_array_equal(found[0].numpy()[unknown], exactly[0].numpy()[unknown])


def test_a_selective_filter_makes_a_row_exact(searches):
    rng = np.random.default_rng(0)
    vectors = searches.load(rng.normal(size=(800, D)).astype(np.float32), 20)
    batch = 3
    queries, known = rng.normal(size=(batch, D)).astype(np.float32), np.ones(batch, bool)
    active, mask = np.asarray([True, False, True]), rng.random((batch, 800)) < 0.02
    none, popularity = np.full((batch, 1), -1, np.int32), np.zeros(800, np.float32)
    asked = (queries, known, none, active, mask, popularity)
    rows = searches.approximate(*asked)[1].numpy()
    allowed = reference(vectors, *asked)
    for row in (0, 2):
        np.testing.assert_array_equal(np.sort(rows[row]), np.sort(np.argsort(-allowed[row])[:COUNT]))
    # The row without a filter stays with its two partitions of twenty.
    reach = np.sqrt(searches.inverted_file.spreads.numpy() @ queries[1] ** 2)
    near = np.argsort(-(searches.inverted_file.centroids.numpy() @ queries[1] + 3 * reach))[:PROBES]
    assert np.isin(rows[1], searches.inverted_file.rows.numpy()[near]).all()


@pytest.mark.parametrize("items", [1, 4, 5, 999, 1000, 1001, 2048])
def test_blocks_find_what_one_table_finds(searches, items):
    rng = np.random.default_rng(items)
    vectors = np.round(rng.normal(size=(items, D))).astype(np.float32)  # many equal scores
    table = VectorTable(vectors, searches.dtype)
    queries = tf.constant(np.round(rng.normal(size=(3, D))), tf.float32)
    excluded = tf.constant(rng.integers(-1, items, (3, 7)), tf.int32)
    known = tf.ones([3], tf.bool)
    permission = Permission(excluded)
    blocks = exact._in_blocks(table, queries, permission, COUNT, 333)
    once = exact._at_once(table, tf.zeros([items]), queries, known, permission, COUNT)
    np.testing.assert_allclose(blocks[0], once[0], rtol=1e-6)
    if searches.dtype != "int8":  # whole numbers, so that sums are the same in every order
        finite = np.isfinite(once[0].numpy())
        np.testing.assert_array_equal(blocks[1].numpy()[finite], once[1].numpy()[finite])


def test_large_requests_are_searched_in_blocks(monkeypatch):
    taken = []
    inside = exact._in_blocks
    monkeypatch.setattr(exact, "_in_blocks", lambda *a: (taken.append("blocks"), inside(*a))[1])
    monkeypatch.setattr(exact, "_AT_ONCE", 100)
    table = VectorTable(np.ones((60, D), np.float32))
    for batch, known in ((1, True), (2, True), (2, False)):
        queries, all_known = tf.ones([batch, D]), tf.fill([batch], known)
        exact.search(table, tf.zeros([60]), queries, all_known, Permission(tf.fill([batch, 1], -1)), COUNT)
    assert taken == ["blocks"]
