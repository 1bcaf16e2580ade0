"""Invitations: how somebody who was added gets a token that nobody else has seen."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlmodel import Session

from api.client import Refused
from api.core.database import transaction
from api.nouns.tokens.tables import Token
from api.schemas.people import (
    InvitationCreate,
    InvitationIssued,
    Redemption,
    Scope,
    TokenCreate,
    TokenIssued,
    UserCreate,
    UserPublic,
)
from api.storage.columns import now
from tests.api.campaign import refused
from tests.api.world import Registry


@pytest.fixture
def newcomer(registry: Registry) -> UserPublic:
    """Somebody who was added, and has nothing yet."""
    new = UserCreate(email="new@north.example", name="New", organization_id=registry.ids["organization:north"])
    return registry.client_of("administrator").users.create(new)


def _invite(registry: Registry, user: UserPublic, **values: int) -> InvitationIssued:
    return registry.client_of("administrator").users.invite(user.id, InvitationCreate(**values))


def _redeem(registry: Registry, invitation: InvitationIssued, **values: object) -> TokenIssued:
    new = Redemption.model_validate({"secret": invitation.secret, "label": "laptop", **values})
    return registry.client_of("anyone").users.redeem(new)


def _change(registry: Registry, invitation: InvitationIssued, **values: object) -> None:
    with transaction(registry.app.state.engine, write=True) as session:
        row = session.get_one(Token, invitation.id)
        for field, value in values.items():
            setattr(row, field, value)
        session.add(row)


class TestInvite:
    def test_it_is_good_for_a_week_when_nothing_is_said(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        assert timedelta(days=6) < invitation.expires_at - now() <= timedelta(days=7)
        assert invitation.user_id == newcomer.id

    def test_its_secret_is_kept_nowhere(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        with Session(registry.app.state.engine) as session:
            assert invitation.secret not in str(session.get_one(Token, invitation.id).model_dump())
        for path in (f"/v1/users/{newcomer.id}/tokens", "/v1/audit"):
            assert invitation.secret not in registry.call("administrator", "GET", path).text

    def test_it_stands_among_the_persons_tokens(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        (shown,) = registry.call("administrator", "GET", f"/v1/users/{newcomer.id}/tokens").json()["items"]
        assert (shown["id"], shown["scopes"]) == (invitation.id, ["redeem"])

    def test_another_ends_the_one_before(self, registry: Registry, newcomer: UserPublic) -> None:
        first, second = _invite(registry, newcomer), _invite(registry, newcomer)
        with refused(401, "the invitation of 'new@north.example' was revoked. Ask a platform administrator"):
            _redeem(registry, first)
        assert _redeem(registry, second).label == "laptop"

    def test_who_has_a_token_is_not_invited(self, registry: Registry, newcomer: UserPublic) -> None:
        _redeem(registry, _invite(registry, newcomer))
        with refused(409, "'new@north.example' has a valid token. They issue further ones themselves"):
            _invite(registry, newcomer)

    def test_who_lost_theirs_is_invited_once_it_is_revoked(self, registry: Registry, newcomer: UserPublic) -> None:
        lost = _redeem(registry, _invite(registry, newcomer))
        registry.client_of("administrator").users.revoke_token(lost.id)
        assert _redeem(registry, _invite(registry, newcomer)).id != lost.id

    def test_who_is_not_active_is_not_invited(self, registry: Registry, newcomer: UserPublic) -> None:
        registry.client_of("administrator").users.deactivate(newcomer.id)
        with refused(409, "'new@north.example' is not active. Activate them first"):
            _invite(registry, newcomer)

    def test_nobody_who_is_not_there(self, registry: Registry) -> None:
        with refused(404, "there is no user account 999"):
            registry.client_of("administrator").users.invite(999, InvitationCreate())

    def test_others_do_not_invite(self, registry: Registry, newcomer: UserPublic) -> None:
        with refused(403, "It takes platform administrator"):
            registry.client_of("data_owner").users.invite(newcomer.id, InvitationCreate())

    @pytest.mark.parametrize("days", [0, 31])
    def test_it_does_not_lie_about_for_ever(self, registry: Registry, newcomer: UserPublic, days: int) -> None:
        path = f"/v1/users/{newcomer.id}/invitations"
        answer = registry.call("administrator", "POST", path, json={"expires_in_days": days})
        assert answer.status_code == 422

    def test_no_administrator_issues_anothers_token(self, registry: Registry, newcomer: UserPublic) -> None:
        answer = registry.call("administrator", "POST", f"/v1/users/{newcomer.id}/tokens", json={"label": "x"})
        assert answer.status_code == 405


class TestRedeem:
    def test_it_gives_a_token_of_ones_own(self, registry: Registry, newcomer: UserPublic) -> None:
        registry.tokens["new"] = _redeem(registry, _invite(registry, newcomer)).secret
        assert registry.client_of("new").users.me() == newcomer

    def test_it_is_what_one_asks_for(self, registry: Registry, newcomer: UserPublic) -> None:
        issued = _redeem(registry, _invite(registry, newcomer), scopes=["read"], expires_in_days=2)
        assert (issued.scopes, issued.expires_at - now() <= timedelta(days=2)) == ([Scope.READ], True)

    def test_all_that_people_can_have_when_nothing_is_said(self, registry: Registry, newcomer: UserPublic) -> None:
        assert _redeem(registry, _invite(registry, newcomer)).scopes == ["decide", "read", "write"]

    @pytest.mark.parametrize("scope", ["site", "service", "redeem"])
    def test_no_scope_of_machines(self, registry: Registry, newcomer: UserPublic, scope: str) -> None:
        invitation = _invite(registry, newcomer)
        with refused(422, "cannot be given to this bearer"):
            _redeem(registry, invitation, scopes=[scope])
        assert _redeem(registry, invitation).scopes == ["decide", "read", "write"]

    def test_a_second_time_is_refused_and_says_what_that_means(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        _redeem(registry, invitation)
        with refused(409, r"was redeemed on 20.* UTC: it is good once\. .* tell a platform administrator now"):
            _redeem(registry, invitation)

    def test_of_two_at_the_same_moment_one_gets_it(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation, barrier = _invite(registry, newcomer), Barrier(3)

        def redeem(_: int) -> str:
            barrier.wait(60)
            try:
                return _redeem(registry, invitation).label
            except Refused as error:
                return str(error.status)

        with ThreadPoolExecutor(3) as pool:
            assert sorted(pool.map(redeem, range(3))) == ["409", "409", "laptop"]
        assert registry.client_of("administrator").audit.entries(action="invitation.redeemed").total == 1

    def test_an_expired_one_is_refused(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        _change(registry, invitation, expires_at=now() - timedelta(seconds=1))
        with refused(401, r"the invitation of 'new@north.example' expired on 20"):
            _redeem(registry, invitation)

    def test_a_revoked_one_is_refused(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        registry.client_of("administrator").users.revoke_token(invitation.id)
        with refused(401, "was revoked"):
            _redeem(registry, invitation)

    def test_whoever_left_in_between_gets_nothing(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        registry.client_of("administrator").users.deactivate(newcomer.id)
        with refused(401, "was revoked"):
            _redeem(registry, invitation)

    def test_an_unknown_one_is_refused(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        with refused(401, "this invitation is not known here"):
            _redeem(registry, invitation, secret="assay_" + "x" * 43)

    def test_a_token_is_no_invitation(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        with refused(401, "this invitation is not known here"):
            _redeem(registry, invitation, secret=registry.tokens["stranger"])

    @pytest.mark.parametrize("path", ["/v1/users/me", "/v1/tokens", "/v1/health"])
    def test_an_invitation_is_no_token(self, registry: Registry, newcomer: UserPublic, path: str) -> None:
        headers = {"Authorization": f"Bearer {_invite(registry, newcomer).secret}"}
        answer = registry.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (401, "this is an invitation, not a token.")

    def test_both_stand_in_the_audit_log(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        issued = _redeem(registry, invitation)
        entries = registry.client_of("administrator").audit.entries(subject=f"user:{newcomer.id}").items
        found = [(entry.action, entry.actor, entry.detail.get("invitation")) for entry in entries[1:]]
        assert found == [
            ("invitation.issued", "Administrator <administrator@federation.example>", invitation.id),
            ("invitation.redeemed", "New <new@north.example>", invitation.id),
            ("token.issued", "New <new@north.example>", None),
        ]
        assert entries[-1].detail["token"] == issued.id

    def test_a_refused_one_leaves_no_token(self, registry: Registry, newcomer: UserPublic) -> None:
        invitation = _invite(registry, newcomer)
        _redeem(registry, invitation)
        with refused(409, "was redeemed"):
            _redeem(registry, invitation)
        answer = registry.call("administrator", "GET", f"/v1/users/{newcomer.id}/tokens").json()
        assert answer["total"] == 2

    def test_what_was_sent_is_not_repeated(self, registry: Registry) -> None:
        body = {"secret": "not an invitation", "label": "x"}
        answer = registry.call("anyone", "POST", "/v1/invitations/redeem", json=body)
        assert answer.status_code == 422
        assert "not an invitation" not in answer.text

    def test_a_token_can_issue_further_ones(self, registry: Registry, newcomer: UserPublic) -> None:
        registry.tokens["new"] = _redeem(registry, _invite(registry, newcomer)).secret
        assert registry.client_of("new").users.issue_token(TokenCreate(label="desktop")).label == "desktop"
