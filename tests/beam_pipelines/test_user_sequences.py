from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.partition import concat, from_bytes, partition_of, partition_rows, partitions_of
from beam_pipelines.prepare import (
    cancel_returns,
    deduplicate,
    drop_short,
    keep_items,
    keep_latest,
    split_sessions,
)
from beam_pipelines.sequences import Sequences, group_by_user
from beam_pipelines.splits import Cuts, split_bounds, split_views

events = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "ü", "w9", "w10"]),
        st.sampled_from("abcd"),
        st.integers(0, 6),
        st.integers(-3, 3),
    ),
    max_size=30,
)


def _table(rows: Any) -> pa.Table:
    users, items, times, values = ([row[i] for row in rows] for i in range(4))
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "timestamp": pa.array(times, pa.int64()),
            "value": pa.array(values, pa.float32()),
        }
    )


def _plain(sequences: Sequences) -> dict[str, list[tuple[str, int, float]]]:
    rows = sequences.events.to_pylist()
    triples = [(row["item_id"], row["timestamp"], row["value"]) for row in rows]
    starts = sequences.starts.tolist()
    return {u: triples[starts[i] : starts[i + 1]] for i, u in enumerate(sequences.users.to_pylist())}


def _reference(rows: Any) -> dict[str, list[tuple[str, int, float]]]:
    users = defaultdict(list)
    for user, item, time, value in sorted(rows, key=lambda r: (r[2], r[1].encode(), r[3])):
        users[user].append((item, time, float(value)))
    return {user: users[user] for user in sorted(users, key=str.encode)}


