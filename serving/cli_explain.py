"""The client at the command line: `twotower explain`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving import cli_output
from serving.cli_options import connection_options
from serving.cli_queries import user_options
from serving.client import Explanation, RecommenderClient, UserQuery
from serving.client.contributions import Contribution, contributions
from serving.client.rewriting import load_rewriter
from serving.client.sentence_maker import SentenceMaker
from serving.client.sentences import ItemFacts, Language, Wording, item_facts

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("item_ids", nargs=-1, required=True)
@connection_options
@user_options
@click.option(
    "--titles", type=_FILE, help="A titles.tsv (item id, tab, title); sentences name only items with a title."
)
@click.option(
    "--keywords",
    type=_FILE,
    help="A file of item id, tab, properties with commas between, tab, keywords of the text likewise; sentences may "
    "name them. `keywords.tsv` of a dataset, and of a version's assets.extra/, is one.",
)
@click.option(
    "--language", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Of the sentences."
)
@click.option("--verb", default="", help="What people do with items.  [default: watched]")
@click.option(
    "--rewriter",
    default="",
    metavar="PRESET",
    help="A causal language model of KerasHub, by name or folder, that may put sentences in other words; what it "
    "claims beyond the facts is not believed.",
)
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Contributions to show of each item."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all contributions.")
def explain(
    client: RecommenderClient,
    queries: list[UserQuery],
    item_ids: tuple[str, ...],
    titles: Path | None,
    keywords: Path | None,
    language: str,
    verb: str,
    rewriter: str,
    top: int,
    as_json: bool,
) -> None:
    """Say why items score as they do for a user: contributions, and a sentence.

    \b
      twotower explain 172 181 --model movielens-100k --history 50,1 --titles titles.tsv
    """  # noqa: D301 - click wants the real character
    facts = item_facts(cli_output.read_titles(titles), cli_output.read_titles(keywords))
    try:
        rewrite = load_rewriter(rewriter) if rewriter else None
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    maker = SentenceMaker(facts, Wording(cast(Language, language), verb), rewrite)
    results = client.explain_batch([item_ids] * len(queries), queries)
    if as_json:
        rows = [[_as_json(one, maker) for one in result] for result in results]
        cli_output.print_json(rows if len(rows) != 1 else rows[0])
        return
    console = Console()
    for result in results:
        for one in result:
            _print(console, one, maker, top)


def _as_json(one: Explanation, maker: SentenceMaker) -> dict[str, Any]:
    facts = maker.items
    numbers = ("score", "baseline", "item_baseline", "completeness_error")
    evidence = zip(one.parts.get("nearest_item_id", ()), one.parts.get("nearest_cosine", ()), strict=True)
    return {
        "item_id": one.item_id,
        **({"title": facts[one.item_id].title} if one.item_id in facts else {}),
        **{name: _number(one.parts[name]) for name in numbers if name in one.parts},
        "contributions": [each._asdict() for each in contributions(one)],
        "item_words": [each._asdict() for each in contributions(one, "item_word")],
        "nearest": [{"item_id": str(item), "cosine": float(cosine)} for item, cosine in evidence if item],
        "sentence": maker(one.item_id, one.parts),
    }


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _print(console: Console, one: Explanation, maker: SentenceMaker, top: int) -> None:
    facts = maker.items
    title = facts[one.item_id].title if one.item_id in facts else ""
    score = _number(one.parts["score"])
    cli_output.print_heading(
        console, f"{one.item_id} {title}".rstrip() + ("" if score is None else f"  {score:.4f}")
    )
    if score is None:
        console.print("The model does not know it.")
        return
    table = Table()
    for name in ("of", "what", "adds"):
        table.add_column(name, justify="right" if name == "adds" else "left")
    table.add_row("", "nothing known", f"{float(one.parts['baseline']):+.4f}")
    strongest = sorted(contributions(one), key=lambda each: -abs(each.value))
    for each in strongest[:top]:
        table.add_row(each.kind, escape(_name(each, facts)), f"{each.value:+.4f}")
    if rest := strongest[top:]:
        table.add_row("", f"{len(rest)} more", f"{sum(each.value for each in rest):+.4f}")
    console.print(table)
    _print_words(console, contributions(one, "item_word")[:top])
    if sentence := maker(one.item_id, one.parts):
        console.print(escape(sentence), soft_wrap=True)


def _print_words(console: Console, words: Sequence[Contribution]) -> None:
    if words:
        listed = ", ".join(f"{each.name} {each.value:+.4f}" for each in words)
        console.print(escape(f"Of its own text: {listed}"), style="dim", soft_wrap=True)


def _name(each: Contribution, facts: Mapping[str, ItemFacts]) -> str:
    known = each.kind == "history" and each.name in facts
    return f"{each.name} {facts[each.name].title}" if known else each.name
