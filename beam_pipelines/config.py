"""Reads a config file: checks its outline and the tables of this package, and says clearly what is wrong."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from beam_pipelines.errors import ConfigError
from beam_pipelines.settings import FeatureSettings, FetchSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
TOP_LEVEL = (
    "name",
    "work_dir",
    "fetch",
    "features",
    "train",
    "tune",
    "evaluate",
    "distill",
    "export",
    "intent",
)


@dataclass(frozen=True)
class RunConfig:
    """A config file, as far as this package is concerned.

    Attributes:
        path: of the file.
        name: of the run and of the model.
        work_dir: where everything of the run is written.
        fetch: the table `[fetch]`.
        features: the table `[features]`, None where the file has none.
    """

    path: Path
    name: str
    work_dir: Path
    fetch: FetchSettings
    features: FeatureSettings | None

    def dataset_dir(self, protocol: str) -> Path:
        """Where the dataset of a split protocol is built."""
        return self.work_dir / protocol / "dataset"

    def dataset_place(self, protocol: str) -> str:
        """Where that dataset is built, perhaps in an object store."""
        output = self.features.output_dir if self.features is not None else None
        return f"{output.rstrip('/')}/{protocol}/dataset" if output else str(self.dataset_dir(protocol))

    def required_features(self) -> FeatureSettings:
        """The table `[features]`.

        Raises:
            ConfigError: the file has none.
        """
        if self.features is None:
            raise ConfigError(
                f"{self.path}: has no table [features]; `twotower features init DATA...` drafts one."
            )
        return self.features


def load_config(path: Path) -> RunConfig:
    """Reads and checks a config file.

    Raises:
        ConfigError: the file is missing, no TOML, or has an unknown or impossible setting.
    """
    document = _read_toml(path)
    for key in document:
        if key not in TOP_LEVEL:
            raise ConfigError(
                f"{path}: unknown key {key!r}{_nearest(key, TOP_LEVEL)}. Known: {', '.join(TOP_LEVEL)}."
            )
    name = document.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f'{path}: `name` must be letters, digits, "_", "." and "-", such as "movielens-100k", found {name!r}.'
        )
    work_dir = document.get("work_dir", f"runs/{name}")
    if not isinstance(work_dir, str) or "://" in work_dir:
        raise ConfigError(
            f"{path}: `work_dir` must be a local folder, found {work_dir!r}. Datasets go to an object store with "
            "features.output_dir."
        )
    features = document.get("features")
    return RunConfig(
        path=path,
        name=name,
        work_dir=Path(work_dir),
        fetch=_validate(FetchSettings, document.get("fetch", {}), "fetch", path),
        features=None if features is None else _validate(FeatureSettings, features, "features", path),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return document
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such config file; see examples/.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}.") from error


def _validate(model: type[Any], table: Any, name: str, path: Path) -> Any:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        lines = [_explain(problem, model, name) for problem in error.errors()]
        raise ConfigError(f"{path}: " + "\n".join(lines)) from None


def _explain(problem: Any, model: type[BaseModel], table: str) -> str:
    location = ".".join([table, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"unknown key `{location}`{_nearest(str(problem['loc'][-1]), known)}."
    if problem["type"] == "missing":
        return f"the key `{location}` is missing."
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    return f"`{location}`: {message}{shown}."


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Field names of the model found by walking down from `model`."""
    current = model
    for part in location:
        if (
            not (isinstance(current, type) and issubclass(current, BaseModel))
            or part not in current.model_fields
        ):
            break
        current = _model_in(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _nearest(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f", did you mean `{close[0]}`?" if close else ""
