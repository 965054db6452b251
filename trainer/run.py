"""A training run's directory: what is in it, and whether it is finished.

run.json        settings, data, shape of the model; written at the start, completed at the end
checkpoints/    last (to go on from) and best (to evaluate and export)
neighbours.npz  items that the same users had, and
blend.json      how much they and the ranking head count in the order of a list
intent.npz      labels of texts told by the run's text tower
history.json    one row of metrics an epoch
logs/           TensorBoard
model_card.md   what the model is, for people
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import RunError
from trainer.evaluation.files import write_text

FORMAT, VERSION = "twotower-run", 1


@dataclass(frozen=True)
class RunDirectory:
    """One object knows the inner paths of a run."""

    path: Path

    @property
    def manifest_file(self) -> Path:
        """run.json."""
        return self.path / "run.json"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "checkpoints" / "last"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation figure."""
        return self.path / "checkpoints" / "best"

    @property
    def history_file(self) -> Path:
        """Metrics of every epoch."""
        return self.path / "history.json"

    @property
    def neighbours_file(self) -> Path:
        """Items that the same users had."""
        return self.path / "neighbours.npz"

    @property
    def blend_file(self) -> Path:
        """How much these and the ranking head count."""
        return self.path / "blend.json"

    @property
    def intent_file(self) -> Path:
        """What tells labels of texts by the run's text tower."""
        return self.path / "intent.npz"

    @property
    def logs(self) -> Path:
        """TensorBoard's folder."""
        return self.path / "logs"

    @property
    def card_file(self) -> Path:
        """The model card."""
        return self.path / "model_card.md"

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Writes run.json at once."""
        write_json(self.manifest_file, {"format": FORMAT, "version": VERSION, **manifest})

    def manifest(self) -> dict[str, Any] | None:
        """run.json, or None where no run has begun.

        Raises:
            RunError: it cannot be read, or is of another version.
        """
        if not self.manifest_file.exists():
            return None
        try:
            manifest = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"Cannot read {self.manifest_file}: {error}. Train again with --overwrite."
            ) from error
        if not isinstance(manifest, dict) or (manifest.get("format"), manifest.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise RunError(
                f"{self.manifest_file} is not a run of this version. Train again with --overwrite."
            )
        return dict(manifest)

    def begin(self, identity: str, overwrite: bool, **start: Any) -> bool:
        """Makes the run ready to be trained; one that was interrupted keeps its checkpoints.

        Args:
            identity: Of data and settings; a run of another one is removed.
            overwrite: Begin anew whatever there is.
            start: What run.json says besides.

        Returns:
            False where the run is finished, and nothing is left to do.
        """
        if not overwrite and self.is_done(identity):
            return False
        manifest = None if overwrite else self.manifest()
        if manifest is None or manifest["identity"] != identity:
            shutil.rmtree(self.path, ignore_errors=True)
        self.write_manifest({"identity": identity, **start, "finished": False})
        return True

    def is_done(self, identity: str) -> bool:
        """Whether a run of these data and settings is finished."""
        manifest = self.manifest()
        return bool(manifest and manifest["identity"] == identity and manifest.get("finished"))

    def finished(self) -> dict[str, Any]:
        """run.json of a finished run.

        Raises:
            RunError: there is no run, or it was interrupted.
        """
        manifest = self.manifest()
        if manifest is None:
            raise RunError(f"There is no training run in {self.path}. Run `twotower train` first.")
        if not manifest.get("finished"):
            raise RunError(
                f"The training run in {self.path} was interrupted. Run `twotower train` again to go on."
            )
        return manifest


def write_json(file: Path, document: Any) -> None:
    """Writes beside the final name and renames."""
    write_text(file, json.dumps(document, indent=1) + "\n")
