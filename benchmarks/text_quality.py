"""What each kind of text tower brings, and what it costs: Amazon Beauty, a part of its users, the same epochs for all.

    python benchmarks/text_quality.py --data $TWOTOWER_DATA/amazon-beauty --encoder runs/movielens-100k/encoder

Takes every tenth user of the 5-core file with the items they bought, builds a dataset from them, and trains
`examples/amazon-beauty.toml` with small batches, without ranking head and text queries, once for each kind: no text,
frozen BERT (also with the two rules that update tables by rows), frozen BERT and a vector a word, and the modes in
which BERT learns, frozen for the first epochs.
Quality is that of retrieval on validation events, cost the processor seconds of the training. What has been trained is
not trained again: `figures.json` grows, and `report.html` shows it.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
EXAMPLE = ROOT / "examples" / "amazon-beauty.toml"
_WORDS = {"words": 20_000, "word_dropout": 0.2}
KINDS: dict[str, dict[str, Any]] = {
    "no text": {"item": {"text": False, "whiten_text": False}},
    "frozen": {},
    "frozen, words": {"item": _WORDS},
    "frozen, lazy_adam": {"train": {"table_optimizer": "lazy_adam"}},
    "frozen, adagrad": {"train": {"table_optimizer": "adagrad"}},
    "top_layers": {"mode": "top_layers"},
    "lora": {"mode": "lora"},
    "full": {"mode": "full"},
}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--data", type=_FOLDER, required=True, help="Folder of sequential.txt.xz and items.tsv.xz.")
@click.option("--encoder", type=_FOLDER, required=True, help="A BERT.")
@click.option("--keep", type=click.Path(path_type=Path), default=Path("runs/text-quality"), show_default=True)
@click.option("--every", default=10, show_default=True, help="Take each user whose line is a multiple of it.")
@click.option("--frozen-epochs", default=5, show_default=True, help="In which no BERT learns.")
@click.option("--learning-epochs", default=1, show_default=True, help="After them.")
@click.option("--max-tokens", default=12, show_default=True, help="Word pieces of a title.")
@click.option("--only", multiple=True, type=click.Choice(list(KINDS)), help="Train these kinds alone.")
def main(
    data: Path,
    encoder: Path,
    keep: Path,
    every: int,
    frozen_epochs: int,
    learning_epochs: int,
    max_tokens: int,
    only: tuple[str, ...],
) -> None:
    """Trains, and writes figures and report."""
    keep = keep.resolve()
    if not (keep / "runs").exists():
        take_part(data, keep / "data" / "amazon-beauty", every)
        command = [sys.executable, str(ROOT / "twotower.py"), "features", "build", str(EXAMPLE)]
        subprocess.run(command, cwd=keep, env={**os.environ, "TWOTOWER_DATA": str(keep / "data")}, check=True)
    for kind in only or KINDS:
        if kind not in _known(keep):
            text = {"encoder": str(encoder.resolve()), "max_tokens": max_tokens, "warmup_steps": 20}
            found = trained(kind, keep, text, frozen_epochs, learning_epochs)
            figures = _known(keep) | {kind: found}  # another process may have added kinds meanwhile
            (keep / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    show(_known(keep), keep / "report.html")


def take_part(data: Path, folder: Path, every: int) -> None:
    """Every so many users, and the items that they bought."""
    folder.mkdir(parents=True)
    lines = _lines(data / "sequential.txt.xz")[::every]
    bought = {item for line in lines for item in line.split()[1:]}
    head, *rows = _lines(data / "items.tsv.xz")
    kept = [row for row in rows if row.split("\t")[0] in bought]
    for name, part in (("sequential.txt.xz", lines), ("items.tsv.xz", [head, *kept])):
        with lzma.open(folder / name, "wt", encoding="utf-8") as file:
            file.write("\n".join(part) + "\n")


def _lines(file: Path) -> list[str]:
    with lzma.open(file, "rt", encoding="utf-8") as text:
        return text.read().splitlines()


def trained(
    kind: str, keep: Path, text: dict[str, Any], frozen_epochs: int, learning_epochs: int
) -> dict[str, Any]:
    """Trains one kind: validation figures of every epoch, and processor seconds."""
    from trainer.config import load_config
    from trainer.run import RunDirectory
    from trainer.training import train

    changes = KINDS[kind]
    mode = changes.get("mode", "frozen")
    project = load_config(EXAMPLE)
    document = project.train.model_dump(mode="json")
    document |= {"epochs": frozen_epochs + learning_epochs, "patience": 99, "batch_size": 32}
    document |= changes.get("train", {})
    document["text"] |= text | {"mode": mode, "unfreeze_after": 0 if mode == "frozen" else frozen_epochs}
    document["retrieval"] |= {"queries_per_step": 512, "uniform_negatives": 32}
    document["ranking"] |= {"weight": 0.0, "value_weight": 0.0}
    document["long_tail"] |= {"logit_adjustment": 0.3}  # by which frozen BERT gains 16 %
    document["model"] |= {"query_text": False, "lexical_width": 0}
    document["model"]["item"] |= {"words": 0, **changes.get("item", {})}
    project = project.model_copy(
        update={
            "train": type(project.train).model_validate(document),
            "work_dir": keep / "runs" / "amazon-beauty",
        }
    )
    run = RunDirectory(keep / "models" / kind.replace(", ", "-").replace(" ", "-"))
    began, used = time.perf_counter(), time.process_time()
    train(project, "leave_last_out", Console(width=120), overwrite=True, run=run)
    used, passed = time.process_time() - used, time.perf_counter() - began
    history = json.loads(run.history_file.read_text())
    rows = history if isinstance(history, list) else history["epochs"]
    return {
        "cpu_seconds": used,
        "seconds": passed,
        "ndcg@10": [row["val_ndcg@10"] for row in rows],
        "recall@10": [row["val_recall@10"] for row in rows],
    }


def show(figures: dict[str, Any], file: Path) -> None:
    """Prints the table, and writes it with the plot."""
    head = ["kind", "NDCG@10 at the end", "Recall@10", "best NDCG@10", "its epoch", "processor s", "Pareto"]
    rows = []
    for kind, found in sorted(figures.items(), key=lambda entry: entry[1]["cpu_seconds"]):
        ndcg = found["ndcg@10"]
        best = max(range(len(ndcg)), key=ndcg.__getitem__)
        rows.append(
            [
                kind,
                f"{ndcg[-1]:.4f}",
                f"{found['recall@10'][-1]:.4f}",
                f"{ndcg[best]:.4f}",
                str(best + 1),
                f"{found['cpu_seconds']:.0f}",
                "" if _beaten(found, figures) else "yes",
            ]
        )
    lines = [" | ".join(row) for row in (head, *rows)]
    print("\n".join(lines), flush=True)
    cells = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in (head, *rows))
    title = "Text towers: quality and cost"
    file.write_text(
        f"<!doctype html><meta charset='utf-8'><title>{title}</title><h1>{title}</h1>{plot(figures)}"
        f"<table border='1' cellpadding='4'>{cells}</table>\n"
    )


def _beaten(found: dict[str, Any], figures: dict[str, Any]) -> bool:
    """Whether another kind is at least as good and costs less."""
    return any(
        other is not found
        and other["cpu_seconds"] <= found["cpu_seconds"]
        and other["ndcg@10"][-1] >= found["ndcg@10"][-1]
        for other in figures.values()
    )


def plot(figures: dict[str, Any]) -> str:
    """NDCG@10 at the end against processor seconds as SVG, the kinds that none beats in both joined by a line."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    points = {kind: (found["cpu_seconds"], found["ndcg@10"][-1]) for kind, found in figures.items()}
    for kind, (cost, quality) in points.items():
        axes.plot(cost, quality, "o", label=kind)
        axes.annotate(kind, (cost, quality), xytext=(4, 4), textcoords="offset points")
    front = sorted(points[kind] for kind, found in figures.items() if not _beaten(found, figures))
    axes.plot(*zip(*front, strict=True), "--", color="grey", zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("processor seconds of the training")
    axes.set_ylabel("NDCG@10, validation")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _known(keep: Path) -> dict[str, Any]:
    file = keep / "figures.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


if __name__ == "__main__":
    main()
