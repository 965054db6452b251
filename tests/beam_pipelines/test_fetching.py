from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beam_pipelines import cli
from beam_pipelines.errors import InputError
from beam_pipelines.fetching import grouplens, sources, wheels
from beam_pipelines.fetching.archives import safe_path, unpack
from beam_pipelines.fetching.cache import cached, place
from beam_pipelines.fetching.wheels import Wheel, fetch_wheel_folder

GROUPLENS = {
    "u.data": "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
    "u.item": "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1" + "|0" * 13 + "\n"
    "543|Mis\xe9rables, Les (1995)|01-Jan-1995||http://x|0" + "|0" * 7 + "|1" + "|0" * 10 + "\n"
    "1412|Land (1995) (V)|01-Jan-1995||http://x|0" + "|0" * 18 + "\n"
    "267|unknown||||1" + "|0" * 18 + "\n",
    "u.user": "1|24|M|technician|85711\n",
}
RECBOLE = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + GROUPLENS["u.data"],
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "543\tMis\xe9rables, Les\t1995\tDrama\n1412\tLand (V)\t1995\t\n267\tunknown\t\tunknown\n",
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\ttechnician\t85711\n",
}


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _grouplens_zip() -> bytes:
    return _zip({f"ml-100k/{name}": text.encode("latin-1") for name, text in GROUPLENS.items()})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWOTOWER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "config.toml"
    path.write_text(f'name = "m"\nwork_dir = "{tmp_path / "run"}"\n')
    return path


@pytest.fixture
def server() -> Iterator[dict[str, Any]]:
    """A web server on loopback; `bodies` by path, `lie` is added to the announced length."""
    site: dict[str, Any] = {"bodies": {}, "lie": 0, "requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site["requests"] += 1
            body = site["bodies"].get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"") + site["lie"]))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        site["address"] = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield site
        running.shutdown()


def _fetch(config: Path, *options: str) -> Any:
    return CliRunner().invoke(cli.fetch, [str(config), *options])


def _raw(config: Path) -> dict[str, str]:
    return {p.name: p.read_text("utf-8") for p in sorted((config.parent / "run/raw").iterdir())}


def test_grouplens_zip_becomes_the_tables_that_the_config_reads(config: Path, server: dict[str, Any]) -> None:
    server["bodies"]["/ml-100k.zip"] = _grouplens_zip()
    for _ in range(2):
        result = _fetch(config, "--source", f"{server['address']}/ml-100k.zip")
        assert result.exit_code == 0, result.output
        assert "Harper" in result.output
        assert _raw(config) == RECBOLE
    assert server["requests"] == 1  # the second time it comes from the cache


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_local_sources(config: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "zip":
        source.write_bytes(_grouplens_zip())
    else:
        source.mkdir()
        for name, text in RECBOLE.items():
            (source / name).write_text(text, "utf-8")
    assert _fetch(config, "--source", str(source)).exit_code == 0
    assert _raw(config) == RECBOLE


def test_a_download_that_is_cut_off_leaves_nothing(config: Path, server: dict[str, Any]) -> None:
    server["bodies"]["/x.zip"] = _grouplens_zip()
    server["lie"] = 10
    result = _fetch(config, "--source", f"{server['address']}/x.zip")
    assert result.exit_code == 1
    assert "Run the command again" in result.output or "cannot be downloaded" in result.output
    assert list((config.parent / "cache").iterdir()) == []
    assert not (config.parent / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "nowhere"], "is no file, no folder"),
        (["--source", "ftp://x/y.zip"], "only http and https"),
        (["--source", "{address}/missing.zip"], "404"),
        (["--source", "{address}/broken.zip"], "is no intact zip file"),
        (["--encoder", "./nothing"], "no such folder"),
        (["--encoder", "{folder}"], "is no BERT folder"),
        ([], "nothing to bring"),
    ],
)
def test_what_cannot_be_fetched_is_explained(
    config: Path, server: dict[str, Any], options: list[str], message: str
) -> None:
    server["bodies"]["/broken.zip"] = b"PK no zip"
    filled = [o.format(address=server["address"], folder=config.parent) for o in options]
    result = _fetch(config, *filled)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_an_encoder_is_a_preset_or_a_folder(config: Path, tmp_path: Path) -> None:
    result = _fetch(config, "--encoder", "bert_small_en_uncased")
    assert "nothing to fetch" in result.output.replace("\n", " ")
    folder = tmp_path / "bert"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (folder / name).write_text(name)
    assert _fetch(config, "--encoder", str(folder)).exit_code == 0
    assert (config.parent / "run/encoder/vocab.txt").read_text() == "vocab.txt"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_archives_cannot_write_outside_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside its folder"):
        safe_path(name)
    (tmp_path / "x.zip").write_bytes(_zip({"a/b": b"1", name: b"2"}))
    (tmp_path / "into").mkdir()
    with pytest.raises(InputError, match="outside its folder"):
        unpack(tmp_path / "x.zip", tmp_path / "into", 100)
    assert not list(tmp_path.rglob("evil"))


def test_archives_cannot_unpack_to_more_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(_zip({"a": bytes(600), "b": bytes(600)}))
    (tmp_path / "into").mkdir()
    unpack(tmp_path / "x.zip", tmp_path / "into", 1200)
    with pytest.raises(InputError, match="more than the 599 bytes left"):
        unpack(tmp_path / "x.zip", tmp_path / "into", 1199)


def _wheel(folder: Path) -> Wheel:
    content = _zip(
        {
            "tiny/data/a.txt": b"a",
            "tiny/other.txt": b"o",
            "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "tiny-1.0.dist-info/RECORD": b"",
        }
    )
    folder.mkdir()
    (folder / "tiny-1.0-py3-none-any.whl").write_bytes(content)
    return Wheel("tiny", "1.0", hashlib.sha256(content).hexdigest(), "tiny/data/", 10)


def test_pip_brings_the_pinned_wheel_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = _wheel(tmp_path / "links")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    entry, new = cached(tmp_path / "cache", wheel.entry, lambda folder: fetch_wheel_folder(wheel, folder))
    assert (new, [p.name for p in entry.iterdir()]) == (True, ["a.txt"])
    other = Wheel("tiny", "1.0", "0" * 64, "tiny/data/", 10)
    with pytest.raises(InputError, match=r"could not download tiny==1.0"):
        cached(tmp_path / "cache", other.entry, lambda folder: fetch_wheel_folder(other, folder))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [wheel.entry]


def test_the_cache_is_used_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / wheels.MOVIELENS_100K.entry
    entry.mkdir()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pip was called")

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    assert sources.find_data("movielens-100k", tmp_path, lambda done, total: None) == (entry, False)


def test_placing_a_file_twice_leaves_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for link in (True, True, False):
        place(tmp_path / "a", tmp_path / "to/b", link)
    assert [p.name for p in (tmp_path / "to").iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Toy Story (1995)", ("Toy Story", "1995")),
        ("Land (1995) (V)", ("Land (V)", "1995")),
        ("unknown", ("unknown", "")),
    ],
)
def test_years_are_taken_from_titles(text: str, expected: tuple[str, str]) -> None:
    assert grouplens.split_title(text) == expected


def test_a_damaged_grouplens_file_names_the_line(tmp_path: Path) -> None:
    for name, text in GROUPLENS.items():
        (tmp_path / name).write_text(text, "latin-1")
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n2|24\n")
    with pytest.raises(InputError, match=r"u.user, line 2: 2 fields, expected 5"):
        grouplens.convert(tmp_path, tmp_path)
