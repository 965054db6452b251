"""Where versions are: in production, waiting, or withdrawn; and how one moves, at once, from one place to another.

A server with TensorFlow Serving's default policy serves the highest number in a model's folder. So a version is
promoted by being renamed into the folder under a number that is higher than all others, and rolled back by being
renamed out of it. A rename is one step: no server sees a moment without a version, or half of one.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from trainer import contract
from trainer.errors import ReleaseError
from trainer.export import read_facts
from trainer.publishing import publishing
from trainer.refresh.checkpoint import variable_names, write_variables
from trainer.run import write_json
from trainer.versions import CANDIDATES, WITHDRAWN, newest_version, next_version, versions

_FACTS = "_facts"


def find_candidate(model: Path, wanted: str | None) -> Path:
    """The version to promote.

    Args:
        model: Folder of versions.
        wanted: A number below `candidates/` or `withdrawn/`, or a directory; None = the newest candidate.

    Raises:
        ReleaseError: there is no such version.
    """
    if wanted is None:
        newest = newest_version(model / CANDIDATES)
        if newest is None:
            raise ReleaseError(
                f"{model / CANDIDATES} holds no version. Write one with `twotower export --candidate` or "
                "`twotower index refresh --candidate`, or name a directory with --candidate."
            )
        return newest
    places = [model / CANDIDATES / wanted, model / WITHDRAWN / wanted] if wanted.isdecimal() else []
    for place in [*places, Path(wanted)]:
        if (place / "saved_model.pb").is_file():
            return place
    raise ReleaseError(
        f"There is no candidate {wanted!r}: neither a number in {model / CANDIDATES} nor a directory with "
        "saved_model.pb."
    )


def release_number(candidate: Path, model: Path) -> int:
    """The number under which a candidate comes into production: its own, if that puts it in charge."""
    used = [*versions(model), *(n for n in versions(model / WITHDRAWN) if str(n) != candidate.name)]
    own = int(candidate.name) if candidate.name.isdecimal() else 0
    return own if own > max([0, *used]) else next_version(model)


def move_in(candidate: Path, model: Path) -> Path:
    """Puts a candidate in charge.

    On the same file system with a number that fits it is renamed. Otherwise it is copied beside its place, renamed
    there, and removed where it was.

    Returns:
        The version directory.

    Raises:
        ReleaseError: somebody else took the number meanwhile.
    """
    number = release_number(candidate, model)
    target = model / str(number)
    if str(number) == candidate.name:
        try:
            candidate.rename(target)
            return target
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise ReleaseError(f"{target} is there already; promote again.") from error
            if error.errno != errno.EXDEV:
                raise
    with publishing(model, number) as folder:
        _copy(candidate, folder, number)
    _remove(candidate)
    return target


def withdrawable(model: Path, to: int | None) -> tuple[int, list[int]]:
    """Which version would be in charge after a rollback, and which would be withdrawn for it, lowest first.

    Args:
        model: Folder of versions.
        to: The version to go back to; None = the one before the newest.

    Raises:
        ReleaseError: no version would be left, or `to` is not in production.
    """
    found = versions(model)
    keep = to if to is not None else (found[-2] if len(found) > 1 else None)
    if keep is None or keep not in found:
        what = "there is nothing to go back to" if to is None else f"there is no version {to} to go back to"
        raise ReleaseError(f"{model} holds {', '.join(map(str, found)) or 'no version'}: {what}.")
    if keep == found[-1]:
        raise ReleaseError(f"Version {keep} of {model} is in charge already.")
    return keep, [number for number in found if number > keep]


def withdraw(model: Path, numbers: Sequence[int]) -> None:
    """Takes versions out of the folder that servers watch.

    Lowest first: as long as the highest is there it stays in charge, so no server loads one in between.
    """
    (model / WITHDRAWN).mkdir(exist_ok=True)
    for number in sorted(numbers):
        (model / str(number)).rename(model / WITHDRAWN / str(number))


def restorable(model: Path) -> int:
    """The version that would be in charge again if the last withdrawal was undone.

    Raises:
        ReleaseError: none was withdrawn, or a newer one has come into production since.
    """
    withdrawn, found = versions(model / WITHDRAWN), versions(model)
    if not withdrawn:
        raise ReleaseError(f"{model / WITHDRAWN} holds no version, so there is nothing to undo.")
    if found and found[-1] > withdrawn[-1]:
        raise ReleaseError(
            f"Version {found[-1]} came into production after {withdrawn[-1]} was withdrawn. To bring {withdrawn[-1]} "
            f"back under a new number: twotower promote --model {model} --candidate {withdrawn[-1]}"
        )
    return withdrawn[-1]


def restore(model: Path, number: int) -> Path:
    """Puts a withdrawn version back in charge."""
    return (model / WITHDRAWN / str(number)).rename(model / str(number))


def _copy(candidate: Path, folder: Path, number: int) -> None:
    """Copies a version; one of ours is told its number."""
    facts = read_facts(candidate)
    if not facts or str(number) == candidate.name or _FACTS not in variable_names(candidate):
        shutil.copytree(candidate, folder, dirs_exist_ok=True)
        return
    shutil.copytree(
        candidate, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variables", "fingerprint.pb")
    )
    facts["model_version"] = number
    listed = {name: value for name, value in facts.items() if name != "signatures"}
    write_variables(folder, candidate, {_FACTS: json.dumps(listed, sort_keys=True)})
    write_json(folder / contract.EXTRA_ASSETS / contract.SERVING_FILE, facts)


def _remove(folder: Path) -> None:
    """Out of sight in one step, then file by file."""
    hidden = folder.with_name(f".tmp-promoted-{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden)
