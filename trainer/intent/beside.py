"""`classify_intent` in the same SavedModel as `recommend`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from trainer import contract
from trainer.errors import ExportError
from trainer.intent.on_recommender import IntentHead
from trainer.intent.serving import CLASSIFY, PREDICT, TowerIntents, mark_classify
from trainer.intent.vectors import unit
from trainer.keras_compat import tf
from trainer.requests_file import write_requests
from trainer.verification import ask_stranger
from trainer.workbench import Workbench

INTENT_SIGNATURES = (CLASSIFY, PREDICT)
_PROBES = 32


def save_with_intents(
    served: Any, signatures: dict[str, Any], head: IntentHead | None, bench: Workbench, folder: Path
) -> None:
    """Writes the SavedModel, with the signatures of a classifier if there is one.

    Args:
        served: The module behind the signatures.
        signatures: The recommender's.
        head: What tells labels of texts by the recommender's text tower.
        bench: The recommender.
        folder: Of the version.
    """
    if head is None or bench.encoder is None:
        tf.saved_model.save(served, str(folder), signatures=signatures)
        return
    served.intents = TowerIntents(head, bench.encoder.encode_present)
    both = signatures | served.intents.signatures()
    tf.saved_model.save(served, str(folder), signatures=both)
    mark_classify(str(folder))


def check_intents(head: IntentHead, bench: Workbench, folder: Path) -> None:
    """Asks the saved model in a fresh process and the encoder here for labels of some titles.

    Raises:
        ExportError: they differ where the probabilities tell labels apart.
    """
    assert bench.encoder is not None  # noqa: S101  else nothing was learned on it
    texts = [title.encode() for title in bench.preparation.catalogue.titles[:_PROBES]] + [b"", b"\xff"]
    scores = unit(bench.encoder.encode_all(texts, _PROBES)) @ head.kernel + head.bias  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as scratch:
        requests = Path(scratch) / "requests"
        write_requests(requests, [(PREDICT, {contract.QUERY: np.asarray(texts, object)})])
        answers = ask_stranger(folder, requests, Path(scratch))
    ordered = np.sort(scores, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-3 if scores.shape[1] > 1 else np.ones(len(texts), bool)
    expected = np.asarray([head.classes[row].encode() for row in np.argmax(scores, axis=1)], object)
    for route in ("code", "server"):
        came = answers[f"{route}/0/label"][:, 0]
        if (differ := np.flatnonzero(clear & (came.astype(object) != expected))).size:
            row = int(differ[0])
            raise ExportError(
                f"The model was not published: {route}: {PREDICT} calls {texts[row]!r} {came[row]!r}, the live model "
                f"says {expected[row]!r}."
            )
