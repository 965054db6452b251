"""Takes files out of zip archives: nothing outside the target folder, nothing larger than allowed."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from beam_pipelines.errors import InputError

_CHUNK = 1 << 20


def unpack(archive: Path, target: Path, max_bytes: int) -> None:
    """Unpacks a zip file.

    Args:
        archive: the zip file.
        target: an existing folder; every file lands inside it.
        max_bytes: of all files together, unpacked.

    Raises:
        InputError: it is no zip file, is damaged, too large, or names a path outside `target`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if not name.endswith("/"):
                    max_bytes -= copy_member(opened, name, target / safe_path(name), max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive.name}: is no intact zip file ({error}). Download it again.") from None


def safe_path(name: str) -> Path:
    """The path of an archive member, if it stays below the folder it is unpacked into.

    Raises:
        InputError: it does not.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise InputError(f"the archive wants to write to {name!r}, outside its folder; it was not unpacked.")
    return Path(*path.parts)


def copy_member(archive: zipfile.ZipFile, name: str, target: Path, max_bytes: int) -> int:
    """Copies one member to a file; counts the bytes that come, not those that the archive claims.

    Returns:
        Its size in bytes.

    Raises:
        InputError: it is larger than `max_bytes`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(name) as source, target.open("wb") as copy:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise InputError(
                    f"{name}: the archive unpacks to more than the {max_bytes:,} bytes left for it."
                )
            copy.write(chunk)
    return size
