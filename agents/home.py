"""A site's folder: where everything of a site lies, and its settings."""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from agents.bundles.settings import BundleSettings
from agents.downloads.settings import DownloadSettings
from agents.endpoints.settings import EndpointSettings
from agents.errors import HomeError
from agents.images.settings import ImageSettings
from agents.runtimes.docker.settings import DockerSettings
from agents.runtimes.kubernetes.settings import KubernetesSettings
from api.schemas.sign_in import encrypted_issuer

HOME_VERSION: Final = 1


class GateSettings(BaseModel):
    """What a site asks at one kind of gate, beyond one data owner's word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quorum: int = Field(default=1, ge=1, le=20)
    """So many must approve."""
    four_eyes: bool = False
    """Whoever asked for the work may not approve it."""
    expires_days: float | None = Field(default=None, gt=0)
    """How long the question stands; then somebody must renew it."""
    remind_days: float | None = Field(default=None, gt=0)
    """How often those who may decide are reminded."""


class SignInSettings(BaseModel):
    """How people sign in to the site's pages. The provider's secret lies in `secrets/single-sign-on.secret`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session_hours: float = Field(default=12.0, gt=0, le=24 * 30)
    issuer: str | None = None
    """An OpenID Connect provider's; without one people have passwords here."""
    client_id: str = "assay"
    title: str = "your institution's account"
    """For the button on the sign-in page."""
    trusted_proxies: str = ""
    """Addresses of proxies in front of the pages whose `X-Forwarded-*` are believed, with commas between."""

    @field_validator("issuer")
    @classmethod
    def _is_encrypted(cls, issuer: str | None) -> str | None:
        return encrypted_issuer(issuer)


class SiteSettings(BaseModel):
    """`site.toml`: what an operator may set. Secrets are not in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = HOME_VERSION
    site: str = Field(min_length=2, max_length=63)
    registry_url: str
    slots: int = Field(default=2, ge=1, le=256)
    """How many steps run at once."""
    gpu_slots: int = Field(default=0, ge=0, le=256)
    """How many steps that need a GPU run at once, beside those that need none; zero counts them all as one."""
    poll_s: float = Field(default=15.0, ge=0.1, le=3600)
    """Seconds between two looks at the registry."""
    heartbeat_s: float = Field(default=60.0, ge=1, le=3600)
    prefect_database_url: str | None = None
    """A PostgreSQL of the hospital's own for Prefect; without one the agent starts an embedded one."""
    prefect_port: int = Field(default=0, ge=0, le=65535)
    """Zero chooses a free port."""
    prefect_host: str = "127.0.0.1"
    """Where the site's pages listen; everywhere (0.0.0.0) only behind a network that lets none but the hospital's own in."""
    health_port: int | None = Field(default=None, ge=0, le=65535)
    """Where a cluster asks whether the agent lives (/live) and can be used (/ready), at `prefect_host`; nowhere when left out."""
    allow_unisolated: bool = False
    """Run cubes although the deny probe failed. Every result then says so for ever."""
    start_evaluations: bool = True
    """Ask for outstanding executions by itself; a person still decides at the gate."""
    memory_mib: int = Field(default=4096, ge=64)
    deadline_s: float = Field(default=3600.0, gt=0)
    live_logs: bool = False
    """Show the beginning of each step's log in Prefect's pages while it runs. Prefect keeps it: logs may name patients."""
    probe_every_s: float = Field(default=86_400.0, ge=60)
    """How often the deny probe is run again while the agent lives."""
    verify_full_every_s: float = Field(default=86_400.0, ge=0)
    """How often every byte of a registered dataset is read; in between, files that look untouched are taken to be so."""
    keep_logs_days: float = Field(default=90.0, gt=0)
    keep_logs_mib: int = Field(default=1024, ge=1)
    """All logs of steps together; the oldest go first."""
    keep_heartbeats_days: float = Field(default=30.0, ge=1)
    """Everything else that left is remembered for ever."""
    sign_in: SignInSettings = SignInSettings()
    prefect_separate: bool = False
    """Prefect's server in a process of its own; else it lives in the agent's."""
    prefect_deployment: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")] = "site"
    """Under which name flows are asked for. `site`: the agent runs them; others, of prefect.yaml, are run by workers."""
    gates: dict[str, GateSettings] = {}
    """By the gate's name: `register_dataset`, `run_models`, `release_results`."""
    runtime: Literal["process", "docker", "kubernetes"] = "process"
    docker: DockerSettings = DockerSettings()
    kubernetes: KubernetesSettings | None = None
    images: ImageSettings = ImageSettings()
    downloads: DownloadSettings = DownloadSettings()
    bundles: BundleSettings = BundleSettings()
    endpoints: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")], EndpointSettings] = {}

    @model_validator(mode="after")
    def _kubernetes_is_described(self) -> "SiteSettings":
        if self.runtime == "kubernetes" and self.kubernetes is None:
            raise ValueError('runtime = "kubernetes" needs a [kubernetes] table: namespace, image, volumes')
        return self


