from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
from rich.console import Console
from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc

from serving.client import RecommenderClient
from serving.server import EmbeddedServer
from trainer.errors import ConfigError, ExportError
from trainer.intent import export as exporting
from trainer.intent.answer_search import AnswerSearch, KnownTexts
from trainer.intent.answers import answer_figures
from trainer.intent.export import export
from trainer.intent.labelled import LabelledTexts
from trainer.intent.pieces import WordPieces
from trainer.intent.project import IntentProject
from trainer.intent.training import evaluate, load_trained, predict
from trainer.intent.vectors import joined, unit
from trainer.keras_compat import tf
from trainer.lint.lint import lint

TEXTS = ["a funny film", "", "a sad film i3", "dark", "x " * 3000]


@pytest.fixture(scope="module")
def exported(trained: IntentProject) -> Path:
    return export(trained, Console(quiet=True))


def test_the_same_probabilities_by_code_by_predict_and_by_classify(trained: IntentProject, exported: Path):
    classifier, encoder, classes = load_trained(trained)
    pieces = WordPieces.of(LabelledTexts(tuple(TEXTS), (classes[0],) * len(TEXTS)), encoder, classes)
    scores = tf.nn.softmax(classifier.logits(pieces.flat, pieces.row_splits)).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = np.take_along_axis(scores, order, axis=1)
    labels = np.asarray(classes)[order].tolist()

    by_code = tf.saved_model.load(str(exported)).signatures["predict_intent"](query=tf.constant(TEXTS))
    assert [[label.decode() for label in row] for row in by_code["label"].numpy()] == labels
    np.testing.assert_allclose(by_code["score"].numpy(), expected, atol=1e-6)

    with EmbeddedServer(model_name="moods", model_base_path=str(exported.parent), port=0) as server:
        with RecommenderClient(server.address, model="moods") as client:
            answer = client.predict({"query": TEXTS}, signature="predict_intent")
        assert [list(row) for row in answer["label"]] == labels
        np.testing.assert_allclose(answer["score"], expected, atol=1e-6)
        classified = classify(server.address, TEXTS)
    assert [[one.label for one in row.classes] for row in classified] == labels
    np.testing.assert_allclose(
        [[one.score for one in row.classes] for row in classified], expected, atol=1e-6
    )


def classify(address: str, texts: list[str]):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "moods", "classify_intent"
    for text in texts:
        example = request.input.example_list.examples.add()
        example.features.feature["query"].bytes_list.value.append(text.encode())
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Classify(request, timeout=30).result.classifications


def test_a_server_could_load_and_batch_it(exported: Path):
    assert [str(finding) for finding in lint(exported, "2.20") if finding.severity == "error"] == []
    facts = json.loads((exported / "assets.extra" / "serving.json").read_text())
    assert facts["task"] == "intent"
    assert facts["classes"] == ["cry", "laugh", "shiver"]
    assert facts["signatures"] == ["classify_intent", "predict_intent", "serving_default"]


def test_it_is_not_written_twice(trained: IntentProject, exported: Path):
    assert export(trained, Console(quiet=True)) == exported
    again = export(trained, Console(quiet=True), overwrite=True)
    assert int(again.name) == int(exported.name) + 1
    shutil.rmtree(again)


def test_other_answers_than_the_live_model_are_not_published(
    trained: IntentProject, exported: Path, monkeypatch
):
    monkeypatch.setattr(exporting, "predict", lambda *given: (predict(*given) + 1) % 3)
    with pytest.raises(ExportError, match="the live model says"):
        export(trained, Console(quiet=True), overwrite=True)
    assert [child.name for child in exported.parent.iterdir()] == [exported.name]


