"""How a site's people sign in and stand in for each other, and how its workers do."""

import json
from datetime import timedelta

import pytest

from agents.desk import SitePeople
from agents.home import GateSettings, SignInSettings
from agents.store import gates
from agents.store.tables import Gate, Role
from api.core.settings import RegistrySettings
from api.schemas.sign_in import DeskError, Standing
from api.storage.columns import now
from flows.server.ledger import Ledger
from tests.cli.support import Assay, Here

PASSWORD = "correct horse battery staple"
VIEWER = "viewer@north.example"
OPERATOR = "operator@north.example"


@pytest.fixture
def _host(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the site's folder; nobody is signed in."""
    monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))


@pytest.mark.usefixtures("_host")
class TestPassword:
    def test_it_signs_them_in_to_the_pages(self, assay: Assay, here: Here) -> None:
        ended = assay("agent", "people", "password", VIEWER, stdin=f"{PASSWORD}\n")
        assert ended.code == 0
        assert PASSWORD not in ended.out
        assert SitePeople(here.store).by_password(VIEWER, PASSWORD).standing == Standing.VIEWER

    def test_it_is_kept_as_a_slow_hash_and_never_listed(self, assay: Assay) -> None:
        assay("agent", "people", "password", VIEWER, stdin=f"{PASSWORD}\n")
        listed = assay("agent", "people", "list", "--json").out
        assert "hash" not in listed
        assert [person["password"] for person in json.loads(listed) if person["email"] == VIEWER] == [True]

    def test_open_sessions_end(self, assay: Assay, here: Here) -> None:
        ledger = Ledger(here.home.ledger_file)
        secrets = {role: ledger.open_session(f"person:{here.ids[role]}", timedelta(hours=1)) for role in Role}
        assay("agent", "people", "password", VIEWER, stdin=f"{PASSWORD}\n")
        assert ledger.session_key(secrets[Role.VIEWER]) is None
        assert ledger.session_key(secrets[Role.OPERATOR]) is not None
        ledger.close()

    @pytest.mark.parametrize(
        ("email", "stdin", "code"), [(VIEWER, "short\n", 7), (VIEWER, "", 7), ("nobody@north.example", PASSWORD, 5)]
    )
    def test_what_goes_wrong(self, assay: Assay, email: str, stdin: str, code: int) -> None:
        assert assay("agent", "people", "password", email, stdin=stdin).code == code

    def test_a_revoked_person_is_not_signed_in_by_it(self, assay: Assay, here: Here) -> None:
        assay("agent", "people", "password", VIEWER, stdin=f"{PASSWORD}\n")
        assay("agent", "people", "revoke", VIEWER)
        with pytest.raises(DeskError):
            SitePeople(here.store).by_password(VIEWER, PASSWORD)

    def test_a_personal_token_does_in_its_place(self, here: Here) -> None:
        people, token = SitePeople(here.store), here.tokens[Role.OPERATOR]
        assert people.by_password(OPERATOR, token) == people.by_token(token)
        with pytest.raises(DeskError):
            people.by_password(VIEWER, token)


@pytest.mark.usefixtures("_host")
class TestViewer:
    def test_of_some_benchmarks_alone(self, assay: Assay, here: Here) -> None:
        words = ("agent", "people", "add", "v@north.example", "--name", "V", "--role", "viewer")
        made = assay(*words, "--benchmark", "4", "--benchmark", "7", "--json").json
        assert SitePeople(here.store).by_token(made["token"]).tags == frozenset({"benchmark-4", "benchmark-7"})


@pytest.mark.usefixtures("_host")
class TestWorkerToken:
    def test_it_is_shown_once_and_names_its_pool(self, assay: Assay, here: Here) -> None:
        issued = assay("agent", "worker-token", "gpu-pool", "--json").json
        ledger = Ledger(here.home.ledger_file)
        assert ledger.pool_of(issued["token"]) == "gpu-pool"
        assert issued["token"].encode() not in here.home.ledger_file.read_bytes()
        ledger.close()

    def test_it_says_how_a_worker_sends_it(self, assay: Assay) -> None:
        assert "PREFECT_CLIENT_CUSTOM_HEADERS" in assay("agent", "worker-token", "gpu-pool").out

    def test_revoking_ends_all_of_the_pool(self, assay: Assay, here: Here) -> None:
        tokens = [assay("agent", "worker-token", pool, "--json").json["token"] for pool in ("a", "a", "b")]
        assert assay("agent", "worker-token", "a", "--revoke").code == 0
        ledger = Ledger(here.home.ledger_file)
        assert [ledger.pool_of(token) for token in tokens] == [None, None, "b"]
        ledger.close()


@pytest.mark.usefixtures("operator")
class TestRefusals:
    def test_the_newest_first_with_who_and_why(self, assay: Assay, here: Here) -> None:
        ledger = Ledger(here.home.ledger_file)
        for number in (1, 2):
            ledger.refuse(who="Vic", method="POST", path=f"/api/{number}", status=403, reason="not yours")
        ledger.close()
        found = assay("agent", "refusals", "--json").json
        assert [(row["who"], row["path"], row["status"]) for row in found] == [
            ("Vic", "/api/2", 403),
            ("Vic", "/api/1", 403),
        ]
        assert "not yours" in assay("agent", "refusals", "--limit", "1").out

    def test_none_yet(self, assay: Assay) -> None:
        assert "Nothing was refused" in assay("agent", "refusals").out


