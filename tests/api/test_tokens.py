"""Tokens: what they are good for, for how long, and what the registry keeps of them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import Session, col, select

from api.access.identity import hash_secret
from api.core.database import transaction
from api.nouns.tokens.tables import Token
from api.schemas.people import Scope, TokenCreate
from api.storage.columns import now
from tests.api.campaign import refused
from tests.api.world import Registry


def _issue(registry: Registry, party: str = "model_owner", **values: object) -> str:
    """A further token of a party's own, as `party/label`."""
    new = TokenCreate.model_validate({"label": "laptop", **values})
    issued = registry.client_of(party).users.issue_token(new)
    name = f"{party}/{new.label}"
    registry.tokens[name] = issued.secret
    registry.ids[name] = issued.id
    return name


def _change(registry: Registry, name: str, **values: object) -> None:
    """Change a token past all rules: time passes."""
    with transaction(registry.app.state.engine, write=True) as session:
        token = session.get_one(Token, registry.ids[name])
        for field, value in values.items():
            setattr(token, field, value)
        session.add(token)


class TestIssue:
    def test_it_signs_its_owner_in(self, registry: Registry) -> None:
        assert registry.client_of(_issue(registry)).users.me().id == registry.ids["model_owner"]

    def test_all_that_ones_own_is_good_for_when_nothing_is_said(self, registry: Registry) -> None:
        issued = registry.client_of("model_owner").users.issue_token(TokenCreate(label="x"))
        assert issued.scopes == [Scope.DECIDE, Scope.READ, Scope.WRITE]

    def test_it_lives_as_long_as_is_said(self, registry: Registry) -> None:
        issued = registry.client_of("model_owner").users.issue_token(TokenCreate(label="x", expires_in_days=3))
        assert timedelta(days=2) < issued.expires_at - now() <= timedelta(days=3)

    def test_the_secret_is_kept_nowhere(self, registry: Registry) -> None:
        name = _issue(registry)
        secret = registry.tokens[name]
        with Session(registry.app.state.engine) as session:
            kept = session.get_one(Token, registry.ids[name])
            assert kept.secret_hash == hash_secret(secret)
            assert secret not in str(kept.model_dump())
        assert secret not in registry.call("model_owner", "GET", "/v1/tokens").text
        assert secret not in registry.call("administrator", "GET", "/v1/audit").text

    def test_neither_is_its_hash_shown(self, registry: Registry) -> None:
        name = _issue(registry)
        for path in ("/v1/tokens", f"/v1/users/{registry.ids['model_owner']}/tokens"):
            answer = registry.call("model_owner", "GET", path)
            assert answer.json()["total"] == 2
            assert hash_secret(registry.tokens[name]) not in answer.text

    def test_no_two_are_alike(self, registry: Registry) -> None:
        secrets = {registry.tokens[_issue(registry, label=f"n{number}")] for number in range(5)}
        assert len(secrets) == 5
        assert min(map(len, secrets)) >= 43

    def test_it_stands_in_the_audit_log_without_its_secret(self, registry: Registry) -> None:
        name = _issue(registry, scopes=["read"])
        entry = registry.client_of("administrator").audit.entries(action="token.issued").items[-1]
        assert entry.subject == f"user:{registry.ids['model_owner']}"
        assert entry.detail == {"token": registry.ids[name], "label": "laptop", "scopes": ["read"]}

    @pytest.mark.parametrize("scope", ["site", "service", "redeem"])
    def test_people_get_no_scope_of_machines(self, registry: Registry, scope: str) -> None:
        with refused(422, f"scopes: '{scope}' cannot be given to this bearer"):
            registry.client_of("model_owner").users.issue_token(TokenCreate(label="x", scopes=[Scope(scope)]))

    @pytest.mark.parametrize("scope", ["write", "decide", "service", "redeem"])
    def test_sites_get_no_scope_of_people(self, registry: Registry, scope: str) -> None:
        with refused(422, f"scopes: '{scope}' cannot be given to this bearer"):
            registry.client_of("data_owner").sites.issue_token(
                registry.ids["site:north"], TokenCreate(label="x", scopes=[Scope(scope)])
            )

    def test_the_service_issues_none(self, registry: Registry) -> None:
        with refused(403, "It takes user"):
            registry.client_of("service").users.issue_token(TokenCreate(label="x"))


