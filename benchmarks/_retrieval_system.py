"""What a search of benchmarks/retrieval.py is: float32 [B, D] queries to int rows, with something to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors], npt.NDArray[Any]]


@dataclass(frozen=True)
class System:
    """A built search.

    Attributes:
        name: For the table.
        exact: Whether it always finds everything.
        settings: What can be turned for more recall, cheapest first; of an exact search one setting, None.
        search: Makes the search with a setting.
        counted: Says for queries, their true lists and a share which setting finds that; None = it must be tried.
        wider: More of the like, for a recall that none of `settings` reaches.
    """

    name: str
    exact: bool
    settings: list[Any]
    search: Callable[[Any], Search]
    counted: Callable[[Vectors, npt.NDArray[Any], float], Any] | None = None
    wider: Sequence[Any] = ()


def ladder(first: int, last: int) -> list[int]:
    """first, 1.25 times as much, ... up to last."""
    steps = [first]
    while steps[-1] < last:
        steps.append(min(last, max(steps[-1] + 1, steps[-1] * 5 // 4)))
    return steps


def traced(search: Callable[[Any], Any], vectors: Vectors) -> Search:
    from trainer.keras_compat import tf

    traced = tf.function(search, input_signature=[tf.TensorSpec([None, vectors.shape[1]], tf.float32)])
    return lambda queries: np.asarray(traced(tf.constant(queries)).numpy())
