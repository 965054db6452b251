"""`model_card.md` of a classifier of texts (Mitchell et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.evaluation.files import write_text
from trainer.intent.config import IntentConfig
from trainer.model_card import software
from trainer.run import RunDirectory

_SHOWN = 5
_FILES = ("train", "test", "encoder")


def write_intent_card(
    run: RunDirectory, name: str, manifest: Mapping[str, Any], report: Mapping[str, Any] | None = None
) -> None:
    """Writes the card into the run, replacing an older one at once.

    Args:
        run: The run.
        name: Of the model.
        manifest: run.json of the finished run.
        report: What `classification_report` said of the test file; without it the card has validation figures alone.
    """
    write_text(run.card_file, intent_card(name, manifest, report))


def intent_card(name: str, manifest: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    """The card as Markdown; arguments as in `write_intent_card`."""
    classes, settings = manifest["classes"], manifest["settings"]
    lines = [
        f"# Model card: {name}, labels of texts",
        "",
        f"A BERT with one dense layer on the mean of its last layer, fine-tuned on {Path(settings['train']).name}: it "
        f"says which of {len(classes)} labels a text has.",
        "",
        "## Intended use",
        "",
        "Texts like those it learned from, in the same language. It always names one of its labels, also for a text "
        "that has none of them; callers set a least score. It is not meant for decisions about people.",
        "",
        "## Training",
        "",
        f"{manifest['epochs']} epochs in {manifest['seconds']:,.0f} seconds; the best by validation accuracy is epoch "
        f"{manifest['best_epoch']}. Figures of that epoch on the share of the file that was held out:",
        "",
        *_table(("figure", "value"), _figures(manifest["validation"])),
        "",
        "## Test figures",
        "",
        *_test(report),
        "",
        "## Limits",
        "",
        f"- Texts are cut to {settings['max_tokens']} word pieces.",
        "- Labels with few examples are guessed worse than the mean says; groups of people were not measured apart.",
        "",
        "## Labels",
        "",
        ", ".join(str(label) for label in classes),
        "",
        "## Settings",
        "",
        *_table(("field of [intent]", "value"), _changed(settings)),
        "",
        "## Versions",
        "",
        f"{software()}. Seed {settings['seed']}.",
    ]
    return "\n".join(lines) + "\n"


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % bounds of a share of so many independent trials (Wilson 1927)."""
    if count == 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _test(report: Mapping[str, Any] | None) -> Iterator[str]:
    if report is None:
        yield "Not measured yet: `twotower evaluate --task intent` fills this part in."
        return
    low, high = wilson_interval(report["accuracy"], report["texts"])
    yield (
        f"{report['texts']:,} texts: accuracy {report['accuracy']:.4f} [{low:.4f}, {high:.4f}] (95 % by Wilson), macro "
        f"F1 {report['macro_f1']:.4f}. Lowest F1:"
    )
    yield ""
    seen = sorted((row for row in report["classes"] if row["support"]), key=lambda row: row["f1"])[:_SHOWN]
    names = ("precision", "recall", "f1")
    rows = ((row["label"], *(f"{row[name]:.3f}" for name in names), str(row["support"])) for row in seen)
    yield from _table(("label", *names, "texts"), rows)


def _figures(validation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, f"{value:.4f}") for name, value in validation.items() if name != "epoch")


def _changed(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that differ from the defaults, and the files by their names alone."""
    defaults = IntentConfig(train=Path()).model_dump(mode="json")
    for name, value in settings.items():
        if name in _FILES:
            yield name, Path(value).name if value else "default"
        elif value != defaults.get(name):
            yield name, str(value)


def _table(header: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
