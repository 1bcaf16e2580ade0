"""What README.md tells people to type works as it stands there."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import app

_ROOT = Path(__file__).parents[2]
_READMES = ("README.md", "k8s/README.md")
_SECRET = re.compile(r"^  (assay_\S+)$", re.MULTILINE)
_RUNS = re.compile(r"the (?:registry|agent) runs.*?(?:\surl=(\S+))?$", re.MULTILINE)


def _commands(text: str) -> list[str]:
    """Each `assay ...` of a text: in a line of its own, run inside a pod, or among words."""
    alone = re.findall(r"^(?:kubectl .* -- )?(assay [^#`|>\n]+)", text, re.MULTILINE)
    return [found.strip() for found in [*alone, *re.findall(r"`(assay [^`\n]+)`", text)]]


def _blocks(after: str) -> str:
    """The lines to be typed between one heading and the next."""
    text = (_ROOT / "README.md").read_text().partition(f"## {after}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))


class TestCommands:
    @pytest.mark.parametrize("readme", _READMES)
    def test_all_that_are_named_exist_with_their_options(self, readme: str) -> None:
        named = _commands((_ROOT / readme).read_text())
        assert named
        for command in named:
            _resolve(shlex.split(command)[1:])


def _resolve(words: list[str]) -> None:
    """Raises AssertionError for a command, or an option of it, that the command line does not know."""
    command: Any = typer.main.get_command(app)  # typer carries a click of its own, which has no public name
    context, path = command.make_context("assay", [], resilient_parsing=True), "assay"
    while hasattr(context.command, "get_command") and words and not words[0].startswith("-"):
        path = f"{path} {words[0]}"
        command = context.command.get_command(context, words[0])
        assert command is not None, f"there is no `{path}`"
        words = words[1:]
        context = command.make_context(path, [], parent=context, resilient_parsing=True)  # the real one, now
    options = {name for parameter in context.command.get_params(context) for name in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, f"`{path}` has no option {word}"


class _Newcomer:
    """Somebody who types what stands there, and answers what they are asked with the secret that they were shown last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = {"/srv/": f"{folder}/"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "PREFECT_"))}
        path = f"{Path(sys.executable).parent}:{clean.get('PATH', '')}"
        self._environment = {**clean, "PATH": path, "HOME": str(folder), "NO_COLOR": "1", "COLUMNS": "200"}
        self._running: list[subprocess.Popen[bytes]] = []
        self._secret = ""

    def type(self, line: str) -> str:
        """What was said to a line."""
        for written, real in self._places.items():
            line = line.replace(written, real)
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._environment[name] = value
            return ""
        return self._start(words) if words[-1] == "start" or "start" in words[:3] else self._run(words)

    def _run(self, words: list[str]) -> str:
        done = subprocess.run(
            words,
            input=self._secret + "\n",
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        shown = _SECRET.findall(done.stdout)
        self._secret = shown[-1] if shown else self._secret
        return done.stdout

    def _start(self, words: list[str]) -> str:
        ports = ["--port", "0", "--prefect-port", "0"] if words[1] == "registry" else []
        log = self._folder / f"{words[1]}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([*words, *ports], stdout=out, stderr=out, env=self._environment)
        self._running.append(process)
        end = time.monotonic() + 300
        while not (found := _RUNS.search(log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        if found[1]:
            self._places["https://registry.example"] = found[1]
        return log.read_text()

    def leave(self) -> list[int]:
        """Stop what was started; what it ended with."""
        for process in reversed(self._running):
            process.terminate()
        return [process.wait(120) for process in reversed(self._running)]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[_Newcomer]:
    somebody = _Newcomer(tmp_path)
    try:
        yield somebody
    finally:
        codes = somebody.leave()
    assert codes == [0, 0]


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestFederation:
    def test_line_by_line(self, newcomer: _Newcomer) -> None:
        lines = _blocks("For a real federation").splitlines()
        for line in lines[: lines.index("assay agent start") + 1]:
            newcomer.type(line)
        assert "owner@north.example" in newcomer.type("assay agent people list")
        newcomer.type("assay login --site /srv/site")
        assert "Nothing waits" in newcomer.type("assay gate list")
