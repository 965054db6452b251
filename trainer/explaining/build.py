"""What a configuration lets an exported model explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.config import ExportConfig
from trainer.explaining.descriptions import Descriptions, example_of
from trainer.explaining.query_side import Limits
from trainer.explaining.serving import ExplainingModel
from trainer.refresh.items_file import Item
from trainer.serving_model import ServingModel
from trainer.signatures import SignatureInputs
from trainer.workbench import Workbench


def build_serving_model(
    config: ExportConfig, bench: Workbench, index: Any, inputs: SignatureInputs, facts: dict[str, Any]
) -> ServingModel:
    """The model behind the signatures, with `explain` or without.

    Args:
        config: Of the export.
        bench: The trained model.
        index: Its catalogue.
        inputs: Of the signatures.
        facts: What `describe` answers.
    """
    preparation = bench.preparation
    parts = (
        bench.model, bench.encoder, preparation.item_lookup, preparation.user_lookup, preparation.item_text, index,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "k": config.k, "max_history": facts["limits"]["history"], "side": inputs.query_side, "facts": facts,
    }  # fmt: skip
    if not config.explanations:
        return ServingModel(*parts, **settings)
    limits = limits_of(config, facts["limits"]["history"])
    return ExplainingModel(*parts, **settings, limits=limits, item_inputs=inputs.item)


def limits_of(config: ExportConfig, max_history: int) -> Limits:
    """How much of a request is taken apart."""
    return Limits(max_history, config.explanation_items, turns=config.explanation_turns)


def described_items(
    config: ExportConfig, bench: Workbench, inputs: SignatureInputs, items: Sequence[Item]
) -> Descriptions | None:
    """The catalogue as it is described, where texts of items are taken apart; `items` in catalogue order."""
    if not explains_item_words(config, bench):
        return None
    return Descriptions([example_of(item.features, inputs.item) for item in items])


def explains_item_words(config: ExportConfig, bench: Workbench) -> bool:
    """Whether `explain` takes texts of items apart: it is wanted, and there are texts that a BERT reads."""
    wanted = config.explanations and config.explain_item_words
    return wanted and bench.encoder is not None and bench.preparation.item_text is not None
