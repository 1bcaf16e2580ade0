"""Work carried to a site without a network, run there, and what people let go carried back; old bundles are not taken."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from agents.bundles import results
from agents.bundles.container import BundleManifest
from agents.bundles.errors import BundleForgedError, BundleRefusedError
from agents.bundles.keys import SigningKey, signing_key
from agents.bundles.receipts import Receipt
from agents.bundles.results import deliver_results, export_results
from agents.bundles.settings import BundleSettings
from agents.bundles.work import export_work, import_work
from agents.errors import NotClearedError
from agents.runtimes.protocol import StepRequest
from agents.site import Site
from agents.store import clearance, outbox
from agents.store.tables import OutboxItem, OutboxState
from api.client import RegistryClient
from api.schemas.border import ExecutionEvent, ExecutionState, PayloadKind, Step
from api.schemas.cubes import CubeKind, CubeRef
from api.schemas.records import SiteWork
from cubes.contract import TaskName
from cubes.digests import digest_bytes
from cubes.packing import pack_folder
from tests.small_images import Image, ImageRegistry, image_registry, make_image, programs
from tests.small_registry import TOKEN, SmallRegistry

TASKS = {
    CubeKind.DATA_PREPARATOR: """
  prepare:
    run_args: {command: python3 x.py}
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
  sanity_check:
    run_args: {command: python3 x.py}
    input_volumes: {data_path: {mount_path: /in, type: directory}}
  statistics:
    run_args: {command: python3 x.py}
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
""",
    CubeKind.METRICS: """
  evaluate:
    run_args: {command: python3 x.py}
    input_volumes: {predictions: {mount_path: /p, type: directory}, labels: {mount_path: /l, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
""",
    CubeKind.MODEL: """
  infer:
    run_args: {command: [sh, -c, "cat /in/cases > /out/seen"]}
    input_volumes: {data_path: {mount_path: /in, type: directory}}
    output_volumes: {output_path: {mount_path: /out, type: directory}}
""",
}
OFFLINE = """
import asyncio, json, os, socket, sys
from pathlib import Path
from agents.bundles.work import import_work
from agents.runtimes.protocol import StepRequest
from agents.site import Site
from cubes.contract import TaskName
home, bundle, data, port = sys.argv[1:]
try:
    socket.create_connection(("127.0.0.1", int(port)), timeout=5)
    registry = "reached"
except OSError as error:
    registry = os.strerror(error.errno)
site = Site(Path(home))
import_work(site, Path(bundle))
out = Path(data).with_name("out-offline")
out.mkdir()
request = StepRequest(
    key="step",
    cube=site.cubes.bundle(site.work().benchmarks[0].models[0].cube),
    task=TaskName.INFER,
    volumes={"data_path": Path(data), "output_path": out},
    log=out.with_name("log-offline"),
)
outcome = asyncio.run(site.runtime.run(request))
assert outcome.ok, outcome.message
print(json.dumps({"seen": (out / "seen").read_text(), "registry": registry}))
"""
Make = Callable[..., SiteWork]


@pytest.fixture
def images() -> Iterator[ImageRegistry]:
    with image_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def image() -> Image:
    return make_image(programs("sh", "cat"), process={"Env": ["PATH=/bin"]})


def _cube(tmp_path: Path, registry: SmallRegistry, ref: CubeRef, head: str) -> CubeRef:
    folder = tmp_path / f"source-{ref.name}"
    folder.mkdir()
    (folder / "container_config.yaml").write_text(f"{head}\ntasks:{TASKS[ref.kind]}")
    target = tmp_path / f"{ref.name}.tar"
    digest = pack_folder(folder, target).digest
    registry.add_blob(target)
    return ref.model_copy(update={"pack_digest": digest})


@pytest.fixture
def asked(tmp_path: Path, registry: SmallRegistry, images: ImageRegistry, image: Image, work: Make) -> SiteWork:
    """Real cubes behind the work: two folders, and a model that is an image."""
    benchmark = work("model").benchmarks[0]
    (tmp_path / "demo").write_bytes(b"demo")
    reference = images.push(image).pinned(image.digest)
    folder, head = "container_type: Folder", f"container_type: DockerImage\nimage: {reference}"
    model = benchmark.models[0]
    changed = {
        "preparator": _cube(tmp_path, registry, benchmark.preparator, folder),
        "metrics_cube": _cube(tmp_path, registry, benchmark.metrics_cube, folder),
        "models": [model.model_copy(update={"cube": _cube(tmp_path, registry, model.cube, head)})],
        "demo_dataset_digest": registry.add_blob(tmp_path / "demo"),
    }
    registry.work = registry.work.model_copy(update={"benchmarks": [benchmark.model_copy(update=changed)]})
    registry.set_head(5, "05")
    return registry.work


def _event(number: int = 1) -> ExecutionEvent:
    return ExecutionEvent(
        execution=digest_bytes(str(number).encode()),
        benchmark_id=1,
        model_id=1,
        dataset_id=7,
        step=Step.INFER,
        state=ExecutionState.RUNNING,
        attempt=1,
        started_at=datetime.now(UTC),
    )


def _enqueue(site: Site, number: int = 1) -> None:
    with site.store.write() as session:
        event = _event(number)
        outbox.enqueue(session, PayloadKind.EXECUTION_EVENT, event, subject="model", key=f"event-key-{number}")


def _states(site: Site) -> list[OutboxState]:
    with site.store.read() as session:
        return [item.state for item in session.exec(select(OutboxItem)).all()]


def _left(site: Site) -> list[dict[str, Any]]:
    with site.store.read() as session:
        return outbox.departures(session)


class TestWork:
    def test_all_of_it_runs_with_the_network_off(
        self,
        connected: Site,
        lonely: Site,
        asked: SiteWork,
        key: SigningKey,
        tmp_path: Path,
        registry: SmallRegistry,
        images: ImageRegistry,
    ) -> None:
        export_work(connected, asked, tmp_path / "work.bundle", key)
        registry.stop()
        images.manifests.clear()
        images.blobs.clear()
        images.requests.clear()
        import_work(lonely, tmp_path / "work.bundle")
        assert lonely.work() == asked
        benchmark = lonely.work().benchmarks[0]
        for ref in (benchmark.preparator, benchmark.metrics_cube):
            assert (lonely.cubes.bundle(ref).folder / "container_config.yaml").is_file()
        lonely.carried.fetch(benchmark.demo_dataset_digest, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == b"demo"
        assert self._run(lonely, benchmark.models[0].cube, tmp_path) == "three cases"
        assert images.requests == []

    def _run(self, site: Site, ref: CubeRef, tmp_path: Path) -> str:
        for name in ("data", "out"):
            (tmp_path / name).mkdir()
        (tmp_path / "data" / "cases").write_text("three cases")
        request = StepRequest(
            key="step",
            cube=site.cubes.bundle(ref),
            task=TaskName.INFER,
            volumes={"data_path": tmp_path / "data", "output_path": tmp_path / "out"},
            log=tmp_path / "log",
        )
        outcome = asyncio.run(site.runtime.run(request))
        assert outcome.ok, outcome.message
        return (tmp_path / "out" / "seen").read_text()

    def test_in_a_process_that_has_no_network_at_all(
        self, connected: Site, lonely: Site, asked: SiteWork, key: SigningKey, tmp_path: Path, registry: SmallRegistry
    ) -> None:
        """Import and run, within a network namespace in which even loopback is down; the registry still answers outside."""
        bundle = tmp_path / "work.bundle"
        export_work(connected, asked, bundle, key)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cases").write_text("three cases")
        arguments = [str(lonely.home.path), str(bundle), str(tmp_path / "data"), registry.url.rpartition(":")[2]]
        inside = ["/usr/bin/unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", OFFLINE, *arguments]
        ended = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout) == {"seen": "three cases", "registry": "Network is unreachable"}
        assert connected.border.pull_work()[0] == asked

    def test_nothing_is_written_when_something_is_missing(
        self, connected: Site, asked: SiteWork, key: SigningKey, tmp_path: Path, images: ImageRegistry
    ) -> None:
        images.blobs.clear()
        with pytest.raises(Exception, match="is not in its registry"):
            export_work(connected, asked, tmp_path / "work.bundle", key)
        assert not (tmp_path / "work.bundle").exists()


class TestRefuse:
    @pytest.fixture
    def export(
        self, connected: Site, asked: SiteWork, key: SigningKey, tmp_path: Path, registry: SmallRegistry
    ) -> Callable[..., Path]:
        def export(name: str, **changes: Any) -> Path:
            export_work(connected, registry.work.model_copy(update=changes), tmp_path / name, key)
            return tmp_path / name

        assert asked
        return export

    def test_an_old_bundle_replayed(self, lonely: Site, export: Callable[..., Path]) -> None:
        """What was withdrawn meanwhile must not come back."""
        first, second = export("first"), export("second", benchmarks=[])
        import_work(lonely, second)
        with pytest.raises(BundleRefusedError, match="imported already"):
            import_work(lonely, first)
        assert lonely.work().benchmarks == []

    def test_the_same_bundle_twice(self, lonely: Site, export: Callable[..., Path]) -> None:
        bundle = export("first")
        import_work(lonely, bundle)
        with pytest.raises(BundleRefusedError, match="Export a new one"):
            import_work(lonely, bundle)

    def test_a_registry_whose_history_shrank(
        self, lonely: Site, export: Callable[..., Path], registry: SmallRegistry
    ) -> None:
        import_work(lonely, export("first"))
        registry.set_head(4, "04")
        with pytest.raises(BundleRefusedError, match="imported already"):
            import_work(lonely, export("second"))

    def test_one_for_another_site(self, lonely: Site, export: Callable[..., Path], connected: Site) -> None:
        connected.settings = connected.settings.model_copy(update={"site": "south"})
        with pytest.raises(BundleRefusedError, match="is for the site 'south', and this is 'north'"):
            import_work(lonely, export("first"))
        assert not lonely.home.work_file.exists()

    def test_a_site_that_trusts_nobody(self, lonely: Site, export: Callable[..., Path]) -> None:
        lonely.settings = lonely.settings.model_copy(update={"bundles": BundleSettings()})
        with pytest.raises(BundleForgedError):
            import_work(lonely, export("first"))

    def test_what_is_known_of_the_last_one_is_not_guessed(self, lonely: Site, export: Callable[..., Path]) -> None:
        import_work(lonely, export("first"))
        (lonely.carried.folder / "last.json").write_text("{}")
        with pytest.raises(Exception, match="restore it from a copy"):
            import_work(lonely, export("second"))


class TestResults:
    @pytest.fixture
    def own(self, lonely: Site) -> SigningKey:
        return signing_key(lonely.home.bundle_key_file)

    def _deliver(self, path: Path, own: SigningKey, registry: SmallRegistry) -> list[Receipt]:
        with RegistryClient(registry.url, TOKEN) as client:
            return deliver_results(
                path, [own.public_pem], lambda kind, body, key: client.send(kind, body, idempotency_key=key)
            )

    def test_what_was_let_go_arrives_and_the_site_learns_of_it(
        self,
        lonely: Site,
        connected: Site,
        own: SigningKey,
        key: SigningKey,
        registry: SmallRegistry,
        asked: SiteWork,
        tmp_path: Path,
    ) -> None:
        _enqueue(lonely)
        manifest = export_results(lonely, tmp_path / "results.bundle", own)
        assert [payload[:2] for payload in manifest.content["payloads"]] == [["execution_event", "event-key-1"]]
        assert _states(lonely) == [OutboxState.QUEUED]
        receipts = self._deliver(tmp_path / "results.bundle", own, registry)
        assert registry.keys() == ["event-key-1"]
        export_work(connected, asked, tmp_path / "next.bundle", key, receipts)
        import_work(lonely, tmp_path / "next.bundle")
        assert _states(lonely) == [OutboxState.SENT]

    def test_what_is_written_into_a_bundle_has_left_before_its_receipt_comes(
        self, lonely: Site, own: SigningKey, tmp_path: Path
    ) -> None:
        _enqueue(lonely)
        export_results(lonely, tmp_path / "results.bundle", own)
        (left,) = _left(lonely)
        assert (left["state"], left["sent_at"]) == ("no answer yet", None)
        export_results(lonely, tmp_path / "again.bundle", own)
        assert _left(lonely) == [left]

    def test_nothing_leaves_with_a_file_that_is_there_already(
        self, lonely: Site, own: SigningKey, tmp_path: Path
    ) -> None:
        _enqueue(lonely)
        (tmp_path / "results.bundle").touch()
        with pytest.raises(BundleRefusedError, match="name another file"):
            export_results(lonely, tmp_path / "results.bundle", own)
        assert _left(lonely) == []

    def test_it_is_written_down_before_the_file_is(
        self, lonely: Site, own: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full, or a process that ends, may leave a file that somebody finds."""

        def write_bundle(*_args: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(results, "write_bundle", write_bundle)
        _enqueue(lonely)
        with pytest.raises(OSError, match="no space"):
            export_results(lonely, tmp_path / "results.bundle", own)
        assert [each["state"] for each in _left(lonely)] == ["no answer yet"]

    def test_delivering_twice_is_delivering_once(
        self, lonely: Site, own: SigningKey, registry: SmallRegistry, tmp_path: Path
    ) -> None:
        _enqueue(lonely)
        export_results(lonely, tmp_path / "results.bundle", own)
        first = self._deliver(tmp_path / "results.bundle", own, registry)
        assert self._deliver(tmp_path / "results.bundle", own, registry) == first
        assert len(registry.taken) == 1

    def test_what_the_registry_never_takes_is_said(
        self, lonely: Site, own: SigningKey, registry: SmallRegistry, tmp_path: Path
    ) -> None:
        _enqueue(lonely)
        export_results(lonely, tmp_path / "results.bundle", own)
        registry.fault = lambda _taken: 422
        (receipt,) = self._deliver(tmp_path / "results.bundle", own, registry)
        assert receipt.answer is None
        assert "422" in receipt.refused

    def test_what_a_person_did_not_allow_does_not_leave(
        self, lonely: Site, own: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each payload passes the same last look as before it goes over a network."""
        _enqueue(lonely, 1)
        _enqueue(lonely, 2)

        def clear(session: Session, item: OutboxItem) -> object:
            if item.idempotency_key == "event-key-1":
                raise NotClearedError("no person decided to let it go")
            return clearance.clear(session, item)

        monkeypatch.setattr(results, "clear", clear)
        manifest = export_results(lonely, tmp_path / "results.bundle", own)
        assert [payload[1] for payload in manifest.content["payloads"]] == ["event-key-2"]
        assert len(_left(lonely)) == 1

    def test_a_receipt_for_other_bytes_changes_nothing(
        self, lonely: Site, connected: Site, key: SigningKey, asked: SiteWork, tmp_path: Path
    ) -> None:
        _enqueue(lonely)
        forged = Receipt(key="event-key-1", sha256=digest_bytes(b"other"), answer={"id": 1})
        export_work(connected, asked, tmp_path / "next.bundle", key, [forged])
        import_work(lonely, tmp_path / "next.bundle")
        assert _states(lonely) == [OutboxState.QUEUED]

    def test_nothing_waits(self, lonely: Site, own: SigningKey, tmp_path: Path) -> None:
        with pytest.raises(BundleRefusedError, match="decide at its gates first"):
            export_results(lonely, tmp_path / "results.bundle", own)

    def test_work_is_not_delivered(self, connected: Site, key: SigningKey, asked: SiteWork, tmp_path: Path) -> None:
        export_work(connected, asked, tmp_path / "work.bundle", key)
        with pytest.raises(BundleRefusedError, match="not results"):
            deliver_results(tmp_path / "work.bundle", [key.public_pem], lambda *_: {})


def test_a_manifest_says_what_it_holds() -> None:
    with pytest.raises(ValueError, match="kind"):
        BundleManifest.model_validate(
            {"kind": "gossip", "site": "n", "written_at": datetime.now(UTC), "content": {}, "parts": []}
        )
