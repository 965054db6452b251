"""Version directories, policies and the order of loads and unloads: pure rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.versions import (
    VersionPolicy,
    VersionSnapshot,
    aspired_versions,
    index_versions,
    missing_files,
    next_action,
    parse_version,
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("00000123", 123),
        (" 7 ", 7),
        ("-1", -1),
        ("+5", 5),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("tmp-124", None),
        ("124.tmp", None),
        ("1_000", None),
        ("1.0", None),
        ("", None),
        ("٣", None),
    ],
)
def test_a_directory_name_is_a_version_only_as_a_whole(name: str, number: int | None) -> None:
    assert parse_version(name) == number


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_int64_is_a_version(number: int) -> None:
    assert parse_version(str(number)) == number


def test_of_two_names_for_a_number_the_last_in_sorted_order_wins() -> None:
    assert index_versions(["7", "007", "x"]) == {7: "7"}


FOUND = {1: "1", 5: "5", 3: "3", 4: "4"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(), [5]),
        (VersionPolicy("latest", num_versions=0), [5]),
        (VersionPolicy("latest", num_versions=2), [5, 4]),
        (VersionPolicy("latest", num_versions=9), [5, 4, 3, 1]),
        (VersionPolicy("all"), [5, 4, 3, 1]),
        (VersionPolicy("specific", versions=(1, 3, 9)), [3, 1]),
        (VersionPolicy("specific"), []),
    ],
)
def test_policies(policy: VersionPolicy, expected: list[int]) -> None:
    assert aspired_versions(FOUND, policy) == expected


def test_a_half_written_directory_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    assert missing_files(tmp_path) == ["saved_model.pb"]
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert missing_files(tmp_path) == []
    variables = tmp_path / "variables"
    variables.mkdir()
    (variables / "variables.data-00001-of-00002").write_bytes(b"x")
    assert missing_files(tmp_path) == ["variables/variables.data-00000-of-00002", "variables/variables.index"]
    (variables / "variables.data-00000-of-00002").write_bytes(b"x")
    (variables / "variables.index").write_bytes(b"x")
    assert missing_files(tmp_path) == []


def test_the_new_version_is_loaded_before_the_old_is_unloaded() -> None:
    old, new = VersionSnapshot(1, aspired=False, state="ready"), VersionSnapshot(2, aspired=True, state="new")
    assert next_action([old, new]) == ("load", 2)
    loaded = VersionSnapshot(2, aspired=True, state="ready")
    assert next_action([old, loaded]) == ("unload", 1)
    assert next_action([loaded]) is None


def test_a_failed_new_version_leaves_the_old_one_in_place() -> None:
    old, failed = (
        VersionSnapshot(1, aspired=False, state="ready"),
        VersionSnapshot(2, aspired=True, state="other"),
    )
    assert next_action([old, failed]) is None


def test_without_any_aspired_version_all_are_unloaded() -> None:
    assert next_action([VersionSnapshot(1, aspired=False, state="ready")]) == ("unload", 1)


def test_of_several_old_versions_all_but_the_highest_go_first() -> None:
    versions = [
        VersionSnapshot(1, aspired=False, state="ready"),
        VersionSnapshot(2, aspired=False, state="ready"),
        VersionSnapshot(3, aspired=True, state="new"),
    ]
    assert next_action(versions) == ("unload", 1)


@given(
    st.sets(st.integers(1, 6), max_size=4),
    st.lists(st.sets(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_once_something_is_ready_something_stays_ready(start: set[int], wishes: list[set[int]]) -> None:
    """Plays the policy against changing wishes: it ends with exactly the wish, never empty on the way."""
    ready = set(start)
    for wish in wishes:
        for _ in range(20):
            snapshots = [
                VersionSnapshot(v, v in wish, "ready" if v in ready else "new") for v in sorted(ready | wish)
            ]
            had_some = bool(ready)
            action = next_action(snapshots)
            if action is None:
                break
            (ready.add if action[0] == "load" else ready.remove)(action[1])
            assert ready or not had_some
        assert ready == wish
