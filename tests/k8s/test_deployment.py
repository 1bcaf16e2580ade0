"""The application's image as a registry and as a hospital's agent in one cluster, applied as `k8s/` says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import namespace, wait_for
from tests.k8s.deployed import Deployed, DeployedRegistry, deployed_registry, deployed_site
from tests.k8s.places import listener, start_trying, tried

pytestmark = [pytest.mark.kubernetes, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def registry(application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedRegistry]:
    with deployed_registry(tmp_path_factory.mktemp("overlay") / "registry", "embedded", application) as registry:
        yield registry


@pytest.fixture(scope="module")
def agent(application: str, registry: DeployedRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed_site(tmp_path_factory.mktemp("overlay") / "site", "embedded", application, registry) as agent:
        yield agent


class TestImage:
    def test_runs_as_nobody_in_particular_and_writes_to_nothing(self, agent: Deployed) -> None:
        words = ("exec", "deploy/assay-agent", "-c", "agent", "--", "sh", "-c")
        assert agent.own.kubectl(*words, "id -u").strip() == "10001"
        assert "Read-only file system" in agent.own.kubectl(*words, "touch /opt/assay/x", check=False)


class TestAgent:
    def test_the_registry_hears_of_it_by_its_own_calls(self, agent: Deployed, registry: DeployedRegistry) -> None:
        wait_for(lambda: registry.north()["last_heartbeat_at"], "a heartbeat")
        assert registry.north()["isolation"] == "isolated"
        assert agent.pod()["status"]["containerStatuses"][0]["restartCount"] == 0

    def test_nobody_reaches_it_from_the_registry(
        self, agent: Deployed, registry: DeployedRegistry, python_image: str
    ) -> None:
        pages = (agent.pod()["status"]["podIP"], 8430)
        health = (agent.pod()["status"]["podIP"], 8431)
        with namespace("control") as control:
            there = listener(control, python_image, "there", {})
            start_trying(control, python_image, "try", {}, {"pages": pages, "health": health, "there": there})
            assert tried(control, "try") == {"pages": False, "health": False, "there": True}
        registered = {"app.kubernetes.io/component": "registry"}
        start_trying(registry.own, python_image, "try", registered, {"pages": pages, "health": health})
        assert tried(registry.own, "try") == {"pages": False, "health": False}

    def test_the_examination_in_its_pod_finds_nothing_to_mend(self, agent: Deployed) -> None:
        found = {each["check"]: each for each in agent.assay("site", "doctor")}
        assert {name: each["said"] for name, each in found.items() if each["level"] != "ok"} == {}
        assert {"cluster", "rights", "step", "isolation", "registry token"} <= set(found)

    def test_steps_go_when_the_deployment_goes(self, agent: Deployed) -> None:
        jobs = agent.own.get("jobs")["items"]
        assert jobs
        for job in jobs:
            [owner] = job["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"]) == ("Deployment", "assay-agent")

    def test_what_it_knew_survives_its_pod(self, agent: Deployed, registry: DeployedRegistry) -> None:
        words = ("agent", "people", "add", "ada@north.example", "--name", "Ada", "--role", "data_owner")
        agent.assay(*words)
        agent.lose_pod()
        last = registry.north()["last_heartbeat_at"]
        assert [person["email"] for person in agent.assay("agent", "people", "list")] == ["ada@north.example"]
        wait_for(lambda: registry.north()["last_heartbeat_at"] > last, "a newer heartbeat")

    def test_a_token_that_was_renewed_is_taken_at_the_next_start(
        self, agent: Deployed, registry: DeployedRegistry, tmp_path: Path
    ) -> None:
        token = registry.site_token()
        (tmp_path / "registry.token").write_text(token, encoding="utf-8")
        made = agent.own.kubectl(
            "create", "secret", "generic", "assay-secrets", f"--from-file={tmp_path / 'registry.token'}",
            "--dry-run=client", "-o", "yaml",
        )  # fmt: skip
        agent.own.kubectl("apply", "-f", "-", stdin=made)
        agent.own.kubectl("rollout", "restart", "deployment/assay-agent")
        agent.wait_until_ready()
        assert agent.run("cat", "/var/lib/assay/home/secrets/registry.token").strip() == token


class TestRegistry:
    def test_survives_its_pod_and_makes_no_second_administrator(self, registry: DeployedRegistry) -> None:
        registry.deployed.lose_pod()
        [only] = registry.ask("user", "list")
        assert only["platform_administrator"]

    def test_is_ready_when_its_pages_are(self, registry: DeployedRegistry) -> None:
        registry.deployed.lose_pod()
        ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8421/api/ready', timeout=5).status)"
        assert registry.deployed.run("python3", "-c", ask).strip() == "200"
