"""A whole campaign by commands alone: a benchmark at a registry that listens, and a hospital whose agent really runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from cli.processes.bench import DATABASE_VARIABLE
from tests.cli.federation import Federation
from tests.cli.formats import write_cube, write_files
from tests.cli.support import Ended, type_command
from tests.clusters import wait_for

LONG_S: Final = 600.0
"""Several servers start meanwhile, on a host that may be busy."""
FORMS: Final = ("mlcube", "container_config")
METRIC: Final = "accuracy"
_PROGRAM: Final = str(Path(sys.executable).with_name("assay"))
_SPECIFICATION: Final = """
name: {name}
title: Copying
clinical_setting: none
task: Repeat what was given, after what was learnt.
labelling_method: by hand
inclusion_criteria: all
documentation: two folders
primary_metric: accuracy
minimum_cases: 1
metrics: [{{name: accuracy, minimum: 0, maximum: 1, decomposable: true}}]
"""
_CARD: Final = """
name: {name}
title: The copier
architecture: a shell script
intended_use: tests
training_data: none
licence: Apache-2.0
contact: mel@company.example
"""


@dataclass
class Campaign:
    """A benchmark with cubes of one format, a model of each, a hospital. Commands must succeed unless they `may_fail`."""

    registry: Federation
    folder: Path
    form: str
    name: str
    home: Path
    database: str
    """A PostgreSQL in which Prefect's databases are copies of one that is migrated already."""
    site_token: str = ""
    process: subprocess.Popen[bytes] | None = None
    """The hospital's agent, while it runs."""

    def at(self, who: str, *words: str | Path, may_fail: bool = False) -> Ended:
        """Type a command as somebody of the federation."""
        return self._type(words, may_fail, ASSAY_REGISTRY_URL=self.registry.url, ASSAY_TOKEN=self.registry.tokens[who])

    def here(self, *words: str | Path, may_fail: bool = False) -> Ended:
        """Type a command as the hospital's data owner."""
        return self._type(words, may_fail, ASSAY_SITE_HOME=str(self.home), ASSAY_SITE_TOKEN=self.site_token)

    @property
    def models(self) -> dict[str, str]:
        """Format to the name of the model in it."""
        return {form: f"{self.name}-{form.replace('_', '-')}" for form in FORMS}

    # What the committee and the model's owner do.

    def register(self, image: str) -> None:
        """Cubes, models, and an approved benchmark."""
        files = write_files(self.folder / "export")
        for kind in ("data_preparator", "metrics"):
            folder = write_cube(self.folder / kind, self.form, kind, image)
            self.at("ada", "cube", "register", folder, "--name", self._cube(kind))
        specification = self._write("benchmark.yaml", _SPECIFICATION)
        demo = self._write("paths.yaml", "data_path: data\nlabels_path: labels\n", files).parent
        cubes = ("--preparator", self._cube("data_preparator"), "--metrics", self._cube("metrics"))
        self.at("ada", "benchmark", "register", specification, *cubes, "--demo-dataset", demo)
        self.approve("root", self.at("ada", "benchmark", "submit", self.name, "--json").json)
        self.at("ada", "benchmark", "committee", "add", self.name, "bob@university.example")
        for form, model in self.models.items():
            cube = write_cube(self.folder / model, form, "model", image)
            self.at("mel", "cube", "register", cube, "--name", f"{model}-cube", "--files", files / "files")
            card = self._write(f"{model}.yaml", _CARD.replace("{name}", model))
            self.at("mel", "model", "register", card, "--cube", f"{model}-cube")

    def check(self) -> None:
        """Measure the models on the demo dataset, as their owner does it, in a process of its own; then let Ada take them in."""
        reports = self.folder / "reports"
        words = ("model", "check", *self.models.values(), "-b", self.name, "--reports", str(reports))
        owner = {"ASSAY_REGISTRY_URL": self.registry.url, "ASSAY_TOKEN": self.registry.tokens["mel"]}
        owner[DATABASE_VARIABLE] = self.database
        done = subprocess.run([_PROGRAM, *words], env=_clean() | owner, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2_000:]
        for model in self.models.values():
            self.join("mel", model, "--compatibility", reports / f"{model}.{self.name}.compatibility.json")

    def join(self, who: str, subject: str, *more: str | Path) -> None:
        """Ask for a model's or dataset's place, and let Ada decide."""
        asked = self.at(who, "association", "request", subject, "--benchmark", self.name, *more, "--json").json
        gates = self.at("ada", "gate", "list", "--json").json
        (gate,) = [each for each in gates if each["kind"] == "association" and each["subject_id"] == asked["id"]]
        self.approve("ada", gate)

    def approve(self, who: str, gate: Any) -> None:
        """Decide at the registry; its review flow then concludes, which is played here."""
        self.at(who, "gate", "approve", str(gate["id"]), "-r", "seen", "--digest", gate["digest"])
        with self.registry.client(who) as client:
            self.registry.decide(client.gates.get(gate["id"]))

    def release(self) -> None:
        self.approve("bob", self.at("ada", "benchmark", "release", self.name, "--json").json)

    # What the hospital does.

    def answer(self, name: str) -> dict[str, Any]:
        """Approve a question of the hospital's once it is asked; returns it as it was shown."""
        gate = self._until(lambda: self._asked(name), f"the gate {name!r}")
        shown: dict[str, Any] = self.here("gate", "show", gate["id"], "--site", "--json").json
        self.here("gate", "approve", gate["id"], "--site", "-r", "looked at it", "--yes")
        return shown

    def prepare(self) -> None:
        data, labels = self.folder / "export" / "data", self.folder / "export" / "labels"
        words = ("dataset", "prepare", self.name, "-b", self.name, "--data", data, "--labels", labels)
        offered = lambda: self.here(*words, may_fail=True).code == 0  # noqa: E731 - asked until the site has heard of it
        self._until(offered, "the site to hear of the benchmark")

    def registered(self) -> Any:
        """The dataset at the registry, once it is there."""
        show = ("dataset", "show", self.name, "--registry", "--json")
        self._until(lambda: self.at("dan", *show, may_fail=True).code == 0, "the dataset at the registry")
        return self.at("dan", *show).json

    def results(self) -> dict[str, dict[str, Any]]:
        """Model to its result at the registry, once all are there."""
        words = ("result", "list", "--benchmark", self.name, "--registry", "--json")
        found: dict[str, dict[str, Any]] = {}

        def all_came() -> bool:
            found.update({each["model_name"]: each for each in self.at("ada", *words).json})
            return set(found) == set(self.models.values())

        self._until(all_came, "the results at the registry")
        return found

    def _until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true answer of a condition, as long as the agent lives."""

        def look() -> Any:
            assert self.process is not None, "the agent is not started"
            assert self.process.poll() is None, (self.folder / "agent.log").read_text()[-2_000:]
            return condition()

        return wait_for(look, what, LONG_S)

    def _asked(self, name: str) -> dict[str, Any] | None:
        found = [gate for gate in self.here("gate", "list", "--site", "--json").json if gate["name"] == name]
        assert len(found) < 2
        return dict(found[0]) if found else None

    def _cube(self, kind: str) -> str:
        return f"{self.name}-{kind.replace('_', '-')}"

    def _write(self, name: str, text: str, folder: Path | None = None) -> Path:
        path = (folder or self.folder) / name
        path.write_text(text.format(name=self.name))
        return path

    def _type(self, words: tuple[str | Path, ...], may_fail: bool, **environment: str) -> Ended:  # noqa: FBT001 - private
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("ASSAY_")]:
                patch.delenv(name)
            for name, value in {**environment, "XDG_CONFIG_HOME": str(self.folder / "config")}.items():
                patch.setenv(name, value)
            ended = type_command(*words)
        assert may_fail or ended.code == 0, f"assay {' '.join(map(str, words))}: {ended.err}"
        return ended


def new_site(campaign: Campaign, *settings: str) -> None:
    """A site of the north's at the registry, its folder here, and a data owner."""
    campaign.at("root", "site", "add", campaign.name, "--title", "North", "--organization", "north")
    token = campaign.at("root", "site", "token", campaign.name, "--json").json["secret"]
    site = ("--registry", campaign.registry.url, "--site", campaign.name, "--token", token)
    own = ("poll_s = 0.5", f"prefect_database_url = {json.dumps(campaign.database)}")
    words = [word for setting in (*own, *settings) for word in ("--set", setting)]
    campaign.here("agent", "init", "--home", campaign.home, *site, "--memory-mib", "256", *words)
    owner = ("dana@north.example", "--name", "Dana", "--role", "data_owner")
    campaign.site_token = campaign.here("agent", "people", "add", *owner, "--json").json["token"]


@contextmanager
def agent(campaign: Campaign) -> Iterator[None]:
    """The site's agent, as a process of its own, for as long as the block lasts."""
    command = [_PROGRAM, "agent", "start", "--home", str(campaign.home)]
    with (campaign.folder / "agent.log").open("wb") as log:
        campaign.process = process = subprocess.Popen(command, env=_clean(), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _clean() -> dict[str, str]:
    """An environment that names nobody, for a process of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "PREFECT_"))}
