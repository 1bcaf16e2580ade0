"""How far a preparation is leaves a site only where a data owner agreed, as fractions, and not too often."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlmodel import select

from agents import progress
from agents.errors import NotPermittedError
from agents.progress import queue_progress
from agents.site import Site
from agents.store import consents, people
from agents.store.datasets import add_dataset, update_dataset
from agents.store.tables import OutboxItem, OutboxState, Person, Role
from api.schemas.border import PayloadKind, PreparationProgress
from api.storage.columns import now
from tests.small_registry import SmallRegistry

REPORT = """
status: {secret-case-1: -1, secret-case-2: 2, secret-case-3: 2}
status_name: {secret-case-1: Jane Doe must be reviewed}
comment: {secret-case-1: Jane Doe}
"""


@pytest.fixture
def owner(site: Site) -> Person:
    with site.store.write() as session:
        return people.add_person(session, email="o@north.example", name="Owner", role=Role.DATA_OWNER)[0]


@pytest.fixture
def folder(site: Site, owner: Person, tmp_path: Path) -> Path:
    """Of a preparation under way, called d1."""
    folder = site.home.folder("prepared") / "a1"
    folder.mkdir()
    (folder / "report.yaml").write_text(REPORT)
    with site.store.write() as session:
        add_dataset(
            session,
            name="d1",
            title="D1",
            benchmark_id=1,
            data_path=tmp_path,
            labels_path=tmp_path,
            requested_by=owner.id or 0,
        )
        update_dataset(session, "d1", folder=str(folder))
    return folder


@pytest.fixture
def say(site: Site, owner: Person) -> Callable[[bool], None]:
    def say(given: bool) -> None:  # noqa: FBT001 - a yes or a no
        with site.store.write() as session:
            consents.say(session, "d1", owner, given=given)

    return say


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds go by for whoever counts the time between two looks."""

    def go(seconds: float) -> None:
        monkeypatch.setattr(progress, "now", lambda: now() + timedelta(seconds=seconds))

    return go


def _queued(site: Site) -> list[OutboxItem]:
    with site.store.read() as session:
        return list(session.exec(select(OutboxItem).where(OutboxItem.kind == PayloadKind.PREPARATION)))


@pytest.mark.usefixtures("folder")
class TestConsent:
    def test_without_it_nothing_is_queued(self, site: Site) -> None:
        assert queue_progress(site) == []

    def test_with_it_fractions_by_number_and_nothing_else(self, site: Site, say: Callable[[bool], None]) -> None:
        say(True)
        assert queue_progress(site) == ["d1"]
        (item,) = _queued(site)
        assert json.loads(item.body)["fractions"] == {"-1": 0.333, "2": 0.667}
        assert set(json.loads(item.body)) == {"benchmark_id", "name", "fractions", "measured_at"}
        assert b"Jane" not in item.body
        assert b"secret" not in item.body

    def test_taken_back_before_it_left_it_stays(
        self, site: Site, say: Callable[[bool], None], registry: SmallRegistry
    ) -> None:
        say(True)
        queue_progress(site)
        say(False)
        site.border.flush()
        (item,) = _queued(site)
        assert (item.state, registry.taken) == (OutboxState.REFUSED, [])
        assert "no data owner agrees" in item.last_error

    def test_given_it_leaves(self, site: Site, say: Callable[[bool], None], registry: SmallRegistry) -> None:
        say(True)
        queue_progress(site)
        site.border.flush()
        assert [taken.kind for taken in registry.taken] == [PayloadKind.PREPARATION]

    def test_of_somebody_who_has_left_it_counts_no_more(
        self, site: Site, say: Callable[[bool], None], owner: Person
    ) -> None:
        say(True)
        with site.store.write() as session:
            people.revoke(session, owner.email)
        assert queue_progress(site) == []

    def test_only_a_data_owner_gives_it(self, site: Site) -> None:
        with site.store.write() as session:
            operator, _ = people.add_person(session, email="op@north.example", name="Op", role=Role.OPERATOR)
            with pytest.raises(NotPermittedError):
                consents.say(session, "d1", operator, given=True)


class TestOften:
    def test_never_twice_within_thirty_seconds(
        self, site: Site, folder: Path, say: Callable[[bool], None], later: Callable[[float], None]
    ) -> None:
        say(True)
        queue_progress(site)
        (folder / "report.yaml").write_text("status: {a: 2}")
        assert queue_progress(site) == []
        later(31)
        assert queue_progress(site) == ["d1"]
        assert [json.loads(item.body)["fractions"] for item in _queued(site)] == [{"-1": 0.333, "2": 0.667}, {"2": 1.0}]

    @pytest.mark.usefixtures("folder")
    def test_nothing_when_nothing_has_changed(
        self, site: Site, say: Callable[[bool], None], later: Callable[[float], None]
    ) -> None:
        say(True)
        queue_progress(site)
        later(3600)
        assert queue_progress(site) == []

    def test_a_report_that_is_just_being_written_is_looked_at_later(
        self, site: Site, folder: Path, say: Callable[[bool], None]
    ) -> None:
        say(True)
        (folder / "report.yaml").write_text("status: {a: ")
        assert queue_progress(site) == []
        (folder / "report.yaml").write_text("status: {a: 1}")
        assert queue_progress(site) == ["d1"]


class TestShape:
    @pytest.mark.parametrize(
        "fractions", [{"Jane": 0.1}, {"-1": 1.5}, {"-1": -0.1}, {str(n): 0.0 for n in range(21)}, {"1234": 0.1}]
    )
    def test_has_no_room_for_anything_else(self, fractions: dict[str, float]) -> None:
        with pytest.raises(ValidationError):
            PreparationProgress(benchmark_id=1, name="d1", fractions=fractions, measured_at=now())
