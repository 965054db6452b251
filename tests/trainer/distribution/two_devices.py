"""Run by test_distribution.py in a process of its own: devices must be divided before TensorFlow starts.

Prints, by name of a setting, the largest relative difference between one step of one device and one of two: of the
losses, and of what the optimizers remember of the gradients.
"""

from __future__ import annotations

import json

import numpy as np

from tests.trainer.test_model import ITEMS, VALUES, make
from trainer.keras_compat import tf
from trainer.optimizers.make import make_optimizer

SETTINGS = {
    "sampled": {},
    "sampled of a part": {"retrieval": {"uniform_negatives": 3, "popularity_negatives": 2}},
    "drawn alone": {"retrieval": {"in_batch_negatives": False, "uniform_negatives": 3}},
    "distinct": {"retrieval": {"softmax": "distinct", "uniform_negatives": 2, "label_smoothing": 0.1}},
    "full, by rows": {"retrieval": {"softmax": "full"}, "table_optimizer": "adagrad"},
    "adversarial": {"retrieval": {"adversarial_weight": 0.5}, "table_optimizer": "lazy_adam"},
    "fixed shapes, as on a TPU": {
        "distribution": "tpu",
        "retrieval": {"softmax": "distinct", "uniform_negatives": 2},
    },
}
_PADDED = np.full((1, ITEMS.shape[1]), -1, np.int32)
_ITEMS = np.concatenate([ITEMS, _PADDED])  # the second device has one history and one of padding
BATCH = {
    "items": _ITEMS,
    "predicted": _ITEMS >= 0,
    "values": np.concatenate([VALUES, np.full_like(_PADDED, np.nan, np.float32)]),
    "user": {"gender": np.array([[1], [2], [0], [0]], np.int32)},
}


def model_of(changes):
    # Far below the norm, so that clipping counts, where it is that of whole rows on one device, too.
    model = make(**changes, clip_norm=0.01 if "table_optimizer" in changes else 1e3)
    model.compile(optimizer=make_optimizer(model.config, 4))
    model.optimizer.build(model.trainable_variables)
    return model


def part(rows: slice):
    return tf.nest.map_structure(lambda array: tf.constant(array[rows]), BATCH)


def seen(model, logs) -> dict[str, np.ndarray]:
    slots = [slot for slot in model.optimizer.variables if slot.path.endswith(("momentum", "accumulator"))]
    return {slot.path: slot.numpy() for slot in slots} | {name: np.asarray(logs[name]) for name in logs}


def on_one(changes):
    model = model_of(changes)
    return seen(model, tf.function(model.train_step)(part(slice(None))))


def on_two(strategy, changes):
    with strategy.scope():
        model = model_of(changes)
        halves = strategy.experimental_distribute_values_from_function(
            lambda context: part(
                slice(2 * context.replica_id_in_sync_group, 2 * context.replica_id_in_sync_group + 2)
            )
        )
        logs = tf.function(lambda given: strategy.run(model.train_step, args=(given,)))(halves)
        return seen(
            model, {name: strategy.experimental_local_results(value)[1] for name, value in logs.items()}
        )


def difference(came, expected) -> float:
    assert set(came) == set(expected)
    return max(
        float(
            np.abs(came[name] - value).max() / max(np.abs(value).max(), 1e-4)
        )  # a gradient of nought is noise
        for name, value in expected.items()
    )


if __name__ == "__main__":
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [half, half])
    # One for all settings: another one would number its messages from 0 again, and TensorFlow remembers their shapes.
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(
        json.dumps(
            {name: difference(on_two(both, change), on_one(change)) for name, change in SETTINGS.items()}
        )
    )