def _until(days: int = 7) -> str:
    return f"{now() + timedelta(days=days):%Y-%m-%d}"


@pytest.mark.usefixtures("owner")
class TestDelegate:
    def test_somebody_else_decides_and_both_are_named(
        self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = here.gate({"x": 1})
        ended = assay("gate", "delegate", OPERATOR, "--until", _until(), "--reason", "on leave")
        assert ended.code == 0
        assert "every gate" in ended.out
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.OPERATOR])
        assert assay("gate", "approve", gate.id, "--digest", gate.digest, "--reason", "seen").code == 0
        with here.store.read() as session:
            (decision,) = gates.decisions_of(session, gate.id)
        assert decision.person == "Operator <operator@north.example> for Data_Owner <data_owner@north.example>"

    def test_it_is_listed_with_until_when_and_why(self, assay: Assay) -> None:
        words = ("--until", _until(), "--reason", "on leave", "--kind", "release_results")
        assay("gate", "delegate", OPERATOR, *words)
        (row,) = assay("gate", "delegations", "--json").json
        assert (row["from"], row["to"]) == ("data_owner@north.example", OPERATOR)
        assert (row["gate_name"], row["reason"], row["revoked_at"]) == ("release_results", "on leave", None)
        assert "on leave" in assay("gate", "delegations").out

    def test_at_one_kind_of_gate_alone(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = here.gate({"x": 1})
        assay("gate", "delegate", OPERATOR, "--until", _until(), "--reason", "leave", "--kind", "release_results")
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.OPERATOR])
        assert assay("gate", "approve", gate.id, "--digest", gate.digest, "--reason", "seen").code == 4

    def test_taken_back(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = here.gate({"x": 1})
        assay("gate", "delegate", OPERATOR, "--until", _until(), "--reason", "leave")
        assert "1 delegation" in assay("gate", "undelegate").out
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.OPERATOR])
        assert assay("gate", "approve", gate.id, "--digest", gate.digest, "--reason", "seen").code == 4

    @pytest.mark.parametrize(
        ("email", "until", "code"),
        [("data_owner@north.example", 7, 7), (OPERATOR, -2, 7), ("nobody@north.example", 7, 5)],
    )
    def test_what_goes_wrong(self, assay: Assay, email: str, until: int, code: int) -> None:
        assert assay("gate", "delegate", email, "--until", _until(until), "--reason", "leave").code == code

    def test_a_reason_is_asked_for(self, assay: Assay) -> None:
        assert assay("gate", "delegate", OPERATOR, "--until", _until()).code == 2


class TestRenew:
    def _until(self, here: Here, hours: float) -> Gate:
        """A question that may be answered for so many hours from now."""
        gate = here.gate({"x": 1})
        with here.store.write() as session:
            found = gates.find_gate(session, gate.id)
            found.expires_at = now() + timedelta(hours=hours)
            session.add(found)
        return gate

    @pytest.mark.usefixtures("owner")
    def test_a_question_gets_more_time(self, assay: Assay, here: Here) -> None:
        gate = self._until(here, 1)
        ended = assay("gate", "renew", gate.id[:8], "--days", "3")
        assert ended.code == 0
        assert f"{now() + timedelta(days=3):%Y-%m-%d}" in ended.out
        assert assay("gate", "approve", gate.id, "--digest", gate.digest, "--reason", "seen").code == 0

    @pytest.mark.usefixtures("owner")
    def test_what_has_expired_is_to_be_asked_again(self, assay: Assay, here: Here) -> None:
        gate = self._until(here, -1)
        for words in (("approve", gate.id, "--digest", gate.digest, "--reason", "seen"), ("renew", gate.id)):
            ended = assay("gate", *words)
            assert ended.code == 6
            assert "ask for it again" in ended.err

    @pytest.mark.usefixtures("owner")
    def test_it_is_kept_who_renewed_it(self, assay: Assay, here: Here) -> None:
        gate = self._until(here, 1)
        assay("gate", "renew", gate.id)
        with here.store.read() as session:
            kinds = {event.kind: event.detail for event in gates.events_of(session, gate.id)}
        assert "data_owner@north.example" in kinds["renewed"]

    def test_a_viewer_renews_nothing(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = self._until(here, 1)
        monkeypatch.setenv("ASSAY_SITE_HOME", str(here.home.path))
        monkeypatch.setenv("ASSAY_SITE_TOKEN", here.tokens[Role.VIEWER])
        assert assay("gate", "renew", gate.id).code == 4

    @pytest.mark.usefixtures("owner")
    def test_what_is_decided_stays_decided(self, assay: Assay, here: Here) -> None:
        gate = here.gate({"x": 1})
        assay("gate", "approve", gate.id, "--digest", gate.digest, "--reason", "seen")
        assert assay("gate", "renew", gate.id).code == 6


class TestHelp:
    def test_a_site_names_each_setting_of_signing_in_and_of_gates(self, assay: Assay) -> None:
        text = assay("agent", "start", "--help").out
        for name in [*SignInSettings.model_fields, *GateSettings.model_fields, "prefect_separate"]:
            assert name in text, name

    def test_a_registry_names_each_of_its_own(self, assay: Assay) -> None:
        text = assay("registry", "start", "--help").out
        of_pages = {"issuer", "client_id", "provider_title", "session_hours", "prefect_separate", "trusted_proxies"}
        assert of_pages <= set(RegistrySettings.model_fields)
        for name in of_pages:
            assert f"ASSAY_REGISTRY_{name.upper()}" in text, name
