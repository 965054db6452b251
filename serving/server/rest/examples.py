"""JSON bodies of classify and regress to `tf.Example` messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.server.errors import invalid_argument
from serving.server.rest.parsing import float_element, is_base64, string_element, type_text
from serving.server.rest.writer import dump
from serving.wire import messages as wire


def fill_examples(body: Mapping[str, Any], request: Any) -> None:
    """Puts the "examples" (and the "context") of a body into a Classify or Regress request.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    target = request.input.example_list
    if "context" in body:
        target = request.input.example_list_with_context
        _fill_example(body["context"], target.context)
    examples = body.get("examples")
    if "examples" not in body:
        raise invalid_argument(
            f"JSON Value: {dump(body)} When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(examples, list):
        raise invalid_argument(f"JSON Value: {dump(body)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid_argument(f"JSON Value: {dump(body)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_text(value)}")
    for name, content in value.items():
        feature = wire.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(name, item, feature)
        example.features.feature[name].CopyFrom(feature)


def _add_to_feature(name: str, value: Any, feature: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_text(value)}")
    item: Any
    if isinstance(value, (str, dict)):
        kind, item = "bytes_list", string_element(value)
    elif isinstance(value, float):
        kind, item = "float_list", float_element(value, "float32")
    else:
        kind, item = "int64_list", int(value)
    if feature.WhichOneof("kind") not in (None, kind):
        known = str(feature.WhichOneof("kind")).removesuffix("_list")
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {known}")
    try:
        getattr(feature, kind).value.append(item)
    except ValueError:
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.") from None
