"""Which registry, which site, which token: the environment, then a profile that nobody else can read."""

from pathlib import Path

import pytest

from cli import profiles
from cli.errors import NotSetUpError, NotSignedInError
from cli.profiles import Profile
from tests.meanwhile import second_at

FULL = Profile("http://registry", "r-token", "/srv/site", "s-token")


class TestKeep:
    def test_what_was_kept_is_there_and_nobody_else_can_read_it(self) -> None:
        path = profiles.keep("default", FULL)
        assert profiles.current() == FULL
        assert path.stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["profiles.json", "profiles.lock"]

    def test_profiles_stand_beside_each_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        profiles.keep("default", FULL)
        profiles.keep("other", Profile("http://elsewhere", "x"))
        monkeypatch.setenv("ASSAY_PROFILE", "other")
        assert profiles.current().registry() == ("http://elsewhere", "x")

    def test_what_one_leaves_out_stays(self) -> None:
        profiles.keep("default", FULL)
        profiles.keep("default", Profile("http://elsewhere", "x"))
        assert profiles.current() == Profile("http://elsewhere", "x", FULL.site_home, FULL.site_token)

    @pytest.mark.parametrize("name", ["default", "other"])
    def test_of_two_at_once_both_are_kept(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        second = second_at(monkeypatch, profiles, "_write", lambda: profiles.keep(name, Profile(None, None, "/s", "t")))
        profiles.keep("default", Profile("http://registry", "r-token"))
        second.result(60)
        kept = profiles.kept_profiles()
        assert (kept["default"].token, kept[name].site_token) == ("r-token", "t")

    def test_a_file_that_others_can_read_is_refused(self) -> None:
        profiles.keep("default", FULL).chmod(0o644)
        with pytest.raises(NotSetUpError, match="chmod 600"):
            profiles.current()

    @pytest.mark.parametrize("content", ["", "[]", '{"default": {"unknown": 1}}', "nonsense"])
    def test_a_damaged_file_is_named(self, content: str) -> None:
        path = profiles.keep("default", FULL)
        path.write_text(content, encoding="utf-8")
        with pytest.raises(NotSetUpError, match=r"profiles\.json"):
            profiles.current()


class TestForget:
    def test_tokens_go_and_addresses_stay(self) -> None:
        profiles.keep("default", FULL)
        assert profiles.forget("default")
        assert profiles.current() == Profile("http://registry", None, "/srv/site", None)

    def test_nothing_to_forget_is_said(self) -> None:
        assert not profiles.forget("default")


class TestCurrent:
    def test_the_environment_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        profiles.keep("default", FULL)
        monkeypatch.setenv("ASSAY_TOKEN", "other")
        assert profiles.current().registry() == ("http://registry", "other")

    def test_a_token_is_never_shown_to_another_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        profiles.keep("default", FULL)
        monkeypatch.setenv("ASSAY_REGISTRY_URL", "http://stranger")
        with pytest.raises(NotSignedInError, match="http://stranger"):
            profiles.current().registry()

    def test_nor_to_another_site(self, monkeypatch: pytest.MonkeyPatch) -> None:
        profiles.keep("default", FULL)
        monkeypatch.setenv("ASSAY_SITE_HOME", "/srv/other")
        with pytest.raises(NotSignedInError, match="/srv/other"):
            profiles.current().person()

    def test_nothing_named_says_how_to_name_it(self) -> None:
        with pytest.raises(NotSetUpError, match="assay login --registry"):
            profiles.current().registry()
        with pytest.raises(NotSetUpError, match="assay login --site"):
            profiles.current().home()

    def test_lies_in_the_users_own_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("XDG_CONFIG_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert profiles.profiles_file() == tmp_path / ".config" / "assay" / "profiles.json"
