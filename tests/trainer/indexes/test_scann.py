"""Search by ScaNN: refused clearly where its ops are missing, and with the guarantees of the others where they are."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from trainer.errors import ExportError
from trainer.export import check_lint
from trainer.index import ItemIndex
from trainer.indexes import scann
from trainer.indexes.choose import build_search
from trainer.indexes.settings import IndexConfig
from trainer.keras_compat import tf
from trainer.lint.lint import lint
from trainer.refresh.refresh import RefreshOptions, refresh
from trainer.rules.permission import Filter, Permission

N, D, K = 3000, 16, 10
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(40, D)).astype(np.float32) * 2
VECTORS = (CENTRES[RNG.integers(0, 40, N)] + RNG.normal(size=(N, D))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(0, 40, 256)] + RNG.normal(size=(256, D))).astype(np.float32)
# ScaNN builds otherwise each time, so recall differs by some per cent.
CONFIG = IndexConfig(kind="scann", target_recall=0.95, min_recall=0.8)


def has_scann() -> bool:
    try:
        importlib.import_module(scann.OPS_MODULE)
    except (ImportError, tf.errors.OpError):
        return False
    return True


SCANN = has_scann()
needs_scann = pytest.mark.skipif(
    not SCANN, reason="ScaNN's ops cannot be loaded: pip install 'twotower[scann]', with TensorFlow 2.20"
)


@pytest.mark.skipif(SCANN, reason="ScaNN is installed")
def test_without_the_ops_it_says_what_to_install():
    with pytest.raises(ExportError, match=r"'twotower\[scann\]'.*kind = 'inverted_file'"):
        build_search(VECTORS, lambda: QUERIES, K, CONFIG)


def test_fewer_items_than_codes_have_values_are_searched_exactly():
    assert CONFIG.kind_for(15) == "exact"
    assert CONFIG.kind_for(16) == "scann"
    assert IndexConfig().kind_for(10**9) == "inverted_file"  # never by itself


def test_an_index_of_scann_is_not_refreshed(tmp_path: Path):
    version = tmp_path / "model" / "3"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    (version / "assets.extra" / "serving.json").write_text(json.dumps({"index": {"kind": "scann"}}))
    with pytest.raises(ExportError, match=r"searched by ScaNN.*export` again"):
        refresh(version.parent, None, RefreshOptions(removals=["i1"]), Console(quiet=True))
    assert scann.op_modules(version) == [scann.OPS_MODULE]
    assert scann.op_modules(tmp_path) == []


@pytest.fixture(scope="module")
def searched() -> SimpleNamespace:
    """A built index and its search as one graph; `allowed` bool [B, N] filters rows that are `active`."""
    search = build_search(VECTORS, lambda: QUERIES, K, CONFIG)
    ids = [f"i{number}" for number in range(N)]
    index = ItemIndex(ids, search.table, np.arange(N), [()] * N, finder=search.finder)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, D], tf.float32, "query"),
            tf.TensorSpec([None, None], tf.int32, "excluded"),
            tf.TensorSpec([None], tf.bool, "active"),
            tf.TensorSpec([None, None], tf.bool, "allowed"),
        ]
    )
    def retrieve(query, excluded, active, allowed):
        rule = Filter(
            active, lambda: allowed, lambda rows: tf.gather(allowed, tf.maximum(rows, 0), batch_dims=1)
        )
        known = tf.ones(tf.shape(query)[:1], tf.bool)
        scores, rows = index.search(query, known, Permission(excluded, (rule,)), K)
        return {"row": rows, "score": scores}

    module = tf.Module()
    module.index = index
    return SimpleNamespace(search=search, module=module, retrieve=retrieve)


def asked(batch: int = 4, gone: int = 1, share: float | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch + gone)
    excluded = np.argsort(-(QUERIES[:batch] @ VECTORS.T), axis=1)[:, :gone].astype(np.int32)
    allowed = rng.random((batch, N)) < (1 if share is None else share)
    return {
        "query": QUERIES[:batch],
        "excluded": excluded,
        "active": np.full(batch, share is not None),
        "allowed": allowed,
    }


@needs_scann
def test_recall_is_measured(searched):
    facts = searched.search.facts
    assert facts["kind"] == "scann"
    assert facts["partitions"] == 55  # the square root of 3000
    assert 4 <= facts["probes"] <= 55
    assert facts["recall"] >= 0.8


@needs_scann
@pytest.mark.parametrize(("gone", "share"), [(1, None), (30, None), (1, 0.5), (1, 0.003), (N - 4, None)])
def test_nothing_forbidden_comes_and_lists_are_full(searched, gone, share):
    inputs = asked(gone=gone, share=share)
    found = searched.retrieve(**inputs)
    scores = QUERIES[:4] @ VECTORS.T
    if share is not None:
        scores[~inputs["allowed"]] = -np.inf
    np.put_along_axis(scores, inputs["excluded"], -np.inf, axis=1)
    for row, permitted in enumerate(scores):
        full = min(K, int(np.isfinite(permitted).sum()))
        chosen = found["row"].numpy()[row, :full]
        assert len(set(chosen.tolist())) == full
        np.testing.assert_allclose(found["score"].numpy()[row, :full], permitted[chosen], rtol=1e-4)
        assert np.isneginf(found["score"].numpy()[row, full:]).all()
    if share == 0.003 or gone == N - 4:  # what is left is searched exactly
        best = -np.sort(-scores, axis=1)[:, :K]
        np.testing.assert_allclose(found["score"].numpy(), best, rtol=1e-4)


@needs_scann
def test_two_indexes_in_one_process_do_not_answer_for_each_other():
    here, there = (scann.Scann(scann.build(vectors, 20), 20) for vectors in (VECTORS, -VECTORS))
    for finder, sign in ((here, 1), (there, -1)):
        rows = finder.candidates(tf.constant(QUERIES[:1]), K)[1].numpy()[0]
        assert (sign * VECTORS[rows] @ QUERIES[0] > 0).all()


@needs_scann
def test_a_saved_model_needs_a_server_with_the_ops(searched, tmp_path: Path):
    folder = str(tmp_path / "1")
    tf.saved_model.save(searched.module, folder, signatures={"retrieve": searched.retrieve})
    inputs = {name: tf.constant(value) for name, value in asked().items()}
    before = searched.retrieve(**inputs)
    after = tf.saved_model.load(folder).signatures["retrieve"](**inputs)
    np.testing.assert_array_equal(before["row"], after["row"])
    missing = {finding.message for finding in lint(folder) if finding.check == "unregistered-op"}
    assert {
        name for name in ("Scann>ScannSearchBatched", "Scann>TensorsToScann") if name in str(missing)
    } == {
        "Scann>ScannSearchBatched",
        "Scann>TensorsToScann",
    }
    with pytest.raises(ExportError, match=r"Scann>ScannSearchBatched.*export\.server_ops"):
        check_lint(Path(folder), "2.20")
    notes = check_lint(Path(folder), "2.20", ("Scann>",))
    assert {finding.check for finding in notes if finding.severity == "note"} >= {"added-op"}
