"""`twotower index refresh`: an exported model with another catalogue, without training and without touching its graph.

All that depends on the catalogue lies in a few variables (see `trainer.index`). A new version is the old one with these
replaced: the towers' weights and the vectors of all items that did not change stay as they are, bit by bit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from trainer import contract
from trainer.errors import ExportError
from trainer.export import check_lint, read_facts
from trainer.fresh_process import FreshProcess
from trainer.lint.ops import releases
from trainer.publishing import publishing
from trainer.refresh.assembly import new_digests, new_facts, new_rows
from trainer.refresh.check import check_answers, check_kept
from trainer.refresh.checkpoint import Arrays, read_variables, write_variables
from trainer.refresh.columns import embed
from trainer.refresh.digests import catalogue_digest, read_digests, write_digests
from trainer.refresh.embed_item import EmbedItem, EmbedKnown
from trainer.refresh.index_values import item_ids, rewritten, with_id_embedding
from trainer.refresh.items_file import Item, Reject, read_items
from trainer.refresh.limits import Limits, check_limits
from trainer.refresh.plan import Plan, make_plan
from trainer.refresh.rejects import write_rejects
from trainer.refresh.stages import Stages
from trainer.refresh.titles import changed_titles, read_titles, rewrite_keywords, rewrite_titles
from trainer.refresh.vectors import check_same_tower, read_vectors
from trainer.refresh.warmup import follow
from trainer.run import write_json
from trainer.versions import CANDIDATES, newest_version, next_version

_COMPARED = 32  # vectors of a batch job that are computed here as well


@dataclass(frozen=True)
class RefreshOptions:
    """What to do with a file of items.

    Attributes:
        only_changes: The file holds new and changed items; others stay. Otherwise it is the whole catalogue.
        removals: Ids to remove besides.
        embed_all: Embed every item of the file anew.
        vectors: Folder of Parquet shards with vectors that a batch job computed; None = embed here.
        limits: What is too much to be meant.
        rejects: Where refused rows are written, if there are any.
        candidate: Publish below `candidates/`, for `twotower promote`.
    """

    only_changes: bool = False
    removals: Sequence[str] = ()
    embed_all: bool = False
    vectors: Path | None = None
    limits: Limits = field(default_factory=Limits)
    rejects: Path | None = None
    candidate: bool = False


def refresh(model: Path, items: Path | None, options: RefreshOptions, console: Console) -> Path:
    """Publishes a version of a model whose index holds another catalogue.

    Args:
        model: Folder with the versions of a model, as `twotower export` writes it. The newest one is refreshed.
        items: JSON Lines or a dataset directory; see `trainer.refresh.items_file`. None = only removals.
        options: What to do.
        console: For progress.

    Returns:
        The new version directory; the newest one if it is such already.

    Raises:
        ExportError: there is no version, the change is more than the limits allow, or the new version failed its
            check. Nothing is published then.
    """
    old = _newest(model)
    with FreshProcess() as process:  # which imports TensorFlow while there is nothing to check yet
        return _refresh(model, old, items, options, process, console)


def _refresh(
    model: Path,
    old: Path,
    items: Path | None,
    options: RefreshOptions,
    process: FreshProcess,
    console: Console,
) -> Path:
    stages = Stages()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(EmbedItem, old)
        with stages("read"):
            before = read_variables(old)
            ids = item_ids(before)
            digests = read_digests(old, len(ids))
            titles = read_titles(old)
        with stages("load"):  # what is left of it
            tower = loading.result()
            inputs = tower.inputs
    with stages("compare"):
        plan = _plan(dict(zip(ids, digests.tolist(), strict=True)), items, inputs, options)
        plan.titles = changed_titles(titles, plan.titles)
    with stages("embed"):
        vectors = _vectors(old, tower, plan, with_id_embedding(before), options, console)
        vectors = _drop_unusable(plan, vectors)
    if options.rejects is not None and write_rejects(options.rejects, plan.rejects):
        console.print(f"{len(plan.rejects):,} rows were refused; see {options.rejects}.")
    if plan.absent:
        console.print(
            f"Not in the index, so not removed: {', '.join(plan.absent[:5])} ({len(plan.absent):,})."
        )
    check_limits(plan, len(ids), options.limits)
    if not (plan.embedded or plan.removed or plan.titles or plan.unproven):
        console.print(f"{old} is up to date: it holds {len(ids):,} items, described as they are.")
        return old
    return _publish(model, old, before, ids, titles, plan, vectors, inputs, options, stages, process, console)


def _newest(model: Path) -> Path:
    newest = newest_version(model)
    if newest is None or not read_facts(newest):
        waiting = newest_version(model / CANDIDATES)
        advice = "Run `twotower promote` first." if waiting else "Run `twotower export` first."
        raise ExportError(f"{model} holds no version that `twotower export` wrote. {advice}")
    if read_facts(newest).get("index", {}).get("kind") == "scann":
        raise ExportError(
            f"{newest} is searched by ScaNN, whose index holds one catalogue for good. Run `twotower export` again, or "
            "export with export.index.kind = 'inverted_file', which can be refreshed."
        )
    return newest


def _plan(held: dict[str, int], items: Path | None, inputs: dict[str, Any], options: RefreshOptions) -> Plan:
    rows = read_items(items, inputs) if items is not None else ()
    plan = make_plan(
        held,
        rows,
        list(inputs),
        whole=not options.only_changes and items is not None,
        removals=options.removals,
        embed_all=options.embed_all,
    )
    if items is not None and not plan.digests:
        first = (
            f" The first refused: {plan.rejects[0].where}: {plan.rejects[0].reason}." if plan.rejects else ""
        )
        raise ExportError(f"{items} holds no item that can be used.{first}")
    return plan


def _vectors(
    old: Path,
    signature: EmbedItem,
    plan: Plan,
    with_id: Collection[str],
    options: RefreshOptions,
    console: Console,
) -> npt.NDArray[np.float32]:
    """float32 [N, D] of the items that need one, from the batch job's shards as far as they hold them.

    The job knows no ID embeddings, so items that have one are embedded here.
    """
    items = plan.embedded
    known = any(item.item_id in with_id for item in items)
    tower = EmbedKnown(old, signature) if known else signature
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("embedding", total=len(items))

        def own(some: Sequence[Item]) -> npt.NDArray[np.float32]:
            return embed(tower, some, lambda done: bar.advance(task, done))

        if options.vectors is None:
            return own(items)
        wanted = {item.item_id: place for place, item in enumerate(items) if item.item_id not in with_id}
        vectors, found = read_vectors(options.vectors, wanted, len(items), tower.width)
        compared = np.flatnonzero(found)[:: max(1, int(found.sum()) // _COMPARED)]
        check_same_tower(vectors[compared], own([items[place] for place in compared]), options.vectors)
        absent = np.flatnonzero(~found)
        if missing := len(wanted) - int(found.sum()):
            console.print(f"{missing:,} items are not in {options.vectors}; they are embedded here.")
        vectors[absent] = own([items[place] for place in absent])
        return vectors


def _drop_unusable(plan: Plan, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Moves items whose vector is not finite to the rejects; an item that the index holds stays as it is."""
    usable = np.isfinite(vectors).all(axis=1)
    if usable.all():
        return vectors
    items = plan.embedded
    for place in np.flatnonzero(~usable):
        item = items[place].item_id
        plan.rejects.append(Reject("", item, "its vector is not finite", items[place].title))
        plan.digests.pop(item)
        plan.titles.pop(item, None)
    plan.changed = [item for item in plan.changed if item.item_id in plan.digests]
    plan.added = [item for item in plan.added if item.item_id in plan.digests]
    return vectors[usable]


