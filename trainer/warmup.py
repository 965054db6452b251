"""Warm-up records: what a server runs through a model before it takes requests, so that the first is not slow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.keras_compat import tf
from trainer.probes import Probes

_MOST = 1000  # TensorFlow Serving refuses a file with more records


def write_warmup(file: Path, probes: Probes, signatures: Iterable[str], batch_sizes: Iterable[int]) -> int:
    """Writes one PredictionLog a signature and batch size, smallest batches first.

    Args:
        file: assets.extra/tf_serving_warmup_requests of a SavedModel.
        probes: Makes the requests.
        signatures: Names; those that answer the same way need not be repeated.
        batch_sizes: Rows of each request.

    Returns:
        The number of records.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    file.parent.mkdir(parents=True, exist_ok=True)
    wanted = [(signature, size) for size in sorted(set(batch_sizes)) for signature in sorted(signatures)][
        :_MOST
    ]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, size in wanted:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, array in probes.of(signature, size).items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())
    return len(wanted)
