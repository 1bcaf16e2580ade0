"""Organizations, people, sites and tokens at the registry."""

import pytest

from tests.cli.federation import Federation
from tests.cli.support import Assay, Ended


class TestOrganization:
    def test_is_added_and_listed(self, at: Assay) -> None:
        ended = at("root", "organization", "add", "south", "--title", "South Hospital")
        assert ended.code == 0
        assert "'south'" in ended.out
        assert "South Hospital" in at("root", "organization", "list").out
        assert "south" in [item["name"] for item in at("eve", "organization", "list", "--json").json]

    def test_twice_is_six_and_a_bad_name_seven(self, at: Assay) -> None:
        assert at("root", "organization", "add", "university", "--title", "U").code == 6
        assert at("root", "organization", "add", "NOT A NAME", "--title", "U").code == 7

    def test_is_for_administrators(self, at: Assay) -> None:
        ended = at("eve", "organization", "add", "mine", "--title", "Mine")
        assert ended.code == 4
        assert "platform administrator" in ended.err


class TestUser:
    def test_the_invitation_gives_them_a_token_of_their_own(
        self, at: Assay, assay: Assay, registry: Federation
    ) -> None:
        words = ("user", "add", "new@north.example", "--name", "New Person", "--organization", "north")
        made = at("root", *words, "--json").json
        registry.tokens["new"] = _redeemed(assay, registry, made["invitation"])
        assert at("new", "whoami", "--json").json["registry"]["email"] == "new@north.example"
        assert "new@north.example" in at("root", "user", "list").out
        ended = at("root", "user", "invite", "new@north.example")
        assert ended.code == 6
        assert "has a valid token" in ended.err

    def test_an_invitation_is_told_with_how_it_is_redeemed(self, at: Assay) -> None:
        words = ("user", "add", "told@north.example", "--name", "Told", "--organization", "north")
        assert "assay login --registry URL --invitation" in at("root", *words).out
        assert "good once and until" in at("root", "user", "invite", "told@north.example", "--days", "2").out

    def test_a_second_redemption_is_six(self, at: Assay, assay: Assay, registry: Federation) -> None:
        words = ("user", "add", "once@north.example", "--name", "Once", "--organization", "north", "--json")
        secret = at("root", *words).json["invitation"]
        _redeemed(assay, registry, secret)
        ended = assay("login", "--registry", registry.url, "--invitation", stdin=secret)
        assert ended.code == 6
        assert "was redeemed on" in ended.err
        assert "tell a platform administrator" in ended.err

    def test_deactivated_people_are_not_signed_in(self, at: Assay, assay: Assay, registry: Federation) -> None:
        words = ("user", "add", "gone@north.example", "--name", "Gone", "--organization", "north", "--json")
        registry.tokens["gone"] = _redeemed(assay, registry, at("root", *words).json["invitation"])
        assert "no access" in at("root", "user", "deactivate", "gone@north.example").out
        assert at("gone", "cube", "list").code == 3
        assert at("root", "user", "activate", "gone@north.example").code == 0
        again = at("root", "user", "invite", "gone@north.example", "--json").json
        registry.tokens["gone"] = _redeemed(assay, registry, again["secret"])
        assert at("gone", "cube", "list").code == 0

    def test_an_organization_that_is_not_there_is_five(self, at: Assay) -> None:
        ended = at("root", "user", "add", "x@y.example", "--name", "X", "--organization", "nowhere")
        assert ended.code == 5
        assert "assay organization list" in ended.err


class TestSite:
    def test_is_added_and_gets_a_token(self, at: Assay) -> None:
        assert at("root", "site", "add", "south-site", "--title", "South", "--organization", "north").code == 0
        issued = at("root", "site", "token", "south-site", "--json").json
        assert issued["secret"].startswith("assay_")
        assert sorted(issued["scopes"]) == ["read", "site"]
        assert "shown this once" in at("root", "site", "token", "south-site").out

    def test_is_listed_with_when_it_was_heard(self, at: Assay) -> None:
        assert "north-site" in at("root", "site", "list").out


