"""Classify, Regress and MultiInference."""

from __future__ import annotations

from typing import Any

import pytest
from server_client import Client, example, failure
from tensorflow_serving.apis import input_pb2


def test_classify_gives_labels_and_scores(half: Client) -> None:
    response = half.infer("Classify", "half", [{"x": 0.25}, {}], signature="classify")
    got = [[(c.label, c.score) for c in row.classes] for row in response.result.classifications]
    assert got == [[("low", 0.75), ("high", 0.25)], [("low", 1.0), ("high", 0.0)]]
    assert (response.model_spec.signature_name, response.model_spec.version.value) == ("classify", 1)


def test_regress_gives_values(half: Client) -> None:
    response = half.infer("Regress", "half", [{"x": 1.0}, {"x": 5.0}], signature="regress")
    # 0.5 x + 2
    assert [r.value for r in response.result.regressions] == [2.5, 4.5]


def test_a_context_is_put_before_each_example(half: Client) -> None:
    request = input_pb2.Input()
    request.example_list_with_context.context.CopyFrom(example(x=6.0))
    request.example_list_with_context.examples.extend([example(other=1.0), example(other=2.0)])
    response = half.infer("Regress", "half", request, signature="regress")
    assert [r.value for r in response.result.regressions] == [5.0, 5.0]


def test_multi_inference_answers_in_the_order_of_tasks(half: Client) -> None:
    tasks = [("half", "regress", "regress"), ("half", "classify", "classify")]
    # The two signatures have different input tensors, so together they are refused; each alone is answered.
    assert failure(half.multi, tasks, [{"x": 1.0}]) == (
        "INVALID_ARGUMENT",
        "Input tensor must be the same for all Signatures.",
    )
    (result,) = half.multi(tasks[:1], [{"x": 1.0}]).results
    assert [r.value for r in result.regression_result.regressions] == [2.5]
    assert (result.model_spec.name, result.model_spec.signature_name) == ("half", "regress")
    (result,) = half.multi(tasks[1:], [{"x": 1.0}]).results
    assert [c.score for c in result.classification_result.classifications[0].classes] == [0.0, 1.0]


REFUSALS: list[tuple[str, list[dict[str, float]], str, tuple[str, str]]] = [
    ("Classify", [{}], "zzz", ("INVALID_ARGUMENT", "No signature was found with the name: zzz")),
    ("Regress", [{}], "zzz", ("INVALID_ARGUMENT", "No signature was found with the name: zzz")),
    ("Classify", [], "classify", ("INVALID_ARGUMENT", "Input is empty.")),
    ("Classify", [{}], "two", ("INVALID_ARGUMENT", "Expected one input Tensor.")),
    ("Regress", [{}], "classify", ("INVALID_ARGUMENT", "Expected one output Tensor.")),
]


@pytest.mark.parametrize(("method", "examples", "signature", "expected"), REFUSALS)
def test_refusals(
    half: Client, method: str, examples: Any, signature: str, expected: tuple[str, str]
) -> None:
    assert failure(half.infer, method, "half", examples, signature=signature) == expected


def test_a_signature_without_inputs_of_the_right_name(half: Client) -> None:
    code, text = failure(half.infer, "Regress", "half", [{}])
    assert code == "FAILED_PRECONDITION"
    assert text.startswith("No regression inputs found in SignatureDef: ")


def test_unknown_models(half: Client) -> None:
    assert failure(half.infer, "Classify", None, [{}]) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert failure(half.infer, "Regress", "no", [{}])[1] == "Servable not found for request: Latest(no)"


MULTI_REFUSALS: list[tuple[list[tuple[str, str, str]], tuple[str, str]]] = [
    (
        [("half", "regress", "regress"), ("other", "regress", "regress")],
        ("INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ),
    (
        [("half", "regress", "regress"), ("half", "regress", "regress")],
        ("INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
    ),
    ([("half", "zz", "regress")], ("INVALID_ARGUMENT", "Requested signature not found in model graph: zz")),
    (
        [("half", "regress", "predict")],
        ("UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"),
    ),
]


@pytest.mark.parametrize(("tasks", "expected"), MULTI_REFUSALS)
def test_multi_refusals(half: Client, tasks: Any, expected: tuple[str, str]) -> None:
    assert failure(half.multi, tasks, [{"x": 1.0}]) == expected


def test_method_names_are_checked_on_request(embedded: Any, half_plus_two: Any) -> None:
    with embedded(
        model_name="half", model_base_path=half_plus_two, enable_signature_method_name_check=True
    ) as client:
        assert failure(client.infer, "Classify", "half", [{}], signature="classify") == (
            "INVALID_ARGUMENT",
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        )
