"""The settings of `[export.index]`: how an exported model finds items."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.indexes.storage import Dtype
from trainer.train_config import Closed

_LEAST = {"exact": 0, "inverted_file": 1, "scann": 16}
"""Items that a kind can be built of; below it is exact. ScaNN needs as many as its codes have values."""


class IndexConfig(Closed):
    """Exact search, or one that reads a few partitions of the catalogue for each query."""

    kind: Literal["auto", "exact", "inverted_file", "scann"] = "auto"
    """auto: exact for catalogues below `approximate_from` items, an inverted file from there on. scann needs a server
    with ScaNN's ops, see `export.server_ops`."""
    approximate_from: int = Field(200_000, ge=1)
    """Items from which `auto` takes an inverted file; below, reading everything costs about as little."""
    vectors: Dtype = "float32"
    """How the item vectors are kept: bfloat16 takes half, int8 a quarter of the memory; both round, also what the
    towers read of a history. serving.json has the recall against the vectors as they were."""
    partitions: int | None = Field(None, ge=1)
    """By default four times the square root of the number of items for the inverted file, once for ScaNN."""
    table: Dtype = "bfloat16"
    """How the inverted file keeps its copy of the vectors; candidates are scored again with `vectors`."""
    probes: int | None = Field(None, ge=1)
    """Partitions read for a query; by default the fewest that reach `target_recall`."""
    target_recall: float = Field(0.95, gt=0, le=1)
    """What `probes` is chosen for, measured on one half of the held-out queries."""
    min_recall: float = Field(0.9, ge=0, le=1)
    """The export is refused below this share of the exact list, measured on the other half."""
    queries: int = Field(512, ge=2)
    """Held-out histories that recall is measured with."""

    @model_validator(mode="after")
    def _a_target_above_the_least(self) -> IndexConfig:
        if self.probes is None and self.target_recall < self.min_recall:
            raise ValueError(
                f"target_recall = {self.target_recall} is below min_recall = {self.min_recall}: such an export would "
                "be refused"
            )
        return self

    def kind_for(self, items: int) -> Literal["exact", "inverted_file", "scann"]:
        """The kind for a catalogue of some size; partitions need at least one item."""
        if self.kind == "auto":
            return "inverted_file" if items >= self.approximate_from else "exact"
        return "exact" if items < _LEAST[self.kind] else self.kind
