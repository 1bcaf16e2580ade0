"""The audit log: everything that happened, in one chain that nobody changes unnoticed."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, text, update
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, col, insert, select

from api.core.audit import AuditLog, AuditRow
from api.core.database import transaction
from api.nouns.gates.tables import Gate
from api.nouns.leaderboard.tables import Release
from api.schemas.people import OrganizationCreate, TokenCreate
from api.schemas.records import AuditVerification
from tests.api.campaign import GOOD, Campaign, refused
from tests.api.world import Registry

HEX = 64


def _verify(registry: Registry) -> AuditVerification:
    return registry.client_of("administrator").audit.verify()


def _write(registry: Registry, count: int) -> None:
    """Let things happen."""
    client = registry.client_of("stranger").users
    for number in range(count):
        client.issue_token(TokenCreate(label=f"n{number}"))


@contextmanager
def _unprotected(registry: Registry) -> Iterator[Connection]:
    """A connection of somebody who owns the database, and has taken the log's triggers away."""
    with transaction(registry.app.state.engine, write=True) as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        else:
            for name in ("update", "delete", "replace"):
                connection.execute(text(f"DROP TRIGGER audit_no_{name}"))
        yield connection


@contextmanager
def _owned(registry: Registry) -> Iterator[Connection]:
    """A connection of somebody who has taken all triggers away, and those of foreign keys too."""
    with transaction(registry.app.state.engine, write=True) as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            triggers = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
            for name in list(triggers):
                connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection


