"""Several rows for one id: equal ones are one, contradicting ones are settled the same way in every order."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

SOURCE = "_source"  # column with "label<TAB>block<TAB>line" of a row


@dataclass(frozen=True)
class Conflict:
    """A row that lost against another with the same id.

    Attributes:
        source: value of the column `_source`.
        reason: as in the rejects.
        record: the row as JSON.
    """

    source: str
    reason: str
    record: str


def merge_rows(
    rows: pa.Table, key: str, reason: str, most_common: bool = False
) -> tuple[pa.Table, list[Conflict]]:
    """One row for each id.

    Args:
        rows: with the columns `key` and `_source`, in any order.
        key: name of the id column.
        reason: for the rows that lose.
        most_common: the most frequent content wins, instead of the first in the order of their JSON.

    Returns:
        The winners sorted by id, without `_source`; and every row with another content than its winner.
    """
    names = rows[key].to_pylist()
    if len(set(names)) == len(names):
        return rows.drop_columns([SOURCE]).sort_by(key), []
    content = [_content(row) for row in rows.drop_columns([SOURCE]).to_pylist()]
    winners: dict[str, int] = {}
    votes: dict[tuple[str, str], int] = {}
    for name, text in zip(names, content, strict=True):
        votes[name, text] = votes.get((name, text), 0) + 1
    for row, name in enumerate(names):
        best = winners.get(name)
        rank = (-votes[name, content[row]] if most_common else 0, content[row])
        if best is None or rank < (-votes[name, content[best]] if most_common else 0, content[best]):
            winners[name] = row
    sources = rows[SOURCE].to_pylist()
    lost = [
        Conflict(sources[row], reason, content[row])
        for row, name in enumerate(names)
        if content[row] != content[winners[name]]
    ]
    kept = rows.drop_columns([SOURCE]).take(pa.array(sorted(winners.values()), pa.int64()))
    return kept.sort_by(key), lost


def _content(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True)
