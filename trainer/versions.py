"""Version directories of a served model: names that are whole numbers, as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path


def versions(base: Path) -> list[int]:
    """Numbers of the versions below a model's folder, lowest first."""
    if not base.is_dir():
        return []
    return sorted(int(child.name) for child in base.iterdir() if child.is_dir() and child.name.isdecimal())


def newest_version(base: Path) -> Path | None:
    """Folder of the highest version, None without one."""
    found = versions(base)
    return base / str(found[-1]) if found else None


def next_version(base: Path) -> int:
    """The number of the version to be written."""
    found = versions(base)
    return found[-1] + 1 if found else 1