class TestAppend:
    def test_each_entry_says_who_did_what_to_what(self, registry: Registry) -> None:
        made = registry.client_of("administrator").organizations.create(OrganizationCreate(name="clinic", title="C"))
        entry = registry.client_of("administrator").audit.entries().items[-1]
        assert (entry.actor, entry.action) == (
            "Administrator <administrator@federation.example>",
            "organization.created",
        )
        assert (entry.subject, entry.detail) == (f"organization:{made.id}", {"name": "clinic"})
        assert len(entry.digest) == HEX

    def test_the_numbers_have_no_gaps(self, registry: Registry) -> None:
        _write(registry, 3)
        entries = registry.client_of("administrator").audit.entries(limit=200).items
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))

    def test_what_is_refused_leaves_no_entry(self, registry: Registry) -> None:
        before = registry.entries()
        with refused(409, "exists already"):
            registry.client_of("administrator").organizations.create(OrganizationCreate(name="north", title="x"))
        assert registry.entries() == before

    def test_what_fails_at_the_end_leaves_no_entry_and_nothing_else(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The entry stands exactly when what it tells of stands."""
        before = registry.entries()
        append = AuditLog.append

        def append_and_die(log: AuditLog, session: Session, **values: Any) -> None:
            append(log, session, **values)
            raise RuntimeError("the power went")

        with monkeypatch.context() as patched:
            patched.setattr(AuditLog, "append", append_and_die)
            body = {"name": "clinic", "title": "C"}
            assert registry.call("administrator", "POST", "/v1/organizations", json=body).status_code == 500
        assert registry.entries() == before
        assert registry.client_of("administrator").organizations.list(name="clinic").total == 0
        assert registry.call("administrator", "POST", "/v1/organizations", json=body).status_code == 201
        assert registry.entries() == before + 1
        assert _verify(registry).intact

    def test_reading_leaves_no_entry(self, registry: Registry) -> None:
        before = registry.entries()
        for path in ("/v1/users", "/v1/audit", "/v1/audit/verification", "/v1/cubes"):
            assert registry.call("administrator", "GET", path).status_code == 200
        assert registry.entries() == before

    def test_what_is_not_a_number_is_kept(self, registry: Registry) -> None:
        with transaction(registry.app.state.engine, write=True) as session:
            detail = {"auroc": float("nan"), "loss": float("inf")}
            registry.audit.append(session, actor="a", action="b", subject="c", detail=detail)
        entry = registry.client_of("administrator").audit.entries().items[-1]
        assert entry.detail == {"auroc": "float:nan", "loss": "float:inf"}
        assert _verify(registry).intact


class TestAppendAtTheSameMoment:
    @pytest.mark.parametrize("writers", [8])
    def test_every_entry_has_its_place(self, registry: Registry, writers: int) -> None:
        before, barrier, each = registry.entries(), Barrier(writers), 5

        def write(number: int) -> None:
            barrier.wait(60)
            for step in range(each):
                with transaction(registry.app.state.engine, write=True) as session:
                    registry.audit.append(session, actor=f"w{number}", action="written", subject=f"s{step}")

        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, range(writers)))
        found = _verify(registry)
        assert (found.intact, found.entries) == (True, before + writers * each)
        written = registry.client_of("administrator").audit.entries(action="written", limit=200).items
        assert len({(entry.actor, entry.subject) for entry in written}) == writers * each
        for number in range(writers):
            own = [entry.subject for entry in written if entry.actor == f"w{number}"]
            assert own == [f"s{step}" for step in range(each)]

    def test_requests_do_not_lose_any(self, registry: Registry) -> None:
        before, barrier = registry.entries(), Barrier(6)

        def ask(number: int) -> int:
            barrier.wait(60)
            body = {"label": f"n{number}"}
            return registry.call("stranger", "POST", "/v1/tokens", json=body).status_code

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, range(6))) == [201] * 6
        assert _verify(registry).entries == before + 6


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit SET actor = 'nobody'",
            "UPDATE audit SET detail = '{}' WHERE sequence = 1",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE sequence = 1",
        ],
    )
    def test_the_database_itself_refuses(self, registry: Registry, statement: str) -> None:
        with (
            pytest.raises(DatabaseError, match="audit is append-only"),
            transaction(registry.app.state.engine, write=True) as session,
        ):
            session.connection().execute(text(statement))

    def test_neither_can_it_be_emptied_or_replaced(self, registry: Registry) -> None:
        engine = registry.app.state.engine
        statement = (
            "TRUNCATE audit"
            if engine.dialect.name == "postgresql"
            else "INSERT OR REPLACE INTO audit SELECT sequence, at, 'x', action, subject, detail, digest FROM audit"
        )
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction(engine, write=True) as session,
        ):
            session.connection().execute(text(statement))


class TestVerify:
    def test_what_nobody_touched_is_whole(self, registry: Registry) -> None:
        _write(registry, 4)
        found = _verify(registry)
        assert (found.intact, found.first_broken, found.entries) == (True, None, registry.entries())
        assert found.head == registry.client_of("site:north").audit.head().head

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE audit SET actor = 'Somebody Else' WHERE sequence = 3",
            "UPDATE audit SET action = 'x' WHERE sequence = 3",
            "UPDATE audit SET subject = 'x' WHERE sequence = 3",
            'UPDATE audit SET detail = \'{"label": "other"}\' WHERE sequence = 3',
            "UPDATE audit SET at = '2020-01-01 00:00:00' WHERE sequence = 3",
            "UPDATE audit SET digest = (SELECT digest FROM audit WHERE sequence = 2) WHERE sequence = 3",
            "DELETE FROM audit WHERE sequence = 3",
        ],
    )
    def test_a_changed_entry_is_named(self, registry: Registry, change: str) -> None:
        _write(registry, 5)
        with _unprotected(registry) as connection:
            connection.execute(text(change))
        found = _verify(registry)
        assert (found.intact, found.first_broken, found.entries) == (False, 3, 2)

    def test_two_entries_that_changed_places_are_found(self, registry: Registry) -> None:
        _write(registry, 5)
        with _unprotected(registry) as connection:
            for before, after in ((3, 1000), (4, 3), (1000, 4)):
                move = text("UPDATE audit SET sequence = :after WHERE sequence = :before")
                connection.execute(move, {"after": after, "before": before})
        assert _verify(registry).first_broken == 3

    def test_one_that_was_slipped_in_is_found(self, registry: Registry) -> None:
        _write(registry, 2)
        last = registry.client_of("administrator").audit.head()
        with _unprotected(registry) as connection:
            columns = "at, actor, action, subject, detail, digest"
            again = f"INSERT INTO audit SELECT sequence + 1, {columns} FROM audit WHERE sequence = :last"  # noqa: S608
            connection.execute(text(again), {"last": last.sequence})
        assert _verify(registry).first_broken == last.sequence + 1

    def test_whoever_has_the_database_alone_makes_no_new_history(self, registry: Registry) -> None:
        """A chain that is whole in itself, under another key."""
        _write(registry, 2)
        forger = AuditLog(b"another key, as long as it must be")
        with _unprotected(registry) as connection:
            connection.execute(text("DELETE FROM audit"))
        with transaction(registry.app.state.engine, write=True) as session:
            forger.append(session, actor="nobody", action="nothing.happened", subject="registry")
            assert forger.verify(session).intact
        assert _verify(registry).first_broken == 1

    def test_a_history_that_was_cut_short_is_whole_but_behind_the_head_that_a_site_keeps(
        self, registry: Registry
    ) -> None:
        _write(registry, 5)
        kept = registry.client_of("site:north").audit.head()
        with _unprotected(registry) as connection:
            connection.execute(text("DELETE FROM audit WHERE sequence > :kept"), {"kept": kept.sequence - 2})
        found = _verify(registry)
        assert found.intact
        assert (found.entries, found.head != kept.head) == (kept.sequence - 2, True)

    def test_thousands_are_verified_and_the_broken_one_is_named(self, registry: Registry) -> None:
        total = 5_000
        with transaction(registry.app.state.engine, write=True) as session:
            rows = list(_chain(registry, session, total))
            session.connection().execute(insert(AuditRow), rows)
        found = _verify(registry)
        assert (found.intact, found.entries) == (True, total)
        with _unprotected(registry) as connection:
            connection.execute(text("UPDATE audit SET subject = 'other' WHERE sequence = 3777"))
        assert _verify(registry).first_broken == 3777


def _chain(registry: Registry, session: Session, total: int) -> Iterator[dict[str, Any]]:
    """Rows that go on where the log ends, as `append` would write them, made in one go."""
    last = session.exec(select(AuditRow).order_by(col(AuditRow.sequence).desc()).limit(1)).one()
    for number in range(last.sequence + 1, total + 1):
        row = AuditRow(
            sequence=number,
            at=last.at + timedelta(seconds=1),
            actor="writer",
            action="written",
            subject=f"thing:{number}",
            detail={"number": number},
            digest="",
        )
        row.digest = registry.audit._digest(last.digest, row)
        yield row.model_dump()
        last = row


class TestVerifyRows:
    """Rows that were changed past their triggers, while the chain is whole."""

    @pytest.fixture
    def released(self, campaign: Campaign) -> Campaign:
        """Two results, and the release of both."""
        for model, auroc in (("alpha", math.nan), ("beta", 0.7)):
            campaign.send_result("north", model, {**GOOD, "auroc": auroc})
        campaign.release()
        return campaign

    def test_what_nobody_touched_is_whole(self, released: Campaign) -> None:
        found = _verify(released.registry)
        assert (found.intact, found.changed_rows) == (True, [])

    @pytest.mark.parametrize(
        ("statement", "told"),
        [
            ("UPDATE result SET metrics = '{\"auroc\": 0.99}' WHERE id = 1", ["result:1: metrics"]),
            ("UPDATE result SET cases = 101 WHERE id = 2", ["result:2: cases"]),
            ("UPDATE result SET model_id = 2 WHERE id = 1", ["result:1: model, model_id"]),
            ("UPDATE result SET dataset_id = 2", ["result:1: dataset_id", "result:2: dataset_id"]),
            ("UPDATE result SET isolation = 'not_isolated' WHERE id = 1", ["result:1: isolation"]),
            ("UPDATE result SET started_at = '2020-01-01 00:00:00' WHERE id = 1", ["result:1: started_at"]),
            ("DELETE FROM release_result; DELETE FROM result WHERE id = 1", ["result:1 is gone", "release:1: results"]),
            (
                "UPDATE result SET id = 77 WHERE id = 2; UPDATE release_result SET result_id = 77 WHERE result_id = 2",
                ["result:2 is gone", "result:77 has no entry", "release:1: results"],
            ),
            ("UPDATE leaderboard_release SET results_up_to = 9", ["release:1: results_up_to"]),
            ("DELETE FROM release_result WHERE result_id = 1", ["release:1: results"]),
            ("DELETE FROM release_result; DELETE FROM leaderboard_release", ["release:1 is gone"]),
        ],
    )
    def test_one_that_is_not_what_its_entry_tells_is_named(
        self, released: Campaign, statement: str, told: list[str]
    ) -> None:
        with _owned(released.registry) as connection:
            for part in statement.split("; "):
                connection.execute(text(part))
        found = _verify(released.registry)
        assert (found.intact, found.first_broken, found.changed_rows) == (False, None, told)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda board: board | {"cases": 1}, "release:1: leaderboard"),
            (lambda board: board | {"released_at": "2020-01-01T00:00:00+00:00"}, "release:1: released_at"),
        ],
    )
    def test_a_leaderboard_that_is_not_what_was_shown_is_named(
        self, released: Campaign, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
    ) -> None:
        with _owned(released.registry) as connection:
            board = connection.execute(select(Release.leaderboard)).scalar_one()
            connection.execute(update(Release).values(leaderboard=change(board)))
        assert _verify(released.registry).changed_rows == [told]

    def test_a_gate_that_shows_something_else_now_is_named(self, released: Campaign) -> None:
        with _owned(released.registry) as connection:
            number = connection.execute(select(Release.gate_id)).scalar_one()
            connection.execute(update(Gate).where(col(Gate.id) == number).values(shown={}))
        assert _verify(released.registry).changed_rows == [f"release:1: what was shown at gate:{number}"]

    def test_entries_that_told_less_are_held_against_what_they_tell(
        self, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a registry wrote them before."""
        append, known = AuditLog.append, {"score", "model", "dataset", "metrics", "isolation", "decision"}

        def tell_less(log: AuditLog, session: Session, *, detail: dict[str, Any], **values: Any) -> None:
            kept = {name: value for name, value in detail.items() if name in known}
            append(log, session, detail=kept, **values)

        with monkeypatch.context() as patched:
            patched.setattr(AuditLog, "append", tell_less)
            campaign.send_result("north", "alpha", {**GOOD, "auroc": math.nan})
        assert _verify(campaign.registry).intact
        with _owned(campaign.registry) as connection:
            connection.execute(text("UPDATE result SET model_id = 2"))
        assert _verify(campaign.registry).changed_rows == ["result:1: model"]

    def test_pages_make_no_difference(self, released: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.nouns.audit.evidence._PAGE", 1)
        assert _verify(released.registry).intact
        with _owned(released.registry) as connection:
            connection.execute(text("UPDATE result SET cases = 101 WHERE id = 2"))
        assert _verify(released.registry).changed_rows == ["result:2: cases"]


class TestRead:
    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ({"action": "token.issued"}, lambda e: e.action == "token.issued"),
            ({"actor": "test"}, lambda e: e.actor == "test"),
            ({"subject": "registry"}, lambda e: e.subject == "registry"),
            ({"after": 2}, lambda e: e.sequence > 2),
            ({"action": "token.issued", "after": 3}, lambda e: e.action == "token.issued" and e.sequence > 3),
            ({"action": "no.such"}, lambda _: False),
        ],
    )
    def test_filters_are_the_servers(
        self, registry: Registry, filters: dict[str, Any], wanted: Callable[[Any], bool]
    ) -> None:
        _write(registry, 3)
        client = registry.client_of("administrator").audit
        everything = client.entries(limit=200).items
        found = client.entries(limit=2, **filters)
        right = [entry for entry in everything if wanted(entry)]
        assert (found.items, found.total) == (right[:2], len(right))

    def test_administrators_alone_read_entries(self, registry: Registry) -> None:
        for party in ("stranger", "benchmark_owner", "service", "site:north"):
            with refused(403, "It takes platform administrator"):
                registry.client_of(party).audit.entries()

    @pytest.mark.parametrize("party", ["stranger", "site:north", "administrator"])
    def test_everybody_reads_where_it_was(self, registry: Registry, party: str) -> None:
        """What a site kept a year ago can be held against what the registry says of that moment now."""
        client = registry.client_of(party)
        for _ in range(3):
            registry.client_of("stranger").users.issue_token(TokenCreate(label="x"))
        entries = registry.client_of("administrator").audit.entries(limit=200).items
        for entry in entries:
            assert client.audit.head(at=entry.sequence).head == entry.digest
        assert client.audit.head(at=entries[-1].sequence) == client.audit.head()
        with refused(404, f"the audit log has no entry {len(entries) + 1}"):
            client.audit.head(at=len(entries) + 1)

    @pytest.mark.parametrize("at", ["0", "-1", "x", "99999999999999999999"])
    def test_no_such_place(self, registry: Registry, at: str) -> None:
        assert registry.call("stranger", "GET", f"/v1/audit/head?at={at}").status_code == 422

    def test_everybody_reads_the_head(self, registry: Registry) -> None:
        heads = {
            registry.client_of(p).audit.head().head for p in ("stranger", "service", "site:north", "administrator")
        }
        assert len(heads) == 1
