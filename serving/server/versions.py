"""Which versions of a model should be served: version directories, policies, and what to load or unload next.

Pure functions over names and numbers; the rules are TensorFlow Serving's (file_system_storage_path_source.cc
and availability_preserving_policy.cc).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_LOG = logging.getLogger(__name__)
# What absl::SimpleAtoi accepts: blanks around, a sign, decimal digits.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the version directories found are to be served.

    Attributes:
        kind: "latest" (the `num_versions` highest), "all", or "specific" (those of `versions`).
        num_versions: for "latest"; 0 counts as 1.
        versions: for "specific"; those that are missing on disk are only warned about.
    """

    kind: Literal["latest", "all", "specific"] = "latest"
    num_versions: int = 1
    versions: tuple[int, ...] = ()


def parse_version(name: str) -> int | None:
    """The version number that a directory name stands for; None when it is not wholly an int64.

    `parse_version("00000123")` is 123; `parse_version("tmp-124")` is None, so that a version can be written
    beside its final name and renamed.
    """
    match = _INTEGER.fullmatch(name)
    if match is None:
        return None
    number = int(match.group(1))
    return number if -_INT64_MAX - 1 <= number <= _INT64_MAX else None


def index_versions(children: Iterable[str]) -> dict[int, str]:
    """Maps version number to directory name; of two names for one number the last in sorted order wins."""
    found: dict[int, str] = {}
    for child in sorted(children):
        number = parse_version(child)
        if number is None:
            continue
        if number in found:
            _LOG.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be "
                "ignored.",
                number,
                child,
                found[number],
            )
        found[number] = child
    return found


def aspired_versions(found: Mapping[int, str], policy: VersionPolicy) -> list[int]:
    """The versions to serve out of those found, highest first."""
    ordered = sorted(found, reverse=True)
    if policy.kind == "all":
        return ordered
    if policy.kind == "specific":
        return [version for version in ordered if version in policy.versions]
    return ordered[: max(policy.num_versions, 1)]


def missing_files(directory: Path) -> list[str]:
    """What a version directory still lacks to be a whole SavedModel, so that a half-written one can be told.

    Checked: `saved_model.pb` (or `.pbtxt`), and with a `variables` directory its index and every data shard
    that the shards' names promise (`variables.data-00000-of-00002` promises two).
    """
    missing = []
    if not any((directory / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        missing.append("saved_model.pb")
    variables = directory / "variables"
    if variables.is_dir():
        names = {child.name for child in variables.iterdir()}
        if names and "variables.index" not in names:
            missing.append("variables/variables.index")
        missing += [f"variables/{name}" for name in _promised_shards(names) - names]
    return sorted(missing)


def _promised_shards(names: Iterable[str]) -> set[str]:
    promised: set[str] = set()
    for name in names:
        match = re.fullmatch(r"(variables\.data)-\d{5}-of-(\d{5})", name)
        if match:
            count = int(match.group(2))
            promised |= {f"{match.group(1)}-{index:05d}-of-{count:05d}" for index in range(count)}
    return promised


@dataclass(frozen=True)
class VersionSnapshot:
    """What the policy below needs to know of one version.

    Attributes:
        version: its number.
        aspired: whether it should be served.
        state: "new" (never loaded), "ready", or "other" (loading, unloading, ended).
    """

    version: int
    aspired: bool
    state: Literal["new", "ready", "other"]


def next_action(versions: Sequence[VersionSnapshot]) -> tuple[Literal["load", "unload"], int] | None:
    """The next step that keeps at least one version served: load the new before the old is unloaded.

    Returns:
        ("load" | "unload", version), or None when there is nothing to do.
    """
    ready_old = [v.version for v in versions if not v.aspired and v.state == "ready"]
    has_aspired = any(v.aspired for v in versions)
    has_aspired_ready = any(v.aspired and v.state == "ready" for v in versions)
    if ready_old and (not has_aspired or has_aspired_ready or len(ready_old) > 1):
        return "unload", min(ready_old)
    new = [v.version for v in versions if v.aspired and v.state == "new"]
    return ("load", max(new)) if new else None
