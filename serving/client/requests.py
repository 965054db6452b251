"""From queries to the tensors of a request: pure functions of the query and the model's signature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, NamedTuple

from serving.client.errors import InvalidRequestError
from serving.client.queries import UserQuery
from serving.client.results import Signature, TensorSpec
from serving.client.signatures import check_shape
from serving.wire.lists import PLAIN_NUMBERS, TensorError, encode_numbers, encode_strings

HISTORY = "history_item_id"


def query_tensors(
    queries: Sequence[UserQuery], signature: Signature, extra: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns the tensors of the query side, one row a query.

    Inputs that the model does not have are left out (event times and kinds of a model without them); inputs
    that the caller left out are filled with "", NaN (numbers with a fraction) or 0.

    Args:
        queries: the queries, B of them.
        signature: what the model takes.
        extra: inputs of the signature that the caller fills in.

    Raises:
        InvalidRequestError: the query has something that the model has no input for.
    """
    if HISTORY not in signature.inputs:
        raise InvalidRequestError(
            f"signature {signature.name!r} takes {sorted(signature.inputs)}, expected {HISTORY!r} too: "
            "this model was not exported by twotower; use `predict` for it"
        )
    if not queries:
        raise InvalidRequestError("no query was given, expected at least one")
    if "query" not in signature.inputs and any(query.wishes for query in queries):
        raise _missing("query", "query", signature)
    own = QUERY_INPUTS.union(extra)
    user_features = [name for name in signature.inputs if name not in own]
    tensors = {name: make(queries) for name, make in _FIXED.items() if name in signature.inputs}
    tensors.update(_rule_tensors(queries, signature))
    tensors.update(
        feature_tensors([query.user for query in queries], signature, user_features, "user feature")
    )
    return tensors


def feature_tensors(
    rows: Sequence[Mapping[str, Any]], signature: Signature, names: Iterable[str], kind: str
) -> dict[str, Any]:
    """Returns one tensor a feature, one row a mapping; what a mapping lacks is "" or 0.

    Raises:
        InvalidRequestError: a feature the model does not have, or a value of another type.
    """
    names = list(names)
    unknown = sorted({name for row in rows for name in row} - set(names))
    if unknown:
        known = ", ".join(sorted(names)) or "none at all"
        raise InvalidRequestError(f"the model has no {kind} {unknown[0]!r}; it has {known}")
    return {name: _feature(signature.inputs[name], [row.get(name) for row in rows]) for name in names}


def item_tensor(item_ids: Sequence[Sequence[str]]) -> Any:
    """Returns the string tensor [B, N] of the items to rank, shorter rows padded with ""."""
    return _string_rows(item_ids)


