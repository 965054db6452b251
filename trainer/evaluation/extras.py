"""What the page shows besides figures: training curves, a map of the item vectors, single lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trainer.evaluation.embedding_map import EmbeddingMap
from trainer.evaluation.examples import Example


@dataclass(frozen=True)
class Extras:
    """Parts of the page that are left out where they are missing.

    Attributes:
        training_curves: by name, one number an epoch.
        embedding_map: item vectors on a plane.
        good_examples: lists that hit.
        bad_examples: lists that missed.
    """

    training_curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    embedding_map: EmbeddingMap | None = None
    good_examples: Sequence[Example] = ()
    bad_examples: Sequence[Example] = ()

    def to_json(self) -> dict[str, Any]:
        """As reports hold it, points rounded to six digits."""
        found = self.embedding_map
        return {
            "training_curves": {name: list(values) for name, values in self.training_curves.items()},
            "embedding_map": {
                "points": [[float(f"{value:.6g}") for value in point] for point in found.points],
                "groups": list(found.groups),
                "explained": found.explained,
            }
            if found is not None
            else None,
            "good_examples": [asdict(example) for example in self.good_examples],
            "bad_examples": [asdict(example) for example in self.bad_examples],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Extras:
        """Reads what `to_json` gave."""
        found = document.get("embedding_map")
        return cls(
            document.get("training_curves", {}),
            EmbeddingMap(np.array(found["points"], np.float64), tuple(found["groups"]), found["explained"])
            if found
            else None,
            *(
                [_example(entry) for entry in document.get(f"{kind}_examples", ())]
                for kind in ("good", "bad")
            ),
        )


def _example(entry: Mapping[str, Any]) -> Example:
    return Example(tuple(entry["history"]), entry["wanted"], entry["rank"], tuple(entry["shown"]))