@dataclass(frozen=True, slots=True)
class Home:
    """The layout of a site's folder. Only the site's own user may read it."""

    path: Path

    @property
    def settings_file(self) -> Path:
        return self.path / "site.toml"

    @property
    def token_file(self) -> Path:
        return self.path / "secrets" / "registry.token"

    @property
    def bundle_key_file(self) -> Path:
        """With which this place signs its bundles."""
        return self.path / "secrets" / "bundle.key"

    @property
    def hub_token_file(self) -> Path:
        """The site's token for the model hub that `hf://` leads to."""
        return self.path / "secrets" / "hub.token"

    @property
    def registries_file(self) -> Path:
        """Logins for image registries."""
        return self.path / "secrets" / "registries.json"

    @property
    def single_sign_on_file(self) -> Path:
        return self.path / "secrets" / "single-sign-on.secret"

    @property
    def ledger_file(self) -> Path:
        """Sessions, and what was refused in front of Prefect."""
        return self.path / "sign-in.sqlite"

    @property
    def store_file(self) -> Path:
        return self.path / "store.sqlite"

    @property
    def work_file(self) -> Path:
        """The registry's last answer to "what is there to do", kept for the time that it is away."""
        return self.path / "work.json"

    @property
    def probe_file(self) -> Path:
        return self.path / "probe.json"

    @property
    def agent_lock(self) -> Path:
        return self.path / "agent.lock"

    @property
    def pull_lock(self) -> Path:
        """Held by whoever takes over what the registry asks."""
        return self.path / "pull.lock"

    @property
    def flush_lock(self) -> Path:
        """Held by whoever sends what lies in the outbox, or notes that it has arrived."""
        return self.path / "flush.lock"

    @property
    def prefect_url_file(self) -> Path:
        return self.path / "prefect.url"

    def folder(self, name: str) -> Path:
        """A private folder below the home, made when it is missing."""
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def settings(self) -> SiteSettings:
        """The settings.

        Raises:
            HomeError: there is no `site.toml`, or it holds a key or value that is not known.
        """
        try:
            return SiteSettings.model_validate(tomllib.loads(self.settings_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise HomeError(
                f"{str(self.path)!r} is not a site's folder: run `assay agent init --home ...` first"
            ) from None
        except (OSError, ValueError) as error:  # TOML, UTF-8 and validation errors are ValueErrors
            raise HomeError(f"{str(self.settings_file)!r} cannot be read: {error}") from error

    def token(self) -> str:
        """The site's token for the registry.

        Raises:
            HomeError: there is none, or others than the owner may read it.
        """
        try:
            token = read_private(self.token_file)
        except FileNotFoundError:
            raise HomeError(
                f"no registry token in {str(self.token_file)!r}: issue one with `assay site token`"
            ) from None
        if not token:
            raise HomeError(f"{str(self.token_file)!r} is empty: issue a token with `assay site token`")
        return token

    def endpoint_secret_file(self, name: str) -> Path:
        """The key of an endpoint, under the name that `site.toml` gives it."""
        return self.path / "secrets" / name

    def secret_files(self, settings: SiteSettings) -> frozenset[Path]:
        """Every secret that a site with these settings may be given from outside; what it has made itself is not among them."""
        of_endpoints = {self.endpoint_secret_file(each.secret) for each in settings.endpoints.values() if each.secret}
        named = {self.token_file, self.registries_file, self.hub_token_file, self.single_sign_on_file}
        return frozenset((named | of_endpoints) - {self.bundle_key_file})


def create_home(path: Path, settings: SiteSettings, token: str) -> Home:
    """Make a site's folder with its settings and the registry's token.

    Raises:
        HomeError: the folder already is a site's home.
    """
    home = Home(path.resolve())
    if home.settings_file.exists():
        raise HomeError(f"{str(home.path)!r} is a site's folder already: remove it or choose another")
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.path.chmod(0o700)
    home.folder("secrets")
    write_private(home.token_file, token + "\n")
    write_private(home.settings_file, settings_text(settings))
    return home


def settings_text(settings: SiteSettings) -> str:
    """Settings as they stand in `site.toml`."""
    lines = [f"{key} = {_toml(value)}" for key, value in settings.model_dump(mode="json", exclude_none=True).items()]
    return "\n".join(lines) + "\n"


def adopt_home(path: Path, settings_file: Path, secrets: Path) -> Home:
    """Lay settings and secrets that are kept elsewhere into a site's folder, which is made when it is missing.

    Args:
        path: the site's folder. What else is in it stays; a secret that is not given any more goes.
        settings_file: a `site.toml`.
        secrets: a folder with `registry.token`, and others of `Home.secret_files` where the site needs them.

    Raises:
        HomeError: the settings are not valid, are another site's than the folder's, or there is no token.
    """
    home, given = Home(path.resolve()), Home(settings_file.parent.resolve())
    if settings_file.name != home.settings_file.name:
        raise HomeError(f"{str(settings_file)!r} is to be named {home.settings_file.name!r}")
    settings = given.settings()
    before = home.settings() if home.settings_file.exists() else settings
    if before.site != settings.site:
        raise HomeError(
            f"{str(home.path)!r} is the folder of site {before.site!r}, not of {settings.site!r}: give it another"
        )
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.folder("secrets")
    write_private(home.settings_file, settings_file.read_text(encoding="utf-8"))
    for target in home.secret_files(before) | home.secret_files(settings):
        source = secrets / target.name
        if source.is_file():
            write_private(target, source.read_text(encoding="utf-8"))
        else:
            target.unlink(missing_ok=True)
    home.token()
    return home


def read_private(path: Path) -> str:
    """A secret from a file that only its owner can read.

    Raises:
        FileNotFoundError: there is none.
        HomeError: others may read it, or nobody can.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise HomeError(
                    f"{str(path)!r} is readable by others: run chmod 600 on it, and issue another token"
                    " if somebody may have read it"
                )
            return file.read().strip()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise HomeError(f"the secret in {str(path)!r} cannot be read: {error}") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # a basic string of TOML is written as one of JSON is
