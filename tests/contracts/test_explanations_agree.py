"""Names of what `explain` returns: who writes them, who reads them, and who stands in for them."""

from __future__ import annotations

import pytest

pytest.importorskip("apache_beam", reason="needs twotower[beam]")

from importlib.metadata import entry_points

from beam_pipelines.scoring import task
from beam_pipelines.scoring.sentences import Sentences
from serving import fake_model
from serving.client import Explanation
from serving.client.contributions import _OUTPUTS
from serving.client.sentence_maker import SentenceMaker
from serving.client.sentences import ItemFacts, explain_in_words


def test_names_of_outputs() -> None:
    evidence = {"nearest_item_id": "nearest_item_id", "nearest_cosine": "nearest_item_id"}
    pairs = {output: names for names, values in _OUTPUTS.values() for output in (names, values)}
    assert pairs | evidence == task._PARTS
    assert set(fake_model._EXPLAINED) <= set(task.TASKS["explain"].columns)


def test_a_batch_says_what_the_client_says() -> None:
    parts = {name: [] for pair in _OUTPUTS.values() for name in pair}
    parts |= {"history_item_id": ["a", "b"], "history_contribution": [1.0, 0.5]}
    sentences = Sentences(
        "a\tAlien\nb\tBrazil\nc\tSolaris\n", "a\tsci-fi\nb\tsci-fi\nc\tdrama, sci-fi\n", "en", ""
    )
    (offered,) = entry_points(group="twotower.sentences", name="template")
    maker = offered.load()(sentences.titles, sentences.keywords, sentences.language, sentences.verb)
    assert isinstance(maker, SentenceMaker)
    facts = {
        "a": ItemFacts("Alien", ("sci-fi",)),
        "b": ItemFacts("Brazil", ("sci-fi",)),
        "c": ItemFacts("Solaris", ("drama", "sci-fi")),
    }
    said = maker("c", parts)
    assert said == "Because you watched Alien and Brazil; both are also sci-fi."
    assert explain_in_words([Explanation("c", parts)], facts) == {"c": said}
