"""The registry's people and gates as pages in front of Prefect ask for them: the same rules, the same rows."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest
from sqlalchemy import Engine

from api.access.identity import issue
from api.desk import RegistryGates, RegistryPeople
from api.nouns.gates.tables import Gate
from api.nouns.people.tables import User
from api.nouns.tokens.tables import Token
from api.schemas.benchmarks import GatePublic, GateState, Verdict
from api.schemas.people import PasswordUpdate, Scope, TokenCreate
from api.schemas.sign_in import Answer, DeskError, SignedIn, Standing, benchmark_tag, gate_tag
from api.storage.columns import now
from api.storage.engine import make_engine
from tests.api.campaign import Campaign, refused
from tests.api.world import Registry

PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.stage("opened")


@pytest.fixture
def engine(campaign: Campaign) -> Iterator[Engine]:
    engine = make_engine(campaign.registry.settings.url)
    yield engine
    engine.dispose()


@pytest.fixture
def people(engine: Engine) -> RegistryPeople:
    return RegistryPeople(engine)


@pytest.fixture
def gates(engine: Engine, campaign: Campaign) -> RegistryGates:
    return RegistryGates(engine, campaign.registry.audit)


@pytest.fixture
def gate(campaign: Campaign) -> GatePublic:
    """The model owner asks; the committee decides."""
    return campaign.gate_of(campaign.ask_for_model("alpha"))


def _email(registry: Registry, party: str) -> str:
    return registry.client_of(party).users.me().email


def _answer(gate: GatePublic, **changes: object) -> Answer:
    return Answer.model_validate({"verdict": "approve", "reason": "seen", "digest": gate.digest, **changes})


class TestSignIn:
    def test_a_personal_token_says_who_it_is(self, campaign: Campaign, people: RegistryPeople) -> None:
        who = people.by_token(campaign.registry.tokens["committee_member"])
        assert who.name == "Committee Member <committee_member@institute.example>"
        assert (who.standing, who.tags) == (Standing.OPERATOR, frozenset({benchmark_tag(campaign.benchmark_id)}))
        assert people.by_key(who.key) == who

    def test_it_does_in_a_passwords_place(self, campaign: Campaign, people: RegistryPeople) -> None:
        token, email = campaign.registry.tokens["data_owner"], _email(campaign.registry, "data_owner")
        assert people.by_password(email.upper(), token) == people.by_token(token)
        with pytest.raises(DeskError) as error:
            people.by_password("somebody@else.example", token)
        assert error.value.status == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize("party", ["site:north", "service"])
    def test_machines_do_not(self, campaign: Campaign, people: RegistryPeople, party: str) -> None:
        with pytest.raises(DeskError, match="no person's") as error:
            people.by_token(campaign.registry.tokens[party])
        assert error.value.status == HTTPStatus.UNAUTHORIZED

    def test_a_platform_administrator_sees_all_runs(self, campaign: Campaign, people: RegistryPeople) -> None:
        who = people.by_token(campaign.registry.tokens["administrator"])
        assert (who.standing, who.tags) == (Standing.ADMINISTRATOR, None)

    def test_a_token_for_reading_makes_a_viewer(self, campaign: Campaign, people: RegistryPeople) -> None:
        issued = campaign.client("committee_member").users.issue_token(TokenCreate(label="r", scopes=[Scope.READ]))
        assert people.by_token(issued.secret).standing == Standing.VIEWER

    def test_a_session_ends_with_its_token(self, campaign: Campaign, people: RegistryPeople) -> None:
        client = campaign.client("committee_member")
        issued = client.users.issue_token(TokenCreate(label="short"))
        key = people.by_token(issued.secret).key
        client.users.revoke_token(issued.id)
        assert people.by_key(key) is None

    def test_a_session_ends_when_its_token_expires(self, campaign: Campaign, people: RegistryPeople) -> None:
        with campaign.registry.write() as session:
            life = now() - now()
            token, _ = issue(
                session, label="x", scopes=[Scope.READ], life=life, user_id=campaign.registry.ids["stranger"]
            )
        assert people.by_key(f"token:{token.id}") is None

    def test_a_session_ends_when_somebody_is_deactivated(self, campaign: Campaign, people: RegistryPeople) -> None:
        key = people.by_subject("https://idp.example", "7", _email(campaign.registry, "stranger")).key
        campaign.client("administrator").users.deactivate(campaign.registry.ids["stranger"])
        assert people.by_key(key) is None

    def test_unknown_keys_are_nobodys(self, people: RegistryPeople) -> None:
        for key in ("token:999999", "provider:999999", "password:1:0000", "service", "worker:pool"):
            assert people.by_key(key) is None


class TestPassword:
    def _set(self, campaign: Campaign, password: str = PASSWORD) -> str:
        client = campaign.client("committee_member")
        return client.users.set_password(PasswordUpdate(password=password)).email

    def test_it_signs_its_owner_in(self, campaign: Campaign, people: RegistryPeople) -> None:
        who = people.by_password(self._set(campaign), PASSWORD)
        assert who.name.startswith("Committee Member")
        assert people.by_key(who.key) == who

    def test_it_is_kept_as_a_slow_hash_and_never_told(self, campaign: Campaign) -> None:
        email = self._set(campaign)
        with campaign.registry.write() as session:
            user = session.get_one(User, campaign.registry.ids["committee_member"])
            assert user.email == email
            assert (user.password_hash or "").startswith("$argon2id$")
        answer = campaign.registry.call("administrator", "GET", "/v1/users").text
        assert "argon2" not in answer
        assert "user.password_set" in campaign.actions()

    @pytest.mark.parametrize("email", ["committee_member@institute.example", "nobody@institute.example"])
    def test_a_wrong_one_says_nothing(self, campaign: Campaign, people: RegistryPeople, email: str) -> None:
        self._set(campaign)
        with pytest.raises(DeskError, match="nobody is known by this address and password") as error:
            people.by_password(email, "wrong horse battery staple")
        assert error.value.status == HTTPStatus.UNAUTHORIZED

    def test_whoever_has_none_is_not_signed_in_by_an_empty_one(
        self, campaign: Campaign, people: RegistryPeople
    ) -> None:
        with pytest.raises(DeskError):
            people.by_password(_email(campaign.registry, "stranger"), "")

    def test_sessions_end_when_it_changes(self, campaign: Campaign, people: RegistryPeople) -> None:
        key = people.by_password(self._set(campaign), PASSWORD).key
        self._set(campaign, "another horse battery staple")
        assert people.by_key(key) is None

    def test_a_short_one_is_refused(self, campaign: Campaign) -> None:
        with refused(422, "between 12 and 1024"):
            self._set(campaign, "short")

    def test_a_token_that_decides_nothing_gets_no_password(self, campaign: Campaign) -> None:
        issued = campaign.client("committee_member").users.issue_token(
            TokenCreate(label="w", scopes=[Scope.READ, Scope.WRITE])
        )
        answer = campaign.registry.http.put(
            "/v1/users/me/password",
            json={"password": PASSWORD},
            headers={"Authorization": f"Bearer {issued.secret}"},
        )
        assert answer.status_code == 403


class TestProvider:
    def test_the_first_time_by_address_then_by_its_own_number(self, campaign: Campaign, people: RegistryPeople) -> None:
        email = _email(campaign.registry, "stranger")
        first = people.by_subject("https://idp.example", "7", email)
        assert people.by_subject("https://idp.example", "7", "renamed@elsewhere.example") == first

    def test_an_address_that_was_given_to_somebody_else(self, campaign: Campaign, people: RegistryPeople) -> None:
        email = _email(campaign.registry, "stranger")
        people.by_subject("https://idp.example", "7", email)
        with pytest.raises(DeskError) as error:
            people.by_subject("https://idp.example", "8", email)
        assert error.value.status == HTTPStatus.FORBIDDEN

    def test_somebody_unknown(self, people: RegistryPeople) -> None:
        with pytest.raises(DeskError, match="no account at this registry"):
            people.by_subject("https://idp.example", "9", "eve@nowhere.example")


class TestDecide:
    def _who(self, campaign: Campaign, people: RegistryPeople, party: str) -> SignedIn:
        return people.by_token(campaign.registry.tokens[party])

    def test_it_is_the_same_row_as_by_the_api(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        card = gates.decide(self._who(campaign, people, "committee_member"), str(gate.id), _answer(gate))
        assert (card.decided, card.verdict, card.open) == (True, Verdict.APPROVE, False)
        (row,) = campaign.client("benchmark_owner").gates.decisions(gate.id)
        assert (row.user_name, row.reason) == ("Committee Member <committee_member@institute.example>", "seen")
        assert campaign.gate(gate.id).state == GateState.DECIDED
        assert campaign.conclude(gate).verdict == Verdict.APPROVE
        assert campaign.client("administrator").audit.verify().intact

    @pytest.mark.parametrize("party", ["model_owner", "stranger", "administrator", "data_owner"])
    def test_whoever_may_not(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic, party: str
    ) -> None:
        with pytest.raises(DeskError) as error:
            gates.decide(self._who(campaign, people, party), str(gate.id), _answer(gate))
        assert error.value.status == HTTPStatus.FORBIDDEN
        assert campaign.gate(gate.id).state == GateState.OPEN
        assert campaign.client("service").gates.decisions(gate.id) == []

    def test_with_a_session_of_a_token_that_only_reads(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        issued = campaign.client("committee_member").users.issue_token(TokenCreate(label="r", scopes=[Scope.READ]))
        with pytest.raises(DeskError, match="not good for 'decide'"):
            gates.decide(people.by_token(issued.secret), str(gate.id), _answer(gate))

    @pytest.mark.parametrize(
        ("changes", "status"),
        [({"reason": " "}, 422), ({"withhold": ["1"]}, 422), ({"digest": f"sha256:{'0' * 64}"}, 409)],
        ids=str,
    )
    def test_what_cannot_be_a_decision(
        self,
        campaign: Campaign,
        people: RegistryPeople,
        gates: RegistryGates,
        gate: GatePublic,
        changes: dict[str, object],
        status: int,
    ) -> None:
        with pytest.raises(DeskError) as error:
            gates.decide(self._who(campaign, people, "committee_member"), str(gate.id), _answer(gate, **changes))
        assert error.value.status == status
        assert campaign.client("service").gates.decisions(gate.id) == []

    def test_with_a_session_that_has_ended_since(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        who = self._who(campaign, people, "committee_member")
        with campaign.registry.write() as session:
            session.get_one(Token, int(who.key.removeprefix("token:"))).revoked_at = now()
        with pytest.raises(DeskError, match="nobody who decides"):
            gates.decide(who, str(gate.id), _answer(gate))

    @pytest.mark.parametrize("gate_id", ["0", "999999", "x", "-1", "9" * 30, "1 OR 1=1"])
    def test_a_gate_that_is_none(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic, gate_id: str
    ) -> None:
        with pytest.raises(DeskError) as error:
            gates.decide(self._who(campaign, people, "committee_member"), gate_id, _answer(gate))
        assert error.value.status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}


class TestLook:
    def test_each_side_is_told_whether_they_can_decide(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        by_member = gates.get(people.by_token(campaign.registry.tokens["committee_member"]), str(gate.id))
        by_asker = gates.get(people.by_token(campaign.registry.tokens["model_owner"]), str(gate.id))
        assert by_member.barred is None
        assert "approver" in str(by_asker.barred)
        assert by_member.shown == gate.shown

    def test_what_waits_for_somebody_comes_first(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        dataset = campaign.gate_of(campaign.ask_for_dataset("north"))
        member = people.by_token(campaign.registry.tokens["committee_member"])
        waiting = [card.id for card in gates.waiting(member)]
        assert waiting == [str(gate.id), str(dataset.id)]
        stranger = people.by_token(campaign.registry.tokens["stranger"])
        assert gates.waiting(stranger) == []

    def test_an_owner_sees_the_run_of_their_own_gate(
        self, campaign: Campaign, people: RegistryPeople, gate: GatePublic
    ) -> None:
        assert people.by_token(campaign.registry.tokens["model_owner"]).tags == frozenset({gate_tag(gate.id)})
        assert people.by_token(campaign.registry.tokens["stranger"]).tags == frozenset()

    def test_what_a_run_shows_is_for_both_sides_alone(
        self, campaign: Campaign, people: RegistryPeople, gates: RegistryGates, gate: GatePublic
    ) -> None:
        with campaign.registry.write() as session:
            session.get_one(Gate, gate.id).flow_run_id = "run-1"
        card = gates.of_run("run-1")
        assert card is not None
        assert card.id == str(gate.id)
        seen = {
            party: gates.may_read(people.by_token(campaign.registry.tokens[party]), "run-1")
            for party in ("committee_member", "model_owner", "administrator", "stranger")
        }
        assert seen == {"committee_member": True, "model_owner": True, "administrator": False, "stranger": False}
        assert not gates.may_read(people.by_token(campaign.registry.tokens["committee_member"]), "run-2")
