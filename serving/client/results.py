"""What calls return: frozen values, plain Python inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # loaded with the first vector, not before: it takes longer than the client
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


class Answer(NamedTuple):
    """Who answered, and how.

    Attributes:
        model: name of the model.
        version: version that answered; None where no server did (a fallback list).
        latency: seconds from the call to its result, all attempts included.
        attempts: how often the request was sent.
        target: address of the server that answered.
        arm: arm of the A/B split the caller was put into; None without a split.
    """

    model: str
    version: int | None
    latency: float
    attempts: int = 1
    target: str = ""
    arm: str | None = None


class Recommendation(NamedTuple):
    """One item.

    Attributes:
        item_id: the item.
        score: the model's score, higher is better; comparable inside one answer only. NaN in a fallback list.
        rank: 1 for the best.
        propensity: how likely the model was to show this item here, for counterfactual evaluation; 1 where no
            exploration was asked for, None where the model does not say.
    """

    item_id: str
    score: float
    rank: int
    propensity: float | None = None


@dataclass(frozen=True)
class Recommendations:
    """Items, best first; behaves as a sequence of them.

    Attributes:
        items: the items.
        answer: who answered, and how.
        source: "model", or "fallback" where the caller's own list stood in.
        unknown: ids that were to be ranked and that the model does not know.
    """

    items: tuple[Recommendation, ...]
    answer: Answer
    source: str = "model"
    unknown: tuple[str, ...] = ()

    @property
    def item_ids(self) -> list[str]:
        """The ids, best first."""
        return [item.item_id for item in self.items]

    @property
    def scores(self) -> dict[str, float]:
        """Score by id."""
        return {item.item_id: item.score for item in self.items}

    @property
    def version(self) -> int | None:
        """Version of the model that answered."""
        return self.answer.version

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Recommendation:
        return self.items[index]


@dataclass(frozen=True, eq=False)
class Embedding:
    """A vector of the model's space.

    Attributes:
        vector: float32 [D], read-only.
        answer: who made it; vectors of different versions cannot be compared.
    """

    vector: FloatArray
    answer: Answer

    @property
    def version(self) -> int | None:
        """Version of the model that made the vector."""
        return self.answer.version


class Explanation(NamedTuple):
    """Why an item scored as it did, in the model's own terms.

    Attributes:
        item_id: the item.
        parts: what the model's `explain` signature returns for it, by output name; `serving.client.contributions` reads
            them, `serving.client.sentences` says them.
    """

    item_id: str
    parts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Outputs of any signature.

    Attributes:
        outputs: by name: NumPy arrays of numbers; nested lists of str for strings. Bytes that are not UTF-8
            are kept as surrogates: `text.encode("utf-8", "surrogateescape")` gives them back.
        answer: who answered, and how.
    """

    outputs: Mapping[str, Any]
    answer: Answer

    def __getitem__(self, name: str) -> Any:
        return self.outputs[name]


class VersionStatus(NamedTuple):
    """One version of a model on a server.

    Attributes:
        version: the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: OK, or why it is not available.
        error_message: the server's words for it.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


class ModelStatus(NamedTuple):
    """The versions of a model on a server, newest first."""

    model: str
    versions: tuple[VersionStatus, ...]

    @property
    def available(self) -> tuple[int, ...]:
        """Versions that answer now, newest first."""
        return tuple(v.version for v in self.versions if v.state == "AVAILABLE")


class TensorSpec(NamedTuple):
    """One input or output of a signature.

    Attributes:
        name: its name.
        dtype: element type, such as "string" or "float32".
        shape: sizes, None where the size is free; None altogether where even the rank is.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("-" if s is None else str(s) for s in self.shape)
        return f"{self.name}: {self.dtype} [{sizes}]"


class Signature(NamedTuple):
    """What one signature of a model takes and returns.

    Attributes:
        name: its name.
        inputs: by name.
        outputs: by name.
        optional: inputs that have a default in the model.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: frozenset[str] = frozenset()


class ModelMetadata(NamedTuple):
    """The signatures of one version of a model."""

    model: str
    version: int
    signatures: Mapping[str, Signature]


class Description(NamedTuple):
    """What a model says about itself through its `describe` signature.

    Attributes:
        facts: the model's `serving.json`: K, catalogue size, digests, versions, limits.
        answer: who answered, and how.
    """

    facts: Mapping[str, Any]
    answer: Answer
