"""Organizations and users."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.client import Refused
from api.core.database import transaction
from api.nouns.people.rules import administrators
from api.nouns.people.tables import User
from api.schemas.people import OrganizationCreate, TokenCreate, UserCreate
from tests.api.campaign import refused
from tests.api.world import Registry


def _user(registry: Registry, email: str = "new@north.example", **changes: object) -> UserCreate:
    values = {"email": email, "name": "New", "organization_id": registry.ids["organization:north"], **changes}
    return UserCreate.model_validate(values)


class TestCreateOrganization:
    def test_it_is_there_afterwards(self, registry: Registry) -> None:
        client = registry.client_of("administrator")
        made = client.organizations.create(OrganizationCreate(name="clinic", title="The Clinic"))
        assert client.organizations.get(made.id) == made
        assert client.organizations.list(name="clinic").items == [made]

    def test_a_name_is_taken_once(self, registry: Registry) -> None:
        client = registry.client_of("administrator")
        with pytest.raises(Refused, match=r"an organization 'north' exists already. Use it") as refused:
            client.organizations.create(OrganizationCreate(name="north", title="Another"))
        assert refused.value.status == 409

    @pytest.mark.parametrize("name", ["", "a", "A", "with space", "ä", "-a", "a" * 64, "a/b", "a\nb", "a\x00"])
    def test_a_name_that_commands_cannot_say_is_refused(self, registry: Registry, name: str) -> None:
        answer = registry.call("administrator", "POST", "/v1/organizations", json={"name": name, "title": "x"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["where"] == "body.name"

    @pytest.mark.parametrize("title", ["", "   ", "a\nb", "a\x00b", "x" * 201])
    def test_a_title_is_one_line(self, registry: Registry, title: str) -> None:
        answer = registry.call("administrator", "POST", "/v1/organizations", json={"name": "ok", "title": title})
        assert answer.status_code == 422


class TestCreateUser:
    def test_an_address_is_kept_small(self, registry: Registry) -> None:
        made = registry.client_of("administrator").users.create(_user(registry, "New@North.Example"))
        assert made.email == "new@north.example"
        assert (made.active, made.platform_administrator) == (True, False)

    def test_an_address_has_one_account(self, registry: Registry) -> None:
        with refused(409, "'stranger@elsewhere.example' has an account already. Use it"):
            registry.client_of("administrator").users.create(_user(registry, "Stranger@Elsewhere.example"))

    @pytest.mark.parametrize("email", ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b\n", f"{'x' * 65}@b"])
    def test_what_is_no_address_is_refused(self, registry: Registry, email: str) -> None:
        body = {"email": email, "name": "x", "organization_id": 1}
        assert registry.call("administrator", "POST", "/v1/users", json=body).status_code == 422

    def test_an_organization_must_be_there(self, registry: Registry) -> None:
        with refused(422, "there is no organization 999. Register it first"):
            registry.client_of("administrator").users.create(_user(registry, organization_id=999))

    def test_it_stands_in_the_audit_log_with_what_they_are(self, registry: Registry) -> None:
        registry.client_of("administrator").users.create(_user(registry, platform_administrator=True))
        entry = registry.client_of("administrator").audit.entries(action="user.created").items[-1]
        assert entry.detail == {"email": "new@north.example", "platform_administrator": True}

    def test_nobody_makes_themselves_an_administrator(self, registry: Registry) -> None:
        with refused(403, "It takes platform administrator"):
            registry.client_of("stranger").users.create(_user(registry, platform_administrator=True))


class TestListUsers:
    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ({"email": "stranger@elsewhere.example"}, ["stranger"]),
            ({"email": "STRANGER@elsewhere.example"}, ["stranger"]),
            ({"organization_id": 4}, ["data_owner"]),
            ({"active": False}, ["model_owner"]),
            ({"active": True, "email": "model_owner@company.example"}, []),
        ],
    )
    def test_filters_are_the_servers(self, registry: Registry, filters: dict[str, Any], found: list[str]) -> None:
        registry.client_of("administrator").users.deactivate(registry.ids["model_owner"])
        if "organization_id" in filters:
            filters = {"organization_id": registry.ids["organization:north"]}
        page = registry.client_of("stranger").users.list(**filters)
        assert [user.id for user in page.items] == [registry.ids[name] for name in found]

    def test_nothing_secret_is_among_it(self, registry: Registry) -> None:
        registry.call("stranger", "PUT", "/v1/users/me/password", json={"password": "correct horse battery staple"})
        answer = registry.call("stranger", "GET", "/v1/users").json()["items"]
        shown = {"id", "created_at", "email", "name", "organization_id", "platform_administrator", "active"}
        assert all(set(user) == shown for user in answer)


class TestDeactivate:
    def test_all_tokens_end_at_once(self, registry: Registry) -> None:
        client, number = registry.client_of("administrator"), registry.ids["stranger"]
        registry.tokens["second"] = registry.client_of("stranger").users.issue_token(TokenCreate(label="x")).secret
        assert client.users.deactivate(number).active is False
        for party in ("stranger", "second"):
            with refused(401, "was revoked"):
                registry.client_of(party).users.me()
        entry = client.audit.entries(action="user.deactivated").items[-1]
        assert (entry.subject, entry.detail["tokens_revoked"]) == (f"user:{number}", 2)

    def test_a_token_that_nobody_revoked_does_not_help(self, registry: Registry) -> None:
        """Whoever sets the state by another way ends the access, too."""
        with transaction(registry.app.state.engine, write=True) as session:
            user = session.get_one(User, registry.ids["stranger"])
            user.active = False
            session.add(user)
        with refused(401, "'stranger@elsewhere.example' is no longer active. Ask a platform administrator"):
            registry.client_of("stranger").users.me()

    def test_twice_is_once(self, registry: Registry) -> None:
        client, number = registry.client_of("administrator"), registry.ids["stranger"]
        assert client.users.deactivate(number) == client.users.deactivate(number)
        assert client.audit.entries(action="user.deactivated").total == 1

    def test_nobody_shuts_themselves_out(self, registry: Registry) -> None:
        with refused(409, "cannot deactivate themselves. Ask another platform administrator"):
            registry.client_of("administrator").users.deactivate(registry.ids["administrator"])

    def test_of_two_who_do_it_to_each_other_one_is_left(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.make_administrator("stranger")
        registry.meet_after_sign_in(monkeypatch)

        def deactivate(party: str, other: str) -> int:
            return registry.call(party, "POST", f"/v1/users/{registry.ids[other]}/deactivate").status_code

        two = ("administrator", "stranger")
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(deactivate, two, reversed(two))) == [200, 401]
        with transaction(registry.app.state.engine, write=False) as session:
            assert len(administrators(session)) == 1

    def test_after_it_they_come_back_without_their_old_tokens(self, registry: Registry) -> None:
        client, number = registry.client_of("administrator"), registry.ids["stranger"]
        client.users.deactivate(number)
        assert client.users.activate(number).active is True
        with refused(401, "was revoked"):
            registry.client_of("stranger").users.me()

    def test_activating_who_is_active_changes_nothing(self, registry: Registry) -> None:
        before = registry.entries()
        registry.client_of("administrator").users.activate(registry.ids["stranger"])
        assert registry.entries() == before

    def test_whom_there_is_not(self, registry: Registry) -> None:
        for action in ("activate", "deactivate"):
            assert registry.call("administrator", "POST", f"/v1/users/999/{action}").status_code == 404
