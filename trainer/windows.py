"""Cuts histories into windows of one length, so that every event is predicted once with enough context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Windows:
    """Training windows.

    Attributes:
        positions: int64 [W, L] positions in the flat event arrays, -1 = padding on the right.
        predicted: bool [W, L] events whose prediction counts in this window; each event counts in exactly one.
        sequence: int64 [W] the user (row of `row_splits`) of each window.
    """

    positions: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.bool_]
    sequence: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence)


def cut_windows(
    row_splits: npt.NDArray[np.int64], target_start: npt.NDArray[np.int64], length: int
) -> Windows:
    """Windows of at most `length` consecutive events of a user.

    The first window of a user begins with the first event and predicts all of it; each further one repeats a quarter
    of the one before as context and predicts the rest, so every predicted event has at least `length // 4` events of
    context or the whole history.

    Args:
        row_splits: int64 [S + 1] where each user's events begin and end.
        target_start: int64 [S] the first events of a user that are context only and never predicted.
        length: L, events in a window.
    """
    context = length // 4
    step = length - context
    starts, sequences, first_predicted = [], [], []
    for row, size in enumerate(np.diff(row_splits)):
        if size == 0:
            continue
        extra = int(np.ceil(max(0, size - length) / step))
        for index in range(extra + 1):
            starts.append(index * step)
            first_predicted.append(0 if index == 0 else context)
            sequences.append(row)
    start = np.asarray(starts, np.int64)[:, None]
    sequence = np.asarray(sequences, np.int64)
    within = start + np.arange(length)
    inside = within < np.diff(row_splits)[sequence][:, None]
    predicted = inside & (np.arange(length) >= np.asarray(first_predicted, np.int64)[:, None])
    predicted &= within >= target_start[sequence][:, None]
    positions = np.where(inside, row_splits[sequence][:, None] + within, -1)
    return Windows(positions=positions, predicted=predicted, sequence=sequence)
