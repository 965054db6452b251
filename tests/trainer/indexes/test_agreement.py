"""Lists of an approximate search beside the exact ones: what may differ, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer import contract
from trainer.errors import ExportError
from trainer.indexes.agreement import check_agreement
from trainer.probes import asks_no_list_rule, neutral


def answer(*lists: str) -> dict[str, Any]:
    """One item a letter; its score is the same in every list."""
    width = max(map(len, lists))
    ids = [[letter.encode() for letter in row] + [b""] * (width - len(row)) for row in lists]
    scores = [[float(item[0]) if item else -np.inf for item in row] for row in ids]
    return {contract.ITEM_ID: np.asarray(ids, object), contract.SCORE: np.asarray(scores, np.float32)}


EXACT = answer(*["abcdefghij"] * 25)


def missing(letters: int, rows: int = 25) -> dict[str, Any]:
    return answer(*["abcdefghij"[: 10 - letters]] * rows, *["abcdefghij"] * (25 - rows))


def test_a_share_may_be_missed() -> None:
    # Of 25 rows 0.9 - 0.5 / 5 = 0.8 of the items must be there: two of ten may be missed, three not.
    check_agreement("retrieve", EXACT, missing(2), 0.9, np.ones(25, bool), scores=True)
    with pytest.raises(ExportError, match="finds 175 of the 250 items"):
        check_agreement("retrieve", EXACT, missing(3), 0.9, np.ones(25, bool), scores=True)


def test_rows_that_choose_by_other_items_are_not_counted() -> None:
    chosen = np.arange(25) < 9
    came = missing(8, rows=9)  # of the nine rows two items of ten, of the sixteen others all
    check_agreement("retrieve", EXACT, came, 0.9, ~chosen, scores=True)
    with pytest.raises(ExportError, match="finds 18 of the 90 items"):
        check_agreement("retrieve", EXACT, came, 0.9, chosen, scores=True)


def test_scores_must_be_the_same_in_all_rows() -> None:
    other = EXACT | {contract.SCORE: EXACT[contract.SCORE] * 1.01}
    with pytest.raises(ExportError, match="scores of retrieve differ"):
        check_agreement("retrieve", EXACT, other, 0.9, np.zeros(25, bool), scores=True)
    check_agreement("recommend", EXACT, other, 0.9, np.zeros(25, bool), scores=False)


def test_which_rows_ask_for_no_rule_over_the_list() -> None:
    request = {contract.HISTORY_ITEM_ID: np.zeros((3, 2), object)}
    assert asks_no_list_rule(request).tolist() == [True] * 3
    request |= {name: neutral(name, 3) for name in contract.RULES}
    assert asks_no_list_rule(request).tolist() == [True] * 3
    request[contract.MIN_SCORE] = np.ones(3, np.float32)  # decides about each item alone
    request[contract.DIVERSITY] = np.asarray([0.5, np.nan, np.nan], np.float32)
    request[contract.MAX_PER_CATEGORY] = np.asarray([0, 0, 3])
    assert asks_no_list_rule(request).tolist() == [False, True, False]
