"""The command `twotower score`."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console

from beam_pipelines.cli import friendly_errors, quiet_beam
from beam_pipelines.errors import ConfigError
from beam_pipelines.scoring.settings import ScoreSettings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def score() -> None:
    """Score users and items in bulk with an exported model, on Apache Beam.

    \b
      twotower score recommend --model saved_models/films --dataset runs/films/by_time/dataset --output out
      twotower score embed-items --model saved_models/films --items new.jsonl --output vectors
    """  # noqa: D301 - click wants the real character


_COMMON = (
    click.option("--model", required=True, help="Folder of the model or of one version; with --target its name."),
    click.option("--target", help="HOST:PORT of a model server to ask, instead of loading the model here."),
    click.option(
        "--deadline", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True,
        help="Seconds that a call of the server may take.",
    ),
    click.option("--output", required=True, help="Directory of the results; it appears when they are complete."),
    click.option(
        "--format",
        type=click.Choice(["parquet", "jsonl", "tfrecord", "csv"]),
        default="parquet",
        show_default=True,
        help="Of the files.",
    ),
    click.option("--set", "wishes", multiple=True, metavar="NAME=JSON", help="Value for an input that records lack."),
    click.option("--ignore-unknown", is_flag=True, help="Pass over fields that the model has no input for."),
    click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Records in a call."),
    click.option(
        "--batch-length", type=click.IntRange(1), help="List entries and words in a call, padding included."
    ),
    click.option(
        "--part-records", type=click.IntRange(1), default=10_000, show_default=True, help="Records in a file."
    ),
    click.option("--shard-by", metavar="FIELD", help="Bring records with one hash of this field into one unit."),
    click.option("--shards", type=click.IntRange(1), default=8, show_default=True, help="Units with --shard-by."),
    click.option("--incremental", is_flag=True, help="Score only records that have changed since --output."),
    click.option("--overwrite", is_flag=True, help="Replace other results in --output."),
    click.option(
        "--max-reject-rate", type=click.FloatRange(0, 1), default=0.0, show_default=True,
        help="Share of the records that may be refused.",
    ),
    click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine."),
    click.option("--threads", type=click.IntRange(1), help="Of TensorFlow in each process."),
    click.option("--memory-limit-mb", type=click.IntRange(1), help="Of each process with the model loaded."),
    click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED),
)  # fmt: skip
_DATASET = click.option("--dataset", help="Directory of a dataset.")
_HISTORY = click.option(
    "--history",
    type=click.Choice(["all", "train", "validation", "test"]),
    default="all",
    show_default=True,
    help="All events of all users of the dataset, or what was known before the targets of a split.",
)
_REQUESTS = click.option(
    "--requests",
    "files",
    multiple=True,
    metavar="FILE",
    help="JSON Lines, CSV or Parquet with requests; globs too.",
)
_ITEMS = click.option(
    "--items",
    "files",
    multiple=True,
    metavar="FILE",
    help="JSON Lines, CSV or Parquet with items; globs too.",
)
_BY_ITEM = click.option("--by-item", is_flag=True, help="One row an item with its rank, instead of lists.")
_K = click.option(
    "--k", type=click.IntRange(1), help="Length of the lists.  [default: as the model was exported]"
)


def _command(name: str, *options: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A subcommand with the common options after its own."""

    def decorate(function: Callable[..., None]) -> click.Command:
        for option in reversed((*options, *_COMMON)):
            function = option(function)
        settings = {"ignore_unknown_options": True}
        return score.command(name, context_settings=settings)(function)

    return decorate


@_command("recommend", _DATASET, _HISTORY, _REQUESTS, _K, _BY_ITEM)
@click.option("--retrieve", is_flag=True, help="Without the ranking head.")
@click.option(
    "--exclude", type=click.Path(path_type=Path), help="File with ids that nobody is shown, one a line."
)
def recommend(retrieve: bool, exclude: Path | None, **options: Any) -> None:
    """Recommend items for every user.

    Users come from a dataset, or from files with requests as `twotower recommend --request` takes them and a
    "user_id" beside. Items of the history are not recommended. BEAM_ARGUMENTS after -- go to Apache Beam.
    """
    with friendly_errors():
        hidden = {"exclude_item_id": _lines(exclude)} if exclude else {}
        _score("retrieve" if retrieve else "recommend", hidden, **options)


@_command("pairs", _DATASET, _HISTORY, _REQUESTS)
@click.option(
    "--pairs", multiple=True, metavar="FILE", help="Files with user_id and item_id, for users of --dataset."
)
@click.option("--lists", is_flag=True, help="One row a user with lists, instead of one row a pair.")
def pairs(lists: bool, **options: Any) -> None:
    """Score given pairs of users and items.

    Pairs are files of user_id and item_id with --dataset, or requests that have "items". Unknown items have no
    score (NaN, null in JSON Lines). BEAM_ARGUMENTS after -- go to Apache Beam.
    """
    with friendly_errors():
        _score("pairs", {}, by_item=not lists, **options)