class TestNarrow:
    """A token never makes one that is good for more than itself."""

    def test_what_a_narrow_one_issues_is_as_narrow(self, registry: Registry) -> None:
        narrow = _issue(registry, scopes=["write"])
        issued = registry.client_of(narrow).users.issue_token(TokenCreate(label="next"))
        assert issued.scopes == [Scope.WRITE]

    def test_more_is_refused(self, registry: Registry) -> None:
        narrow = _issue(registry, scopes=["write", "read"])
        with refused(403, "is not good for 'decide' and cannot issue one that is. Ask for 'read', 'write' at most"):
            registry.client_of(narrow).users.issue_token(TokenCreate(label="next", scopes=[Scope.DECIDE]))

    def test_one_that_reads_writes_nothing(self, registry: Registry) -> None:
        narrow = _issue(registry, scopes=["read"])
        assert registry.client_of(narrow).cubes.list().total == 0
        with refused(403, "this token is not good for 'write'. Issue one with the scope 'write'"):
            registry.client_of(narrow).users.issue_token(TokenCreate(label="next"))

    def test_a_role_does_not_make_up_for_a_scope(self, registry: Registry) -> None:
        narrow = _issue(registry, "administrator", scopes=["write"])
        with refused(403, "this token is not good for 'read'"):
            registry.client_of(narrow).audit.entries()


class TestExpire:
    def test_an_expired_one_is_refused_with_the_day(self, registry: Registry) -> None:
        name = _issue(registry)
        _change(registry, name, expires_at=now() - timedelta(seconds=1))
        with refused(401, r"the token 'laptop' expired on 20..-..-..\. Issue a new one"):
            registry.client_of(name).users.me()

    def test_nobody_gets_one_for_ever(self, registry: Registry) -> None:
        for days in (0, 367, -1):
            body = {"label": "x", "expires_in_days": days}
            assert registry.call("model_owner", "POST", "/v1/tokens", json=body).status_code == 422

    def test_a_sites_expires_too(self, registry: Registry) -> None:
        with transaction(registry.app.state.engine, write=True) as session:
            token = session.exec(select(Token).where(Token.site_id == registry.ids["site:north"])).one()
            token.expires_at = now() - timedelta(days=1)
            session.add(token)
        with refused(401, "expired on"):
            registry.client_of("site:north").site_work()


