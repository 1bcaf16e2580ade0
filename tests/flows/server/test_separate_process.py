"""Prefect's server in a process of its own, at the registry and at a site, by settings alone: whole processes, started, used
from the pages, ended, and started again on the same database.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.client import RegistryClient
from api.schemas.benchmarks import BenchmarkCreate, BenchmarkState, GatePublic, GateState
from api.schemas.people import InvitationCreate, OrganizationCreate, PasswordUpdate, Redemption, UserCreate
from cli.demo.federation import free_port
from cli.files import read_mapping
from flows.server.databases import drop_prefect_database
from flows.server.postgres import EmbeddedPostgres
from tests.cli.federation import FNA, _cube, _send
from tests.flows.server.processes import PASSWORD, Program, answers, browser, state_of, typed
from tests.hospital import Hospital, hospital

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(900)]
Until = Callable[..., None]
ROOT, ANN = "root@host.example", "ann@north.example"
OWN_DATABASE, OTHERS_DATABASE = "embedded", "by URL"


@pytest.fixture
def patiently(until: Until) -> Until:
    """Whole processes on busy cores."""
    return partial(until, limit_s=300)


def _form(digest: str, reason: str, **more: Any) -> dict[str, Any]:
    """Prefect's form, filled in."""
    return {"run_input": {"verdict": "approve", "reason": reason, "digest": digest, **more}}


def _servers(program: Program) -> list[int]:
    """Processes that are Prefect's server alone."""
    return [life.pid for life in program.family() if life.words.rstrip().endswith("-m flows.server")]


def _databases(program: Program) -> list[int]:
    return [life.pid for life in program.family() if "postgres -D " in life.words]


@dataclass
class Registry:
    """A registry that somebody has made by command, not yet started."""

    data: Path
    program: Program
    url: str
    pages: str
    until: Until
    token: str
    _ada: str = ""
    _parts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[RegistryClient]:
        with self.program.running(lambda: answers(self.pages)), RegistryClient(self.url, self.token) as root:
            yield root

    def with_ada(self, root: RegistryClient, folder: Path) -> None:
        """Root has a password now, and Ada, who makes benchmarks, is in."""
        root.users.set_password(PasswordUpdate(password=PASSWORD))
        organization = root.organizations.create(OrganizationCreate(name="university", title="University")).id
        new = UserCreate(email="ada@university.example", name="Ada", organization_id=organization)
        invitation = root.users.invite(root.users.create(new).id, InvitationCreate())
        self._ada = root.users.redeem(Redemption(secret=invitation.secret, label="first")).secret
        with RegistryClient(self.url, self._ada) as ada:
            metrics = _cube(ada, FNA / "metrics", folder, "fna-metrics", "metrics")
            self._parts = {
                **read_mapping(FNA / "benchmark.yaml"),
                "metrics": metrics.contract["metrics"],
                "preparator_cube_id": _cube(ada, FNA / "preparator", folder, "fna-preparator", "data_preparator").id,
                "metrics_cube_id": metrics.id,
                "demo_dataset_digest": _send(ada, FNA / "demo_dataset", folder),
            }

    def submitted(self, name: str) -> GatePublic:
        """The gate of a benchmark that Ada has submitted, with a review that rests there."""
        with RegistryClient(self.url, self._ada) as ada:
            benchmark = ada.benchmarks.create(BenchmarkCreate.model_validate({**self._parts, "name": name}))
            gate = ada.benchmarks.submit(benchmark.id)
            self.until(lambda: ada.gates.get(gate.id).flow_run_id is not None, "a review to be asked for")
            return ada.gates.get(gate.id)

    def decide(self, root: RegistryClient, pages: httpx2.Client, gate: GatePublic) -> None:
        """Root sees it wait, presses Resume in Prefect, and sees it go on to its end."""
        self.until(lambda: state_of(pages, gate.flow_run_id) == "PAUSED", "the review to rest")
        assert gate.title in pages.get("/waiting").text
        assert gate.digest in pages.get(f"/waiting/{gate.id}").text
        answer = pages.post(f"/api/flow_runs/{gate.flow_run_id}/resume", json=_form(gate.digest, "a clear task"))
        assert (answer.status_code, answer.json()["status"]) == (201, "ACCEPT"), answer.text
        self.until(lambda: state_of(pages, gate.flow_run_id) == "COMPLETED", "the review to go on")
        assert root.gates.get(gate.id).state == GateState.CONCLUDED
        assert root.benchmarks.get(gate.subject_id).state == BenchmarkState.APPROVED
        (decision,) = root.gates.decisions(gate.id)
        assert (decision.user_name, decision.reason) == (f"Root <{ROOT}>", "a clear task")


