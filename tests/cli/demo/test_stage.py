"""The stage: what people type is real, what fails stops the play, what is secret is not kept."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo.cast import Actor, actor
from cli.demo.stage import Stage
from cli.demo.terminal import Place, Terminal
from cli.errors import FailedError, TimedOutError
from tests.cli.federation import Federation


def _stage() -> tuple[Stage, io.StringIO]:
    seen = io.StringIO()
    return Stage(Console(file=seen, width=200, highlight=False)), seen


@pytest.fixture
def mel(registry: Federation) -> Actor:
    """A model owner of a registry that listens."""
    environment = {"ASSAY_REGISTRY_URL": registry.url, "ASSAY_TOKEN": registry.tokens["mel"]}
    return actor("Mel", "Company", "company", **environment)


class TestPlay:
    def test_a_command_is_announced_run_as_its_actor_and_kept(self, mel: Actor) -> None:
        stage, seen = _stage()
        with stage.phase("Looking"):
            output = stage.play(mel, "whoami", show=True)
        assert "mel@company.example" in output
        assert "Mel (Company)  $ assay whoami" in seen.getvalue()
        assert "mel@company.example" in seen.getvalue()
        assert [(played.actor, played.command, played.code) for played in stage.phases[0].commands] == [
            ("Mel (Company)", "assay whoami", 0)
        ]

    def test_a_command_that_fails_stops_the_play_with_what_it_said(self, mel: Actor) -> None:
        stage, _ = _stage()
        with pytest.raises(FailedError, match=r"assay model show nobody.*ended with 5.*nobody"), stage.phase("Looking"):
            stage.play(mel, "model", "show", "nobody")

    def test_an_answer_with_a_secret_is_neither_shown_nor_kept(self, mel: Actor) -> None:
        stage, seen = _stage()
        with stage.phase("Looking"):
            made = stage.play_for_data(mel, "token", "issue", "demo", "--days", "1")
        [played] = stage.phases[0].commands
        assert made["secret"]
        assert made["secret"] not in seen.getvalue() + played.output + played.command

    def test_the_environment_is_as_before_whatever_happens(self, mel: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ASSAY_TOKEN", "somebody else's")
        stage, _ = _stage()
        assert not stage.succeeds(mel, "model", "show", "nobody")
        assert stage.succeeds(mel, "whoami")
        assert os.environ["ASSAY_TOKEN"] == "somebody else's"

    def test_long_output_is_cut_and_says_so(self) -> None:
        stage, seen = _stage()
        stage.show("\n".join(f"line {number}" for number in range(40)))
        assert "line 13" in seen.getvalue()
        assert "line 14" not in seen.getvalue()
        assert "26 more lines" in seen.getvalue()


class TestAside:
    def test_its_commands_are_told_of_in_a_sentence_and_kept(self, mel: Actor) -> None:
        stage, seen = _stage()
        with stage.phase("Looking"):
            with stage.aside("Mel looks around."):
                stage.play(mel, "whoami")
            stage.play(mel, "model", "list")
        assert "Mel looks around." in seen.getvalue()
        assert "$ assay whoami" not in seen.getvalue()
        assert "$ assay model list" in seen.getvalue()
        assert [played.command for played in stage.phases[0].commands] == ["assay whoami", "assay model list"]


class TestPlayTogether:
    def test_both_run_in_processes_of_their_own(self, mel: Actor) -> None:
        stage, _ = _stage()
        with stage.phase("Looking"):
            stage.play_together([(mel, ("whoami", "--json")), (mel, ("model", "list", "--json"))])
        who, models = (json.loads(played.output) for played in stage.phases[0].commands)
        assert who["registry"]["email"] == "mel@company.example"
        assert {"logistic-regression", "random-forest"} <= {model["name"] for model in models}

    def test_one_that_fails_stops_the_play(self, mel: Actor) -> None:
        stage, _ = _stage()
        with pytest.raises(FailedError, match="model show nobody"), stage.phase("Looking"):
            stage.play_together([(mel, ("whoami",)), (mel, ("model", "show", "nobody"))])


class TestWait:
    def test_it_ends_with_what_was_found(self) -> None:
        stage, _ = _stage()
        answers = iter([None, "", "there"])
        assert stage.wait("something", lambda: next(answers)) == "there"

    def test_what_does_not_happen_is_named(self) -> None:
        stage, _ = _stage()
        with pytest.raises(TimedOutError, match="the moon: did not happen in 0 s"):
            stage.wait("the moon", lambda: False, limit_s=0)


class TestHandOver:
    def test_a_reader_can_paste_what_is_told(self, mel: Actor, tmp_path: Path) -> None:
        stage, seen = _stage()
        stage.hand_over(mel, ["whoami", "--json"])
        told = [line.strip() for line in seen.getvalue().splitlines() if line.startswith("        ")]
        done = subprocess.run(
            ["/bin/sh", "-ec", "\n".join(told)], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True
        )
        assert json.loads(done.stdout)["registry"]["email"] == "mel@company.example"

    def test_whoever_types_elsewhere_is_told_the_way_there(self, mel: Actor, tmp_path: Path) -> None:
        stage, seen = _stage()
        place = Place("assay-demo-north", "assay-agent", "agent")
        mel.terminal = Terminal(place, tmp_path / "log", [sys.executable, "-m", "cli.demo.shell"])
        try:
            stage.hand_over(mel, ["gate", "list"])
        finally:
            mel.terminal.close()
        way, *exports, command = [line.strip() for line in seen.getvalue().splitlines()[1:]]
        assert way == "kubectl -n assay-demo-north exec -it deployment/assay-agent -c agent -- sh"
        assert f"export ASSAY_TOKEN={mel.environment['ASSAY_TOKEN']}" in exports
        assert command == "assay gate list"


class TestElsewhere:
    def test_commands_run_where_the_actor_s_terminal_is(self, mel: Actor, tmp_path: Path) -> None:
        stage, _ = _stage()
        place = Place("assay-demo-north", "assay-agent", "agent")
        mel.terminal = Terminal(place, tmp_path / "log", [sys.executable, "-m", "cli.demo.shell"])
        try:
            with stage.phase("Looking"):
                assert "mel@company.example" in stage.play(mel, "whoami")
            assert stage.ask(mel, "whoami")["registry"]["email"] == "mel@company.example"
            assert not stage.succeeds(mel, "model", "show", "nobody")
        finally:
            mel.terminal.close()
        with pytest.raises(FailedError, match="'assay-demo-north' has ended"):
            stage.succeeds(mel, "whoami")
