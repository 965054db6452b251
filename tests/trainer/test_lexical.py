"""A sketch of words multiplies to about BM25's score."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.baselines.item_text import ItemText, TextIndex
from trainer.keras_compat import tf
from trainer.lexical import LexicalSketch, LexicalSpec

_COLOURS = ("red", "green", "blue", "black", "white")
_THINGS = ("lamp", "chair", "table", "shelf", "clock", "vase", "mirror")
_BRANDS = tuple(f"brand{number}" for number in range(40))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(3)
    return [
        " ".join([rng.choice(_BRANDS), rng.choice(_COLOURS), rng.choice(_THINGS), f"no{number}"])
        for number in range(400)
    ]


def test_products_are_bm25_up_to_the_noise_of_the_sketch(texts: list[str]) -> None:
    sketch = LexicalSketch(LexicalSpec.measured(texts), 1024)
    queries = ["brand7 lamp", "a white clock", "no17", "no17 no17"]
    scores = tf.matmul(
        sketch.queries(tf.constant(queries)), sketch.items(tf.constant(texts)), transpose_b=True
    )
    exact = ItemText(TextIndex(texts, "bm25")).score_texts(queries)
    noise = np.outer(
        np.linalg.norm(sketch.queries(tf.constant(queries)), axis=1),
        np.linalg.norm(sketch.items(tf.constant(texts)), axis=1),
    ) / np.sqrt(1024)
    off = (scores.numpy() - exact) / noise
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.3  # standard deviations
    assert np.corrcoef(scores.numpy().ravel(), exact.ravel())[0, 1] > 0.9


def test_the_one_item_with_a_rare_word_comes_first_even_in_a_narrow_sketch(texts: list[str]) -> None:
    sketch = LexicalSketch(LexicalSpec.measured(texts), 256)
    queries = [f"{text.split()[0]} {text.split()[3]}" for text in texts]
    scores = tf.matmul(
        sketch.queries(tf.constant(queries)), sketch.items(tf.constant(texts)), transpose_b=True
    )
    assert np.mean(np.argmax(scores.numpy(), axis=1) == np.arange(len(texts))) > 0.99


def test_words_that_were_never_counted_are_found(texts: list[str]) -> None:
    sketch = LexicalSketch(LexicalSpec.measured(texts), 256)
    new = sketch.items(tf.constant(["zyzzyva 9000", *texts]))
    scores = tf.linalg.matvec(new, sketch.queries(tf.constant(["Zyzzyva"]))[0])
    assert int(np.argmax(scores)) == 0


def test_case_and_punctuation_do_not_count_and_empty_texts_are_nought(texts: list[str]) -> None:
    sketch = LexicalSketch(LexicalSpec.measured(texts), 64)
    one, other, empty, marks = sketch.items(tf.constant(["Red lamp", "red, LAMP!", "", "?!"])).numpy()
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert not empty.any()
    assert not marks.any()


def test_chinese_texts_are_compared_by_character() -> None:
    texts = ["红色台灯", "蓝色椅子", "黑色手机"]
    sketch = LexicalSketch(LexicalSpec.measured(texts), 512)
    scores = tf.matmul(
        sketch.queries(tf.constant(["手机", "椅子", "红灯"])),
        sketch.items(tf.constant(texts)),
        transpose_b=True,
    )
    assert np.argmax(scores.numpy(), axis=1).tolist() == [2, 1, 0]


def test_a_catalogue_of_one_text_has_weights() -> None:
    spec = LexicalSpec.measured(["only one"])
    assert spec.values == ()
    assert spec.unknown > 0
