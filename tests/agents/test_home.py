"""A site's folder: made once, private, and read strictly."""

from pathlib import Path

import pytest

from agents.errors import HomeError
from agents.home import Home, SiteSettings, create_home, write_private

SETTINGS = SiteSettings(site="north", registry_url='https://registry.example/"quoted"', slots=3, allow_unisolated=True)


class TestCreate:
    def test_settings_come_back_as_they_were_given(self, tmp_path: Path) -> None:
        home = create_home(tmp_path / "h", SETTINGS, "token")
        assert home.settings() == SETTINGS
        assert home.token() == "token"

    def test_nobody_else_can_read_it(self, tmp_path: Path) -> None:
        home = create_home(tmp_path / "h", SETTINGS, "token")
        assert home.path.stat().st_mode & 0o077 == 0
        assert home.token_file.stat().st_mode & 0o077 == 0
        assert home.settings_file.stat().st_mode & 0o077 == 0

    def test_a_second_time_is_refused_and_changes_nothing(self, tmp_path: Path) -> None:
        home = create_home(tmp_path / "h", SETTINGS, "token")
        with pytest.raises(HomeError, match="already"):
            create_home(tmp_path / "h", SETTINGS, "other")
        assert home.token() == "token"


class TestRead:
    def test_a_folder_that_is_no_home_says_what_to_run(self, tmp_path: Path) -> None:
        with pytest.raises(HomeError, match="assay agent init"):
            Home(tmp_path).settings()

    def test_an_unknown_setting_is_named(self, home: Home) -> None:
        home.settings_file.write_text(home.settings_file.read_text() + "slotz = 3\n")
        with pytest.raises(HomeError, match="slotz"):
            home.settings()

    def test_broken_toml_is_an_error_that_names_the_file(self, home: Home) -> None:
        home.settings_file.write_text("site = ")
        with pytest.raises(HomeError, match=r"site\.toml"):
            home.settings()

    def test_a_token_that_others_can_read_is_refused(self, home: Home) -> None:
        home.token_file.chmod(0o644)
        with pytest.raises(HomeError, match="chmod 600"):
            home.token()

    def test_a_missing_token_says_how_to_get_one(self, home: Home) -> None:
        home.token_file.unlink()
        with pytest.raises(HomeError, match="assay site token"):
            home.token()


def test_write_private_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old" * 1000)
    write_private(target, "new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
