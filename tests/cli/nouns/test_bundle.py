"""Sites without a network, from the command line: out at a connected place, in at the site, results back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.bundles.settings import BundleSettings
from agents.home import Home, SiteSettings, create_home
from agents.store import Store, outbox
from api.schemas.border import ExecutionEvent, ExecutionState, PayloadKind, Step
from api.schemas.records import AuditHead, SiteWork
from cubes.digests import digest_bytes
from tests.cli.support import Assay
from tests.small_registry import TOKEN, SmallRegistry

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    registry = SmallRegistry(SiteWork(site_id=1, benchmarks=[], audit_head=AuditHead(sequence=1, head="00")))
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def at_home(assay: Assay, monkeypatch: pytest.MonkeyPatch) -> Assay:
    """Type a command about a site's folder."""

    def run(home: Home, *words: str | Path) -> object:
        monkeypatch.setenv("ASSAY_SITE_HOME", str(home.path))
        return assay(*words)

    return run  # type: ignore[return-value]  # the home comes first


@pytest.fixture
def connected(tmp_path: Path, registry: SmallRegistry) -> Home:
    return create_home(tmp_path / "connected", SiteSettings(site="north", registry_url=registry.url), TOKEN)


@pytest.fixture
def lonely(tmp_path: Path, connected: Home, at_home: Assay) -> Home:
    """Trusts the connected place: its key was printed there, and written into site.toml here."""
    pem = at_home(connected, "bundle", "key").out
    keys = BundleSettings(keys=(pem,))
    return create_home(
        tmp_path / "lonely", SiteSettings(site="north", registry_url="http://127.0.0.1:9", bundles=keys), TOKEN
    )


def _let_go(home: Home) -> None:
    store = Store(home.store_file)
    event = ExecutionEvent(
        execution=digest_bytes(b"x"),
        benchmark_id=1,
        model_id=1,
        dataset_id=7,
        step=Step.INFER,
        state=ExecutionState.RUNNING,
        attempt=1,
        started_at=datetime.now(UTC),
    )
    with store.write() as session:
        outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, event, subject="model", key="event-key-1")
    store.close()


class TestRoundTrip:
    def test_work_there_and_results_back(
        self, at_home: Assay, connected: Home, lonely: Home, registry: SmallRegistry, tmp_path: Path
    ) -> None:
        exported = at_home(connected, "bundle", "export", tmp_path / "work", "--json")
        assert exported.code == 0, exported.err
        assert at_home(lonely, "bundle", "import", tmp_path / "work").code == 0
        _let_go(lonely)
        assert at_home(lonely, "bundle", "results", tmp_path / "results", "--json").json["payloads"] == "1"
        (tmp_path / "key.pem").write_text(at_home(lonely, "bundle", "key").out)
        words = ("--key", tmp_path / "key.pem", "--receipts", tmp_path / "receipts.json")
        delivered = at_home(connected, "bundle", "deliver", tmp_path / "results", *words, "--json")
        assert (delivered.json, registry.keys()) == ({"taken": "1", "refused": "0"}, ["event-key-1"])
        at_home(connected, "bundle", "export", tmp_path / "next", "--receipts", tmp_path / "receipts.json")
        assert at_home(lonely, "bundle", "import", tmp_path / "next").code == 0
        assert at_home(lonely, "bundle", "results", tmp_path / "more").code == 10

    def test_an_old_bundle_is_refused(self, at_home: Assay, connected: Home, lonely: Home, tmp_path: Path) -> None:
        at_home(connected, "bundle", "export", tmp_path / "work")
        at_home(lonely, "bundle", "import", tmp_path / "work")
        ended = at_home(lonely, "bundle", "import", tmp_path / "work")
        assert ended.code == 10
        assert "imported already" in ended.err

    def test_a_stranger_is_not_believed(self, at_home: Assay, connected: Home, tmp_path: Path) -> None:
        at_home(connected, "bundle", "export", tmp_path / "work")
        stranger = create_home(
            tmp_path / "stranger", SiteSettings(site="north", registry_url="http://127.0.0.1:9"), TOKEN
        )
        ended = at_home(stranger, "bundle", "import", tmp_path / "work")
        assert ended.code == 10
        assert "signed by no key that is trusted" in ended.err


class TestDeliver:
    def test_what_the_registry_refuses_is_ten(
        self, at_home: Assay, connected: Home, lonely: Home, registry: SmallRegistry, tmp_path: Path
    ) -> None:
        _let_go(lonely)
        at_home(lonely, "bundle", "results", tmp_path / "results")
        (tmp_path / "key.pem").write_text(at_home(lonely, "bundle", "key").out)
        registry.fault = lambda _taken: 422
        words = ("--key", tmp_path / "key.pem", "--receipts", tmp_path / "receipts.json")
        ended = at_home(connected, "bundle", "deliver", tmp_path / "results", *words)
        assert ended.code == 10
        assert "'event-key-1'" in ended.err
        assert json.loads((tmp_path / "receipts.json").read_text())[0]["answer"] is None

    def test_receipts_that_are_none_are_seven(self, at_home: Assay, connected: Home, tmp_path: Path) -> None:
        (tmp_path / "receipts.json").write_text("{}")
        ended = at_home(connected, "bundle", "export", tmp_path / "work", "--receipts", tmp_path / "receipts.json")
        assert ended.code == 7
        assert "holds no receipts" in ended.err