def encode_inputs(inputs: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """Returns the tensors of any signature, each with the element type that the signature asks for.

    Raises:
        InvalidRequestError: a value does not fit the type or the shape.
    """
    from serving.wire.tensors import encode_tensor

    tensors = {}
    for name, value in inputs.items():
        spec = signature.inputs[name]
        try:
            tensors[name] = encode_tensor(value, spec.dtype)
        except (TensorError, ValueError) as error:
            raise InvalidRequestError(f"input `{spec}`: {error}") from None
        check_shape(spec, tuple(dim.size for dim in tensors[name].tensor_shape.dim))
    return tensors


def _rule_tensors(queries: Sequence[UserQuery], signature: Signature) -> dict[str, Any]:
    tensors = {}
    for name, rule in _RULES.items():
        given = any(map(rule.is_given, queries))
        if name in signature.inputs:
            tensors[name] = rule.tensor(queries) if given else _no_rule(rule, len(queries))
        elif given:
            raise _missing(rule.field, name, signature)
    return tensors


def _missing(field: str, name: str, signature: Signature) -> InvalidRequestError:
    return InvalidRequestError(
        f"`{field}` was given, but signature {signature.name!r} of this model has no input {name!r}; it takes "
        f"{', '.join(sorted(signature.inputs))}"
    )


def _width(lengths: Iterable[int]) -> int:
    # Powers of two: a server that joins requests into batches can only join those of one width.
    longest = max(lengths, default=0)
    return 1 << max(longest - 1, 0).bit_length()


def _string_rows(rows: Sequence[Sequence[str]]) -> Any:
    width = _width(len(row) for row in rows)
    flat: list[str | bytes] = []
    for row in rows:
        flat.extend(row)
        flat.extend([""] * (width - len(row)))
    return encode_strings(flat, (len(rows), width))


def _timestamps(queries: Sequence[UserQuery]) -> Any:
    width = _width(len(query.history) for query in queries)
    flat: list[int] = []
    for query in queries:
        flat.extend(event.timestamp for event in query.events)
        flat.extend([0] * (width - len(query.history)))
    return encode_numbers(flat, (len(queries), width), "int64")


_FIXED: dict[str, Callable[[Sequence[UserQuery]], Any]] = {
    HISTORY: lambda queries: _string_rows([query.item_ids for query in queries]),
    "history_timestamp": _timestamps,
    "history_event": lambda queries: _string_rows([[e.event for e in query.events] for query in queries]),
    "query": lambda queries: encode_strings([query.wishes for query in queries], (len(queries),)),
}


class _Rule(NamedTuple):
    """A field of a query that not every model has an input for.

    Attributes:
        field: name of the field.
        dtype: element type of the input.
        empty: what is sent where the field is None.
        zero_is_none: 0 says the same as nothing at all.
    """

    field: str
    dtype: str
    empty: float = 0
    zero_is_none: bool = True

    def is_given(self, query: UserQuery) -> bool:
        value = getattr(query, self.field)
        return bool(value) if self.zero_is_none else value is not None

    def tensor(self, queries: Sequence[UserQuery]) -> Any:
        values = [getattr(query, self.field) for query in queries]
        if self.dtype == "string":
            return _string_rows(values)
        flat = [self.empty if value is None else value for value in values]
        return encode_numbers(flat, (len(flat),), self.dtype)


@lru_cache(maxsize=1024)
def _no_rule(rule: _Rule, rows: int) -> Any:
    """The tensor of a rule that no row asks for. Most requests send several; a message copies what it is given."""
    return rule.tensor([UserQuery()] * rows)


# By the name of the input.
_RULES = {
    "exclude_item_id": _Rule("exclude", "string"),
    "allow_item_id": _Rule("allow", "string"),
    "allow_category": _Rule("allow_category", "string"),
    "block_category": _Rule("block_category", "string"),
    "max_per_category": _Rule("max_per_category", "int64"),
    "min_score": _Rule("min_score", "float32", math.nan, zero_is_none=False),
    "one_per_variant": _Rule("one_per_variant", "int64"),
    "diversity": _Rule("diversity", "float32", math.nan),
    "exploration": _Rule("exploration", "float32", math.nan),
    "seed": _Rule("seed", "int64"),
}
# What a signature takes beside the user's features.
QUERY_INPUTS = frozenset({*_FIXED, *_RULES})


def _feature(spec: TensorSpec, values: Sequence[Any]) -> Any:
    rank = 1 if spec.shape is None else len(spec.shape)
    if rank == 1:
        return _scalars(spec, values)
    fixed = spec.shape[1] if spec.shape else None
    rows = [_as_row(spec, value) for value in values]
    if spec.dtype == "string" and fixed is None:
        return _string_rows(rows)
    width = _width(len(row) for row in rows) if fixed is None else fixed
    empty: Any = "" if spec.dtype == "string" else 0
    table = [row + [empty] * (width - len(row)) for row in rows]
    if any(len(row) != width for row in table) or any(row and len(row) != width for row in rows if fixed):
        raise InvalidRequestError(f"`{spec}` takes {width} values a row, got {[len(row) for row in rows]}")
    return _checked_tensor(spec, [value for row in table for value in row], (len(rows), width))


def _scalars(spec: TensorSpec, values: Sequence[Any]) -> Any:
    # A model takes NaN for "not given"; 0 would be an age of nought.
    empty: Any = "" if spec.dtype == "string" else math.nan if "float" in spec.dtype else 0
    filled = [empty if value is None else value for value in values]
    for value in filled:
        _check_type(spec, value)
    return _checked_tensor(spec, filled, (len(filled),))


def _as_row(spec: TensorSpec, value: Any) -> list[Any]:
    if value is None:
        return []
    is_array = hasattr(value, "__array__")
    if isinstance(value, str | bytes) or not (isinstance(value, Sequence) or is_array):
        raise InvalidRequestError(f"`{spec}` takes a list of values, got {value!r}; write [{value!r}]")
    row = list(value)
    for element in row:
        _check_type(spec, element)
    return row


def _check_type(spec: TensorSpec, value: Any) -> None:
    wants_text = spec.dtype == "string"
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if wants_text != isinstance(value, str) or (not wants_text and not is_number):
        expected = "a string" if wants_text else "a number"
        raise InvalidRequestError(f"`{spec}` takes {expected}, got {type(value).__name__}: {value!r}")


def _checked_tensor(spec: TensorSpec, values: list[Any], shape: tuple[int, ...]) -> Any:
    """Returns a tensor of the flat values, whose kind has been checked."""
    if spec.dtype == "string":
        return encode_strings(values, shape)
    if spec.dtype.startswith("int") and any(isinstance(value, float) for value in values):
        raise InvalidRequestError(f"`{spec}` takes whole numbers, got {values}")
    try:
        if spec.dtype in PLAIN_NUMBERS:
            return encode_numbers(values, shape, spec.dtype)
        return _array_tensor(spec, values, shape)
    except (TensorError, OverflowError) as error:
        raise InvalidRequestError(f"`{spec}`: {error}") from None


def _array_tensor(spec: TensorSpec, values: list[Any], shape: tuple[int, ...]) -> Any:
    import numpy as np

    from serving.wire.tensors import encode_tensor

    wide = np.float64 if "float" in spec.dtype else np.int64
    return encode_tensor(np.array(values, wide).reshape(shape), spec.dtype)
