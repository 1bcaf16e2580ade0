"""What the agent's tests share: a site's folder, its store, people."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.home import Home, SiteSettings, create_home
from agents.site import Site
from agents.store import Store
from agents.store.people import add_person
from agents.store.tables import Person, Role
from api.schemas.cubes import CubeKind, CubeRef
from api.schemas.records import AuditHead, BenchmarkWork, DatasetWork, ModelWork, SiteWork
from cubes.digests import digest_bytes
from cubes.metrics import MetricSchema
from tests.small_registry import TOKEN, SmallRegistry


@pytest.fixture
def home(tmp_path: Path) -> Home:
    settings = SiteSettings(site="north", registry_url="http://127.0.0.1:9")
    return create_home(tmp_path / "home", settings, "assay_1_secret")


@pytest.fixture
def registry(work: Callable[..., SiteWork]) -> Iterator[SmallRegistry]:
    registry = SmallRegistry(work())
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def site(tmp_path: Path, registry: SmallRegistry) -> Iterator[Site]:
    """A site whose registry answers."""
    settings = SiteSettings(site="north", registry_url=registry.url, poll_s=0.1)
    site = Site(create_home(tmp_path / "home", settings, TOKEN).path)
    yield site
    site.close()


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.store_file)
    yield store
    store.close()


@pytest.fixture
def person(store: Store) -> Callable[[Role], Person]:
    """Somebody with a role; each call another person."""
    count = 0

    def make(role: Role) -> Person:
        nonlocal count
        count += 1
        with store.write() as session:
            return add_person(session, email=f"p{count}@north.example", name=f"Person {count}", role=role)[0]

    return make


@pytest.fixture
def owner(person: Callable[[Role], Person]) -> Person:
    return person(Role.DATA_OWNER)


def _digest(seed: str) -> str:
    return digest_bytes(seed.encode())


def _ref(name: str, kind: CubeKind, **changes: object) -> CubeRef:
    values: dict[str, object] = {
        "id": 1,
        "name": name,
        "kind": kind,
        "pack_digest": _digest(name),
        "additional_files_digest": None,
        "parameters": {},
        "parameters_digest": None,
    }
    return CubeRef.model_validate({**values, **changes})


@pytest.fixture
def work() -> Callable[..., SiteWork]:
    """What a registry asks: one benchmark with one dataset and models of given names."""

    def make(*models: str, metrics: str = "metrics") -> SiteWork:
        benchmark = BenchmarkWork(
            benchmark_id=1,
            name="bench",
            title="Bench",
            minimum_cases=1,
            metrics=[MetricSchema(name="auroc")],
            preparator=_ref("preparator", CubeKind.DATA_PREPARATOR),
            metrics_cube=_ref(metrics, CubeKind.METRICS),
            demo_dataset_digest=_digest("demo"),
            datasets=[DatasetWork(association_id=1, dataset_id=7, name="d1", root=_digest("root"))],
            models=[
                ModelWork(
                    association_id=10 + number,
                    model_id=number,
                    name=name,
                    title=name,
                    organization="org",
                    cube=_ref(name, CubeKind.MODEL),
                    priority=0,
                )
                for number, name in enumerate(models, start=1)
            ],
        )
        return SiteWork(site_id=1, benchmarks=[benchmark], audit_head=AuditHead(sequence=1, head="00"))

    return make
