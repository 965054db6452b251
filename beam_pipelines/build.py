"""Builds a dataset directory: plans, runs the pipeline beside the final place, checks, publishes."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from beam_pipelines import contract
from beam_pipelines.config import RunConfig
from beam_pipelines.contract import MANIFEST_FILE, STATS_FILE, parse_manifest
from beam_pipelines.errors import DatasetError, InputError, RejectRateError
from beam_pipelines.files_out import (
    delete_files,
    exists,
    files_below,
    is_remote,
    join,
    make_folders,
    read_bytes,
    remove_tree,
    write_bytes,
)
from beam_pipelines.filtering import UNSTABLE, rounds_to_try
from beam_pipelines.graph import BUILD_FOLDER, CUTS_FILE, DEFAULTS_FILE, FILES_FILE, TALLY_FILE, build_graph
from beam_pipelines.manifest import Identity, metadata_files, reject_summary
from beam_pipelines.plan import Plan, config_digest, input_digest, make_plan
from beam_pipelines.privacy import read_key
from beam_pipelines.publishing import new_dataset
from beam_pipelines.report import REPORT_FILE, render_report
from beam_pipelines.running import run_pipeline, threads_for, use_options
from beam_pipelines.settings import FeatureSettings
from beam_pipelines.state import FOLDER as STATE_FOLDER
from beam_pipelines.state import State, copy_rejects, only_new, read_state, state_facts
from beam_pipelines.tally import Tally

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """Outcome of a build.

    Attributes:
        path: of the dataset.
        manifest: content of its `dataset.json`.
        left_out: reason to number of events that filters left out.
        skipped: it was there already, from the same inputs and settings.
    """

    path: str
    manifest: dict[str, Any]
    left_out: dict[str, int]
    skipped: bool


def build_dataset(
    config: RunConfig,
    protocol: str,
    data_dir: str,
    overwrite: bool = False,
    append: bool = False,
    beam_arguments: tuple[str, ...] = (),
) -> Built:
    """Builds the dataset of one split protocol, unless it is there already.

    Args:
        config: with `[features]`.
        protocol: leave_last_out or by_time.
        data_dir: where relative input files lie.
        overwrite: build even where a dataset is, and replace it.
        append: read only event files that are new since the dataset was built, and extend it.
        beam_arguments: options for Beam, such as --runner.

    Raises:
        InputError: the input cannot be used.
        RejectRateError: too many records were refused.
        DatasetError: another dataset is in the way.
    """
    settings = config.required_features()
    use_options(beam_arguments)
    read_key(settings.privacy)
    final = config.dataset_place(protocol)
    present = _present(final)
    earlier = read_state(final) if append and present else None
    plan = make_plan(settings, protocol, data_dir, _lost_bytes(earlier))
    plan = dataclasses.replace(plan, threads=threads_for(beam_arguments), config=str(config.path))
    known = {label: digest for label, (digest, _) in earlier.files.items()} if earlier else {}
    version = importlib.metadata.version("twotower")
    config_id = config_digest(config.name, settings, protocol, version)
    identity = Identity(config.name, version, config_id, input_digest(plan, known))
    if earlier is not None:
        _same_settings(final, config_id)
        plan = only_new(plan, earlier)
    if present and not overwrite and (earlier is None or not plan.events.files):
        return _existing(final, identity)
    with new_dataset(final) as building:
        _run(plan, building, identity, final, earlier, beam_arguments)
    remove_tree(_kept_rejects(final))
    return _read_built(final, skipped=False)


def _present(final: str) -> bool:
    """Something is where the dataset is to be, finished or not."""
    return bool(files_below(final)) if is_remote(final) else Path(final).exists()


def _manifest(final: str) -> dict[str, Any]:
    """The `dataset.json` of what is there.

    Raises:
        DatasetError: it is no finished dataset.
    """
    if not exists(final, MANIFEST_FILE):
        raise DatasetError(
            f"{final}: no {MANIFEST_FILE} in it, so this is no finished dataset (it is written last). "
            "Build it again with: twotower features build CONFIG --overwrite"
        )
    return parse_manifest(read_bytes(final, MANIFEST_FILE), join(final, MANIFEST_FILE))


def _existing(final: str, identity: Identity) -> Built:
    manifest = _manifest(final)
    if (manifest["config_digest"], manifest["input_digest"]) != (
        identity.config_digest,
        identity.input_digest,
    ):
        what = "settings" if manifest["config_digest"] != identity.config_digest else "input files"
        raise DatasetError(
            f"{final}: a dataset from other {what} is there. Replace it with --overwrite, or give the config "
            "another work_dir."
        )
    return _read_built(final, skipped=True)


def _same_settings(final: str, config_id: str) -> None:
    if _manifest(final)["config_digest"] != config_id:
        raise DatasetError(
            f"{final}: was built with other settings; build everything again with --overwrite."
        )


def _lost_bytes(earlier: State | None) -> int:
    return sum(size for _, size in earlier.files.values()) if earlier else 0


def _run(
    plan: Plan,
    root: str,
    identity: Identity,
    final: str,
    earlier: State | None,
    arguments: tuple[str, ...],
) -> None:
    make_folders(root, *contract.FOLDERS, BUILD_FOLDER, *([STATE_FOLDER] if plan.settings.keep_state else []))
    tally = _count_and_write(plan, root, arguments)
    if earlier is not None:
        tally.update(earlier.tally)
        copy_rejects(earlier, root)
    _check(plan.settings, tally, root, final)
    cuts = tuple(_read_json(root, CUTS_FILE))
    files = _read_json(root, FILES_FILE)
    defaults = _read_json(root, DEFAULTS_FILE)
    delete_files(root, [TALLY_FILE, CUTS_FILE, FILES_FILE, DEFAULTS_FILE])
    remove_tree(join(root, BUILD_FOLDER))
    written = metadata_files(plan, tally, files, (cuts[0], cuts[1]), defaults, identity)
    last = written.pop(MANIFEST_FILE)
    if plan.settings.keep_state:
        written |= state_facts(plan, tally, earlier)
    if plan.settings.report:
        written[REPORT_FILE] = render_report(json.loads(last), json.loads(written[STATS_FILE]))
    for path, data in (written | {MANIFEST_FILE: last}).items():
        write_bytes(root, path, data)
    _LOG.info(
        "read %s, rejects %s, left out %s",
        *(tally.with_prefix(p) for p in ("read/", "rejects/", "left_out/")),
    )


def _count_and_write(plan: Plan, root: str, arguments: tuple[str, ...]) -> Tally:
    """Runs the pipeline, again with more rounds of the minimums where they do not hold yet."""
    tally = Tally()
    for rounds in rounds_to_try(plan.settings.filters):
        build = partial(build_graph, plan=dataclasses.replace(plan, rounds=rounds), root=root)
        run_pipeline(build, arguments)
        tally = Tally.from_json(_read_json(root, TALLY_FILE))
        if not tally.counts.get(UNSTABLE):
            break
    return tally


def _check(settings: FeatureSettings, tally: Tally, root: str, final: str) -> None:
    """Refuses to publish what nobody could use.

    Raises:
        RejectRateError: a table has too many rejects; they are kept beside the dataset's place.
        InputError: nothing is left, or the filters have not come to rest.
    """
    summary = reject_summary(tally)["by_reason"]
    for table, total in tally.with_prefix("read/").items():
        rejects = {k: v for k, v in summary.items() if k.startswith(f"{table}/")}
        if sum(rejects.values()) > settings.max_reject_rate * total:
            kept = _kept_rejects(final)
            with new_dataset(kept) as folder:
                for path in files_below(root, "rejects"):
                    write_bytes(folder, path, read_bytes(root, path))
            reasons = "\n".join(f"  {count:>9,}  {reason}" for reason, count in rejects.items())
            raise RejectRateError(
                f"{sum(rejects.values()):,} of {total:,} records of {table} were refused, more than "
                f"max_reject_rate = {settings.max_reject_rate:g} allows:\n{reasons}\n"
                f"They are in {kept}. Correct the input or the mapping, or allow more with --max-reject-rate."
            )
    if tally.counts.get(UNSTABLE):
        raise InputError(
            f"the minimums of features.filters do not hold after {settings.filters.max_rounds} rounds: "
            f"{tally.counts[UNSTABLE]:,} items are still too rare. Raise max_rounds."
        )
    if not tally.counts.get("train/events"):
        raise InputError(
            f"no training event is left: read {tally.with_prefix('read/')}, rejects {summary or 'none'}, "
            f"left out {tally.with_prefix('left_out/') or 'none'}. Check the mapping, filters and cuts."
        )


def _kept_rejects(final: str) -> str:
    """Where the rejects of a failed build stay."""
    return f"{final}.rejects"


def _read_built(final: str, skipped: bool) -> Built:
    return Built(final, _manifest(final), _read_json(final, STATS_FILE)["left_out"], skipped)


def _read_json(root: str, path: str) -> Any:
    return json.loads(read_bytes(root, path))
