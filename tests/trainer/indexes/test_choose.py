"""Which search is built, what it is measured at, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from trainer.errors import ExportError
from trainer.indexes.choose import build_search, default_partitions
from trainer.indexes.recall import recall, true_lists
from trainer.indexes.settings import IndexConfig

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(40, 8)).astype(np.float32) * 3
VECTORS = (CENTRES[RNG.integers(0, 40, 3000)] + RNG.normal(size=(3000, 8))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(0, 40, 64)] + RNG.normal(size=(64, 8))).astype(np.float32)


def never():
    raise AssertionError("an exact index needs no measuring")


def built(**settings):
    return build_search(VECTORS, lambda: QUERIES, 10, IndexConfig(**settings))


def test_small_catalogues_are_searched_exactly():
    search = build_search(VECTORS, never, 10, IndexConfig())
    assert search.finder is None
    assert search.facts == {"kind": "exact", "vectors": "float32", "recall_k": 10, "recall": 1.0}


def test_large_ones_by_an_inverted_file_with_as_few_probes_as_will_do():
    search = built(approximate_from=3000, target_recall=0.97)
    facts = search.facts
    assert facts["kind"] == "inverted_file"
    assert facts["partitions"] == default_partitions(3000) == 219  # 4 * sqrt(3000) = 219.1
    assert facts["queries"] == 32  # the other half chose the probes
    assert 0.93 < facts["recall"] <= 1
    assert 1 <= facts["probes"] < 219
    fewer = built(kind="inverted_file", probes=facts["probes"] // 2, min_recall=0)
    assert fewer.facts["recall"] < facts["recall"]


def test_all_probes_find_everything():
    assert built(kind="inverted_file", partitions=20, probes=500).facts["recall"] == 1
    assert built(kind="inverted_file", partitions=20, probes=500).facts["probes"] == 20


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.97), ("int8", 0.95)])
def test_rounded_vectors_are_measured(dtype, least):
    facts = built(kind="exact", vectors=dtype).facts
    assert least < facts["recall"] < 1
    assert facts["vectors"] == dtype


def test_below_the_least_recall_nothing_is_exported():
    with pytest.raises(
        ExportError, match=r"finds 0\.\d+ of the 10 best items, less than .*min_recall = 0.9\."
    ):
        built(kind="inverted_file", probes=1)


def test_without_queries_nothing_can_be_measured():
    with pytest.raises(ExportError, match="cannot be measured"):
        build_search(VECTORS, lambda: QUERIES[:1], 10, IndexConfig(kind="inverted_file"))


def test_settings_that_would_always_be_refused():
    with pytest.raises(ValidationError, match="would be refused"):
        IndexConfig(target_recall=0.8)


def test_recall_counts_equal_scores_as_found():
    vectors = np.asarray([[3], [2], [2], [1]], np.float32)
    queries = np.ones((1, 1), np.float32)
    least = true_lists(vectors, queries, 2)[0][:, 0]
    assert least.tolist() == [2]
    for rows, found in (([0, 1], 1.0), ([0, 2], 1.0), ([0, 3], 0.5), ([3, -1], 0.0)):
        answer = np.asarray([rows], np.int32)
        assert recall(lambda part, answer=answer: answer, vectors, queries, least, 2) == found


def test_the_least_score_is_found_across_blocks(monkeypatch):
    monkeypatch.setattr("trainer.indexes.recall._BLOCK", 100)
    expected = -np.sort(-(QUERIES @ VECTORS.T), axis=1)[:, 9]
    scores, rows = true_lists(VECTORS, QUERIES, 10)
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :10]))
