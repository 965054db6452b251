"""Everything that is decided before the pipeline starts: files, blocks, numbers of partitions, digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.contract import digest
from beam_pipelines.errors import ConfigError
from beam_pipelines.forgotten import NOBODY, Forgotten
from beam_pipelines.input_settings import TableFiles
from beam_pipelines.settings import FeatureSettings
from beam_pipelines.sources.files import Block, InputFile, check_columns, find_files, split_blocks
from beam_pipelines.tables import event_columns, item_columns, user_columns

_BYTES_PER_SHARD = 128 << 20
_MIN_SHARDS = 8
_ITEM_BYTES_PER_SHARD = 64 << 20
_EXPANSION = 5  # compressed text grows about fivefold


@dataclass(frozen=True)
class TableInput:
    """The files of one table and how they are read.

    Attributes:
        name: events, items or users.
        settings: how to read the files.
        columns: input columns that are needed.
        files: sorted by label.
        blocks: all parts of all files.
    """

    name: str
    settings: TableFiles
    columns: tuple[str, ...]
    files: tuple[InputFile, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Plan:
    """What one build of one split protocol reads and how it divides the work.

    Attributes:
        settings: of the features.
        protocol: leave_last_out or by_time.
        events: the table of events; None for the other two where the config has none.
        items: the table of items.
        users: the table of users.
        shards: partitions by user, and files of each split.
        item_shards: partitions by item, and files of the item table.
        earlier: Arrow files with events of an earlier build.
        rounds: how often the minimums are applied.
        threads: elements that a step works on at once; changes nothing but the speed.
        forgotten: users whose rows are left out.
        config: path of the configuration file.
    """

    settings: FeatureSettings
    protocol: str
    events: TableInput
    items: TableInput | None
    users: TableInput | None
    shards: int
    item_shards: int
    earlier: tuple[str, ...] = ()
    rounds: int = 1
    threads: int = 1
    forgotten: Forgotten = NOBODY
    config: str = ""

    @property
    def tables(self) -> tuple[TableInput, ...]:
        """The tables that are read."""
        return tuple(table for table in (self.events, self.items, self.users) if table is not None)


def make_plan(settings: FeatureSettings, protocol: str, data_dir: str, earlier_bytes: int = 0) -> Plan:
    """Looks at the input files and plans a build.

    Args:
        settings: of the features.
        protocol: leave_last_out or by_time.
        data_dir: where relative files lie.
        earlier_bytes: size of event files that were read before and may be gone.

    Raises:
        InputError: a file is missing, empty, or lacks a column that the config reads.
    """
    events = _table("events", settings.events, event_columns(settings.events), data_dir)
    items = users = None
    if settings.items is not None:
        items = _table("items", settings.items, item_columns(settings.items), data_dir)
    if settings.users is not None:
        users = _table("users", settings.users, user_columns(settings.users), data_dir)
    return Plan(
        settings=settings,
        protocol=protocol,
        events=events,
        items=items,
        users=users,
        shards=settings.shards
        or max(_MIN_SHARDS, -(-(_table_bytes(events) + earlier_bytes) // _BYTES_PER_SHARD)),
        item_shards=-(-_table_bytes(items) // _ITEM_BYTES_PER_SHARD) if items else 1,
    )


def _table(name: str, settings: TableFiles, columns: tuple[str, ...], data_dir: str) -> TableInput:
    files = find_files(settings, data_dir, name)
    for file in files:
        if settings.format == "sequences" and name != "events":
            raise ConfigError(f'features.{name}.format: "sequences" is for events only.')
        if file.format != "sequences":
            check_columns(file, columns, name)
    blocks = tuple(block for file in files for block in split_blocks(file, settings))
    return TableInput(name, settings, columns, tuple(files), blocks)


def text_bytes(file: InputFile) -> int:
    """Size of a file as uncompressed text, roughly."""
    plain = file.compression == "none" and file.format != "parquet"
    return file.size * (1 if plain else _EXPANSION)


def _table_bytes(table: TableInput) -> int:
    return sum(map(text_bytes, table.files))


def input_digest(plan: Plan, earlier: dict[str, str] | None = None) -> str:
    """SHA-256 over the names and contents of all input files.

    Args:
        plan: the files.
        earlier: label to digest of event files that were read by an earlier build.
    """
    entries = [
        [table.name, file.label, content_digest(file)] for table in plan.tables for file in table.files
    ]
    present = {label for table, label, _ in entries if table == "events"}
    gone = [
        ["events", label, checksum] for label, checksum in (earlier or {}).items() if label not in present
    ]
    return digest(sorted(entries + gone))


def content_digest(file: InputFile) -> str:
    """SHA-256 of a local file's bytes; for other file systems what they say about the file."""
    if "://" in file.path:
        metadata = FileSystems.match([file.path])[0].metadata_list[0]
        return f"{metadata.size_in_bytes}@{metadata.last_updated_in_seconds}"
    checksum = hashlib.sha256()
    with open(file.path, "rb") as stream:  # noqa: PTH123 - a plain name, as Beam gives it
        while chunk := stream.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()


def config_digest(name: str, settings: FeatureSettings, protocol: str, version: str) -> str:
    """SHA-256 over everything in the config that decides what is in a dataset."""
    document: dict[str, Any] = settings.model_dump(
        mode="json",
        exclude_defaults=True,
        exclude={"splits", "data_dir", "max_reject_rate", "report", "output_dir"},
    )
    return digest({"name": name, "features": document, "protocol": protocol, "version": version})