class TestRevoke:
    def test_it_ends_at_once(self, registry: Registry) -> None:
        name = _issue(registry)
        registry.client_of(name).users.me()
        assert registry.client_of("model_owner").users.revoke_token(registry.ids[name]).revoked_at is not None
        with refused(401, "the token 'laptop' was revoked"):
            registry.client_of(name).users.me()

    def test_one_can_revoke_the_token_one_uses(self, registry: Registry) -> None:
        name = _issue(registry)
        registry.client_of(name).users.revoke_token(registry.ids[name])
        with refused(401, "was revoked"):
            registry.client_of(name).users.me()

    def test_twice_is_once(self, registry: Registry) -> None:
        name = _issue(registry)
        client = registry.client_of("model_owner").users
        assert client.revoke_token(registry.ids[name]) == client.revoke_token(registry.ids[name])
        assert registry.client_of("administrator").audit.entries(action="token.revoked").total == 1

    def test_an_administrator_may_and_others_may_not(self, registry: Registry) -> None:
        name = _issue(registry)
        for party in ("stranger", "data_owner"):
            with refused(403, "It takes owner or platform administrator"):
                registry.client_of(party).users.revoke_token(registry.ids[name])
        assert registry.client_of("administrator").users.revoke_token(registry.ids[name]).revoked_at is not None

    def test_two_can_revoke_each_other_s(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [_issue(registry, party) for party in ("administrator", "stranger")]
        registry.make_administrator("stranger")
        registry.meet_after_sign_in(monkeypatch)

        def revoke(name: str, other: str) -> int:
            return registry.call(name, "POST", f"/v1/tokens/{registry.ids[other]}/revoke").status_code

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(revoke, names, reversed(names)))
        # In SQLite the second finds that it is revoked already.
        assert sorted(answers) == ([200, 200] if registry.writers > 1 else [200, 401])

    def test_a_sites_token_is_its_organizations(self, registry: Registry) -> None:
        site = registry.ids["site:north"]
        issued = registry.client_of("data_owner").sites.issue_token(site, TokenCreate(label="agent"))
        with refused(403, "It takes owner or platform administrator"):
            registry.client_of("other_data_owner").users.revoke_token(issued.id)
        registry.client_of("data_owner").users.revoke_token(issued.id)
        assert registry.client_of("data_owner").sites.tokens(site)[0].revoked_at is not None

    def test_it_stays_in_the_list(self, registry: Registry) -> None:
        name = _issue(registry)
        registry.client_of("model_owner").users.revoke_token(registry.ids[name])
        newest = registry.client_of("model_owner").users.tokens()[0]
        assert (newest.id, newest.revoked_at is not None) == (registry.ids[name], True)

    def test_what_is_not_there_cannot_be_revoked(self, registry: Registry) -> None:
        with refused(404, "there is no token 999"):
            registry.client_of("administrator").users.revoke_token(999)


class TestSignIn:
    @pytest.mark.parametrize(
        ("header", "detail"),
        [
            (None, "nobody is signed in."),
            ("", "nobody is signed in."),
            ("Bearer", "nobody is signed in."),
            ("Bearer assay_wrong", "this token is not known here."),
            ("Basic dXNlcjpwYXNz", "'Basic' is not how one signs in here."),
            ("Bearer \xff\xfe", "this token is not known here."),
        ],
    )
    def test_what_is_no_token_is_refused(self, registry: Registry, header: str | None, detail: str) -> None:
        headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
        answer = registry.http.get("/v1/users/me", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (401, detail)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_the_word_bearer_may_be_written_small(self, registry: Registry) -> None:
        headers = {"Authorization": f"bearer {registry.tokens['stranger']}"}
        assert registry.http.get("/v1/users/me", headers=headers).status_code == 200

    def test_a_wrong_token_is_refused_even_where_none_is_needed(self, registry: Registry) -> None:
        assert registry.http.get("/v1/health", headers={"Authorization": "Bearer wrong"}).status_code == 401

    def test_when_it_was_used_is_noted_to_five_minutes(self, registry: Registry) -> None:
        name = _issue(registry)
        registry.client_of(name).users.me()
        first = registry.client_of(name).users.tokens()[0].last_used_at
        assert first is not None
        registry.client_of(name).users.me()
        assert registry.client_of(name).users.tokens()[0].last_used_at == first
        _change(registry, name, last_used_at=now() - timedelta(minutes=6))
        registry.client_of(name).users.me()
        again = registry.client_of(name).users.tokens()[0].last_used_at
        assert again is not None
        assert again > first

    def test_each_bearer_is_one_thing(self, registry: Registry) -> None:
        """The database itself refuses a token of a person and a site."""
        with Session(registry.app.state.engine) as session:
            both = (col(Token.user_id).is_not(None), col(Token.site_id).is_not(None))
            assert session.exec(select(Token).where(*both)).first() is None
        name = _issue(registry)
        with pytest.raises(Exception, match="one_bearer"):
            _change(registry, name, site_id=registry.ids["site:north"])
