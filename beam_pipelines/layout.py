"""Which columns the tables of a dataset have, from the settings alone."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from beam_pipelines.columns import CategorySpec, NumberSpec
from beam_pipelines.contract import Feature, Role, Schema, vocabulary_file
from beam_pipelines.settings import FeatureSettings

KEYWORDS = "keywords"
"""The feature that keywords are in."""
TEXT_VARIANTS = "text_variants"
"""The feature that other wordings of texts are in."""
_EVENT_FEATURES: tuple[tuple[str, Literal["string", "float32"], str], ...] = (
    ("event", "string", "Kind of each event."),
    ("value", "float32", "Label of each event: a rating, a quantity or a duration."),
    ("weight", "float32", "How much each event counts in training."),
    ("query_text", "string", "What the user had typed before each event."),
)


def has_time(settings: FeatureSettings) -> bool:
    """Events have a time, not just an order."""
    return settings.events.timestamp is not None


def event_features(settings: FeatureSettings) -> tuple[str, ...]:
    """Names of the optional columns of the events that reach the dataset, in order."""
    events, dropped = settings.events, settings.privacy.drop_roles
    mapped: dict[str, bool] = {
        "event": events.event is not None,
        "value": events.value is not None,
        "weight": events.weight is not None or events.event_weights is not None,
        "query_text": events.query_text is not None,
    }
    named = tuple(name for name, present in mapped.items() if present and name not in dropped)
    return (*named, *event_categories(settings), *event_numerics(settings))


def event_categories(settings: FeatureSettings) -> dict[str, CategorySpec]:
    """Categories of the events that reach the dataset."""
    return {} if "event_category" in settings.privacy.drop_roles else settings.events.categories


def event_numerics(settings: FeatureSettings) -> dict[str, NumberSpec]:
    """Numbers of the events that reach the dataset."""
    return {} if "event_numeric" in settings.privacy.drop_roles else settings.events.numerics


def vocabulary_specs(settings: FeatureSettings) -> dict[str, CategorySpec]:
    """How the vocabularies of the categories are cut."""
    items = settings.items.categories if settings.items else {}
    users = settings.users.categories if settings.users else {}
    return {**items, **users, **settings.events.categories}


def written_items(settings: FeatureSettings) -> pa.Schema:
    """Columns of the item table as the dataset has it: those of the catalogue, and what was made of them."""
    table = item_table(settings)
    made = {KEYWORDS: settings.keywords, TEXT_VARIANTS: settings.text_variants}
    for name in (name for name, wanted in made.items() if wanted is not None):
        table = table.append(pa.field(name, pa.list_(pa.string())))
    return table


def item_table(settings: FeatureSettings) -> pa.Schema:
    """Columns of the item table; strings, lists of strings, float32, fixed-size lists of float32."""
    fields = [pa.field("item_id", pa.string())]
    items = settings.items
    if items is not None:
        fields += [pa.field(n, pa.string()) for n in ("title", "text") if getattr(items, n) is not None]
        fields += [pa.field(n, pa.list_(pa.string())) for n in items.categories]
        fields += [pa.field(n, pa.float32()) for n in items.numerics]
        fields += [pa.field(n, pa.list_(pa.float32(), v.length)) for n, v in items.vectors.items()]
    return pa.schema(fields)


def user_table(settings: FeatureSettings) -> pa.Schema:
    """Columns of the user features."""
    users, dropped = settings.users, settings.privacy.drop_roles
    fields = []
    if users is not None and "user_category" not in dropped:
        fields += [pa.field(n, pa.string()) for n in users.categories]
    if users is not None and "user_numeric" not in dropped:
        fields += [pa.field(n, pa.float32()) for n in users.numerics]
    return pa.schema(fields)


def dataset_schema(settings: FeatureSettings, defaults: dict[str, float]) -> Schema:
    """The dataset's schema.

    Args:
        settings: of the features.
        defaults: for missing numbers, by feature.
    """
    return Schema(_item_features(settings, defaults), _sequence_features(settings, defaults))


def _item_features(settings: FeatureSettings, defaults: dict[str, float]) -> tuple[Feature, ...]:
    features = [_item_id((), "Identifies the item.")]
    items = settings.items
    if items is None:
        return tuple(features)
    if items.title is not None:
        features.append(Feature("title", "string", (), "item_title", "Name of the item, for people.", ""))
    if items.text is not None:
        features.append(Feature("text", "string", (), "item_text", "What the text tower reads.", ""))
    for name, spec in items.categories.items():
        text = f"Categories of the item: {name}."
        features.append(_category(name, (None,), "item_category", text, spec))
    for name in items.numerics:
        text = f"Number of the item: {name}."
        features.append(Feature(name, "float32", (), "item_numeric", text, defaults.get(name, 0.0)))
    for name, vector in items.vectors.items():
        text = f"Precomputed vector of the item: {name}."
        features.append(Feature(name, "float32", (vector.length,), "item_vector", text, 0.0))
    if items.keywords is not None:
        text, vocabulary = "Phrases of the text that say what the item is about.", vocabulary_file(KEYWORDS)
        features.append(Feature(KEYWORDS, "string", (None,), "item_keyword", text, "", vocabulary))
    if items.text_variants is not None:
        text = "Other wordings of the text, for training."
        features.append(Feature(TEXT_VARIANTS, "string", (None,), "item_text_variant", text, ""))
    return tuple(features)


def _sequence_features(settings: FeatureSettings, defaults: dict[str, float]) -> tuple[Feature, ...]:
    features = [
        Feature("user_id", "string", (), "user_id", "Identifies the user; no model input."),
        _item_id((None,), "Items of the user's events, oldest first."),
    ]
    if has_time(settings):
        text = "Unix seconds of each event."
        features.append(Feature("timestamp", "int64", (None,), "timestamp", text, 0))
    mapped = event_features(settings)
    for name, dtype, text in _EVENT_FEATURES:
        if name in mapped:
            role: Role = name  # type: ignore[assignment]
            vocabulary = vocabulary_file(name) if name == "event" else None
            default: str | float = "" if dtype == "string" else 0.0
            features.append(Feature(name, dtype, (None,), role, text, default, vocabulary))
    for name, spec in event_categories(settings).items():
        text = f"Category of each event: {name}."
        features.append(_category(name, (None,), "event_category", text, spec))
    for name in event_numerics(settings):
        text = f"Number of each event: {name}."
        features.append(Feature(name, "float32", (None,), "event_numeric", text, 0.0))
    specs = vocabulary_specs(settings)
    for field in user_table(settings):
        if pa.types.is_string(field.type):
            text = f"Category of the user: {field.name}."
            features.append(_category(field.name, (), "user_category", text, specs[field.name]))
        else:
            text = f"Number of the user: {field.name}."
            default = defaults.get(field.name, 0.0)
            features.append(Feature(field.name, "float32", (), "user_numeric", text, default))
    text = "Number of events before the first target of the split; the rest are targets."
    features.append(Feature("target_start", "int64", (), "target_start", text, 0))
    return tuple(features)


def _category(name: str, shape: tuple[int | None, ...], role: Role, text: str, spec: CategorySpec) -> Feature:
    vocabulary = vocabulary_file(name)
    return Feature(name, "string", shape, role, text, "", vocabulary, spec.oov_buckets, spec.min_count)


def _item_id(shape: tuple[int | None, ...], text: str) -> Feature:
    return Feature("item_id", "string", shape, "item_id", text, None, vocabulary_file("item_id"))
