"""A folder of downloads that later runs reuse. Every entry is complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from beam_pipelines.errors import InputError


def cache_dir(configured: str | None) -> Path:
    """The cache folder: the config's, else $TWOTOWER_CACHE, else ~/.cache/twotower."""
    chosen = configured or os.environ.get("TWOTOWER_CACHE") or "~/.cache/twotower"
    return Path(os.path.expandvars(chosen)).expanduser()


def cached(cache: Path, name: str, produce: Callable[[Path], None]) -> tuple[Path, bool]:
    """A folder of the cache, made on first use.

    Args:
        cache: the cache folder.
        name: of the entry.
        produce: fills an empty folder; when it fails or is interrupted nothing stays.

    Returns:
        The entry, and whether it had to be made.

    Raises:
        InputError: the cache cannot be written.
    """
    entry = cache / name
    if entry.is_dir():
        return entry, False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
    except OSError as error:
        raise InputError(
            f"{cache}: cannot be used as cache folder ({error.strerror}). Set TWOTOWER_CACHE."
        ) from None
    try:
        produce(working)
        working.rename(entry)
    except OSError:
        if not entry.is_dir():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return entry, True


def place(source: Path, target: Path, link: bool) -> None:
    """Puts a file at `target`; never half of one.

    Args:
        source: the file.
        target: its new place; what is there is replaced.
        link: as a hard link where the file system allows it, for files that nobody edits.
    """
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    try:
        if link:
            os.link(source, temporary)
        else:
            shutil.copyfile(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
