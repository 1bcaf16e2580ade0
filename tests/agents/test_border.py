"""The outbox meets a registry that comes and goes: nothing is lost, nothing is taken twice, order is kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from agents import border
from agents.errors import NotClearedError
from agents.home import write_private
from agents.site import Site
from agents.store import outbox
from agents.store.heads import list_heads
from agents.store.tables import OutboxItem, OutboxState
from api.client import Refused, RegistryError, Unreachable, WrongContent
from api.schemas.border import Heartbeat, Isolation, PayloadKind, ProbeOutcome
from api.schemas.records import AuditHead, SiteWork
from api.storage.columns import now
from cubes.digests import digest_bytes
from tests.small_registry import Answer, SmallRegistry, Taken

PROBE = ProbeOutcome(runtime="process", isolation=Isolation.ISOLATED, checks={"runs": True}, probed_at=now())


def _queue(site: Site, *keys: str, subject: str | None = None) -> None:
    """Payloads that need no decision; each about a subject of its own unless one is given."""
    for key in keys:
        heartbeat = Heartbeat(sent_at=now(), agent_version="1", running=len(key), waiting_gates=0, probe=PROBE)
        with site.store.write() as session:
            outbox.enqueue(session, PayloadKind.HEARTBEAT, heartbeat, subject=subject or key, key=f"payload-{key}")


def _items(site: Site) -> dict[str, OutboxItem]:
    with site.store.read() as session:
        return {item.idempotency_key: item for item in session.exec(select(OutboxItem))}


def _states(site: Site) -> dict[str, str]:
    return {key.removeprefix("payload-"): item.state.value for key, item in _items(site).items()}


def _all_are_due(site: Site) -> None:
    """As if the waits were over."""
    with site.store.write() as session:
        for item in session.exec(select(OutboxItem).where(OutboxItem.state == OutboxState.QUEUED)):
            item.not_before = now() - timedelta(seconds=1)
            session.add(item)


class TestFlush:
    def test_everything_is_sent_in_order_and_marked(self, site: Site, registry: SmallRegistry) -> None:
        _queue(site, "a", "b", "c")
        assert site.border.flush() == 3
        assert registry.keys() == ["payload-a", "payload-b", "payload-c"]
        assert _states(site) == {"a": "sent", "b": "sent", "c": "sent"}
        assert site.border.flush() == 0

    def test_what_arrives_are_the_bytes_that_are_kept(self, site: Site, registry: SmallRegistry) -> None:
        _queue(site, "a")
        site.border.flush()
        with site.store.read() as session:
            (left,) = outbox.departures(session)
        assert digest_bytes(registry.taken[0].body) == left["sha256"]


class TestDepartures:
    """What was handed over may be known elsewhere, whatever came back."""

    def _left(self, site: Site) -> list[dict[str, Any]]:
        with site.store.read() as session:
            return outbox.departures(session)

    def test_what_the_registry_refused_reached_it_all_the_same(self, site: Site, registry: SmallRegistry) -> None:
        arrived: list[bytes] = []

        def refuse(taken: Taken) -> int:
            arrived.append(taken.body)
            return 409

        registry.fault = refuse
        _queue(site, "a")
        site.border.flush()
        (left,) = self._left(site)
        assert (left["state"], left["sent_at"]) == ("refused", None)
        with site.store.read() as session:
            assert [outbox.what_left(session, left["id"])] == arrived

    def test_what_lost_its_answer_may_have_arrived_and_left_when_it_was_first_tried(
        self, site: Site, registry: SmallRegistry
    ) -> None:
        registry.fault = lambda _taken: Answer.LOST
        _queue(site, "a", "b")
        with pytest.raises(Unreachable):
            site.border.flush()
        (unanswered,) = self._left(site)
        assert (unanswered["subject"], unanswered["state"]) == ("a", "no answer yet")
        registry.fault = lambda _taken: None
        site.border.flush()
        taken = self._left(site)
        assert [(each["subject"], each["state"]) for each in taken] == [("a", "taken"), ("b", "taken")]
        assert taken[0]["left_at"] == unanswered["left_at"]

    def test_it_is_written_down_before_a_byte_goes(self, site: Site, registry: SmallRegistry) -> None:
        during = []
        registry.fault = lambda _taken: during.append([each["state"] for each in self._left(site)])
        _queue(site, "a")
        site.border.flush()
        assert during == [["no answer yet"]]

    def test_what_is_not_cleared_never_left(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        def clear(*_args: object) -> None:
            raise NotClearedError("no person decided to let it go")

        monkeypatch.setattr(border, "clear", clear)
        _queue(site, "a")
        site.border.flush()
        assert _states(site) == {"a": "refused"}
        assert self._left(site) == []


class TestRegistryAway:
    def test_nothing_is_lost_and_everything_is_sent_later_once(self, site: Site, registry: SmallRegistry) -> None:
        registry.stop()
        _queue(site, "a", "b")
        for _ in range(3):
            with pytest.raises(Unreachable):
                site.border.flush()
        assert _states(site) == {"a": "queued", "b": "queued"}
        _queue(site, "c")
        registry.start()
        assert site.border.flush() == 3
        assert registry.keys() == ["payload-a", "payload-b", "payload-c"]

    def test_the_reason_is_kept_for_people(self, site: Site, registry: SmallRegistry) -> None:
        registry.stop()
        _queue(site, "a")
        with pytest.raises(Unreachable):
            site.border.flush()
        item = _items(site)["payload-a"]
        assert (item.attempts, "does not answer" in item.last_error) == (1, True)

    @pytest.mark.parametrize("answer", [Answer.LOST, Answer.DROPPED])
    def test_a_broken_connection_leads_to_one_delivery(
        self, site: Site, registry: SmallRegistry, answer: Answer
    ) -> None:
        _queue(site, "a", "b")
        registry.fault = lambda taken: answer if taken.key == "payload-a" else None
        with pytest.raises(Unreachable):
            site.border.flush()
        registry.fault = lambda _taken: None
        assert site.border.flush() == 2
        assert registry.keys() == ["payload-a", "payload-b"]
        assert registry.asked == 3

    def test_a_page_of_somebody_else_counts_for_nothing(self, site: Site, registry: SmallRegistry) -> None:
        _queue(site, "a")
        registry.fault = lambda _taken: Answer.PORTAL
        with pytest.raises(WrongContent):
            site.border.flush()
        assert _states(site) == {"a": "queued"}

    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_a_proxy_without_a_registry_is_an_absent_one(
        self, site: Site, registry: SmallRegistry, status: int
    ) -> None:
        _queue(site, "a")
        registry.fault = lambda _taken: status
        with pytest.raises(Unreachable):
            site.border.flush()
        assert _states(site) == {"a": "queued"}


class TestRefusal:
    @pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
    def test_what_is_never_taken_is_kept_for_a_person_and_the_rest_goes_on(
        self, site: Site, registry: SmallRegistry, status: int
    ) -> None:
        _queue(site, "a", "b", "c", subject="one")
        registry.fault = lambda taken: status if taken.key == "payload-b" else None
        assert site.border.flush() == 2
        assert _states(site) == {"a": "sent", "b": "refused", "c": "sent"}
        assert f"refused with {status}" in _items(site)["payload-b"].last_error
        site.border.flush()
        assert registry.asked == 3

    def test_a_person_may_have_it_tried_again(self, site: Site, registry: SmallRegistry) -> None:
        _queue(site, "a")
        registry.fault = lambda _taken: 409
        site.border.flush()
        registry.fault = lambda _taken: None
        with site.store.write() as session:
            outbox.try_again(session, _items(site)["payload-a"].id or 0)
        assert site.border.flush() == 1

    @pytest.mark.parametrize("status", [403, 500])
    def test_what_may_be_taken_later_holds_back_its_own_subject_alone(
        self, site: Site, registry: SmallRegistry, status: int
    ) -> None:
        _queue(site, "a1", "a2", subject="a")
        _queue(site, "b1", subject="b")
        registry.fault = lambda taken: status if taken.key == "payload-a1" else None
        assert site.border.flush() == 1
        assert registry.keys() == ["payload-b1"]
        registry.fault = lambda _taken: None
        assert site.border.flush() == 0
        _all_are_due(site)
        assert site.border.flush() == 2
        assert registry.keys() == ["payload-b1", "payload-a1", "payload-a2"]

    @pytest.mark.parametrize("status", [401, 429])
    def test_an_unknown_token_or_a_busy_registry_stops_everything_and_loses_nothing(
        self, site: Site, registry: SmallRegistry, status: int
    ) -> None:
        _queue(site, "a", "b")
        registry.fault = lambda _taken: status
        with pytest.raises(Refused):
            site.border.flush()
        assert registry.asked == 1
        assert _states(site) == {"a": "queued", "b": "queued"}
        registry.fault = lambda _taken: None
        assert site.border.flush() == 2

    def test_a_new_token_is_used_after_a_start(self, site: Site, registry: SmallRegistry) -> None:
        _queue(site, "a")
        registry.token = "assay_2_secret"
        with pytest.raises(Refused):
            site.border.flush()
        write_private(site.home.token_file, registry.token + "\n")
        again = Site(site.home.path)
        assert again.border.flush() == 1
        again.close()

    def test_a_proxy_s_refusal_is_not_the_registry_s(self, site: Site, registry: SmallRegistry) -> None:
        """A 404 of a reverse proxy during an upgrade must not make a payload refused for ever."""
        _queue(site, "a")
        registry.fault = lambda _taken: Answer.DROPPED
        with pytest.raises(RegistryError):
            site.border.flush()
        assert _states(site) == {"a": "queued"}


_CHILD = """
import os, signal, sys
from pathlib import Path
from agents.site import Site
site = Site(Path(sys.argv[1]))
if sys.argv[2] == "before":
    site.border._client.send = lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL)
