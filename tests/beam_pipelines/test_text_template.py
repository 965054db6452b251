from __future__ import annotations

import pyarrow as pa
import pytest

from beam_pipelines.template import fill_template, template_columns

COLUMNS = {
    "title": pa.array(["Heat", "Solo", None]),
    "year": pa.array(["1995", "", "1999"]),
    "genres": pa.array(["Crime", "", "War"]),
}


def _fill(template: str) -> list[str]:
    filled: list[str] = fill_template(template, COLUMNS, 3).to_pylist()
    return filled


def test_parts_with_an_empty_column_are_left_out() -> None:
    assert _fill("{title}[ ({year})][. {genres}]") == ["Heat (1995). Crime", "Solo", " (1999). War"]


def test_doubled_brackets_stand_for_themselves() -> None:
    assert _fill("[[{{{title}}}]]")[0] == "[{Heat}]"


def test_an_optional_part_without_columns_always_stays() -> None:
    assert _fill("a[b]") == ["ab"] * 3


def test_columns_are_listed_in_order() -> None:
    assert template_columns("{b}[{a}{b}]") == ("b", "a", "b")


@pytest.mark.parametrize("template", ["{title", "[{title}", "{title}]", "[[[{title}[{year}]]", "a}"])
def test_unbalanced_brackets_are_named(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        fill_template(template, COLUMNS, 3)
