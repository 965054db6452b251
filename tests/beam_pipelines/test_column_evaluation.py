from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.columns import ColumnSpec, ListSpec, NumberSpec, TimeSpec, VectorSpec
from beam_pipelines.evaluate import Evaluator


def _rows(*values: Any, missing: tuple[str, ...] = (), kind: Any = None) -> Evaluator:
    return Evaluator(pa.table({"x": pa.array(values, kind)}), missing)


def _text(values: list[str], **spec: Any) -> list[str]:
    return list(_rows(*values, kind=pa.string()).text(ColumnSpec(column="x", **spec), "x").to_pylist())


def test_clean_steps_follow_their_order() -> None:
    values = ["  WHITE  hanging HEART t-light holder. "]
    assert _text(values, clean=("strip", "squeeze", "lower")) == ["white hanging heart t-light holder."]
    assert _text(values, clean=("slug",)) == ["white-hanging-heart-t-light-holder"]
    assert _text(["17850.0", "17850", "1.5", ""], clean=("integer",)) == ["17850", "17850", "1.5", ""]


def test_joins_and_constants() -> None:
    rows = Evaluator(pa.table({"a": ["x", "y"], "b": ["1", ""]}))
    assert rows.text(ColumnSpec(join=("a", "b"), separator="-"), "j").to_pylist() == ["x-1", "y-"]
    assert rows.text(ColumnSpec(constant="view"), "c").to_pylist() == ["view", "view"]


def test_missing_values_count_as_empty_everywhere() -> None:
    rows = _rows("NA", "3", missing=("NA",))
    assert rows.number(NumberSpec(column="x"), "n").to_pylist() == [None, 3.0]
    assert rows.text(ColumnSpec(template="a[ {x}]"), "t").to_pylist() == ["a", "a 3"]
    assert rows.refused() == {}


def test_a_value_outside_the_map_is_refused_unless_there_is_a_star() -> None:
    rows = _rows("v", "w", "")
    assert rows.text(ColumnSpec(column="x", map={"v": "view"}), "event").to_pylist() == ["view", "", ""]
    assert rows.refused() == {1: "unknown_event"}
    assert _text(["v", "w"], map={"v": "view", "*": "other"}) == ["view", "other"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", 4.0),
        (" -2.5e1 ", -25.0),
        (".5", 0.5),
        ("", None),
        ("nan", "bad"),
        ("1,5", "bad"),
        ("1e39", "bad"),
    ],
)
def test_numbers(text: str, expected: float | str | None) -> None:
    rows = _rows(text)
    value = rows.number(NumberSpec(column="x"), "value").to_pylist()[0]
    assert ("bad" if rows.refused() else value) == expected


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.sampled_from(["s", "ms", "us"]))
def test_times_come_out_as_whole_unix_seconds(moment: datetime, unit: str) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone.utc)
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds())
    number = seconds * {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    assert _rows(str(number)).seconds(TimeSpec(column="x", unit=unit), "t").to_pylist() == [seconds]
    text = moment.isoformat().replace("+00:00", "")
    assert _rows(text).seconds(TimeSpec(column="x", format="iso"), "t").to_pylist() == [seconds]
    assert _rows(text + "Z").seconds(TimeSpec(column="x", format="iso"), "t").to_pylist() == [seconds]


def test_local_times_are_shifted_to_utc() -> None:
    # British summer time is one hour ahead: 08:26 there is 07:26 UTC.
    spec = TimeSpec(column="x", format="%d/%m/%Y %H:%M", timezone="Europe/London")
    assert _rows("01/07/2011 08:26").seconds(spec, "t").to_pylist() == [
        int(datetime(2011, 7, 1, 7, 26, tzinfo=timezone.utc).timestamp())
    ]


def test_typed_times_and_numbers_need_no_text() -> None:
    moments = pa.array([datetime(2020, 1, 1, 0, 0, 1, 999999)], pa.timestamp("us"))
    assert Evaluator(pa.table({"x": moments})).seconds(TimeSpec(column="x"), "t").to_pylist() == [1577836801]
    assert _rows(1, None).number(NumberSpec(column="x"), "n").to_pylist() == [1.0, None]


@pytest.mark.parametrize("text", ["", "yesterday", "0x10", "2020-13-01T00:00:00", "99999999999999999999"])
def test_unreadable_times_are_refused(text: str) -> None:
    for spec in (TimeSpec(column="x"), TimeSpec(column="x", format="iso")):
        rows = _rows(text)
        rows.seconds(spec, "timestamp")
        assert rows.refused() == {0: "missing_timestamp" if text == "" else "invalid_timestamp"}


def test_fractions_of_seconds_are_rounded_down_also_before_1970() -> None:
    rows = _rows("1.9", "-0.5", "7")
    assert rows.seconds(TimeSpec(column="x"), "t").to_pylist() == [1, -1, 7]


def test_categories_are_split_stripped_and_unique() -> None:
    rows = _rows("a| b|a||NA", "", missing=("NA",))
    assert rows.categories(ListSpec(column="x", split="|"), "c").to_pylist() == [["a", "b"], []]
    assert rows.categories(ListSpec(column="x"), "c").to_pylist() == [["a| b|a||NA"], []]


def test_vectors_must_have_their_length() -> None:
    rows = _rows("[1, 2.5]", "1 2", "1 2 3", "x y", "[1, null]")
    assert rows.vector(VectorSpec(column="x", length=2), "image").to_pylist()[:2] == [[1.0, 2.5], [1.0, 2.0]]
    assert rows.refused() == {2: "invalid_image", 3: "invalid_image", 4: "invalid_image"}


def test_the_first_reason_stays() -> None:
    rows = _rows("")
    rows.refuse(pa.array([True]), "first")
    rows.refuse(pa.array([True]), "second")
    assert rows.refused() == {0: "first"}
