"""How a registry begins, and how its own flows sign in to it."""

import fcntl
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlmodel import Session
from starlette.testclient import TestClient

from api import bootstrap
from api.app import create_app
from api.bootstrap import HasPeopleError, ServiceToken, initialise
from api.client import RegistryClient
from api.core.settings import RegistrySettings, SettingsError, create_data_folder
from api.nouns.people.rules import administrators
from api.schemas.people import OrganizationCreate
from api.storage.columns import now
from api.storage.engine import make_engine
from tests.api.world import URL, Registry
from tests.meanwhile import second_at

HOST = OrganizationCreate(name="federation", title="Federation")


@pytest.fixture
def fresh(tmp_path: Path, database_url: str) -> RegistrySettings:
    """Where a registry can be made; its folder is not there yet."""
    return RegistrySettings(data=tmp_path / "new" / "registry", database_url=database_url)


def _make(settings: RegistrySettings, email: str = "root@federation.example", name: str = "Root") -> str:
    return initialise(settings, organization=HOST, email=email, name=name)


class TestInitialise:
    def test_the_first_administrator_signs_in_and_adds_others(self, fresh: RegistrySettings) -> None:
        secret = _make(fresh)
        with TestClient(create_app(fresh)) as http, RegistryClient(URL, secret, transport=http._transport) as client:
            me = client.users.me()
            assert (me.email, me.platform_administrator) == ("root@federation.example", True)
            assert client.organizations.create(OrganizationCreate(name="north", title="North")).id > me.organization_id
            assert client.audit.verify().intact

    def test_everything_stands_in_the_audit_log(self, fresh: RegistrySettings) -> None:
        secret = _make(fresh)
        with TestClient(create_app(fresh)) as http, RegistryClient(URL, secret, transport=http._transport) as client:
            entries = client.audit.entries().items
        assert [(entry.action, entry.actor) for entry in entries] == [
            ("organization.created", "registry"),
            ("user.created", "registry"),
            ("token.issued", "registry"),
        ]

    def test_the_folder_is_for_its_owner_alone(self, fresh: RegistrySettings) -> None:
        _make(fresh)
        assert fresh.audit_key_file.stat().st_mode & 0o777 == 0o600
        for folder in (fresh.data, fresh.audit_key_file.parent, fresh.blobs):
            assert folder.stat().st_mode & 0o077 == 0

    def test_a_second_time_changes_nothing(self, fresh: RegistrySettings) -> None:
        _make(fresh)
        key = fresh.audit_key()
        with pytest.raises(HasPeopleError, match="has people already: ask a platform administrator"):
            _make(fresh, "other@federation.example")
        assert fresh.audit_key() == key
        engine = make_engine(fresh.url)
        with Session(engine) as session:
            assert [user.email for user in administrators(session)] == ["root@federation.example"]
        engine.dispose()

    def test_of_two_at_the_same_moment_one_makes_it(
        self, fresh: RegistrySettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        second = second_at(monkeypatch, bootstrap, "create_data_folder", lambda: _make(fresh))
        assert _make(fresh).startswith("assay_")
        with pytest.raises(HasPeopleError):
            second.result(60)
        assert len(fresh.audit_key()) == 32

    def test_whoever_is_overtaken_leaves_it_to_the_other(
        self, fresh: RegistrySettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Although the folder is of their making."""
        second = second_at(monkeypatch, fcntl, "flock", lambda: _make(fresh))
        with pytest.raises(HasPeopleError):
            _make(fresh, "other@federation.example")
        assert second.result(60).startswith("assay_")
        assert len(fresh.audit_key()) == 32

    @pytest.mark.parametrize(("email", "name"), [("no address", "Root"), ("root@federation.example", "")])
    def test_what_cannot_be_used_leaves_no_folder(self, fresh: RegistrySettings, email: str, name: str) -> None:
        with pytest.raises(ValidationError):
            _make(fresh, email, name)
        assert not fresh.data.exists()
        assert _make(fresh).startswith("assay_")

    def test_a_database_that_is_away_leaves_no_folder(self, tmp_path: Path) -> None:
        settings = RegistrySettings(data=tmp_path / "registry", database_url=f"sqlite:///{tmp_path}/nowhere/db")
        with pytest.raises(Exception, match="unable to open database file"):
            _make(settings)
        assert not settings.data.exists()

    def test_a_folder_that_was_there_stays(self, fresh: RegistrySettings) -> None:
        fresh.data.mkdir(parents=True)
        (fresh.data / "notes.txt").touch()
        with pytest.raises(ValidationError):
            _make(fresh, "no address")
        assert [path.name for path in fresh.data.iterdir()] == ["notes.txt"]


class TestServiceToken:
    def test_it_signs_the_registrys_own_flows_in(self, registry: Registry) -> None:
        registry.tokens["flows"] = ServiceToken(registry.settings)()
        assert registry.client_of("flows").gates.list(live=True).total == 0

    def test_it_is_the_same_until_it_is_time(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        token = ServiceToken(registry.settings)
        first = token()
        assert token() == first
        monkeypatch.setattr(bootstrap, "now", _later(timedelta(hours=13)))
        assert token() != first

    def test_it_stands_in_the_audit_log_without_its_secret(self, registry: Registry) -> None:
        secret = ServiceToken(registry.settings)()
        answer = registry.call("administrator", "GET", "/v1/audit?action=token.issued")
        assert answer.json()["items"][-1]["actor"] == "registry"
        assert secret not in answer.text

    def test_it_decides_nothing(self, registry: Registry) -> None:
        registry.tokens["flows"] = ServiceToken(registry.settings)()
        body = {"digest": "sha256:" + "0" * 64, "verdict": "approve", "reason": "x"}
        answer = registry.call("flows", "POST", "/v1/gates/1/decisions", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (403, "this token is not good for 'decide'.")


class TestSettings:
    """Unsafe ones are refused at start."""

    @pytest.mark.parametrize(
        ("content", "mode", "message"),
        [
            ("00" * 32, 0o600, "too weak"),
            ("ab" * 31, 0o600, "too weak"),
            ("secret", 0o600, "is not a key"),
            ("", 0o600, "too weak"),
            (None, 0o644, "readable by others: run chmod 600"),
        ],
    )
    def test_a_weak_or_open_key_is_refused(
        self, settings: RegistrySettings, content: str | None, mode: int, message: str
    ) -> None:
        file = settings.audit_key_file
        if content is not None:
            file.write_text(content, encoding="ascii")
        file.chmod(mode)
        with pytest.raises(SettingsError, match=message):
            create_app(settings)

    def test_a_key_that_was_not_wholly_written_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(secrets, "token_hex", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                create_data_folder(tmp_path / "registry")
        create_data_folder(tmp_path / "registry")
        assert len(RegistrySettings(data=tmp_path / "registry").audit_key()) == 32

    def test_a_registry_without_its_key_does_not_start(self, settings: RegistrySettings) -> None:
        settings.audit_key_file.unlink()
        with pytest.raises(SettingsError, match="run `assay registry init"):
            create_app(settings)

    def test_what_is_unknown_is_refused(self, settings: RegistrySettings) -> None:
        with pytest.raises(ValidationError, match="Extra inputs"):
            RegistrySettings.model_validate({"data": settings.data, "colour": "red"})


def _interrupted(_bytes: int) -> str:
    raise KeyboardInterrupt


def _later(by: timedelta) -> Callable[[], object]:
    return lambda: now() + by
