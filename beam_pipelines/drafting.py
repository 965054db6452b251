"""Writes a commented draft of a config from samples of data files: something to edit, not something to trust."""

from __future__ import annotations

import json
import re
from pathlib import Path

from beam_pipelines.errors import InputError
from beam_pipelines.sampling import Column, Sample

_USER = r"user|customer|visitor|client|member|account|session"
_ITEM = r"item|product|movie|film|book|song|track|article|sku|asin|isbn|stock|description"
_VALUE = r"rating|score|star|quantity|qty|amount|count|duration|value"
_EVENT = r"event|action|behaviou?r|type|kind"
_QUERY = r"query|search|term"
_TITLE = r"title|name|description"
_MANY = 50  # more different values than this in a sample are hardly categories


def draft_config(samples: list[Sample], name: str) -> str:
    """The text of a config file.

    Args:
        samples: of the data files.
        name: of the run.

    Raises:
        InputError: no file looks like events.
    """
    tables = {sample.path: _kind(sample) for sample in samples}
    events = [s for s in samples if tables[s.path] == "events"]
    if not events:
        columns = "; ".join(f"{s.path.name}: {', '.join(c.name for c in s.columns)}" for s in samples)
        raise InputError(
            f"no file has a user, an item and a time, so none can be the events. Columns found: {columns}"
        )
    folder = events[0].path.parent
    parts = [
        f"# Drafted from {', '.join(s.path.name for s in samples)}. Check every line: names were guessed from the",
        "# columns' names and the first values. All keys: docs/features.md",
        "",
        f"name = {json.dumps(name)}",
        f"work_dir = {json.dumps(f'runs/{name}')}",
        "",
        "[features]",
        'splits = ["by_time"] # or "leave_last_out", the protocol of the papers on sequential recommendation',
        f"data_dir = {json.dumps(str(folder))}",
        "max_reject_rate = 0.01",
        "",
        *_events(events[0], folder),
    ]
    for kind, write in (("items", _items), ("users", _users)):
        for sample in [s for s in samples if tables[s.path] == kind][:1]:
            parts += ["", *write(sample, folder)]
    if not any(kind == "items" for kind in tables.values()):
        parts += ["", "# No file looks like a catalogue: without [features.items] items have ids only."]
    return "\n".join(parts) + "\n"


def _kind(sample: Sample) -> str:
    user, item = _find(sample, _USER), _find(sample, _ITEM)
    if user and item and any(column.time for column in sample.columns):
        return "events"
    return "items" if item else "users" if user else "other"


def _find(sample: Sample, pattern: str, taken: tuple[Column | None, ...] = ()) -> Column | None:
    """The column whose name fits best: one that also says id, before the others."""
    fitting = [c for c in sample.columns if re.search(pattern, c.name, re.I) and c not in taken]
    return min(
        fitting,
        key=lambda c: (not re.search(r"id$|no$|code$", c.name, re.I), c.time is not None),
        default=None,
    )


def _head(table: str, sample: Sample, folder: Path) -> list[str]:
    file = sample.path.name if sample.path.parent == folder else str(sample.path.resolve())
    lines = [f"[features.{table}]", f"files = [{json.dumps(file)}]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in sample.settings.items()]
    return lines


def _comment(column: Column) -> str:
    examples = ", ".join(example[:30] for example in column.examples)
    missing = f"; {column.missing:.0%} missing" if column.missing else ""
    return f" # {examples}{missing}"


def _key(key: str, column: Column) -> str:
    return f"{key} = {json.dumps(column.name)}{_comment(column)}"


def _unused(sample: Sample, used: list[Column]) -> list[str]:
    return [
        f"# not used: {c.name}{_comment(c).replace(' #', ':', 1)}" for c in sample.columns if c not in used
    ]


def _events(sample: Sample, folder: Path) -> list[str]:
    user, item = _find(sample, _USER), _find(sample, _ITEM)
    time = next((column for column in sample.columns if column.time), None)
    if user is None or item is None or time is None or time.time is None:
        raise InputError(f"{sample.path}: has no user, item and time.")
    used = [user, item, time]
    how, spec = time.time
    moment = f"{{ column = {json.dumps(time.name)}, {how} = {json.dumps(spec)} }}{_comment(time)}"
    lines = [
        *_head("events", sample, folder),
        _key("user_id", user),
        _key("item_id", item),
        f"timestamp = {moment}",
    ]
    for key, pattern in (("value", _VALUE), ("event", _EVENT), ("query_text", _QUERY)):
        column = _find(sample, pattern, tuple(used))
        fits = (
            column is not None
            and {
                "value": column.numeric,
                "event": not column.numeric and column.distinct <= _MANY,
                "query_text": not column.numeric,
            }[key]
        )
        if column is not None and fits:
            lines.append(_key(key, column))
            used.append(column)
            if key == "value" and any(example.startswith("-") for example in column.examples):
                lines.append('returns = "cancel" # negative values take a purchase back; or "keep", "reject"')
    return lines + _unused(sample, used)


def _items(sample: Sample, folder: Path) -> list[str]:
    key = _find(sample, _ITEM)
    if key is None:
        return []
    lines, used = [*_head("items", sample, folder), _key("id", key)], [key]
    title = _find(sample, _TITLE, (key,))
    if title is not None:
        used.append(title)
        lines.append(_key("title", title))
    texts = [c for c in sample.columns if c not in used and not c.numeric and c.words > 2]
    names = [c.name for c in ([title] if title else []) + texts]
    if names:
        template = f"{{{names[0]}}}" + "".join(f"[. {{{name}}}]" for name in names[1:])
        lines.append(f"text = {{ template = {json.dumps(template)} }}")
    return lines + _features("items", sample, used + texts)


def _users(sample: Sample, folder: Path) -> list[str]:
    key = _find(sample, _USER)
    if key is None:
        return []
    return [*_head("users", sample, folder), _key("id", key), *_features("users", sample, [key])]


def _features(table: str, sample: Sample, used: list[Column]) -> list[str]:
    rest = [c for c in sample.columns if c not in used and c.time is None]
    numbers = [c for c in rest if c.numeric]
    categories = [c for c in rest if not c.numeric and (c.distinct <= _MANY or _separator(c))]
    lines = []
    for kind, columns in (("categories", categories), ("numerics", numbers)):
        if columns:
            lines += ["", f"[features.{table}.{kind}]", *(_feature(c, table, kind) for c in columns)]
    return lines + _unused(sample, used + numbers + categories)


def _feature(column: Column, table: str, kind: str) -> str:
    name = re.sub(r"\W+", "_", column.name).strip("_").lower()
    separator = _separator(column)
    if kind == "categories" and table == "items" and separator:
        spec = f"{{ column = {json.dumps(column.name)}, split = {json.dumps(separator)} }}"
        return f"{name} = {spec}{_comment(column)}"
    return _key(name, column)


def _separator(column: Column) -> str | None:
    return next((s for s in ("|", ";") if any(s in example for example in column.examples)), None)
