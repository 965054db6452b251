"""What the base path of a model holds: its version directories, filtered by policy and by completeness."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.server.versions import VersionPolicy, aspired_versions, index_versions, missing_files

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelTarget:
    """A model to serve.

    Attributes:
        name: what requests call it.
        base_path: absolute directory whose children are version directories.
        policy: which of the versions to serve.
        labels: label -> version, for requests by label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict)


class VersionSource:
    """Looks at base paths and says each thing worth a warning once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def forget_warnings(self) -> None:
        """Says everything again at the next look."""
        self._said.clear()

    def poll(self, target: ModelTarget, loaded: Collection[int] = ()) -> dict[int, Path] | None:
        """The versions to serve now.

        A directory that is not yet a whole SavedModel is left out until it is; TensorFlow Serving would try
        to load it and never look again. One that is `loaded` already stays, whatever happens to its files.

        Returns:
            Version number -> directory; None when the base path cannot be read, which changes nothing.
        """
        try:
            children = [child.name for child in target.base_path.iterdir() if child.is_dir()]
        except OSError as error:
            self._warn(
                f"Could not find base path {target.base_path} for servable {target.name} with error "
                f"{error.strerror or error}"
            )
            return None
        self._said = {text for text in self._said if not text.startswith("Could not find base path")}
        found = {
            number: child
            for number, child in index_versions(children).items()
            if number in loaded or self._is_whole(target.base_path / child)
        }
        aspired = aspired_versions(found, target.policy)
        if not aspired:
            self._warn(
                f"No versions of servable {target.name} found under base path {target.base_path}. Did you "
                "forget to name your leaf directory as a number (eg. '/1/')?"
            )
        for version in set(target.policy.versions) - set(aspired):
            self._warn(
                f"Version {version} of servable {target.name}, which was requested to be served as a "
                "'specific' version in the servable's version policy, was not found in the file system"
            )
        return {number: target.base_path / found[number] for number in aspired}

    def fingerprint(self, directory: Path) -> object:
        """Something that changes when a file below the directory does (names, sizes, times)."""
        try:
            return tuple(
                (str(path.relative_to(directory)), stat.st_size, stat.st_mtime_ns)
                for path in sorted(directory.rglob("*"))
                for stat in [path.stat()]
            )
        except OSError:
            return None

    def _is_whole(self, directory: Path) -> bool:
        try:
            missing = missing_files(directory)
        except OSError as error:
            missing = [str(error)]
        if missing:
            self._warn(
                f"{directory} is not a whole SavedModel yet and is ignored; missing: {', '.join(missing)}"
            )
        return not missing

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _LOG.warning("%s", text)
