"""What each option for rare and new items does, one by one and together: an ablation table with intervals.

    python benchmarks/quality/long_tail.py run benchmarks/quality/long_tail.toml amazon-beauty --out ablation
    python benchmarks/quality/long_tail.py table ablation/amazon-beauty

The plan names a data set's configuration, what all trainings of it change (a smaller model, fewer epochs), and
variants, each with what it changes besides; the variant "base" changes nothing and is what the others are compared
with. Datasets and text encoder are those of the configuration's work_dir, or of the plan's, and must be there. What is
finished is not done again, so a run that was stopped goes on; `--only` takes some of the variants.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BASE = "base"
ROWS = {"ranked": "two-tower, ranked", "retrieval": "two-tower, retrieval"}
GROUPS = ("head", "middle", "tail", "cold")


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some of its values replaced, table by table."""
    out = dict(document)
    for key, value in changes.items():
        before = out.get(key)
        out[key] = (
            merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
        )
    return out


@click.group(help=(__doc__ or "").split("\n\n")[0])
def main() -> None:
    """Two commands."""


@main.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs.")
@click.option("--only", multiple=True, help="A variant; repeat for several. By default all, in their order.")
def run(plan: Path, name: str, out: Path, only: tuple[str, ...]) -> None:
    """Trains and measures the variants of one data set of the PLAN."""
    tables = tomllib.loads(plan.read_text(encoding="utf-8"))
    if name not in tables:
        raise click.ClickException(f"{plan} has no data set {name!r}; it has {', '.join(tables)}.")
    table = tables[name]
    variants = {BASE: {}, **table["variants"]}
    if unknown := set(only) - set(variants):
        raise click.ClickException(
            f"{plan} has no variant {', '.join(sorted(unknown))}; {', '.join(variants)}."
        )
    for variant in only or variants:
        _measure(table, variants[variant], out / name / _folder(variant), variant)


def _folder(variant: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in variant)


def _measure(table: Mapping[str, Any], changes: Mapping[str, Any], folder: Path, variant: str) -> None:
    """Trains one variant, ranks its test events and keeps the figures in `result.json` and `ranks.npz`."""
    if (folder / "result.json").exists():
        click.echo(f"{folder} is done.")
        return
    from trainer.config import ProjectConfig, load_config, read_document
    from trainer.dataset import DatasetDirectory
    from trainer.measurement import Measurement
    from trainer.run import RunDirectory
    from trainer.training import load_best, train
    from trainer.workbench import Workbench

    file, split, console = Path(table["config"]), table["split"], Console()
    source = load_config(file)
    if "work_dir" in table:
        source = source.model_copy(update={"work_dir": Path(table["work_dir"])})
    encoder = str(Path(source.encoder()).resolve()) if Path(source.encoder()).is_dir() else source.encoder()
    document = merged(merged(read_document(file), {"train": table["train"]}), {"train": changes})
    document = merged(document, {"work_dir": str(folder), "train": {"text": {"encoder": encoder}}})
    config = ProjectConfig.model_validate(
        {key: value for key, value in document.items() if key in ProjectConfig.model_fields}
    )
    config.dataset_dir(split).parent.mkdir(parents=True, exist_ok=True)
    if not config.dataset_dir(split).exists():
        config.dataset_dir(split).symlink_to(source.dataset_dir(split).resolve())
    click.echo(f"{variant}: {json.dumps(changes)}")
    began = time.process_time()
    train(config, split, console)
    trained = time.process_time() - began
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(split)), console)
    load_best(bench.model, config.train, RunDirectory(config.run_dir(split)), console)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        measurement = Measurement.open(config, bench, bar)
        ranking = config.train.ranking
        ranks = bool(ranking.weight or ranking.value_weight)
        rows = [measurement.model_row(rerank=rerank) for rerank in ([True] if ranks else []) + [False]]
    measurement.ranks(rows).write(folder / "ranks.npz")
    from trainer.evaluation.slices import item_groups

    groups = item_groups(bench.preparation.catalogue.counts)[measurement.queries.target_items()]
    np.save(folder / "groups.npy", groups)
    manifest = json.loads((RunDirectory(config.run_dir(split)).path / "run.json").read_text())
    figures = {
        "variant": variant,
        "changes": changes,
        "epochs": manifest["epochs"],
        "best_epoch": manifest["best_epoch"],
        "processor_seconds": round(trained),
        "metrics": {row.name: row.result.metrics for row in rows},
    }
    (folder / "result.json").write_text(json.dumps(figures, indent=1) + "\n")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--row", type=click.Choice(list(ROWS)), default="retrieval", show_default=True)
def table(folder: Path, row: str) -> None:
    """Prints the finished variants below FOLDER as Markdown, differences with 95 % intervals of a paired bootstrap."""
    from trainer.evaluation.intervals import paired_comparison
    from trainer.evaluation.metrics import recall
    from trainer.evaluation.rank_file import KeptRanks

    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/result.json"))}
    if BASE not in found:
        raise click.ClickException(
            f"{folder} has no finished variant {BASE!r} to compare with; run it first."
        )
    base = KeptRanks.read(found[BASE] / "ranks.npz")
    groups = np.load(found[BASE] / "groups.npy")
    hits = recall(base.ranks[ROWS[row]], 10)
    click.echo(
        "| variant | Recall@10 | tail | head | middle | cold | coverage@10 | Gini@10 |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for name in [BASE, *(name for name in found if name != BASE)]:
        figures = json.loads((found[name] / "result.json").read_text())
        kept = KeptRanks.read(found[name] / "ranks.npz")
        mine = recall(kept.ranks[ROWS[row]], 10)

        def cell(mask: Any, mine: Any = mine, name: str = name) -> str:
            if not mask.any():
                return ""
            value, before = mine[mask].mean(), hits[mask].mean()
            if name == BASE or not before:
                return f"{value:.4f}"
            difference = paired_comparison(
                mine[mask], hits[mask], base.groups[mask], permutations=1
            ).difference
            low, high = (100 * bound / before for bound in (difference.low, difference.high))
            return f"{value:.4f} ({low:+.0f} to {high:+.0f} %)"

        slices = {group: groups == number for number, group in enumerate(GROUPS)}
        cells = [cell(groups >= 0), cell(slices["tail"])]
        cells += [cell(slices[group]) for group in ("head", "middle", "cold")]
        metrics = figures["metrics"][ROWS[row]]
        cells += [f"{metrics['coverage@10']:.3f}", f"{metrics['gini@10']:.3f}"]
        click.echo(f"| {figures['variant']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
