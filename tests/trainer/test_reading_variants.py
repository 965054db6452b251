"""Variants of texts that stand in for them in training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.errors import DatasetError
from trainer.keras_compat import keras, tf
from trainer.text_variants import TextVariants, variant_texts

LISTS = [("a", "b", "c"), (), ("d",)]
VECTORS = np.array([[1.0, 0], [2, 0], [3, 0], [4, 0]], np.float32)
TEXTS = np.array([[0.0, 1], [0, 2], [0, 3]], np.float32)


def test_a_variant_of_the_item_is_read_as_often_as_wished():
    variants = TextVariants.of(0.3, LISTS, VECTORS)
    items = np.repeat([2, 0, 1], 1000)
    out = variants.drawn(
        tf.constant(items, tf.int32), tf.constant(TEXTS[items]), keras.random.SeedGenerator(1)
    ).numpy()
    for item, allowed in ((0, {1, 2, 3}), (1, set()), (2, {4})):
        rows = out[items == item]
        read = rows[:, 0] > 0
        assert set(rows[read][:, 0]) == allowed
        np.testing.assert_array_equal(rows[~read], np.tile(TEXTS[item], (int((~read).sum()), 1)))
        # Of 1,000 draws 300, standard deviation sqrt(1000 x 0.21) = 14.5; each of three variants 100, 9.5.
        assert abs(read.sum() - 300) < 5 * 14.5 or not allowed
        for one in allowed if item == 0 else ():
            assert abs((rows[:, 0] == one).sum() - 100) < 5 * 9.5


def test_a_dataset_without_variants_is_refused_where_they_are_wanted():
    feature = SimpleNamespace(name="text_variants")
    catalogue = SimpleNamespace(columns={"text_variants": np.array([(), ("x",)], dtype=object)})
    dataset = SimpleNamespace(path="dataset", one=lambda *_: feature)
    assert variant_texts(dataset, catalogue, 0.0) == []
    assert variant_texts(dataset, catalogue, 0.5) == [(), ("x",)]
    with pytest.raises(DatasetError, match=r"features\.items\.text_variants"):
        variant_texts(SimpleNamespace(path="dataset", one=lambda *_: None), catalogue, 0.5)
    with pytest.raises(ValueError, match="text_variants are vectors made beforehand"):
        TrainConfig.model_validate({"text": {"mode": "full"}, "model": {"item": {"text_variants": 0.5}}})
