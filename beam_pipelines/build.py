"""Builds a dataset directory: plans, runs the pipeline beside the final place, checks, publishes."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_pipelines import contract
from beam_pipelines.config import RunConfig
from beam_pipelines.contract import DatasetPaths, read_manifest
from beam_pipelines.errors import DatasetError, InputError, RejectRateError
from beam_pipelines.files_out import read_bytes, write_bytes
from beam_pipelines.filtering import UNSTABLE
from beam_pipelines.graph import CUTS_FILE, DEFAULTS_FILE, FILES_FILE, TALLY_FILE, build_graph
from beam_pipelines.manifest import Identity, metadata_files, reject_summary
from beam_pipelines.plan import Plan, config_digest, input_digest, make_plan
from beam_pipelines.privacy import read_key
from beam_pipelines.publishing import new_directory
from beam_pipelines.report import render_report
from beam_pipelines.running import run_pipeline
from beam_pipelines.settings import FeatureSettings
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

    path: Path
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
    read_key(settings.privacy)
    final = config.dataset_dir(protocol)
    earlier = read_state(final) if append and final.exists() else None
    plan = make_plan(settings, protocol, data_dir, _lost_bytes(earlier))
    known = {label: digest for label, (digest, _) in earlier.files.items()} if earlier else {}
    version = importlib.metadata.version("twotower")
    config_id = config_digest(config.name, settings, protocol, version)
    identity = Identity(config.name, version, config_id, input_digest(plan, known))
    if earlier is not None:
        _same_settings(final, config_id)
        plan = only_new(plan, earlier)
    if final.exists() and not overwrite and (earlier is None or not plan.events.files):
        return _existing(final, identity)
    with new_directory(final) as building:
        _run(plan, building, identity, final, earlier, beam_arguments)
    shutil.rmtree(_kept_rejects(final), ignore_errors=True)
    return _read_built(final, skipped=False)


def _existing(final: Path, identity: Identity) -> Built:
    manifest = read_manifest(final)
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


def _same_settings(final: Path, config_id: str) -> None:
    if read_manifest(final)["config_digest"] != config_id:
        raise DatasetError(
            f"{final}: was built with other settings; build everything again with --overwrite."
        )


def _lost_bytes(earlier: State | None) -> int:
    return sum(size for _, size in earlier.files.values()) if earlier else 0


def _run(
    plan: Plan,
    building: Path,
    identity: Identity,
    final: Path,
    earlier: State | None,
    arguments: tuple[str, ...],
) -> None:
    root = str(building)
    _make_folders(building)
    run_pipeline(lambda pipeline: build_graph(pipeline, plan, root), arguments)
    tally = Tally.from_json(_read_json(root, TALLY_FILE))
    if earlier is not None:
        tally.update(earlier.tally)
        copy_rejects(earlier, building)
    _check(plan.settings, tally, building, final)
    cuts = tuple(_read_json(root, CUTS_FILE))
    files = _read_json(root, FILES_FILE)
    defaults = _read_json(root, DEFAULTS_FILE)
    for name in (TALLY_FILE, CUTS_FILE, FILES_FILE, DEFAULTS_FILE):
        (building / name).unlink()
    (building / "_build").rmdir()
    if not plan.settings.keep_state:
        (building / "state").rmdir()
    if plan.settings.keep_state:
        write_bytes(root, *state_facts(plan, tally, earlier))
    written = metadata_files(plan, tally, files, (cuts[0], cuts[1]), defaults, identity)
    if plan.settings.report:
        # Before dataset.json, the completion marker.
        last = written.pop("dataset.json")
        stats = json.loads(written["stats.json"])
        written |= {"report.html": render_report(json.loads(last), stats), "dataset.json": last}
    for path, data in written.items():
        write_bytes(root, path, data)
    _LOG.info(
        "read %s, rejects %s, left out %s",
        *(tally.with_prefix(p) for p in ("read/", "rejects/", "left_out/")),
    )


def _make_folders(building: Path) -> None:
    for name in (
        "_build",
        "state",
        "items",
        "vocab",
        "rejects",
        *(f"sequences/{split}" for split in contract.SPLITS),
    ):
        (building / name).mkdir(parents=True)


def _check(settings: FeatureSettings, tally: Tally, building: Path, final: Path) -> None:
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
            with new_directory(kept) as folder:
                (building / "rejects").rename(folder / "rejects")
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


def _kept_rejects(final: Path) -> Path:
    """Where the rejects of a failed build stay."""
    return final.with_name(f"{final.name}.rejects")


def _read_built(final: Path, skipped: bool) -> Built:
    stats = json.loads(DatasetPaths(final).stats.read_text("utf-8"))
    return Built(final, read_manifest(final), stats["left_out"], skipped)


def _read_json(root: str, path: str) -> Any:
    return json.loads(read_bytes(root, path))
