"""The command line as a whole: fast, complete, helpful, and the same from a shell's completion."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer._click import Context
from typer.core import TyperGroup

from cli.main import COMMANDS, app
from tests.cli.support import Assay

ALLOWED = {"annotated_doc", "cli", "shellingham", "typer"}
"""All that may be loaded beside the standard library before a command is called."""
HEAVY = {
    "agents",
    "alembic",
    "api",
    "cubes",
    "docker",
    "fastapi",
    "flows",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "kubernetes",
    "prefect",
    "pydantic",
    "rich",
    "rfc8785",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "structlog",
    "yaml",
}
_LOADED = """
import sys
before = set(sys.modules)
sys.argv = ["assay", *sys.argv[1:]]
from cli.main import main
try:
    main()
except SystemExit:
    pass
found = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print("LOADED", *sorted(found), file=sys.stderr)
"""


def _loaded_by(*words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", _LOADED, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("LOADED ")[2].split())


def _commands(group: TyperGroup, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, as it is typed; groups are loaded on the way."""
    context = Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        loaded = command.make_context(name, [], parent=context, resilient_parsing=True).command
        yield (*words, name)
        if isinstance(loaded, TyperGroup):
            yield from _commands(loaded, (*words, name))


ROOT = typer.main.get_command(app)
assert isinstance(ROOT, TyperGroup)
EVERY = list(_commands(ROOT))


class TestLoad:
    @pytest.mark.parametrize("words", [("--version",), ("--help",), (), ("cubee",)], ids=" ".join)
    def test_nothing_heavy_before_a_command_is_called(self, words: tuple[str, ...]) -> None:
        assert _loaded_by(*words) <= ALLOWED

    @pytest.mark.parametrize("noun", ["gate", "cube", "benchmark", "agent", "registry", "dataset", "audit"])
    def test_help_of_a_noun_is_light_too(self, noun: str) -> None:
        assert not _loaded_by(noun, "--help") & HEAVY

    @pytest.mark.parametrize("words", EVERY, ids=" ".join)
    def test_what_help_promises_is_there(self, words: tuple[str, ...]) -> None:
        lazy = {name: entry for commands in COMMANDS.values() for name, entry in commands.items()}[words[0]]
        module, _, attribute = lazy.target.partition(":")
        assert hasattr(import_module(module), attribute)


class TestVersion:
    def test_is_that_of_the_distribution(self, assay: Assay) -> None:
        ended = assay("--version")
        assert ended.code == 0
        assert re.fullmatch(r"assay \d+\.\d+\.\d+\S*\n", ended.out)


class TestHelp:
    @pytest.mark.parametrize("words", EVERY, ids=" ".join)
    def test_says_what_each_command_does(self, assay: Assay, words: tuple[str, ...]) -> None:
        ended = assay(*words, "--help")
        assert ended.code == 0, ended.err
        usage, sentence = ended.out.split("\n\n")[:2]
        assert usage.startswith(f"Usage: assay {' '.join(words)}")
        assert re.match(r"  [A-Z]", sentence), f"{words} has no sentence"
        assert "\x1b" not in ended.out

    @pytest.mark.parametrize("words", EVERY, ids=" ".join)
    def test_every_option_of_ours_is_explained(self, assay: Assay, words: tuple[str, ...]) -> None:
        listed = assay(*words, "--help").out
        described = re.findall(r"^  (-\S[^\n]*?)(?:\s{2,}(\S.*)|\n\s{10,}(\S.*))$", listed, re.MULTILINE)
        assert described, "no options at all"
        assert all(first or second for _, first, second in described)

    def test_lists_every_command_under_its_heading(self, assay: Assay) -> None:
        out = assay("--help").out
        assert [heading for heading in COMMANDS if f"\n{heading}:\n" in out] == list(COMMANDS)

    @pytest.mark.parametrize("words", [w for w in EVERY if w[-1] in {"list", "show"}], ids=" ".join)
    def test_every_list_and_every_show_speaks_json(self, assay: Assay, words: tuple[str, ...]) -> None:
        assert "--json" in assay(*words, "--help").out

    def test_a_typing_error_gets_a_suggestion(self, assay: Assay) -> None:
        ended = assay("gats")
        assert ended.code == 2
        assert "Did you mean 'gate'" in ended.err


class TestComplete:
    def _completions(self, *words: str) -> set[str]:
        """What bash itself offers for the last word, through the script that `assay` gives it."""
        bash = shutil.which("bash")
        assert bash is not None, "completion is tested with bash: install it"
        script = f"""
            eval "$(_ASSAY_COMPLETE=source_bash assay)"
            COMP_CWORD={len(words) - 1}
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
            _assay_completion assay
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run([bash, "-c", script], capture_output=True, text=True, env=environment, check=True)
        return set(done.stdout.split())

    def test_nouns(self) -> None:
        assert self._completions("assay", "ga") == {"gate"}

    def test_verbs_of_a_noun(self) -> None:
        assert self._completions("assay", "result", "") == {"list", "show"}

    def test_options_of_a_verb(self) -> None:
        assert {"--reason", "--withhold", "--digest"} <= self._completions("assay", "gate", "approve", "--")

    def test_values_of_an_option(self) -> None:
        assert self._completions("assay", "cube", "list", "--kind", "m") == {"model", "metrics"}