def test_answers_of_the_nearest_known_texts(trained: IntentProject, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "train.csv"
    rows = trained.intent.train.read_text("utf-8").splitlines()[1:]
    file.write_text("\n".join(["text,label,reply", *(f"{row},see {row[-3:]}" for row in rows)]), "utf-8")
    update = {"train": file, "answers": 3, "answer_column": "reply"}
    project = trained.model_copy(
        update={
            "intent": trained.intent.model_copy(update=update),
            "export": trained.export.model_copy(update={"directory": tmp_path / "saved_models"}),
        }
    )
    version = export(project, Console(quiet=True))
    assert (
        "nearest_answers" in json.loads((version / "assets.extra" / "serving.json").read_text())["signatures"]
    )
    asked = tf.constant(["a sad film i3", "a funny film"])
    answer = tf.saved_model.load(str(version)).signatures["nearest_answers"](query=asked)
    assert answer["text"].numpy()[0, 0].startswith(b"a sad film")  # "i2" and "i3" are all but the same to it
    replies = answer["answer"].numpy()
    assert replies[:, 0].tolist() == [b"see cry", b"see ugh"]
    assert [set(row) for row in replies] == [{b"see cry", b"see ugh", b"see ver"}] * 2
    told = dict(row.rsplit(",", 1) for row in rows)
    texts = answer["text"].numpy()
    assert all(
        reply.decode() == f"see {told[text.decode()][-3:]}"
        for text, reply in zip(texts.flat, replies.flat, strict=True)
    )
    assert answer["score"].numpy()[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert (np.diff(answer["score"].numpy(), axis=1) <= 0).all()

    console = Console(width=120, record=True, file=io.StringIO())
    report = evaluate(project, console)
    assert list(report["answers"]) == ["both encoders", "fine-tuned", "encoder as it came", "BM25"]
    for way in ("both encoders", "fine-tuned"):
        assert report["answers"][way] == {"recall@1": 1.0, "recall@5": 1.0, "mrr": 1.0}
    assert "Answers found among those to 60 questions" in console.export_text()
    monkeypatch.setattr(exporting, "joined", lambda tuned, plain: joined(plain, tuned))
    with pytest.raises(ExportError, match=r"a known text, has a cosine of"):
        export(project, Console(quiet=True), overwrite=True)
    assert [child.name for child in version.parent.iterdir()] == [version.name]
    too_many = project.intent.model_copy(update={"answers": 99})
    with pytest.raises(ConfigError, match=r"intent\.answers = 99, but .* has 3 distinct answers only"):
        export(project.model_copy(update={"intent": too_many}), Console(quiet=True))


def test_figures_of_answers_by_hand() -> None:
    known = np.asarray([0, 0, 1, 2], np.int32)
    scores = np.asarray([[3, 1, 2, 0], [1, 1, 1, 1], [4, 3, 2, 0]], np.float32)
    figures = answer_figures(lambda part: scores[part], np.asarray([0, 1, 2], np.int32), known)
    # Ranks 1; of equal scores the two wrong answers come first, 3; and 3, for the two questions of answer 0 count once.
    assert figures == {"recall@1": 1 / 3, "recall@5": 1.0, "mrr": pytest.approx((1 + 1 / 3 + 1 / 3) / 3)}


def test_distinct_answers_against_numpy() -> None:
    rng = np.random.default_rng(0)
    vectors, questions = (unit(rng.standard_normal((rows, 6)).astype(np.float32)) for rows in (40, 7))
    answers = [f"a{number}" for number in rng.integers(0, 9, 40)]
    texts = [f"t{number}" for number in range(40)]
    found = AnswerSearch(KnownTexts(vectors, texts, answers), 4)(tf.constant(questions))
    for row, cosines in enumerate(questions @ vectors.T):
        best = {}
        for place in np.argsort(-cosines):
            best.setdefault(answers[place], (texts[place], cosines[place]))
        expected = list(best.items())[:4]
        assert [one.decode() for one in found["answer"].numpy()[row]] == [name for name, _ in expected]
        assert [one.decode() for one in found["text"].numpy()[row]] == [text for _, (text, _) in expected]
        np.testing.assert_allclose(
            found["score"].numpy()[row], [cosine for _, (_, cosine) in expected], rtol=1e-5
        )


def test_joined_vectors_have_the_mean_of_two_cosines() -> None:
    rng = np.random.default_rng(1)
    tuned, plain = (unit(rng.standard_normal((5, width)).astype(np.float32)) for width in (3, 4))
    both = joined(tuned, plain)
    np.testing.assert_allclose(both @ both.T, (tuned @ tuned.T + plain @ plain.T) / 2, atol=1e-6)
