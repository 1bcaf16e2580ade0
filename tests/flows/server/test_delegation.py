"""A viewer to whom somebody delegated decides in their place: on our page, in Prefect's, by the endpoint. Nobody else does."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlmodel import select

from agents.store import Store
from agents.store.delegations import delegate, end_delegations
from agents.store.people import add_person, find_person, renew_token, revoke, set_password
from agents.store.tables import Delegation, Role
from api.storage.columns import now
from tests.flows.server.conftest import MINE, OTHERS, PASSWORD, Person, Place

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
SOON = timedelta(days=1)
ANN = "ann@north.example"
Let = Callable[..., None]


@pytest.fixture
def dora(place: Place) -> Iterator[str]:
    """A viewer of one benchmark; the name under which `place` knows her."""
    name = f"dora-{uuid4().hex[:6]}"
    email = f"{name}@north.example"
    with place.site.store.write() as session:
        _, token = add_person(session, email=email, name="Dora", role=Role.VIEWER, benchmarks=[1])
        set_password(session, email, PASSWORD)
    place.people[name] = Person(email, token)
    yield name
    with place.site.store.write() as session:
        end_delegations(session, find_person(session, ANN))
        revoke(session, email)


@pytest.fixture
def let(place: Place, dora: str) -> Let:
    """Ann lets Dora decide in her place."""

    def delegated(gate_name: str | None = None) -> None:
        with place.site.store.write() as session:
            ann, taker = find_person(session, ANN), find_person(session, place.people[dora].email)
            delegate(session, ann, taker, until=now() + SOON, gate_name=gate_name)

    return delegated


def _both(place: Place, dora: str) -> str:
    return f"Dora <{place.people[dora].email}> for Ann <{ANN}>"


class TestDecide:
    def test_on_the_gates_page(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        gate = place.gate(run)
        with place.browser(dora) as browser:
            assert gate.title in browser.get("/waiting").text
            page = browser.get(f"/waiting/{gate.id}").text
            assert "in place of <strong>Ann &lt;ann@north.example&gt;</strong>" in page
            form = {"verdict": "approve", "reason": "as agreed with Ann", "digest": gate.digest}
            assert "The run goes on" in browser.post(f"/waiting/{gate.id}", data=form).text
        assert place.end_of(run) == f"approved by {_both(place, dora)}, without []"

    def test_in_prefects_pages(self, place: Place, run: str, dora: str, let: Let) -> None:
        let("release_results")
        gate = place.gate(run)
        with place.browser(dora) as browser:
            keys = browser.get(f"/api/flow_runs/{run}").json()["state"]["state_details"]["run_input_keyset"]
            assert gate.digest in browser.get(f"/api/flow_runs/{run}/input/{keys['schema']}").text
            answer = browser.post(f"/api/flow_runs/{run}/resume", json=place.form(run))
        assert (answer.status_code, answer.json()["status"]) == (201, "ACCEPT")
        assert place.end_of(run).startswith(f"approved by {_both(place, dora)}")
        (decision,) = place.decisions(gate)
        assert decision.person == _both(place, dora)

    def test_by_the_endpoint(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        answer = {"verdict": "reject", "reason": "too few", "digest": place.gate(run).digest}
        with place.client(dora) as client:
            assert client.post(f"/gates/{place.gate(run).id}/decision", json=answer).json()["woken"] is True
        assert place.end_of(run) == f"rejected by {_both(place, dora)}"


class TestEnd:
    """Whatever ends it takes effect with the next request, also for whoever is signed in already."""

    def _refused(self, place: Place, run: str, dora: str) -> None:
        gate = place.gate(run)
        answer = {"verdict": "approve", "reason": "seen", "digest": gate.digest}
        with place.client(dora) as client:
            assert client.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 403
            assert client.get("/waiting").status_code == 403
            assert client.get(f"/waiting/{gate.id}").status_code == 403
            assert client.post(f"/gates/{gate.id}/decision", json=answer).status_code == 403
        assert place.state(run) == "PAUSED"
        assert place.decisions(gate) == []
        assert place.refused(f"{run}/resume")

    def test_never_begun(self, place: Place, run: str, dora: str) -> None:
        self._refused(place, run, dora)

    def test_taken_back(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        with place.browser(dora) as browser:
            assert browser.get(f"/waiting/{place.gate(run).id}").status_code == 200
            with place.site.store.write() as session:
                end_delegations(session, find_person(session, ANN))
            form = {"verdict": "approve", "reason": "seen", "digest": place.gate(run).digest}
            assert browser.post(f"/waiting/{place.gate(run).id}", data=form).status_code == 403
        self._refused(place, run, dora)

    def test_expired(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        with place.site.store.write() as session:
            taker = find_person(session, place.people[dora].email)
            for row in session.exec(select(Delegation).where(Delegation.to_person == taker.id)):
                row.until = now() - timedelta(seconds=1)
                session.add(row)
        self._refused(place, run, dora)

    def test_whoever_gave_it_is_gone(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        with place.site.store.write() as session:
            revoke(session, ANN)
        try:
            self._refused(place, run, dora)
        finally:
            with place.site.store.write() as session:
                place.people["ann"] = Person(ANN, renew_token(session, ANN))

    def test_at_another_site(self, place: Place, run: str, dora: str, tmp_path: Path) -> None:
        """Ann and Dora are people of the south, too, where Ann has delegated: that is the south's alone."""
        south = Store(tmp_path / "south.sqlite")
        with south.write() as session:
            ann, _ = add_person(session, email=ANN, name="Ann", role=Role.DATA_OWNER)
            taker, token = add_person(session, email=place.people[dora].email, name="Dora", role=Role.VIEWER)
            delegate(session, ann, taker, until=now() + SOON)
        south.close()
        self._refused(place, run, dora)
        with place.client(Authorization=f"Bearer {token}") as stranger:
            assert stranger.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 401