@_command("explain", _DATASET, _HISTORY, _REQUESTS)
@click.option(
    "--pairs", multiple=True, metavar="FILE", help="Files with user_id and item_id, for users of --dataset."
)
@click.option(
    "--titles", help="A titles.tsv; makes a sentence of every explanation, which names items by it."
)
@click.option(
    "--keywords",
    help="A file of item id, tab, properties with commas between, tab, keywords of the text likewise; sentences may "
    "name them. `keywords.tsv` of a dataset is one.",
)
@click.option(
    "--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the sentences."
)
@click.option("--verb", default="", help="What people do with items, in sentences.  [default: watched]")
@click.option(
    "--rewriter",
    default="",
    metavar="PRESET",
    help="A causal language model of KerasHub, by name or folder, that may put sentences in other words; what it "
    "claims beyond the facts is not believed.",
)
def explain(**options: Any) -> None:
    """Say why given items score as they do for users, one row a pair.

    Pairs come as for `score pairs`. A row has the score, what it is made of (lists of events, words and features beside
    lists of what each adds), the nearest items of the history, and with --titles a sentence. BEAM_ARGUMENTS after --
    go to Apache Beam.
    """
    with friendly_errors():
        _score("explain", {}, by_item=True, **options)


@_command("embed-users", _DATASET, _HISTORY, _REQUESTS)
def embed_users(**options: Any) -> None:
    """Write the query vector of every user.

    BEAM_ARGUMENTS after -- go to Apache Beam.
    """
    with friendly_errors():
        _score("embed-users", {}, **options)


@_command("embed-items", _DATASET, _ITEMS)
def embed_items(**options: Any) -> None:
    """Write the vector of every item, from its features alone.

    As if each item were new: `twotower export-embeddings` has the vectors that the model searches. Files have
    "item_id" and the model's item features. BEAM_ARGUMENTS after -- go to Apache Beam.
    """
    with friendly_errors():
        _score("embed-items", {}, **options)


@_command("similar", _DATASET, _ITEMS, _K, _BY_ITEM)
def similar(**options: Any) -> None:
    """Write the items that are most alike, for every item.

    Items that the model does not know have empty lists. BEAM_ARGUMENTS after -- go to Apache Beam.
    """
    with friendly_errors():
        _score("similar", {}, **options)


@click.command("export-embeddings", context_settings={"ignore_unknown_options": True})
@click.option("--model", required=True, help="Folder of the model or of one version.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Directory of the files.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "numpy", "tfrecord"]),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option("--dataset", help="Directory of a dataset whose users are embedded too.")
@_HISTORY
@click.option("--overwrite", is_flag=True, help="Replace what is in --output.")
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def export_embeddings(
    model: str,
    output: Path,
    kind: str,
    dataset: str | None,
    history: str,
    overwrite: bool,
    beam_arguments: tuple[str, ...],
) -> None:
    """Write item and user vectors with their ids, for a store of vectors.

    Items are those that the model searches, with the vectors that it searches; the score of a user and an item in
    retrieval is the dot product of their vectors, up to the model's temperature. BEAM_ARGUMENTS after -- go to
    Apache Beam.
    """
    quiet_beam()
    require_tensorflow()
    from beam_pipelines.scoring import exporting

    console = Console()
    wanted = exporting.Wanted(model, output, kind, dataset, history, beam_arguments)
    with friendly_errors(), console.status(f"Writing {output} ..."):
        done = exporting.export_embeddings(wanted, overwrite)
    console.print(
        f"Wrote {done['items']:,} items and {done['users']:,} users with {done['dimension']} numbers each to "
        f"[green]{output}[/]"
    )


def _score(
    task: str,
    wishes_of_command: dict[str, Any],
    *,
    wishes: tuple[str, ...],
    incremental: bool,
    overwrite: bool,
    workers: int,
    beam_arguments: tuple[str, ...],
    **options: Any,
) -> None:
    quiet_beam()
    settings = _settings(task, defaults=_wishes(wishes) | wishes_of_command, **options)
    if settings.target is None:
        require_tensorflow()
    from beam_pipelines.running import use_options
    from beam_pipelines.scoring.plan import plan_scoring
    from beam_pipelines.scoring.progress import print_scored, progress_bar
    from beam_pipelines.scoring.run import run_scoring

    console = Console()
    arguments = (*_local_workers(workers), *beam_arguments)
    use_options(arguments)
    plan = plan_scoring(settings)
    watch = functools.partial(progress_bar, console=console)
    print_scored(console, run_scoring(plan, overwrite, incremental, arguments, watch))


def _settings(task: str, **options: Any) -> ScoreSettings:
    try:
        return ScoreSettings.model_validate({"task": task, **options})
    except ValidationError as error:
        lines = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise ConfigError("; ".join(lines) + ".") from None


def _wishes(entries: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for entry in entries:
        name, mark, text = entry.partition("=")
        try:
            values[name] = json.loads(text) if mark else None
        except ValueError as error:
            raise ConfigError(
                f'--set {entry}: {text!r} is not JSON ({error}); write texts as "text".'
            ) from None
        if values[name] is None:
            raise ConfigError(f"--set {entry}: expected NAME=JSON.")
    return values


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}).") from None


def _local_workers(count: int) -> tuple[str, ...]:
    if count == 1:
        return ()
    return (f"--direct_num_workers={count}", "--direct_running_mode=multi_processing")


def require_tensorflow() -> None:
    """Looks for TensorFlow without importing it.

    Raises:
        ModuleNotFoundError: it is not installed; the root command says what to install.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
