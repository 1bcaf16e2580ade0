"""Whatever strangers wrote shows as they wrote it, wherever our pages show it; and what the pages say to people."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from agents.desk import SiteGates, SitePeople
from agents.home import GateSettings
from agents.store import Store
from agents.store import gates as book
from agents.store.people import add_person, find_person
from agents.store.tables import Gate, Role
from api.schemas.benchmarks import Verdict
from api.schemas.sign_in import SignedIn
from api.storage.columns import now
from flows.server.deciding import Deciding
from flows.server.hosting import Scope
from flows.server.http import Refused
from flows.server.identity import Identities
from flows.server.ledger import Ledger
from flows.server.pages import Pages

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
SHOWN: dict[str, Any] = {
    "benchmark": {"name": ATTACK, "title": ATTACK},
    "statistics": {ATTACK: {"mean": 1.5, "sd": ATTACK}, "list": [ATTACK], "rows": [{"name": ATTACK, ATTACK: 2}]},
    "items": [{"item": ATTACK, "model": ATTACK, "metrics": {ATTACK: 0.5}, "isolation": ATTACK}],
}
SAME = {"sec-fetch-site": "same-origin"}


class House:
    """Our pages over a site's real store, without Prefect behind them."""

    def __init__(self, folder: Path) -> None:
        self.store, self.ledger = Store(folder / "site.db"), Ledger(folder / "sign-in.sqlite")
        identities = Identities(SitePeople(self.store), self.ledger, "service", "assay_north", timedelta(hours=1))
        deciding = Deciding(SiteGates(self.store), httpx2.AsyncClient(base_url="http://nowhere.invalid"))
        self.pages = TestClient(Pages("north", identities, deciding, None, self._note), headers=SAME)
        self.tokens: dict[str, str] = {}

    def close(self) -> None:
        self.pages.close()
        self.ledger.close()
        self.store.close()

    def person(self, email: str, role: Role, name: str = ATTACK) -> None:
        with self.store.write() as session:
            _, self.tokens[email] = add_person(session, email=email, name=name, role=role)

    def gate(self, run: str = "run-1", **settings: Any) -> Gate:
        with self.store.write() as session:
            return book.open_gate(
                session, name="release_results", title=ATTACK, subject=ATTACK, shown=SHOWN, flow_run_id=run,
                settings=GateSettings(**settings),
            )  # fmt: skip

    def get(self, email: str, path: str) -> str:
        return self.pages.get(path, headers={"authorization": f"Bearer {self.tokens[email]}"}).text

    def post(self, email: str, path: str, **form: str) -> str:
        return self.pages.post(path, data=form, headers={"authorization": f"Bearer {self.tokens[email]}"}).text

    async def _note(self, refused: Refused, who: SignedIn | None, scope: Scope) -> None:
        """The layer keeps it; here nobody looks."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.person("ann@north.example", Role.DATA_OWNER)
    made.person("ben@north.example", Role.DATA_OWNER, "Ben")
    made.person("vic@north.example", Role.VIEWER)
    yield made
    made.close()


def _harmless(page: str) -> bool:
    return "<script" not in page and "<img" not in page and "&lt;script&gt;" in page


class TestScript:
    def test_in_the_list_of_questions(self, house: House) -> None:
        house.gate()
        assert _harmless(house.get("ben@north.example", "/waiting"))

    def test_in_all_that_a_gate_shows(self, house: House) -> None:
        gate = house.gate()
        page = house.get("ben@north.example", f"/waiting/{gate.id}")
        assert _harmless(page)
        assert page.count("&lt;script&gt;") > 12

    def test_in_a_persons_name_and_reason(self, house: House) -> None:
        gate = house.gate(quorum=2)
        with house.store.write() as session:
            ann = find_person(session, "ann@north.example")
            book.decide(
                session, gate_id=gate.id, digest=gate.digest, verdict=Verdict.APPROVE, person=ann, reason=ATTACK,
                withheld=[ATTACK],
            )  # fmt: skip
        page = house.get("ann@north.example", f"/waiting/{gate.id}")
        assert _harmless(page)
        assert "Left out:" in page

    def test_in_what_is_refused(self, house: House) -> None:
        gate = house.gate()
        answer = house.post("ben@north.example", f"/waiting/{gate.id}", verdict=ATTACK, reason=ATTACK, digest=ATTACK)
        assert _harmless(answer)
        assert _harmless(house.get("ben@north.example", "/waiting/%3Cscript%3Ealert(1)"))
        assert _harmless(house.get("vic@north.example", "/waiting"))

    def test_in_what_somebody_types_when_they_sign_in(self, house: House) -> None:
        form = {"email": ATTACK, "password": ATTACK, "next": "/" + ATTACK}
        assert _harmless(house.pages.post("/sign-in", data=form).text)
        assert "<script" not in house.pages.get("/sign-in", params={"next": "/" + ATTACK}).text


class TestTell:
    def test_a_question_that_nobody_answered_in_time(self, house: House) -> None:
        gate = house.gate(expires_days=1)
        with house.store.write() as session:
            late = session.get_one(Gate, gate.id)
            late.expires_at = now() - timedelta(seconds=1)
            session.add(late)
        for closed in (False, True):
            if closed:
                with house.store.write() as session:
                    book.expire(session)
            page = house.get("ben@north.example", f"/waiting/{gate.id}")
            assert '<span class="state closed">expired</span>' in page
            assert "Record my decision" not in page
        assert "Nothing waits for a decision." in house.get("ben@north.example", "/waiting")

    def test_whoever_has_decided_waits_for_the_others(self, house: House) -> None:
        gate = house.gate(quorum=2)
        form = {"verdict": "approve", "reason": "seen", "digest": gate.digest}
        assert "1 of 2 have decided" in house.post("ben@north.example", f"/waiting/{gate.id}", **form)
        page = house.get("ben@north.example", f"/waiting/{gate.id}")
        assert "You have decided" in page
        assert "Not yours to decide" not in page
        assert '<span class="soft">decided</span>' in house.get("ben@north.example", "/waiting")
        assert "Record my decision" in house.get("ann@north.example", f"/waiting/{gate.id}")

    def test_what_is_no_longer_asked_says_so(self, house: House) -> None:
        gate = house.gate()
        with house.store.write() as session:
            book.close_gates_of(session, gate.flow_run_id)
        page = house.get("ben@north.example", f"/waiting/{gate.id}")
        assert "No longer asked" in page
        assert "Record my decision" not in page

    def test_a_viewer_is_told_where_they_may_look(self, house: House) -> None:
        page = house.get("vic@north.example", "/waiting")
        assert "may not look at gates" in page
        assert "The flow runs that you may watch" in page
