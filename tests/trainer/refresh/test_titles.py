"""titles.tsv: what is known stays, what is new is added, what left goes, in the order of the ids."""

from __future__ import annotations

from pathlib import Path

from trainer.contract import EXTRA_ASSETS, TITLES_FILE
from trainer.refresh.items_file import Item
from trainer.refresh.plan import Plan
from trainer.refresh.titles import changed_titles, read_titles, rewrite_keywords, rewrite_titles


def version(folder: Path, text: str) -> Path:
    (folder / EXTRA_ASSETS).mkdir()
    (folder / EXTRA_ASSETS / TITLES_FILE).write_text(text, encoding="utf-8")
    return folder


def test_titles_may_hold_anything_but_a_line_feed_and_a_tab(tmp_path: Path) -> None:
    assert read_titles(version(tmp_path, "b\tA \u2028 title\na\t\n\n")) == {"b": "A \u2028 title", "a": ""}


def test_a_version_without_titles_gets_none(tmp_path: Path) -> None:
    assert read_titles(tmp_path) is None
    assert changed_titles(None, {"a": "x"}) == {}
    rewrite_titles(tmp_path / TITLES_FILE, None, ["a"], Plan())
    assert list(tmp_path.iterdir()) == []


def test_only_other_titles_are_changes() -> None:
    assert changed_titles({"a": "x", "b": "y"}, {"a": "x", "b": "z", "c": "w"}) == {"b": "z", "c": "w"}


def test_rewritten_in_the_order_of_ids(tmp_path: Path) -> None:
    file = tmp_path / TITLES_FILE
    plan = Plan(titles={"a": "new title", "d": "added"})
    rewrite_titles(file, {"c": "kept", "a": "old title", "gone": "x"}, ["a", "c", "d", "b"], plan)
    assert file.read_text() == "a\tnew title\nb\tb\nc\tkept\nd\tadded\n"


def test_keywords_stay_with_items_that_are_described_as_before(tmp_path: Path) -> None:
    file = tmp_path / "keywords.tsv"
    file.write_text("a\tDrama\tsad\nb\t\tdark\nc\tComedy\t\n", encoding="utf-8")
    plan = Plan(changed=[Item("b", "B", {})], added=[Item("d", "D", {})])
    rewrite_keywords(file, ["a", "b", "d"], plan)
    assert file.read_text(encoding="utf-8") == "a\tDrama\tsad\n"
    rewrite_keywords(tmp_path / "none.tsv", ["a"], plan)
    assert not (tmp_path / "none.tsv").exists()
