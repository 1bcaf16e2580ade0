"""How a registry begins, and how its own flows sign in to it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from sqlmodel import col, select

from api import migrations
from api.access.acting import Act, key
from api.access.identity import Principal, issue
from api.core.audit import AuditLog
from api.core.database import transaction
from api.core.settings import RegistrySettings, SettingsError, create_data_folder
from api.nouns.people.rules import create_organization, create_user
from api.nouns.people.tables import User
from api.nouns.tokens.rules import OF_SERVICE, issue_to
from api.schemas.people import OrganizationCreate, TokenCreate, UserCreate
from api.storage.columns import now
from api.storage.engine import make_engine

_SERVICE_LIFE: Final = timedelta(hours=24)
_NOT_YET: Final = 1
"""Stands for an organization that is made in the same transaction."""


class HasPeopleError(SettingsError):
    """The registry was made before."""


def initialise(settings: RegistrySettings, *, organization: OrganizationCreate, email: str, name: str) -> str:
    """Make a registry: its folder with a fresh audit key, its tables, the first organization and its first platform
    administrator.

    Returns:
        The administrator's token, which is kept nowhere.

    Raises:
        HasPeopleError: it was made before; its database is of this version now, nothing else was changed.
        MigrationError: the database is of a newer version.
        ValidationError: the address or the name cannot be used. A folder that was not there before is not there after.
    """
    first_user = UserCreate(email=email, name=name, organization_id=_NOT_YET, platform_administrator=True)
    with _folder_of(settings.data):
        return _initialise(settings, organization, first_user)


@contextmanager
def _folder_of(data: Path) -> Iterator[None]:
    """The registry's folder, for one at a time; one that this makes goes again when what follows fails."""
    made = _make(data)
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        create_data_folder(data)
        yield
    except HasPeopleError:
        raise  # whoever came at the same moment lives in it now
    except BaseException:
        if made:
            shutil.rmtree(data, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _make(data: Path) -> bool:
    """Whether the folder was not there before."""
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        data.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _initialise(settings: RegistrySettings, organization: OrganizationCreate, first_user: UserCreate) -> str:
    migrations.upgrade(settings.url)
    with _acting(settings) as act:
        if act.session.exec(select(col(User.id)).limit(1)).first() is not None:
            raise HasPeopleError(
                f"the registry in {str(settings.data)!r} has people already: ask a platform administrator for an account"
            )
        first = create_organization(act, organization)
        user = create_user(act, first_user.model_copy(update={"organization_id": key(first.id)}))
        return issue_to(act, user, TokenCreate(label="first token", expires_in_days=366))[1]


class ServiceToken:
    """The token of the registry's own flows: lives in this process alone, and is renewed before it expires.

    Call it for the token that is good now; it is what `RegistryClient` takes as `token`.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings, self._lock = settings, Lock()
        self._secret, self._renew_at = "", datetime.min.replace(tzinfo=now().tzinfo)

    def __call__(self) -> str:
        with self._lock:
            if now() >= self._renew_at:
                self._secret, self._renew_at = self._issue(), now() + _SERVICE_LIFE / 2
            return self._secret

    def _issue(self) -> str:
        with _acting(self._settings) as act:
            token, secret = issue(act.session, label="registry", scopes=list(OF_SERVICE), life=_SERVICE_LIFE)
            act.note("token.issued", "registry", token=token.id, scopes=token.scopes)
            return secret


@contextmanager
def _acting(settings: RegistrySettings) -> Iterator[Act]:
    """The registry itself in one write transaction."""
    engine = make_engine(settings.url)
    try:
        with transaction(engine, write=True) as session:
            yield Act(session, Principal(scopes=OF_SERVICE, service=True), AuditLog(settings.audit_key()))
    finally:
        engine.dispose()
