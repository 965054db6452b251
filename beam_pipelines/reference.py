"""The tables of `docs/features.md`, made from the settings themselves: `python -m beam_pipelines.reference`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from beam_pipelines import columns, input_settings, settings
from beam_pipelines.keywords.settings import KeywordSettings
from beam_pipelines.text_variants.settings import TextVariantSettings

_TABLES: tuple[tuple[str, type[BaseModel], tuple[type[BaseModel], ...]], ...] = (
    ("[fetch]", settings.FetchSettings, ()),
    ("[features]", settings.FeatureSettings, ()),
    ("every table with files", input_settings.TableFiles, ()),
    ("[features.events]", settings.EventSettings, (input_settings.TableFiles,)),
    ("[features.items]", settings.ItemSettings, (input_settings.TableFiles,)),
    ("[features.items.keywords]", KeywordSettings, ()),
    ("[features.items.text_variants]", TextVariantSettings, ()),
    ("[features.users]", settings.UserSettings, (input_settings.TableFiles,)),
    ("[features.filters]", settings.FilterSettings, ()),
    ("[features.split]", settings.SplitSettings, ()),
    ("[features.privacy]", settings.PrivacySettings, ()),
    ("a column", columns.ColumnSpec, ()),
    ("a number, as well", columns.NumberSpec, (columns.ColumnSpec,)),
    ("a category, as well", columns.CategorySpec, (columns.ColumnSpec,)),
    ("a list of categories, as well", columns.ListSpec, (columns.CategorySpec,)),
    ("a vector, as well", columns.VectorSpec, (columns.ColumnSpec,)),
    ("a time, as well", columns.TimeSpec, (columns.ColumnSpec,)),
)


def render_reference() -> str:
    """Markdown with every key, its default and its meaning."""
    return "\n".join(_table(title, model, without) for title, model, without in _TABLES)


def _table(title: str, model: type[BaseModel], without: tuple[type[BaseModel], ...]) -> str:
    inherited = {name for base in without for name in base.model_fields}
    rows = [
        f"| `{name}` | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in model.model_fields.items()
        if name not in inherited
    ]
    heading = f"`{title}`" if title.startswith("[") else title.capitalize()
    return f"### {heading}\n\n| key | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return ""
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")


if __name__ == "__main__":
    print(render_reference())
