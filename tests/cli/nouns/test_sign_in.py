"""Tokens in a profile, tried before they are kept."""

import pytest

from agents.store.tables import Role
from cli import profiles
from tests.cli.support import Assay, Here


class TestLoginAtASite:
    def test_keeps_the_token_that_was_tried(self, assay: Assay, here: Here) -> None:
        ended = assay("login", "--site", here.home.path, stdin=here.tokens[Role.OPERATOR] + "\n")
        assert ended.code == 0
        assert "operator@north.example" in ended.out
        assert here.tokens[Role.OPERATOR] not in ended.out
        assert assay("whoami", "--json").json["site"]["email"] == "operator@north.example"
        assert assay("gate", "list").code == 0

    def test_a_token_that_is_not_known_is_three_and_not_kept(self, assay: Assay, here: Here) -> None:
        assert assay("login", "--site", here.home.path, "--token", "wrong").code == 3
        assert not profiles.profiles_file().exists()

    def test_nothing_given_is_seven(self, assay: Assay, here: Here) -> None:
        assert assay("login", "--site", here.home.path).code == 7

    @pytest.mark.parametrize("words", [(), ("--site", "x", "--registry", "http://y")], ids=["neither", "both"])
    def test_one_place_at_a_time(self, assay: Assay, words: tuple[str, ...]) -> None:
        ended = assay("login", *words, "--token", "t")
        assert ended.code == 7
        assert "--registry URL" in ended.err


class TestProfile:
    def test_by_option_or_environment(self, assay: Assay, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, role in (("op", Role.OPERATOR), ("owner", Role.DATA_OWNER)):
            assay("--profile", name, "login", "--site", here.home.path, "--token", here.tokens[role])
        assert assay("-p", "op", "whoami", "--json").json["site"]["role"] == "operator"
        monkeypatch.setenv("ASSAY_PROFILE", "owner")
        assert assay("whoami", "--json").json["site"]["role"] == "data_owner"
        assert assay("-p", "nothing", "whoami").code == 11


class TestLogout:
    def test_forgets_tokens_and_no_addresses(self, assay: Assay, here: Here) -> None:
        assay("login", "--site", here.home.path, "--token", here.tokens[Role.VIEWER])
        assert "Forgot" in assay("logout").out
        assert assay("whoami").code == 3
        assert "holds no tokens" in assay("logout").out
