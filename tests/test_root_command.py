"""The root command: every command is there, in order, quick to list, and says what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import twotower

ROOT = Path(__file__).parents[1]
COMMANDS = list(twotower._COMMANDS)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(twotower.main, arguments)


def test_help_lists_every_command_in_the_order_of_the_data() -> None:
    result = run("--help")
    assert result.exit_code == 0
    listed = re.findall(r"^  ([a-z][a-z-]*)  +\S", result.output.partition("Commands:")[2], re.MULTILINE)
    assert listed == COMMANDS
    path = ["fetch", "features", "train", "evaluate", "export", "serve", "recommend"]
    assert [name for name in listed if name in path] == path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    command = twotower.main.get_command(click.Context(twotower.main), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: main {name} ")
    undocumented = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert not undocumented


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documents_mention_every_command(name: str) -> None:
    written = [ROOT / "README.md", *(file for file in (ROOT / "docs").glob("*.md") if file.name != "cli.md")]
    text = "\n".join(file.read_text("utf-8") for file in written)
    assert re.search(rf"\btwotower {re.escape(name)}\b", text), (
        f"no document says what `twotower {name}` is for"
    )


def test_an_unknown_command_is_refused_by_name() -> None:
    result = run("tarin")
    assert result.exit_code == 2
    assert "tarin" in result.output


@pytest.fixture
def lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `lacking` of the extra `train`, whose module imports a library that is not installed."""
    (tmp_path / "lacking_cli.py").write_text("import a_library_that_nobody_has\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = twotower._Command("lacking_cli", "lacking", "Lacks something.", "train")
    monkeypatch.setitem(twotower._COMMANDS, "lacking", entry)


@pytest.mark.usefixtures("lacking")
def test_a_missing_extra_is_one_line_with_the_remedy() -> None:
    result = run("lacking")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output == (
        "Error: `twotower lacking` needs the package 'a_library_that_nobody_has', which is not installed. "
        "Install it with: pip install 'twotower[train]'\n"
    )


@pytest.mark.usefixtures("lacking")
def test_help_lists_commands_whose_extra_is_missing() -> None:
    assert re.search(r"^  lacking +Lacks something\.$", run("--help").output, re.MULTILINE)


def test_a_module_of_ours_that_is_missing_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = twotower._Command("trainer.not_there", "x", "Broken.", "train")
    monkeypatch.setitem(twotower._COMMANDS, "broken", entry)
    assert isinstance(run("broken").exception, ModuleNotFoundError)


def test_a_library_that_is_missed_while_a_command_runs_is_the_same_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def callback() -> None:
        raise ModuleNotFoundError("No module named 'late'", name="late")

    monkeypatch.setattr("trainer.cli.train", click.Command("train", callback=callback))
    result = run("train")
    assert result.output.startswith(
        "Error: `twotower train` needs the package 'late', which is not installed."
    )
    assert "twotower[train]" in result.output
