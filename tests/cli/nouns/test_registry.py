"""A registry made and brought up to date from the command line."""

from pathlib import Path

import pytest

from api.client import RegistryClient
from api.core.settings import RegistrySettings, create_data_folder
from api.migrations import current, newest
from tests.cli.federation import listening
from tests.cli.support import Assay, Ended

WORDS = ("--administrator", "root@host.example", "--name", "Root", "--organization", "host", "--title", "The Host")


def _init(assay: Assay, data: Path, *words: str) -> Ended:
    return assay("registry", "init", "--data", data, *WORDS, *words)


class TestInit:
    def test_the_token_shown_once_is_an_administrators(self, assay: Assay, tmp_path: Path) -> None:
        made = _init(assay, tmp_path / "r", "--json").json
        with listening(RegistrySettings(data=tmp_path / "r")) as url, RegistryClient(url, made["token"]) as client:
            me = client.users.me()
        assert (me.email, me.platform_administrator) == ("root@host.example", True)

    def test_only_the_owner_reads_the_folder(self, assay: Assay, tmp_path: Path) -> None:
        out = _init(assay, tmp_path / "r").out
        assert "shown this once" in out
        assert "assay registry start" in out
        assert (tmp_path / "r").stat().st_mode & 0o077 == 0
        assert (tmp_path / "r" / "secrets" / "audit.key").stat().st_mode & 0o077 == 0

    def test_twice_is_eleven_and_changes_nothing(self, assay: Assay, tmp_path: Path) -> None:
        _init(assay, tmp_path / "r")
        key = (tmp_path / "r" / "secrets" / "audit.key").read_bytes()
        ended = _init(assay, tmp_path / "r")
        assert ended.code == 11
        assert "has people already" in ended.err
        assert (tmp_path / "r" / "secrets" / "audit.key").read_bytes() == key

    def test_the_folder_may_be_named_by_the_environment(
        self, assay: Assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ASSAY_REGISTRY_DATA", str(tmp_path / "e"))
        assert assay("registry", "init", *WORDS, "--json").json["data"] == str(tmp_path / "e")

    def test_an_address_that_cannot_be_used_is_seven_and_leaves_no_folder(self, assay: Assay, tmp_path: Path) -> None:
        words = ("--administrator", "nobody", "--name", "Root", "--organization", "host")
        assert assay("registry", "init", "--data", tmp_path / "r", *words).code == 7
        assert not (tmp_path / "r").exists()
        assert _init(assay, tmp_path / "r").code == 0

    def test_without_a_folder_it_is_usage(self, assay: Assay) -> None:
        assert assay("registry", "init", *WORDS).code == 2

    @pytest.mark.parametrize("changed", [("root@host.example", "no-address"), ("host", "NOT A NAME")])
    def test_what_cannot_be_is_seven(self, assay: Assay, tmp_path: Path, changed: tuple[str, str]) -> None:
        words = [changed[1] if word == changed[0] else word for word in WORDS]
        assert assay("registry", "init", "--data", tmp_path / "r", *words).code == 7


class TestInitOnce:
    def test_writes_the_token_for_its_owner_alone_and_shows_none(self, assay: Assay, tmp_path: Path) -> None:
        token = tmp_path / "r" / "first.token"
        ended = _init(assay, tmp_path / "r", "--once", "--token-file", str(token))
        assert ended.code == 0, ended.err
        assert token.stat().st_mode & 0o077 == 0
        assert token.read_text().strip() not in ended.out
        with listening(RegistrySettings(data=tmp_path / "r")) as url:
            client = RegistryClient(url, token.read_text().strip())
            with client:
                assert client.users.me().platform_administrator

    def test_again_changes_nothing_and_is_no_error(self, assay: Assay, tmp_path: Path) -> None:
        token = tmp_path / "r" / "first.token"
        _init(assay, tmp_path / "r", "--once", "--token-file", str(token))
        before = token.read_text()
        ended = _init(assay, tmp_path / "r", "--once", "--token-file", str(token))
        assert (ended.code, token.read_text()) == (0, before)
        assert "already" in ended.out

    def test_ends_what_broke_off_before_there_were_people(self, assay: Assay, tmp_path: Path) -> None:
        create_data_folder(tmp_path / "r")
        token = tmp_path / "r" / "first.token"
        assert _init(assay, tmp_path / "r", "--once", "--token-file", str(token)).code == 0
        assert token.read_text().strip()


class TestUpgrade:
    def test_brings_a_database_to_this_version(self, assay: Assay, tmp_path: Path) -> None:
        _init(assay, tmp_path / "r")
        ended = assay("registry", "upgrade", "--data", tmp_path / "r", "--json")
        assert ended.json == {"revision": newest()}
        assert current(RegistrySettings(data=tmp_path / "r").url) == newest()

    def test_another_database_than_the_folders(self, assay: Assay, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
        assert _init(assay, tmp_path / "r", "--database-url", url).code == 0
        assert current(url) == newest()
        assert not (tmp_path / "r" / "registry.sqlite").exists()


class TestStatus:
    def test_needs_no_token(self, assay: Assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _init(assay, tmp_path / "r")
        with listening(RegistrySettings(data=tmp_path / "r")) as url:
            monkeypatch.setenv("ASSAY_REGISTRY_URL", url)
            ended = assay("registry", "status")
        assert "ok" in ended.out
        assert url in ended.out

    def test_without_a_registry_it_is_eleven(self, assay: Assay) -> None:
        assert assay("registry", "status").code == 11
