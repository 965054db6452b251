"""What the page of an evaluation shows besides its figures, taken from a trained model and its run."""

from __future__ import annotations

import json
from typing import Any

from trainer.catalogue import Catalogue
from trainer.evaluation.embedding_map import project
from trainer.evaluation.examples import pick_examples
from trainer.evaluation.extras import Extras
from trainer.evaluation.ranking import EvaluationResult
from trainer.evaluation.slices import item_groups
from trainer.measurement import Measurement
from trainer.preparation import Preparation
from trainer.run import RunDirectory

_POPULARITY = ("head", "middle", "tail", "cold")


def gather_extras(run: RunDirectory, measurement: Measurement, result: EvaluationResult) -> Extras:
    """Training curves, a map of the item vectors and lists that hit or missed.

    Args:
        run: A finished run, for its history.
        measurement: The model on its test events.
        result: What the model with its ranking head made of them.
    """
    preparation, seed = measurement.bench.preparation, measurement.config.train.seed
    exclude = measurement.config.excludes_history
    good, bad = pick_examples(
        measurement.queries,
        result.ranks,
        measurement.scorer(rerank=True, exclude_history=exclude),
        preparation.catalogue.titles,
        exclude_history=exclude,
        seed=seed,
    )
    groups = item_labels(preparation, preparation.catalogue)
    width = (
        measurement.config.train.model.embedding_dim
    )  # what the tower made; sketches of words come behind it
    vectors = measurement.item_vectors.numpy()[:, :width]
    return Extras(training_curves(run), project(vectors, groups, seed=seed), good, bad)


def training_curves(run: RunDirectory) -> dict[str, list[float]]:
    """Every figure of the run's history by name, one number an epoch; figures that some epoch lacks are left out."""
    try:
        history: list[dict[str, Any]] = json.loads(run.history_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    names = [
        name
        for name in (history[0] if history else {})
        if name != "epoch" and all(name in r for r in history)
    ]
    return {name: [float(row[name]) for row in history] for name in names}


def item_labels(preparation: Preparation, catalogue: Catalogue) -> list[str]:
    """What an item is coloured by: its first category, or without categories how popular it is."""
    categories = preparation.dataset.with_role("items", "item_category")
    if not categories:
        return [_POPULARITY[group] for group in item_groups(catalogue.counts)]
    column = catalogue.columns[categories[0].name]
    return [_first(value) or "none" for value in column]


def _first(value: Any) -> str:
    return str(value[0] if value else "") if isinstance(value, tuple) else str(value)
