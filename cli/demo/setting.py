"""The setting: the federation's folder, its processes, its people. From here on everybody types commands."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from agents.environments import EnvironmentCache
from cli.demo.cast import Actor, Hospital, actor
from cli.demo.clone import REFERENCE
from cli.demo.federation import Federation
from cli.demo.stage import Stage
from cli.errors import ConflictError
from cli.processes.bench import DATABASE_VARIABLE
from cubes.breast_fna.split import hospital_exports

_MARK: Final = ".assay-demo"
_DATA: Final = "sklearn/datasets/data/breast_cancer.csv"


class Ground(Protocol):
    """Where a federation stands: on this machine, or in a cluster. The story is the same on either.

    Leaving the block takes away what was made, also after Ctrl-C or an error.
    """

    where: str
    """For the first line: the federation is ..."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def prepare(self, stage: Stage) -> None:
        """Make what the federation is made of."""

    def cube(self, name: str) -> Path:
        """The folder by which a cube of the reference benchmark is registered."""

    def raise_registry(self, stage: Stage, setting: "Setting") -> None:
        """Begin to make a registry; it is not waited for."""

    def wait_for_registry(self, stage: Stage, setting: "Setting") -> None:
        """Until it answers at the address in the setting, and its administrator has a token."""

    def open_site(self, stage: Stage, setting: "Setting", hospital: Hospital, token: str) -> None:
        """Begin to make a hospital's site, with its token for the registry; its agent is not waited for."""

    def wait_for_site(self, stage: Stage, setting: "Setting", hospital: Hospital) -> None:
        """Until its people can type commands there, and its data lie where `hospital.raw` says."""

    def has_heard(self, hospital: Hospital, benchmark: str) -> bool:
        """Whether the agent knows of a benchmark."""

    def images(self) -> dict[str, Any]:
        """Of the application and the cubes, by digest; empty where everything is a folder."""

    def pages(self, setting: "Setting", hospital: Hospital) -> str:
        """The address of a site's pages on this machine."""


@dataclass(slots=True)
class Setting:
    """Everything that is there before anybody registers anything."""

    folder: Path
    federation: Federation
    postgres_url: str
    environments: Path
    ground: Ground
    registry_url: str = ""
    registry_prefect: str = ""
    administrator: Actor = field(default_factory=lambda: actor("Platform administrator", "Registry", "federation"))
    chair: Actor = field(default_factory=lambda: actor("Committee chair", "Committee", "committee"))
    member: Actor = field(default_factory=lambda: actor("Committee member", "Committee", "committee"))
    model_owners: dict[str, Actor] = field(default_factory=dict)
    hospitals: list[Hospital] = field(default_factory=list)

    def everybody(self) -> list[Actor]:
        """All who have an account at the registry."""
        owners = [hospital.owner for hospital in self.hospitals]
        return [self.administrator, self.chair, self.member, *self.model_owners.values(), *owners]


def fresh_folder(folder: Path) -> Path:
    """An empty folder of the demonstration's own.

    Raises:
        ConflictError: there is something else in it.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / _MARK).exists():
            raise ConflictError(f"{str(folder)!r} holds something else: choose another --folder")
        _remove(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder with the cubes in it, which are read-only."""
    for here, _, _ in os.walk(folder):
        Path(here).chmod(0o700)
    shutil.rmtree(folder)


def wait_for_answers(stage: Stage, setting: Setting, what: str) -> None:
    """Until the registry answers its administrator; `what` tells the reader what is waited for."""

    def answers() -> bool:
        setting.federation.require_alive()
        return stage.succeeds(setting.administrator, "registry", "status")

    stage.wait(what, answers)


def split_data(setting: Setting) -> None:
    """Three hospitals' exports of real cases; the file with the cases comes with scikit-learn, in the models' environment."""
    environment = EnvironmentCache(setting.environments).get(REFERENCE / "models" / "sklearn" / "requirements.lock")
    if environment is None:
        raise ConflictError("the models' list of packages is empty: the cases come with scikit-learn")
    [cases] = environment.glob(f"lib/python3*/site-packages/{_DATA}")
    for hospital in hospital_exports(cases, setting.folder / "exports"):
        domain = hospital.name
        setting.hospitals.append(
            Hospital(
                name=hospital.name,
                title=hospital.title,
                cases=hospital.cases,
                raw=hospital.folder,
                home=setting.folder / "sites" / hospital.name,
                operator=actor("Operator", hospital.title, domain),
                owner=actor("Data owner", hospital.title, domain),
            )
        )


def admit(stage: Stage, setting: Setting, organizations: dict[str, tuple[str, list[Actor]]]) -> None:
    """The administrator takes organizations in and invites their people; each redeems a token that nobody else has seen."""
    for name, (title, people) in organizations.items():
        stage.play(setting.administrator, "organization", "add", name, "--title", title)
        for person in people:
            words = ("user", "add", person.email, "--name", person.name, "--organization", name)
            made = stage.play_for_data(setting.administrator, *words)
            person.environment.update(
                ASSAY_REGISTRY_URL=setting.registry_url, ASSAY_ENVIRONMENTS=str(setting.environments)
            )
            issued = stage.play_for_data(person, "token", "redeem", typed=made["invitation"] + "\n")
            person.environment["ASSAY_TOKEN"] = issued["secret"]
            person.environment[DATABASE_VARIABLE] = setting.postgres_url


def open_site(stage: Stage, setting: Setting, hospital: Hospital) -> None:
    """A hospital's site: known to the registry, a folder of its own, an agent."""
    administrator = setting.administrator
    stage.play(administrator, "site", "add", hospital.name, "--title", hospital.title, "--organization", hospital.name)
    token: dict[str, Any] = stage.play_for_data(administrator, "site", "token", hospital.name)
    setting.ground.open_site(stage, setting, hospital, token["secret"])


def welcome(stage: Stage, setting: Setting, hospital: Hospital) -> None:
    """The people of a site, each with a token of their own there."""
    setting.ground.wait_for_site(stage, setting, hospital)
    for person, role in ((hospital.owner, "data_owner"), (hospital.operator, "operator")):
        added = ("agent", "people", "add", person.email, "--name", person.name, "--role", role)
        person.environment["ASSAY_SITE_TOKEN"] = stage.play_for_data(hospital.operator, *added)["token"]
