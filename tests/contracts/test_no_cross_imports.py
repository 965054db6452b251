"""The three packages never import each other; what passes between them is data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("beam_pipelines", "trainer", "serving")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, and of every constant handed to `import_module` or `__import__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__", "importorskip"):
                yield node.lineno, str(node.args[0].value)


def foreign(source: str, package: str) -> list[str]:
    others = set(PACKAGES) - {package}
    return [
        f"{line}: {module}"
        for line, module in imported(ast.parse(source))
        if module.split(".")[0] in {*others, "twotower", "tests"}
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_no_other(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 20
    found = {
        str(file.relative_to(ROOT)): lines
        for file in files
        if (lines := foreign(file.read_text("utf-8"), package))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import serving.client",
        "from serving import client",
        "def late():\n    from serving.wire import tensors",
        "import importlib\nimportlib.import_module('serving.client')",
        "__import__('serving')",
        "import twotower",
    ],
)
def test_the_walk_sees_every_way_to_import(source: str) -> None:
    assert foreign(source, "trainer")
    assert not foreign("from trainer import contract\nfrom . import contract\nimport json", "trainer")


def test_the_root_command_imports_no_package_by_itself() -> None:
    tree = ast.parse((ROOT / "twotower.py").read_text("utf-8"))
    assert not [module for _, module in imported(tree) if module.split(".")[0] in PACKAGES]
