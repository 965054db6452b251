"""What happens to the sequences of one partition before they are split: returns, duplicates, sessions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.sequences import Mask, Sequences, starts_of
from beam_pipelines.settings import EventSettings, FilterSettings


def cancel_returns(sequences: Sequences) -> tuple[Sequences, dict[str, int]]:
    """Drops returns (negative values) and, for each, the purchase that it takes back.

    That purchase is the user's latest earlier one of the same item whose value is at least the size of the
    return and which no other return has taken back.

    Returns:
        The remaining sequences and what was left out: `return` and `returned_purchase`.
    """
    values = sequences.column("value")
    returns = np.flatnonzero(values < 0)
    drop = values < 0
    owners, items = sequences.owners(), sequences.column("item_id")
    for position in returns.tolist():
        first = sequences.starts[owners[position]]
        for earlier in range(position - 1, first - 1, -1):
            if (
                items[earlier] == items[position]
                and not drop[earlier]
                and values[earlier] >= -values[position]
            ):
                drop[earlier] = True
                break
    left_out = {"return": len(returns), "returned_purchase": int(drop.sum()) - len(returns)}
    return sequences.keep(~drop), left_out


def deduplicate(sequences: Sequences, how: str) -> tuple[Sequences, dict[str, int]]:
    """Drops repeated events.

    Args:
        sequences: to look at.
        how: "none", "exact" (equal in everything), "consecutive" (same item as just before), "first" or
            "last" (one event for each item of a user).
    """
    if how == "none" or not len(sequences.events):
        return sequences, {}
    keep = _DEDUPLICATORS[how](sequences)
    return sequences.keep(keep), {"duplicate": int((~keep).sum())}


def _exact(sequences: Sequences) -> Mask:
    same = _same_owner(sequences)
    for name in sequences.events.column_names:
        values = sequences.column(name)
        same &= values[1:] == values[:-1]
    return np.concatenate([[True], ~same])


def _consecutive(sequences: Sequences) -> Mask:
    items = sequences.column("item_id")
    return np.concatenate([[True], ~(_same_owner(sequences) & (items[1:] == items[:-1]))])


def _first(sequences: Sequences) -> Mask:
    pairs = sequences.owners() * (int(sequences.column("item_id").max(initial=0)) + 1) + sequences.column(
        "item_id"
    )
    keep = np.zeros(len(pairs), dtype=bool)
    keep[np.unique(pairs, return_index=True)[1]] = True
    return keep


def _last(sequences: Sequences) -> Mask:
    pairs = sequences.owners() * (int(sequences.column("item_id").max(initial=0)) + 1) + sequences.column(
        "item_id"
    )
    keep = np.zeros(len(pairs), dtype=bool)
    keep[len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]] = True
    return keep


_DEDUPLICATORS = {"exact": _exact, "consecutive": _consecutive, "first": _first, "last": _last}


def _same_owner(sequences: Sequences) -> Mask:
    owners = sequences.owners()
    same: Mask = owners[1:] == owners[:-1]
    return same


def keep_latest(sequences: Sequences, limit: int) -> tuple[Sequences, dict[str, int]]:
    """Keeps at most `limit` events a user, the latest."""
    from_end = np.repeat(sequences.starts[1:], sequences.lengths) - np.arange(len(sequences.events))
    keep = from_end <= limit
    return sequences.keep(keep), {"beyond_max_sequence_events": int((~keep).sum())}


def split_sessions(sequences: Sequences, gap: int) -> tuple[Sequences, pa.Array]:
    """Cuts each user's sequence where more than `gap` seconds pass between two events.

    Returns:
        Sequences named user/1, user/2, ..., and for each the user that it came from.
    """
    times, owners = sequences.column("timestamp"), sequences.owners()
    if not len(times):
        return sequences, sequences.users
    new_user = np.concatenate([[True], owners[1:] != owners[:-1]])
    begins = new_user | np.concatenate([[True], np.diff(times) > gap])
    session = np.cumsum(begins) - 1
    lengths = np.bincount(session)
    session_owner = owners[begins]
    number = np.arange(len(lengths)) - np.flatnonzero(new_user[begins])[session_owner] + 1
    parents = sequences.users.take(pa.array(session_owner))
    names = pc.binary_join_element_wise(parents, pa.array(number).cast(pa.string()), "/")
    return Sequences(names, starts_of(lengths), sequences.events), parents


def apply_policies(
    sequences: Sequences, events: EventSettings, filters: FilterSettings
) -> tuple[Sequences, dict[str, int]]:
    """Returns, then duplicates, then the length limit, in this order; and how many events each left out."""
    left_out: dict[str, int] = {}
    if events.returns == "cancel":
        sequences, counts = cancel_returns(sequences)
        left_out |= counts
    sequences, counts = deduplicate(sequences, filters.deduplicate)
    left_out |= counts
    if filters.max_sequence_events is not None:
        sequences, counts = keep_latest(sequences, filters.max_sequence_events)
        left_out |= counts
    return sequences, left_out


def drop_short(sequences: Sequences, minimum: int) -> tuple[Sequences, int]:
    """Leaves out users with fewer events than `minimum`; returns also how many events went."""
    keep = np.repeat(sequences.lengths >= minimum, sequences.lengths)
    return sequences.keep(keep), int((~keep).sum())


def keep_items(sequences: Sequences, allowed: pa.Array) -> tuple[Sequences, int]:
    """Leaves out events of items that are not in `allowed`; returns also how many events went."""
    good = pc.is_in(sequences.dictionary("item_id"), value_set=allowed).to_numpy(zero_copy_only=False)
    keep = good[sequences.column("item_id")] if len(sequences.events) else np.zeros(0, dtype=bool)
    return sequences.keep(keep), int((~keep).sum())
