"""What the linter says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

#: error = a stock server refuses the model or fails requests that it should answer; warning = it works, at a
#: cost; note = worth knowing.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing about a SavedModel.

    Attributes:
        severity: How bad it is.
        check: The name of the check, such as ``unregistered-op``.
        where: The signature, node or file it is about.
        message: What was found, what was expected, what to do.
    """

    severity: Severity
    check: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.check} ({self.where}): {self.message}"

    def as_dict(self) -> dict[str, str]:
        """The four fields by name, for JSON."""
        return asdict(self)
