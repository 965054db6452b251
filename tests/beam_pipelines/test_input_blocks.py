from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.errors import InputError
from beam_pipelines.input_settings import TableFiles
from beam_pipelines.sources.files import find_files, split_blocks
from beam_pipelines.sources.records import read_records

CSV = "user,item\nu1,a\nu2,b\n\nu3,c"


def _read(
    folder: Path, name: str, needed: tuple[str, ...] = ("user", "item"), block: int = 1 << 20, **spec: Any
) -> Any:
    """All rows, and (line, reason) of all rejects, with lines counted from 1 through the file."""
    settings = TableFiles(files=(name,), **spec)
    rows, rejects = [], []
    for file in find_files(settings, str(folder), "events"):
        line = int(file.body > 0) + 1
        for one in split_blocks(file, settings, block):
            records = read_records(one, settings, needed)
            rows += [tuple(row.values()) for row in records.table.to_pylist()]
            rejects += [(line + reject.line, reject.reason) for reject in records.rejects]
            line += records.lines
    return rows, sorted(rejects)


ROWS = [("u1", "a"), ("u2", "b"), ("u3", "c")]


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("plain.csv", CSV.encode()),
        ("e.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("e.csv.bz2", bz2.compress(CSV.encode())),
        ("e.csv.xz", lzma.compress(CSV.encode())),
        ("e.csv.zst", zstandard.compress(CSV.encode())),
        ("e.tsv", CSV.replace(",", "\t").encode()),
        ("e.csv", ("\ufeff" + CSV.replace("\n", "\r\n")).encode()),
        ("e.inter", CSV.replace("user,item", "user:token\titem:token").replace(",", "\t").encode()),
        (
            "e.jsonl",
            b'{"user":"u1","item":"a"}\n{"user": "u2", "item": "b", "x": 1}\n\n{"user":"u3","item":"c"}',
        ),
    ],
)
def test_formats_and_compressions_give_the_same_rows(tmp_path: Path, name: str, packed: bytes) -> None:
    (tmp_path / name).write_bytes(packed)
    assert _read(tmp_path, name) == (ROWS, [])


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"user": ["u1", "u2", "u3"], "item": ["a", "b", "c"]}),
        tmp_path / "e.parquet",
        row_group_size=2,
    )
    assert _read(tmp_path, "e.parquet") == (ROWS, [])


def test_a_glob_reads_every_file(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"e{i}.csv").write_text(f"user,item\nu{i},x\n")
    assert _read(tmp_path, "e*.csv")[0] == [("u0", "x"), ("u1", "x"), ("u2", "x")]


def test_files_without_header_and_with_other_delimiters(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("u1;a\n'u;2';b\n")
    rows = _read(tmp_path, "e.csv", header=False, column_names=("user", "item"), delimiter=";", quote="'")[0]
    assert rows == [("u1", "a"), ("u;2", "b")]


def test_latin_1_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes("user,item\nu1,Café\n".encode("latin-1"))
    assert _read(tmp_path, "e.csv", encoding="latin-1")[0] == [("u1", "Café")]


def test_quoted_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text('user,item\n"u\n1",a\nbad\nu2,b\n')
    rows, rejects = _read(tmp_path, "e.csv", newlines_in_values=True)
    assert rows == [("u\n1", "a"), ("u2", "b")]
    assert rejects == [(4, "expected_2_columns_found_1")]


lines = st.lists(st.sampled_from(["u1,a", "u22,bb", "", "short", "a,b,c", "é,ü", "u,\udcff"]), max_size=12)


@given(lines, st.integers(1, 40), st.booleans())
def test_rows_and_rejects_do_not_depend_on_the_blocks(
    texts: list[str], block: int, last_newline: bool
) -> None:
    import tempfile

    body = "\n".join(texts) + ("\n" if last_newline else "")
    expected_rows = [tuple(t.split(",")) for t in texts if t.count(",") == 1 and "\udcff" not in t]
    reasons = {
        "short": "expected_2_columns_found_1",
        "a,b,c": "expected_2_columns_found_3",
        "u,\udcff": "invalid_encoding",
    }
    expected_rejects = [(i + 2, reasons[t]) for i, t in enumerate(texts) if t in reasons]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "e.csv").write_bytes(("user,item\n" + body).encode("utf-8", "surrogateescape"))
        assert _read(Path(name), "e.csv", block=block) == (expected_rows, expected_rejects)


def test_json_lines_keep_numbers_as_written_and_walk_into_objects(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(
        '{"user": {"id": 17850}, "item": 1.50}\n[1]\nnot json\n{"item": "\\ud800"}\n{}\n'
    )
    rows, rejects = _read(tmp_path, "e.jsonl", needed=("user.id", "item"))
    assert rows == [("17850", "1.50"), ("", "")]
    assert rejects == [(2, "no_json_object"), (3, "no_json_object"), (4, "invalid_encoding")]


def test_sequence_lines_become_events_in_order(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("u1 a b\nlonely\nu2 c\n")
    rows, rejects = _read(tmp_path, "s.txt", format="sequences")
    assert rows == [("u1", "a", 0), ("u1", "b", 1), ("u2", "c", 0)]
    assert rejects == [(2, "no_items_in_line")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.csv", None, "nothing matches"),
        ("e.csv", b"", "the file is empty"),
        ("e.dat", b"x", "cannot tell the format"),
        ("e.csv", b"\xff\xfe,x\n", "the header is not utf-8"),
        ("e.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_unusable_files_are_explained(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        _read(tmp_path, name)