class TestBounds:
    def test_another_kind_of_gate_is_neither_seen_nor_decided(self, place: Place, dora: str, let: Let) -> None:
        let("register_dataset")
        run = place.ask(tag=MINE)
        gate = place.gate(run)
        with place.client(dora) as client:
            assert gate.id not in client.get("/waiting").text
            assert client.get(f"/gates/{gate.id}").status_code == 403
            keys = client.get(f"/api/flow_runs/{run}").json()["state"]["state_details"]["run_input_keyset"]
            assert client.get(f"/api/flow_runs/{run}/input/{keys['description']}").status_code == 403
            assert client.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 403
        assert place.state(run) == "PAUSED"

    def test_runs_of_other_benchmarks_stay_unseen_and_their_gates_are_decided_on_our_page(
        self, place: Place, dora: str, let: Let
    ) -> None:
        let()
        run = place.ask(tag=OTHERS)
        gate = place.gate(run)
        with place.client(dora) as client:
            assert client.get(f"/api/flow_runs/{run}").status_code == 404
            assert client.post(f"/api/flow_runs/{run}/resume", json=place.form(run)).status_code == 404
            answer = {"verdict": "reject", "reason": "too few", "digest": gate.digest}
            assert client.post(f"/gates/{gate.id}/decision", json=answer).status_code == 200
        assert place.end_of(run) == f"rejected by {_both(place, dora)}"

    def test_nothing_else_is_theirs(self, place: Place, run: str, dora: str, let: Let) -> None:
        let()
        with place.client(dora) as client:
            cancelling = {"state": {"type": "CANCELLING"}}
            assert client.post(f"/api/flow_runs/{run}/set_state", json=cancelling).status_code == 403
            assert client.post("/api/events/filter", json={}).status_code == 403
            assert client.post("/api/work_pools/filter", json={}).status_code == 403
            assert client.get("/api/flow_runs/filter").status_code in {404, 403}
        assert place.state(run) == "PAUSED"
