"""The settings of `[train]`, `[evaluate]` and `[export]`: typed, closed, one sentence a field.

The file is shared with the feature pipelines, which own `[fetch]` and `[features]`; an unknown key is refused by
whoever owns its table.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.contract import CONFIG_KEYS, SPLIT_PROTOCOLS
from trainer.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SplitProtocol = Literal["leave_last_out", "by_time"]
_Positives = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class _Closed(BaseModel):
    """Refuses unknown keys and changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class TextConfig(_Closed):
    """The BERT text tower shared by items and free-text queries."""

    encoder: str | None = None
    """A folder or a KerasHub preset name; by default the folder that `twotower fetch` brings, <work_dir>/encoder."""
    max_tokens: int = Field(64, ge=4, le=512)
    """Longer texts are cut to this many word pieces, [CLS] and [SEP] included."""
    max_characters: int = Field(2048, ge=16, le=100_000)
    """Longer texts are cut to this many characters before they are tokenized."""
    batch_size: int = Field(64, ge=1)
    """Texts encoded at once when the catalogue's vectors are computed; affects speed and memory only."""


class ItemTowerConfig(_Closed):
    """What an item's vector is made of."""

    text: bool = True
    """Use the text vector; without it an item that was not in training has no vector of its own."""
    id_embedding: bool = True
    """Learn a vector for each item of the training events, beside what its features say."""
    id_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of items whose ID vector is hidden in a step, so that text alone must serve (DropoutNet, Volkovs 2017)."""
    fusion: Literal["concatenate", "gate", "attention"] = "gate"
    """How ID, text, categories and numbers become one vector."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout on each component before fusion."""


class HistoryConfig(_Closed):
    """The causal Transformer over the history (SASRec, Kang and McAuley 2018)."""

    max_length: int = Field(100, ge=1, le=4096)
    """Only the most recent events are read, in training and in serving."""
    blocks: int = Field(1, ge=1, le=12)
    heads: int = Field(2, ge=1, le=32)
    dropout: float = Field(0.2, ge=0, lt=1)
    time_gaps: bool = False
    """Read the time between events; requests must then carry `history_timestamp`."""
    event_types: bool = False
    """Read the type of each event; requests must then carry `history_event`."""


class ModelConfig(_Closed):
    """The two towers."""

    embedding_dim: int = Field(64, ge=4, le=1024)
    """Width of query and item vectors and of the Transformer."""
    item: ItemTowerConfig = ItemTowerConfig()
    history: HistoryConfig = HistoryConfig()
    user_features: bool = True
    """Use the user features of the dataset, if it has any."""
    query_text: bool = True
    """Accept a free-text query, read by the same encoder as the items' texts."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ModelConfig:
        if self.embedding_dim % self.history.heads:
            raise ValueError(
                f"history.heads = {self.history.heads} must divide embedding_dim = {self.embedding_dim}"
            )
        return self


class RetrievalConfig(_Closed):
    """The retrieval task: softmax over the targets of the batch and sampled items (tfrs.tasks.Retrieval)."""

    weight: float = Field(1.0, ge=0)
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = Field(1.0, gt=0)
    """Scores are divided by it; with cosine similarity take about 0.05 to 0.1."""
    queries_per_step: int = Field(1024, ge=1)
    """At most this many events of a batch are predicted in a step, drawn at random; bounds memory."""
    uniform_negatives: int = Field(4096, ge=0)
    """Items drawn uniformly beside the batch's own; a catalogue up to this size takes part as a whole."""
    remove_accidental_hits: bool = True
    """A negative that is the positive of the row is removed."""


class QueryTextConfig(_Closed):
    """Free-text queries made from the words of the wanted item, for data without queries of its own."""

    rate: float = Field(0.2, ge=0, le=1)
    """Share of predicted events that are given a text query."""
    without_history: float = Field(0.5, ge=0, le=1)
    """Share of those whose history is hidden, as for a new user who types a wish."""
    word_dropouts: int = Field(2, ge=0, le=16)
    """Number of variants of each text, each with half of its words, beside the text, title and categories."""


