"""What is asked in an evaluation: a held-out event, and the events of the same user before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
ItemArray = npt.NDArray[np.int32]

#: Stands for padding and for an item outside the catalogue.
NO_ITEM = -1


@dataclass(frozen=True)
class EvaluationQueries:
    """Held-out events of many users, each with its history.

    The history of a query is every event of the same sequence before the target, oldest first. Histories are
    not stored: they are slices of the sequences, so a million queries cost no more than their events.

    Attributes:
        items: int32 [T], catalogue indices of all events of all sequences, one sequence after the other, each
            in time order; -1 = an item outside the catalogue (skipped in histories).
        row_splits: int64 [S + 1], sequence s holds ``items[row_splits[s]:row_splits[s + 1]]``.
        sequence: int32 [Q], the sequence of each query.
        target: int64 [Q], the absolute position in ``items`` of the event that each query should predict.
        target_start: int64 [S], how many leading events of a sequence are context and no target.
        dropped_targets: held-out events that are no query because their item is outside the catalogue.
    """

    items: ItemArray
    row_splits: IntArray
    sequence: ItemArray
    target: IntArray
    target_start: IntArray
    dropped_targets: int = 0

    @classmethod
    def from_sequences(
        cls,
        items: npt.NDArray[np.integer],
        row_splits: npt.NDArray[np.integer],
        target_start: npt.NDArray[np.integer],
    ) -> EvaluationQueries:
        """Makes every event at or after `target_start` a query, with all earlier events as its history.

        Args:
            items: integer [T], catalogue indices, -1 outside the catalogue.
            row_splits: integer [S + 1], bounds of the sequences in `items`.
            target_start: integer [S], the first event of each sequence that is a target, counted from the
                sequence's own start; the sequence's length means "no target".

        Returns:
            The queries, by sequence and then by time. Targets outside the catalogue are left out and counted.

        Raises:
            ValueError: if the arrays do not describe sequences.
        """
        events = np.asarray(items, np.int32)
        splits = np.asarray(row_splits, np.int64)
        first_target = np.asarray(target_start, np.int64)
        _check_sequences(events, splits, first_target)
        lengths = np.diff(splits)
        sequence_of_event = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        is_target = np.arange(len(events)) >= (splits[:-1] + first_target)[sequence_of_event]
        target = np.flatnonzero(is_target & (events >= 0))
        dropped = int(np.count_nonzero(is_target)) - len(target)
        return cls(events, splits, sequence_of_event[target], target, first_target, dropped)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def num_sequences(self) -> int:
        """Number of sequences, those without a query included."""
        return len(self.row_splits) - 1

    @cached_property
    def _known_items(self) -> ItemArray:
        """int32 [T'], the events inside the catalogue."""
        return self.items[self.items >= 0]

    @cached_property
    def _known_before(self) -> IntArray:
        """int64 [T + 1], how many events inside the catalogue come before each position."""
        return np.concatenate([[0], np.cumsum(self.items >= 0, dtype=np.int64)])

    def _history_bounds(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """First and last+1 position of each history in the events inside the catalogue."""
        first = self.row_splits[self.sequence[start:stop]]
        return self._known_before[first], self._known_before[self.target[start:stop]]

    def target_items(self) -> ItemArray:
        """int32 [Q], the catalogue index of the item that each query should predict."""
        return self.items[self.target]

    def history_lengths(self) -> IntArray:
        """int64 [Q], the number of events inside the catalogue before each target."""
        first, last = self._history_bounds(0, len(self))
        return last - first

    def cold_users(self) -> npt.NDArray[np.bool_]:
        """Bool [Q], whether the query's user had no event at all before the first held-out one."""
        cold: npt.NDArray[np.bool_] = self.target_start[self.sequence] == 0
        return cold

    def histories(self, start: int, stop: int, max_length: int) -> ItemArray:
        """The most recent events before each target.

        Args:
            start: First query.
            stop: Last query + 1.
            max_length: Events to keep, the most recent ones.

        Returns:
            int32 [stop - start, max_length], oldest first, filled up on the right with -1.
        """
        first, last = self._history_bounds(start, stop)
        first = np.maximum(first, last - max_length)
        position = first[:, None] + np.arange(max_length)
        padded = np.append(self._known_items, np.int32(NO_ITEM))
        inside = position < last[:, None]
        return padded[np.where(inside, position, len(padded) - 1)]

    def seen(self, start: int, stop: int) -> tuple[IntArray, ItemArray]:
        """The whole histories of a range of queries as pairs, for masking or counting.

        Returns:
            row int64 [P] (0 = query `start`) and item int32 [P], ordered by row and then by time. An item
            that occurs twice in a history occurs twice here.
        """
        first, last = self._history_bounds(start, stop)
        lengths = last - first
        row = np.repeat(np.arange(len(lengths)), lengths)
        ends = np.cumsum(lengths)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return row, self._known_items[first[row] + offset]

    def take(self, indices: npt.NDArray[np.integer]) -> EvaluationQueries:
        """The queries with these numbers, over the same sequences."""
        return EvaluationQueries(
            self.items, self.row_splits, self.sequence[indices], self.target[indices], self.target_start
        )

    def sample(self, size: int, seed: int = 0) -> EvaluationQueries:
        """At most `size` queries, drawn without replacement and left in their order."""
        if size >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size, replace=False)
        return self.take(np.sort(chosen))


def _check_sequences(items: ItemArray, row_splits: IntArray, target_start: IntArray) -> None:
    if items.ndim != 1 or row_splits.ndim != 1 or target_start.ndim != 1:
        raise ValueError(
            "items, row_splits and target_start must have one dimension each, "
            f"got shapes {items.shape}, {row_splits.shape} and {target_start.shape}"
        )
    if not len(row_splits) or row_splits[0] != 0 or row_splits[-1] != len(items):
        raise ValueError(
            f"row_splits must start with 0 and end with the number of events ({len(items)}), "
            f"got {row_splits[:1].tolist()} ... {row_splits[-1:].tolist()}"
        )
    lengths = np.diff(row_splits)
    if (lengths < 0).any():
        raise ValueError(
            f"row_splits must not fall, but sequence {int(np.argmin(lengths))} has a negative length"
        )
    if len(target_start) != len(lengths):
        raise ValueError(
            f"target_start needs one entry for each of the {len(lengths)} sequences, got {len(target_start)}"
        )
    outside = (target_start < 0) | (target_start > lengths)
    if outside.any():
        bad = int(np.argmax(outside))
        raise ValueError(
            f"target_start of sequence {bad} is {target_start[bad]}, "
            f"expected a number from 0 to the sequence's length {lengths[bad]}"
        )
    if len(items) and items.min() < NO_ITEM:
        raise ValueError(f"items must be catalogue indices or -1, got {items.min()}")
