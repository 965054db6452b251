"""Sentences for explanations, at the command line and in batches: by the template, or put in other words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.client.results import Explanation
from serving.client.rewriting import Rewrite, load_rewriter, reworded
from serving.client.sentences import ItemFacts, Language, Wording, find_reasons, item_facts, say, table


class SentenceMaker:
    """Makes a sentence of an explanation.

    Args:
        items: what may be said of items.
        wording: language and verb.
        rewrite: may put sentences in other words, see `reworded`; None: the template's own.
    """

    def __init__(
        self, items: Mapping[str, ItemFacts], wording: Wording, rewrite: Rewrite | None = None
    ) -> None:
        self.items = items
        self._wording = wording
        self._rewrite = rewrite

    @classmethod
    def of_texts(
        cls, titles: str, keywords: str, language: Language, verb: str = "", rewriter: str = ""
    ) -> SentenceMaker:
        """Returns what batches use: `template` in the entry points `twotower.sentences`.

        Args:
            titles: content of a titles.tsv: item id, tab, title.
            keywords: content of a file as `item_facts` reads it, such as a dataset's keywords.tsv.
            language: "en" or "zh".
            verb: what people do with items; empty: "watched", "看过".
            rewriter: a causal language model as `load_rewriter` takes it; empty: none.

        Raises:
            ValueError: there is no such language model.
        """
        rewrite = load_rewriter(rewriter) if rewriter else None
        return cls(item_facts(table(titles), table(keywords)), Wording(language, verb), rewrite)

    def __call__(self, item_id: str, parts: Mapping[str, Any]) -> str:
        """Returns a sentence for an item, or ""; `parts` as in `Explanation`, which may be lists instead of arrays."""
        reasons = find_reasons(Explanation(item_id, parts), self.items)
        if self._rewrite is None:
            return say(reasons, self._wording)
        return reworded(reasons, self._rewrite, self._wording)
