"""Which ops each TensorFlow Serving release registers: one text file a release, made by derive_ops.py."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_PREFIX, _SUFFIX = "serving-", ".txt"


def releases() -> tuple[str, ...]:
    """The releases with a list, such as ``2.20``, oldest first."""
    names = (path.name for path in Path(__file__).parent.glob(f"{_PREFIX}*{_SUFFIX}"))
    found = (name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names)
    return tuple(sorted(found, key=lambda release: [int(part) for part in release.split(".")]))


@lru_cache
def registered_ops(serving: str) -> frozenset[str]:
    """The names of all ops that a stock TensorFlow Serving binary of this release registers.

    Args:
        serving: A release such as ``2.20``; a patch number (``2.20.1``) is accepted and ignored.

    Raises:
        ValueError: if there is no list for this release.
    """
    release = ".".join(serving.split(".")[:2])
    if release not in releases():
        raise ValueError(
            f"there is no op list for TensorFlow Serving {serving!r}, "
            f"expected one of {', '.join(releases())}. Derive one with `python -m trainer.lint.derive_ops`."
        )
    lines = Path(__file__).with_name(f"{_PREFIX}{release}{_SUFFIX}").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
