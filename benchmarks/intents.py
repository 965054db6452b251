"""Labels and answers by a text encoder as it came: what fine-tuning has to beat on labelled texts.

    python benchmarks/intents.py examples/customer-service.toml

A dense layer on frozen vectors (what `tower = "recommender"` learns), and the nearest known texts by cosine
and by BM25.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from trainer.evaluation.baselines.item_text import ItemText, TextIndex
from trainer.intent.answers import answer_figures
from trainer.intent.labelled import numbers_of, read_labelled
from trainer.intent.on_recommender import fit_head
from trainer.intent.project import load_intent_project
from trainer.intent.report import classification_report
from trainer.intent.vectors import unit
from trainer.text_encoder import load_text_encoder

_BATCH = 256


@click.command()
@click.argument("config", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(config: Path, file: Path | None) -> None:
    """Measure an encoder on the training and test texts of CONFIG."""
    console, project = Console(), load_intent_project(config)
    settings = project.intent
    assert settings.test is not None
    encoder = load_text_encoder(
        project.encoder(), max_tokens=settings.max_tokens, max_characters=settings.max_characters
    )
    known, asked = (
        read_labelled(source, settings.text_column, settings.label_column)
        for source in (settings.train, settings.test)
    )
    classes = known.classes()
    labels = [numbers_of(part.labels, classes, settings.train) for part in (asked, known)]
    vectors = [unit(encoder.encode_all(part.texts, _BATCH)) for part in (asked, known)]
    words = ItemText(TextIndex(known.texts, "bm25"))
    began = time.process_time()
    head = fit_head(vectors[1], labels[1], classes, settings)
    seconds = time.process_time() - began
    report = classification_report(classes, labels[0], head.most_likely(vectors[0]))
    shown = {
        "dense layer on frozen vectors": {name: report[name] for name in ("accuracy", "macro_f1")}
        | {"cpu_seconds": seconds},
        "cosine": answer_figures(lambda part: vectors[0][part] @ vectors[1].T, *labels),
        "BM25": answer_figures(lambda part: words.score_texts(asked.texts[part]), *labels),
    }
    for name, figures in shown.items():
        console.print(name, {key: round(float(np.float64(value)), 4) for key, value in figures.items()})
    if file is not None:
        file.write_text(json.dumps(shown, indent=1) + "\n")


if __name__ == "__main__":
    main()
