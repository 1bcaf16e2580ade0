"""Commands typed in a process that stays: as if each were alone."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo.shell import clean_environment, serve, type_in
from tests.cli.federation import Federation


@pytest.fixture
def mel(registry: Federation) -> dict[str, str]:
    return {"ASSAY_REGISTRY_URL": registry.url, "ASSAY_TOKEN": registry.tokens["mel"]}


class TestTypeIn:
    def test_it_runs_as_the_environment_says(self, mel: dict[str, str]) -> None:
        ended = type_in(["whoami", "--json"], mel)
        assert (ended.code, json.loads(ended.output)["registry"]["email"]) == (0, "mel@company.example")

    def test_nothing_is_inherited(self, mel: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_TOKEN", "somebody else's")
        ended = type_in(["whoami"], {"ASSAY_REGISTRY_URL": mel["ASSAY_REGISTRY_URL"]})
        assert ended.code == 3
        assert "ASSAY_TOKEN" in ended.errors
        assert os.environ["ASSAY_TOKEN"] == "somebody else's"

    def test_an_error_is_its_code_and_one_line(self, mel: dict[str, str]) -> None:
        ended = type_in(["model", "show", "nobody"], mel)
        assert (ended.code, ended.output) == (5, "")
        assert "'nobody'" in ended.errors

    def test_a_word_that_does_not_exist_is_usage(self) -> None:
        assert type_in(["conjure"], {}).code == 2

    def test_what_is_typed_is_read_from_stdin(self, mel: dict[str, str]) -> None:
        before = sys.stdin
        ended = type_in(["token", "redeem"], {"ASSAY_REGISTRY_URL": mel["ASSAY_REGISTRY_URL"]}, "not an invitation\n")
        assert ended.code == 7
        assert "no invitation" in ended.errors
        assert sys.stdin is before


class TestServe:
    def test_each_line_is_answered_by_one(self, mel: dict[str, str]) -> None:
        asked = [
            {"words": words, "environment": mel, "typed": ""} for words in (["whoami"], ["model", "show", "nobody"])
        ]
        answers = io.StringIO()
        serve(io.StringIO("".join(json.dumps(each) + "\n" for each in asked)), answers)
        who, refused = (json.loads(line) for line in answers.getvalue().splitlines())
        assert "mel@company.example" in who["output"]
        assert refused["code"] == 5

    def test_what_is_printed_below_python_is_no_answer(self, tmp_path: Path) -> None:
        asked = json.dumps({"words": ["--version"], "environment": {}, "typed": ""}) + "\n"
        # A child of the command's inherits the stream below Python's own.
        (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os.system, 'echo from below')\n")
        done = subprocess.run(
            [sys.executable, "-m", "cli.demo.shell"],
            input=asked,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**clean_environment(), "PYTHONPATH": str(tmp_path)},
        )
        [answer] = done.stdout.splitlines()
        assert json.loads(answer)["output"].startswith("assay ")
        assert "from below" in done.stderr


class TestCleanEnvironment:
    def test_it_names_no_registry_no_site_and_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_SITE_TOKEN", "mine")
        monkeypatch.setenv("HOME_OF_NOTHING", "kept")
        known = clean_environment()
        assert known["HOME_OF_NOTHING"] == "kept"
        assert not [name for name in known if name.startswith("ASSAY_")]
