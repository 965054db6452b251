"""Reads what a dataset directory (contract A) says about itself; opens no record.

One object knows the directory's inner paths, so that nothing else joins them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.contract import (
    DATASET_FILE,
    DATASET_FORMAT,
    DATASET_VERSION,
    KEYWORDS_FILE,
    ROLES,
    SCHEMA_FILE,
    TITLES_FILE,
)
from trainer.errors import DatasetError

_DTYPES = ("string", "int64", "float32")


@dataclass(frozen=True)
class Feature:
    """One column of a table.

    Attributes:
        name: Unique in its table; the name of the tf.train.Example feature and of the model's input.
        role: What it means, one of `contract.ROLES`.
        dtype: "string", "int64" or "float32".
        shape: () a scalar, (None,) a list of any length, (n,) a list of n.
        default: Value of a scalar that is missing.
        vocabulary: File with `value<TAB>count` lines, relative to the directory, or None.
        oov_buckets: Vectors that values outside of the vocabulary share by a hash; with 0 they count as no value.
    """

    name: str
    role: str
    dtype: str
    shape: tuple[int | None, ...]
    default: str | int | float | None = None
    vocabulary: str | None = None
    oov_buckets: int = 0


@dataclass(frozen=True)
class DatasetDirectory:
    """A complete dataset directory.

    Attributes:
        path: The directory.
        items: Columns of the items table.
        sequences: Columns of the sequences tables.
        manifest: Contents of dataset.json.
    """

    path: Path
    items: tuple[Feature, ...]
    sequences: tuple[Feature, ...]
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> DatasetDirectory:
        """Reads schema.json and dataset.json and checks that they fit.

        Raises:
            DatasetError: the directory is missing, incomplete, or of another format or version.
        """
        path = Path(path)
        if not path.is_dir():
            raise DatasetError(f"There is no dataset directory {path}. Run `twotower features build` first.")
        if not (path / DATASET_FILE).is_file():
            raise DatasetError(
                f"{path} is not a complete dataset directory: {DATASET_FILE}, which is written last, is missing. "
                "Run `twotower features build` again."
            )
        manifest = _read_json(path / DATASET_FILE)
        schema = _read_json(path / SCHEMA_FILE)
        for name, document in ((DATASET_FILE, manifest), (SCHEMA_FILE, schema)):
            _check_version(path / name, document)
        tables = schema.get("tables", {})
        dataset = cls(
            path=path,
            items=_features(tables.get("items"), path, "items"),
            sequences=_features(tables.get("sequences"), path, "sequences"),
            manifest=manifest,
        )
        for table, role in (("items", "item_id"), ("sequences", "item_id"), ("sequences", "target_start")):
            if dataset.one(table, role) is None:
                raise DatasetError(
                    f"{path / SCHEMA_FILE}: the table {table!r} has no feature with the role {role!r}."
                )
        return dataset

    def table(self, table: str) -> tuple[Feature, ...]:
        """The columns of "items" or "sequences"."""
        return self.items if table == "items" else self.sequences

    def with_role(self, table: str, role: str) -> tuple[Feature, ...]:
        """All columns of a table that play a role."""
        return tuple(feature for feature in self.table(table) if feature.role == role)

    def one(self, table: str, role: str) -> Feature | None:
        """The first column of a table that plays a role, or None."""
        return next(iter(self.with_role(table, role)), None)

    def files(self, split: str) -> list[str]:
        """Record files of "items", "train", "validation" or "test", sorted.

        Raises:
            DatasetError: dataset.json does not list the split, or lists files that are not there.
        """
        entry = self.manifest["items"] if split == "items" else self.manifest["splits"].get(split)
        if entry is None:
            raise DatasetError(f"{self.path / DATASET_FILE} lists no split {split!r}.")
        files = sorted(self.path.glob(entry["pattern"]))
        if len(files) != entry["shards"]:
            raise DatasetError(
                f"{self.path}: {split} should have {entry['shards']} files {entry['pattern']}, found {len(files)}. "
                "The directory was changed after it was built; run `twotower features build --overwrite`."
            )
        return [str(file) for file in files]

    def vocabulary(self, feature: Feature) -> tuple[list[str], list[int]]:
        """Values and training counts of a vocabulary, most frequent first."""
        if feature.vocabulary is None:
            raise DatasetError(
                f"{self.path / SCHEMA_FILE}: the feature {feature.name!r} names no vocabulary."
            )
        file = self.path / feature.vocabulary
        try:
            lines = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").split("\n") if line]
            return [value for value, _ in lines], [int(count) for _, count in lines]
        except (OSError, ValueError) as error:
            raise DatasetError(f"Cannot read the vocabulary {file}: {error}.") from error

    @property
    def keywords_file(self) -> Path:
        """Categories and keywords of the items, for sentences; only where the dataset has keywords."""
        return self.path / KEYWORDS_FILE

    @property
    def titles_file(self) -> Path:
        """`item_id<TAB>title` lines, for people to read."""
        return self.path / TITLES_FILE

    @property
    def digest(self) -> str:
        """Identifies the data: schema, configuration, input and seed together."""
        keys = ("schema_digest", "config_digest", "input_digest", "protocol", "seed")
        return "/".join(str(self.manifest.get(key)) for key in keys)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"Cannot read {file}: {error}. Run `twotower features build --overwrite`."
        ) from error
    if not isinstance(document, dict):
        raise DatasetError(f"{file} should hold a JSON object, it holds a {type(document).__name__}.")
    return document


def _check_version(file: Path, document: dict[str, Any]) -> None:
    came = (document.get("format"), document.get("version"))
    if came != (DATASET_FORMAT, DATASET_VERSION):
        raise DatasetError(
            f"{file}: expected format {DATASET_FORMAT!r} version {DATASET_VERSION}, "
            f"got {came[0]!r} version {came[1]!r}."
        )


def _features(entries: Any, path: Path, table: str) -> tuple[Feature, ...]:
    if not isinstance(entries, list):
        raise DatasetError(f"{path / SCHEMA_FILE} describes no table {table!r}.")
    return tuple(_feature(entry, path) for entry in entries)


def _feature(entry: Any, path: Path) -> Feature:
    if not isinstance(entry, dict) or not {"name", "role", "dtype", "shape"} <= set(entry):
        raise DatasetError(
            f"{path / SCHEMA_FILE}: expected a feature with name, role, dtype and shape, got {json.dumps(entry)}."
        )
    feature = Feature(
        name=entry["name"],
        role=entry["role"],
        dtype=entry["dtype"],
        shape=tuple(entry["shape"]),
        default=entry.get("default"),
        vocabulary=entry.get("vocabulary"),
        oov_buckets=entry.get("oov_buckets", 0),
    )
    if feature.role not in ROLES or feature.dtype not in _DTYPES or len(feature.shape) > 1:
        raise DatasetError(
            f"{path / SCHEMA_FILE}: feature {feature.name!r} has role {feature.role!r}, dtype {feature.dtype!r}, "
            f"shape {list(feature.shape)}; expected a role of {', '.join(ROLES)}, a dtype of {', '.join(_DTYPES)}, "
            "and shape [], [null] or [n]."
        )
    return feature