@pytest.fixture
def registry(
    request: pytest.FixtureRequest, cluster: EmbeddedPostgres, tmp_path: Path, patiently: Until
) -> Iterator[Registry]:
    data, token_file = tmp_path / "registry", tmp_path / "token"
    names = ("--administrator", ROOT, "--name", "Root", "--organization", "host", "--token-file", str(token_file))
    typed("registry", "init", "--data", str(data), *names)
    port, prefect_port = free_port(), free_port()
    environment = {"ASSAY_REGISTRY_PREFECT_SEPARATE": "true"}
    if request.param == OTHERS_DATABASE:
        environment["ASSAY_REGISTRY_PREFECT_DATABASE_URL"] = cluster.url("postgres")
    words = ("registry", "start", "--data", str(data), "--port", str(port), "--prefect-port", str(prefect_port))
    program = Program(words, tmp_path / "log", patiently, environment)
    urls = (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prefect_port}")
    yield Registry(data, program, *urls, patiently, token_file.read_text().strip())
    if request.param == OTHERS_DATABASE:
        drop_prefect_database(cluster.url("postgres"), "prefect_registry")
    else:
        EmbeddedPostgres(data / "postgres").stop()  # it outlives a process that is killed


class TestRegistry:
    @pytest.mark.parametrize("registry", [OTHERS_DATABASE], indirect=True)
    def test_reviews_go_on_from_its_pages_and_after_a_new_start(self, registry: Registry, tmp_path: Path) -> None:
        with registry.running() as root:
            assert len(_servers(registry.program)) == 1
            assert _databases(registry.program) == []
            registry.with_ada(root, tmp_path)
            first, second = registry.submitted("first"), registry.submitted("second")
            with browser(registry.pages, ROOT) as pages:
                registry.decide(root, pages, first)
                registry.until(lambda: state_of(pages, second.flow_run_id) == "PAUSED", "the other review to rest")
        assert not (registry.data / "postgres").exists()
        assert not answers(registry.pages)
        with registry.running() as root, browser(registry.pages, ROOT) as pages:
            assert state_of(pages, first.flow_run_id) == "COMPLETED"
            assert root.gates.get(second.id).flow_run_id == second.flow_run_id
            registry.decide(root, pages, second)

    @pytest.mark.parametrize("registry", [OWN_DATABASE], indirect=True)
    def test_killed_without_a_word_it_leaves_no_server_and_starts_again(
        self, registry: Registry, tmp_path: Path, patiently: Until
    ) -> None:
        with (
            registry.program.killed(lambda: answers(registry.pages)),
            RegistryClient(registry.url, registry.token) as root,
        ):
            registry.with_ada(root, tmp_path)
            gate = registry.submitted("first")
            with browser(registry.pages, ROOT) as pages:
                patiently(lambda: state_of(pages, gate.flow_run_id) == "PAUSED", "the review to rest")
            (server,) = _servers(registry.program)
        patiently(lambda: not Path(f"/proc/{server}").exists(), "Prefect's server to end by itself")
        with registry.running() as root, browser(registry.pages, ROOT) as pages:
            registry.decide(root, pages, gate)
        assert not (registry.data / "postgres" / "data" / "postmaster.pid").exists()

    @pytest.mark.parametrize("registry", [OTHERS_DATABASE], indirect=True)
    def test_a_database_that_does_not_answer_is_said_at_once(self, registry: Registry) -> None:
        registry.program.environment["ASSAY_REGISTRY_PREFECT_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:9/none"
        with pytest.raises(AssertionError, match="Connection refused"):
            registry.program.start(lambda: answers(registry.pages))
        assert "Traceback" not in registry.program.said()


@dataclass
class SitePlace:
    """A hospital's site, not yet started; its registry is there."""

    here: Hospital
    program: Program
    until: Until
    environment: dict[str, str]

    @contextmanager
    def running(self) -> Iterator[httpx2.Client]:
        """Its agent, as Ann sees its pages."""
        with self.program.running(self._ready), browser(self.pages, ANN) as ann:
            yield ann

    @property
    def pages(self) -> str:
        return self.here.site.home.prefect_url_file.read_text().strip().removesuffix("/api")

    def prepare(self, name: str) -> None:
        raw = self.here.raw
        folders = ("--data", str(raw / "data"), "--labels", str(raw / "labels"))
        typed("dataset", "prepare", name, "--benchmark", "1", *folders, **self.environment)

    def waits(self, ann: httpx2.Client, name: str) -> dict[str, Any]:
        """The gate about a dataset, whose flow run has come to rest."""
        found: list[dict[str, Any]] = []

        def rests() -> bool:
            found[:] = [gate for gate in ann.get("/gates").raise_for_status().json() if gate["subject"] == name]
            return bool(found) and state_of(ann, found[0]["flow_run_id"]) == "PAUSED"

        self.until(rests, f"the question about {name}")
        return found[0]

    def registered(self) -> list[dict[str, Any]]:
        """What arrived at the registry."""
        return [taken.document for taken in self.here.registry.taken if taken.kind == "dataset"]

    def _ready(self) -> bool:
        file = self.here.site.home.prefect_url_file
        return file.exists() and answers(self.pages)


@pytest.fixture
def site(
    cluster: EmbeddedPostgres, probe: str, tmp_path: Path, patiently: Until, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SitePlace]:
    settings = {"prefect_separate": True, "prefect_database_url": cluster.url("postgres"), "start_evaluations": False}
    with hospital(tmp_path / "h", probe, monkeypatch, with_prefect=True, **settings) as here:
        here.offer()
        home = str(here.site.home.path)
        said = typed(
            "agent", "people", "add", ANN, "--name", "Ann", "--role", "data_owner", "--json", ASSAY_SITE_HOME=home
        )
        typed("agent", "people", "password", ANN, stdin=PASSWORD + "\n", ASSAY_SITE_HOME=home)
        environment = {"ASSAY_SITE_HOME": home, "ASSAY_SITE_TOKEN": json.loads(said)["token"]}
        program = Program(("agent", "start", "--home", home), tmp_path / "log", patiently)
        yield SitePlace(here, program, patiently, environment)
    drop_prefect_database(cluster.url("postgres"), "prefect_north")


class TestSite:
    def test_a_dataset_is_registered_from_its_pages_and_after_a_new_start(self, site: SitePlace) -> None:
        with site.running() as ann:
            assert len(_servers(site.program)) == 1
            assert _databases(site.program) == []
            site.prepare("first")
            first = site.waits(ann, "first")
            assert first["title"] in ann.get("/waiting").text
            assert first["digest"] in ann.get(f"/waiting/{first['id']}").text
            answer = ann.post(f"/api/flow_runs/{first['flow_run_id']}/resume", json=_form(first["digest"], "checked"))
            assert (answer.status_code, answer.json()["status"]) == (201, "ACCEPT"), answer.text
            site.until(lambda: state_of(ann, first["flow_run_id"]) == "COMPLETED", "the flow to go on")
            site.until(lambda: len(site.registered()) == 1, "it to leave")
            site.prepare("second")
            second = site.waits(ann, "second")
        assert not site.here.site.home.prefect_url_file.exists()
        with site.running() as ann:
            assert state_of(ann, first["flow_run_id"]) == "COMPLETED"
            assert site.waits(ann, "second")["flow_run_id"] == second["flow_run_id"]
            ann.post(
                f"/waiting/{second['id']}", data={"verdict": "approve", "reason": "again", "digest": second["digest"]}
            )
            site.until(lambda: state_of(ann, second["flow_run_id"]) == "COMPLETED", "the flow to go on")
            site.until(lambda: len(site.registered()) == 2, "it to leave")
        assert [each["decision"]["person"] for each in site.registered()] == [f"Ann <{ANN}>"] * 2
