"""What can be asked of a run of `twotower score`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ScoreSettings(BaseModel):
    """One run. Each field is an option of the command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["recommend", "retrieve", "pairs", "explain", "embed-users", "embed-items", "similar"] = (
        Field(description="What is scored.")
    )
    model: str = Field(
        description="Folder of the model or of one version; with `target` its name on the server."
    )
    target: str | None = Field(
        None, description="Address of a model server to ask, instead of loading the model."
    )
    deadline: float = Field(60.0, gt=0, description="Seconds that a call of the server may take.")
    dataset: str | None = Field(None, description="Directory of a dataset, for its users or items.")
    files: tuple[str, ...] = Field((), description="Raw files with the records, instead of a dataset.")
    pairs: tuple[str, ...] = Field(
        (), description="Files with user_id and item_id, for users of the dataset."
    )
    history: Literal["all", "train", "validation", "test"] = Field(
        "all", description="All events of all users; or what was known before the targets of a split."
    )
    output: str = Field(description="Directory of the results.")
    format: Literal["parquet", "jsonl", "tfrecord", "csv"] = Field("parquet", description="Of the files.")
    by_item: bool = Field(False, description="One row an item, with its rank, instead of lists.")
    k: int | None = Field(None, ge=1, description="Length of the lists; None: as the model was exported.")
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Values for inputs that a record lacks; lists are added to the record's.",
    )
    titles: str | None = Field(
        None, description="titles.tsv with what sentences of `explain` call the items; None: no sentences."
    )
    keywords: str | None = Field(
        None, description="File of item id, tab, properties with commas between, that sentences may name."
    )
    language: Literal["en", "zh"] = Field("en", description="Of the sentences.")
    verb: str = Field("", description="What people do with items, in sentences; empty: watch them.")
    rewriter: str = Field(
        "", description="KerasHub preset that may put sentences in other words; empty: none."
    )
    ignore_unknown: bool = Field(False, description="Pass over fields that the model has no input for.")
    batch_size: int = Field(128, ge=1, description="Records in a call of the model.")
    batch_length: int | None = Field(
        None, ge=1, description="Entries of lists and words of texts in a call, padding included."
    )
    part_records: int = Field(10_000, ge=1, description="Records in a file; what a worker holds at once.")
    shard_by: str | None = Field(None, description="Field whose hash decides on the unit of a record.")
    shards: int = Field(8, ge=1, le=10_000, description="Units with `shard_by`.")
    max_reject_rate: float = Field(0.0, ge=0, le=1, description="Share of the records that may be refused.")
    threads: int | None = Field(None, ge=1, description="Of TensorFlow in each process.")
    memory_limit_mb: int | None = Field(None, ge=1, description="Of each process, with the model loaded.")

    @model_validator(mode="after")
    def _sources(self) -> ScoreSettings:
        if bool(self.dataset) == bool(self.files):
            raise ValueError("give either a dataset or files with the records, not both and not neither")
        of_items = self.task in ("pairs", "explain")
        if self.pairs and not (of_items and self.dataset):
            raise ValueError(
                "files of pairs go with `score pairs` or `score explain` and a dataset that has the users"
            )
        if of_items and self.dataset and not self.pairs:
            raise ValueError(f"`score {self.task}` over a dataset needs files with the pairs")
        return self
