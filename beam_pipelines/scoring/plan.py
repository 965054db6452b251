"""Everything that is decided before a run starts: model, units of work, digests."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.cli import local_dataset
from beam_pipelines.contract import DatasetPaths, digest
from beam_pipelines.errors import ConfigError, InputError, ModelError
from beam_pipelines.files_out import is_remote
from beam_pipelines.input_settings import TableFiles
from beam_pipelines.plan import content_digest
from beam_pipelines.reader import Dataset
from beam_pipelines.scoring.handler import SavedModelHandler, SignatureHandler
from beam_pipelines.scoring.locate import find_signature, open_model
from beam_pipelines.scoring.remote import InstalledClient, RemoteModelHandler, served_signatures
from beam_pipelines.scoring.sentences import Sentences
from beam_pipelines.scoring.settings import ScoreSettings
from beam_pipelines.scoring.signature import Signature, TensorSpec
from beam_pipelines.scoring.task import TASKS, Task
from beam_pipelines.scoring.units import DatasetItems, DatasetUsers, FileBlock, Inputs, Unit
from beam_pipelines.sources.compression import strip_suffix
from beam_pipelines.sources.files import InputFile, find_files, split_blocks

_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Grouping:
    """Records are brought together before they are scored.

    Attributes:
        units: to read.
        inputs: of their records.
        field: whose hash decides.
        shards: number of partitions.
        users: partition to the users that the records are items for; empty: the records are scored themselves.
    """

    units: tuple[Unit, ...]
    inputs: Inputs
    field: str
    shards: int
    users: dict[int, Unit]


@dataclass(frozen=True)
class ScorePlan:
    """What a run does.

    Attributes:
        settings: of the run.
        task: what is scored.
        handler: of the model.
        inputs: of the records.
        sentences: made of explanations, or None.
        units: of work, where records are not grouped.
        grouping: how they are grouped, or None.
        model: for the manifest: path or address, version, digest.
        scoring_digest: of model and settings: equal ones give equal results for equal records.
        input_digest: of the records.
        headers: label of each raw file to the number of its header lines.
    """

    settings: ScoreSettings
    task: Task
    handler: SignatureHandler
    inputs: Inputs
    sentences: Sentences | None
    units: tuple[Unit, ...]
    grouping: Grouping | None
    model: dict[str, Any]
    scoring_digest: str
    input_digest: str
    headers: dict[str, int]

    @property
    def unit_count(self) -> int:
        """Number of units of work."""
        return self.grouping.shards if self.grouping else len(self.units)


def plan_scoring(settings: ScoreSettings) -> ScorePlan:
    """Looks at model and input and plans a run.

    Raises:
        ModelError: the model cannot be used for it.
        DatasetError: the dataset is unfinished.
        InputError: a file is missing or cannot be read.
        ConfigError: a setting does not fit the model.
    """
    task = TASKS[settings.task]
    handler, signature, model = _model(settings, task)
    sentences = Sentences.of(settings)
    task = task.fitted([*signature.outputs, *(["sentence"] if sentences else [])])
    _check(settings, task, signature)
    inputs = Inputs(task, signature.inputs, dict(settings.defaults), settings.ignore_unknown)
    files, pairs = _files(settings.files), _files(settings.pairs)
    if is_remote(settings.output):
        raise ConfigError(
            f"{settings.output}: results are published by rename, so --output must be a local folder."
        )
    dataset = Dataset.open(local_dataset(settings.dataset)) if settings.dataset else None
    units = _dataset_units(dataset, settings, task) if dataset else _file_units(files)
    grouping = _grouping(settings, inputs, units, pairs)
    layout = [grouping.field, grouping.shards] if grouping else [type(dataset).__name__, len(units)]
    options = {
        name: getattr(settings, name)
        for name in ("task", "k", "format", "by_item", "defaults", "ignore_unknown", "history")
    }
    options["sentences"] = sentences.digest() if sentences else None
    version = importlib.metadata.version("twotower")
    contents = [[file.label, content_digest(file)] for file in (*files, *pairs)]
    if dataset:
        contents.append(["dataset", digest(DatasetPaths(dataset.root).manifest.read_text("utf-8"))])
    return ScorePlan(
        settings=settings,
        task=task,
        handler=handler,
        inputs=inputs,
        sentences=sentences,
        units=units,
        grouping=grouping,
        model=model,
        scoring_digest=digest({"model": model["digest"], "layout": layout, "version": version} | options),
        input_digest=digest(contents),
        headers={file.label: int(file.body > 0) for file in (*files, *pairs)},
    )


def _model(settings: ScoreSettings, task: Task) -> tuple[SignatureHandler, Signature, dict[str, Any]]:
    limits: dict[str, Any] = {
        "max_batch_size": settings.batch_size,
        "max_batch_length": settings.batch_length,
    }
    if settings.target is None:
        files = open_model(settings.model)
        signature = files.signature(task.signature)
        limits |= {"threads": settings.threads, "memory_limit_mb": settings.memory_limit_mb}
        handler = SavedModelHandler(files.path, task.signature, **limits)
        version = files.path.rpartition("/")[2]
        return handler, signature, {"path": files.path, "version": version, "digest": files.digest()}
    connect = InstalledClient(settings.target, settings.model)
    try:
        facts = connect().metadata()
    except ModelError:
        raise
    except Exception as error:  # of a client that is not known here
        raise ModelError(f"{settings.target}: cannot be asked about {settings.model!r}: {error}") from error
    where = f"{settings.target}/{settings.model}"
    signature = find_signature(served_signatures(facts), task.signature, where)
    model = {"path": where, "version": str(facts.version), "digest": f"{where}/{facts.version}"}
    return RemoteModelHandler(connect, task.signature, deadline=settings.deadline, **limits), signature, model


def _check(settings: ScoreSettings, task: Task, signature: Signature) -> None:
    """Says before the run what would be wrong with every record.

    Raises:
        ModelError: the outputs are not those of a model of this distribution.
        ConfigError: k is larger than the model's, or a default is for no input.
    """
    if missing := [
        output
        for output in task.columns.values()
        if output not in (*signature.outputs, "item_id", "sentence")
    ]:
        raise ModelError(f"{settings.model}: the signature {signature.name!r} has no output {missing[0]!r}.")
    longest = (
        signature.outputs["item_id"].shape[-1] if task.ranked and signature.outputs["item_id"].shape else None
    )
    if settings.k is not None and longest is not None and settings.k > longest:
        raise ConfigError(
            f"k is {settings.k}, but this model gives {longest} items; export it with a larger k."
        )
    for name in settings.defaults:
        if name not in signature.inputs:
            known = ", ".join(sorted(signature.inputs))
            raise ConfigError(f"the signature {signature.name!r} has no input {name!r}; it has {known}.")
    if settings.shard_by not in (None, task.key, *signature.inputs):
        known = ", ".join([task.key, *sorted(signature.inputs)])
        raise ConfigError(f"records have no field {settings.shard_by!r} to shard by; they have {known}.")


def _dataset_units(dataset: Dataset, settings: ScoreSettings, task: Task) -> tuple[Unit, ...]:
    root = str(dataset.root.resolve())
    if task.side == "users":
        shards = dataset.manifest["splits"]["train"]["shards"]
        return tuple(DatasetUsers(root, shard, settings.history) for shard in range(shards))
    return tuple(DatasetItems(root, shard) for shard in range(dataset.manifest["items"]["shards"]))


def _files(patterns: tuple[str, ...]) -> list[InputFile]:
    for pattern in patterns:
        matches = FileSystems.match([pattern])[0].metadata_list
        if not matches:
            raise InputError(f"nothing matches {pattern!r}. Check the path.")
        for match in matches:
            if Path(strip_suffix(match.path)).suffix.lower() not in _FORMATS:
                raise InputError(
                    f"{match.path}: cannot tell the format from the name; it must end in "
                    f"{', '.join(_FORMATS)}, and may be compressed."
                )
    return find_files(_table(patterns), str(Path.cwd()), "records") if patterns else []


def _table(patterns: tuple[str, ...]) -> TableFiles:
    return TableFiles.model_validate({"files": patterns})


def _file_units(files: list[InputFile]) -> tuple[Unit, ...]:
    settings = _table(tuple(file.path for file in files)) if files else _table(("none",))
    return tuple(FileBlock(block, settings) for file in files for block in split_blocks(file, settings))


def _grouping(
    settings: ScoreSettings, inputs: Inputs, units: tuple[Unit, ...], pairs: list[InputFile]
) -> Grouping | None:
    if pairs:
        task = Task("pairs", "", "users")
        item = {"item_id": TensorSpec("item_id", "string", (None, None))}
        users = dict(enumerate(units))
        return Grouping(
            _file_units(pairs), Inputs(task, item, {}, lenient=True), "user_id", len(units), users
        )
    if settings.shard_by is None:
        return None
    return Grouping(units, inputs, settings.shard_by, settings.shards, {})
