"""The text tower stored in fewer bytes: how exact, how small, and that servers make it whole again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.trainer.conftest import VOCABULARY
from trainer import text_precision
from trainer.config import ProjectConfig
from trainer.errors import ExportError
from trainer.export import export, read_facts
from trainer.keras_compat import tf
from trainer.lint.lint import lint
from trainer.lint.ops_checks import unregistered_ops
from trainer.quantisation import StoredBert, StoredMatrix, bytes_of
from trainer.text_encoder import TextEncoder, build_text_encoder
from trainer.vector_agreement import cosine_figures

TEXTS = ["a funny film", "", "film", "new dark film a funny film a sad film i12"]
PRECISIONS = ("bfloat16", "int8")
QUIET = Console(quiet=True)

matrices = st.integers(0, 10_000).map(
    lambda seed: (
        np.random.default_rng(seed).normal(scale=10.0 ** (seed % 7 - 3), size=(5, 4)).astype(np.float32)
    )
)


@settings(max_examples=40, deadline=None)
@given(matrices, st.sampled_from([0, 1]))
def test_int8_is_off_by_half_a_step_of_its_own_row_or_column_at_most(matrix, axis):
    step = np.abs(matrix).max(axis=axis, keepdims=True) / 127
    error = np.abs(StoredMatrix(matrix, "int8", axis).wide().numpy() - matrix)
    assert (error <= step / 2 * 1.001).all()


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_bfloat16_keeps_eight_bits(matrix):
    error = np.abs(StoredMatrix(matrix, "bfloat16", 0).wide().numpy() - matrix)
    assert (error <= np.abs(matrix) * 2.0**-8).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_those_of_the_whole(precision):
    matrix = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    stored = StoredMatrix(matrix, precision, 1)
    np.testing.assert_array_equal(stored.rows(tf.constant([5, 0, 5])), stored.wide().numpy()[[5, 0, 5]])


def test_a_column_of_zeros_stays_zero():
    assert not StoredMatrix(np.zeros((3, 2), np.float32), "int8", 0).wide().numpy().any()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_stored_bert_is_a_bert_of_the_rounded_weights(encoder, precision):
    """The same vectors as a float32 BERT that is given the rounded matrices."""
    rounded = build_text_encoder(VOCABULARY, width=8, layers=1, heads=2, max_tokens=16)
    for variable in tf.nest.flatten(rounded.bert.weights):
        if len(variable.shape) == 2:
            axis = 1 if variable.shape[0] in (len(VOCABULARY), 16) else 0
            variable.assign(StoredMatrix(variable.numpy(), precision, axis).wide())
    stored = rounded_to(encoder, precision)
    np.testing.assert_allclose(stored.encode_all(TEXTS, 4), rounded.encode_all(TEXTS, 4), atol=1e-5)
    assert cosine_figures(stored.encode_all(TEXTS, 4), encoder.encode_all(TEXTS, 4))["min"] > 0.999


def rounded_to(encoder: TextEncoder, precision: Any) -> TextEncoder:
    return encoder.with_bert(StoredBert(encoder.bert, precision))


def test_a_larger_bert_takes_a_quarter_or_half_of_the_room():
    encoder = build_text_encoder(VOCABULARY, width=64, layers=2, heads=2, max_tokens=16)
    whole = bytes_of(encoder.bert.variables)
    assert bytes_of(StoredBert(encoder.bert, "int8").variables) < 0.3 * whole
    assert bytes_of(StoredBert(encoder.bert, "bfloat16").variables) < 0.55 * whole


class Served(tf.Module):  # type: ignore[misc]
    """The least that serves an encoder: its variables and resources tracked, the Keras part out of sight."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self._variables, self._resources = list(encoder.bert.variables), list(encoder.bert.resources)
        spec = tf.TensorSpec([None], tf.string, name="text")
        self.encode = tf.function(
            lambda text: {"vector": encoder.encode_present(text)}, input_signature=[spec]
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_session_makes_float32_matrices_as_it_initialises_the_model(encoder, precision, tmp_path):
    """A session has variables of its own, so nothing of this process can stand in for what is read from the file."""
    stored = rounded_to(encoder, precision)
    served = Served(stored)
    tf.saved_model.save(served, str(tmp_path), signatures={"serving_default": served.encode})
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        came = session.run(signature.outputs["vector"].name, {signature.inputs["text"].name: TEXTS})
    np.testing.assert_allclose(came, stored.encode_all(TEXTS, 4), atol=1e-6)
    assert unregistered_ops(tmp_path, "2.12") == []
    assert not [finding for finding in lint(tmp_path, "2.12") if finding.severity == "error"]
    kept = tf.train.list_variables(str(tmp_path / "variables" / "variables"))
    dtypes = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables")).get_variable_to_dtype_map()
    wide = [name for name, shape in kept if len(shape) == 2 and 1 not in shape and dtypes[name] == tf.float32]
    assert wide == []  # no matrix is in the file as float32


def settings_of(config: ProjectConfig, folder: Path, **export_settings: Any) -> ProjectConfig:
    changed = config.export.model_copy(update={"directory": folder, **export_settings})
    return config.model_copy(update={"export": changed})


def test_a_tower_that_costs_too_much_is_not_published(trained, tmp_path, monkeypatch):
    class Deaf(StoredBert):
        """Hears noise in every text."""

        def __call__(self, pieces: Any) -> Any:
            states = super().__call__(pieces)
            return 100.0 * tf.random.stateless_normal(tf.shape(states), seed=[1, 2])

    monkeypatch.setattr(text_precision, "StoredBert", Deaf)
    config = settings_of(trained, tmp_path, text_precision="int8")
    with pytest.raises(ExportError, match=r"NDCG@10 .* falls from .*text_precision_max_loss allows 1.00%"):
        export(config, "leave_last_out", QUIET)
    assert not list(tmp_path.rglob("saved_model.pb"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_export_is_checked_like_any_other_and_says_what_it_costs(trained, exported, tmp_path, precision):
    """The export itself asks the saved model in a fresh process, eagerly and in a session, and lints it."""
    config = settings_of(trained, tmp_path, text_precision=precision, text_precision_max_loss=1.0)
    folder = export(config, "leave_last_out", QUIET)
    tower = read_facts(folder)["text_tower"]
    assert tower["precision"] == precision
    assert tower["bytes"] < tower["bytes_float32"]
    assert tower["cosine"]["min"] > 0.99
    assert tower["loss"] == pytest.approx(max(0, 1 - tower["ndcg@10"] / tower["ndcg@10_float32"]))
    assert read_facts(exported)["text_tower"] == {"precision": "float32"}
    inputs = {"text": ["a sad film"], "genre": [["Drama"]], "year": np.asarray([1990.0], np.float32)}
    vectors = [
        tf.saved_model.load(str(path)).signatures["embed_item"](
            **{k: tf.constant(v) for k, v in inputs.items()}
        )
        for path in (folder, exported)
    ]
    came, wanted = (vector["embedding"].numpy() for vector in vectors)
    np.testing.assert_allclose(came, wanted, rtol=0.05, atol=0.05 * np.abs(wanted).max())
    assert json.loads((folder / "assets.extra" / "serving.json").read_text())["text_tower"] == tower
