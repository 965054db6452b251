"""What stands behind the learned vectors: the words of histories, and the head start of new items."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("tensorflow", reason="the trainer needs twotower[train]")

from rich.console import Console

from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.evaluation.queries import EvaluationQueries
from trainer.export import export
from trainer.keras_compat import tf
from trainer.neighbours.history_words import choose_history_words, history_sketches
from trainer.neighbours.scores import recency
from trainer.neighbours.weights import Blend
from trainer.preparation import user_inputs
from trainer.scoring import encode_catalogue
from trainer.training import train
from trainer.workbench import Workbench

SPLIT = "leave_last_out"
QUIET = Console(quiet=True)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.int32, (3, 5), elements=st.integers(-1, 6)),
    st.sampled_from([None, 1.0, 4.0]),
)
def test_sketches_of_a_history_are_added_up_by_recency(histories, half_life):
    sketches = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    found = history_sketches(histories, sketches, half_life)
    expected = np.zeros((3, 4))
    for row, history in enumerate(histories):
        for age, item in enumerate(item for item in history[::-1] if item >= 0):
            expected[row] += sketches[item] * (1.0 if half_life is None else 0.5 ** (age / half_life))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    weights = recency(tf.constant(histories >= 0), half_life).numpy()
    in_graph = np.einsum("bl,bls->bs", weights, sketches[np.maximum(histories, 0)])
    np.testing.assert_allclose(in_graph, expected, atol=1e-5)


def chosen(sketches: np.ndarray, learned: np.ndarray) -> Blend:
    """What is chosen for twenty users who had item i and want item i + 20 next."""
    items = np.stack([np.arange(20), np.arange(20) + 20], axis=1).ravel().astype(np.int32)
    queries = EvaluationQueries.from_sequences(items, np.arange(0, 41, 2), np.ones(20, np.int64))
    history = SimpleNamespace(max_length=10)
    model = SimpleNamespace(blend=Blend(0.7), config=SimpleNamespace(model=SimpleNamespace(history=history)))
    return choose_history_words(model, lambda start, stop: learned[start:stop], queries, sketches)


def test_words_count_where_they_find_what_is_wanted():
    learned = np.random.default_rng(1).normal(size=(20, 400)).astype(np.float32)
    brands = np.random.default_rng(2).normal(size=(400, 32)).astype(np.float32)
    brands[20:40] = brands[:20]  # what they want is of the brand that they had
    found = chosen(brands, learned)
    assert found.history_words > 0
    assert found.correction == 0.7
    others = np.random.default_rng(3).normal(size=(400, 32)).astype(np.float32)
    perfect = np.where(np.arange(400) == np.arange(20)[:, None] + 20, 9.0, learned).astype(np.float32)
    assert chosen(others, perfect).history_words == 0.0


@pytest.fixture(scope="module")
def behind(trained: ProjectConfig, tmp_path_factory) -> ProjectConfig:
    """A short training of a model with sketches and a head start for new items."""
    work = tmp_path_factory.mktemp("behind")
    (work / SPLIT).mkdir()
    (work / SPLIT / "dataset").symlink_to(trained.dataset_dir(SPLIT))
    (work / "encoder").symlink_to(trained.encoder())
    model = trained.train.model.model_copy(update={"lexical_width": 16, "new_item_head_start": 2.0})
    config = trained.model_copy(
        update={
            "work_dir": work,
            "train": trained.train.model_copy(update={"model": model, "epochs": 1}),
            "export": trained.export.model_copy(update={"directory": work / "saved_models"}),
        }
    )
    train(config, SPLIT, QUIET)
    return config


def test_the_head_start_is_added_to_the_scores_of_new_items_alone(behind):
    bench = Workbench.open(behind, DatasetDirectory.open(behind.dataset_dir(SPLIT)), QUIET)
    catalogue, model = bench.preparation.catalogue, bench.model
    vectors = encode_catalogue(model)
    history = {
        "vectors": vectors[tf.newaxis, :2],
        "mask": tf.ones([1, 2], tf.bool),
        "timestamps": tf.zeros([1, 2], tf.int64),
        "events": tf.ones([1, 2], tf.int32),
    }
    text = tf.zeros([1, bench.preparation.spec.text_width])
    user = {name: value[:1] for name, value in user_inputs(bench.preparation, bench.train).items()}
    query = model.encode_queries(history, user, text)
    learned = model.learned(query) @ tf.transpose(model.learned(vectors))
    added = (query @ tf.transpose(vectors) - learned).numpy()[0]
    new = np.arange(len(catalogue)) >= catalogue.trained
    np.testing.assert_allclose(added, np.where(new, 2.0, 0.0), atol=1e-5)
    model.blend = Blend(history_words=0.5, words_half_life=1.0)
    heard = model.encode_queries(history, user, text)
    width = behind.train.model.embedding_dim
    expected = 0.5 * (vectors[1, width:-1] + 0.5 * vectors[0, width:-1])
    np.testing.assert_allclose(heard[0, width:-1], expected, atol=1e-5)


def test_the_exported_model_answers_as_the_live_one(behind):
    """The export compares them itself, the vectors of described items and the queries included."""
    assert (export(behind, SPLIT, QUIET) / "saved_model.pb").exists()
