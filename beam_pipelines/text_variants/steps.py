"""The Beam step that gives rare items of a build other wordings of their texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.layout import TEXT_VARIANTS
from beam_pipelines.partition import from_bytes, to_bytes
from beam_pipelines.plan import Plan
from beam_pipelines.template import fill_template
from beam_pipelines.text_variants.making import MaskedWords, variants_of
from beam_pipelines.text_variants.settings import TextVariantSettings


def add_text_variants(plan: Plan, items: Any) -> Any:
    """Appends the feature, where the settings ask for it.

    Args:
        plan: of the build.
        items: collection of (partition, Arrow bytes of the items).
    """
    if plan.settings.text_variants is None:
        return items
    return items | "Add text variants" >> beam.ParDo(AddTextVariants(plan, plan.settings.text_variants))


class AddTextVariants(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """(partition, Arrow bytes of the items) to the same with variants, a list of strings, behind the other columns.

    Args:
        plan: of the build; its configuration file names the text encoder.
        settings: of the variants.
    """

    def __init__(self, plan: Plan, settings: TextVariantSettings) -> None:
        self._config, self._split, self._seed = plan.config, plan.protocol, plan.settings.seed
        self._settings = settings
        self._words: MaskedWords | None = None

    def setup(self) -> None:
        """Opens the trainer's side, where words are to be replaced."""
        if "masked_words" in self._settings.methods:
            from beam_pipelines.embedding_texts import open_vectors

            self._words = open_vectors(self._config, self._split)

    def process(self, element: tuple[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Adds to one partition."""
        partition, data = element
        items = from_bytes(data)
        rare = pc.less_equal(items["train"], self._settings.max_events)
        texts: list[str] = pc.if_else(rare, pc.fill_null(items["text"], ""), "").to_pylist()
        paraphrases = paraphrased(items, self._settings.templates)
        ids: list[str] = items["item_id"].to_pylist()
        variants = variants_of(ids, texts, paraphrases, self._settings, self._seed, self._words)
        items = items.append_column(TEXT_VARIANTS, pa.array(variants, pa.list_(pa.string())))
        yield partition, to_bytes(items)


def paraphrased(items: pa.Table, templates: tuple[str, ...]) -> list[list[str]]:
    """For each item what each template makes of its title, text, categories and numbers."""
    columns = {name: _as_text(items[name].combine_chunks()) for name in items.column_names}
    filled = [fill_template(template, columns, len(items)).to_pylist() for template in templates]
    return [list(row) for row in zip(*filled, strict=True)] if filled else [[] for _ in range(len(items))]


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_list(column.type):
        lists = column.to_pylist()
        return pa.array([", ".join(map(str, values or ())) for values in lists], pa.string())
    if pa.types.is_floating(column.type):
        values = column.to_pylist()
        return pa.array([None if value is None else f"{value:g}" for value in values], pa.string())
    return pa.nulls(len(column), pa.string())
