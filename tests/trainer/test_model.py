"""The model with its losses, on eight items and three histories, step by step and without compilation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.config import TrainConfig
from trainer.features import CategorySpec, FeatureSpecs
from trainer.keras_compat import keras, tf
from trainer.model import TwoTowerModel
from trainer.model_inputs import CatalogueTables, ModelSpec
from trainer.ranking_head import RankingHead

N, WIDTH = 8, 3
COUNTS = np.array([5, 4, 4, 3, 2, 2, 0, 0], np.float32)
USERS = FeatureSpecs((CategorySpec("gender", ("F", "M")),))
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(N, WIDTH)).astype(np.float32)
VIEWS = RNG.normal(size=(N, 2, WIDTH)).astype(np.float32)

ITEMS = np.array([[0, 1, 2, 3, 4], [1, 0, 5, -1, -1], [2, 2, 1, 0, -1]], np.int32)
VALUES = np.array([[5, 4, np.nan, 2, 1], [3, 3, 3, np.nan, np.nan], [1, 2, 3, 4, np.nan]], np.float32)


def make(catalogue: int = N, **changes) -> TwoTowerModel:
    keras.utils.set_random_seed(4)
    settings = {
        "model": {
            "embedding_dim": 8,
            "item": {"dropout": 0.0, "id_dropout": 0.0},
            "history": {"max_length": 5, "dropout": 0.0},
        },
        "query_text": {"rate": 0.0},
        "ranking": {"candidates": N, "negatives": N, "hidden_units": 4},
        **changes,
    }
    spec = ModelSpec(6, WIDTH, FeatureSpecs(), USERS, ())
    model = TwoTowerModel(TrainConfig.model_validate(settings), spec)
    rows = np.arange(catalogue)
    model.catalogue = CatalogueTables(
        inputs={
            "id": tf.constant(np.where(rows < 6, rows + 1, 0), tf.int32),
            "text": tf.constant(TEXT[:catalogue]),
        },
        share=tf.constant(COUNTS[:catalogue] / COUNTS[:catalogue].sum()),
        scale=tf.constant(np.log1p(COUNTS[:catalogue])),
        query_views=tf.constant(VIEWS[:catalogue]),
    )
    # The head's correction starts at zero; here it must count.
    kernel = model.ranking_head._correction.kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape))
    return model


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    """For tests that change nothing: nothing is dropped, all negatives take part, so losses come again."""
    return make()


def batch(items=ITEMS, predicted=None, values=VALUES):
    return {
        "items": tf.constant(items),
        "predicted": tf.constant(items >= 0 if predicted is None else predicted),
        "values": tf.constant(values),
        "user": {"gender": tf.constant([[1], [2], [0]], tf.int32)},
    }


def only(row: int, column: int) -> np.ndarray:
    predicted = np.zeros(ITEMS.shape, bool)
    predicted[row, column] = True
    return predicted


def floats(losses) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def history_of(model, items):
    mask = items >= 0
    vectors = tf.gather(model.encode_items(model.catalogue.inputs), np.maximum(items, 0))
    return {"vectors": vectors * tf.cast(mask, tf.float32)[:, :, None], "mask": tf.constant(mask)}


def test_every_loss_has_a_weight_and_a_metric_of_its_name():
    model = make(retrieval={"weight": 0.5}, ranking={"weight": 0.25, "value_weight": 0.125})
    losses = floats(model.losses_of(batch()))
    assert set(losses) == set(model.loss_weights)
    assert {metric.name for metric in model.metrics} == {"loss", *losses}
    assert model.loss_weights == {"retrieval_loss": 0.5, "ranking_loss": 0.25, "value_loss": 0.125}
    assert all(np.isfinite(value) and value > 0 for value in losses.values())


@pytest.mark.parametrize("softmax", ["sampled", "distinct"])
def test_where_users_choose_again_the_ranking_head_learns_to_put_the_target_above_its_history_too(softmax):
    kept_out, again = (
        floats(make(repeats=repeats, retrieval={"softmax": softmax}).losses_of(batch()))["ranking_loss"]
        for repeats in (False, True)
    )
    assert again > kept_out  # the softmax is over more items


def test_a_step_learns_from_the_weighted_sum():
    model = make(retrieval={"weight": 0.5}, ranking={"weight": 0.25, "value_weight": 0.125})
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    logs = floats(model.train_step(batch()))
    expected = 0.5 * logs["retrieval_loss"] + 0.25 * logs["ranking_loss"] + 0.125 * logs["value_loss"]
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    moved = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if (variable.numpy() != old).any()
    ]
    assert len(moved) > len(before) / 2


def test_retrieval_is_the_softmax_over_targets_and_catalogue(model):
    vectors = model.encode_items(model.catalogue.inputs).numpy()
    states = model.query_tower.states(history_of(model, ITEMS), training=False)
    rows, columns = np.nonzero(ITEMS >= 0)
    users = {"gender": tf.gather(batch()["user"]["gender"], rows)}
    queries = model.query_tower.combine(
        tf.gather_nd(states, np.stack([rows, columns], axis=1)), users, tf.zeros([len(rows), WIDTH])
    ).numpy()
    targets = ITEMS[rows, columns]
    candidates = np.concatenate([targets, np.arange(N)])  # the other queries' targets, and every item once
    # How often an item is expected there: its share of the Q targets, and once in the catalogue.
    expected = len(targets) * COUNTS / COUNTS.sum() + 1
    logits = queries @ vectors[candidates].T - np.log(expected[candidates] / len(candidates))
    logits[candidates[None, :] == targets[:, None]] = -np.inf  # accidental hits, the target itself put back
    own = (queries * vectors[targets]).sum(1) - np.log(expected[targets] / len(candidates))
    loss = np.log(np.exp(own) + np.exp(logits).sum(axis=1)) - own
    np.testing.assert_allclose(float(model.losses_of(batch())["retrieval_loss"]), loss.mean(), rtol=1e-4)


@pytest.mark.parametrize(("row", "column"), [(0, 3), (2, 1), (0, 0)])
def test_the_future_of_an_event_is_not_read(model, row, column):
    """Neither retrieval nor ranking may see the target or what follows it."""
    items = ITEMS.copy()
    items[row, column + 1 :] = [6, 7, 6, 7, 6][column + 1 :]
    came, expected = (floats(model.losses_of(batch(values, only(row, column)))) for values in (items, ITEMS))
    assert came == pytest.approx(expected, rel=1e-5)


def test_the_head_compares_the_target_with_unseen_items_given_the_past(model, monkeypatch):
    seen = {}
    real = RankingHead.__call__

    def spy(self, queries, past, before, items, scale, training=None):
        seen.update(before=before.numpy(), items=items.numpy(), scale=scale.numpy())
        return real(self, queries, past, before, items, scale, training=training)

    monkeypatch.setattr(RankingHead, "__call__", spy)
    model.losses_of(batch(predicted=only(0, 3)))  # items 0, 1, 2 before the target 3; 4 to 7 are left
    vectors = model.encode_items(model.catalogue.inputs).numpy()
    assert seen["before"].tolist() == [[True, True, True, False, False]]
    np.testing.assert_allclose(seen["items"][0, 0], vectors[3], atol=1e-6)
    place = [int(np.abs(vectors - item).max(axis=1).argmin()) for item in seen["items"][0, 1:5]]
    assert sorted(place) == [4, 5, 6, 7]
    np.testing.assert_allclose(seen["scale"][0, :5], np.log1p(COUNTS[[3, *place]]), rtol=1e-6)


def test_the_past_of_an_event_is_read(model):
    items = ITEMS.copy()
    items[0, 0] = 7
    came, expected = (floats(model.losses_of(batch(values, only(0, 3)))) for values in (items, ITEMS))
    for name, value in expected.items():
        assert abs(came[name] - value) > 1e-4


def test_the_ranking_losses_do_not_reach_the_towers(model):
    variables = model.trainable_variables
    head = {variable.path for variable in model.ranking_head.trainable_variables}
    with tf.GradientTape(persistent=True) as tape:
        losses = model.losses_of(batch())
    reached = {
        name: {
            variable.path
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
            if gradient is not None and np.abs(tf.convert_to_tensor(gradient)).max() > 0
        }
        for name, loss in losses.items()
    }
    assert reached["ranking_loss"]
    assert reached["value_loss"]
    assert reached["ranking_loss"] | reached["value_loss"] <= head
    assert not reached["retrieval_loss"] & head
    assert {path.split("/")[0] for path in reached["retrieval_loss"]} == {"item_tower", "query_tower"}


def test_unobserved_values_do_not_count(model):
    unseen = np.full(ITEMS.shape, np.nan, np.float32)
    assert float(model.losses_of(batch(values=unseen))["value_loss"]) == 0.0


def test_in_a_small_catalogue_the_target_is_no_negative_of_its_own():
    # Before the last event of the first history all items but the target have been seen: nothing is left to beat.
    model, items = make(catalogue=5), np.minimum(ITEMS, 4)
    losses = [model.losses_of(batch(items, only(0, column)))["ranking_loss"] for column in (4, 3)]
    assert float(losses[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(losses[1]) > 1e-3


def test_a_sampled_step_gives_finite_losses():
    model = make(retrieval={"uniform_negatives": 3, "queries_per_step": 4}, ranking={"queries_per_step": 2})
    for _ in range(3):
        assert all(np.isfinite(value) for value in floats(model.losses_of(batch())).values())


def test_hidden_histories_leave_text_and_user():
    model = make(query_text={"rate": 1.0, "without_history": 1.0})
    history = history_of(model, ITEMS)
    states = model.query_tower.states(history, training=False)
    chosen = tf.constant([[0, 3], [1, 2], [2, 1]])
    targets = tf.gather_nd(ITEMS, chosen)
    user = batch()["user"]
    asked = model._asked(targets, model.catalogue)
    _, text = model._inputs(targets, targets, asked, model.catalogue)
    queries, known = (part.numpy() for part in model._queries(states, chosen, text, asked, user))
    assert known.tolist() == [0, 0, 0]  # the ranking head sees no history either
    for row in range(3):
        one = {"gender": user["gender"][row : row + 1]}
        either = [
            model.query_tower.combine(states[row : row + 1, 0], one, tf.constant(VIEWS[[targets[row]], view]))
            for view in range(2)
        ]
        assert min(np.abs(queries[row] - vector.numpy()[0]).max() for vector in either) < 1e-5


def test_some_queries_ask_twice_in_two_views_of_the_target():
    model = make(query_text={"rate": 0.8, "several": 0.5})
    targets = np.arange(2000, dtype=np.int32) % N
    asked = model._asked(tf.constant(targets), model.catalogue)
    _, vectors = model._inputs(tf.constant(targets), tf.constant(targets), asked, model.catalogue)
    first, second = tf.unstack(vectors, axis=1)
    asks, view, twice = asked.asks.numpy(), asked.view.numpy(), asked.also.numpy() >= 0
    assert not (twice & ~asks).any()
    assert abs(twice.sum() - 800) < 5 * 22  # half of 1600 in 2000, deviation 22
    np.testing.assert_array_equal(first.numpy()[asks], VIEWS[targets[asks], view[asks]])
    np.testing.assert_array_equal(second.numpy()[twice], VIEWS[targets[twice], 1 - view[twice]])
    assert not second.numpy()[~twice].any()
    assert all(np.isfinite(value) for value in floats(model.losses_of(batch())).values())


def test_the_share_of_text_queries_is_the_setting():
    model = make(query_text={"rate": 0.4, "without_history": 0.25})
    targets = tf.zeros([2000], tf.int32)
    asked = model._asked(targets, model.catalogue)
    _, vectors = model._inputs(targets, targets, asked, model.catalogue)
    asks, alone = (vectors.numpy() != 0).any(axis=1), asked.alone
    np.testing.assert_array_equal(asks, asked.asks)
    assert not (alone.numpy() & ~asks).any()
    # 800 of 2000, deviation 22; a quarter of them: 200, deviation 13.4.
    assert abs(asks.sum() - 800) < 5 * 22
    assert abs(alone.numpy().sum() - 200) < 5 * 13.4


def test_cosines_are_divided_by_the_temperature():
    model = make(retrieval={"similarity": "cosine", "temperature": 0.1})
    items = model.encode_items(model.catalogue.inputs)
    user = batch()["user"]
    queries = model.encode_queries(history_of(model, ITEMS), user, tf.zeros([3, WIDTH]))
    for vectors in (items, queries):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        model.retrieval_scores(queries, items), 10 * queries.numpy() @ items.numpy().T, rtol=1e-4
    )


def test_a_learned_temperature_starts_where_it_is_set_and_moves():
    model = make(retrieval={"similarity": "cosine", "temperature": 0.1, "learned_temperature": True})
    assert float(model.temperature) == pytest.approx(0.1, rel=1e-6)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.train_step(batch())
    came = float(model.temperature)
    assert abs(came - 0.1) > 1e-4
    items, queries = np.eye(2, 8, dtype=np.float32), np.eye(1, 8, dtype=np.float32)
    np.testing.assert_allclose(model.retrieval_scores(queries, items), [[1 / came, 0]], rtol=1e-5)
    model._log_temperature.assign(-10.0)  # exp(-10) is .00005
    assert float(model.temperature) == pytest.approx(0.01)


def test_the_full_softmax_needs_no_draws():
    model = make(retrieval={"softmax": "full", "uniform_negatives": 1})
    vectors = model.encode_items(model.catalogue.inputs).numpy()
    states = model.query_tower.states(history_of(model, ITEMS), training=False)
    users = {"gender": batch()["user"]["gender"][:1]}
    query = model.query_tower.combine(states[:1, 3], users, tf.zeros([1, WIDTH])).numpy()[0]
    logits = vectors @ query
    expected = np.log(np.exp(logits).sum()) - logits[ITEMS[0, 3]]
    came = float(model.losses_of(batch(predicted=only(0, 3)))["retrieval_loss"])
    assert came == pytest.approx(expected, rel=1e-4)


def test_the_adversarial_loss_is_above_the_plain_one_and_counts_with_its_weight():
    model = make(retrieval={"adversarial_weight": 0.5, "adversarial_step": 0.1})
    assert model.loss_weights["adversarial_loss"] == 0.5
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    logs = floats(model.train_step(batch()))
    assert logs["adversarial_loss"] > logs["retrieval_loss"] + 1e-3
    expected = sum(weight * logs[name] for name, weight in model.loss_weights.items())
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_without_a_catalogue_it_says_so():
    model = make()
    model.catalogue = None
    with pytest.raises(RuntimeError, match=r"model\.catalogue"):
        model.losses_of(batch())


def test_parts_that_are_switched_off_have_no_weights():
    model = make()
    names = {variable.path for variable in model.trainable_variables}
    assert any("user_features" in name for name in names)
    settings = model.config.model_dump() | {
        "model": {"embedding_dim": 8, "user_features": False, "query_text": False, "item": {"text": False}}
    }
    bare = TwoTowerModel(TrainConfig.model_validate(settings), replace(model.spec, trained_items=6))
    names = {variable.path for variable in bare.trainable_variables}
    assert not [name for name in names if "user_features" in name or "query_tower/fusion" in name]
    assert bare.query_tower.text_width == bare.item_tower.text_width == 0


@pytest.mark.parametrize("softmax", ["full", "distinct", "sampled"])
@pytest.mark.parametrize("negatives", [True, False])
def test_items_without_events_need_not_be_negatives(softmax, negatives):
    model = make(retrieval={"softmax": softmax}, long_tail={"cold_negatives": negatives})
    text = tf.Variable(TEXT)
    model.catalogue = replace(model.catalogue, inputs=model.catalogue.inputs | {"text": text})
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch())["retrieval_loss"]
    slopes = np.abs(tf.convert_to_tensor(tape.gradient(loss, text)).numpy()).max(axis=1)
    assert (slopes[:6] > 0).all()
    assert (slopes[6:] > 0).all() == negatives


def test_what_is_read_may_differ_from_what_is_predicted(model):
    """Masked events are unknown, substitutes are read in their place, and targets stay what they were."""
    read = ITEMS.copy()
    read[0, 1], read[0, 2] = -1, 5
    after = only(0, 4)
    before = floats(model.losses_of(batch(predicted=after)))["retrieval_loss"]
    came = floats(model.losses_of(batch(predicted=after) | {"read": tf.constant(read)}))["retrieval_loss"]
    assert abs(came - before) > 1e-4
    first = only(0, 1)
    same = floats(model.losses_of(batch(predicted=first)))["retrieval_loss"]
    assert floats(model.losses_of(batch(predicted=first) | {"read": tf.constant(read)}))[
        "retrieval_loss"
    ] == pytest.approx(same, rel=1e-5)
