"""titles.tsv and keywords.tsv of a version whose catalogue has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.contract import EXTRA_ASSETS, TITLES_FILE
from trainer.refresh.plan import Plan


def read_titles(version_dir: Path) -> dict[str, str] | None:
    """The titles that a version keeps, by id; None if it keeps none."""
    file = version_dir / EXTRA_ASSETS / TITLES_FILE
    if not file.exists():
        return None
    lines = file.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 inside a title
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def changed_titles(old: Mapping[str, str] | None, titles: Mapping[str, str]) -> dict[str, str]:
    """Those titles that a version has not; none if it keeps no titles."""
    return {} if old is None else {item: title for item, title in titles.items() if old.get(item) != title}


def rewrite_titles(file: Path, old: Mapping[str, str] | None, ids: Sequence[str], plan: Plan) -> None:
    """Writes the titles of all items: those of the file of items first, then those that were there, then the ids.

    Args:
        file: Where to.
        old: The titles of the version that is refreshed, see `read_titles`; None = it keeps none.
        ids: All items.
        plan: What the file of items says.
    """
    if old is None:
        return
    titles = {**old, **plan.titles}
    if len(titles) != len(ids) or not all(map(titles.__contains__, ids)):
        titles = {item: titles.get(item, "") for item in ids}
    order = sorted(titles)  # the old file is in this order already, which Python sees at once
    file.write_text("".join([f"{item}\t{titles[item] or item}\n" for item in order]), encoding="utf-8")


def rewrite_keywords(file: Path, ids: Sequence[str], plan: Plan) -> None:
    """Keeps the keywords of the items that are described as they were; a build of features finds those of others.

    Args:
        file: Copied from the version that is refreshed, where it has one.
        ids: All items.
        plan: What the file of items says.
    """
    if not file.exists():
        return
    kept = set(ids) - {item.item_id for item in plan.embedded}
    lines = file.read_text(encoding="utf-8").split("\n")
    file.write_text(
        "".join([f"{line}\n" for line in lines if line.partition("\t")[0] in kept]), encoding="utf-8"
    )
