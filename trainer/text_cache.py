"""Text vectors on disk, keyed by the content of the text and of the encoder, shared between runs.

A cache is a folder an encoder; new texts are added in segments of some thousands: sorted keys beside their vectors. A
segment is written beside its final name and never changes, so several runs may read and write at once, and what a
killed run has finished is there for the next one. Vectors are read through a memory map, of which several processes
share one copy.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

SEGMENT = 16_384
"""Texts of a segment: what an interruption may cost."""
_KEY_BYTES = 16  # of SHA-256: two of a billion texts collide with probability below 1e-20


class Encoder(Protocol):
    """What the cache needs of a text encoder."""

    @property
    def width(self) -> int:
        """Length of a vector."""

    def digest(self) -> str:
        """Equal digests give equal vectors."""

    def encode_all(
        self, texts: Sequence[str], batch_size: int, progress: Any = None
    ) -> npt.NDArray[np.float32]:
        """float32 [N, width] of N texts."""


def default_cache_dir() -> Path:
    """`$TWOTOWER_CACHE` or ~/.cache/twotower."""
    return Path(os.environ.get("TWOTOWER_CACHE") or Path.home() / ".cache" / "twotower")


class TextVectorCache:
    """Looks vectors up and computes what is missing.

    Args:
        encoder: Computes vectors of new texts.
        directory: The cache of all encoders; by default in the user's cache folder.
        batch_size: Texts encoded at once.
    """

    def __init__(self, encoder: Encoder, directory: Path | None = None, batch_size: int = 64) -> None:
        self._encoder = encoder
        self._batch_size = batch_size
        self._directory = (directory or default_cache_dir() / "text-vectors") / encoder.digest()[:32]

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts that are not in the cache yet, sorted."""
        keys = _keys(distinct := sorted(set(texts)))
        return [
            text
            for text, known in zip(distinct, np.isin(keys, self._stored_keys()), strict=True)
            if not known
        ]

    def vectors(self, texts: Sequence[str], progress: Any = None) -> npt.NDArray[np.float32]:
        """float32 [N, E] of N texts, encoding those that are new.

        Args:
            texts: [N] texts, repetitions allowed.
            progress: Called with the number of texts encoded after each batch.
        """
        self.add(self.missing(texts), progress)
        keys = _keys(texts)
        out = np.zeros((len(texts), self._encoder.width), np.float32)
        for folder in self._segments():
            stored = np.load(folder / "keys.npy")
            place = np.minimum(np.searchsorted(stored, keys), len(stored) - 1)
            found = stored[place] == keys
            out[found] = np.load(folder / "vectors.npy", mmap_mode="r")[place[found]]
        return out

    def add(self, texts: Sequence[str], progress: Any = None) -> None:
        """Encodes distinct texts and keeps their vectors, segment by segment.

        Args:
            texts: What `missing` answered, or part of it.
            progress: As in `vectors`.
        """
        for start in range(0, len(texts), SEGMENT):
            part = texts[start : start + SEGMENT]
            self._keep(part, self._encoder.encode_all(part, self._batch_size, progress))

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("segment-*"))

    def _stored_keys(self) -> npt.NDArray[Any]:
        stored = [np.load(folder / "keys.npy") for folder in self._segments()]
        return np.concatenate(stored) if stored else np.zeros(0, f"S{2 * _KEY_BYTES}")

    def _keep(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        keys = _keys(texts)
        order = np.argsort(keys)
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._directory, prefix="tmp-") as scratch:
            segment = Path(scratch) / "segment"
            segment.mkdir()
            np.save(segment / "keys.npy", keys[order])
            np.save(segment / "vectors.npy", vectors[order])
            name = hashlib.sha256(keys[order].tobytes()).hexdigest()[:16]
            target = self._directory / f"segment-{name}"
            try:
                segment.rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another process has just written the same
                    raise


def _keys(texts: Sequence[str]) -> npt.NDArray[Any]:
    """Hexadecimal keys: NumPy's bytes strip trailing zero bytes, hexadecimal digits have none."""
    digests = [hashlib.sha256(text.encode("utf-8")).hexdigest()[: 2 * _KEY_BYTES] for text in texts]
    return np.asarray(digests, dtype=f"S{2 * _KEY_BYTES}")
