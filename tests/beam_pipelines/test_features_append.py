from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from beam_pipelines.errors import DatasetError, InputError

EVENTS = """\
[features.events]
files = ["events*.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"
"""
HEAD = "user,item,time\n"
DAYS = [
    HEAD + "".join(f"u{i % 4},i{i % 3},{i}\n" for i in range(20)) + ",bad,1\n",
    HEAD + "".join(f"u{i % 5},i{i % 7},{i}\n" for i in range(15, 45)) + "bad\n",
]
TOP = "keep_state = true\nmax_reject_rate = 0.2\n"
FILTERS = """
[features.filters]
min_item_events = 3
[features.items]
files = ["items.csv"]
id = "item"
title = "name"
"""


def _tables() -> str:
    return EVENTS + FILTERS


@pytest.mark.parametrize("protocol", ["by_time", pytest.param("leave_last_out", marks=pytest.mark.slow)])
def test_appending_equals_building_everything(
    workshop: Any, contents: Callable[..., Any], protocol: str
) -> None:
    workshop.write("items.csv", "item,name\ni0,Null\ni1,One\n")
    workshop.write("events-1.csv", DAYS[0])
    workshop.build(_tables(), protocol, TOP)
    old = workshop.data / "events-1.csv"
    content = old.read_bytes()
    old.unlink()  # appending does not read it again
    workshop.write("events-2.csv", DAYS[1])
    appended = workshop.build(_tables(), protocol, TOP, overwrite=False, append=True)
    manifest, seen = appended.manifest, contents(appended)
    assert manifest["rejects"]["total"] == 2
    old.write_bytes(content)
    full = workshop.build(_tables(), protocol, TOP)
    assert contents(full) == seen
    assert full.manifest == manifest


def test_appending_nothing_is_up_to_date_and_a_changed_file_is_refused(workshop: Any) -> None:
    workshop.write("items.csv", "item,name\ni0,Null\n")
    workshop.write("events-1.csv", DAYS[0])
    first = workshop.build(_tables(), top=TOP)
    again = workshop.build(_tables(), top=TOP, overwrite=False, append=True)
    assert again.manifest == first.manifest
    workshop.write("events-1.csv", DAYS[1])
    with pytest.raises(InputError, match="has changed since it was read"):
        workshop.build(_tables(), top=TOP, overwrite=False, append=True)


def test_appending_needs_a_state(workshop: Any) -> None:
    workshop.write("items.csv", "item,name\ni0,Null\n")
    workshop.write("events-1.csv", DAYS[0])
    workshop.build(_tables(), top="max_reject_rate = 0.2")
    with pytest.raises(DatasetError, match="keep_state = true"):
        workshop.build(_tables(), top="max_reject_rate = 0.2", overwrite=False, append=True)
