"""What `[features.items.keywords]` may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from beam_pipelines.input_settings import Closed


class KeywordSettings(Closed):
    """Keywords of the items' texts, a feature of the dataset."""

    method: Literal["statistical", "embedding"] = Field(
        "statistical",
        description="statistical: by tf-idf. embedding: by the cosine of phrase and text as the text encoder of the "
        "training sees them; the workers then need twotower[train] and the encoder.",
    )
    count: int = Field(5, ge=1, le=100, description="Most keywords of an item.")
    max_words: int = Field(2, ge=1, le=5, description="Most words of a keyword.")
    min_items: int = Field(2, ge=1, description="A keyword stands in the texts of at least so many items.")
    max_share: float = Field(0.2, gt=0, le=1, description="And in at most this share of them.")
    diversity: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Of embedding: how much a keyword loses for its likeness to one that was chosen before it.",
    )
    candidates: int = Field(
        20,
        ge=1,
        le=1000,
        description="Of embedding: phrases of a text that are compared, the best by tf-idf.",
    )
    stop_words: tuple[str, ...] = Field(
        (),
        description="Words that no keyword begins or ends with, besides the function words of English.",
    )
