"""The configuration file as the trainer sees it: `[evaluate]`, `[export]` and, in `trainer/train_config.py`, `[train]`.

The file is shared with the feature pipelines, which own `[fetch]` and `[features]`; an unknown key is refused by
whoever owns its table.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.contract import CONFIG_KEYS, SPLIT_PROTOCOLS
from trainer.distill.config import DistillConfig
from trainer.errors import ConfigError
from trainer.indexes.settings import IndexConfig
from trainer.train_config import Closed, TrainConfig
from trainer.tuning.settings import TuneConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "EvaluateConfig",
    "ExportConfig",
    "ProjectConfig",
    "SplitProtocol",
    "TrainConfig",
    "digest_of",
    "load_config",
]

_OTHERS = ("fetch", "intent")
"""Tables that have nothing to do with the recommender, or belong to another package."""

SplitProtocol = Literal["leave_last_out", "by_time"]
_Positives = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class EvaluateConfig(Closed):
    """Ranking of the whole catalogue for the held-out test events."""

    ks: _Positives = (10, 50)
    """Cut-offs of Recall, NDCG and MRR."""
    exclude_history: bool | None = None
    """Leave the items of the history out of the ranking. By default as serving does: yes, unless `train.repeats`."""
    both_protocols: bool = False
    """Measure accuracy once more with the items of the history treated the other way, so that a figure can be compared
    with published ones of either kind; ranks everything twice."""
    baselines: tuple[Literal["popularity", "item-knn", "ease", "ials", "item-text", "tfrs-tutorial"], ...] = (
        "popularity",
        "item-knn",
    )
    """What the model is measured beside; each is tuned on validation events where it has settings."""


class ExportConfig(Closed):
    """The SavedModel."""

    directory: Path = Path("saved_models")
    """Versions appear as <directory>/<name>/<version>."""
    k: int = Field(100, ge=1, le=10_000)
    """Length of the lists that the model returns; callers cut them shorter."""
    max_history: int | None = Field(None, ge=1)
    """Longer histories are cut to their most recent part; by default what the model was trained on."""
    variant_feature: str | None = None
    """Item feature whose equal values make items variants of one another, for requests that want one of each; by
    default the title, compared without case and punctuation."""
    text_precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """What the text tower's matrices are stored as: int8 with a scale for each output takes a quarter of the room,
    bfloat16 half. What it costs is measured; see `trainer/quantisation.py`."""
    text_precision_max_loss: float = Field(0.01, ge=0, le=1)
    """The greatest share of NDCG@10 on validation queries with text that a smaller precision may cost."""
    index: IndexConfig = IndexConfig()
    explanations: bool = False
    """Export the signature `explain`: what each event, word and feature contributes to a score. Off by default, because
    the check of an export asks it hundreds of questions a row."""
    explain_item_words: bool = True
    """Let it take apart the texts of items, too; the model then holds the items' features as they were described."""
    explanation_turns: int = Field(4, ge=1, le=64)
    """Orders in which events and words come in, each with its reverse; more are more exact and take longer."""
    explanation_items: int = Field(100, ge=10, le=10_000)
    """Most items that a request of `explain` may ask about; one that asks about more is refused. Each costs a pass over
    the words of its text."""
    warmup_batch_sizes: _Positives = (1, 8, 32)
    serving_release: str = "2.20"
    """The TensorFlow Serving release whose registered ops the graph may use."""
    server_ops: tuple[str, ...] = ()
    """Further ops that the server was built with; "Scann>" stands for all of that namespace. A server without them
    does not load the model."""


class _FeaturesView(BaseModel):
    """The little that the trainer must know of the table that it does not own."""

    model_config = ConfigDict(extra="ignore")
    splits: tuple[SplitProtocol, ...] = Field(min_length=1)


class ProjectConfig(Closed):
    """One configuration file as the trainer sees it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the data set and of the served model."""
    work_dir: Path
    """Everything between the raw files and the exported model is kept below it."""
    features: _FeaturesView
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = TuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    distill: DistillConfig = DistillConfig()
    export: ExportConfig = ExportConfig()

    @property
    def excludes_history(self) -> bool:
        """Whether evaluation leaves the items of the history out of the ranking."""
        chosen = self.evaluate.exclude_history
        return not self.train.repeats if chosen is None else chosen

    def dataset_dir(self, split: str) -> Path:
        """Where `twotower features build` leaves the dataset of a split protocol."""
        return self.work_dir / split / "dataset"

    def run_dir(self, split: str) -> Path:
        """Where the training run of a split protocol lives."""
        return self.work_dir / split / "model"

    def evaluation_file(self, split: str) -> Path:
        """Where `twotower evaluate` writes its figures."""
        return self.work_dir / split / "evaluation.json"

    def report_file(self, split: str) -> Path:
        """Where `twotower evaluate` draws them."""
        return self.work_dir / split / "report.html"

    def tune_dir(self, split: str) -> Path:
        """Where `twotower tune` keeps what it tried."""
        return self.work_dir / split / "tune"

    def encoder(self) -> str:
        """The text encoder: a preset name or a folder."""
        return self.train.text.encoder or str(self.work_dir / "encoder")

    def splits(self, only: str | None) -> tuple[str, ...]:
        """The split protocols to work on: all of the file, or the one asked for.

        Raises:
            ConfigError: `only` is not one of the file's.
        """
        if only is None:
            return self.features.splits
        if only not in self.features.splits:
            known = ", ".join(self.features.splits)
            raise ConfigError(
                f"--split {only}: the configuration lists features.splits = {known}. Choose one of them."
            )
        return (only,)


def digest_of(*parts: Any) -> str:
    """SHA-256 (hex) of the JSON form of `parts`; pydantic models by their values."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path) -> ProjectConfig:
    """Reads and checks a TOML configuration file.

    Raises:
        ConfigError: the file cannot be read or parsed, or a key or value is not allowed.
    """
    document = read_document(Path(path))
    return validated(
        ProjectConfig, {key: document[key] for key in document if key not in _OTHERS}, Path(path)
    )


def read_document(path: Path) -> dict[str, Any]:
    """The tables of a configuration file, their contents unchecked.

    Raises:
        ConfigError: the file cannot be read or parsed, or has an unknown table.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    _refuse_unknown_keys(document, path)
    return document


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], document: dict[str, Any], path: Path) -> _Model:
    """A configuration file as a typed object.

    Raises:
        ConfigError: a key or value is not allowed; names all of them.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_describe(error, model, path)) from None


def _refuse_unknown_keys(document: dict[str, Any], path: Path) -> None:
    for key in document:
        if key not in CONFIG_KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{_did_you_mean(key, CONFIG_KEYS)}.")


def _did_you_mean(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _describe(error: ValidationError, model: type[BaseModel], path: Path) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            siblings = _siblings(model, problem["loc"])
            lines.append(f"{path}: unknown key {where!r}{_did_you_mean(str(problem['loc'][-1]), siblings)}.")
        else:
            came = "" if problem["type"] == "missing" else f" (came: {problem['input']!r})"
            lines.append(f"{path}: {where}: {problem['msg']}{came}.")
    return "\n".join(lines)


def _siblings(model: Any, location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Names of the fields beside an unknown key."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return ()
        model = field.annotation
    return tuple(model.model_fields)


assert set(SPLIT_PROTOCOLS) == set(SplitProtocol.__args__)  # type: ignore[attr-defined]  # noqa: S101
