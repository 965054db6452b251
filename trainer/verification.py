"""What an export answers to a stranger is compared with what the live model says."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract, stranger
from trainer.errors import ExportError
from trainer.fresh_process import FreshProcess
from trainer.hostile import hostile_requests
from trainer.live import LiveModel
from trainer.live_rules import TOLERANCE
from trainer.probes import Arrays, Probes, asks_no_list_rule
from trainer.requests_file import read_requests, write_requests
from trainer.signatures import SignatureInputs, inputs_of

_ROWS = 64
_EXPLAINED_ROWS, _EXPLAINED_ITEMS = 4, 20  # each of which asks a model hundreds of questions
_LISTS = ("recommend", "retrieve")
CheckLists = Callable[[str, str, Arrays, Arrays, npt.NDArray[np.bool_]], None]
"""Raises ExportError; takes route and signature for people, the signature's name, what was expected, what came, and
bool [B] the rows whose lists are the best items by score."""


@dataclass(frozen=True)
class _Question:
    """A request whose answer is known.

    Attributes:
        signature: Its name.
        inputs: By name.
        likewise: The signature without `_examples` that answers the same.
        plain: What is asked of that one; the request may hold fewer rows of it.
    """

    signature: str
    inputs: Arrays
    likewise: str
    plain: Arrays

    @property
    def rows(self) -> int:
        """How many rows are asked for."""
        return len(next(iter(self.inputs.values())))


def verify(
    live: LiveModel,
    probes: Probes,
    inputs: SignatureInputs,
    facts: dict[str, Any],
    folder: Path,
    item_ids: tuple[str, ...],
    check_lists: CheckLists | None = None,
) -> int:
    """Asks a saved model in a fresh process, and the live one here, the same questions.

    Among them are the model's own warm-up records, requests under every rule and requests that nobody should send.

    Args:
        live: The live model.
        probes: Makes requests of real users and items.
        inputs: Of the signatures.
        facts: What `describe` must answer.
        folder: The saved model.
        item_ids: Of the catalogue.
        check_lists: Compares the lists of an index that may miss items; by default they must be the same.

    Returns:
        The number of answers that were compared.

    Raises:
        ExportError: the fresh process failed, or an answer differs.
    """
    warmup = folder / contract.EXTRA_ASSETS / contract.WARMUP_FILE
    questions = [*_warmup(warmup, probes), *_questions(probes, inputs, facts, item_ids)]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "requests"
        write_requests(file, ((question.signature, question.inputs) for question in questions))
        answers = ask_stranger(folder, file, Path(scratch))
    known: dict[int, Arrays] = {}
    compared = 0
    for number, question in enumerate(questions):
        for route in stranger.routes_of(question.signature):
            came = _part(answers, f"{route}/{number}/")
            if id(question.plain) not in known:
                known[id(question.plain)] = _expected(live, question, facts, came)
            expected = {name: values[: question.rows] for name, values in known[id(question.plain)].items()}
            _compare(f"{route}: {question.signature}", live, question, expected, came, check_lists)
            compared += 1
    return compared


def _compare(
    where: str,
    live: LiveModel,
    question: _Question,
    expected: Arrays,
    came: Arrays,
    check_lists: CheckLists | None,
) -> None:
    if question.likewise not in _LISTS:
        _check_all(where, expected, came)
    elif check_lists is not None:
        alone = asks_no_list_rule(question.plain)[: question.rows]
        check_lists(where, question.likewise, expected, came, alone)
    else:
        try:
            _check_all(where, expected, came)
        except ExportError:  # a choice between equals may have fallen otherwise in a batch of another size
            asked = {name: values[: question.rows] for name, values in question.plain.items()}
            _check_all(where, live.answer(question.likewise, asked, came[contract.ITEM_ID]), came)


def _check_all(where: str, expected: Arrays, came: Arrays) -> None:
    for name, values in expected.items():
        check_same(where, name, values, came[name], expected)


def _questions(
    probes: Probes, inputs: SignatureInputs, facts: dict[str, Any], item_ids: tuple[str, ...]
) -> Iterable[_Question]:
    for name, specs in inputs_of(inputs).items():
        twin = f"{name}_{contract.EXAMPLES}"
        rows = _EXPLAINED_ROWS if name == "explain" else _ROWS
        plain = probes.of(name, rows, list_rules=False)
        yield _Question(name, plain, name, plain)
        yield _Question(twin, probes.of(twin, rows, list_rules=False), name, plain)
        ids = item_ids[: _explained_items(facts)] if name == "explain" else item_ids
        for request in hostile_requests(specs, ids):
            yield _Question(name, request, name, request)


def _explained_items(facts: dict[str, Any]) -> int:
    """Of how many items hostile requests are made: twice as many and one more must not be too many to explain."""
    return int(min(_EXPLAINED_ITEMS, (facts["limits"]["explain_items"] - 1) // 2))


def _warmup(file: Path, probes: Probes) -> Iterable[_Question]:
    """The warm-up records of a model; the smaller ones of a signature are the first rows of the largest."""
    records = list(read_requests(file))
    most: dict[str, int] = {}
    for signature, inputs in records:
        most[_base(signature)] = max(most.get(_base(signature), 0), len(next(iter(inputs.values()))))
    plain: dict[str, Arrays] = {}
    for signature, inputs in records:
        base = _base(signature)
        if base not in plain:
            plain[base] = probes.of(base, most[base])
            yield _Question(base, plain[base], base, plain[base])
        yield _Question(signature, inputs, base, plain[base])


def _base(signature: str) -> str:
    """The signature that answers the same to plain inputs."""
    base = signature.removesuffix(f"_{contract.EXAMPLES}")
    return "recommend" if base == contract.DEFAULT_SIGNATURE else base


def _expected(live: LiveModel, question: _Question, facts: dict[str, Any], came: Arrays) -> Arrays:
    """What the live model says to all rows of `question.plain`, of which `came` answers all."""
    if question.likewise == "describe":
        rows = len(next(iter(question.plain.values())))
        return {"json": np.asarray([json.dumps(facts, sort_keys=True).encode()] * rows, dtype=object)}
    follow = (came[contract.ITEM_ID],) if question.likewise in _LISTS else ()
    return live.answer(question.likewise, question.plain, *follow)


def _part(answers: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in answers.items() if name.startswith(prefix)}


def ask_stranger(folder: Path, requests: Path, scratch: Path) -> Arrays:
    """Answers of a saved model, loaded by a process that knows nothing of ours; see `trainer.stranger`.

    Raises:
        ExportError: the process failed.
    """
    with FreshProcess() as process:
        return process.ask(folder, requests, scratch)


def check_same(signature: str, name: str, expected: Any, came: Any, answer: Arrays) -> None:
    """Compares one output; of lists the scores, and the ids wherever the scores tell neighbours apart.

    Raises:
        ExportError: they differ.
    """
    if expected.shape != came.shape:
        raise ExportError(
            f"The model was not published: {signature}.{name} has the shape {came.shape}, "
            f"the live model's has {expected.shape}."
        )
    if expected.dtype != object:
        if not np.allclose(expected, came, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            with np.errstate(invalid="ignore"):
                worst = float(np.nanmax(np.abs(expected - came)))
            raise ExportError(
                f"The model was not published: {signature}.{name} differs from the live model by {worst:.2g}."
            )
        return
    differ = _distinct(_scores(answer, name), expected) & (expected.astype("S") != came)
    if differ.any():
        place = tuple(np.argwhere(differ)[0])
        where = " place ".join(str(index) for index in place)
        raise ExportError(
            f"The model was not published: {signature}.{name} row {where} is {came[place]!r}, "
            f"the live model says {expected[place]!r}."
        )


def _scores(answer: Arrays, name: str) -> Any:
    """What the strings of an output are in the order of; None if they are in no order of scores."""
    if name == contract.ITEM_ID and answer[name].ndim == 2:
        return answer.get(contract.SCORE)
    return answer.get("nearest_cosine") if name == "nearest_item_id" else None


def _distinct(scores: Any, expected: Any) -> Any:
    """Bool, as `expected`: where there is only one right value, because scores tell neighbours in a list apart."""
    if scores is None:
        return np.ones(expected.shape, bool)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(np.diff(scores, axis=-1))
    edge = np.ones((*scores.shape[:-1], 1), bool)
    clear = np.concatenate(
        [edge, gaps > 2 * TOLERANCE * np.maximum(1, np.abs(scores[..., 1:])), edge], axis=-1
    )
    distinct = (clear[..., :-1] & clear[..., 1:]) | ~np.isfinite(scores)
    distinct[..., -1] &= ~np.isfinite(scores[..., -1])  # whoever follows the last place may share its score
    return distinct