class TestToken:
    def test_is_issued_used_and_revoked(self, at: Assay, registry: Federation) -> None:
        issued = at("mel", "token", "issue", "laptop", "--scope", "read", "--days", "7", "--json").json
        registry.tokens["laptop"] = issued["secret"]
        assert at("laptop", "model", "list").code == 0
        assert "laptop" in at("mel", "token", "list").out
        assert "revoked" in at("mel", "token", "revoke", str(issued["id"])).out
        ended = at("laptop", "model", "list")
        assert ended.code == 3
        assert "revoked" in ended.err

    def test_one_that_only_reads_writes_nothing(self, at: Assay, registry: Federation) -> None:
        registry.tokens["reader"] = at("mel", "token", "issue", "r", "--scope", "read", "--json").json["secret"]
        ended = at("reader", "token", "issue", "more")
        assert ended.code == 4
        assert "'write'" in ended.err

    def test_a_scope_that_people_cannot_have_is_usage(self, at: Assay) -> None:
        assert at("mel", "token", "issue", "x", "--scope", "service").code == 2


class TestSignIn:
    def test_login_tries_the_token_and_keeps_it(self, assay: Assay, registry: Federation) -> None:
        ended = assay("login", "--registry", registry.url, stdin=registry.tokens["mel"])
        assert "mel@company.example" in ended.out
        assert "mel@company.example" in assay("whoami").out
        assert assay("registry", "status", "--json").json["status"] == "ok"
        assay("logout")
        assert assay("model", "list").code == 3

    def test_login_redeems_an_invitation_and_keeps_the_token(
        self, at: Assay, assay: Assay, registry: Federation
    ) -> None:
        words = ("user", "add", "fresh@north.example", "--name", "Fresh", "--organization", "north", "--json")
        secret = at("root", *words).json["invitation"]
        assay("logout")
        ended = assay("login", "--registry", registry.url, "--invitation", stdin=secret)
        assert "fresh@north.example" in ended.out
        assert secret not in ended.out

    def test_what_is_no_invitation_is_seven(self, assay: Assay, registry: Federation) -> None:
        assert assay("login", "--registry", registry.url, "--invitation", stdin="not one").code == 7
        assert assay("login", "--registry", registry.url, "--invitation", "--token", "x").code == 7

    def test_an_unknown_invitation_is_three(self, assay: Assay, registry: Federation) -> None:
        assert assay("login", "--registry", registry.url, "--invitation", stdin="assay_" + "x" * 43).code == 3

    def test_a_wrong_token_is_three(self, assay: Assay, registry: Federation) -> None:
        assert assay("login", "--registry", registry.url, "--token", "assay_wrong").code == 3

    @pytest.mark.parametrize("words", [("model", "list"), ("registry", "status"), ("gate", "list")], ids=" ".join)
    def test_a_registry_that_is_away_is_eight(
        self, assay: Assay, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("ASSAY_REGISTRY_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("ASSAY_TOKEN", "x")
        ended: Ended = assay(*words)
        assert ended.code == 8
        assert "does not answer" in ended.err


class TestPassword:
    def test_is_set_by_its_owner_and_never_told(self, at: Assay) -> None:
        ended = at("eve", "user", "password", "--json", stdin="correct horse battery staple\n")
        assert ended.code == 0
        assert ended.json["email"] == "eve@elsewhere.example"
        assert "battery" not in ended.out

    def test_a_short_one_is_seven(self, at: Assay) -> None:
        ended = at("eve", "user", "password", stdin="short\n")
        assert ended.code == 7
        assert "a sentence will do" in ended.err


def _redeemed(assay: Assay, registry: Federation, invitation: str) -> str:
    """The token for an invitation, as its person gets it."""
    issued = assay("token", "redeem", "--registry", registry.url, "--json", stdin=invitation).json
    return str(issued["secret"])
