"""Beam steps that give the items of a build their keywords."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.keywords.candidates import phrases
from beam_pipelines.keywords.extraction import TextEncoding, candidates_of, keywords_of
from beam_pipelines.keywords.frequencies import DocumentFrequencies, State, merge_states
from beam_pipelines.keywords.settings import KeywordSettings
from beam_pipelines.layout import KEYWORDS
from beam_pipelines.partition import from_bytes, to_bytes
from beam_pipelines.plan import Plan
from beam_pipelines.reading import TALLY
from beam_pipelines.tally import Tally


def add_keywords(plan: Plan, items: Any) -> tuple[Any, Any]:
    """Appends the feature, where the settings ask for it.

    Args:
        plan: of the build.
        items: collection of (partition, Arrow bytes of the items).

    Returns:
        The items, and a collection of tallies of their keywords.
    """
    settings = plan.settings.keywords
    if settings is None:
        return items, items.pipeline | "No keywords" >> beam.Create([Tally().to_state()], reshuffle=False)
    frequencies = (
        items
        | "Count phrases" >> beam.Map(_count, settings=settings)
        | "Sum phrases" >> beam.CombineGlobally(merge_states).without_defaults()
    )
    found = (
        items
        | "Keep items apart" >> beam.Reshuffle()  # a step must not be fused with what makes its side input
        | "Add keywords"
        >> beam.ParDo(
            AddKeywords(settings, _categories(plan), plan.config, plan.protocol),
            frequencies=beam.pvalue.AsSingleton(frequencies),
        ).with_outputs(TALLY, main="main")
    )
    return found["main"], found[TALLY]


class AddKeywords(beam.DoFn):  # type: ignore[misc] # Beam is untyped
    """(partition, Arrow bytes of the items) to the same with keywords, a list of strings, behind the other columns.

    Args:
        settings: of the keywords.
        categories: columns of categories; what they say already is no keyword.
        config: path of the configuration file, which names the text encoder.
        split: protocol of the build.
    """

    def __init__(
        self, settings: KeywordSettings, categories: tuple[str, ...], config: str, split: str
    ) -> None:
        self._settings, self._categories = settings, categories
        self._config, self._split = config, split
        self._encoding: TextEncoding | None = None

    def setup(self) -> None:
        """Opens the trainer's side, where a text encoder is wanted."""
        if self._settings.method == "embedding":
            from beam_pipelines.embedding_texts import open_vectors

            self._encoding = open_vectors(self._config, self._split)

    def process(self, element: tuple[int, bytes], frequencies: State) -> Iterator[Any]:
        """Adds to one partition."""
        partition, data = element
        items, counted = from_bytes(data), DocumentFrequencies.from_state(frequencies)
        said = _words(items, self._categories) if self._categories else None
        keywords = keywords_of(_texts(items), self._settings, counted, self._encoding, said)
        column = pa.array(keywords, pa.list_(pa.string()))
        items = items.append_column(KEYWORDS, column)
        yield beam.pvalue.TaggedOutput(TALLY, _tally(items).to_state())
        yield partition, to_bytes(items)


def _count(element: tuple[int, bytes], settings: KeywordSettings) -> State:
    texts = _texts(from_bytes(element[1]))
    return DocumentFrequencies.counted(candidates_of(text, settings) for text in texts).to_state()


def _categories(plan: Plan) -> tuple[str, ...]:
    return tuple(plan.settings.items.categories) if plan.settings.items else ()


def _words(items: pa.Table, categories: tuple[str, ...]) -> list[set[str]]:
    """The words of each item's categories."""
    columns = [items[name].to_pylist() for name in categories]
    return [
        {word for values in row for value in values or () for word in phrases(value, 1, ())}
        for row in zip(*columns, strict=True)
    ]


def _texts(items: pa.Table) -> list[str]:
    texts: list[str] = pc.fill_null(items["text"], "").to_pylist()
    return texts


def _tally(items: pa.Table) -> Tally:
    """The vocabulary, over the items that occur in training."""
    tally = Tally()
    lists = items.filter(pc.greater(items["train"], 0))[KEYWORDS].combine_chunks()
    counted = pc.value_counts(pc.list_flatten(lists))
    tally.add_values(KEYWORDS, counted.field("values").to_pylist(), counted.field("counts").to_pylist())
    tally.add(f"missing/{KEYWORDS}", pc.sum(pc.equal(pc.list_value_length(lists), 0)).as_py() or 0)
    return tally
