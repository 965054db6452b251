"""The inverted file as built, and its candidates beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.indexes.inverted_file import InvertedFile, build, slots_a_partition
from trainer.indexes.storage import DTYPES, decode
from trainer.keras_compat import tf

N, D, P = 500, 8, 12
VECTORS = np.random.default_rng(3).normal(size=(N, D)).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_item_has_one_slot_with_its_vector(dtype):
    parts = build(VECTORS, P, dtype)
    slots = slots_a_partition(N, P)
    assert slots == 48  # 1.15 * 500 / 12 = 47.9, to a multiple of 8
    assert parts["table"].shape == (P, slots, D)
    rows = parts["rows"]
    assert sorted(rows[rows >= 0].tolist()) == list(range(N))
    held = decode(parts["table"], parts.get("scales"))
    np.testing.assert_allclose(held[rows >= 0], VECTORS[rows[rows >= 0]], atol=0.03)
    assert not held[rows < 0].any()


def test_equal_inputs_give_equal_bits_also_from_a_file(tmp_path):
    np.save(tmp_path / "vectors.npy", VECTORS)
    first, second = (
        build(VECTORS, P, "int8"),
        build(np.load(tmp_path / "vectors.npy", mmap_mode="r"), P, "int8"),
    )
    assert {name: part.tobytes() for name, part in first.items()} == {
        name: part.tobytes() for name, part in second.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probes", [1, 3, P + 5])
def test_candidates_are_the_best_of_the_probed_partitions(dtype, probes):
    parts = build(VECTORS, P, dtype)
    queries = np.random.default_rng(4).normal(size=(5, D)).astype(np.float32)
    scores, rows = InvertedFile(parts, probes).candidates(tf.constant(queries), 20)
    held = decode(parts["table"], parts.get("scales"))
    for row, query in enumerate(queries):
        reach = np.sqrt(parts["spreads"] @ query**2)
        near = np.argsort(-(parts["centroids"] @ query + 3 * reach))[:probes]
        wanted = np.where(parts["rows"][near] >= 0, held[near] @ query, -np.inf).ravel()
        order = np.argsort(-wanted)[:20]
        np.testing.assert_allclose(scores.numpy()[row], wanted[order], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(rows.numpy()[row], parts["rows"][near].ravel()[order])


def test_centroids_and_spreads_are_mean_and_variance_of_the_members():
    parts = build(VECTORS, P, "float32")
    for rows, centroid, spread in zip(parts["rows"], parts["centroids"], parts["spreads"], strict=True):
        members = VECTORS[rows[rows >= 0]]
        np.testing.assert_allclose(centroid, members.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(spread, members.var(axis=0), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_read_in_parts_is_what_is_read_at_once(dtype, monkeypatch):
    queries = tf.constant(VECTORS[:3])
    found = {}
    for limit in (10**9, 10):
        monkeypatch.setattr("trainer.indexes.inverted_file._AT_ONCE", limit)
        found[limit] = InvertedFile(build(VECTORS, P, dtype), 5).candidates(queries, 30)
    np.testing.assert_array_equal(found[10][1], found[10**9][1])
    np.testing.assert_allclose(found[10][0], found[10**9][0], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_query_alone_finds_what_it_finds_among_others(dtype):
    finder = InvertedFile(build(VECTORS, P, dtype), 3)
    among = finder.candidates(tf.constant(VECTORS[:4]), 20)
    alone = finder.candidates(tf.constant(VECTORS[:1]), 20)
    np.testing.assert_array_equal(alone[1][0], among[1][0])
    np.testing.assert_allclose(alone[0][0], among[0][0], rtol=1e-5)


def test_more_candidates_than_slots_are_padded():
    scores, rows = InvertedFile(build(VECTORS, P, "float32"), 1).candidates(tf.constant(VECTORS[:2]), 60)
    np.testing.assert_array_equal(rows.numpy() == -1, np.isneginf(scores.numpy()))
    assert np.isfinite(scores.numpy()).sum(axis=1).max() <= 48
    assert np.isneginf(scores.numpy()[:, 48:]).all()
