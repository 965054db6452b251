"""Input pipelines that benchmarks/training.py compares, and how long a training waits for its own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from trainer.config import TrainConfig
from trainer.input import training_batches, training_windows
from trainer.keras_compat import tf
from trainer.preparation import Preparation
from trainer.sequences import Sequences

EVENTS = 100_000
_FORMAT = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "item_id": tf.io.FixedLenFeature([], tf.string),
    "timestamp": tf.io.FixedLenFeature([], tf.int64),
    "value": tf.io.FixedLenFeature([], tf.float32),
    "event": tf.io.FixedLenFeature([], tf.string),
}


def events(users: int, items: int = 1682) -> Sequences:
    """Histories of equal length that add up to EVENTS."""
    rng = np.random.default_rng(0)
    return Sequences(
        items=rng.integers(0, items, EVENTS).astype(np.int32),
        row_splits=np.linspace(0, EVENTS, users + 1).astype(np.int64),
        target_start=np.zeros(users, np.int64),
        timestamps=np.arange(EVENTS, dtype=np.int64),
        events=np.full(EVENTS, "view", object),
        values=np.ones(EVENTS, np.float32),
        user_ids=np.asarray([f"u{user}" for user in range(users)], object),
        user_columns={},
    )


def write_records(file: Path) -> None:
    """One tf.train.Example an event, five features."""
    with tf.io.TFRecordWriter(str(file)) as writer:
        for event in range(EVENTS):
            feature = {
                "user_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"u%d" % (event % 943)])),
                "item_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"i%d" % (event % 1682)])),
                "timestamp": tf.train.Feature(int64_list=tf.train.Int64List(value=[event])),
                "value": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
                "event": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"view"])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def naive(file: Path, batch: int) -> Any:
    """Shuffle, parse one by one, batch: how most programs begin."""
    records = tf.data.TFRecordDataset(str(file)).shuffle(10_000)
    return records.map(lambda record: tf.io.parse_single_example(record, _FORMAT)).batch(batch).prefetch(1)


def batched(file: Path, batch: int) -> Any:
    """Shuffle, batch, parse batch by batch on all cores."""
    records = tf.data.TFRecordDataset(str(file)).shuffle(10_000).batch(batch)
    parsed = records.map(lambda record: tf.io.parse_example(record, _FORMAT), tf.data.AUTOTUNE)
    return parsed.prefetch(tf.data.AUTOTUNE)


def ours(length: int, batch: int, epochs: int = 1) -> Any:
    """The product's input: windows of `length` events with item, value, time and what is predicted."""
    config = TrainConfig.model_validate(
        {
            "epochs": epochs,
            "batch_size": batch,
            "model": {"user_features": False, "history": {"max_length": length, "time_gaps": True}},
        }
    )
    sequences = events(EVENTS // length)
    preparation = SimpleNamespace(spec=SimpleNamespace(event_types=("view",)))
    windows = training_windows(sequences, config)
    return training_batches(_typed(preparation), sequences, windows, config, 0)


def _typed(preparation: Any) -> Preparation:
    return preparation  # type: ignore[no-any-return]


def drain(dataset: Any) -> int:
    """Reads a dataset to its end inside TensorFlow; the number of batches."""
    return int(dataset.reduce(np.int64(0), lambda count, _: count + 1))


def waiting(model: Any, dataset: Any, steps: int) -> dict[str, float]:
    """Milliseconds a step of `fit` takes, and of these in the op that waits for input, by TensorFlow's profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    model.fit(dataset, epochs=1, steps_per_epoch=20, verbose=0, shuffle=False)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            began = time.perf_counter()
            model.fit(dataset, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
            passed = time.perf_counter() - began
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    waited = 0
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        waited += sum(
            event.duration_ps
            for line in plane.lines
            for event in line.events
            if names.get(event.metadata_id, "").startswith("IteratorGetNext")
        )
    return {"step": 1000 * passed / steps, "IteratorGetNext": waited / 1e9 / steps}
