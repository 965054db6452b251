"""A catalogue whose answers can be worked out by hand."""

from __future__ import annotations

from typing import Any

from serving.client import ClientSettings
from serving.testing import FakeModel

# Item i (from 0) of 4 scores (4 - i) / 4: a 1.0, b 0.75, c 0.5, d 0.25.
CATALOGUE = {"a": "x", "b": "y", "c": "x", "d": "y"}
PATIENT = ClientSettings(deadline=20.0)


def make_model(**changes: Any) -> FakeModel:
    return FakeModel("films", CATALOGUE, user_features={"age": "float32", "job": "string"}, **changes)
