"""The dataset directory: its file names, its schema, and how its metadata files are read and written.

A reader opens `dataset.json` first: it is written last, so a directory without it is unfinished.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from beam_pipelines.errors import DatasetError

FORMAT = "twotower-dataset"
VERSION = 1
SPLITS = ("train", "validation", "test")
FOLDERS = ("items", "vocab", "rejects", *(f"sequences/{split}" for split in SPLITS))
MANIFEST_FILE, STATS_FILE = "dataset.json", "stats.json"
TITLES_FILE, KEYWORDS_FILE = "titles.tsv", "keywords.tsv"

Role = Literal[
    "user_id",
    "item_id",
    "timestamp",
    "event",
    "value",
    "weight",
    "query_text",
    "event_category",
    "event_numeric",
    "item_text",
    "item_title",
    "item_category",
    "item_numeric",
    "item_vector",
    "item_keyword",
    "item_text_variant",
    "user_category",
    "user_numeric",
    "target_start",
]


@dataclass(frozen=True)
class Feature:
    """One column of a table of the dataset.

    Attributes:
        name: key in the `tf.train.Example`.
        dtype: of the values.
        shape: `()` one value, `(None,)` any number, `(n,)` exactly n.
        role: what the column means to a model.
        default: what a missing value was or is to be replaced with; None where none can be missing.
        vocabulary: file inside the dataset with the known values and their counts, or None.
        oov_buckets: number of vectors that a model keeps for values outside of the vocabulary, which share them by a
            hash of the value; with 0 such a value counts as none.
        min_count: values that training has less often are not in the vocabulary.
        description: one sentence.
    """

    name: str
    dtype: Literal["string", "int64", "float32"]
    shape: tuple[int | None, ...]
    role: Role
    description: str
    default: str | float | int | None = None
    vocabulary: str | None = None
    oov_buckets: int = 0
    min_count: int = 1

    def to_json(self) -> dict[str, Any]:
        """The entry of `schema.json`."""
        entry = asdict(self) | {"shape": list(self.shape)}
        keys = ("name", "dtype", "shape", "role", "default", "vocabulary", "description")
        cut = {"oov_buckets": self.oov_buckets, "min_count": self.min_count} if self.vocabulary else {}
        return {key: entry[key] for key in keys} | cut


@dataclass(frozen=True)
class Schema:
    """The features of the two tables of a dataset."""

    items: tuple[Feature, ...] = ()
    sequences: tuple[Feature, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of `schema.json`."""
        tables = {"items": self.items, "sequences": self.sequences}
        return {
            "format": FORMAT,
            "version": VERSION,
            "tables": {name: [f.to_json() for f in features] for name, features in tables.items()},
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Schema:
        """Reads the content of a `schema.json`."""
        tables = document["tables"]
        read = {
            name: tuple(Feature(**(entry | {"shape": tuple(entry["shape"])})) for entry in tables[name])
            for name in ("items", "sequences")
        }
        return cls(**read)


@dataclass(frozen=True)
class DatasetPaths:
    """Knows where everything in a dataset directory lies, so that nobody else joins these paths."""

    root: Path
    schema: Path = field(init=False)
    manifest: Path = field(init=False)
    stats: Path = field(init=False)
    titles: Path = field(init=False)
    keywords: Path = field(init=False)

    def __post_init__(self) -> None:
        for name, file in (
            ("schema", "schema.json"),
            ("manifest", MANIFEST_FILE),
            ("stats", STATS_FILE),
            ("titles", TITLES_FILE),
            ("keywords", KEYWORDS_FILE),
        ):
            object.__setattr__(self, name, self.root / file)


def record_suffix(compression: str) -> str:
    """Ending of record files: compression is "gzip" or "none"."""
    return ".tfrecord.gz" if compression == "gzip" else ".tfrecord"


def items_shard(index: int, shards: int, compression: str = "gzip") -> str:
    """Path of a shard of the item table inside the dataset."""
    return f"items/items-{index:05d}-of-{shards:05d}{record_suffix(compression)}"


def sequences_shard(split: str, index: int, shards: int, compression: str = "gzip") -> str:
    """Path of a shard of a split inside the dataset."""
    return f"sequences/{split}/sequences-{index:05d}-of-{shards:05d}{record_suffix(compression)}"


def vocabulary_file(feature: str) -> str:
    """Path of a feature's vocabulary inside the dataset."""
    return f"vocab/{feature}.txt"


def canonical_json(document: Any) -> str:
    """JSON with sorted keys, for files and digests: equal documents are equal bytes."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def digest(document: Any) -> str:
    """SHA-256 of a JSON document, as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(canonical_json(document).encode()).hexdigest()


def read_manifest(root: Path) -> dict[str, Any]:
    """Reads `dataset.json` of a finished dataset.

    Raises:
        DatasetError: there is no finished dataset of this format and version.
    """
    path = DatasetPaths(root).manifest
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such dataset. Build it with: twotower features build CONFIG")
    if not path.is_file():
        raise DatasetError(
            f"{root}: no dataset.json in it, so this is no finished dataset (it is written last). "
            "Build it again with: twotower features build CONFIG --overwrite"
        )
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(data: bytes, path: str) -> dict[str, Any]:
    """Checks the content of a `dataset.json`.

    Raises:
        DatasetError: it is no JSON, or of another format or version.
    """
    try:
        manifest: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error}). Build the dataset again.") from error
    found = (manifest.get("format"), manifest.get("version"))
    if found != (FORMAT, VERSION):
        raise DatasetError(f"{path}: format and version are {found}, expected {(FORMAT, VERSION)}.")
    return manifest
