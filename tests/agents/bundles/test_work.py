"""A bundle comes in whole or may come again, and one at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import select

from agents.bundles import work as importing
from agents.bundles.container import BundleManifest, Part, write_bundle
from agents.bundles.keys import SigningKey, signing_key
from agents.bundles.receipts import Receipt
from agents.bundles.results import export_results
from agents.bundles.work import import_work
from agents.site import Site
from agents.store import consents, outbox
from agents.store.datasets import add_dataset
from agents.store.people import add_person
from agents.store.tables import OutboxItem, OutboxState, Role
from api.client import Unreachable
from api.schemas.border import Heartbeat, PayloadKind, PreparationProgress
from api.schemas.records import AuditHead, SiteWork
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.agents.test_border import PROBE
from tests.meanwhile import second_at

Carry = Callable[..., Path]


@pytest.fixture
def carry(key: SigningKey, tmp_path: Path) -> Carry:
    """A bundle of one blob, newer than those before."""

    def carry(sequence: int, *receipts: Receipt) -> Path:
        work = SiteWork(site_id=1, benchmarks=[], audit_head=AuditHead(sequence=sequence, head=f"{sequence:02}"))
        manifest = BundleManifest(
            kind="work",
            site="north",
            written_at=now(),
            content={
                "work": work.model_dump(mode="json"),
                "receipts": [receipt.model_dump(mode="json") for receipt in receipts],
            },
            parts=(Part(role="cube", digest=digest_bytes(b"x"), size=1),),
        )
        bundle = tmp_path / f"{sequence}.bundle"
        write_bundle(bundle, manifest, lambda _: iter([b"x"]), key)
        return bundle

    return carry


def _enqueue(site: Site) -> OutboxItem:
    heartbeat = Heartbeat(sent_at=now(), agent_version="1", running=0, waiting_gates=0, probe=PROBE)
    with site.store.write() as session:
        return outbox.enqueue(session, PayloadKind.HEARTBEAT, heartbeat, subject="x", key="heartbeat-1")


def _states(site: Site) -> list[OutboxState]:
    with site.store.read() as session:
        return [item.state for item in session.exec(select(OutboxItem))]


class TestImport:
    def test_one_that_broke_off_may_come_again(
        self, lonely: Site, carry: Carry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = carry(5)
        with monkeypatch.context() as patched:
            patched.setattr(importing, "write_private", _no_space)
            with pytest.raises(OSError, match="no space"):
                import_work(lonely, bundle)
        import_work(lonely, bundle)
        assert lonely.work().audit_head.sequence == 5

    def test_of_two_at_once_the_newer_one_stays(
        self, lonely: Site, carry: Carry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older, newer = carry(5), carry(6)
        second = second_at(monkeypatch, importing, "_place", lambda: import_work(lonely, newer))
        import_work(lonely, older)
        second.result(60)
        assert lonely.work().audit_head.sequence == 6
        assert lonely.carried.last is not None
        assert lonely.carried.last.audit_sequence == 6


class TestReceipts:
    def test_one_that_comes_while_the_agent_tries_to_send(
        self, lonely: Site, carry: Carry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = carry(5, Receipt(key="heartbeat-1", sha256=_enqueue(lonely).sha256, answer={"id": 3}))
        second = second_at(monkeypatch, lonely.border._client, "send", lambda: import_work(lonely, bundle))
        with pytest.raises(Unreachable):
            lonely.border.flush()
        second.result(60)
        assert _states(lonely) == [OutboxState.SENT]

    def test_consent_that_was_taken_back_after_it_left(self, lonely: Site, carry: Carry, tmp_path: Path) -> None:
        with lonely.store.write() as session:
            owner, _ = add_person(session, email="o@north.example", name="O", role=Role.DATA_OWNER)
            folders = {"data_path": tmp_path, "labels_path": tmp_path}
            add_dataset(session, name="d1", title="D", benchmark_id=1, requested_by=owner.id or 0, **folders)
            consents.say(session, "d1", owner, given=True)
            progress = PreparationProgress(benchmark_id=1, name="d1", fractions={"1": 1.0}, measured_at=now())
            item = outbox.enqueue(session, PayloadKind.PREPARATION, progress, subject="d1", key="preparation-1")
        export_results(lonely, tmp_path / "results.bundle", signing_key(lonely.home.bundle_key_file))
        with lonely.store.write() as session:
            consents.say(session, "d1", owner, given=False)
        import_work(lonely, carry(5, Receipt(key="preparation-1", sha256=item.sha256, answer={"id": 3})))
        assert _states(lonely) == [OutboxState.SENT]


def _no_space(path: Path, _text: str) -> None:
    raise OSError(f"no space for {path}")
