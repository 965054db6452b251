"""tf.train.Example records ↔ columns, driven by the schema alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.dataset import DatasetDirectory, Feature
from trainer.errors import DatasetError
from trainer.keras_compat import tf

_BATCH = 1024  # records parsed at once: parsing one by one is about 16 times slower


def parsing_spec(features: Sequence[Feature]) -> dict[str, Any]:
    """What `tf.io.parse_example` needs to know, by feature name."""
    return {feature.name: _spec(feature) for feature in features}


def _spec(feature: Feature) -> Any:
    dtype = tf.as_dtype(feature.dtype)
    if feature.shape == (None,):
        return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
    default = feature.default
    if feature.shape:
        default = None
    elif default is None:
        default = "" if feature.dtype == "string" else 0
    return tf.io.FixedLenFeature(list(feature.shape), dtype, default)


def read_columns(dataset: DatasetDirectory, split: str) -> dict[str, Any]:
    """All records of a split as columns, in the order of the files.

    Returns:
        By feature name: a NumPy array [records] or [records, n], or a tf.RaggedTensor [records, None].

    Raises:
        DatasetError: a file is damaged, or a record does not fit the schema.
    """
    features = dataset.items if split == "items" else dataset.sequences
    spec = parsing_spec(features)
    files = dataset.files(split)
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(files, compression_type=compression)
    parsed = records.batch(_BATCH).map(lambda batch: tf.io.parse_example(batch, spec), num_parallel_calls=2)
    try:
        batches = list(parsed)
    except tf.errors.OpError as error:
        raise DatasetError(
            f"{dataset.path}: cannot read the records of {split}: {error.message}. "
            "Run `twotower features build --overwrite`."
        ) from error
    if not batches:
        return {
            name: tf.RaggedTensor.from_row_splits(tf.zeros([0], feature.dtype), tf.zeros([1], tf.int64))
            if isinstance(feature, tf.io.RaggedFeature)
            else tf.zeros([0, *feature.shape], feature.dtype).numpy()
            for name, feature in spec.items()
        }
    joined = {name: tf.concat([batch[name] for batch in batches], axis=0) for name in spec}
    return {
        name: value if isinstance(value, tf.RaggedTensor) else value.numpy() for name, value in joined.items()
    }
