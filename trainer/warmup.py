"""Warm-up records: what a server runs through a model before it takes requests, so that the first is not slow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.probes import Probes
from trainer.requests_file import write_requests

_ONE_SIZE = ("explain",)
"""Signatures that answer so slowly that a server warms up with the smallest batch alone."""
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
    sizes = sorted(set(batch_sizes))
    wanted = [
        (signature, size)
        for size in sizes
        for signature in sorted(signatures)
        if size == sizes[0] or not signature.startswith(_ONE_SIZE)
    ][:_MOST]
    write_requests(file, ((signature, probes.of(signature, size)) for signature, size in wanted))
    return len(wanted)