else:
    from agents.store import outbox
    outbox.mark_sent = lambda *_a, **_k: os.kill(os.getpid(), signal.SIGKILL)
site.border.flush()
"""


@pytest.mark.slow
class TestKill:
    @pytest.mark.parametrize(("moment", "arrived"), [("before", 0), ("after", 1)])
    def test_a_process_that_dies_around_sending_loses_and_doubles_nothing(
        self, site: Site, registry: SmallRegistry, moment: str, arrived: int
    ) -> None:
        _queue(site, "a", "b")
        ended = subprocess.run(
            [sys.executable, "-c", _CHILD, str(site.home.path), moment], check=False, timeout=60, env=os.environ
        )
        assert ended.returncode == -signal.SIGKILL
        assert len(registry.taken) == arrived
        assert _states(site) == {"a": "queued", "b": "queued"}
        assert site.border.flush() == 2
        assert registry.keys() == ["payload-a", "payload-b"]

    def test_two_processes_that_send_at_once_double_nothing(
        self, site: Site, registry: SmallRegistry, until: Callable[..., None]
    ) -> None:
        _queue(site, *(f"k{number}" for number in range(20)))
        registry.fault = lambda _taken: time.sleep(0.05)
        other = (
            "import sys; from pathlib import Path; from agents.site import Site; Site(Path(sys.argv[1])).border.flush()"
        )
        child = subprocess.Popen([sys.executable, "-c", other, str(site.home.path)])
        until(lambda: registry.asked > 0, "the other to begin")
        assert site.border.flush() == 0
        assert child.wait(60) == 0
        assert (len(registry.taken), registry.asked) == (20, 20)
        assert set(_states(site).values()) == {"sent"}


class TestPull:
    def test_what_the_registry_asks_is_kept_for_when_it_is_away(
        self, site: Site, registry: SmallRegistry, work: Callable[..., SiteWork]
    ) -> None:
        registry.work = work("a", "b")
        pulled, contradiction = site.border.pull_work()
        registry.stop()
        with pytest.raises(Unreachable):
            site.border.pull_work()
        assert site.work() == pulled == registry.work
        assert contradiction is None
        assert site.home.work_file.stat().st_mode & 0o077 == 0

    def test_a_chain_that_grows_is_no_contradiction(self, site: Site, registry: SmallRegistry) -> None:
        for sequence in (1, 2, 2, 7):
            registry.set_head(sequence, f"{sequence:02}")
            assert site.border.pull_work()[1] is None
        with site.store.read() as session:
            assert [kept.sequence for kept in list_heads(session)] == [1, 2, 7]

    @pytest.mark.parametrize(("sequence", "head"), [(7, "other"), (3, "03")])
    def test_a_history_that_changed_is_noticed_and_stays_noticed(
        self, site: Site, registry: SmallRegistry, sequence: int, head: str
    ) -> None:
        registry.set_head(7, "07")
        site.border.pull_work()
        registry.set_head(sequence, head)
        contradiction = site.border.pull_work()[1]
        assert contradiction is not None
        assert (repr(head) in str(contradiction), "'07'" in str(contradiction)) == (True, True)
        assert site.border.pull_work()[1] is None  # said once, kept for ever
        with site.store.read() as session:
            assert [(kept.sequence, kept.head) for kept in list_heads(session)] == [(7, "07"), (sequence, head)]

    def test_an_answer_of_another_shape_changes_nothing(self, site: Site, registry: SmallRegistry) -> None:
        site.border.pull_work()
        before = site.home.work_file.read_bytes()
        registry.work = AuditHead(sequence=1, head="00")  # type: ignore[assignment]  # the wrong shape on purpose
        with pytest.raises(WrongContent):
            site.border.pull_work()
        assert site.home.work_file.read_bytes() == before


class TestFetch:
    def test_a_blob_arrives_whole(self, site: Site, registry: SmallRegistry, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(os.urandom(100_000))
        digest = registry.add_blob(tmp_path / "blob")
        site.border.fetch(digest, tmp_path / "fetched")
        assert (tmp_path / "fetched").read_bytes() == (tmp_path / "blob").read_bytes()

    def test_other_bytes_than_the_digest_says_are_not_kept(
        self, site: Site, registry: SmallRegistry, tmp_path: Path
    ) -> None:
        (tmp_path / "blob").write_bytes(b"good")
        digest = registry.add_blob(tmp_path / "blob")
        (tmp_path / "blob").write_bytes(b"evil")
        with pytest.raises(WrongContent):
            site.border.fetch(digest, tmp_path / "fetched")
        assert not (tmp_path / "fetched").exists()


def test_the_keys_that_travel_are_ones_that_the_registry_takes(site: Site, registry: SmallRegistry) -> None:
    """The registry's rule for idempotency keys (api.core.idempotency), held against what a payload arrives with."""
    _queue(site, "a")
    site.border.flush()
    arrived: Taken = registry.taken[0]
    assert arrived.key.replace("-", "").isalnum()
    assert len(arrived.key) >= 8