class RankingConfig(_Closed):
    """The ranking task (tfrs.tasks.Ranking): re-orders the retrieved items."""

    weight: float = Field(0.3, ge=0)
    """Weight of the loss that puts the target above hard negatives."""
    value_weight: float = Field(0.1, ge=0)
    """Weight of the loss on the observed value (a rating, say), if the dataset has one."""
    queries_per_step: int = Field(128, ge=1)
    """At most this many events of a step are used for this task."""
    candidates: int = Field(200, ge=1)
    """Retrieved items that are re-ordered, in training, evaluation and serving."""
    negatives: int = Field(24, ge=1)
    """Hard negatives a query, drawn from its candidates."""
    hidden_units: int = Field(64, ge=1)


class TrainConfig(_Closed):
    """Training of both tasks together."""

    seed: int = Field(42, ge=0)
    epochs: int = Field(30, ge=1)
    patience: int = Field(8, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best epoch is kept."""
    batch_size: int = Field(16, ge=1)
    """Histories (windows of `history.max_length` events) in a step."""
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW, Loshchilov and Hutter 2019)."""
    warmup_steps: int = Field(100, ge=0)
    clip_norm: float = Field(5.0, gt=0)
    """Gradients are scaled down to this global norm."""
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    query_text: QueryTextConfig = QueryTextConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    ranking: RankingConfig = RankingConfig()


class EvaluateConfig(_Closed):
    """Ranking of the whole catalogue for the held-out test events."""

    ks: _Positives = (10, 50)
    """Cut-offs of Recall, NDCG and MRR."""
    exclude_history: bool = True
    """Leave the items of the history out of the ranking, as serving does."""
    baselines: tuple[Literal["popularity", "item-knn", "ease", "ials", "item-text"], ...] = (
        "popularity",
        "item-knn",
    )
    """What the model is measured beside; each is tuned on validation events where it has settings."""


class ExportConfig(_Closed):
    """The SavedModel."""

    directory: Path = Path("saved_models")
    """Versions appear as <directory>/<name>/<version>."""
    k: int = Field(100, ge=1, le=10_000)
    """Length of the lists that the model returns; callers cut them shorter."""
    max_history: int | None = Field(None, ge=1)
    """Longer histories are cut to their most recent part; by default what the model was trained on."""
    warmup_batch_sizes: _Positives = (1, 8, 32)
    serving_release: str = "2.20"
    """The TensorFlow Serving release whose registered ops the graph may use."""


class _FeaturesView(BaseModel):
    """The little that the trainer must know of the table that it does not own."""

    model_config = ConfigDict(extra="ignore")
    splits: tuple[SplitProtocol, ...] = Field(min_length=1)


class ProjectConfig(_Closed):
    """One configuration file as the trainer sees it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the data set and of the served model."""
    work_dir: Path
    """Everything between the raw files and the exported model is kept below it."""
    features: _FeaturesView
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()

    def dataset_dir(self, split: str) -> Path:
        """Where `twotower features build` leaves the dataset of a split protocol."""
        return self.work_dir / split / "dataset"

    def run_dir(self, split: str) -> Path:
        """Where the training run of a split protocol lives."""
        return self.work_dir / split / "model"

    def evaluation_file(self, split: str) -> Path:
        """Where `twotower evaluate` writes its figures."""
        return self.work_dir / split / "evaluation.json"

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
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    _refuse_unknown_keys(document, path)
    document.pop("fetch", None)
    try:
        return ProjectConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_describe(error, path)) from None


def _refuse_unknown_keys(document: dict[str, Any], path: Path) -> None:
    for key in document:
        if key not in CONFIG_KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{_did_you_mean(key, CONFIG_KEYS)}.")


def _did_you_mean(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _describe(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(
                f"{path}: unknown key {where!r}{_did_you_mean(str(problem['loc'][-1]), _siblings(problem['loc']))}."
            )
        else:
            came = "" if problem["type"] == "missing" else f" (came: {problem['input']!r})"
            lines.append(f"{path}: {where}: {problem['msg']}{came}.")
    return "\n".join(lines)


def _siblings(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Names of the fields beside an unknown key."""
    model: Any = ProjectConfig
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
