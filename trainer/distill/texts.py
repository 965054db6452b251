"""The texts that a student learns from: those of the items, and those that stand for what users might type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.config import TrainConfig
from trainer.errors import DatasetError
from trainer.preparation import item_texts, text_views
from trainer.workbench import Workbench

_FEWEST = 2


def distillation_texts(bench: Workbench, config: TrainConfig) -> list[str]:
    """Distinct texts that are not blank, sorted.

    Raises:
        DatasetError: there are none to learn from and to hold out.
    """
    items = item_texts(bench.preparation)
    views = text_views(bench.dataset, bench.preparation.catalogue, items, config)
    texts = sorted({text for view in (items, *views) for text in view if text.strip()})
    if len(texts) < _FEWEST:
        raise DatasetError(
            f"{bench.dataset.path}: a student learns from the texts of items, and {len(texts)} of them differ. Set "
            "features.items.text and build again."
        )
    return texts


def hold_out(count: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to learn from and rows held out, at least one of each; `count` is at least 2."""
    order = np.random.default_rng(seed).permutation(count)
    held = min(max(1, round(share * count)), count - 1)
    return np.sort(order[held:]), np.sort(order[:held])
