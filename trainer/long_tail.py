"""How the retrieval loss makes up for how unevenly items occur."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.keras_compat import tf
from trainer.long_tail_config import LongTailConfig


class TailCorrection(NamedTuple):
    """What each of the N items of the catalogue gets in the loss.

    Attributes:
        weights: float32 [N] weight of an event by its item, 1 on average over the training events; None = all alike.
        offsets: float32 [N] added to an item's score, whether it is wanted or not; None = nothing.
    """

    weights: Any = None
    offsets: Any = None

    @classmethod
    def of(cls, counts: npt.NDArray[np.integer], config: LongTailConfig) -> TailCorrection:
        """The correction that a configuration asks for.

        Args:
            counts: integer [N] training events of each item.
            config: Which.
        """
        weights = event_weights(counts, config)
        offsets = logit_offsets(counts, config.logit_adjustment)
        return cls(*(None if values is None else tf.constant(values) for values in (weights, offsets)))


NO_CORRECTION = TailCorrection()


def event_weights(counts: npt.NDArray[np.integer], config: LongTailConfig) -> npt.NDArray[np.float32] | None:
    """Weight of an event of each item, float32 [N], 1 on average over all events; None where all weigh the same.

    Args:
        counts: integer [N] training events of each item; one without any gets the weight of one with a single event.
        config: Which weights: n^-gamma (Yang 2018) or (1 - beta) / (1 - beta^n) (Cui 2019).
    """
    n = np.maximum(counts, 1).astype(np.float64)
    if config.popularity_discount:
        weights = n**-config.popularity_discount
    elif config.effective_numbers:
        weights = (1 - config.effective_numbers) / (1 - config.effective_numbers**n)
    else:
        return None
    mean = float(np.sum(counts * weights)) / max(float(np.sum(counts)), 1.0)
    return np.asarray(weights / mean if mean else weights, np.float32)


def logit_offsets(counts: npt.NDArray[np.integer], strength: float) -> npt.NDArray[np.float32] | None:
    """`strength` times the logarithm of each item's smoothed share of the events, float32 [N]; None for 0 (Menon 2021).

    Args:
        counts: integer [N] training events; one is added to each, so that items without any have a share.
        strength: tau of the paper.
    """
    if not strength:
        return None
    smoothed = counts.astype(np.float64) + 1.0
    return np.asarray(strength * np.log(smoothed / smoothed.sum()), np.float32)


def with_offsets(queries: Any, vectors: Any, offsets: Any) -> tuple[Any, Any]:
    """Query and item vectors one number longer, whose products are greater by the items' offsets.

    Args:
        queries: float32 [Q, D].
        vectors: float32 [M, D].
        offsets: float32 [M].
    """
    return tf.pad(queries, [[0, 0], [0, 1]], constant_values=1.0), tf.concat(
        [vectors, offsets[:, tf.newaxis]], axis=1
    )
