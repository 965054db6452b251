"""The check of the documents finds each kind of untrue statement, and nothing in true ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_docs import check, check_twotower, command_lines

MAKEFILE = "test: venv\n\tpytest\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE, "utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# A heading, and more\n", "utf-8")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "model.py").touch()
    return tmp_path


def problems(project: Path, text: str, name: str = "docs/page.md") -> list[str]:
    file = project / name
    file.write_text(text, "utf-8")
    return [f"{line}: {problem}" for line, problem in check(file, project)]


@pytest.mark.parametrize(
    "text",
    [
        "[other](other.md) [part](other.md#a-heading-and-more) [web](https://example.org/x)",
        "`trainer/model.py` and `make test`, not `trainer/*/x.py`",
        "    twotower train CONFIG --overwrite   # again\n    twotower recommend --model m | head",
        "```\n$ twotower recommend \\\n    --model m --query 'a film'\n```",
        "`twotower features build` needs `twotower[beam]`",
    ],
)
def test_what_is_true_passes(project: Path, text: str) -> None:
    assert problems(project, text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x\n[gone](gone.md)", "2: the link gone.md leads nowhere"),
        ("[part](other.md#nothing)", "1: the link other.md#nothing: other.md has no such heading"),
        ("`trainer/gone.py`", "1: there is no trainer/gone.py"),
        ("`make tests`", "1: `make tests`: the Makefile has no target tests"),
        ("`twotower tarin`", "1: `twotower tarin`: there is no command tarin"),
        ("`twotower features bild`", "1: `twotower features bild`: there is no command bild"),
        (
            "    twotower train C --split a b",
            "1: `twotower train C --split a b`: nothing takes the argument b",
        ),
        (
            "```\nx\ntwotower recommend \\\n  --quary x\n```",
            "3: `twotower recommend --quary x`: No such option",
        ),
    ],
)
def test_what_is_untrue_is_named_with_its_line(project: Path, text: str, said: str) -> None:
    (found,) = problems(project, text)
    assert found.startswith(said)


def test_commands_in_the_comments_of_a_config_are_read_without_the_remark() -> None:
    lines = ["# Films.", "#     twotower train c.toml     some minutes", 'name = "x"']
    assert list(command_lines(lines, prose=False)) == [(2, "twotower train c.toml")]


def test_an_option_without_its_value_is_refused() -> None:
    assert "requires an argument" in str(check_twotower("twotower recommend --model"))
