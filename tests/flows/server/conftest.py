"""A site's Prefect server behind the layer, with real people, a real runner, and flows that rest at gates."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from oidc_provider_mock import run_server_in_thread
from prefect import flow
from prefect.runtime import flow_run as this_run

from agents.home import GateSettings, SignInSettings, SiteSettings, create_home, write_private
from agents.prefect_api import PrefectApi
from agents.site import Site
from agents.store import gates
from agents.store.people import add_person, set_password
from agents.store.tables import Decision, Gate, Role
from api.schemas.sign_in import benchmark_tag
from cubes.digests import digest_of
from flows.describe import describe_release, plain
from flows.gates import GateRejected, hold
from flows.job_runs import SiteGateBook
from flows.server.databases import ensure_prefect_database
from flows.server.ledger import Ledger
from flows.server.postgres import EmbeddedPostgres
from flows.server.separate import SeparateServer, ServerOrder
from flows.warm import WarmRunner
from tests.flows.server.reviews import Reviews, running_reviews

_WARNINGS = (
    # Prefect's client leaves sockets of its event streams to the collector.
    "ignore:unclosed:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    # oidc-provider-mock 0.3 (the last for Python 3.11) imports what authlib deprecates.
    "ignore:authlib.jose module is deprecated",
    "ignore:get_jwt_config:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for warning in _WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


Until = Callable[..., None]
PASSWORD = "correct horse battery staple"
SCRIPT = "<script>alert('x')</script>"
MINE, OTHERS = benchmark_tag(1), benchmark_tag(2)


@dataclass
class Asking:
    """What the test's flow runs show and have become."""

    site: Site | None = None
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    """When a run's body last began."""


ASKING = Asking()


def results(auc: float = 0.9, model: str = "net") -> dict[str, Any]:
    """What a gate before results leave shows, of one model."""
    benchmark = {"id": 1, "name": "fna"}
    item = {"item": "1", "model": model, "benchmark": benchmark, "dataset": "north", "cases": 120}
    return {"items": [{**item, "metrics": {"auc": auc}}]}


@flow(name="asking", persist_result=False)
async def asking(subject: str, name: str = "release_results") -> None:
    """Ask whether what is there may go, and note what came of it."""
    ASKING.began[str(this_run.get_id())] = time.monotonic()
    assert ASKING.site is not None
    try:
        decision = await hold(
            SiteGateBook(ASKING.site),
            name=name,
            title=f"Send {subject}?",
            subject=subject,
            show=lambda: ASKING.shown[subject],
            describe=lambda shown: describe_release(shown) if "items" in shown else plain(shown),
        )
    except GateRejected as rejection:
        ASKING.ended[str(this_run.get_id())] = f"rejected by {rejection.decision.person}"
        return
    ASKING.ended[str(this_run.get_id())] = f"approved by {decision.person}, without {list(decision.withheld)}"


