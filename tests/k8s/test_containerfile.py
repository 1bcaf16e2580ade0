"""What the application's image is made of, read from its Containerfile: the build itself is tests/k8s/test_deployment.py."""

import re
import tomllib

import pytest

from agents.runtimes.kubernetes.template import TEMPLATE
from tests.k8s.images import ROOT

INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Instruction and rest, lines joined."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [(found[1], found[2]) for line in text.splitlines() if (found := INSTRUCTION.match(line))]


class TestContainerfile:
    def test_the_base_is_the_builders_choice(self, instructions: list[tuple[str, str]]) -> None:
        assert [rest.partition("=")[0] for word, rest in instructions if word == "ARG"] == ["BASE", "BUILDER"]
        stages = [rest for word, rest in instructions if word == "FROM"]
        assert stages == ["${BUILDER} AS packages", "packages AS build", "${BASE}"]

    def test_it_runs_as_a_number_that_is_not_root(self, instructions: list[tuple[str, str]]) -> None:
        assert [rest for word, rest in instructions if word == "USER"] == ["10001:10001"]

    def test_packages_are_installed_by_hash_alone(self, instructions: list[tuple[str, str]]) -> None:
        runs = " && ".join(rest for word, rest in instructions if word == "RUN").split("&&")
        for command in runs:
            if "requirements" in command or "tools.lock" in command:
                assert "--require-hashes" in command
            elif "pip install" in command:
                assert "--no-deps" in command

    def test_no_address_and_no_secret_is_in_it(self) -> None:
        text = (ROOT / "Containerfile").read_text(encoding="utf-8")
        assert "://" not in text
        assert not re.search(r"index-url|trusted-host|password|token", text, re.IGNORECASE)

    def test_secrets_of_the_build_stay_out_of_layers(self, instructions: list[tuple[str, str]]) -> None:
        assert not [rest for word, rest in instructions if word == "ENV" and re.search(r"PIP_|UV_", rest)]
        assert any("--mount=type=secret" in rest for word, rest in instructions if word == "RUN")


class TestContext:
    def test_only_what_is_named_goes_in(self) -> None:
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        wanted = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
        assert {"api", "agents", "cli", "cubes", "flows"} <= wanted
        assert not wanted & {"tests", ".git", ".venv", "build", "docs"}
        assert all((ROOT / each).exists() for each in wanted)

    def test_the_step_template_is_where_the_installed_agent_looks(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
        place = str(TEMPLATE.relative_to(ROOT))
        assert included == {place: place}
