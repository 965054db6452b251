"""Labelled texts from a CSV file."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.errors import DatasetError

_SHOWN = 5


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and what they are.

    Attributes:
        texts: [N] not empty.
        labels: [N] not empty.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def classes(self) -> tuple[str, ...]:
        """The distinct labels, by name."""
        return tuple(sorted(set(self.labels)))

    def rows(self, chosen: npt.NDArray[np.int64]) -> LabelledTexts:
        """Some of them."""
        return LabelledTexts(
            tuple(self.texts[row] for row in chosen), tuple(self.labels[row] for row in chosen)
        )

    def digest(self) -> str:
        """SHA-256 (hex) of texts and labels in their order."""
        state = hashlib.sha256()
        for pair in zip(self.texts, self.labels, strict=True):
            for part in pair:
                state.update(len(part).to_bytes(8, "little") + part.encode("utf-8", "surrogatepass"))
        return state.hexdigest()


def read_labelled(file: Path, text_column: str, label_column: str) -> LabelledTexts:
    """Reads a CSV file with a header.

    Args:
        file: UTF-8, quoted as in RFC 4180.
        text_column: Name of the column with the text.
        label_column: Name of the column with the label.

    Raises:
        DatasetError: the file cannot be read, lacks a column, has no rows, or has rows without text or label.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            _check_columns(file, reader.fieldnames or [], text_column, label_column)
            found = [
                (reader.line_num, (row[text_column] or "").strip(), (row[label_column] or "").strip())
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"Cannot read the labelled texts {file}: {error}.") from error
    if not found:
        raise DatasetError(f"{file} has a header but no rows.")
    if bad := [line for line, text, label in found if not text or not label]:
        shown = ", ".join(map(str, bad[:_SHOWN])) + (" ..." if len(bad) > _SHOWN else "")
        raise DatasetError(
            f"{file}: {len(bad):,} of {len(found):,} rows have no {text_column} or no {label_column} (lines "
            f"{shown}). Complete them or take them out."
        )
    return LabelledTexts(tuple(text for _, text, _ in found), tuple(label for _, _, label in found))


def _check_columns(file: Path, columns: object, *wanted: str) -> None:
    known = list(columns) if isinstance(columns, list | tuple) else []
    for name in wanted:
        if name not in known:
            raise DatasetError(
                f"{file} has no column {name!r}; it has {', '.join(map(repr, known)) or 'none'}. Set "
                "intent.text_column and intent.label_column."
            )


def numbers_of(labels: Sequence[str], classes: Sequence[str], file: Path) -> npt.NDArray[np.int32]:
    """int32 [N] places of labels among the classes.

    Args:
        labels: [N] names.
        classes: [C] names.
        file: Where the labels stand.

    Raises:
        DatasetError: a label is none of the classes.
    """
    place = {label: number for number, label in enumerate(classes)}
    if unknown := sorted(set(labels) - set(classes)):
        raise DatasetError(
            f"{file} has {len(unknown)} labels that the training file lacks, for example {unknown[0]!r}."
        )
    return np.asarray([place[label] for label in labels], np.int32)


def split_by_label(
    labels: tuple[str, ...], share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to learn from and rows to choose the epoch by; of each label its share, and none of a label with one row.

    Args:
        labels: [N] label of each row.
        share: Of the second part; 0 puts all rows into the first.
        seed: Of the draw.

    Returns:
        Two ascending arrays that hold each row once.

    Raises:
        DatasetError: nothing would be left to choose the epoch by.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    counts, taken = Counter(labels), Counter[str]()
    held = []
    for row in order:
        label = labels[row]
        quota = min(round(share * counts[label]), counts[label] - 1)
        if taken[label] < quota:
            taken[label] += 1
            held.append(row)
    if share and not held:
        raise DatasetError(
            f"{len(labels):,} labelled texts are too few to set {share:.0%} of each label aside for validation. Label "
            "more texts, or raise intent.validation_share."
        )
    mask = np.zeros(len(labels), bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)
