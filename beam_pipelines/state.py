"""What a dataset keeps so that new events can be added to it without reading the old files again.

`state/` holds the events as they were read, before any filter, and which files they came from.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_pipelines.errors import DatasetError, InputError
from beam_pipelines.plan import Plan, content_digest, text_bytes
from beam_pipelines.tally import Tally

FOLDER = "state"
_FACTS = f"{FOLDER}/state.json"
_READING = ("read/events", "rejects/events/", "left_out/before_window", "left_out/after_window")


@dataclass(frozen=True)
class State:
    """The state in a dataset.

    Attributes:
        root: the dataset.
        files: label of each event file that was read to its digest and its size as text in bytes.
        tally: what was counted while these files were read.
    """

    root: Path
    files: dict[str, tuple[str, int]]
    tally: Tally

    def partitions(self) -> tuple[str, ...]:
        """Paths of the Arrow files with the events."""
        return tuple(str(path) for path in sorted((self.root / FOLDER).glob("events-*.arrow")))


def state_file(partition: int, shards: int) -> str:
    """Path inside the dataset of the events of a partition."""
    return f"{FOLDER}/events-{partition:05d}-of-{shards:05d}.arrow"


def read_state(root: Path) -> State:
    """Reads the state of a dataset.

    Raises:
        DatasetError: it has none.
    """
    path = root / _FACTS
    if not path.is_file():
        raise DatasetError(
            f"{root}: keeps no state, so nothing can be appended. Set features.keep_state = true and build once "
            "with --overwrite."
        )
    facts = json.loads(path.read_text("utf-8"))
    files = {label: (digest, size) for label, (digest, size) in facts["files"].items()}
    return State(root, files, Tally.from_json(facts["tally"]))


def state_facts(plan: Plan, tally: Tally, earlier: State | None) -> tuple[str, bytes]:
    """Path and content of the file that describes the state of a new dataset.

    Args:
        plan: of the build; its event files are new.
        tally: of everything, the earlier state included.
        earlier: the state that the build extends.
    """
    files: dict[str, Any] = dict(earlier.files) if earlier else {}
    files |= {file.label: (content_digest(file), text_bytes(file)) for file in plan.events.files}
    counts = {k: v for k, v in tally.counts.items() if k.startswith(_READING)}
    return _FACTS, json.dumps({"files": files, "tally": Tally(counts).to_json()}, sort_keys=True).encode()


def only_new(plan: Plan, state: State) -> Plan:
    """The plan without the event files that the state knows.

    Raises:
        InputError: a known file has changed.
    """
    new = []
    for file in plan.events.files:
        known = state.files.get(file.label)
        if known is None:
            new.append(file)
        elif known[0] != content_digest(file):
            raise InputError(
                f"{file.path}: has changed since it was read. Only new files can be appended; build everything "
                "again with --overwrite."
            )
    labels = {file.label for file in new}
    blocks = tuple(block for block in plan.events.blocks if block.file.label in labels)
    events = dataclasses.replace(plan.events, files=tuple(new), blocks=blocks)
    return dataclasses.replace(plan, events=events, earlier=state.partitions())


def copy_rejects(state: State, building: Path) -> None:
    """Brings the rejects of the events that are not read again."""
    for path in sorted((state.root / "rejects").glob("events-*.jsonl")):
        shutil.copyfile(path, building / "rejects" / path.name)
