"""What `[features.items.text_variants]` may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from beam_pipelines.input_settings import Closed
from beam_pipelines.template import template_columns

Method = Literal["masked_words", "word_dropout", "field_dropout", "paraphrase"]


class TextVariantSettings(Closed):
    """Other wordings of the texts of rare items, a feature of the dataset."""

    count: int = Field(4, ge=1, le=64, description="Most variants of an item.")
    max_events: int = Field(
        10, ge=0, description="Only items with at most so many training events, new ones among them."
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = Field(
        ("word_dropout", "field_dropout"),
        description="masked_words: the text encoder's masked language model puts others in the place of some words "
        "(Devlin 2018; Kobayashi 2018); the workers then need twotower[train] and the encoder. word_dropout: some are "
        "left out (Iyyer 2015). field_dropout: one part of the text, between sentences, semicolons, bars and line "
        "breaks, is left out. paraphrase: one of `templates`.",
    )
    share: float = Field(0.2, gt=0, lt=1, description="Of the words that are left out or replaced.")
    templates: tuple[str, ...] = Field(
        (),
        description="Of paraphrase: templates over title, text, categories and numbers as the dataset has them, such "
        'as "{title}[: {genre}]".',
    )
    candidates: int = Field(
        8, ge=1, le=1000, description="Of masked_words: the likeliest words that are drawn from."
    )
    min_similarity: float = Field(
        0.85,
        ge=-1,
        le=1,
        description="Of masked_words: a variant whose vector has a lower cosine with the text's is left out.",
    )

    @field_validator("methods")
    @classmethod
    def _each_once(cls, values: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(values)) < len(values):
            raise ValueError("name each one once")
        return values

    @model_validator(mode="after")
    def _templates_to_paraphrase_by(self) -> TextVariantSettings:
        if ("paraphrase" in self.methods) != bool(self.templates):
            raise ValueError('the method "paraphrase" and `templates` need each other')
        return self

    @property
    def columns(self) -> set[str]:
        """What the templates read.

        Raises:
            ValueError: a template is not valid.
        """
        return {column for template in self.templates for column in template_columns(template)}
