"""Several rows for one id: equal ones are one, contradicting ones are settled the same way in every order."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa

SOURCE = "_source"  # column with "label<TAB>block<TAB>line" of the first row with this content in its block
VOTES = "_votes"  # column with the number of such rows in that block


@dataclass(frozen=True)
class Conflict:
    """A content that lost against another with the same id.

    Attributes:
        label: of the file in which it comes first.
        block: of that file.
        line: 0-based, in the block.
        reason: as in the rejects.
        record: the content as JSON.
    """

    label: str
    block: int
    line: int
    reason: str
    record: str


@dataclass
class _Content:
    row: int = -1
    votes: int = 0
    places: list[tuple[str, int, int]] = field(default_factory=list)


def merge_rows(
    rows: pa.Table, key: str, reason: str, most_common: bool = False
) -> tuple[pa.Table, list[Conflict]]:
    """One row for each id.

    Args:
        rows: with the columns `key`, `_source` and `_votes`, in any order.
        key: name of the id column.
        reason: for the contents that lose.
        most_common: the most frequent content wins, instead of the first in the order of their JSON.

    Returns:
        The winners sorted by id, without the two extra columns; and each losing content once, with the first
        place at which it occurs.
    """
    plain = rows.drop_columns([SOURCE, VOTES])
    names = rows[key].to_pylist()
    if len(set(names)) == len(names):
        return plain.sort_by(key), []
    contents = _collect(plain, names, rows)
    kept, lost = [], []
    for by_text in contents.values():
        winner = min(by_text, key=lambda text: (-by_text[text].votes if most_common else 0, text))
        kept.append(by_text.pop(winner).row)
        lost += [Conflict(*min(content.places), reason, text) for text, content in by_text.items()]
    return plain.take(pa.array(sorted(kept), pa.int64())).sort_by(key), lost


def _collect(plain: pa.Table, names: list[str], rows: pa.Table) -> dict[str, dict[str, _Content]]:
    """Id to content to where and how often it occurs."""
    contents: dict[str, dict[str, _Content]] = defaultdict(lambda: defaultdict(_Content))
    columns = zip(names, plain.to_pylist(), rows[SOURCE].to_pylist(), rows[VOTES].to_pylist(), strict=True)
    for row, (name, values, source, votes) in enumerate(columns):
        content = contents[name][json.dumps(values, ensure_ascii=False, sort_keys=True)]
        label, block, line = source.split("\t")
        content.row = row
        content.votes += votes
        content.places.append((label, int(block), int(line)))
    return contents
