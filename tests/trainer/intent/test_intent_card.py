"""The card of a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.intent.card import intent_card, wilson_interval
from trainer.intent.config import IntentConfig
from trainer.intent.report import classification_report

CLASSES = ("card lost", "late", "refund")
MANIFEST = {
    "classes": list(CLASSES),
    "settings": IntentConfig(train=Path("/secret/place/train.csv"), epochs=3).model_dump(mode="json"),
    "epochs": 3,
    "best_epoch": 2,
    "seconds": 61.4,
    "validation": {"epoch": 1, "val_accuracy": 0.93333},
}
REPORT = classification_report(CLASSES, np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]))


def test_before_the_test_it_has_labels_settings_and_validation_figures():
    card = intent_card("bank", MANIFEST, None)
    assert "which of 3 labels" in card
    assert "card lost, late, refund" in card
    assert "| val_accuracy | 0.9333 |" in card
    assert "| epochs | 3 |" in card
    assert "/secret/place" not in card
    assert "Not measured yet: `twotower evaluate --task intent`" in card


def test_test_figures_have_an_interval_and_the_worst_labels_first():
    card = intent_card("bank", MANIFEST, REPORT)
    assert "4 texts: accuracy 0.7500 [0.3006, 0.9544]" in card
    rows = [line for line in card.splitlines() if line.startswith("| ") and line.count("|") == 6]
    assert [row.split(" | ")[0][2:] for row in rows] == ["label", "card lost", "late", "refund"]


def test_wilsons_interval_is_that_of_his_paper():
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share(count, data):
    share = data.draw(st.integers(0, count)) / count
    low, high = wilson_interval(share, count)
    assert -1e-9 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1 + 1e-9