def _publish(
    model: Path,
    old: Path,
    before: Arrays,
    ids: Sequence[str],
    titles: dict[str, str] | None,
    plan: Plan,
    vectors: npt.NDArray[np.float32],
    inputs: dict[str, Any],
    options: RefreshOptions,
    stages: Stages,
    process: FreshProcess,
    console: Console,
) -> Path:
    base = model / CANDIDATES if options.candidate else model
    number = next_version(model)
    facts = read_facts(old)
    with publishing(base, number) as folder:
        with stages("rewrite"):
            rows = new_rows(ids, plan, vectors, inputs, facts.get("variant_feature"))
            digests = new_digests(read_digests(old, len(ids)), rows, plan)
            facts = new_facts(facts, old, plan, rows, catalogue_digest(rows.ids, digests), number)
            _copy_files(old, folder)
            listed = {name: value for name, value in facts.items() if name != "signatures"}
            changes = rewritten(before, rows) | {"_facts": json.dumps(listed, sort_keys=True)}
            with ThreadPoolExecutor(1) as pool:
                written = pool.submit(write_variables, folder, old, changes)
                _write_extra(folder / contract.EXTRA_ASSETS, facts, titles, rows.ids, plan)
                write_digests(folder, digests)
                written.result()
        with stages("check"), ThreadPoolExecutor(1) as pool:
            answered = pool.submit(
                check_answers,
                folder,
                plan.embedded,
                vectors,
                plan.removed,
                inputs,
                process,
                with_id_embedding(before),
            )
            check_lint(folder, facts.get("serving_release", releases()[-1]), facts.get("server_ops", ()))
            check_kept(folder, before, rows)
            answered.result()
    console.print(
        f"{base / str(number)} holds {len(rows.ids):,} items: {len(plan.added):,} new, {len(plan.changed):,} changed, "
        f"{len(plan.removed):,} removed, {len(rows.ids) - len(plan.embedded):,} as they were ({stages})."
    )
    if plan.unproven:
        console.print(
            f"Version {old.name} does not say what its vectors were made of, so {plan.unproven:,} items were taken "
            "as unchanged. From now on changes are seen; --embed-all makes all vectors anew."
        )
    return base / str(number)


def _write_extra(
    extra: Path, facts: dict[str, Any], titles: dict[str, str] | None, ids: Sequence[str], plan: Plan
) -> None:
    """The files beside the graph that say something of the catalogue."""
    write_json(extra / contract.SERVING_FILE, facts)
    rewrite_titles(extra / contract.TITLES_FILE, titles, ids, plan)
    rewrite_keywords(extra / contract.KEYWORDS_FILE, ids, plan)
    follow(extra / contract.WARMUP_FILE, plan.removed, ids)


def _copy_files(old: Path, folder: Path) -> None:
    """Everything but the variables, and but the fingerprint, which is of the old ones."""
    ignored = shutil.ignore_patterns("variables", "fingerprint.pb")
    shutil.copytree(old, folder, dirs_exist_ok=True, ignore=ignored)