@dataclass(frozen=True)
class Person:
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Place:
    """A running site, as its people see it."""

    url: str
    """Of the pages; the API is below `/api`."""
    site: Site
    ledger: Ledger
    service: Mapping[str, str]
    people: dict[str, Person]
    until: Until
    provider: str

    def client(self, who: str | None = None, **headers: str) -> httpx2.Client:
        """A program that sends somebody's token."""
        own = {} if who is None else self.service if who == "service" else self.people[who].headers
        # Without TLS there is nothing to verify, and the system's certificates take a second to load on a busy core.
        return httpx2.Client(base_url=self.url, headers={**own, **headers}, timeout=60, trust_env=False, verify=False)

    def browser(self, who: str) -> httpx2.Client:
        """A browser in which somebody is signed in."""
        with self.client(**{"Sec-Fetch-Site": "same-origin"}) as client:
            answer = client.post("/sign-in", data={"email": self.people[who].email, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        cookie = answer.headers["set-cookie"].partition(";")[0]
        return self.client(**{"Sec-Fetch-Site": "same-origin", "Cookie": cookie})

    def ask(self, *, tag: str = MINE, name: str = "release_results", shown: Any = None, rest: bool = True) -> str:
        """A new flow run that comes to rest at a gate; its identifier."""
        subject = f"s{uuid4().hex[:8]}"
        ASKING.shown[subject] = shown or results()
        api = PrefectApi(f"{self.url}/api", self.service)
        run = api.create_flow_run(
            "asking/test", {"subject": subject, "name": name}, idempotency_key=subject, tags=[tag]
        )
        if rest:
            self.until(lambda: api.state(run)[0] == "PAUSED", "the run to rest")
        api.close()
        return run

    def gate(self, run: str) -> Gate:
        with self.site.store.read() as session:
            gate = gates.gate_of_run(session, run)
        assert gate is not None
        return gate

    def decisions(self, gate: Gate) -> list[Decision]:
        with self.site.store.read() as session:
            return gates.decisions_of(session, gate.id)

    def form(self, run: str, **changes: Any) -> dict[str, Any]:
        """The form in Prefect's pages, filled in."""
        given = {"verdict": "approve", "reason": "seen", "digest": self.gate(run).digest, "withhold": []}
        return {"run_input": {**given, **changes}}

    def state(self, run: str) -> str:
        with self.client("service") as client:
            return str(client.get(f"/api/flow_runs/{run}").json()["state"]["type"])

    def end_of(self, run: str) -> str:
        """What the run made of the decision, once it went on."""
        self.until(lambda: run in ASKING.ended, "the run to go on")
        return ASKING.ended[run]

    def refused(self, path: str) -> bool:
        """Whether the ledger holds that something with this in its path was refused."""
        return any(path in row.path for row in self.ledger.refusals(limit=50))


@pytest.fixture(scope="session")
def cluster(short_folder: Path) -> Iterator[EmbeddedPostgres]:
    # Modules that import this fixture have one of their own.
    with EmbeddedPostgres(short_folder / f"site-pg-{uuid4().hex[:6]}", options={"fsync": "off"}) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def site_database(cluster: EmbeddedPostgres) -> str:
    return ensure_prefect_database(cluster.url("postgres"), "prefect_site")


@pytest.fixture(scope="session")
def identity_provider() -> Iterator[str]:
    with run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="session")
def resting_place(
    site_database: str, identity_provider: str, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> Iterator[Place]:
    """The site, whose flows nobody runs."""
    folder = tmp_path_factory.mktemp("place")
    settings = SiteSettings(
        site="north",
        registry_url="http://127.0.0.1:9",
        gates={"two_people": GateSettings(quorum=2)},
        sign_in=SignInSettings(issuer=identity_provider),
    )
    home = create_home(folder / "home", settings, "assay_1_secret")
    write_private(home.single_sign_on_file, "secret\n")
    site = ASKING.site = Site(home.path)
    people = {name: _person(site, name, role, tags) for name, role, tags in _PEOPLE}
    ledger = Ledger(home.ledger_file)
    token = uuid4().hex
    headers = {"Authorization": f"Bearer {token}"}
    order = ServerOrder(
        database_url=site_database,
        home=folder / "prefect",
        layer="cli.processes.layers:site_layer",
        layer_arguments={"home": str(home.path), "service_token": token},
    )
    with SeparateServer(order) as server:
        yield Place(server.url.removesuffix("/api"), site, ledger, headers, people, until, identity_provider)
    ledger.close()
    site.close()


@pytest.fixture(scope="module")
def place(resting_place: Place) -> Iterator[Place]:
    """The site while its flows run; a process runs those of one server at a time."""
    runner = WarmRunner(
        [asking],
        deployment="test",
        api_url=f"{resting_place.url}/api",
        lock=resting_place.site.home.path / "flows.lock",
        headers=resting_place.service,
        poll_s=5,
    )
    runner.start()
    yield resting_place
    runner.stop()


_PEOPLE: tuple[tuple[str, Role, list[int] | None], ...] = (
    ("ann", Role.DATA_OWNER, None),
    ("ben", Role.DATA_OWNER, None),
    ("olga", Role.OPERATOR, None),
    ("vic", Role.VIEWER, [1]),
)


def _person(site: Site, name: str, role: Role, benchmarks: list[int] | None) -> Person:
    email = f"{name}@north.example"
    with site.store.write() as session:
        _, token = add_person(session, email=email, name=name.title(), role=role, benchmarks=benchmarks)
        set_password(session, email, PASSWORD)
    return Person(email, token)


@pytest.fixture
def run(place: Place) -> str:
    """A flow run that rests at a gate."""
    return place.ask()


def other_digest() -> str:
    return digest_of({"something": "else"})


@pytest.fixture(scope="module")
def reviews(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Reviews]:
    """A registry whose reviews wait behind the layer."""
    database = ensure_prefect_database(cluster.url("postgres"), f"prefect_reviews_{uuid4().hex[:6]}")
    with running_reviews(tmp_path_factory.mktemp("reviews"), database, until) as running:
        yield running
