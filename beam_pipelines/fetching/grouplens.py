"""GroupLens' own layout of MovieLens-100k to the typed-header tables that the example config reads.

u.data: user, item, rating, timestamp with tabulators. u.item: Latin-1 with |, title with the year in
parentheses, 19 genre flags. u.user: id|age|gender|occupation|zip code. See README of ml-100k.zip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from beam_pipelines.errors import InputError

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
FILES = ("u.data", "u.item", "u.user")
_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)(?P<rest>.*)$")


def convert(source: Path, target: Path) -> None:
    """Writes ml-100k.inter, .item and .user.

    Args:
        source: folder with u.data, u.item and u.user.
        target: existing folder.

    Raises:
        InputError: a file is missing or a line has another number of fields.
    """
    for name in FILES:
        if not (source / name).is_file():
            raise InputError(
                f"{source}: has no {name}; expected the three files {', '.join(FILES)} of ml-100k."
            )
    events = (fields for fields in _fields(source / "u.data", "\t", 4))
    _write(
        target / "ml-100k.inter",
        ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
        events,
    )
    _write(
        target / "ml-100k.item",
        ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
        (_item(fields) for fields in _fields(source / "u.item", "|", 5 + len(GENRES))),
    )
    header = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
    _write(target / "ml-100k.user", header, (fields for fields in _fields(source / "u.user", "|", 5)))


def split_title(text: str) -> tuple[str, str]:
    """`Toy Story (1995)` to `Toy Story` and `1995`; what follows the year stays with the title."""
    match = _YEAR.match(text)
    if match is None:
        return text, ""
    return f"{match['title']}{match['rest'].rstrip()}", match["year"]


def _item(fields: list[str]) -> list[str]:
    title, year = split_title(" ".join(fields[1].split()))
    genres = [name for name, flag in zip(GENRES, fields[5:], strict=True) if flag == "1"]
    return [fields[0], title, year, " ".join(genres)]


def _fields(path: Path, separator: str, count: int) -> Iterator[list[str]]:
    with path.open(encoding="latin-1", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\r\n").split(separator)
            if fields == [""]:
                continue
            if len(fields) != count:
                raise InputError(f"{path}, line {number}: {len(fields)} fields, expected {count}.")
            yield fields


def _write(path: Path, header: tuple[str, ...], rows: Iterator[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        file.writelines("\t".join(row) + "\n" for row in rows)
