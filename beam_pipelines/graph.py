"""The Beam graph of a build: blocks to partitions, partitions to sequences, sequences to files.

    blocks of all files ─> read ┬> partitions by user ─> prepare ─> filter ┬> count ─> item partitions ┐
                                │                                          └> write sequences          │
                                └> partitions by item ─────────────────────────────────────────────────┴> join, write

Elements are Arrow tables as bytes, some megabytes each: no Python object stands for a single event.
"""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam

from beam_pipelines.cataloguing import JoinItems, WriteItems, WriteListings, listed_columns, listing
from beam_pipelines.cutting import find_cuts
from beam_pipelines.files_out import write_bytes
from beam_pipelines.filtering import filter_events, needs_global_facts
from beam_pipelines.keywords.steps import add_keywords
from beam_pipelines.numerics import numeric_defaults, numeric_specs
from beam_pipelines.plan import Plan
from beam_pipelines.reading import EARLIER, EVERY, ITEMS, LINES, REJECTS, TALLY, ReadTables
from beam_pipelines.rejects import WriteRejects
from beam_pipelines.tally import Tally, merge_states
from beam_pipelines.text_variants.steps import add_text_variants
from beam_pipelines.writing import Count, Prepare, WriteSequences

BUILD_FOLDER = "_build"
TALLY_FILE, FILES_FILE = f"{BUILD_FOLDER}/tally.json", f"{BUILD_FOLDER}/files.json"
CUTS_FILE, DEFAULTS_FILE = f"{BUILD_FOLDER}/cuts.json", f"{BUILD_FOLDER}/defaults.json"


def build_graph(pipeline: beam.Pipeline, plan: Plan, root: str) -> None:
    """Adds all steps of a build to a pipeline.

    Args:
        pipeline: to add to.
        plan: what to read and write.
        root: directory under construction.
    """
    read = _read(pipeline, plan)
    prepared = _prepare(plan, root, read["main"])
    cuts = find_cuts(pipeline, plan, prepared["main"])
    main = prepared["main"]
    if needs_global_facts(plan) or numeric_specs(plan.settings):
        # A step must not be fused with the one that makes its side input; some runners notice too late.
        main = main | "Keep apart" >> beam.Reshuffle()
    stays, filtered = filter_events(plan, main, read[ITEMS])
    counted = stays | "Count" >> beam.ParDo(Count(plan), cuts=beam.pvalue.AsSingleton(cuts)).with_outputs(
        TALLY, main="items"
    )
    items = _join_items(pipeline, plan, read, counted["items"])
    listed, keywords = add_keywords(plan, items["main"])
    listed = add_text_variants(plan, listed)
    parts = [counted[TALLY], items[TALLY], keywords, prepared[TALLY], filtered, read[TALLY]]
    rejects = [items[REJECTS], prepared[REJECTS], read[REJECTS]]
    reject_tally = _write_rejects(plan, root, rejects, read[LINES])
    tally = (
        [*parts, reject_tally]
        | "All tallies" >> beam.Flatten()
        | "Sum" >> beam.CombineGlobally(merge_states).without_defaults()
    )
    numbers = _defaults(pipeline, plan, [counted[TALLY], items[TALLY]])
    defaults = beam.pvalue.AsSingleton(numbers)
    files = [
        stays
        | "Write sequences"
        >> beam.ParDo(WriteSequences(plan, root), cuts=beam.pvalue.AsSingleton(cuts), defaults=defaults),
        listed | "Write items" >> beam.ParDo(WriteItems(plan, root), defaults=defaults),
        listed
        | "List items"
        >> beam.Map(lambda element, names: (None, listing(element[1], names)), listed_columns(plan))
        | "Gather items" >> beam.GroupByKey()
        | "Write listings" >> beam.ParDo(WriteListings(root)),
    ]
    cuts | "Write cuts" >> beam.Map(_write_json, root=root, path=CUTS_FILE)
    numbers | "Write defaults" >> beam.Map(_write_json, root=root, path=DEFAULTS_FILE)
    (
        tally
        | "As JSON" >> beam.Map(_tally_json)
        | "Write tally" >> beam.Map(_write_json, root=root, path=TALLY_FILE)
    )
    (
        files
        | "All files" >> beam.Flatten()
        | "Gather files" >> beam.combiners.ToList()
        | "Write file list" >> beam.Map(_write_json, root=root, path=FILES_FILE)
    )


def _read(pipeline: beam.Pipeline, plan: Plan) -> Any:
    """All tables, the events of an earlier build, and each partition, so that empty ones write their file too."""
    blocks: list[tuple[str, Any]] = [(table.name, block) for table in plan.tables for block in table.blocks]
    blocks += [(EARLIER, path) for path in plan.earlier]
    return (
        pipeline
        | "Blocks" >> beam.Create([*blocks, (EVERY, plan.shards)])  # spreads them, too
        | "Read" >> beam.ParDo(ReadTables(plan)).with_outputs(ITEMS, REJECTS, LINES, TALLY, main="main")
    )


def _prepare(plan: Plan, root: str, rows: Any) -> Any:
    return (
        rows
        | "Group by user" >> beam.GroupByKey()
        | "Prepare" >> beam.ParDo(Prepare(plan, root)).with_outputs(TALLY, REJECTS, main="main")
    )


def _join_items(pipeline: beam.Pipeline, plan: Plan, read: Any, counts: Any) -> Any:
    every = [(partition, b"") for partition in range(plan.item_shards)]
    inputs = {
        "counts": counts,
        "all": pipeline | "Every item partition" >> beam.Create(every, reshuffle=False),
    }
    if plan.items is not None:
        inputs["rows"] = read[ITEMS]
    return (
        inputs
        | "Group by item" >> beam.CoGroupByKey()
        | "Join items" >> beam.ParDo(JoinItems(plan)).with_outputs(TALLY, REJECTS, main="main")
    )


def _defaults(pipeline: beam.Pipeline, plan: Plan, tallies: list[Any]) -> Any:
    """What stands in for missing numbers; known at once where no feature needs it."""
    if not numeric_specs(plan.settings):
        return pipeline | "No defaults" >> beam.Create([{}], reshuffle=False)
    return (
        tallies
        | "Tallies of training" >> beam.Flatten()
        | "Sum of training" >> beam.CombineGlobally(merge_states).without_defaults()
        | "Defaults" >> beam.Map(numeric_defaults, settings=plan.settings)
    )


def _write_rejects(plan: Plan, root: str, rejects: list[Any], lines: Any) -> Any:
    headers = {(table.name, file.label): int(file.body > 0) for table in plan.tables for file in table.files}
    grouped = {
        "rejects": rejects | "All rejects" >> beam.Flatten(),
        "lines": lines,
    }
    return (
        grouped
        | "Group by file" >> beam.CoGroupByKey()
        | "Write rejects" >> beam.ParDo(WriteRejects(root, headers))
    )


def _write_json(document: Any, root: str, path: str) -> None:
    write_bytes(root, path, json.dumps(document).encode())


def _tally_json(state: dict[str, Any]) -> dict[str, Any]:
    return Tally.from_state(state).to_json()
