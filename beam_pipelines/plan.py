"""Everything that is decided before the pipeline starts: files, blocks, numbers of partitions, digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.contract import digest
from beam_pipelines.errors import ConfigError
from beam_pipelines.settings import FeatureSettings, TableFiles
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
    """What one build of one split protocol reads and how it divides the work."""

    settings: FeatureSettings
    protocol: str
    events: TableInput
    items: TableInput | None
    users: TableInput | None
    shards: int
    item_shards: int

    @property
    def tables(self) -> tuple[TableInput, ...]:
        """The tables that are read."""
        return tuple(table for table in (self.events, self.items, self.users) if table is not None)


def make_plan(settings: FeatureSettings, protocol: str, data_dir: str) -> Plan:
    """Looks at the input files and plans a build.

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
        shards=settings.shards or max(_MIN_SHARDS, -(-_text_bytes(events) // _BYTES_PER_SHARD)),
        item_shards=-(-_text_bytes(items) // _ITEM_BYTES_PER_SHARD) if items else 1,
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


def _text_bytes(table: TableInput) -> int:
    return sum(
        f.size * (1 if f.compression == "none" and f.format != "parquet" else _EXPANSION) for f in table.files
    )


def input_digest(plan: Plan) -> str:
    """SHA-256 over the names and contents of all input files."""
    return digest(
        [[table.name, file.label, content_digest(file)] for table in plan.tables for file in table.files]
    )


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
        mode="json", exclude={"splits", "data_dir", "max_reject_rate"}
    )
    return digest({"name": name, "features": document, "protocol": protocol, "version": version})
