"""Where raw data can come from: the package index, an address, a zip file, a folder."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from beam_pipelines.errors import InputError
from beam_pipelines.fetching import grouplens
from beam_pipelines.fetching.archives import unpack
from beam_pipelines.fetching.cache import cached
from beam_pipelines.fetching.http import download
from beam_pipelines.fetching.wheels import MOVIELENS_100K, fetch_wheel_folder

MOVIELENS = "movielens-100k"
_TABLES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
_MAX_UNPACKED = 8 << 30

Progress = Callable[[int, int | None], None]


def find_data(source: str, cache: Path, progress: Progress) -> tuple[Path, bool]:
    """A folder with the raw files of a source.

    Args:
        source: "movielens-100k", an http(s) address of a zip file, a local zip file, or a local folder.
        cache: the cache folder.
        progress: of a download, in bytes.

    Returns:
        The folder, and whether something had to be downloaded.

    Raises:
        InputError: the source cannot be found or used.
    """
    if source == MOVIELENS:
        return cached(cache, MOVIELENS_100K.entry, lambda folder: fetch_wheel_folder(MOVIELENS_100K, folder))
    if "://" in source:
        name = f"zip-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
        return cached(cache, name, lambda folder: _download_zip(source, folder, progress))
    path = Path(source).expanduser()
    if path.is_dir():
        return path, False
    if path.is_file():
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return cached(cache, f"zip-{checksum}", lambda folder: unpack(path, folder, _MAX_UNPACKED))[0], False
    raise InputError(
        f"{source}: is no file, no folder, no http(s) address and not {MOVIELENS!r}; give one as --source."
    )


def table_files(folder: Path, working: Path) -> dict[str, Path]:
    """The files that belong into the raw folder, by name.

    GroupLens' layout is converted, RecBole's is taken as it is, and of any other folder every file is taken.

    Args:
        folder: what `find_data` gave.
        working: an empty folder for converted files.

    Raises:
        InputError: there are no files.
    """
    for place in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
        if all((place / name).is_file() for name in _TABLES):
            return {name: place / name for name in _TABLES}
        if (place / "u.data").is_file():
            grouplens.convert(place, working)
            return {name: working / name for name in _TABLES}
    found = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    if not found:
        raise InputError(f"{folder}: has no files.")
    return found


def _download_zip(address: str, folder: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="twotower-") as name:
        archive = Path(name) / "download.zip"
        download(address, archive, progress)
        unpack(archive, folder, _MAX_UNPACKED)
    if not any(folder.iterdir()):
        raise InputError(f"{address}: the zip file is empty.")
