"""Whether lists of an approximate search agree with the exact ones as far as it promises."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.errors import ExportError
from trainer.probes import Arrays

_TOLERANCE = 1e-4  # relative; float32 sums in another order
_MARGIN = 0.5  # of the recall of one row; that of n rows is uncertain by this much over the root of n


def check_agreement(
    signature: str,
    expected: Arrays,
    came: Arrays,
    least: float,
    counted: npt.NDArray[np.bool_],
    *,
    scores: bool,
) -> None:
    """Compares lists of ids by what they have in common.

    Args:
        signature: For the message.
        expected: The exact answer: "item_id" object [B, k] of bytes, "score" float32 [B, k].
        came: The answer of the approximate search.
        least: The share of the exact ids that must be there on average; a request of few rows may have fewer.
        counted: bool [B] the rows whose lists are the best items by score. Where a choice depends on the choices before
            it (diversity, caps, draws), one item that is missed changes all that follow.
        scores: Whether an item has the same score whatever else is in the list; then these must be equal.

    Raises:
        ExportError: they differ by more.
    """
    wanted = found = 0
    for row in range(len(expected[contract.ITEM_ID])):
        exact, approximate = _scores_of(expected, row), _scores_of(came, row)
        both = exact.keys() & approximate.keys()
        if counted[row]:
            wanted, found = wanted + len(exact), found + len(both)
        ours, theirs = (np.asarray([answer[item] for item in both]) for answer in (exact, approximate))
        if scores and not np.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE):
            worst = float(np.abs(ours - theirs).max())
            raise ExportError(
                f"The model was not published: scores of {signature} differ from the live model by {worst:.2g}."
            )
    rows = max(1, int(np.count_nonzero(counted)))
    if found < (least - _MARGIN / math.sqrt(rows)) * wanted:
        raise ExportError(
            f"The model was not published: {signature} finds {found:,} of the {wanted:,} items that the live model "
            f"finds, less than export.index.min_recall = {least}. Raise export.index.probes or target_recall."
        )


def _scores_of(answer: Arrays, row: int) -> dict[bytes, float]:
    ids, scores = answer[contract.ITEM_ID][row], answer[contract.SCORE][row]
    return {bytes(item): float(score) for item, score in zip(ids, scores, strict=True) if item}
