"""Checks that the documents are true: links, files, make targets and command lines that they name exist.

python scripts/check_docs.py

Prints one line for each lie, `file:line: what`, and exits with 1 if there is any.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "beam_pipelines",
    "trainer",
    "serving",
    "tests",
    "docs",
    "examples",
    "benchmarks",
    "scripts",
    "constraints",
)

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`]+)`")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+|[\w-]+\.(?:md|toml|py)")
_COMMAND = re.compile(r"^(?:\$ )?((?:twotower|make) .*)$")


def documents(root: Path) -> list[Path]:
    """The files that are checked; the generated docs/cli.md is compared by scripts/cli_reference.py."""
    top = [root / name for name in ("README.md", "CONTRIBUTING.md", "saved_models/README.md")]
    rest = [*sorted((root / "docs").glob("*.md")), *sorted((root / "examples").glob("*.toml"))]
    return [file for file in (*top, *rest) if file.is_file() and file.name != "cli.md"]


def check(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of everything in a document that is not so."""
    lines = file.read_text("utf-8").splitlines()
    if file.suffix == ".md":
        for number, line in enumerate(lines, start=1):
            yield from ((number, problem) for problem in _check_links(line, file))
            yield from ((number, problem) for problem in _check_paths(line, root))
    for number, text in command_lines(lines, prose=file.suffix == ".md"):
        problem = check_make(text, root) if text.startswith("make ") else check_twotower(text)
        if problem:
            yield number, f"`{text}`: {problem}"


def _check_links(line: str, file: Path) -> Iterator[str]:
    for target in _LINK.findall(_SPAN.sub("", line)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (file.parent / path).resolve() if path else file
        if not linked.exists():
            yield f"the link {target} leads nowhere"
        elif anchor and anchor not in _anchors(linked):
            yield f"the link {target}: {linked.name} has no such heading"


def _anchors(file: Path) -> set[str]:
    """Anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ +(.+?) *$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _check_paths(line: str, root: Path) -> Iterator[str]:
    for span in _SPAN.findall(line):
        if _PATH.fullmatch(span) and "/" in span and not (root / span).exists():
            yield f"there is no {span}"


def command_lines(lines: list[str], *, prose: bool) -> Iterator[tuple[int, str]]:
    """(line, command) of `twotower` and `make` commands: in code blocks, code spans, and comments of configs."""
    fenced, joined, began = False, "", 0
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif joined or not prose or fenced or line.startswith("    "):
            text = joined + (line.lstrip("# ") if not prose else line).strip()
            began = began if joined else number
            joined = text.removesuffix("\\") if text.endswith("\\") else ""
            if not joined and (found := _COMMAND.match(text)):
                yield began, _without_remark(found[1])
        else:
            spans = (_COMMAND.match(span) for span in _SPAN.findall(line))
            yield from ((number, _without_remark(found[1])) for found in spans if found)


def _without_remark(command: str) -> str:
    """The command up to a comment, a pipe, a redirection, a second command, or a remark set off by spaces."""
    return re.split(r"\s#|\s{2,}|\s[|>&]|;", command)[0].strip()


def check_make(command: str, root: Path) -> str | None:
    """What is wrong with a `make ...` line, or None."""
    targets = re.findall(r"^([\w-]+):(?!=)", (root / "Makefile").read_text("utf-8"), re.MULTILINE)
    wanted = [word for word in shlex.split(command)[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
    unknown = [word for word in wanted if word not in targets]
    return f"the Makefile has no target {unknown[0]}" if unknown else None


def check_twotower(command: str) -> str | None:
    """What is wrong with a `twotower ...` line, or None: unknown commands and options, too many arguments."""
    from twotower import main

    try:
        words = [word for word in shlex.split(command)[1:] if word not in ("...", "…")]
    except ValueError as error:
        return str(error)
    found: click.Command = main
    context = click.Context(main, info_name="twotower", **main.context_settings)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        below = found.get_command(context, words[0])
        if below is None:
            return f"there is no command {words[0]}"
        found, context = below, click.Context(below, parent=context, **below.context_settings)
        words = words[1:]
    if isinstance(found, click.Group):
        return None if set(words) <= {"--help", "-h", "--version"} else f"it has no {words[0]}"
    try:
        _, rest, _ = found.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    return f"nothing takes the argument {rest[0]}" if rest else None


def main() -> int:
    """Checks everything; the exit status."""
    sys.path.insert(0, str(ROOT))
    problems = [
        f"{file.relative_to(ROOT)}:{line}: {problem}"
        for file in documents(ROOT)
        for line, problem in check(file, ROOT)
    ]
    for problem in problems:
        print(problem)
    print(f"{len(documents(ROOT))} documents, {len(problems)} untrue statements")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
