"""`model_card.md`: what a trained model is, what it was measured to do and where it ends (Mitchell et al. 2019)."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.evaluation.files import write_text
from trainer.evaluation.report import Report
from trainer.model_card_figures import figures, limits
from trainer.run import RunDirectory
from trainer.train_config import TrainConfig

_LIBRARIES = ("twotower", "tensorflow", "keras", "tensorflow-recommenders", "numpy")


def write_model_card(
    run: RunDirectory,
    config: ProjectConfig,
    dataset: DatasetDirectory,
    manifest: Mapping[str, Any],
    report: Report | None = None,
) -> None:
    """Writes the card into the run, replacing an older one at once.

    Args:
        run: The run; its history is not read.
        config: The configuration file.
        dataset: What the model was trained on.
        manifest: run.json of the finished run.
        report: The evaluation on test events; without one the card has validation figures alone.
    """
    write_text(run.card_file, model_card(config, dataset, manifest, report))


def model_card(
    config: ProjectConfig, dataset: DatasetDirectory, manifest: Mapping[str, Any], report: Report | None
) -> str:
    """The card as Markdown; arguments as in `write_model_card`."""
    protocol = str(dataset.manifest.get("protocol", "unknown"))
    lines = [
        f"# Model card: {config.name}, {protocol}",
        "",
        "A two-tower recommender: a query tower (causal Transformer over the history, user features, free text) and an "
        "item tower meet in a product that retrieves; a ranking head re-orders what was retrieved.",
        "",
        "## Intended use",
        "",
        f"Lists of items of the catalogue of `{config.name}` for users with a history of events, for new users by what "
        "they type, for items like a given one. It was measured at guessing what a user takes next, nothing else: "
        "whether lists are good for people, or fair to those who offer items, has to be judged apart. It is not meant "
        "for decisions about people.",
        "",
        "## Data",
        "",
        *_data(dataset),
        "",
        "## Training",
        "",
        *_training(manifest),
        "",
        *figures(report),
        "",
        "## Limits",
        "",
        *limits(report),
        "",
        "## Settings",
        "",
        *_settings(manifest["settings"]),
        "",
        "## Versions",
        "",
        f"{software()}. Seed {manifest['settings']['seed']}; the "
        "same seed, data, settings and machine give the same weights bit by bit.",
    ]
    return "\n".join(lines) + "\n"


def _data(dataset: DatasetDirectory) -> Iterator[str]:
    manifest = dataset.manifest
    yield f"Dataset `{manifest.get('name', dataset.path.name)}`, split {manifest.get('protocol', 'unknown')}, "
    yield f"digest `{dataset.digest}`; {_count(manifest['items'].get('count'))} items."
    yield ""
    yield "| split | users | events | targets | from | to |"
    yield "|---|---|---|---|---|---|"
    for name, split in manifest["splits"].items():
        counts = (_count(split.get(key)) for key in ("users", "events", "targets"))
        days = (_day(split.get(key)) for key in ("min_timestamp", "max_timestamp"))
        yield f"| {name} | {' | '.join((*counts, *days))} |"


def _training(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{manifest['epochs']} epochs in {manifest['seconds']:,.0f} seconds; the best by validation NDCG@10 is epoch "
        f"{manifest['best_epoch']}. Text encoder: {manifest['encoder_digest'] or 'none'}. Figures of that epoch on a "
        "sample of the validation events:"
    )
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    for name, value in manifest["validation"].items():
        if name != "epoch":
            yield f"| {name} | {value:.4f} |"


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Those that differ from the defaults; all of them are in run.json."""
    changed = dict(_differences(settings, TrainConfig().model_dump(mode="json")))
    if not changed:
        yield "The defaults of this version."
        return
    yield "Where they differ from the defaults of this version (all of them are in run.json):"
    yield ""
    yield "| field of [train] | value |"
    yield "|---|---|"
    for name, value in changed.items():
        yield f"| {name} | {value} |"


def _differences(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            yield from _differences(value, default, f"{prefix}{name}.")
        elif value != default:
            yield f"{prefix}{name}", value


def software() -> str:
    """Python and the libraries that a model was made with, and their versions."""
    return f"Python {platform.python_version()}, {', '.join(_versions())}"


def _versions() -> Iterator[str]:
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed as a package"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _day(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).date().isoformat()
