"""The item tower and the fusion that it shares with the query tower."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.errors import ConfigError
from trainer.features import CategorySpec, FeatureSpecs, NumericSpec
from trainer.fusion import Fusion
from trainer.item_tower import FeatureVectors, ItemTower
from trainer.item_tower_config import ItemTowerConfig
from trainer.keras_compat import keras, tf
from trainer.words import WordSpec

RNG = np.random.default_rng(0)
KINDS = ("concatenate", "gate", "attention", "add")
COMPONENTS = [RNG.normal(size=(3, width)).astype(np.float32) for width in (4, 2, 5)]
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1]], bool)  # rows x components


def fusion(kind: str, dropout: float = 0.0) -> Fusion:
    keras.utils.set_random_seed(1)
    layer = Fusion(6, kind, dropout, name="fusion")
    layer.build([(None, 4), (None, 2), (None, 5)])
    return layer


def fuse(layer, components, present=PRESENT, training=False):
    columns = [tf.constant(column) for column in present.T]
    return layer([tf.constant(part) for part in components], columns, training=training).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_component_changes_nothing(kind):
    layer = fusion(kind)
    before = fuse(layer, COMPONENTS)
    for component in range(3):
        changed = [part.copy() for part in COMPONENTS]
        changed[component] += 100
        after = fuse(layer, changed)
        absent = ~PRESENT[:, component]
        np.testing.assert_array_equal(after[absent], before[absent])
        assert (np.abs(after - before).max(axis=1)[~absent] > 1e-3).all()  # a present one does


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_any_component_is_finite(kind):
    out = fuse(fusion(kind), COMPONENTS, np.zeros((3, 3), bool))
    assert np.isfinite(out).all()
    assert (out == 0).all()  # "concatenate" by its zero bias


def projected(layer):
    return [
        part @ projection.kernel.numpy()
        for part, projection in zip(COMPONENTS, layer._projections, strict=True)
    ]


def test_attention_is_a_weighted_mean_of_the_present():
    layer = fusion("attention")
    parts = np.stack(projected(layer), axis=1)
    logits = np.tanh(parts) @ layer._score.kernel.numpy()[:, 0]
    weights = np.where(PRESENT, np.exp(logits), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fuse(layer, COMPONENTS), (weights[:, :, None] * parts).sum(1), atol=1e-5)


def test_adding_projects_only_what_has_another_width():
    layer = Fusion(2, "add", 0.0, name="fusion")
    layer.build([(None, 4), (None, 2), (None, 5)])
    assert len(layer.trainable_variables) == 2
    first, last = (layer._projections[place].kernel.numpy() for place in (0, 2))
    there = PRESENT.astype(np.float32)[:, :, None]
    expected = (
        there[:, 0] * (COMPONENTS[0] @ first)
        + there[:, 1] * COMPONENTS[1]
        + there[:, 2] * (COMPONENTS[2] @ last)
    )
    np.testing.assert_allclose(fuse(layer, COMPONENTS), expected, atol=1e-5)


def test_a_gate_sees_all_components():
    layer = fusion("gate")
    parts = np.stack(projected(layer), axis=1) * PRESENT[:, :, None]
    gates = 1 / (1 + np.exp(-(parts.reshape(3, -1) @ layer._merge.kernel.numpy())))
    np.testing.assert_allclose(
        fuse(layer, COMPONENTS), (gates.reshape(3, 3, 6) * parts).sum(axis=1), atol=1e-5
    )


def test_dropout_is_for_training_alone():
    layer = fusion("gate", dropout=0.5)
    assert (fuse(layer, COMPONENTS) == fuse(layer, COMPONENTS)).all()
    assert (fuse(layer, COMPONENTS, training=True) != fuse(layer, COMPONENTS, training=True)).any()


SPECS = FeatureSpecs(
    categories=(CategorySpec("genre", ("a", "b", "c")),),
    numerics=(NumericSpec("year", 0.0, 1.0),),
    vectors=(("image", 2),),
)


def test_a_category_is_the_mean_of_its_known_values():
    layer = FeatureVectors(SPECS, 4)
    layer.build()
    table = layer._embeddings["genre"].embeddings.numpy()
    inputs = {
        "genre": tf.constant([[1, 3, 0], [2, 0, 0], [0, 0, 0]]),
        "numeric": tf.zeros([3, 1]),
        "image": tf.ones([3, 2]),
    }
    components, present = layer(inputs)
    np.testing.assert_allclose(components[0][0], (table[1] + table[3]) / 2, atol=1e-6)
    np.testing.assert_allclose(components[0][1], table[2], atol=1e-6)
    assert [column.numpy().tolist() for column in present] == [[True, True, False], [True] * 3, [True] * 3]
    assert [part.shape[1] for part in components] == layer.widths() == [4, 1, 2]


def tower(specs=FeatureSpecs(), text_width=3, **settings) -> ItemTower:  # noqa: B008
    keras.utils.set_random_seed(2)
    layer = ItemTower(
        ItemTowerConfig(**settings),
        width=8,
        trained_items=5,
        text_width=text_width,
        specs=specs,
        seed=0,
    )
    layer.build()
    return layer


TEXT = RNG.normal(size=(200, 3)).astype(np.float32)


def vectors(layer, ids, training=False, text=TEXT):
    return layer(
        {"id": tf.constant(ids, tf.int32), "text": tf.constant(text[: len(ids)])}, training=training
    ).numpy()


def test_ids_tell_items_of_one_text_apart():
    same = np.repeat(TEXT[:1], 3, axis=0)
    out = vectors(tower(), [1, 2, 0], text=same)
    assert np.abs(out[0] - out[1]).max() > 1e-3


def test_an_item_without_id_is_its_text():
    layer = tower()
    before = vectors(layer, [0, 0, 1])
    layer._ids.embeddings.assign(layer._ids.embeddings + 1.0)  # row 0, of "no item", too
    after = vectors(layer, [0, 0, 1])
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2] - after[2]).max() > 1e-3


def test_id_dropout_hides_ids_in_training_alone():
    layer = tower(id_dropout=0.25, dropout=0.0)
    ids = np.full(200, 3)
    with_id, without = vectors(layer, ids), vectors(layer, np.zeros(200, int))
    np.testing.assert_array_equal(vectors(layer, ids, training=False), with_id)
    out = vectors(layer, ids, training=True)
    hidden = np.isclose(out, without, atol=1e-6).all(axis=1)
    assert (hidden | np.isclose(out, with_id, atol=1e-6).all(axis=1)).all()
    # 200 draws of 1/4: 50, standard deviation sqrt(200 x 3/16) = 6.1.
    assert abs(hidden.sum() - 50) < 5 * 6.2


def test_the_rarer_an_item_the_more_often_its_id_is_hidden():
    layer = tower(id_dropout=0.8, id_dropout_events=4.0, dropout=0.0)
    text = np.repeat(TEXT[:1], 400, axis=0)
    inputs = {
        "id": tf.fill([400], 3),
        "text": tf.constant(text),
        "training_events": tf.constant([0.0, 4.0, 12.0, 1e6] * 100),
    }
    without = vectors(layer, [0], text=text)
    hidden = np.isclose(layer(inputs, training=True).numpy(), without, atol=1e-6).all(axis=1).reshape(100, 4)
    # 0.8 x 4 / (4 + n): 80, 40, 20 and 0 of 100, deviations of at most sqrt(100 x 0.24) = 4.9.
    assert np.abs(hidden.sum(axis=0) - [80, 40, 20, 0]).max() < 5 * 4.9
    np.testing.assert_array_equal(
        layer(inputs, training=False).numpy(), vectors(layer, np.full(400, 3), text=text)
    )


def test_a_missing_id_may_have_a_vector_of_its_own():
    layer = tower(id_dropout=0.5, missing_id="learned", fusion="add", dropout=0.0)
    table = layer._ids.embeddings.numpy()
    kernel = layer._fusion._projections[1].kernel.numpy()
    expected = table[[0, 3]] + TEXT[:2] @ kernel
    np.testing.assert_allclose(vectors(layer, [0, 3]), expected, atol=1e-6)
    out = vectors(layer, np.full(200, 3), training=True)
    hidden = np.isclose(out, table[0] + TEXT @ kernel, atol=1e-6).all(axis=1)
    assert abs(hidden.sum() - 100) < 5 * 7.1  # of 200 draws of one half


def test_a_missing_id_may_be_made_of_text_and_features():
    layer = tower(SPECS, id_dropout=0.5, missing_id="generated", fusion="add")
    nothing = tower(SPECS, id_dropout=0.5, fusion="add")
    inputs = {
        "id": tf.constant([0, 3]),
        "text": tf.constant(TEXT[:2]),
        "genre": tf.constant([[1, 3], [0, 0]]),
        "numeric": tf.constant([[0.5], [1.0]]),
        "image": tf.constant([[1.0, 2.0], [3.0, 4.0]]),
    }
    for mine, other in zip(layer._fusion.weights, nothing._fusion.weights, strict=True):
        other.assign(mine)
    for part in ("_ids", "_features"):
        for mine, other in zip(getattr(layer, part).weights, getattr(nothing, part).weights, strict=True):
            other.assign(mine)
    # Before it learned, the layer makes nothing.
    np.testing.assert_allclose(layer(inputs), nothing(inputs), atol=1e-6)
    kernel = RNG.normal(size=(8 + 1 + 2 + 3, 8)).astype(np.float32)
    layer._generator.kernel.assign(kernel)
    genre = layer._features._embeddings["genre"].embeddings.numpy()[[1, 3]].mean(axis=0)
    made = np.concatenate([genre, [0.5], [1.0, 2.0], TEXT[0]]) @ kernel
    before = nothing(inputs).numpy()
    np.testing.assert_allclose(layer(inputs).numpy(), before + np.stack([made, np.zeros(8)]), atol=1e-5)


def test_an_id_cannot_be_made_of_nothing():
    with pytest.raises(ConfigError, match="missing_id"):
        tower(text_width=0, missing_id="generated")


def test_without_dropout_training_changes_nothing():
    layer = tower(id_dropout=0.0, dropout=0.0)
    np.testing.assert_array_equal(vectors(layer, [1, 2], training=True), vectors(layer, [1, 2]))


def test_items_need_no_text():
    layer = tower(text_width=0)  # a dataset without a text column; the setting `text` may stay on
    assert layer({"id": tf.constant([1, 2])}).shape == (2, 8)
    ignored = tower(text=False)  # text there, but only for queries
    assert (vectors(ignored, [1, 2]) == vectors(ignored, [1, 2], text=TEXT + 1)).all()


def test_an_item_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"train\.model\.item\.id_embedding"):
        tower(text_width=0, id_embedding=False)
    assert tower(SPECS, text_width=0, id_embedding=False).built


def test_words_are_a_component_beside_the_others():
    words = WordSpec("title", ("red", "blue"), (1.0, 1.0))
    layer = tower(FeatureSpecs(words=words), text_width=0, id_embedding=False, fusion="add")
    came = layer({"words": tf.constant([[1, 2], [2, 0], [0, 0]]), "id": tf.constant([1, 2, 3])}).numpy()
    red, blue = layer._features._words._table.numpy()[1:]
    np.testing.assert_allclose(came, [(red + blue) / np.sqrt(2), blue, np.zeros(8)], atol=1e-6)


def test_whitened_text_is_what_the_fusion_reads():
    layer = tower(id_embedding=False, fusion="add", whiten_text=True)
    before = vectors(layer, [0, 0])
    layer.whitening.measure(TEXT)
    kernel = layer._fusion._projections[0].kernel.numpy()
    np.testing.assert_allclose(before, TEXT[:2] @ kernel, atol=1e-5)  # the identity before it was measured
    np.testing.assert_allclose(
        vectors(layer, [0, 0]), np.asarray(layer.whitening(TEXT[:2])) @ kernel, atol=1e-5
    )
    assert not [v for v in layer.trainable_variables if "whitening" in v.path]
