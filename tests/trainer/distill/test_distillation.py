from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.distill.config import DistillConfig
from trainer.distill.distillation import (
    Distillation,
    cosines,
    make_optimizer,
    relative_error,
    training_batches,
)
from trainer.distill.ranking import divergence
from trainer.distill.student import make_student, spaced_layers
from trainer.distill.texts import hold_out
from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.packed_texts import PackedTexts
from trainer.text_encoder import TextEncoder
from trainer.vector_agreement import cosine_figures

TEXTS = ["a funny film", "film", "a sad film title i0", "new dark film", "a dark film i12", "title i1"]


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [(6, 2, [0, 5]), (6, 3, [0, 2, 5]), (12, 3, [0, 6, 11]), (12, 4, [0, 4, 7, 11]), (4, 1, [0])],
)
def test_layers_are_taken_evenly_from_the_first_to_the_last(teacher, student, expected):
    assert spaced_layers(teacher, student) == expected


@pytest.mark.parametrize("layers", [3, 4])
def test_a_student_that_is_no_smaller_is_refused(teacher, layers):
    with pytest.raises(ConfigError, match=f"distill.layers = {layers}, but .* has 3 layers"):
        make_student(teacher, layers)


def test_the_student_begins_as_part_of_its_teacher(teacher: TextEncoder) -> None:
    student = make_student(teacher, 2)
    assert len(student.backbone.transformer_layers) == 2
    for ours, theirs in zip(student.backbone.transformer_layers, (0, 2), strict=True):
        for mine, given_ in zip(
            ours.weights, teacher.backbone.transformer_layers[theirs].weights, strict=True
        ):
            np.testing.assert_array_equal(mine.numpy(), given_.numpy())
    table = student.backbone.token_embedding.embeddings
    np.testing.assert_array_equal(table.numpy(), teacher.backbone.token_embedding.embeddings.numpy())
    assert student.encode_all(TEXTS, 4).shape == (6, 8)


def test_losses_by_hand():
    # Angles of 0 and 90 degrees; squares 4 + 0 and 1 + 1 of a mean square (4 + 1) / 4.
    came, wanted = tf.constant([[4.0, 0.0], [1.0, 0.0]]), tf.constant([[2.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(cosines(came, wanted), [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(relative_error(came, wanted), (6 / 4) / (5 / 4), rtol=1e-6)
    # p = (1/4, 3/4) against q = (1/2, 1/2): 1/4 ln 1/2 + 3/4 ln 3/2.
    teacher, student = tf.constant([[0.0, np.log(3.0)]]), tf.constant([[7.0, 7.0]])
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(divergence(tf.cast(teacher, tf.float32), student, 1.0), expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=8), st.floats(-5, 5), st.floats(0.5, 4.0))
def test_a_constant_more_for_every_item_is_no_divergence(scores, more, temperature):
    given_ = tf.constant([scores], tf.float32)
    assert abs(float(divergence(given_, given_ + more, temperature))) < 1e-4


@given(st.integers(2, 500), st.floats(0.01, 0.99), st.integers(0, 9))
def test_every_text_is_learned_from_or_held_out(count, share, seed):
    learn, held = hold_out(count, share, seed)
    assert sorted([*learn, *held]) == list(range(count))
    assert len(learn)
    assert len(held)
    again = hold_out(count, share, seed)
    np.testing.assert_array_equal(held, again[1])


def test_cosine_figures_leave_texts_without_a_vector_out():
    wanted = np.asarray([[1, 0], [0, 2], [0, 0]], np.float32)
    came = np.asarray([[1, 0], [1, 1], [5, 5]], np.float32)
    figures = cosine_figures(came, wanted)
    assert figures["min"] == pytest.approx(0.5**0.5)
    assert figures["mean"] == pytest.approx((1 + 0.5**0.5) / 2)
    assert cosine_figures(came[2:], wanted[2:]) == {"mean": 1.0, "p5": 1.0, "min": 1.0}


@pytest.mark.parametrize("train_embeddings", [False, True])
def test_training_brings_the_student_nearer_and_leaves_frozen_tables_alone(teacher, train_embeddings):
    config = DistillConfig(
        layers=1, epochs=20, batch_size=3, learning_rate=0.01, train_embeddings=train_embeddings
    )
    student = make_student(teacher, 1)
    rng = np.random.default_rng(0)
    for weight in student.backbone.transformer_layers[0].weights:  # far from the teacher
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    student.take_weights()
    table = student.backbone.token_embedding.embeddings.numpy()
    wanted = teacher.encode_all(TEXTS, 4)
    before = cosine_figures(student.encode_all(TEXTS, 4), wanted)["mean"]
    model = Distillation(config, student, None)
    pieces = PackedTexts.tokenized(TEXTS, teacher)
    model.compile(optimizer=make_optimizer(config, 40), jit_compile=False)
    batches = training_batches(pieces, np.arange(6), wanted, None, config, 0)
    model.fit(batches, epochs=20, steps_per_epoch=2, shuffle=False, verbose=0)
    student.take_weights()
    after = cosine_figures(student.encode_all(TEXTS, 4), wanted)["mean"]
    assert after > before
    assert (student.backbone.token_embedding.embeddings.numpy() != table).any() == train_embeddings
    # What is trained is what is served.
    np.testing.assert_allclose(
        model.vectors(pieces.flat, pieces.row_splits), student.encode_all(TEXTS, 4), atol=1e-5
    )


def test_batches_depend_on_seed_and_epoch_alone(teacher):
    config = DistillConfig(epochs=3, batch_size=4)
    pieces, vectors = PackedTexts.tokenized(TEXTS, teacher), np.zeros((6, 8), np.float32)

    def batches(first):
        return [
            batch["flat"].numpy().tolist()
            for batch in training_batches(pieces, np.arange(6), vectors, None, config, first)
        ]

    whole = batches(0)
    assert len(whole) == 6
    assert batches(1) == whole[2:]
    assert whole[:2] != whole[2:4]