@given(events, st.randoms())
def test_sequences_are_sorted_whatever_the_order_of_the_rows(rows: Any, random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert _plain(group_by_user(_table(shuffled))) == _reference(rows)


def test_times_too_far_apart_for_one_key_are_sorted_too() -> None:
    rows = [("u", "a", 2**61, 1), ("u", "b", -(2**61), 1), ("v", "a", 0, 1), ("u", "a", -(2**61), 2)]
    assert _plain(group_by_user(_table(rows))) == _reference(rows)


@given(events)
def test_bytes_round_trip(rows: Any) -> None:
    sequences = group_by_user(_table(rows))
    assert _plain(Sequences.from_bytes(sequences.to_bytes())) == _plain(sequences)


@given(events, st.integers(1, 5))
def test_partitions_hold_every_row_once_and_each_user_in_one(rows: Any, partitions: int) -> None:
    parts = dict(partition_rows(_table(rows), "user_id", partitions))
    back = [tuple(row.values()) for data in parts.values() for row in from_bytes(data).to_pylist()]
    assert sorted(back) == sorted(rows)
    for partition, data in parts.items():
        assert {partition_of(user, partitions) for user in from_bytes(data)["user_id"].to_pylist()} == {
            partition
        }
    assert (concat(parts.values()) is None) == (not rows)


def test_hash_is_fnv_1a() -> None:
    # Published test vectors of the 64-bit FNV-1a: "" and "foobar". The fold joins the two halves.
    for text, expected in (("", 0xCBF29CE484222325), ("foobar", 0x85944171F73967E8)):
        folded = (expected >> 32) ^ (expected & 0xFFFFFFFF)
        assert partitions_of(pa.array([text]), 65_521)[0] == folded % 65_521


@given(events, st.sampled_from(["exact", "consecutive", "first", "last"]))
def test_deduplication(rows: Any, how: str) -> None:
    expected = {}
    for user, sequence in _reference(rows).items():
        kept: list[Any] = []
        for i, event in enumerate(sequence):
            seen = {
                "exact": event in sequence[:i],
                "consecutive": i > 0 and sequence[i - 1][0] == event[0],
                "first": event[0] in [e[0] for e in sequence[:i]],
                "last": event[0] in [e[0] for e in sequence[i + 1 :]],
            }[how]
            kept += [] if seen else [event]
        expected[user] = kept
    done, left_out = deduplicate(group_by_user(_table(rows)), how)
    assert _plain(done) == expected
    assert left_out.get("duplicate", 0) == len(rows) - sum(map(len, expected.values()))


def test_a_return_takes_back_the_latest_purchase_that_is_large_enough() -> None:
    rows = [
        ("u", "a", 0, 3),
        ("u", "a", 1, 1),
        ("u", "b", 2, 5),
        ("u", "a", 3, -2),
        ("u", "a", 4, -2),
        ("v", "a", 0, 9),
    ]
    done, left_out = cancel_returns(group_by_user(_table(rows)))
    assert _plain(done) == {"u": [("a", 1, 1.0), ("b", 2, 5.0)], "v": [("a", 0, 9.0)]}
    assert left_out == {"return": 2, "returned_purchase": 1}


def test_sessions_end_where_the_gap_is_longer() -> None:
    rows = [("u", "a", 0, 0), ("u", "b", 5, 0), ("u", "c", 11, 0), ("v", "a", 100, 0)]
    sequences, owners = split_sessions(group_by_user(_table(rows)), gap=5)
    assert {u: [e[0] for e in s] for u, s in _plain(sequences).items()} == {
        "u/1": ["a", "b"],
        "u/2": ["c"],
        "v/1": ["a"],
    }
    assert owners.to_pylist() == ["u", "u", "v"]


@given(events, st.integers(1, 4))
def test_limits_on_users_and_items(rows: Any, n: int) -> None:
    sequences, reference = group_by_user(_table(rows)), _reference(rows)
    latest, gone = keep_latest(sequences, n)
    assert _plain(latest) == {u: s[-n:] for u, s in reference.items()}
    assert gone["beyond_max_sequence_events"] == sum(max(0, len(s) - n) for s in reference.values())
    assert _plain(drop_short(sequences, n)[0]) == {u: s for u, s in reference.items() if len(s) >= n}
    kept = {u: [e for e in s if e[0] in "ab"] for u, s in reference.items()}
    assert _plain(keep_items(sequences, pa.array(["a", "b", "z"]))[0]) == {u: s for u, s in kept.items() if s}


def _views(rows: Any, protocol: str, cuts: Cuts) -> dict[str, dict[str, tuple[list[str], int]]]:
    """Split to user to (items, number of context events)."""
    sequences = group_by_user(_table(rows))
    items = [row["item_id"] for row in sequences.events.to_pylist()]
    names = sequences.users.to_pylist()
    return {
        split: {
            names[u]: (items[begin:end], context)
            for u, begin, end, context in zip(
                view.users, view.begins, view.ends, view.target_starts, strict=True
            )
        }
        for split, view in split_views(sequences, split_bounds(sequences, protocol, cuts)).items()
    }


def test_leave_last_out() -> None:
    rows = [("u", item, time, 0) for time, item in enumerate("abcd")] + [("v", "a", 0, 0), ("v", "b", 1, 0)]
    assert _views(rows, "leave_last_out", Cuts(None, None)) == {
        "train": {"u": (["a", "b"], 0), "v": (["a", "b"], 0)},
        "validation": {"u": (["a", "b", "c"], 2)},
        "test": {"u": (["a", "b", "c", "d"], 3)},
    }


def test_by_time() -> None:
    rows = [("u", "a", 0, 0), ("u", "b", 10, 0), ("u", "c", 20, 0), ("v", "a", 9, 0), ("w", "d", 25, 0)]
    assert _views(rows, "by_time", Cuts(10, 20)) == {
        "train": {"u": (["a"], 0), "v": (["a"], 0)},
        "validation": {"u": (["a", "b"], 1)},
        "test": {"u": (["a", "b", "c"], 2), "w": (["d"], 0)},
    }


@given(events, st.sampled_from(["leave_last_out", "by_time"]))
def test_every_event_is_a_target_exactly_once(rows: Any, protocol: str) -> None:
    views = _views(rows, protocol, Cuts(2, 4) if protocol == "by_time" else Cuts(None, None))
    targets = sorted(
        i for users in views.values() for items, context in users.values() for i in items[context:]
    )
    assert targets == sorted(row[1] for row in rows)


def test_by_time_without_cuts_is_an_error() -> None:
    with pytest.raises(ValueError, match="both cuts"):
        split_bounds(group_by_user(_table([("u", "a", 0, 0)])), "by_time", Cuts(None, None))
